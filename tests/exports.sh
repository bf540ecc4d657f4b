#!/usr/bin/env bash
# Compares what libdstack.so exports with lib/exported-symbols.txt, and with the public headers.
#
#   exports.sh BUILD_DIR            checks
#   exports.sh BUILD_DIR --update   writes the list anew
set -euo pipefail
library=$1/lib/libdstack.so
list=lib/exported-symbols.txt
found=$(nm -D --defined-only "$library" | awk '$2 ~ /^[TDBR]$/ {sub(/@.*/, "", $3); print $3}' | grep -v '^DSTACK_1$' | sort)
if [ "${2:-}" = --update ]; then
    printf '%s\n' "$found" >"$list"
    exit 0
fi
if ! diff -u "$list" <(printf '%s\n' "$found"); then
    echo "the exported symbols changed: a new function goes into $list, a removed one breaks users" >&2
    exit 1
fi
# Every exported function is declared in a public header, and the other way round.
declared=$(cat include/dstack/*.h include/dstack/*.in | tr '\n' ' ' |
    grep -oE 'DSTACK_API[^;{]*' | grep -oE 'dstack_[a-z0-9_]+ *\(' | tr -d ' (' | sort -u)
diff -u <(printf '%s\n' "$declared") <(printf '%s\n' "$found")
