# Refusals that a booting guest meets. Sourced by run.
# shellcheck shell=bash disable=SC2154 # variables of run and of examples/demo/lib.sh

# ---- the disk -----------------------------------------------------------------------------------

data_disk() { echo "$state/vms/$(vm_field hello id)/hda.img"; }

# The host replaces the cipher by none in both copies of the header, checksums and all.
disk_header_altered() {
    local disk
    vmm_cli stop hello --timeout 300 2>&1 | tee "$scratch/stop-hello.txt"
    ! grep 'killing it' "$scratch/stop-hello.txt" || fail "the guest does not shut down when asked"
    disk=$(data_disk)
    dd if="$disk" of="$scratch/luks-header" bs=1M count=1 status=none
    "$root/tests/e2e/luks_null.py" "$disk"
    vmm_cli start hello
    wait_refused hello 600 'LUKS header'
    dd if="$scratch/luks-header" of="$disk" bs=1M count=1 conv=notrunc status=none
}

# ---- keys ---------------------------------------------------------------------------------------

compose_hash_refused() {
    sed 's/"name":"hello"/"name":"hellO"/' "$state/app-compose.json" >"$state/tampered.json"
    refused 1 'compose hash not allowed' deploy_small tampered "$state/tampered.json" \
        --app-id "$app_id" --wait
    wait_refused tampered 60 'compose hash not allowed'
    grep -E "app keys refused app_id=\"$app_id\".*$(compose_hash_of "$state/tampered.json").*compose hash not allowed" \
        "$state/kms.log" || fail "the KMS's log does not tell who was refused and why"
    date +%s >"$scratch/refused-at"
}

# The VMM starts again what ends by itself, every 20 seconds: not what was refused.
refused_stays_off() {
    local id
    id=$(vm_field tampered id)
    while [ $(($(date +%s) - $(cat "$scratch/refused-at"))) -lt 45 ]; do sleep 1; done
    [[ $(vm_field tampered status) =~ ^(stopped|exited)$ ]] || fail "it was started again"
    ! grep -F "$id" "$state/vmm.log" | grep 'restarting' || fail "it was started again"
    remove_vm tampered
    [ ! -e "$state/vms/$id" ] || fail "its folder is left"
}

no_tee_no_keys() {
    local before
    before=$(released)
    deploy_small no-tee "$state/app-compose.json" --no-tee
    wait_refused no-tee 600 '.'
    same "the number of released keys" "$before" "$(released)"
    remove_vm no-tee
}

start_unreachable() {
    deploy_small unreachable "$state/app-compose.json" --kms-url "https://10.0.2.2:$(free_port)"
}

kms_unreachable() {
    wait_refused unreachable 600 'keys: .*(connect|refused|reach|within)'
    remove_vm unreachable
}

# A KMS that the host made up, with evidence under a root of its own: same program, same image, same
# policy. The guest must not take a key from it.
start_forged_kms() {
    other_root
    rm -f "$state/forged-tee.sock"
    start_daemon forged-tee "$bin/dstack-vmm" simulate-tee --keys "$state/other-sim" \
        --socket "$state/forged-tee.sock" --image "$image_dir" --state "$state/forged-tee.state" \
        --write-vm-config "$state/forged-vm-config.json" --fresh
    wait_for 20 "TEE of the forged KMS" forged-tee test -S "$state/forged-tee.sock"
    free_port >"$state/forged-port"
    sed "s|$state/sim/|$state/other-sim/|; s|/kms-tee.sock|/forged-tee.sock|
        s|/kms-vm-config|/forged-vm-config|; s|cert_dir: .*|cert_dir: $state/forged-kms|
        s|port: $kms_port|port: $(cat "$state/forged-port")|" "$state/kms.yaml" >"$state/forged.yaml"
    start_daemon forged "$bin/dstack-kms" --config "$state/forged.yaml" --insecure-dev
    wait_for 30 "the forged KMS" forged \
        curl -skf "https://127.0.0.1:$(cat "$state/forged-port")/health"
}

forged_kms_refused() {
    start_forged_kms
    deploy_small forged "$state/app-compose.json" \
        --kms-url "https://10.0.2.2:$(cat "$state/forged-port")"
    wait_refused forged 600 'keys: .*(root|chain|trust|evidence|quote)'
    ! grep -q 'app keys released' "$state/forged.log" || fail "the forged KMS has released keys"
    remove_vm forged
    stop_daemon forged
    stop_daemon forged-tee
}
