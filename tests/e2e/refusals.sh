# Bad input that no machine needs to boot for. Each refusal tells its reason and leaves nothing.
# shellcheck shell=bash disable=SC2154 # variables of run and of examples/demo/lib.sh

# left_nothing COMMAND...: the VMM's folder is the same afterwards.
left_nothing() {
    local before
    before=$(run_folder "$state/vms")
    "$@"
    same "the VMM's folder" "$before" "$(run_folder "$state/vms")"
}

deploy_plain() { # FILE [OPTION...]
    vmm_cli deploy "$1" --name refused --kms --image dstack-sim --disk 1 "${@:2}"
}

unknown_image() {
    left_nothing refused 1 'nosuchimage' deploy_plain "$state/docker-compose.yaml" --image nosuchimage
    left_nothing refused 1 'name' deploy_plain "$state/docker-compose.yaml" --image ../../etc
}

manifest_not_json() {
    printf '{"manifest_version": 2, "name": "x", ' >"$scratch/broken.json"
    left_nothing refused 1 'broken.json.*(JSON|line|parse)' deploy_plain "$scratch/broken.json"
    # Past the command line's own check, straight to the VMM.
    left_nothing refused 22 'not valid JSON' vmm_rpc CreateVm \
        '{"name":"x","image":"dstack-sim","compose_file":"{\"name\":","vcpu":1,"memory":512,"disk_size":1}'
}

vmm_rpc() { # METHOD JSON
    curl -sS --fail-with-body --unix-socket "$state/vmm.sock" -H 'Content-Type: application/json' \
        -d "$2" "http://vmm/prpc/$1?json"
}

# The limit is 50 MiB.
manifest_too_large() {
    sed 's/}$//' "$state/app-compose.json" >"$scratch/large.json"
    head -c $((50 << 20)) /dev/zero | tr '\0' ' ' >>"$scratch/large.json"
    printf '}' >>"$scratch/large.json"
    left_nothing refused '[13]' 'large.json.*(limit|larger|more than|at most|allowed)' \
        deploy_plain "$scratch/large.json"
    rm "$scratch/large.json"
}

port_in_use() {
    local taken=$registry_port
    left_nothing refused 1 "$taken" deploy_plain "$state/docker-compose.yaml" \
        --port "tcp:127.0.0.1:$taken:80"
}

disk_above_limit() {
    left_nothing refused 1 "above this VMM's limit of 8" deploy_plain "$state/docker-compose.yaml" \
        --disk 9
}

# A VMM of its own whose folder is a file system of 64 MiB.
no_space_left() {
    local full=$state/full
    mkdir -p "$full"
    mount -t tmpfs -o size=64m,mode=0700 e2e-full "$full"
    sed "s|^address:.*|address: \"unix:$state/full.sock\"|; s|^run_path:.*|run_path: $full/vms|" \
        "$state/vmm.yaml" >"$state/full.yaml"
    start_daemon full "$bin/dstack-vmm" --config "$state/full.yaml" --insecure-dev
    wait_for 20 "VMM on a small file system" full "$bin/dstack" images --vmm "unix:$state/full.sock"
    refused 1 'no space left' "$bin/dstack" deploy "$state/docker-compose.yaml" --name full \
        --kms --image dstack-sim --disk 1 --vmm "unix:$state/full.sock"
    same "the VMM's folder" "" "$(run_folder "$full/vms")"
    stop_daemon full
    umount "$full"
}

environment_without_kms() {
    local closed
    closed=$(free_port)
    make_manifest env "$state/docker-compose.yaml" "$scratch/env-compose.json" \
        --env-file "$state/app.env"
    left_nothing refused 3 'connect|refused|reach' deploy_plain "$scratch/env-compose.json" \
        --env-file "$state/app.env" --kms-url "https://10.0.2.2:$closed" \
        --kms-ca "$state/kms/root-ca.crt" --kms-connect "127.0.0.1:$closed"
    # A server that is there but under another root gets no ciphertext either.
    left_nothing refused 1 'certificate|issued|trust|signed' deploy_plain "$scratch/env-compose.json" \
        --env-file "$state/app.env" --kms-url "https://10.0.2.2:$kms_port" \
        --kms-ca "$state/acme/ca.pem" --kms-connect "127.0.0.1:$kms_port"
}

