#!/usr/bin/env bash
# Installs into a scratch folder and builds a program against it, as a user of the library would.
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
DESTDIR='' meson install -C build --no-rebuild --destdir "$scratch" >/dev/null
prefix=$scratch/usr/local
pc=$(find "$prefix" -name dstack.pc)
sed -i "s|^prefix=.*|prefix=$prefix|" "$pc"
PKG_CONFIG_PATH=$(dirname "$pc")
export PKG_CONFIG_PATH
cat >"$scratch/app.c" <<'C'
#include <dstack/dstack.h>
#include <stdio.h>
#include <string.h>

int main(void) {
    dstack_error err = {0};
    uint8_t report_data[DSTACK_REPORT_DATA_SIZE];
    dstack_bytes content = {(const uint8_t *)"hello", 5};
    if (dstack_report_data("app-data", NULL, content, report_data, &err) != 0) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    printf("%s %s\n", dstack_version(), dstack_status_name(DSTACK_E_FORMAT));
    return strcmp(dstack_version(), DSTACK_VERSION) == 0 ? 0 : 1;
}
C
# shellcheck disable=SC2046 # pkg-config gives words
cc -Wall -Wextra -Werror "$scratch/app.c" -o "$scratch/app" $(pkg-config --cflags --libs dstack)
LD_LIBRARY_PATH=$(pkg-config --variable=libdir dstack) "$scratch/app"
for example in verify_quote attested_client; do
    # shellcheck disable=SC2046 # as above
    cc -Wall -Wextra -Werror "examples/c/$example.c" -o "$scratch/$example" $(pkg-config --cflags --libs dstack)
    # Asked nothing, each says how it is used.
    status=0
    LD_LIBRARY_PATH=$(pkg-config --variable=libdir dstack) "$scratch/$example" 2>"$scratch/usage" || status=$?
    [ "$status" -eq 2 ] && grep -q "^usage: $example" "$scratch/usage"
done
# A C++ compiler reads the headers too.
# shellcheck disable=SC2046 # as above
echo '#include <dstack/dstack.h>' | c++ -x c++ -std=c++17 -Wall -Werror -fsyntax-only $(pkg-config --cflags dstack) -
# Every program that is installed says what it is, and has its manual page.
for program in "$prefix"/bin/*; do
    name=$(basename "$program")
    page=$prefix/share/man/man1/$name.1
    grep -q "^\.SH SYNOPSIS" "$page" || { echo "$name has no manual page" >&2; exit 1; }
    LD_LIBRARY_PATH=$(pkg-config --variable=libdir dstack) "$program" --help | grep "^[Uu]sage: $name" >/dev/null
    LD_LIBRARY_PATH=$(pkg-config --variable=libdir dstack) "$program" --version | grep '[0-9]' >/dev/null
done
for shell in bash zsh fish; do
    LD_LIBRARY_PATH=$(pkg-config --variable=libdir dstack) "$prefix/bin/dstack-kms" --completion $shell |
        grep -e --check-config -e 'l check-config' >/dev/null
done
bash -n "$prefix/share/bash-completion/completions/dstack-kms"
