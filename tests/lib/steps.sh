# Sourced by test scripts: steps that print "ok NAME" or "not ok NAME", a simulator with data of its
# own, preparations that run once per lock file. Expects $work, a folder that stays.
# shellcheck shell=bash disable=SC2034,SC2154
failed=0
sockets=
simulator=

step() {
    local name=$1 log=$work/step.log
    shift
    if "$@" >"$log" 2>&1; then
        echo "ok $name"
    else
        echo "not ok $name"
        tail -n 40 "$log"
        failed=1
    fi
}

simulator_stop() {
    [ -z "$simulator" ] || kill "$simulator" 2>/dev/null
    [ -z "$sockets" ] || rm -rf "$sockets"
}

# Sockets need a short path: they do not live in the build folder.
simulator_start() {
    sockets=$(mktemp -d)
    trap simulator_stop EXIT
    build/tests/sdk/make_data "$sockets/data" || return 1
    build/bin/dstack-agent simulate --data "$sockets/data" --dir "$sockets" 2>"$work/agent.log" &
    simulator=$!
    export DSTACK_SIMULATOR_ENDPOINT=$sockets/dstack.sock TAPPD_SIMULATOR_ENDPOINT=$sockets/tappd.sock
    export DSTACK_TEST_DATA=$sockets/data
    for _ in $(seq 200); do
        [ -S "$sockets/guest.sock" ] && return 0
        sleep 0.05
    done
    return 1
}

once() {
    local stamp=$1 lock=$2 hash
    shift 2
    hash=$(sha256sum <"$lock")
    [ "$(cat "$stamp" 2>/dev/null)" = "$hash" ] && return 0
    "$@" && echo "$hash" >"$stamp"
}
