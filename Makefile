# Every verb is one line; .ci/run calls the same ones. `make help` lists them.
.DEFAULT_GOAL := help
CARGO ?= cargo
PYTHON ?= python3
# rsloop has no wheels for Linux and builds with a nightly compiler of its own choice; any that is installed will do.
RSLOOP_BUILD := RUSTUP_TOOLCHAIN=nightly RUSTFLAGS="-Zcrate-attr=feature(allocator_api)"
# What a verb installs for its tests needs no program beside the extension.
export AIOXIDE_NO_PROGRAM := 1
RUST_PACKAGES := --workspace --exclude aioxide-py --exclude probe --exclude rust-extension
# Nothing of ours uses them, so that they are off unless asked for.
RUST_FEATURES := --features aioxide/watchdog

help:        ## lists the verbs
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 22
demo:        ## builds the program and runs the lesson's job in its three varieties
	$(CARGO) run --release --package aioxide-cli -- demo $(DEMO)
build:       ## builds the program `aioxide` into target/release
	$(CARGO) build --release --package aioxide-cli
test: setup test-rust test-python  ## sets up and passes every test
setup:       ## installs what the tests need and the machine lacks (nginx, Python's venv)
	PYTHON=$(PYTHON) scripts/setup_tests.sh
test-rust:   ## the Rust tests, doc tests among them
	$(CARGO) test $(RUST_PACKAGES) $(RUST_FEATURES)
lint: lint-python  ## formatting, clippy, ruff, mypy and the documentation, warnings denied; a free-threaded Python compiles
	$(CARGO) fmt --all --check && $(CARGO) clippy --workspace --all-targets $(RUST_FEATURES) -- -D warnings && $(MAKE) docs && $(MAKE) check-version VERSION=3.14t
lint-python: venv  ## the Python part of it
	.venv/bin/ruff check -q . && .venv/bin/ruff format -q --check . && .venv/bin/mypy
rooms:       ## which part of a crate uses which, what runs in a circle; the picture in docs/architecture.md (ROOMS=aioxide-py)
	$(PYTHON) scripts/rooms.py $(ROOMS)
count:       ## files, lines and unsafe code per crate, beside what a commit held (REV=...)
	$(PYTHON) scripts/count.py $(if $(REV),--at $(REV))
check-version: ## compiles the extension for a version of Python that is not installed (VERSION=3.14, VERSION=3.14t)
	mkdir -p target && printf 'implementation=CPython\nversion=$(VERSION:t=)\nshared=true\nabi3=false\npointer_width=64\nbuild_flags=$(if $(filter %t,$(VERSION)),Py_GIL_DISABLED)\nsuppress_build_script_link_lines=false\n' > target/python-$(VERSION).txt
	PYO3_CONFIG_FILE=$(CURDIR)/target/python-$(VERSION).txt $(CARGO) check --package aioxide-py --lib --target-dir target/python-$(VERSION:t=)
dist:        ## what is given to others, into dist/: sdist, wheels, Debian package, program (DIST="--only wheels --pythons 3.13")
	$(PYTHON) scripts/release $(DIST)
dist-check:  ## tries what is in dist/ in a fresh Debian 12 and a fresh sid without Rust (needs root; ROOTS="bookworm": only this)
	scripts/clean_roots.sh $(ROOTS)
msrv:        ## no dependency needs a newer Rust than the project names; compiles with that one where rustup has it
	$(PYTHON) scripts/msrv.py
package:     ## packs each crate that is published and builds it from its package; publishes nothing
	$(CARGO) publish --dry-run --workspace --locked --target-dir target/package-check $(PACKAGE)
site:        ## builds the documentation into target/site, and checks its links
	$(PYTHON) scripts/site.py
docs:        ## builds the API documentation, warnings denied
	# The program has the crate's name: one after the other, or they write into each other's pages.
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --package aioxide-cli --no-deps
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc $(RUST_PACKAGES) --exclude aioxide-cli $(RUST_FEATURES) --no-deps
bench:       ## the mechanisms, each beside tokio
	$(CARGO) bench $(RUST_PACKAGES) $(BENCH)
