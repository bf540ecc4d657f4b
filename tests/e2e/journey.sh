# The journey of ./demo, with an encrypted environment. Sourced by run.
# shellcheck shell=bash disable=SC2154 # variables of run and of examples/demo/lib.sh

# The greeting shows on the page; the token is for the app alone and must never show anywhere.
make_env() {
    (umask 077 && printf 'GREETING=%s\nAPI_TOKEN=%s\n' "$greeting" "$(openssl rand -hex 24)" \
        >"$state/app.env")
}

deploy_hello() {
    make_env
    make_manifest hello "$state/docker-compose.yaml" "$state/app-compose.json" \
        --env-file "$state/app.env" --public-logs --public-sysinfo
    jq -e '.allowed_envs == ["API_TOKEN","GREETING"] or .allowed_envs == ["GREETING","API_TOKEN"]' \
        "$state/app-compose.json"
    write_allow_list "$state/app-compose.json"
    deploy_small hello "$state/app-compose.json" --env-file "$state/app.env" \
        --kms-url "https://10.0.2.2:$kms_port" --kms-ca "$state/kms/root-ca.crt" \
        --kms-connect "127.0.0.1:$kms_port"
    ! grep -rqF "$greeting" "$state/vms" || fail "the environment lies in the clear on the host"
}

hello_boots() { wait_boot hello 600 'done'; }

page_shows_environment() {
    app_curl "$app_url" >"$scratch/page.html"
    grep -F "<h1>$greeting</h1>" "$scratch/page.html" || fail "the page does not show GREETING"
    jq -e --arg want "$greeting" '.greeting == $want and .boots == 1 and (.key | length) > 80' \
        "$state/facts.first.json"
}

agent_curl() {
    app_curl "$@" --resolve "$app_id-8090.$domain:$proxy_port:127.0.0.1"
}

evidence_url() { echo "https://$app_id-8090.$domain:$proxy_port/.well-known/dstack/evidence"; }

# The attestation binds nonce and key: report data is a tagged hash of both.
evidence_for_nonce() {
    local nonce other status
    nonce=$(openssl rand -hex 32)
    agent_curl "$(evidence_url)?nonce=$nonce" >"$scratch/evidence.json"
    jq -j .attestation "$scratch/evidence.json" >"$scratch/attestation.hex"
    jq -e '.certificate | startswith("-----BEGIN CERTIFICATE-----")' "$scratch/evidence.json"
    verify_attestation "$scratch/attestation.hex"
    other=$(agent_curl "$(evidence_url)?nonce=$(openssl rand -hex 32)" | jq -r .attestation)
    [ "$other" != "$(cat "$scratch/attestation.hex")" ] || fail "another nonce, the same evidence"
    status=$(curl -s --cacert "$state/acme/issuer-root.pem" -o /dev/null -w '%{http_code}' \
        --resolve "$app_id-8090.$domain:$proxy_port:127.0.0.1" "$(evidence_url)?nonce=00")
    [ "$status" = 400 ] || fail "a nonce of one byte gets status $status"
}

verify_attestation() { # FILE [OPTION...]
    "$bin/dstack" attestation verify "$1" --root "${sim_root:-$state/sim/root.pem}" \
        --collateral "$state/sim/collateral.json" --image "$image_dir" "${@:2}"
}

# Every choice pinned: root, image, manifest, KMS, gateway. Options of the caller come in their place.
# Of an address whose TLS the app ends itself (target_url) the public PKI knows nothing.
verify_hello() { # [OPTION...]
    local given=" $* " pins=()
    pin() { [[ $given == *" $1 "* ]] || pins+=("$@"); }
    pin --manifest "$state/app-compose.json"
    pin --kms-root "$state/kms/root-ca.crt"
    pin --app-id "$app_id"
    [ -n "${target_url:-}" ] || pin --ca "$state/acme/issuer-root.pem"
    pin --gateway-app-id "$(app_id_of "$root/examples/gateway/app-compose.json")"
    "$bin/dstack" verify "${target_url:-$app_url}" --insecure-dev --root "${sim_root:-$state/sim/root.pem}" \
        --collateral "$state/sim/collateral.json" --image "$image_dir" \
        --connect "127.0.0.1:$proxy_port" "${pins[@]}" "$@"
}

verified_to_the_root() {
    verify_hello --json >"$scratch/verify.json"
    jq . "$scratch/verify.json"
    jq -e '.verdict == "verified" and .insecure_dev == true and (.steps | length) >= 15 and
        ([.steps[].ok] | all)' "$scratch/verify.json"
    tell "$(jq '.steps | length' "$scratch/verify.json") steps hold"
}

