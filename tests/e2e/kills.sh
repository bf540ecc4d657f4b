# kill -9 of each daemon, at a bad moment. Sourced by run.
# shellcheck shell=bash disable=SC2154 # variables of run and of examples/demo/lib.sh

kill_hard() { # DAEMON
    local pid
    pid=$(cat "$state/$1.pid")
    kill -KILL "$pid"
    while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
}

kms_identity() {
    curl -sk -d '{}' "https://127.0.0.1:$kms_port/prpc/KMS.GetMeta?json" |
        jq -c '[.ca_cert, .k256_pubkey]'
}

released() { grep -c 'app keys released' "$state/kms.log"; }

# It is gone when a guest asks for keys, and comes back while the guest asks again.
kms_killed() {
    local before count
    before=$(kms_identity)
    jq -e '.[0] != null and .[1] != null' <<<"$before"
    count=$(released)
    kill_hard kms
    vmm_cli start hello
    wait_boot hello 500 'requesting app keys'
    sleep 3
    run_kms
    same "the KMS's roots" "$before" "$(kms_identity)"
    wait_boot hello 500 'setting up dstack-gateway|setting up docker|starting containers|done'
    same "the number of released keys" $((count + 1)) "$(released)"
}

# While a VM boots: the VM goes on, the next VMM finds it.
vmm_killed() {
    local before
    before=$(vm_qemu hello)
    kill_hard vmm
    sleep 1
    same "the VM's process" "$before" "$(pgrep -f -- "qemu-system.*$vm_id")"
    run_vmm
    same "the VM's process" "$before" "$(vm_qemu hello)"
    wait_boot hello 600 'done'
}

gateway_killed() {
    kill_hard gateway
    ! app_curl --max-time 5 "$app_url" >/dev/null 2>&1 || fail "something answers in its place"
    run_gateway
    fetch_page after-kill
    same "the app's key" "$(jq -r .key "$state/facts.first.json")" \
        "$(jq -r .key "$state/facts.after-kill.json")"
}