bench-fetch: ## `aioxide fetch` beside curl, wget2 and aria2c
	$(CARGO) build --release --package aioxide-cli && python3 benches/fetch_compare.py $(BENCH)
bench-names: ## `aioxide fetch --resolver` beside the system's resolver, on 50 000 names
	$(CARGO) build --release --package aioxide-cli && python3 benches/fetch_names.py $(BENCH)
fuzz-http:   ## answers of HTTP/1 and HTTP/2 made from seeds, good and bad: MINUTES=10, from SEED=1 on
	AIOXIDE_FUZZ_MINUTES=$(or $(MINUTES),10) AIOXIDE_FUZZ_SEED=$(or $(SEED),1) $(CARGO) test --package aioxide-http --package aioxide-cli --test http_fuzz --test fetch_fuzz -- --nocapture --test-threads=1
loom:        ## the concurrent parts under every interleaving
	RUSTFLAGS="--cfg loom" $(CARGO) test --release --package aioxide-core --lib --target-dir target/loom
valgrind:    ## the raw task cell and the loop under memcheck (which knows no pidfd)
	CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="valgrind --quiet --error-exitcode=99 --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite --suppressions=$(CURDIR)/scripts/valgrind.supp" $(CARGO) test --package aioxide-core --test task --test event_loop --test reactor --test blocking --target x86_64-unknown-linux-gnu -- --test-threads=1 --skip end_of_a_child
venv:        ## makes .venv with the tools of the Python face
	[ -x .venv/bin/python ] || $(PYTHON) -m venv .venv
	.venv/bin/python -m pip install -q --disable-pip-version-check "maturin>=1.9,<2" "pytest>=9,<10" "mypy>=2.4,<2.5" "ruff>=0.17,<0.18" "basedpyright>=1.40,<2" "aiohttp==3.14.5" "httpx>=0.28,<1" "opentelemetry-sdk>=1.40,<2" fastapi uvicorn gunicorn uvicorn-worker
develop: venv  ## builds the extension and the package into .venv
	VIRTUAL_ENV="$(CURDIR)/.venv" .venv/bin/python -m maturin develop -q $(MATURIN)
test-python: develop  ## the tests of the Python face, on stock asyncio and on aioxide
	.venv/bin/python -m pytest -q $(TESTS)
conformance: differential ## CPython's own asyncio tests on aioxide, on every interpreter found, beside stock asyncio
	$(PYTHON) scripts/conformance.py --install . --update docs/compat.md $(CONFORMANCE)
differential: develop ## 100 000 random programs, and 10 000 of connections, that must leave the log of stock asyncio
	cd tests && ../.venv/bin/python -m differential.run --count 100000 --classes aioxide $(DIFFERENTIAL)
	cd tests && ../.venv/bin/python -m differential.connections --count 10000
hostile: develop ## random programs of objects that come back into the loop, ten minutes of them
	cd tests && PYTHONMALLOC=debug ../.venv/bin/python -m hostile.run --minutes 10 $(HOSTILE)
differential-rust: venv ## 100 000 random programs of the Rust face, which must leave the log of stock asyncio
	RANDOM_PROGRAMS=100000 $(CARGO) test --release --package aioxide --test random_programs
conformance-classes: ## the same with aioxide's Task, Future, gather, locks and queues in place of asyncio's
	$(PYTHON) scripts/conformance.py --install . --classes --update docs/compat.md $(CONFORMANCE)
sid:         ## makes a Debian sid chroot with Python 3.14 and 3.15 (needs root)
	scripts/sid_chroot.sh make
conformance-sid: sid  ## CPython's own asyncio tests on the interpreters in the chroot
	scripts/sid_chroot.sh conformance --update docs/compat.md $(CONFORMANCE)
bench-apps bench-http bench-loops bench-rust-futures instructions soak: MATURIN = --release
setup-bench: ## installs what bench-loops needs and the machine lacks (OpenSSL's headers for its TLS rows, valgrind)
	PYTHON=$(PYTHON) scripts/setup_tests.sh benches
