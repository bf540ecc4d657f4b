# The image's own programs, compiled from the project inside the build root: dstack-agent, and
# image-seal, which measures the finished image.
# shellcheck shell=bash

# programs_provide DIR: puts them there; with --agent that file takes the place of our own.
programs_provide() {
    local kept program
    programs=(os/image-seal)
    [ -n "$agent" ] || programs+=(tools/dstack-agent/dstack-agent)
    kept=$(programs_compile) || exit
    for program in "${programs[@]}"; do cp "$kept/${program##*/}" "$1/"; done
    if [ -n "$agent" ] && [ "$agent" != none ]; then
        [ -f "$agent" ] || die "--agent $agent: no such file"
        cp "$agent" "$1/dstack-agent"
    fi
}

# The sources of both, as they are in the work tree.
program_sources() {
    cd "$project" || return
    local parts=(meson.build meson_options.txt include lib service tools web/embed.py web/agent os/meson.build
        os/seal.c)
    if git rev-parse --git-dir >/dev/null 2>&1; then
        git ls-files -co --exclude-standard -- "${parts[@]}"
    else
        find "${parts[@]}" -type f
    fi | LC_ALL=C sort -u | while read -r file; do [ ! -f "$file" ] || echo "$file"; done
}

# programs_compile: prints the folder they are in. It is kept by the hash of what they are made
# from, so that only a change costs time; ccache then makes the change cheap.
programs_compile() {
    local key kept dir=$cache/programs
    key=$({
        basename "$build_root" && echo "${programs[@]}"
        cat "$here/lib/programs.sh"
        (program_sources | while read -r file; do
            printf '%s ' "$file" && sha256sum <"$project/$file"
        done)
    } | sha256sum | cut -c1-16)
    kept=$dir/kept-$key
    if [ ! -d "$kept" ]; then
        say "compiling ${programs[*]##*/}"
        rm -rf "$dir/src" "$dir/out"
        mkdir -p "$dir/src" "$dir/out" "$dir/ccache"
        (program_sources | tar -C "$project" -T - -c) | tar -C "$dir/src" -x
        in_build_root "$dir/src=/src" "$dir/out=/out" "$dir/ccache=/scratch" -- \
            bash -euc '
                jobs=$1
                shift
                export CC="ccache gcc" CCACHE_DIR=/scratch CCACHE_COMPILERCHECK=content
                rm -rf /tmp/programs
                cd /src
                meson setup /tmp/programs --buildtype=release --wrap-mode=nodownload \
                    -Dtests=false -Dguest_agent_only=true
                ninja -j"$jobs" -C /tmp/programs "$@"
                for program; do strip -o "/out/${program##*/}" "/tmp/programs/$program"; done
                rm -rf /tmp/programs' _ "$jobs" "${programs[@]}" >"$dir/log" 2>&1 || {
            tail -n 30 "$dir/log" >&2
            die "dstack-agent does not compile in the build root; the whole log is $dir/log"
        }
        find "$dir" -maxdepth 1 -name 'kept-*' -mmin +240 -exec rm -rf {} +
        mv "$dir/out" "$kept"
    fi
    printf '%s\n' "$kept"
}
