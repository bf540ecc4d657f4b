# The rules on a real chain: what the owner of an app takes back and gives again there. Sourced by
# chain. The chain is a local one with our contracts; its keys are the public ones of such chains.
# shellcheck shell=bash disable=SC2154 # variables of chain and of examples/demo/lib.sh

start_chain() {
    local facts=$state/devchain.json
    rm -f "$facts" "$state/devchain.in"
    mkfifo "$state/devchain.in"
    # It lives as long as its input stays open.
    setsid "$root/tests/evm/devchain" <>"$state/devchain.in" >"$facts" 2>>"$state/devchain.log" &
    echo $! >"$state/devchain.pid"
    wait_for 60 "local chain" devchain grep -q '"kms"' "$facts"
    (umask 077 && jq -r '.accounts[0].key' "$facts" | sed 's/^0x//' >"$state/owner.key")
    tell "contract: $(jq -r .kms "$facts")"
}

chain_fact() { jq -r ".$1" "$state/devchain.json"; }

chain() { # COMMAND...: as the owner of both contracts
    "$bin/dstack" chain "$@" --rpc "$(chain_fact rpc)" --chain-id 31337 --key "$state/owner.key"
}

# What is final is what counts: the chain makes blocks only when told.
chain_settle() {
    curl -sSf -H 'Content-Type: application/json' "$(chain_fact rpc)" \
        -d '{"jsonrpc":"2.0","id":1,"method":"anvil_mine","params":["0x60"]}' | jq -e '.error == null'
}

kms_identity() {
    "$bin/dstack-kms" --config "$state/kms.yaml" --insecure-dev --print-identity
}

start_kms_on_chain() {
    local identity
    start_tee kms
    cat >"$state/kms.yaml" <<YAML
rpc: {address: "127.0.0.1", port: $kms_port}
core:
  cert_dir: $state/kms
  tee:
    url: "sim:unix:$state/kms-tee.sock"
    manifest: $root/examples/kms/app-compose.json
    vm_config: $state/kms-vm-config.json
  attestation:
    root_ca: {tdx: $state/sim/root.pem}
    collateral: [$state/sim/collateral.json]
  auth_api:
    type: chain
    chain: {contract: "$(chain_fact kms)", chain_id: 31337, urls: ["$(chain_fact rpc)"], cache: 0s}
  onboard: {auto_bootstrap_domain: "10.0.2.2"}
YAML
    identity=$(kms_identity)
    chain allow os-image "$(jq -r .osImageHash <<<"$identity")" --kms "$(chain_fact kms)"
    chain allow kms-mr "$(jq -r .mrAggregated <<<"$identity")" --kms "$(chain_fact kms)"
    chain allow kms-device "$(jq -r .deviceId <<<"$identity")" --kms "$(chain_fact kms)"
    chain_settle
    run_kms
    curl -skf "https://127.0.0.1:$kms_port/prpc/GetMeta?json" -d null |
        jq -e --arg kms "$(chain_fact kms)" '(.kms_contract_address | ascii_downcase) == ($kms | ascii_downcase) and .chain_id == 31337'
}

# The app's contract is made first: its address is the app id.
deploy_chained() {
    local made
    vmm_cli deploy "$state/docker-compose.yaml" --name chained --kms --no-gateway --no-secure-time \
        --image dstack-sim --dry-run --json | jq -j .appCompose >"$state/chained.json"
    made=$(chain app new --kms "$(chain_fact kms)" --any-device --json \
        --compose-hash "$(compose_hash_of "$state/chained.json")")
    jq -r .app_id <<<"$made" >"$state/chained.id"
    chain_settle
    deploy_small chained "$state/chained.json" --app-id "$(sed s/^0x// "$state/chained.id")" \
        --port "tcp:127.0.0.1:$gateway_port:80"
}

chained_facts() { # FILE
    wait_boot chained 900 'done'
    for _ in $(seq 120); do
        ! curl -sSf --max-time 20 "http://127.0.0.1:$gateway_port/json" >"$state/$1" || break
        sleep 1
    done
    jq -e 'has("key") and has("disk")' "$state/$1"
    tell "$(jq -c '[.key[0:16], .disk[0:16], .boots]' "$state/$1")"
}

stop_chained() { vmm_cli stop chained; }

revoke_chained() {
    chain revoke compose-hash "$state/chained.json" --app "$(cat "$state/chained.id")"
    chain_settle
}

# Its user learns the reason from the command that starts it.
start_refused() {
    refused 1 'Compose hash not allowed' vmm_cli start chained --wait
    wait_refused chained 60 'Boot denied: Compose hash not allowed'
}

allow_chained() {
    chain allow compose-hash "$state/chained.json" --app "$(cat "$state/chained.id")"
    chain_settle
    vmm_cli start chained
}

same_keys_and_disk() {
    chained_facts chained.again.json
    same "the key" "$(jq -r .key "$state/chained.first.json")" \
        "$(jq -r .key "$state/chained.again.json")"
    same "the disk" "$(jq -r .disk "$state/chained.first.json")" \
        "$(jq -r .disk "$state/chained.again.json")"
    same "the number of starts" 2 "$(jq -r .boots "$state/chained.again.json")"
}

# Who changed what and when is on the chain for good.
history_tells() {
    chain_history=$("$bin/dstack" chain history --app "$(cat "$state/chained.id")" \
        --rpc "$(chain_fact rpc)" --chain-id 31337)
    printf '%s\n' "$chain_history"
    [ "$(grep -ci 'compose.hash' <<<"$chain_history")" -ge 3 ] ||
        fail "the history does not tell of three changes"
}