bench-loops: setup-bench develop  ## event loops beside each other: asyncio, uvloop, rsloop, rloop where they can be had, aioxide
	.venv/bin/pip install -q uvloop rloop uvicorn httptools; $(RSLOOP_BUILD) .venv/bin/pip install -q rsloop; .venv/bin/pip install -q zuvloop blazio || true; .venv/bin/python benches/loops.py $(BENCH)
bench-apps: setup-bench develop  ## what users run on every loop: uvicorn, FastAPI, aiohttp, websockets, streams; redis-py, asyncpg, httpx
	.venv/bin/pip install -q uvloop uvicorn httptools fastapi aiohttp websockets redis asyncpg httpx; .venv/bin/pip install -q zuvloop blazio || true
	.venv/bin/python benches/apps.py $(BENCH)
bench-http: develop  ## HTTP clients for Python beside each other, against nginx: CPU for one request
	.venv/bin/pip install -q uvloop httpx "aiohttp[speedups]" && .venv/bin/python benches/http_clients.py $(BENCH)
bench-rust-futures: develop  ## a Rust future awaited from Python, on the loop and through tokio
	.venv/bin/pip install -q uvloop && .venv/bin/python benches/rust_futures.py $(BENCH)
compat:      ## real libraries over the loopback: aiohttp, uvicorn, asyncpg with PostgreSQL, Redis, gRPC and more
	scripts/compat.sh $(TESTS)
compat-anyio: ## AnyIO's own test-suite on aioxide, beside stock asyncio
	scripts/compat.sh --anyio $(ANYIO)
bench-monitor: develop  ## what aioxide.monitor costs while nobody looks (BENCH="--snapshot 100000": a snapshot)
	.venv/bin/python benches/monitor_cost.py $(BENCH)
test-detector: develop  ## the tests while deadlocks are looked for all the time: none may be found
	.venv/bin/python -m pytest -q -p tests.monitor.detector tests --ignore tests/monitor $(TESTS)
pictures: develop  ## the pictures of the guide "Seeing inside", of two services that are stuck (needs tmux, chromedriver)
	.venv/bin/pip install -q rich && $(CARGO) build --release --package aioxide-cli
	CARGO_PROFILE_RELEASE_DEBUG=line-tables-only $(CARGO) build --release --package aioxide $(RUST_FEATURES) --examples && .venv/bin/python scripts/pictures.py
instructions: setup-bench develop  ## what one operation of each mechanism costs in instructions (valgrind)
	.venv/bin/python benches/instructions.py $(BENCH)
suites:      ## real libraries' own test-suites on aioxide, beside stock asyncio (SUITES="tornado aiohttp": only these)
	$(PYTHON) scripts/suites.py --update docs/compat.md $(SUITES)
soak: develop  ## a million connections beside 10 000 idle ones, ten million tasks, a million requests: memory stays
	.venv/bin/python scripts/soak.py connections --idle 10000 $(SOAK) && .venv/bin/python scripts/soak.py tasks $(SOAK) && .venv/bin/python scripts/soak.py requests $(SOAK)
refleaks:    ## each behaviour over and over on a debug CPython: references, memory and descriptors must not grow
	scripts/debug_python.sh $(REFLEAKS)
sanitize:    ## the address sanitizer over the core's tests and the extension's (SANITIZE="--python tests/test_tasks.py": only these)
	PYTHON=$(PYTHON) scripts/sanitize.sh $(SANITIZE)
test-debug-python: ## the Python tests on a debug CPython
	scripts/debug_python.sh --tests $(TESTS)
.PHONY: bench-http dist dist-check msrv package site
.PHONY: compat compat-anyio setup-bench bench-loops bench-rust-futures venv develop test-python lint-python conformance conformance-classes sid conformance-sid
.PHONY: bench-apps instructions soak refleaks test-debug-python differential hostile
.PHONY: fuzz-http help demo build test setup test-rust lint docs bench bench-fetch bench-names loom valgrind bench-monitor test-detector pictures
.PHONY: differential-rust rooms count check-version sanitize
