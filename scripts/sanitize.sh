#!/bin/sh
# The address sanitizer over the core's tests, and over the Python tests with an extension that is built with it.
#
#   scripts/sanitize.sh [--core] [--python [pytest's arguments]]      both unless one is named
#
# The toolchain brings the sanitizer's runtime for Rust programs; the extension is loaded by an interpreter that is not ours,
# so GCC's runtime is loaded before it. Python allocates each object by malloc meanwhile, so that each is watched. Leaks are
# looked for elsewhere (`make refleaks`, `make valgrind`).
set -eu

project=$(cd "$(dirname "$0")/.." && pwd)
cd "$project"
python=${PYTHON:-python3}
target=$(rustc -vV | sed -n 's/^host: //p')
export RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target/sanitize}" CARGO_PROFILE_DEV_DEBUG=line-tables-only

core() {
    RUSTFLAGS=-Zsanitizer=address ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=1 \
        cargo test --package aioxide-core --target "$target" --tests
}

python_tests() {
    venv=$project/.cache/sanitize
    [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
    "$venv/bin/python" -m pip install -q --disable-pip-version-check "maturin>=1.9,<2" "pytest>=9,<10" yarl multidict
    # Not into the source, where the ordinary build of the same interpreter stands.
    wheels=$(mktemp -d)
    RUSTFLAGS=-Zsanitizer=address AIOXIDE_NO_PROGRAM=1 \
        "$venv/bin/python" -m maturin build -q --target "$target" -i "$venv/bin/python" -o "$wheels"
    "$venv/bin/python" -m pip install -q --disable-pip-version-check --no-deps --force-reinstall "$wheels"/*.whl
    rm -r "$wheels"
    LD_PRELOAD=$(gcc -print-file-name=libasan.so) PYTHONMALLOC=malloc \
        ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:handle_segv=0:use_sigaltstack=0 \
        "$venv/bin/python" -m pytest -q -p no:cacheprovider --loops aioxide "$@"
}

case ${1:-} in
    --core) core ;;
    --python) shift; python_tests "$@" ;;
    "") core; python_tests tests ;;
    *) echo "scripts/sanitize.sh [--core] [--python [pytest's arguments]]" >&2; exit 2 ;;
esac
