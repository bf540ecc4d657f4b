# Shared by os/build and os/lock-update: messages and the package mirror.
# shellcheck shell=bash

die() {
    printf 'os: %s\n' "$*" >&2
    exit 1
}

say() {
    printf '[%4ds] %s\n' "$SECONDS" "$*" >&2
}

# The Debian mirror that this machine's own apt uses, so that no host name is written down here.
mirror_default() {
    local uri
    uri=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
        sed -nE 's/^(deb .*|URIs: *)(https?:\/\/[^ ]+\/debian)\/?( .*)?$/\2/p' | head -n 1)
    [ -n "$uri" ] || die "no Debian mirror in /etc/apt: give one with --mirror URL"
    printf '%s\n' "$uri"
}
