#!/bin/bash
# The guest image's recipe: refuses altered packages, gives the same bytes twice, and what it gives
# does not survive a change. Takes a few minutes; uses the package store of build/image.
# Functions are passed to check by name.
# shellcheck disable=SC2317
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
project=$PWD
main_cache=${1:-$project/build/image}
recipe=$project/os/build
sim_root=$(printf 'dstack test root' | sha256sum | cut -c1-64)
failed=0

if ! unshare --mount true 2>/dev/null && ! unshare --mount --map-root-user true 2>/dev/null; then
    echo "SKIP: this machine allows no mount namespaces"
    exit 77
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/dstack-image-test.XXXXXX")
trap 'rm -rf "$work"' EXIT

check() {
    local sentence=$1
    shift
    if "$@"; then
        echo "ok - $sentence"
    else
        echo "not ok - $sentence"
        sed 's/^/    /' "$work/log" | tail -n 20
        failed=1
    fi
}

# build CACHE OUTPUT [OPTIONS]: an image without agent, which the recipe's own steps do not need.
build() {
    "$recipe" --cache "$1" --output "$2" --sim-root "$sim_root" --agent none "${@:3}" \
        >"$work/log" 2>&1
}

# A store of its own whose files are the main store's, by hard link where that is possible.
store_copy() {
    mkdir -p "$1/packages"
    cp -al "$main_cache/packages/." "$1/packages/" 2>/dev/null ||
        cp -a "$main_cache/packages/." "$1/packages/"
}

same_image() {
    diff -rq "$1" "$2" >"$work/log" 2>&1
}

refused_naming() {
    [ "$1" -ne 0 ] && grep -q "$2" "$work/log" && [ ! -e "$3" ]
}

# The first byte of the file system's second block is turned over; firmware, kernel and the rest stay.
root_alter() {
    local disk=$1 at=$((1048576 + 4096 + 7)) byte
    byte=$(od -An -tu1 -j $at -N1 "$disk" | tr -d ' ')
    printf '%b' "\\x$(printf %02x $((byte ^ 1)))" | dd of="$disk" bs=1 seek=$at conv=notrunc status=none
}

# veritysetup reads the partition out of the disk as a file of its own.
verity_holds() {
    local dir=$1 hash size
    hash=$(sed -n 's/.*dstack\.rootfs_hash=\([0-9a-f]*\).*/\1/p' "$dir/metadata.json")
    size=$(sed -n 's/.*dstack\.rootfs_size=\([0-9]*\).*/\1/p' "$dir/metadata.json")
    dd if="$dir/rootfs.img.parted.verity" of="$work/part" bs=1M skip=1 status=none
    PATH=$PATH:/usr/sbin veritysetup verify "$work/part" "$work/part" "$hash" \
        --hash-offset="$size" >"$work/log" 2>&1
}

# boot DIR: the console of a machine that starts the image and stops at a reboot.
boot() {
    timeout 150 qemu-system-x86_64 -accel tcg,thread=multi -cpu max -machine q35,hpet=off -smp 2 -m 1024M \
        -nodefaults -nographic -no-reboot -serial file:"$work/log" -bios "$1/ovmf.fd" \
        -kernel "$1/bzImage" -initrd "$1/initramfs.cpio.gz" \
        -drive file="$1/rootfs.img.parted.verity",if=none,id=hd0,format=raw,readonly=on \
        -device virtio-blk-pci,drive=hd0 \
        -append "$(sed -n 's/.*"cmdline":"\([^"]*\)".*/\1/p' "$1/metadata.json")" </dev/null
}

altered_root_stops() {
    boot "$1"
    grep -aq 'data block [0-9]* is corrupted' "$work/log" && ! grep -aq 'starting systemd' "$work/log"
}

build "$main_cache" "$work/first" --jobs 1
check "an image builds from the locked packages" test -s "$work/first/digest.txt"
[ -s "$work/first/digest.txt" ] || exit 1

store_copy "$work/other"
victim=$(awk '!/^#/ && $6 ~ /runtime/ { n = split($5, p, "/"); print p[n]; exit }' os/packages.lock)
cp "$work/other/packages/$victim" "$work/keep"
rm "$work/other/packages/$victim"
head -c -1 "$work/keep" >"$work/other/packages/$victim" && printf 'x' >>"$work/other/packages/$victim"
build "$work/other" "$work/none"
check "a package whose bytes differ from the lock is refused" \
    refused_naming $? "altered .*$victim" "$work/none"
cp "$work/keep" "$work/other/packages/$victim"

awk -v name="$victim" '{ n = split($5, p, "/"); if (p[n] == name) $4 = "00000000" substr($4, 9) } 1' \
    os/packages.lock >"$work/lock"
build "$work/other" "$work/none" --lock "$work/lock"
check "a lock whose hash differs from the package is refused" \
    refused_naming $? "altered .*$victim" "$work/none"

build "$work/other" "$work/second" --jobs 3
check "two builds in different folders and with different job counts are equal bit for bit" \
    same_image "$work/first" "$work/second"

check "the root file system matches the hash on its command line" verity_holds "$work/first"
cp -r "$work/first" "$work/altered"
root_alter "$work/altered/rootfs.img.parted.verity"
verity_holds "$work/altered"
check "sec_image an altered root file system does not verify" test $? -ne 0

if command -v qemu-system-x86_64 >/dev/null; then
    check "sec_image a machine with an altered root file system stops before it runs anything" \
        altered_root_stops "$work/altered"
else
    echo "skip - no qemu-system-x86_64: the boot of an altered image is not tried"
fi

"$recipe" --cache "$main_cache" --agent none --verify "$work/second" >"$work/log" 2>&1
check "image verify accepts what the recipe built" test $? -eq 0
"$recipe" --cache "$main_cache" --agent none --verify "$work/altered" >"$work/log" 2>&1
check "image verify names the file that differs" \
    refused_naming $? 'rootfs.img.parted.verity' "$work/none"
rm -rf "$main_cache"/verify.*

exit $failed
