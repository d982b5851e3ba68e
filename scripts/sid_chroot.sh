#!/bin/sh
# Makes a Debian sid chroot with the interpreters that no stable release has yet, and runs commands in it.
#
#   scripts/sid_chroot.sh make             make or complete the chroot (idempotent; needs root; installs debootstrap)
#   scripts/sid_chroot.sh pythons          print the interpreters in it, one per line (python3.14 ...)
#   scripts/sid_chroot.sh run CMD ARGS...  run CMD in it, in this project's folder, with the toolchains mounted
#   scripts/sid_chroot.sh conformance ...  build the wheel for each interpreter in it, run scripts/conformance.py there
#   scripts/sid_chroot.sh unmount          take the mounts out again
#
# AIOXIDE_SID names the folder (default: .cache/sid in the project). The mirror is the one that apt uses here.
set -eu

project=$(cd "$(dirname "$0")/.." && pwd)
root=${AIOXIDE_SID:-$project/.cache/sid}
versions="3.14 3.15"

. "$project/scripts/debian_root.sh"

packages() {
    in_chroot apt-get update -q >&2
    for version in $versions; do
        wanted="python$version python$version-dev python$version-venv libpython$version-testsuite"
        in_chroot apt-cache show "python$version" >/dev/null 2>&1 || continue
        for package in $wanted; do
            in_chroot apt-cache show "$package" >/dev/null 2>&1 && echo "$package"
        done
    done
    echo gcc libc6-dev netbase
}

# The host's toolchains are read from inside: its binaries need an older libc than sid's, so they run there.
mounts() {
    echo "/proc /proc"
    echo "/dev /dev"
    echo "$project $project"
    for folder in "${CARGO_HOME:-$HOME/.cargo}" "${RUSTUP_HOME:-$HOME/.rustup}"; do
        [ -d "$folder" ] && echo "$folder $folder"
    done
}

mount_all() {
    mounts | while read -r from to; do
        mkdir -p "$root$to"
        mountpoint -q "$root$to" || mount --bind "$from" "$root$to"
    done
    copy_network
}

in_chroot() {
    path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    env DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 PATH="$path:${CARGO_HOME:-$HOME/.cargo}/bin" \
        chroot "$root" "$@"
}

run() {
    [ -e "$root/.bootstrapped" ] || { echo "no chroot in $root: scripts/sid_chroot.sh make" >&2; exit 1; }
    mount_all
    # shellcheck disable=SC2016
    in_chroot /bin/sh -c 'cd "$1" && shift && exec "$@"' sh "$PWD" "$@"
}

pythons() {
    for version in $versions; do
        [ -x "$root/usr/bin/python$version" ] && echo "python$version"
    done
    return 0
}

make_chroot() {
    bootstrap sid
    mount_all
    # shellcheck disable=SC2046
    in_chroot apt-get install -q -y $(packages) >&2
    pythons
}

conformance() {
    status=0
    for python in $(pythons); do
        venv=$project/.cache/sid-$python
        [ -x "$root$venv/bin/python" ] || run "$python" -m venv "$venv"
        if [ -z "${AIOXIDE_NO_BUILD:-}" ]; then
            run env CARGO_TARGET_DIR="$project/target/sid" "$venv/bin/python" -m pip install -q --force-reinstall "$project"
        fi
        run "$venv/bin/python" "$project/scripts/conformance.py" --python "$venv/bin/python" "$@" || status=1
    done
    return $status
}

unmount() {
    mounts | while read -r _ to; do
        if mountpoint -q "$root$to"; then umount "$root$to"; fi
    done
}

case ${1:-} in
unmount) unmount ;;
make) make_chroot ;;
pythons) pythons ;;
run) shift; run "$@" ;;
conformance) shift; conformance "$@" ;;
*) sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
