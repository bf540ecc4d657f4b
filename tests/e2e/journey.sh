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
        --env-file "$state/app.env"
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
