# Steps of ./demo, shared with tests/e2e. Sourced; needs $root (the project) and $state (a folder).
# shellcheck shell=bash
: "${root:?}" "${state:?}"
bin=$root/build/bin
domain=dstack.localhost
wg_interface=${DEMO_WG_INTERFACE:-wg-dstack}
wg_net=${DEMO_WG_NET:-10.44.0} # three octets of a /24

step_number=0
step() {
    step_number=$((step_number + 1))
    printf '\n\033[1m[%d] %s\033[0m\n' "$step_number" "$1"
}
note() { printf '    %s\n' "$*"; }
die() {
    printf 'demo: %s\n' "$*" >&2
    exit 1
}

# ---- processes ----------------------------------------------------------------------------------

# start_daemon NAME COMMAND...: runs it in the background with its log in $state/NAME.log.
start_daemon() {
    local name=$1
    shift
    setsid "$@" >>"$state/$name.log" 2>&1 </dev/null &
    echo $! >"$state/$name.pid"
}
alive() { [ -s "$state/$1.pid" ] && kill -0 "$(cat "$state/$1.pid")" 2>/dev/null; }

stop_daemon() {
    local name=$1 pid
    [ -s "$state/$name.pid" ] || return 0
    pid=$(cat "$state/$name.pid")
    if kill -TERM "$pid" 2>/dev/null; then
        for _ in $(seq 100); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.1
        done
        kill -KILL "$pid" 2>/dev/null || true
    fi
    rm -f "$state/$name.pid"
}

# wait_for SECONDS WHAT DAEMON COMMAND...: until the command succeeds, the daemon ends or time is up.
wait_for() {
    local seconds=$1 what=$2 daemon=$3
    shift 3
    for _ in $(seq $((seconds * 10))); do
        if "$@" >/dev/null 2>&1; then
            return 0
        fi
        if ! alive "$daemon"; then
            tail -n 5 "$state/$daemon.log" >&2
            die "$what: $daemon ended (log: $state/$daemon.log)"
        fi
        sleep 0.1
    done
    tail -n 5 "$state/$daemon.log" >&2
    die "$what: nothing after $seconds s (log: $state/$daemon.log)"
}

stop_all() {
    [ -d "$state" ] || return 0
    if alive vmm && [ -S "$state/vmm.sock" ]; then
        "$bin/dstack" apps --vmm "unix:$state/vmm.sock" --json 2>/dev/null |
            jq -r '.. | .id? // empty' 2>/dev/null | while read -r id; do
            "$bin/dstack" rm --vmm "unix:$state/vmm.sock" --force "$id" >/dev/null 2>&1 || true
        done
    fi
    for name in vmm gateway kms gateway-tee kms-tee registry; do
        stop_daemon "$name"
    done
    "$root/examples/demo/pebble.sh" --stop "$state/acme"
    [ "${1:-}" = quiet ] || note "stopped"
}

leave() {
    local status=$1
    trap - EXIT
    if [ "$status" -ne 0 ]; then
        printf '\ndemo: failed; logs are in %s\n' "$state" >&2
    fi
    if [ "$status" -ne 0 ] || [ -z "${keep:-}" ]; then
        stop_all quiet || true
    fi
    exit "$status"
}

# ---- ports --------------------------------------------------------------------------------------

# Chosen once per state folder, so that addresses stay the same from run to run.
choose_ports() {
    if [ ! -s "$state/ports" ]; then
        python3 - >"$state/ports" <<'PY'
import socket
names = ["registry_port", "kms_port", "gateway_port", "proxy_port", "wg_port"]
held = []
for name in names:
    kind = socket.SOCK_DGRAM if name == "wg_port" else socket.SOCK_STREAM
    s = socket.socket(socket.AF_INET, kind)
    s.bind(("127.0.0.1", 0))
    held.append(s)
    print(f"{name}={s.getsockname()[1]}")
PY
    fi
    # shellcheck source=/dev/null
    . "$state/ports"
    : "${registry_port:?}" "${kms_port:?}" "${gateway_port:?}" "${proxy_port:?}" "${wg_port:?}"
}

# ---- platform, image, registry ------------------------------------------------------------------

