# Everything there is to do here. `make demo` and `make test` set up what they need on a machine that has git, a C
# compiler, make, Python 3 and a Rust toolchain.

VENV   := .venv
PYTHON := $(VENV)/bin/python
BIN    := target/debug
# What is built here is built whole: an incremental build inlines nothing across crates unasked, so its counts of
# instructions differ by up to 9 %, and it takes half as much disk again.
export CARGO_INCREMENTAL := 0
# Debian keeps venv in a package of its own.
APT    := $(if $(filter 0,$(shell id -u)),,sudo) apt-get

.PHONY: demo test lint lint-python unit integration ui tour instructions instructions-accept minimum sanitize bench bench-quick bench-build bench-measure bench-api bench-poisons build clean

## build, generate a day of NDJSON, convert it, show what came out
demo: build $(VENV)/ready
	rm -rf demo
	$(BIN)/millwork generate demo/in --files 24 --size-mb 3.5 --dirty 0.1 --late-columns 1
	$(BIN)/millwork run --input demo/in --output demo/out
	$(PYTHON) tests/oracle/show.py demo/out

## all checks and tests
test: lint build unit instructions integration ui deploy-check

build:
	cargo build --workspace --locked

lint: lint-python
	cargo fmt --all --check
	python3 tests/arrows.py
	python3 tests/prose.py
	python3 tests/lengths.py
	python3 tests/versions.py
	python3 tests/pointers.py
	python3 tests/dependencies.py
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --quiet

## Python in tests/ and benches/, and the spelling of everything
lint-python: $(VENV)/lint-ready
	$(VENV)/bin/ruff format --check --quiet
	$(VENV)/bin/ruff check --quiet
	$(VENV)/bin/mypy --no-error-summary tests/*.py tests/oracle tests/ui tests/deploy benches
	$(VENV)/bin/typos

unit: build
	cargo test --workspace --locked --lib --bins

integration: build $(VENV)/spark-ready
	cargo test --workspace --locked --test integration

## the web UI in a real browser: pages, live changes, keys, accessibility, sign-in
ui: build $(VENV)/ui-ready
	$(PYTHON) -m pytest -q tests/ui

## the same, and new pictures in docs/tour
tour: build $(VENV)/ui-ready
	MILLWORK_TOUR=docs/tour $(PYTHON) -m pytest -q tests/ui/test_tour.py

## instructions a byte that a conversion takes; fails if they have grown by more than 5 %
instructions: /usr/bin/valgrind
	cargo build --workspace --locked --example instructions
	python3 tests/instructions.py

## takes the present counts as right
instructions-accept: /usr/bin/valgrind
	cargo build --workspace --locked --example instructions
	python3 tests/instructions.py --accept

# The least version of Rust, as in `Cargo.toml`, and the machine that tests are run on.
RUST := $(shell sed -n 's/^rust-version = "\(.*\)"/\1.0/p' Cargo.toml)
HOST := $(shell rustc -vV | sed -n 's/^host: //p')

## checks everything with the least version of Rust, which has to be installed
minimum:
	cargo +$(RUST) check --workspace --all-targets --locked --target-dir target/minimum

## tests of the crates with unsafe code that bytes from outside reach, with AddressSanitizer; needs a nightly toolchain
sanitize:
	RUSTFLAGS="-Zsanitizer=address" cargo +nightly test --locked --lib --target $(HOST) --target-dir target/sanitize \
		-p millwork-ndjson -p millwork-parquet-text

/usr/bin/valgrind:
	$(APT) update && $(APT) install -y valgrind

include tests/deploy/deploy.mk

# What benchmarks are run on, and how: medians of RUNS rounds over FILES files of each shape.
BENCH       := target/bench-out
BENCH_DATA  := target/bench-data
BENCH_BIN   := target/release
BENCH_RUNS  := 5
BENCH_FILES := 200
BENCH_PLOT  := docs/performance.svg
BENCH_LARGE := 3338
bench_on     = --data $(BENCH_DATA) --out $(BENCH) --json $(BENCH)/results.json
bench_rounds = --runs $(BENCH_RUNS) --files $(BENCH_FILES)

## all measurements: other tools and the limit, one large file, scaling, S3, cost; takes a release build and about half an hour
bench: bench-build bench-measure

## the same to try it: one round of fewer files, and no picture in docs
bench-quick: bench-build
	$(MAKE) bench-measure BENCH_RUNS=1 BENCH_FILES=40 BENCH_LARGE=700 BENCH=target/bench-quick BENCH_DATA=target/bench-quick-data \
		BENCH_PLOT=target/bench-quick/performance.svg

bench-build:
	cargo build --release --locked --bin millwork --bin millwork-scheduler --bin millwork-executor

bench-measure: $(VENV)/bench-ready
	rm -rf $(BENCH)
	cd benches/limit && RUSTFLAGS="-C target-cpu=native" cargo build --release --locked --target-dir ../../target/limit
	$(PYTHON) benches/run.py --venv $(VENV) --millwork $(BENCH_BIN)/millwork --limit target/limit/release/limit $(bench_on) $(bench_rounds)
	$(PYTHON) benches/large.py --millwork $(BENCH_BIN)/millwork --size-mb $(BENCH_LARGE) $(bench_on)
	$(PYTHON) benches/scaling.py --bin $(BENCH_BIN) $(bench_on) $(bench_rounds)
	$(PYTHON) benches/s3.py --millwork $(BENCH_BIN)/millwork $(bench_on) $(bench_rounds)
	$(PYTHON) benches/cost.py $(BENCH)/results.json
	$(PYTHON) benches/plot.py $(BENCH)/results.json $(BENCH_PLOT)

## time of each answer of the API and the web UI on a state of 100,000 runs and 1,000,000 files; takes 3 GB and some minutes
bench-api: bench-build
	python3 benches/api.py --bin $(BENCH_BIN) --state target/bench-api --tabs 20

## a good run beside hostile ones: time, memory, disk
bench-poisons: bench-build
	python3 benches/poisons.py --bin $(BENCH_BIN) --rounds 3

$(PYTHON):
	python3 -m venv $(VENV) || ($(APT) update && $(APT) install -y python3-venv && python3 -m venv $(VENV))

# Lints, which are single programs.
$(VENV)/lint-ready: tests/lint.txt | $(PYTHON)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -r tests/lint.txt
	touch $@

# Python with the readers that the tests compare with, and one in JavaScript.
$(VENV)/ready: tests/requirements.txt tests/package.json | $(PYTHON)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	command -v npm > /dev/null || ($(APT) update && $(APT) install -y nodejs npm)
	cp tests/package.json $(VENV)/ && npm install --prefix $(VENV) --silent --no-audit --no-fund
	touch $@

# Spark, another reader, which needs Java.
$(VENV)/spark-ready: $(VENV)/ready tests/spark.txt
	command -v java > /dev/null || ($(APT) update && $(APT) install -y default-jre-headless)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -r tests/spark.txt
	touch $@

# A browser, and what drives it; shells, whose completions are tried.
$(VENV)/ui-ready: $(VENV)/ready tests/ui/requirements.txt
	(command -v chromium && command -v zsh && command -v fish) > /dev/null || ($(APT) update && $(APT) install -y chromium zsh fish)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -r tests/ui/requirements.txt
	touch $@

$(VENV)/bench-ready: $(VENV)/spark-ready benches/requirements.txt
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -r benches/requirements.txt
	touch $@

clean:
	rm -rf demo $(VENV)
	cargo clean
