#!/bin/sh
# Runs real libraries on aioxide over the loopback, in an environment of their own (.cache/compat-3.11 and so on).
#
#   scripts/compat.sh [pytest arguments]     makes the environment, builds and installs aioxide, runs tests/compat
#   scripts/compat.sh --anyio [arguments]    the same with AnyIO's own tests (scripts/anyio_suite.py)
#
# PYTHON chooses the interpreter. PostgreSQL and Redis are installed by apt where they are missing and we may.
# With AIOXIDE_NO_BUILD set the aioxide that the environment has is taken.
set -eu

project=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
venv=$project/.cache/compat-$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')

missing=""
command -v pg_ctl >/dev/null 2>&1 || ls /usr/lib/postgresql/*/bin/pg_ctl >/dev/null 2>&1 || missing="$missing postgresql"
command -v redis-server >/dev/null 2>&1 || missing="$missing redis-server"
if [ -n "$missing" ]; then
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        echo "The tests need:$missing" >&2
        exit 1
    fi
    # The packages start no service of their own: the tests run theirs from their own folders.
    export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
    # shellcheck disable=SC2086  # the list is meant to be split
    apt-get install -y --no-install-recommends $missing >&2 || {
        apt-get update >&2
        # shellcheck disable=SC2086
        apt-get install -y --no-install-recommends $missing >&2
    }
fi

[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
"$venv/bin/python" -m pip install -q -r "$project/tests/compat/requirements.txt"
# The installed aioxide may be another checkout's: the name and version alone do not tell.
[ -n "${AIOXIDE_NO_BUILD:-}" ] || "$venv/bin/python" -m pip install -q --force-reinstall --no-deps "$project"
cd "$project"
if [ "${1:-}" = --anyio ]; then
    shift
    exec "$venv/bin/python" scripts/anyio_suite.py "$@"
fi
# The lesson's test downloads from the program's own two sites.
"${CARGO:-cargo}" build --quiet --package aioxide-cli
exec "$venv/bin/python" -m pytest -q -p no:cacheprovider -c tests/compat/pytest.ini --rootdir tests/compat tests/compat "$@"
