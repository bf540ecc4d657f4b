#!/bin/bash
# A real dstack-vmm with real (tiny) virtual machines: life cycle, crashes, refusals.
#   test_vmm.sh [BIN_DIR]
# The guests are half a kilobyte of real-mode code in the form of a Linux kernel: one prints and
# idles, one powers off, one resets.
# Functions are passed to check by name.
# shellcheck disable=SC2317
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
bin=$(realpath "${1:-build/bin}")
for program in qemu-system-x86_64 mkfs.vfat mcopy curl jq; do
    if ! PATH=$PATH:/usr/sbin:/sbin command -v $program >/dev/null; then
        echo "SKIP: $program is not installed"
        exit 77
    fi
done

work=$(mktemp -d "${TMPDIR:-/tmp}/dstack-vmm-test.XXXXXX")
vmm_pid=
failed=0
run=$work/vms
socket=$work/vmm.sock

cleanup() {
    [ -n "$vmm_pid" ] && kill -9 "$vmm_pid" 2>/dev/null
    pgrep -f "supervise $run/" | while read -r pid; do kill -9 "$pid" 2>/dev/null; done
    mountpoint -q "$work/small" && umount "$work/small"
    sleep 0.3
    rm -rf "$work"
}
trap cleanup EXIT

check() {
    local sentence=$1
    shift
    if "$@"; then
        echo "ok - $sentence"
    else
        echo "not ok - $sentence"
        tail -n 5 "$work/out" "$work/err" "$work/vmm.log" 2>/dev/null | sed 's/^/    /'
        failed=1
    fi
}

# make_image NAME CODE [LINE]: CODE is what the guest does after it has printed, as printf escapes; LINE
# is printed besides.
make_image() {
    local dir=$work/images/$1
    mkdir -p "$dir"
    {
        head -c 497 /dev/zero
        # 0x1f1: setup_sects 1 ... 0x1fe: 55 aa, jump over the header, HdrS, protocol 2.02
        printf '\x01\0\0\x10\0\0\0\0\0\0\0\0\0\x55\xaa\xeb\x7eHdrS\x02\x02'
        head -c 9 /dev/zero
        printf '\x01' # 0x211: loaded high
        head -c 110 /dev/zero
        # 0x280: print the text at 0x300, then CODE, then idle
        printf '\xfa\x8c\xc8\x8e\xd8\xbe\x00\x01\xba\xf8\x03\xac\x84\xc0\x74\x03\xee\xeb\xf8%b\xf4\xeb\xfd' "$2"
    } >"$dir/head"
    {
        cat "$dir/head"
        head -c $((0x300 - $(stat -c %s "$dir/head"))) /dev/zero
        printf 'tiny guest is up\r\n%s\0' "${3:+$3$'\r\n'}"
    } >"$dir/kernel.part"
    {
        cat "$dir/kernel.part"
        head -c $((4096 - $(stat -c %s "$dir/kernel.part"))) /dev/zero
    } >"$dir/bzImage"
    rm "$dir/head" "$dir/kernel.part"
    echo initrd >"$dir/initrd"
    echo '{"kernel":"bzImage","initrd":"initrd","cmdline":"console=ttyS0","version":"0.6.0","shared_ro":true}' \
        >"$dir/metadata.json"
}

write_config() {
    cat >"$work/vmm.yaml" <<YAML
address: "unix:$socket"
run_path: ${1:-$run}
image: {path: $work/images}
qemu: {accel: tcg}
cvm:
  auto_restart: {interval: 1, initial_backoff: 1, max_backoff: 1, max_retries: 2}
YAML
}

