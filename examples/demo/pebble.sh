#!/usr/bin/env bash
# Starts a private ACME server (pebble) and its challenge DNS server on loopback.
#
#   pebble.sh DIR        writes DIR/ca.pem, DIR/directory-url, DIR/dns-hook, DIR/*.pid; returns when
#                        the server answers
#   pebble.sh --stop DIR stops both
#
# The TLS certificate of the ACME server itself comes from a throw-away CA made in DIR.
set -euo pipefail

if [ "${1:-}" = --stop ]; then
    dir=${2:?folder}
    for name in pebble challtestsrv; do
        if [ -s "$dir/$name.pid" ]; then
            kill "$(cat "$dir/$name.pid")" 2>/dev/null || true
            rm -f "$dir/$name.pid"
        fi
    done
    exit 0
fi

dir=$(realpath -m "${1:?folder}")
mkdir -p "$dir"
cd "$dir"

free_port() {
    python3 -c 'import socket
s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

make_certificates() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 \
        -subj '/CN=local ACME test CA' -keyout ca.key -out ca.pem 2>/dev/null
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj '/CN=localhost' \
        -keyout server.key -out server.csr 2>/dev/null
    printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\n' >server.ext
    openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 3650 \
        -extfile server.ext -out server.pem 2>/dev/null
}

[ -s server.pem ] || make_certificates
acme_port=$(free_port)
management_port=$(free_port)
dns_port=$(free_port)
challenge_port=$(free_port)

cat >config.json <<JSON
{"pebble": {
  "listenAddress": "127.0.0.1:$acme_port",
  "managementListenAddress": "127.0.0.1:$management_port",
  "certificate": "$dir/server.pem",
  "privateKey": "$dir/server.key",
  "httpPort": 1, "tlsPort": 2,
  "ocspResponderURL": "",
  "externalAccountBindingRequired": false
}}
JSON

pebble-challtestsrv -http01 '' -https01 '' -tlsalpn01 '' \
    -dns01 "127.0.0.1:$dns_port" -management "127.0.0.1:$challenge_port" >challtestsrv.log 2>&1 &
echo $! >challtestsrv.pid
PEBBLE_VA_NOSLEEP=1 pebble -config config.json -dnsserver "127.0.0.1:$dns_port" >pebble.log 2>&1 &
echo $! >pebble.pid

cat >dns-hook <<HOOK
#!/bin/sh
# dns-hook present|cleanup NAME VALUE: places or removes a TXT record on the challenge DNS server.
case \$1 in
present) exec curl -sSf -X POST -d "{\"host\":\"\$2.\",\"value\":\"\$3\"}" http://127.0.0.1:$challenge_port/set-txt ;;
cleanup) exec curl -sSf -X POST -d "{\"host\":\"\$2.\"}" http://127.0.0.1:$challenge_port/clear-txt ;;
*) echo "usage: dns-hook present|cleanup NAME VALUE" >&2; exit 2 ;;
esac
HOOK
chmod +x dns-hook
echo "https://localhost:$acme_port/dir" >directory-url
echo "https://localhost:$management_port" >management-url

for _ in $(seq 100); do
    if curl -sf --cacert ca.pem "$(cat directory-url)" >/dev/null &&
        curl -s -o probe -X POST -d '{"host":"probe."}' "http://127.0.0.1:$challenge_port/clear-txt"; then
        # The root that pebble made for this run, under which its certificates are issued.
        curl -sf --cacert ca.pem "$(cat management-url)/roots/0" >issuer-root.pem
        exit 0
    fi
    kill -0 "$(cat pebble.pid)" "$(cat challtestsrv.pid)" 2>/dev/null || break
    sleep 0.1
done
echo "pebble did not start:" >&2
tail -n 5 pebble.log challtestsrv.log >&2
exit 1
