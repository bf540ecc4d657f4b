#!/bin/sh
# The agent lives as long as its VM: libraries that only a rare path needs stay out of it.
set -eu
mapped=$(ldd "$1")
for name in libcurl libsystemd; do
    case "$mapped" in
    *$name*)
        echo "$1 maps $name" >&2
        exit 1
        ;;
    esac
done