# No gateway step takes part, and the connection's certificate is not the gateway's.
passthrough_verified() {
    local mine gateways
    target_url=$app_tls_url verify_hello --json >"$scratch/passthrough.json"
    jq . "$scratch/passthrough.json"
    jq -e '.verdict == "verified" and .mode == "passthrough" and
        ([.steps[] | select(.step != "public-name") | .ok] | all) and
        ([.steps[].step] | any(startswith("gateway")) | not)' \
        "$scratch/passthrough.json"
    mine=$(spki_behind "$app_id-s.$domain")
    gateways=$(spki_behind "$app_id.$domain")
    [ -n "$mine" ] && [ "$mine" != "$gateways" ] || fail "the gateway's own key answers"
}

spki_behind() { # NAME
    openssl s_client -connect "127.0.0.1:$proxy_port" -servername "$1" </dev/null 2>/dev/null |
        openssl x509 -noout -pubkey | sha256sum
}

agent_page() { agent_curl "https://$app_id-8090.$domain:$proxy_port$1" "${@:2}"; }

# Docker in the guest, its log and the machine's vital signs, seen from outside.
pages_through_the_gateway() {
    local container line
    agent_page / >"$scratch/dashboard.html"
    for line in "$app_id" "1 of 1 container running" system-ready compose-hash RTMR3 Development; do
        grep -qF "$line" "$scratch/dashboard.html" || fail "the dashboard lacks $line"
    done
    container=$(grep -oE '/view/[A-Za-z0-9_.-]+' "$scratch/dashboard.html" | head -n 1)
    container=${container#/view/}
    agent_page "/view/$container" >"$scratch/viewer.html"
    grep -q /page/logs.js "$scratch/viewer.html" || fail "there is no log viewer for $container"
    agent_page "/logs/$container?text&timestamps&tail=100" >"$scratch/log.jsonl"
    jq -es 'length > 0 and all(.[]; (.channel == "stdout" or .channel == "stderr") and
        (.message | test("^20[0-9-]+T.*Z ")))' "$scratch/log.jsonl" || fail "the log is not as promised"
    agent_page /metrics >"$scratch/metrics.txt"
    grep -qx 'dstack_guest_containers{state="running"} 1' "$scratch/metrics.txt" ||
        fail "metrics do not count the container"
    grep -q '^system_memory_total [1-9]' "$scratch/metrics.txt" || fail "metrics lack the memory"
    tell "$(wc -l <"$scratch/log.jsonl") log lines, $(grep -c '^# TYPE' "$scratch/metrics.txt") metrics"
}

# sec_08: the engine holds the containers' environments, among them the app's token.
engine_out_of_reach() {
    local path status container
    container=$(grep -oE '/view/[A-Za-z0-9_.-]+' "$scratch/dashboard.html" | head -n 1)
    for path in "/logs/${container#/view/}%2Fjson%3F" /logs/..%2Fversion /logs/%2e%2e%2Finfo%3F \
        "/logs/${container#/view/}/json"; do
        status=$(agent_page "$path" -o "$scratch/engine.txt" -w '%{http_code}' 2>/dev/null || true)
        [ "$status" = 404 ] || fail "$path gets status $status"
        ! grep -qF "$(sed -n 's/^API_TOKEN=//p' "$state/app.env")" "$scratch/engine.txt" ||
            fail "$path gives the app's token away"
    done
}

shown_to_its_owner() {
    local logs
    vmm_cli apps | grep -E "hello +running" || fail "apps does not show it running"
    vmm_cli info hello | grep -E "^app id +$app_id$"
    [ "$(vm_field hello boot_progress)" = 'done' ] || fail "info does not say that it has booted"
    logs=$(vmm_cli logs hello --lines 4000)
    grep -qE 'dstack-boot|boot stage' <<<"$logs" || fail "the serial log does not show the boot"
    vmm_cli images | grep -E "dstack-sim"
}

same_after_restart() {
    local before after
    fetch_page again
    before=$(jq -r '.key + " " + .disk' "$state/facts.first.json")
    after=$(jq -r '.key + " " + .disk' "$state/facts.again.json")
    same "key or disk" "$before" "$after"
    jq -e --arg want "$greeting" '.boots == 2 and .greeting == $want' "$state/facts.again.json" ||
        fail "starts or greeting are wrong: $(cat "$state/facts.again.json")"
}
