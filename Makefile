# Every target works from a fresh clone on Debian 12 as root; `make setup` says what it installs.

SHELL := /bin/bash
.DELETE_ON_ERROR:
.SUFFIXES:

TARGET_DIR := $(abspath $(or $(CARGO_TARGET_DIR),target))
BIN_DIR    := $(TARGET_DIR)/bin
DESTDIR    ?=
CNI_DIR    ?= /opt/cni/bin
PREFIX     ?= /usr/local
SBIN_DIR   ?= $(PREFIX)/sbin
UNIT_DIR   ?= $(PREFIX)/lib/systemd/system
SHARE      := $(DESTDIR)$(PREFIX)/share

# Where the tests and the benchmarks find what was built, and where a test that cannot run says so.
export BULKHEAD_BIN_DIR ?= $(BIN_DIR)
export BULKHEAD_SKIPS   ?= $(TARGET_DIR)/skipped-tests

# Static linkage: musl where rustup could add it, else glibc with +crt-static. Asked at use, because
# `make setup` may just have added it.
STATIC := $(SHELL) .ci/static-target

.PHONY: help setup build demo demo-cluster test soak bench lint fmt edges licences deny install clean
help:
	@echo "make setup    install what the tests need (Debian packages, the musl target)"
	@echo "make build    plugin executable, CLI and node daemon into $(BIN_DIR)"
	@echo "make demo     two containers on a dual-stack network, in namespaces of their own"
	@echo "make demo-cluster  three nodes and an etcd: containers on each, a dead node, a dead store"
	@echo "make test     everything; root; touches no namespace but its own"
	@echo "make soak     longer churn, then the hammer: DURATION=$(DURATION) SEED=$(SEED)"
	@echo "make bench    ours, the reference plugins and the kernel's floor in one run"
	@echo "make lint     format, clippy, crate edges, licences"
	@echo "make install  DESTDIR=$(DESTDIR) CNI_DIR=$(CNI_DIR) PREFIX=$(PREFIX) SBIN_DIR=$(SBIN_DIR) UNIT_DIR=$(UNIT_DIR)"

setup:
	@$(SHELL) .ci/setup

build: setup
	@set -e; eval "$$($(STATIC))"; \
	cargo build --locked --profile plugin --target "$$target" -p bulkhead-cni-bin; \
	cargo build --locked --release --target "$$target" -p bulkhead-cli; \
	plugin=$(TARGET_DIR)/$$target/plugin/bulkhead-cni; \
	names=$$("$$plugin" 2>&1 | sed -n 's/^bulkhead-cni answers to: //p' | grep .); \
	$(SHELL) .ci/place "$$plugin" "$(BIN_DIR)" $$names; \
	$(SHELL) .ci/place "$(TARGET_DIR)/$$target/release/bulkhead" "$(BIN_DIR)" bulkhead
	cargo build --locked --release -p bulkhead-daemon
	$(SHELL) .ci/place "$(TARGET_DIR)/release/bulkheadd" "$(BIN_DIR)" bulkheadd

demo: build
	cargo run --locked --quiet -p netns-fixtures --bin bulkhead-demo -- --bin-dir "$(BIN_DIR)"

demo-cluster: build
	cargo run --locked --quiet -p bulkhead-tests --bin demo-cluster

test: build
	@$(SHELL) .ci/test

# How long the hammer goes on, and where its choices come from.
DURATION ?= 60s
SEED     ?= 1

soak: export BULKHEAD_SOAK = 1
soak: build
	@$(SHELL) .ci/test --release --filter soak
	cargo run --locked --release --quiet -p bulkhead-tests --bin hammer -- --duration $(DURATION) --seed $(SEED)

# `peak` has to be small to see small peaks; the benchmark that starts it need not.
bench: build
	@set -e; eval "$$($(STATIC))"; \
	cargo build --locked --release --target "$$target" -p netns-fixtures --bin peak; \
	cargo build --locked --release -p bulkhead-tests --bin bench; \
	$(SHELL) .ci/place "$(TARGET_DIR)/$$target/release/peak" "$(TARGET_DIR)/release" peak; \
	"$(TARGET_DIR)/release/bench" $(BENCH_ARGS)

lint: fmt
	cargo clippy --locked --workspace --all-targets -- -D warnings
	@$(MAKE) --no-print-directory edges licences deny

fmt:
	cargo fmt --all --check

edges:
	cargo test --locked --quiet -p bulkhead-tests --test edges

licences:
	cargo test --locked --quiet -p bulkhead-tests --test licences

deny:
	@if cargo deny --version >/dev/null 2>&1; then cargo deny --locked check; \
	else echo "deny: skipped, cargo-deny is not installed (licences are checked by the test of that name)"; fi

install: build
	@set -e; $(SHELL) .ci/place "$(BIN_DIR)/bulkhead" "$(DESTDIR)$(SBIN_DIR)" bulkhead; \
	$(SHELL) .ci/place "$(BIN_DIR)/bulkheadd" "$(DESTDIR)$(SBIN_DIR)" bulkheadd; \
	install -d "$(DESTDIR)$(UNIT_DIR)" "$(SHARE)/doc/bulkhead"; \
	sed 's|^ExecStart=.*|ExecStart=$(SBIN_DIR)/bulkheadd|' deploy/systemd/bulkheadd.service \
		>"$(DESTDIR)$(UNIT_DIR)/bulkheadd.service"; \
	install -m 0644 deploy/systemd/bulkheadd.toml "$(SHARE)/doc/bulkhead/bulkheadd.toml"; \
	bulkhead="$(BIN_DIR)/bulkhead"; \
	"$$bulkhead" install --no-conf --from "$(BIN_DIR)" --bin-dir "$(DESTDIR)$(CNI_DIR)"; \
	install -d "$(SHARE)/bash-completion/completions" "$(SHARE)/zsh/site-functions" \
		"$(SHARE)/fish/vendor_completions.d"; \
	"$$bulkhead" completions bash >"$(SHARE)/bash-completion/completions/bulkhead"; \
	"$$bulkhead" completions zsh >"$(SHARE)/zsh/site-functions/_bulkhead"; \
	"$$bulkhead" completions fish >"$(SHARE)/fish/vendor_completions.d/bulkhead.fish"; \
	"$$bulkhead" man --dir "$(SHARE)/man/man8"

clean:
	cargo clean
