# The two roots that everything is made from: fetched, checked and unpacked, never "installed".
# No maintainer script runs, so a root depends on nothing but the packages' bytes.
# shellcheck shell=bash

# lock_lines SET: the lock's lines of one set.
lock_lines() {
    awk -v set="$1" '!/^#/ { n = split($6, s, ","); for (i = 1; i <= n; i++) if (s[i] == set) print }' \
        "$lock"
}

# lock_check: every line has six well-formed fields, so that a damaged lock is not half obeyed.
lock_check() {
    [ -s "$lock" ] || die "no lock file $lock: run os/lock-update"
    awk '
        /^#/ { next }
        NF != 6 || $3 !~ /^[0-9]+$/ || $4 !~ /^[0-9a-f]+$/ || length($4) != 64 ||
        $5 !~ /^pool\/[A-Za-z0-9.+_~:%\/-]+\.deb$/ || $5 ~ /\.\./ { print FNR; exit 1 }
        ' "$lock" >/dev/null || die "$lock has a malformed line"
}

# packages_check LIST: reports files of the package store that are not what the lock says.
packages_check() {
    while read -r _ _ size hash path _; do
        local file=$store/${path##*/}
        [ -f "$file" ] || { echo "missing $path" && continue; }
        [ "$(stat -c %s "$file")" = "$size" ] || { echo "altered $path" && continue; }
        printf '%s  %s\n' "$hash" "$file" >&3
    done 3>"$1.sums"
    [ ! -s "$1.sums" ] || { sha256sum --check --quiet "$1.sums" 2>/dev/null || true; } |
        sed -n 's/^\(.*\): FAILED.*/altered \1/p'
}

# packages_fetch: completes the package store from the mirror; refuses anything the lock does not name.
packages_fetch() {
    local wanted bad
    wanted=$(mktemp "$cache/fetch.XXXXXX")
    { lock_lines runtime && lock_lines firmware && lock_lines build; } | sort -u >"$wanted"
    bad=$(packages_check "$wanted" <"$wanted")
    if grep -q '^altered' <<<"$bad"; then
        grep '^altered' <<<"$bad" | sed 's/^/os: /' >&2
        die "these packages in $store do not have the size and hash of packages.lock; remove them to fetch them again"
    fi
    if [ -n "$bad" ]; then
        say "fetching $(grep -c . <<<"$bad") packages"
        packages_download "$wanted" "$bad"
    fi
    rm -f "$wanted" "$wanted.sums"
}

# packages_download WANTED MISSING: through apt's own downloader (its proxies and its hash check).
packages_download() {
    local args=() line path
    : "${mirror:=$(mirror_default)}"
    mkdir -p "$store/new"
    while read -r _ path; do
        line=$(awk -v p="$path" '$5 == p { print $4 }' "$1")
        args+=("$mirror/$path" "$store/new/${path##*/}" "SHA256:$line")
    done <<<"$2"
    /usr/lib/apt/apt-helper -q -o APT::Sandbox::User=root download-file "${args[@]}" \
        >"$cache/fetch.log" 2>&1 || {
        tail -n 5 "$cache/fetch.log" >&2
        die "not every locked package could be fetched from $mirror with its locked hash (newer ones: os/lock-update)"
    }
    mv "$store"/new/*.deb "$store/"
    rm -rf "$store/new"
    local bad
    bad=$(packages_check "$1" <"$1")
    [ -z "$bad" ] || die "after the download: $bad"
}

# Documentation and translations are never wanted, headers and static libraries only for building.
readonly root_excludes=(
    './usr/share/doc/*' './usr/share/man/*' './usr/share/info/*' './usr/share/locale/*'
    './usr/share/lintian/*' './usr/share/bug/*' './usr/share/doc-base/*' './usr/share/gtk-doc/*'
    './usr/share/bash-completion/*' './usr/share/zsh/*' './usr/share/fish/*' './usr/share/gdb/*'
)

# root_folder SET: where the unpacked root of a set lies.
root_folder() {
    printf '%s/roots/%s-%s\n' "$cache" "$1" \
        "$({ lock_lines "$1" && cat "$here/lib/roots.sh"; } | sha256sum | cut -c1-16)"
}

# root_unpack SET: unpacks a root on first use. One package after the other: folders that several
# packages share then always end up with the same mode.
root_unpack() {
    local set=$1 dir new=$cache/roots/new-$1 path
    dir=$(root_folder "$set")
    [ ! -d "$dir" ] || return 0
    say "unpacking the $set root"
    rm -rf "$cache/roots/$set-"* "$new"
    mkdir -p "$new"
    # base-files first: it has the /bin -> usr/bin links that the others unpack through.
    while read -r path; do
        package_unpack "$store/${path##*/}" "$new" || die "cannot unpack $path"
    done < <(lock_lines "$set" | awk '{ print ($1 != "base-files"), $5 }' |
        LC_ALL=C sort | cut -d' ' -f2)
    mkdir -p "$new"/{dev,proc,sys,run,tmp,src,scratch,runtime,out}
    # Names that the packages' scripts would have set up as alternatives.
    ln -sf mawk "$new/usr/bin/awk"
    [ -e "$new/usr/bin/sh" ] || ln -s dash "$new/usr/bin/sh"
    mv "$new" "$dir"
}

package_unpack() {
    dpkg-deb --fsys-tarfile "$1" |
        tar -x -p --no-same-owner --keep-directory-symlink "${root_excludes[@]/#/--exclude=}" -C "$2"
}

# in_build_root FOLDERS... -- COMMAND...: runs a command inside the build root with source=target
# folders bound into it. Own mount namespace, so nothing stays mounted; own user namespace unless
# root, so no privilege is needed.
in_build_root() {
    local binds=() flags=(--mount --fork)
    while [ "$1" != -- ]; do binds+=("$1") && shift; done
    shift
    [ "$(id -u)" = 0 ] || flags+=(--map-root-user)
    unshare "${flags[@]}" bash -euc '
        root=$1 count=$2
        shift 2
        mount --rbind /dev "$root/dev"
        mount --rbind /proc "$root/proc"
        for ((i = 0; i < count; i++)); do
            mount --bind "${1%%=*}" "$root${1#*=}"
            shift
        done
        exec chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin HOME=/tmp LC_ALL=C TZ=UTC \
            SOURCE_DATE_EPOCH='"$epoch"' "$@"' _ "$build_root" "${#binds[@]}" "${binds[@]}" "$@"
}
