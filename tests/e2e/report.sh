# One line per step: "ok NAME" or "not ok NAME", diagnostics indented below it. Sourced by run.
# shellcheck shell=bash
: "${state:?}"
scratch=$state/scratch
failures=0
steps_done=0
step_child=

fail() {
    printf '%s\n' "$*" >&2
    exit 1
}
die() { fail "$@"; }

# tell TEXT: a figure worth showing also when the step is ok.
tell() { printf '@ %s\n' "$*"; }

report_step() { # STATUS NAME LOG SECONDS
    steps_done=$((steps_done + 1))
    if [ "$1" -eq 0 ]; then
        printf 'ok %s\n' "$2"
        sed -n 's/^@ /    /p' "$3"
    else
        failures=$((failures + 1))
        printf 'not ok %s\n' "$2"
        tail -n 30 "$3" | sed 's/^\(@ \)\{0,1\}/    /'
    fi
    if [ "$4" -ge 10 ]; then
        printf '    (%d s)\n' "$4"
    fi
}

# check NAME COMMAND...: the command runs in a shell of its own that ends at its first error. It is
# waited for in the background so that an interrupt is served at once.
check() {
    local name=$1 log began=$SECONDS status=0
    shift
    log=$scratch/step-$steps_done.txt
    (
        set -e
        "$@"
    ) >"$log" 2>&1 </dev/null &
    step_child=$!
    wait "$step_child"
    status=$?
    step_child=
    report_step "$status" "$name" "$log" $((SECONDS - began))
    return "$status"
}

# need NAME COMMAND...: a step on which all others stand.
need() { check "$@" || exit 1; }

# refused STATUS REASON COMMAND...: the command must end with that exit status and tell the reason
# where its user looks: on its own output. Both are extended regular expressions.
refused() {
    local want=$1 reason=$2 status=0 output
    shift 2
    output=$("$@" 2>&1) || status=$?
    printf '%s\n' "$output" | tail -n 8
    [[ $status =~ ^$want$ ]] || fail "exit status $status, $want expected"
    printf '%s\n' "$output" | grep -qE -- "$reason" || fail "the reason is not told; expected: $reason"
}

same() { # WHAT BEFORE AFTER
    [ "$2" = "$3" ] || fail "$1 changed: was $2, is $3"
}
