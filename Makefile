# make build   target/release/spile, and .venv/bin/spile from the wheel
# make demo    Flask, Django and an axum program behind nginx, on 127.0.0.1:8080
# make test    everything that can fail
# make lint    formatting, warnings, what files may use, and what the dependencies are
# make coverage  which lines of the Rust code the tests run; TESTS="-k tls" for some of those in Python
# make fuzz    the fuzz targets, for TIME seconds each; 0 only builds them
# make conformance  the tests of other projects, from PyPI; SUITES="django waitress" for some of them
# make msrv    whether it compiles with the oldest Rust that Cargo.toml promises
# make miri    the unit tests that Miri can run, if it is installed
# make sanitize   what has unsafe code, under the address sanitizer
# make big     the tests that move a gigabyte each way
# make soak    reloads and kills under load, twice four minutes; MINUTES=60 for mixed traffic of so long alone
# make bench-counts  instructions that parts of a request take, beside benches/baseline; UPDATE=1 writes that anew
# make bench   what a request costs, beside other servers: benches/results; CASE=wsgi-hello for one, SCALE=1 for plots
# make reliability   requests lost, waits and memory beside uWSGI's: the table of docs/reliability.md
#
# What is missing is installed, by apt and into .venv by pip. PYTHON names the interpreter for .venv.

SHELL := /bin/bash
.DEFAULT_GOAL := build
TIME ?= 10
MINUTES ?=
# Of make bench: rounds, seconds of each server in a round, cases, servers, and where the results go.
ROUNDS ?= 5
SECONDS ?= 3
CASE ?=
SERVERS ?= spile,uwsgi,gunicorn,granian,bjoern
OUT ?=
# Of make conformance: all, or some of those that tests/conformance/suites.py has.
SUITES ?=
# Of make coverage: what pytest gets.
TESTS ?=
SETUP := scripts/setup.sh
PYTEST := .venv/bin/python -m pytest

.PHONY: build demo test unit-test python-test coverage conformance load big soak reliability bench bench-counts lint fuzz \
	msrv miri sanitize clean

build:
	@$(SETUP) cargo venv
	@scripts/build.sh

demo:
	@scripts/demo.sh

test: unit-test python-test

unit-test:
	@$(SETUP) cargo
	cargo test --workspace --features spile/upgrade --quiet

python-test: build load
	@$(SETUP) nginx apache lighttpd openssl curl wrk systemd faketime tests/requirements.txt
	$(PYTEST) -q -n 4

coverage:
	@$(SETUP) cargo nginx apache lighttpd openssl curl wrk systemd faketime
	@scripts/coverage.sh $(TESTS)

conformance: build
	@$(SETUP) nginx
	@tests/conformance/run.sh $(SUITES)

big: build
	@$(SETUP) nginx curl tests/requirements.txt
	$(PYTEST) -q -m big

soak: build load
	@$(SETUP) nginx curl tests/requirements.txt
	$(if $(MINUTES),SOAK_MINUTES=$(MINUTES)) $(PYTEST) -q -m soak $(if $(MINUTES),tests/python/test_soak.py)

reliability: build load
	@$(SETUP) nginx curl tests/requirements.txt
	@benches/reliability/run.sh

# Without the caller's flags and profiles: the counts depend on them.
bench-counts:
	@$(SETUP) cargo valgrind
	@env $$(compgen -e | sed -n 's/^\(RUSTFLAGS\|CARGO_INCREMENTAL\|CARGO_PROFILE_.*\)$$/-u \1/p') \
		cargo bench --quiet --bench instructions -- $(if $(UPDATE),--update)

bench: build load
	@SERVERS=$(SERVERS) CASE=$(CASE) benches/compare/run.sh --rounds $(ROUNDS) --seconds $(SECONDS) \
		$(if $(OUT),--out $(OUT)) $(if $(SCALE),--scale)

# The load generator of those.
load:
	@$(SETUP) cargo
	@cargo build --release --quiet --package load

lint:
	@$(SETUP) cargo tests/requirements.txt
	cargo fmt --all --check
	cargo clippy --workspace --features spile/upgrade --all-targets --quiet -- -D warnings
	cargo clippy --quiet -- -D warnings
	cargo clippy --features client,config,files,tls,upgrade --quiet -- -D warnings
	cargo clippy --features cli --quiet -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --quiet
	.venv/bin/ruff check --quiet .
	.venv/bin/ruff format --check --quiet .
	@scripts/deny.sh
	@.venv/bin/python scripts/dependencies.py
	@.venv/bin/python scripts/layers.py

fuzz:
	fuzz/run.sh $(TIME)

msrv:
	@scripts/msrv.sh

miri:
	scripts/miri.sh

sanitize:
	scripts/sanitize.sh

clean:
	rm -rf target .venv fuzz/target