make_platform() {
    if [ ! -s "$state/sim/root.der" ]; then
        "$bin/dstack-vmm" simulate-tee --init "$state/sim"
    fi
    note "simulation root: $(sha256sum "$state/sim/root.der" | cut -d' ' -f1)"
}

make_image() {
    local version=$state/image.source now
    image_dir=$state/images/dstack-sim
    now=$(cd "$root" && {
        git rev-parse HEAD
        git status --porcelain -- os lib include service tools/dstack-agent web/agent meson.build
        sha256sum "$state/sim/root.der"
    } | sha256sum)
    if [ -s "$image_dir/digest.txt" ] && [ "$(cat "$version" 2>/dev/null)" = "$now" ]; then
        note "reusing $image_dir"
    else
        rm -rf "$image_dir"
        mkdir -p "$state/images"
        # DSTACK_IMAGE_CACHE: a folder of os/build's downloads and work files that is kept.
        "$root/os/build" --sim-root "$state/sim/root.der" --name dstack-sim --output "$image_dir" \
            ${DSTACK_IMAGE_CACHE:+--cache "$DSTACK_IMAGE_CACHE"}
        echo "$now" >"$version"
    fi
    image_hash=$(cat "$image_dir/digest.txt")
    note "image hash: $image_hash"
}

start_registry() {
    mkdir -p "$state/registry"
    cat >"$state/registry.yml" <<YAML
version: 0.1
log: {level: warn}
storage: {filesystem: {rootdirectory: $state/registry}}
http: {addr: "127.0.0.1:$registry_port"}
YAML
    start_daemon registry docker-registry serve "$state/registry.yml"
    wait_for 20 "container registry" registry curl -sf "http://127.0.0.1:$registry_port/v2/"
    hello_digest=$("$root/examples/hello/build-image" "$state/hello")
    skopeo copy -q --dest-tls-verify=false "oci:$state/hello/oci:latest" \
        "docker://127.0.0.1:$registry_port/library/hello:latest"
    sed "s|__DIGEST__|$hello_digest|" "$root/examples/hello/docker-compose.yaml" \
        >"$state/docker-compose.yaml"
    note "hello@$hello_digest"
}

# ---- services -----------------------------------------------------------------------------------

start_acme() {
    "$root/examples/demo/pebble.sh" "$state/acme"
    note "directory: $(cat "$state/acme/directory-url")"
}

# A service's own TEE: a simulated machine of the same image, for a process on the host.
start_tee() {
    local name=$1
    rm -f "$state/$name-tee.sock"
    start_daemon "$name-tee" "$bin/dstack-vmm" simulate-tee --keys "$state/sim" \
        --socket "$state/$name-tee.sock" --image "$image_dir" \
        --write-vm-config "$state/$name-vm-config.json" --state "$state/$name-tee.state" --fresh
    wait_for 20 "TEE of $name" "$name-tee" test -S "$state/$name-tee.sock"
}

app_id_of() { sha256sum "$1" | cut -c1-40; }
compose_hash_of() { sha256sum "$1" | cut -d' ' -f1; }

# The allow-list: image, KMS, gateway, and the apps given as manifest files.
write_allow_list() {
    local manifest
    {
        echo "# Who gets keys. Read again when it changes."
        echo "osImages: [\"$image_hash\"]"
        echo "gatewayAppId: \"$(app_id_of "$root/examples/gateway/app-compose.json")\""
        echo "kms:"
        echo "  composeHashes: [\"$(compose_hash_of "$root/examples/kms/app-compose.json")\"]"
        echo "  allowAnyDevice: true"
        echo "apps:"
        for manifest in "$root/examples/gateway/app-compose.json" "$@"; do
            echo "  \"$(app_id_of "$manifest")\":"
            echo "    composeHashes: [\"$(compose_hash_of "$manifest")\"]"
            echo "    allowAnyDevice: true"
        done
    } >"$state/allow.yaml.new"
    mv "$state/allow.yaml.new" "$state/allow.yaml"
}

