# Everything there is to do here. `make demo` and `make test` set up what they need on a machine that has git, a C
# compiler, make, Python 3 and a Rust toolchain.

VENV   := .venv
PYTHON := $(VENV)/bin/python
BIN    := target/debug
# Debian keeps venv in a package of its own.
APT    := $(if $(filter 0,$(shell id -u)),,sudo) apt-get

.PHONY: demo test lint unit integration instructions instructions-accept bench build clean

## build, generate a day of NDJSON, convert it, show what came out
demo: build $(VENV)/ready
	rm -rf demo
	$(BIN)/millwork generate demo/in --files 24 --size-mb 3.5 --dirty 0.1 --late-columns 1
	$(BIN)/millwork run --input demo/in --output demo/out
	$(PYTHON) tests/oracle/show.py demo/out

## all checks and tests
test: lint build unit instructions integration

build:
	cargo build --workspace --locked

lint:
	cargo fmt --all --check
	python3 tests/arrows.py
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --quiet

unit: build
	cargo test --workspace --locked --lib --bins

integration: build $(VENV)/ready
	cargo test --workspace --locked --test integration

## instructions a byte that a conversion takes; fails if they have grown by more than 5 %
instructions: /usr/bin/valgrind
	cargo build --workspace --locked --example instructions
	python3 tests/instructions.py

## takes the present counts as right
instructions-accept: /usr/bin/valgrind
	cargo build --workspace --locked --example instructions
	python3 tests/instructions.py --accept

/usr/bin/valgrind:
	$(APT) update && $(APT) install -y valgrind

## the comparison with other tools; takes a release build and about a quarter of an hour
bench: $(VENV)/bench-ready
	cargo build --release --locked --bin millwork
	$(PYTHON) benches/run.py --venv $(VENV) --data target/bench-data --out target/bench-out --millwork target/release/millwork

# Python with the readers that the tests compare with.
$(VENV)/ready: tests/requirements.txt
	python3 -m venv $(VENV) || ($(APT) update && $(APT) install -y python3-venv && python3 -m venv $(VENV))
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	touch $@

$(VENV)/bench-ready: $(VENV)/ready benches/requirements.txt
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -r benches/requirements.txt
	touch $@

clean:
	rm -rf demo $(VENV)
	cargo clean