start_vmm() {
    "$bin/dstack-vmm" --config "$work/vmm.yaml" "$@" >>"$work/vmm.log" 2>&1 &
    vmm_pid=$!
    for _ in $(seq 100); do
        curl -sf --unix-socket "$socket" http://vmm/prpc/Version >/dev/null && return 0
        sleep 0.1
    done
    return 1
}
kill_vmm() {
    kill "-$1" "$vmm_pid" && wait "$vmm_pid" 2>/dev/null
    vmm_pid=
    true
}
dstack() {
    local command=$1
    shift
    "$bin/dstack" "$command" --vmm "unix:$socket" "$@" >"$work/out" 2>"$work/err"
}
rpc() { curl -s --unix-socket "$socket" "http://vmm/prpc/$1" >"$work/out"; }
status_of() { dstack apps --json && jq -r --arg n "$1" '.[] | select(.name == $n) | .status' "$work/out"; }
id_of() { dstack apps --json && jq -r --arg n "$1" '.[] | select(.name == $n) | .id' "$work/out"; }
becomes() { # NAME STATUS SECONDS
    for _ in $(seq $(($3 * 10))); do
        [ "$(status_of "$1")" = "$2" ] && return 0
        sleep 0.1
    done
    return 1
}
printed() {
    for _ in $(seq 100); do
        dstack logs "$1" && grep -q 'tiny guest is up' "$work/out" && return 0
        sleep 0.1
    done
    return 1
}
deploy() { # NAME IMAGE [OPTIONS]
    dstack deploy "$work/app.json" --name "$1" --image "$2" --vcpu 1 --memory 64M --disk 1 --no-tee "${@:3}"
}
refused() { # CODE TEXT COMMAND...
    local code=$1 text=$2
    shift 2
    "$@"
    [ $? -eq "$code" ] && grep -q "$text" "$work/err"
}
nothing_left() { [ "$(find "$run" -mindepth 1 -maxdepth 1 ! -name .vmm.lock | wc -l)" -eq "$1" ]; }
qemu_of() { pgrep -f "qemu-system-x86_64 .*$run/$1/hda.img"; }
same_qemu() { [ -n "$2" ] && [ "$(qemu_of "$1")" = "$2" ]; }
is() { [ "$1" = "$2" ]; }

make_image tiny ''
make_image tiny-off '\xba\x04\x06\xb8\x00\x20\xef' 'init: boot stopped: there is no root'
make_image tiny-reset '\xb0\x06\xba\xf9\x0c\xee'
echo '{"manifest_version":2,"name":"tiny","runner":"docker-compose","docker_compose_file":"services: {}"}' \
    >"$work/app.json"

write_config
check "a VMM starts and answers" start_vmm
check "it lists its images" dstack images --json
check "all three of them" is "$(jq -r '[.[].name] | join(" ")' "$work/out")" "tiny tiny-off tiny-reset"

check "a VM is deployed" deploy one tiny --port tcp:127.0.0.1:0:80
check "a port in a wrong form is a usage error" refused 2 'expected VM' deploy bad tiny --port x
check "a second one beside it" deploy two tiny --port auto:80
check "both run" is "$(status_of one) $(status_of two)" "booting booting"
check "the guest's words are in its log" printed one
check "and the other's in its own" printed two
check "an empty log is no error" dstack logs one --channel stderr
one=$(id_of one)
two=$(id_of two)
taken=$(curl -s --unix-socket "$socket" "http://vmm/prpc/GetInfo?id=$two" | jq '.info.configuration.ports[0].host_port')
check "a host port of another VM is refused" refused 1 'conflicts with VM' deploy three tiny --port "$taken:80"
check "an unknown image is refused" refused 1 'no image nowhere' deploy three nowhere
echo '{"manifest_version":' >"$work/broken.json"
check "a manifest that is no JSON is refused" refused 1 . dstack deploy "$work/broken.json" --image tiny --no-tee
check "a VM without a name in the manifest is refused by the VMM itself" \
    is "$(curl -s --unix-socket "$socket" http://vmm/prpc/CreateVm?json -d '{"name":"x","image":"tiny","vcpu":1,"memory":64,"disk_size":1,"compose_file":"{}"}' | jq -r .error)" \
    "Invalid compose file: member \"name\" is missing"
check "refusals leave nothing behind" nothing_left 2

check "sec_08 an id cannot leave the folder of the VMs" \
    is "$(curl -s --unix-socket "$socket" 'http://vmm/prpc/RemoveVm?id=..%2Fimages' | jq -r .error)" "invalid VM id"
check "sec_08 nor can it in the logs route" \
    is "$(curl -s -o /dev/null -w '%{http_code}' --unix-socket "$socket" 'http://vmm/logs?id=..%2Fimages%2Ftiny')" 404
check "sec_22 a VM without a TEE has no channel to one" bash -c "! grep -q org.dstack.tee '$run/$one/launch.json'"
check "sec_22 a simulated TEE needs keys and the insecure mode" \
    is "$(curl -s --unix-socket "$socket" http://vmm/prpc/CreateVm?json -d '{"name":"x","image":"tiny","vcpu":1,"memory":64,"disk_size":1,"simulated_tee":"dstack-tdx","compose_file":"{\"manifest_version\":2,\"name\":\"x\",\"runner\":\"bash\"}"}' | jq -r .error)" \
    "tee simulator credentials are not configured on this VMM"
