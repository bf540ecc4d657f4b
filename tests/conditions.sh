#!/usr/bin/env bash
# Every condition of DCAP verification has a status of its own that the library gives and a test of the
# DCAP folder expects: a status without either is a check that nobody would miss.
set -euo pipefail
names=$(grep -oE '\bDSTACK_E_DCAP_[A-Z0-9_]+\b' include/dstack/status.h | sort -u)
bad=0
for name in $names; do
    short=${name#DSTACK_E_DCAP_}
    grep -qrwE "$name" lib/verify/dcap || { echo "$name: nothing in lib/verify/dcap gives it"; bad=1; }
    grep -qrE "\b(DSTACK_E_DCAP_)?$short\b" tests/unit/verify/dcap --include='test_*.c' ||
        { echo "$name: no test in tests/unit/verify/dcap expects it"; bad=1; }
done
echo "$(wc -w <<<"$names") statuses"
exit $bad