start_kms() {
    start_tee kms
    write_allow_list
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
    type: file
    file: {path: $state/allow.yaml}
  sign: {reserved_names: [$domain]}
  onboard: {auto_bootstrap_domain: "10.0.2.2"}
YAML
    run_kms
    note "https://127.0.0.1:$kms_port, root CA: $state/kms/root-ca.crt"
}

run_kms() {
    start_daemon kms "$bin/dstack-kms" --config "$state/kms.yaml" --insecure-dev
    wait_for 30 "KMS" kms curl -skf "https://127.0.0.1:$kms_port/health"
}

start_gateway() {
    start_tee gateway
    cat >"$state/gateway.yaml" <<YAML
state_dir: $state/gateway
rpc: {address: "127.0.0.1:$gateway_port", domain: gateway.$domain}
kms:
  url: "https://10.0.2.2:$kms_port"
  connect: "127.0.0.1:$kms_port"
  root_ca: $state/kms/root-ca.crt
tee:
  url: "sim:unix:$state/gateway-tee.sock"
  manifest: $root/examples/gateway/app-compose.json
  vm_config: $state/gateway-vm-config.json
attestation:
  sim_root: $state/sim/root.pem
  collateral: [$state/sim/collateral.json]
wg:
  interface: $wg_interface
  listen_port: $wg_port
  ip: $wg_net.1/24
  reserved_net: [$wg_net.1/32]
  client_ip_range: $wg_net.0/25
  endpoint: "10.0.2.2:$wg_port"
proxy: {listen_addr: "127.0.0.1", listen_port: $proxy_port, external_port: $proxy_port}
acme:
  url: $(cat "$state/acme/directory-url")
  ca_file: $state/acme/ca.pem
  domain: $domain
  dns: {provider: hook, hook: $state/acme/dns-hook}
YAML
    # The ACME server of this run signs under a root of its own, so an older certificate is useless.
    rm -rf "$state/gateway/sealed"
    run_gateway
    note "https://gateway.$domain:$proxy_port, WireGuard on $wg_interface"
}

run_gateway() {
    start_daemon gateway "$bin/dstack-gateway" --config "$state/gateway.yaml" --insecure-dev
    wait_for 60 "gateway" gateway curl -sf --cacert "$state/acme/issuer-root.pem" \
        --resolve "gateway.$domain:$proxy_port:127.0.0.1" "https://gateway.$domain:$proxy_port/health"
}

start_vmm() {
    cat >"$state/vmm.yaml" <<YAML
address: "unix:$state/vmm.sock"
run_path: $state/vms
image: {path: $state/images}
kms_url: "https://127.0.0.1:$kms_port"
cvm:
  kms_urls: ["https://10.0.2.2:$kms_port"]
  gateway_urls: ["https://10.0.2.2:$gateway_port"]
  docker_registry: "http://10.0.2.2:$registry_port"
  tee_simulator: {keys: $state/sim}
gateway: {base_domain: $domain, port: $proxy_port}
YAML
    run_vmm
    note "unix:$state/vmm.sock"
}

run_vmm() {
    start_daemon vmm "$bin/dstack-vmm" --config "$state/vmm.yaml" --insecure-dev
    wait_for 20 "VMM" vmm "$bin/dstack" images --vmm "unix:$state/vmm.sock"
}

# ---- the app ------------------------------------------------------------------------------------

vmm_cli() {
    local command=$1
    shift
    "$bin/dstack" "$command" --vmm "unix:$state/vmm.sock" "$@"
}

# make_manifest NAME COMPOSE OUTPUT [OPTION...]
make_manifest() {
    vmm_cli deploy "$2" --name "$1" --kms --gateway --no-secure-time --image dstack-sim --dry-run \
        --json "${@:4}" | jq -j .appCompose >"$3"
}

deploy_app() {
    make_manifest hello "${compose:-$state/docker-compose.yaml}" "$state/app-compose.json"
    write_allow_list "$state/app-compose.json"
    app_id=$(app_id_of "$state/app-compose.json")
    note "app id: $app_id"
    vmm_cli deploy "$state/app-compose.json" --name hello --image dstack-sim --vcpu 2 \
        --memory 2048 --disk 2 --wait
    vm_id=$(vmm_cli apps --json | jq -r '[.. | objects | select(.name? == "hello") | .id][0]')
    app_url=https://$app_id.$domain:$proxy_port/
    app_tls_url=https://$app_id-s.$domain:$proxy_port/ # port 443 of the app, TLS ends there
}