sed -i 's/^cvm:/cvm:\n  tee_simulator: {keys: \/nowhere}/' "$work/vmm.yaml"
check "sec_19 which the configuration alone cannot give" \
    bash -c "! '$bin/dstack-vmm' --config '$work/vmm.yaml' --check-config 2>'$work/err' && grep -q insecure-dev '$work/err'"
write_config

qemu_one=$(qemu_of "$one")
qemu_two=$(qemu_of "$two")
kill_vmm KILL
check "after kill -9 of the VMM a new one starts" start_vmm
check "and finds both VMs running" is "$(status_of one) $(status_of two)" "booting booting"
check "by the very same processes" same_qemu "$one" "$qemu_one"
check "both of them" same_qemu "$two" "$qemu_two"
check "a second VMM on the same folder is refused" \
    bash -c "! '$bin/dstack-vmm' --config '$work/vmm.yaml' >'$work/err' 2>&1 && grep -q 'another dstack-vmm' '$work/err'"

kill -9 "$(pgrep -f "supervise $run/$one")"
sleep 0.5
check "when a VM's supervisor is killed its QEMU goes with it" bash -c "[ '$(qemu_of "$one")' != '$qemu_one' ]"
check "and the VM is started again" becomes one booting 20

check "a VM that runs is not removed by accident" refused 1 'stop it first' dstack rm two
check "a VM is stopped" dstack stop two --force
check "and says so" is "$(status_of two)" stopped
kill_vmm TERM
mkdir -p "$run/.new-half" "$run/.gone-half"
touch "$run/.new-half/hda.img" "$run/$two/.removing"
check "a VMM starts over half-done work" start_vmm
check "half-made and half-deleted VMs are cleaned up" nothing_left 1
check "a removal that was under way is finished" is "$(status_of two)" ""
check "the other VM still runs" is "$(status_of one)" booting
check "it is removed by force" dstack rm one --force
check "with everything it had" nothing_left 0

check "a guest that powers off" deploy off tiny-off
check "stays off" becomes off stopped 20
sleep 3
check "and is not restarted" is "$(status_of off)" stopped
check "waiting for one that powers off is told so" refused 1 'ended while it booted (stopped).*: "boot stopped: there is no root"' deploy off2 tiny-off --wait
check "and it is removed" dstack rm off2
check "a guest that resets" deploy reset tiny-reset
sleep 6
check "is restarted, and given up after the allowed attempts" \
    bash -c "grep -q 'automatic restart gives up' '$work/vmm.log' && [ \$(grep -c 'restarting a VM' '$work/vmm.log') -ge 2 ]"
check "reset and off VMs are removed" bash -c "
    '$bin/dstack' rm off --force --vmm unix:$socket >/dev/null && '$bin/dstack' rm reset --force --vmm unix:$socket >/dev/null"

mkdir "$work/small"
if mount -t tmpfs -o size=64M tmpfs "$work/small" 2>/dev/null; then
    kill_vmm TERM
    write_config "$work/small/vms"
    check "a VMM works on a nearly full disk" start_vmm
    check "where a VM is refused for want of space" refused 1 'no space left' deploy full tiny
    check "and leaves nothing" is "$(find "$work/small/vms" -mindepth 1 ! -name .vmm.lock | wc -l)" 0
else
    echo "SKIP: this machine allows no mounts: no test of a full disk"
fi

kill_vmm TERM
write_config
cat >>"$work/vmm.yaml" <<YAML
auth: {enabled: true, tokens: [sesame]}
YAML
start_vmm_with_token() {
    "$bin/dstack-vmm" --config "$work/vmm.yaml" >>"$work/vmm.log" 2>&1 &
    vmm_pid=$!
    for _ in $(seq 100); do
        [ -S "$socket" ] && curl -s -o /dev/null --unix-socket "$socket" http://vmm/ && return 0
        sleep 0.1
    done
    return 1
}
check "a VMM with tokens starts" start_vmm_with_token
code() { curl -s -o /dev/null -w '%{http_code}' --unix-socket "$socket" "$@" http://vmm/prpc/Status; }
check "sec_10 without a token nothing is answered" is "$(code)" 401
check "sec_10 nor with a wrong one" is "$(code -H 'Authorization: Bearer sesamf')" 401
check "with the right one it is" is "$(code -H 'Authorization: Bearer sesame')" 200
exit $failed