free_port() {
    python3 -c 'import socket
s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

keys_without_evidence() {
    local answer
    answer=$(curl -sk -w ' %{http_code}' -d '{"api_version":1,"vm_config":"{}"}' \
        "https://127.0.0.1:$kms_port/prpc/KMS.GetAppKey?json")
    printf '%s\n' "$answer"
    [[ $answer =~ \ 4[0-9][0-9]$ ]] || fail "a caller without evidence is not refused"
    ! grep -qiE 'disk_crypt_key|k256_key"' <<<"$answer" || fail "keys in the answer"
}

# Pinned simulation roots release keys to machines that are no TEE: not without the flag.
weak_settings_need_flag() {
    local name
    for name in kms gateway vmm; do
        refused 2 'insecure-dev' timeout 20 "$bin/dstack-$name" --config "$state/$name.yaml"
    done
}

root_keys_survive() {
    local copy=$scratch/kms-copy
    rm -rf "$copy"
    cp -a "$state/kms" "$copy"
    rm "$copy/root-k256.key"
    sed "s|cert_dir: .*|cert_dir: $copy|; s|port: $kms_port|port: $(free_port)|" "$state/kms.yaml" \
        >"$scratch/kms-copy.yaml"
    refused 1 'holds keys, but not root-k256.key' timeout 20 "$bin/dstack-kms" --config "$scratch/kms-copy.yaml" \
        --insecure-dev
    cmp "$state/kms/root-ca.key" "$copy/root-ca.key"
    [ ! -e "$copy/root-k256.key" ] || fail "a new root key was made beside the old one"
    rm -rf "$copy"
}

# ---- evidence -----------------------------------------------------------------------------------

other_root() {
    [ -s "$state/other-sim/root.pem" ] || "$bin/dstack-vmm" simulate-tee --init "$state/other-sim" \
        >/dev/null
    echo "$state/other-sim/root.pem"
}

verify_refused() { # CHECK [OPTION...]: the step that must be the one refused
    local status=0
    verify_hello --json "${@:2}" >"$scratch/refused.json" || status=$?
    jq -c .error "$scratch/refused.json"
    [ "$status" -eq 1 ] || fail "exit status $status, 1 expected"
    same "the refused check" "$1" "$(jq -r .error.check "$scratch/refused.json")"
    jq -e '.verdict == "refused" and (.error.message | length) > 10' "$scratch/refused.json"
    sleep 1 # the guest answers a few public requests a second
}

no_chain='root.*(signature does not hold|not trusted|not pinned|is not)'
wrong_root_refused() {
    local sim_root
    # shellcheck disable=SC2034 # read by verify_hello and verify_attestation
    sim_root=$(other_root)
    verify_refused hardware-root
    refused 1 "$no_chain" verify_attestation "$scratch/attestation.hex"
}

# Without a pinned root only Intel's counts, whatever the flag says.
unpinned_root_refused() {
    refused 1 "$no_chain" "$bin/dstack" verify "$app_url" --insecure-dev \
        --collateral "$state/sim/collateral.json" --image "$image_dir" \
        --ca "$state/acme/issuer-root.pem" --connect "127.0.0.1:$proxy_port"
    refused 2 'insecure-dev' "$bin/dstack" verify "$app_url" --root "$state/sim/root.pem" \
        --collateral "$state/sim/collateral.json" --connect "127.0.0.1:$proxy_port"
}

# flip_quote OFFSET OUTPUT: one bit at that offset of the quote inside the attestation.
flip_quote() {
    python3 - "$scratch/attestation.hex" "$1" "$2" <<'PY'
import sys
data = bytearray.fromhex(open(sys.argv[1]).read())
start = data.index(bytes.fromhex("040002008100000000000000"))
data[start + int(sys.argv[2])] ^= 1
open(sys.argv[3], "w").write(data.hex())
PY
}

# Header 48 bytes, TD report 584, then the length and the signature over both (Intel TDX DCAP Quote
# format, version 4).
flipped_byte_refused() {
    local offset
    for offset in 20 184 376 568 640 700 800; do
        flip_quote "$offset" "$scratch/flipped.hex"
        refused 1 '.' verify_attestation "$scratch/flipped.hex"
    done
}

far_future_refused() {
    local later=$(($(date +%s) + 20 * 365 * 86400))
    verify_refused hardware-root --now "$later"
    refused 1 'was valid until' verify_attestation "$scratch/attestation.hex" --now "$later"
    refused 1 'is valid from' verify_attestation "$scratch/attestation.hex" --now 1000000000
}

another_app_refused() {
    sed 's/"name":"hello"/"name":"hellO"/' "$state/app-compose.json" >"$scratch/other-compose.json"
    verify_refused app-manifest --manifest "$scratch/other-compose.json"
    verify_refused app-identity --app-id "$(printf '%040d' 7)"
    verify_refused kms --kms-root "$state/acme/ca.pem"
    verify_refused gateway.identity --gateway-app-id "$(printf '%040d' 7)"
}