# The gateway's certificate chains to the ACME server's root of this run.
app_curl() {
    curl -sSf --max-time 20 --cacert "$state/acme/issuer-root.pem" \
        --resolve "$app_id.$domain:$proxy_port:127.0.0.1" "$@"
}

# fetch_page first|again: stores the app's facts in $state/facts.$1.json
fetch_page() {
    local tries
    for tries in $(seq 60); do
        if app_curl "${app_url}json" >"$state/facts.$1.json" 2>"$state/curl.log" ||
            { [ -n "${compose:-}" ] && app_curl "$app_url" >"$state/facts.$1.json" 2>"$state/curl.log"; }; then
            note "$app_url"
            sed 's/^/    /' "$state/facts.$1.json" | head -n 20
            return 0
        fi
        sleep 1
    done
    cat "$state/curl.log" >&2
    die "no answer from $app_url after $tries tries"
}

# verify_app URL [OPTION...]: every choice pinned.
verify_app() {
    "$bin/dstack" verify "$1" --insecure-dev --root "$state/sim/root.pem" \
        --collateral "$state/sim/collateral.json" --image "$image_dir" \
        --manifest "$state/app-compose.json" --kms-root "$state/kms/root-ca.crt" \
        --gateway-app-id "$(app_id_of "$root/examples/gateway/app-compose.json")" \
        --connect "127.0.0.1:$proxy_port" "${@:2}"
}

# The gateway's name is vouched for by the ACME server of this run; it ends TLS.
verify_terminated() { verify_app "$app_url" --ca "$state/acme/issuer-root.pem"; }

# The app's own TLS server answers, on port 443; a compose file of the user's may have none.
verify_passthrough() {
    if [ -n "${compose:-}" ]; then
        note "skipped: only the demo's own app is known to end TLS itself"
        return 0
    fi
    note "$app_tls_url"
    verify_app "$app_tls_url"
}

restart_app() {
    vmm_cli stop "$vm_id"
    vmm_cli start "$vm_id" --wait
    fetch_page again
    [ -n "${compose:-}" ] && return 0
    local before after
    before=$(jq -r '.key + " " + .disk' "$state/facts.first.json")
    after=$(jq -r '.key + " " + .disk' "$state/facts.again.json")
    [ "$before" = "$after" ] || die "key or disk changed over a restart: $before / $after"
    note "key and disk content are the same; starts: $(jq .boots "$state/facts.again.json")"
}

# One byte of the manifest differs: another compose hash, which nobody allowed.
deploy_tampered() {
    sed 's/"name":"hello"/"name":"hellO"/' "$state/app-compose.json" >"$state/tampered.json"
    cmp -s "$state/app-compose.json" "$state/tampered.json" && die "the manifest was not changed"
    if vmm_cli deploy "$state/tampered.json" --name tampered --app-id "$app_id" --image dstack-sim \
        --vcpu 2 --memory 2048 --disk 2 --wait >"$state/tampered.log" 2>&1; then
        die "a tampered manifest got its keys"
    fi
    grep -iE 'denied|refused|not allowed' "$state/tampered.log" | head -n 3 | sed 's/^/    /' ||
        die "the refusal gives no reason: $(cat "$state/tampered.log")"
    vmm_cli apps --json | jq -r '.. | objects | select(.name? == "tampered") | .id' |
        while read -r id; do vmm_cli rm --force "$id" >/dev/null; done
    note "refused, as it must be"
}

finish() {
    printf '\n\033[1mDone in %d s.\033[0m\n' "$SECONDS"
    note "state and logs: $state"
    if [ -n "${keep:-}" ]; then
        note "page:   curl --cacert $state/acme/issuer-root.pem --resolve $app_id.$domain:$proxy_port:127.0.0.1 $app_url"
        note "apps:   build/bin/dstack apps --vmm unix:$state/vmm.sock"
        note "stop:   ./demo --stop${DEMO_STATE_FLAG:-}"
    else
        note "./demo --keep leaves it running"
    fi
}
