# dstack-agent for the image: compiled from the project inside the build root.
# shellcheck shell=bash

# agent_provide FILE: puts the agent there; leaves no file while the project has none.
agent_provide() {
    if [ -n "$agent" ]; then
        [ -f "$agent" ] || die "--agent $agent: no such file"
        cp "$agent" "$1"
    elif [ -f "$project/tools/dstack-agent/main.c" ]; then
        agent_compile "$1"
    else
        say "the project has no dstack-agent: building an image without it"
    fi
}

# The sources that the agent is made from, as they are in the work tree.
agent_sources() {
    cd "$project"
    local parts=(meson.build meson_options.txt include lib service tools pkgconfig web)
    local existing=() part
    for part in "${parts[@]}"; do [ ! -e "$part" ] || existing+=("$part"); done
    if git rev-parse --git-dir >/dev/null 2>&1; then
        git ls-files -co --exclude-standard -- "${existing[@]}"
    else
        find "${existing[@]}" -type f
    fi | LC_ALL=C sort -u | while read -r file; do [ ! -f "$file" ] || echo "$file"; done
}

# agent_compile FILE: a result is kept by the hash of its sources, so that only a change costs time.
agent_compile() {
    local key kept
    key=$({
        basename "$build_root"
        cat "$here/lib/agent.sh"
        (agent_sources | while read -r f; do sha256sum "$project/$f"; done | sed "s, $project/, ,")
    } | sha256sum | cut -c1-16)
    kept=$cache/agent/dstack-agent-$key
    if [ ! -f "$kept" ]; then
        say "compiling dstack-agent"
        rm -rf "$cache/agent/src"
        mkdir -p "$cache/agent/src" "$cache/agent/out" "$cache/agent/ccache"
        (agent_sources | tar -C "$project" -T - -c) | tar -C "$cache/agent/src" -x
        in_build_root "$cache/agent/src=/src" "$cache/agent/out=/out" \
            "$cache/agent/ccache=/work" -- \
            bash -euc 'cd /src; flags=(); ! grep -q guest_agent_only meson_options.txt ||
                flags+=(-Dguest_agent_only=true)
            export CC="ccache gcc" CCACHE_DIR=/work CCACHE_COMPILERCHECK=content
            meson setup /tmp/agent --buildtype=release -Dtests=false --wrap-mode=nodownload "${flags[@]}" >/out/log
            ninja -j"$1" -C /tmp/agent tools/dstack-agent/dstack-agent >>/out/log
            strip -o /out/dstack-agent /tmp/agent/tools/dstack-agent/dstack-agent
            rm -rf /tmp/agent' _ "$jobs" || {
            tail -n 30 "$cache/agent/out/log" >&2
            die "dstack-agent does not compile in the build root"
        }
        find "$cache/agent" -name 'dstack-agent-*' -mmin +240 -delete
        mv "$cache/agent/out/dstack-agent" "$kept"
    fi
    cp "$kept" "$1"
}
