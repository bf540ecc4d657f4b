# Memory and readiness. Sourced by run.
# shellcheck shell=bash disable=SC2154 # variables of run and of examples/demo/lib.sh

rss_kib() { awk '/^VmRSS/ {print $2}' "/proc/$(cat "$state/$1.pid")/status"; }

resident_memory() { # DAEMON MIB
    local now
    now=$(rss_kib "$1")
    tell "$1: $((now / 1024)).$((now % 1024 * 10 / 1024)) MiB resident"
    [ "$now" -le $(($2 * 1024)) ] || fail "more than $2 MiB"
}

# From a daemon's first log line to the line that says "ready", for its latest start.
ready_after() {
    python3 - "$state/$1.log" <<'PY'
import datetime, re, sys
first = ready = None
for line in open(sys.argv[1]):
    m = re.match(r"(\d{4}-\S+)Z (\w+) +\S+ (.*)", line)
    if not m:
        continue
    at = datetime.datetime.fromisoformat(m[1])
    if m[3].startswith("running with --insecure-dev"):
        first, ready = at, None
    elif m[3].startswith("ready") and first and not ready:
        ready = at
print(int((ready - first).total_seconds() * 1000) if first and ready else "unknown")
PY
}

# Told, not judged: the machine that runs tests is rarely quiet.
readiness() {
    local name
    for name in kms gateway vmm; do
        tell "$name: ready $(ready_after "$name") ms after its first line"
    done
    [ "$(ready_after kms)" != unknown ] || fail "the KMS does not tell that it is ready"
}
