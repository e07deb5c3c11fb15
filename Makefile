# Kefu. `make demo` and `make test` do all the set-up they need; both may be run again at once, and from any folder.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build
.PHONY: setup build demo test faults fuzz sanitize image evaluate bench load docs settings format lint protos clean

SWIFT_BUILD := swift build --explicit-target-dependency-import-check error
CACHE := $(HOME)/.cache/kefu
export KEFU_PYTHON := $(CACHE)/venv/bin/python
# torch's threads spin while they wait, which starves their neighbours on shared cores.
export OMP_WAIT_POLICY := PASSIVE
export KMP_BLOCKTIME := 0

## What a build and a test need: Debian packages, libtorch, a Python environment. Quick where all is there.
setup:
	@bash .ci/setup

## Release binaries in .build/release/.
build: setup
	$(SWIFT_BUILD) -c release

## Starts Redis and both services, plays a conversation, and then lets you talk.
demo: build
	@bash Deploy/demo/run

## Everything that CI runs.
test: setup
	@bash .ci/test

## Breaks each part in turn under load, and checks that no acknowledged turn is lost or doubled: some minutes. ROWS="Redis" runs the rows with that word.
faults: build
	@$(KEFU_PYTHON) Tests/Faults/faults.py $(ROWS)

## Fuzzes every parser that meets the outside, a minute each: SECONDS=N, or RUNS=N executions; TARGETS="redis chat".
fuzz: setup
	@bash Tests/Fuzz/build
	@bash Tests/Fuzz/run $(if $(RUNS),--runs $(RUNS),--seconds $(or $(SECONDS),60)) $(TARGETS)

## The Swift tests under Address, Undefined Behaviour, Leak and Thread Sanitizer, each in a build of its own: KIND=address or thread, TESTS="RPCTests RedisTests".
sanitize: setup
	@bash .ci/sanitize $(KIND) $(TESTS)

## Builds the container images, and plays the demo's conversation in them; IMAGE_ARGUMENTS=--local where no registry of images is reached.
image:
	@bash Deploy/docker/test $(IMAGE_ARGUMENTS)

## Every benchmark, a few seconds each: see Benchmarks/README.md.
bench: build
	@bash Benchmarks/run

## 1,000 to 8,000 users in conversation with a whole deployment on this machine: see Benchmarks/load/run.
load: build
	@bash Benchmarks/load/run

## The shipped models on the dev utterances, through the running intent-server.
evaluate: build
	@$(KEFU_PYTHON) Tests/Python/evaluate.py

## Renders the libraries' pages with DocC, in .build/docs.
docs: setup
	$(SWIFT_BUILD)
	@bash .ci/docs

format:
	swift format -i -r -p Package.swift Sources Tests Benchmarks/Package.swift Benchmarks/Sources

lint:
	swift format lint --strict -r -p Package.swift Sources Tests Benchmarks/Package.swift Benchmarks/Sources

## Deploy/SETTINGS.md from the programs' help.
settings: build
	@$(KEFU_PYTHON) Deploy/settings.py

## Generated C code from Protos/.
protos: setup
	bash Protos/generate.sh

clean:
	rm -rf .build .build-address .build-fuzz .build-thread Benchmarks/.build
