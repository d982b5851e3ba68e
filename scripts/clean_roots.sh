#!/bin/sh
# Tries what `make dist` has made where there is no compiler: in a fresh Debian 12 and a fresh sid (needs root).
#
#   scripts/clean_roots.sh [suite ...]     bookworm and sid unless named; one root for each under AIOXIDE_ROOTS
#
# In each: the wheel of each Python that the suite has, installed by pip into an empty environment, the README's programs,
# `aioxide demo` and `aioxide fetch` (scripts/release/smoke.py); the Debian package; the program without shared libraries.
# AIOXIDE_ROOTS (default: .cache/roots in the project) keeps the roots for the next time.
set -eu

project=$(cd "$(dirname "$0")/.." && pwd)
roots=${AIOXIDE_ROOTS:-$project/.cache/roots}
. "$project/scripts/debian_root.sh"

in_root() {
    env -u PIP_FIND_LINKS -u CARGO_HOME -u RUSTUP_HOME DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin chroot "$root" "$@"
}

leave() {
    for folder in dev proc; do
        if mountpoint -q "$root/$folder"; then umount "$root/$folder"; fi
    done
}

enter() {
    mkdir -p "$root"
    bootstrap "$1" >&2
    for folder in dev proc; do
        mountpoint -q "$root/$folder" || mount --bind "/$folder" "$root/$folder"
    done
    copy_network
    in_root apt-get update -q >&2
    in_root apt-get install -q -y python3 python3-venv >&2
    for version in 3.14 3.15; do
        if in_root apt-cache show "python$version-venv" >/dev/null 2>&1; then
            in_root apt-get install -q -y "python$version" "python$version-venv" >&2
        fi
    done
    rm -rf "$root/opt/dist"
    mkdir -p "$root/opt/dist"
    cp -r "$project"/dist/* "$project/README.md" "$project/scripts/release/smoke.py" "$root/opt/dist/"
}

try_wheels() {
    tried=0
    for wheel in "$root"/opt/dist/*.whl; do
        tag=$(basename "$wheel" | cut -d- -f3)
        python=python3.${tag#cp3}
        [ -x "$root/usr/bin/$python" ] || continue
        echo "== $1: $(basename "$wheel")"
        in_root rm -rf "/opt/$tag"
        in_root "$python" -m venv "/opt/$tag"
        in_root "/opt/$tag/bin/python" -m pip install -q "/opt/dist/$(basename "$wheel")[http]"
        in_root "/opt/$tag/bin/python" /opt/dist/smoke.py /opt/dist/README.md
        tried=$((tried + 1))
    done
    [ "$tried" -gt 0 ] || { echo "$1 has no Python with a wheel in dist/" >&2; exit 1; }
}

try_program() {
    for package in "$root"/opt/dist/*.deb; do
        [ -e "$package" ] || continue
        echo "== $1: $(basename "$package")"
        in_root apt-get install -q -y "/opt/dist/$(basename "$package")" >&2
        in_root aioxide --version
        in_root aioxide demo --delay 5 --repeat 2
        in_root apt-get purge -q -y aioxide >&2
    done
    for archive in "$root"/opt/dist/aioxide-*-linux-*[0-9].tar.gz; do
        [ -e "$archive" ] || continue
        echo "== $1: $(basename "$archive")"
        in_root tar -xzf "/opt/dist/$(basename "$archive")" -C /opt
        in_root "/opt/$(basename "$archive" .tar.gz)/aioxide" demo --delay 5 --repeat 2 --only asyncio
    done
}

ls "$project"/dist/*.whl >/dev/null 2>&1 || { echo "no wheels in dist/: make dist" >&2; exit 1; }
[ $# -gt 0 ] || set -- bookworm sid
for suite in "$@"; do
    root=$roots/$suite
    trap leave EXIT
    enter "$suite"
    try_wheels "$suite"
    try_program "$suite"
    leave
    trap - EXIT
    echo "== $suite: all that was tried works"
done
