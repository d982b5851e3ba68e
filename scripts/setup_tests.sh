#!/bin/sh
# Installs what the tests need and the machine lacks: nginx and the like, by apt; says what to do where it cannot.
set -eu

missing=""
command -v nginx >/dev/null 2>&1 || [ -x /usr/sbin/nginx ] || missing="$missing nginx-light"
command -v cc >/dev/null 2>&1 || missing="$missing gcc"
# Debian's Python makes no virtual environments without a package of its own.
"${PYTHON:-python3}" -c "import ensurepip, venv" >/dev/null 2>&1 || missing="$missing python3-venv"
[ -z "$missing" ] && exit 0

as_root=""
if [ "$(id -u)" -ne 0 ]; then
    if command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
        as_root="sudo"
    else
        as_root="none"
    fi
fi
if [ "$as_root" = none ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "The tests need:$missing. Install them as root, for example on Debian:" >&2
    echo "    apt-get install --no-install-recommends$missing" >&2
    exit 1
fi
echo "Installing what the tests need:$missing" >&2
# The packages start no service of their own: the tests run nginx from their own directory.
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
# shellcheck disable=SC2086  # the list is meant to be split
if ! $as_root apt-get install -y --no-install-recommends $missing >&2; then
    $as_root apt-get update >&2
    # shellcheck disable=SC2086
    $as_root apt-get install -y --no-install-recommends $missing >&2
fi
