# A thin front: everything here is a script or a cmake preset that can be called directly.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# One job needs up to 2 GB where libtorch's headers are compiled.
JOBS ?= $(shell awk -v cores=$$(nproc) '/^MemAvailable/ { jobs = int($$2 / 2000000); \
  print jobs < 1 ? 1 : jobs < cores ? jobs : cores }' /proc/meminfo)
PREFIX ?= /usr/local
FUZZ_SECONDS ?= 60
# Without this ccache cannot reuse what was compiled with a precompiled header.
export CCACHE_SLOPPINESS := pch_defines,time_macros

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | \
	  expand -t 20
	@echo "variables: JOBS=$(JOBS) PREFIX=$(PREFIX) FUZZ_SECONDS=$(FUZZ_SECONDS)"

.PHONY: bootstrap
bootstrap: ## install what building needs (apt packages, .venv)
	@scripts/bootstrap

.PHONY: build
build: bootstrap ## build everything into build/release
	@cmake --preset release
	@cmake --build --preset release -j $(JOBS)

.PHONY: quickstart
quickstart: bootstrap ## shrink a trained mixture of experts, compare, generate text
	@cmake --preset release
	@cmake --build --preset release -j $(JOBS) --target talpa talpa-lab
	@scripts/fetch-models smollm2 || echo "make: going on without SmolLM2" >&2
	@scripts/quickstart

.PHONY: test
test: bootstrap ## build and run all tests, the runtime half also under ASan and UBSan
	@cmake --preset ci
	@cmake --build --preset ci -j $(JOBS)
	@cmake --preset asan
	@cmake --build --preset asan -j $(JOBS)
	@ctest --preset asan -j $(JOBS)
	@ctest --preset ci -j $(JOBS)

.PHONY: tsan
tsan: bootstrap ## the runtime half's tests under ThreadSanitizer
	@cmake --preset tsan
	@cmake --build --preset tsan -j $(JOBS)
	@ctest --preset tsan -j $(JOBS)

.PHONY: bench
bench: bootstrap ## kernel benchmarks
	@cmake --preset release -DTALPA_BUILD_BENCH=ON
	@cmake --build --preset release -j $(JOBS)
	@for program in build/release/bin/*_bench; do "$$program"; done

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZ_SECONDS, from the committed corpus
	@scripts/bootstrap --tools
	@mkdir -p build
	@TALPA_JOBS=$(JOBS) scripts/fuzz $(FUZZ_SECONDS)

.PHONY: interop
interop: ## compare with transformers, tokenizers and llama.cpp
	@scripts/bootstrap --oracle
	@$(MAKE) --no-print-directory build
	@scripts/interop/run

.PHONY: install
install: build ## install the programs, headers and libraries below PREFIX
	@cmake --install build/release --prefix $(PREFIX)

.PHONY: deb
deb: ## a Debian package of the program without libtorch: build/runtime/talpa_*.deb
	@scripts/bootstrap --runtime
	@cmake --preset runtime
	@cmake --build --preset runtime -j $(JOBS)
	@cpack --config build/runtime/CPackConfig.cmake -B build/runtime/package
	@mv build/runtime/package/*.deb build/runtime/

.PHONY: format
format: ## reformat all C++ files
	@git ls-files -co --exclude-standard '*.cc' '*.h' | xargs clang-format-14 -i

.PHONY: lint
lint: ## formatting and clang-tidy of what changed; all files with: scripts/lint --all
	@scripts/lint

.PHONY: clean
clean: ## remove build folders (keeps .venv and .assets)
	@rm -rf build
