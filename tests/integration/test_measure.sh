#!/bin/bash
# dstack measure: each option of the machine reaches the prediction, and events are explained.
#   test_measure.sh DSTACK
# Options stand in words that are split; functions are passed to check by name.
# shellcheck disable=SC2046,SC2086,SC2317
set -euo pipefail
dstack=$1
work=$(mktemp -d "${TMPDIR:-/tmp}/dstack-measure-test.XXXXXX")
trap 'rm -rf "$work"' EXIT
failed=0

check() { # SENTENCE COMMAND...
    local sentence=$1
    shift
    if "$@" >"$work/log" 2>&1; then
        echo "ok - $sentence"
    else
        echo "not ok - $sentence"
        sed 's/^/    /' "$work/log"
        failed=1
    fi
}
tables() {
    "$dstack" measure acpi --json "$@" | sed -n 's/.*"tables": *"\([0-9a-f]*\)".*/\1/p'
}
same() { [ -n "$(tables $1)" ] && [ "$(tables $1)" = "$(tables $2)" ]; }
differs() { [ -n "$(tables $1)" ] && [ "$(tables $1)" != "$(tables $2)" ]; }
refused() { # CODE TEXT COMMAND...
    local code=$1 text=$2 rc=0
    shift 2
    "$@" >"$work/out" 2>&1 || rc=$?
    cat "$work/out"
    [ $rc = "$code" ] && grep -qF -- "$text" "$work/out"
}

base="--qemu-version 10.0.2 --hotplug-off"
check "short and long names mean the same" same \
    "$base --cpus 3 --memory 4G" "$base --cpu-count 3 --memory-size 4294967296"
check "an option overrides its member of vm_config" same \
    "--cpus 3 --vm-config {\"cpu_count\":2,\"qemu_version\":\"10.0.2\"}" "--cpus 3 --qemu-version 10.0.2"
check "a switch without a value is true" same "$base --hugepages" "$base --hugepages true"
for option in "--cpus 2" "--memory 1G" "--num-nics 3" "--num-gpus 1" "--num-nvswitches 1" \
    "--num-verity-volumes 2" "--pci-hole64-size 1T" "--hugepages" "--pic" "--hotplug-off false" \
    "--qemu-version 9.1.0"; do
    check "$option changes the tables" differs "$base" "$base $option"
done
check "the way of the host's files does not" same "$base" "$base --host-share-mode vhd"
check "a software TPM is refused" refused 1 "swtpm" "$dstack" measure acpi --swtpm
check "an unknown QEMU is refused" refused 1 "not known" "$dstack" measure acpi --qemu-version 12.0.0
check "a switch takes true or false only" refused 2 "true or false" \
    "$dstack" measure acpi --pic=perhaps
check "registers need an image or a document" refused 2 "--image DIR or --document FILE" \
    "$dstack" measure tdx

files_agree() {
    "$dstack" measure acpi $base --out "$work" --json >"$work/digests" &&
        grep -q "$(sha384sum <"$work/tables" | cut -d' ' -f1)" "$work/digests" &&
        grep -q "$(sha384sum <"$work/rsdp" | cut -d' ' -f1)" "$work/digests" &&
        grep -q "$(sha384sum <"$work/table-loader" | cut -d' ' -f1)" "$work/digests"
}
check "files are written as they are measured" files_agree
if command -v iasl >/dev/null; then
    disassembles() { # behind the FACS; its length stands at offset 4
        local len
        len=$(od -An -tu4 -j68 -N4 "$work/tables" | tr -d ' ')
        tail -c +65 "$work/tables" | head -c "$len" >"$work/dsdt.aml"
        (cd "$work" && iasl -d dsdt.aml </dev/null) && grep -q 'Device (FWCF)' "$work/dsdt.dsl"
    }
    check "the DSDT disassembles" disassembles
fi

uki=tests/fuzz/corpus/uki/v255
uki_explained() {
    "$dstack" measure uki $uki --explain >"$work/uki" &&
        grep -q '^PCR 11' "$work/uki" && grep -q 'name of .linux .*0da293e37ad5511c' "$work/uki" &&
        [ "$(grep -c 'Authenticode digest' "$work/uki")" = 2 ]
}
check "a kernel image's events are explained" uki_explained
gpt_stays_unknown() {
    "$dstack" measure uki $uki --firmware gcp --explain >"$work/uki" &&
        grep -q 'partition table .*not known' "$work/uki" && ! grep -q '^PCR2 ' "$work/uki" &&
        "$dstack" measure uki $uki --firmware gcp --gpt-digest "$(printf 5a%.0s {1..32})" |
        grep -q '^PCR2 '
}
check "a partition table that is not given leaves PCR 2 open" gpt_stays_unknown
documents_are_written() {
    "$dstack" measure uki $uki --firmware gcp --document "$work/gcp.cbor" --json >"$work/uki" &&
        grep -q "\"uki_authenticode\": *\"$(tail -c 32 "$work/gcp.cbor" | od -An -tx1 | tr -d ' \n')\"" \
            "$work/uki" &&
        "$dstack" measure uki $uki --firmware aws --pcr7 "$(printf 07%.0s {1..48})" \
            --document "$work/aws.cbor" --json >"$work/uki" &&
        grep -q "\"boot_pcr_digest\": *\"$(tail -c 32 "$work/aws.cbor" | od -An -tx1 | tr -d ' \n')\"" \
            "$work/uki"
}
check "the cloud's documents are written" documents_are_written
check "an image must tell its stub's version" refused 1 "does not tell" \
    "$dstack" measure uki tests/fuzz/corpus/uki/untold
check "or be told" "$dstack" measure uki tests/fuzz/corpus/uki/untold --stub-version 255
check "firmware has a name" refused 2 "uefi, aws or gcp" "$dstack" measure uki $uki --firmware x
check "PCR 7 belongs to AWS" refused 2 "--firmware aws" \
    "$dstack" measure uki $uki --pcr7 "$(printf 07%.0s {1..48})"
check "a document needs a cloud" refused 2 "--document needs" \
    "$dstack" measure uki $uki --document "$work/none"

image=../shared/data/measurement/synthetic-image
if [ -d $image ]; then
    explained() {
        "$dstack" measure tdx --image $image --cpus 2 --explain >"$work/explain" &&
            [ "$(grep -c 'ACPI tables generated for the machine' "$work/explain")" = 3 ] &&
            grep -q 'initrd .*file of the image' "$work/explain" &&
            "$dstack" measure tdx --document $image/measurement.tdx.cbor --cpus 2 >"$work/document" &&
            diff <(grep RTMR0 "$work/explain" | head -1) <(grep RTMR0 "$work/document")
    }
    check "events are explained, and a document predicts the same" explained
else
    echo "SKIP: ../shared/data is absent"
fi
exit $failed
