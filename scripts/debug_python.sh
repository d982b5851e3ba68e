#!/bin/sh
# Builds the extension for a debug build of CPython and looks for leaked references.
#
#   scripts/debug_python.sh [arguments]            every behaviour of tests/refleaks, over and over
#   scripts/debug_python.sh --tests [arguments]    the tests of tests/ on it
#
# DEBUG_PYTHON chooses the interpreter; Debian's python3.11-dbg is installed by apt where none is and we may.
# With AIOXIDE_NO_BUILD set the extension that the environment (.cache/debug) has is taken.
set -eu

project=$(cd "$(dirname "$0")/.." && pwd)
venv=$project/.cache/debug
python=${DEBUG_PYTHON:-python3.11-dbg}

if ! command -v "$python" >/dev/null 2>&1; then
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        echo "A debug build of CPython is needed: DEBUG_PYTHON=... (Debian: apt-get install python3.11-dbg)" >&2
        exit 1
    fi
    apt-get install -y --no-install-recommends "$python" python3.11-venv >&2
fi
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
"$venv/bin/python" -c "import sys; sys.gettotalrefcount()" || { echo "$python is no debug build" >&2; exit 1; }
cd "$project"
if [ -z "${AIOXIDE_NO_BUILD:-}" ]; then
    "$venv/bin/python" -m pip install -q --disable-pip-version-check "maturin>=1.9,<2" "pytest>=9,<10" yarl multidict
    # Its own folder: the interpreter decides how PyO3 is built, and the other builds are to be kept.
    CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target/debug-python} VIRTUAL_ENV=$venv "$venv/bin/python" -m maturin develop -q
fi
# Their extensions are built for another layout of objects than Debian's debug build has.
export MULTIDICT_NO_EXTENSIONS=1 YARL_NO_EXTENSIONS=1 PROPCACHE_NO_EXTENSIONS=1
if [ "${1:-}" = --tests ]; then
    shift
    exec "$venv/bin/python" -m pytest -q -p no:cacheprovider "$@"
fi
cd tests
exec "$venv/bin/python" -m refleaks.run "$@"
