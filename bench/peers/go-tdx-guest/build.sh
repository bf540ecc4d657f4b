#!/usr/bin/env bash
# Builds the peer as ./bench-go-tdx-guest. The library compares the TCB info's FMSPC with a
# lower-case text, and the recorded TCB info has it in upper case: that one comparison is made blind
# to case, in a copy of the library below vendor/.
set -euo pipefail
cd "$(dirname "$0")"
go mod vendor
file=vendor/github.com/google/go-tdx-guest/verify/verify.go
chmod u+w "$file"
sed -i -e 's/^\tif tdQuoteBodyOptions.pckCertExtensions.FMSPC != tdQuoteBodyOptions.tcbInfo.Fmspc {/\tif !strings.EqualFold(tdQuoteBodyOptions.pckCertExtensions.FMSPC, tdQuoteBodyOptions.tcbInfo.Fmspc) {/' \
    -e 's/^\t"net\/url"$/&\n\t"strings"/' "$file"
go build -mod=vendor -o bench-go-tdx-guest .
