# What a VM does, seen through the VMM. Sourced by run.
# shellcheck shell=bash disable=SC2154 # variables of run and of examples/demo/lib.sh

vm_info() { vmm_cli info "$1" --json; } # NAME or id
vm_field() { vm_info "$1" | jq -r ".$2 // \"\""; }
vm_qemu() { pgrep -f -- "qemu-system.*$(vm_field "$1" id)"; }

# wait_boot NAME SECONDS PROGRESS: until the VM reports that stage (an extended regular expression).
wait_boot() {
    local until=$((SECONDS + $2)) info
    while [ "$SECONDS" -lt "$until" ]; do
        info=$(vm_info "$1" 2>/dev/null) || info='{}'
        if jq -r '.boot_progress // ""' <<<"$info" | grep -qE "^($3)$"; then
            return 0
        fi
        if [ -n "$(jq -r '.boot_error // ""' <<<"$info")" ]; then
            fail "boot error: $(jq -r .boot_error <<<"$info")"
        fi
        sleep 0.3
    done
    fail "$1 is still at \"$(jq -r '.boot_progress // ""' <<<"$info")\" after $2 s"
}

# wait_refused NAME SECONDS REASON: until the VM has given up with that reason and is powered off.
wait_refused() {
    local until=$((SECONDS + $2)) info reason=
    while [ "$SECONDS" -lt "$until" ]; do
        info=$(vm_info "$1")
        reason=$(jq -r '.boot_error // ""' <<<"$info")
        if [ -n "$reason" ] && [[ $(jq -r .status <<<"$info") =~ ^(stopped|exited)$ ]]; then
            printf 'boot error: %s\n' "$reason"
            grep -qE -- "$3" <<<"$reason" || fail "the reason is not told; expected: $3"
            return 0
        fi
        [ "$(jq -r '.boot_progress // ""' <<<"$info")" != 'done' ] || fail "$1 has booted"
        sleep 0.5
    done
    fail "$1 did not end within $2 s: $(jq -c '[.status,.boot_progress,.boot_error]' <<<"$info")"
}

deploy_small() { # NAME MANIFEST [OPTION...]: returns at once
    vmm_cli deploy "$2" --name "$1" --image dstack-sim --vcpu 2 --memory 2048 --disk 2 "${@:3}"
}

# What lies in a run folder: equal before and after a refusal.
run_folder() { ls -A -I .vmm.lock "$1"; }

# remove_vm NAME: its logs are kept, they are searched for secrets at the end.
remove_vm() {
    local id
    id=$(vm_field "$1" id)
    mkdir -p "$state/removed/$1"
    find "$state/vms/$id" -maxdepth 1 \( -name '*.log*' -o -name runtime.json \) \
        -exec cp -a -t "$state/removed/$1" {} +
    vmm_cli rm "$1"
}
