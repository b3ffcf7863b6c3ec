# Everything one does in a clone. Each target brings what it needs: a fresh clone and a Python 3.11-3.13 are enough.
#
#   make demo     word count over the standard library, then the Monte Carlo tutorial
#   make test     the tests            (ARGS='-k leases' is handed to pytest)
#   make lint     style, format, layers
#   make types    pyright strict on the package, pyright and mypy on the type tests
#   make bench    benchmarks/          (ARGS is handed to each)
#   make proto    trayray/wire/proto from proto/*.proto; `make proto-check` fails when the two differ
#   make format   rewrites what `make lint` would complain about
#   make clean    removes .venv and every cache

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.ONESHELL:
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory
.PHONY: demo test lint types bench proto proto-check format clean

VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

# ---------------------------------------------------------------- environment

IN_RANGE := import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))

# The first that runs and is in range: a version switcher may leave commands on PATH that only print an error.
PYTHON ?= $(shell for python in $$(type -ap python3.13 python3.12 python3.11 python3); do \
    if "$$python" -c '$(IN_RANGE)' >/dev/null 2>&1 </dev/null; then echo "$$python"; break; fi; done)

# Scripts in an environment and its link to this clone hold absolute paths: one that was moved with its clone, or
# whose interpreter is gone, is made again. The stamps say what it holds.
MADE := $(VENV)/.made-for
ifneq ($(shell cat $(MADE) 2>/dev/null && $(BIN)/python -c '$(IN_RANGE)' 2>/dev/null && echo sound),$(CURDIR) sound)
$(shell rm -f $(MADE))
endif

# $(1): what to install. -qq keeps pip's warnings about its own configuration away; its errors stay.
define install
echo "installing $(subst .,trayray,$(1))"
install=($(BIN)/python -m pip --disable-pip-version-check install -c constraints.txt -e '$(1)')
"$${install[@]}" -qq || { echo "make: pip failed; for the whole story: $${install[*]}" >&2; exit 1; }
endef

$(MADE):
	@python="$(PYTHON)"
	if [ -z "$$python" ]; then
	    echo "make: no Python 3.11, 3.12 or 3.13 with the venv module on PATH; install one or say make PYTHON=/path/to/python" >&2
	    exit 1
	fi
	if ! "$$python" -c '$(IN_RANGE)'; then
	    echo "make: PYTHON=$$python is not a Python 3.11, 3.12 or 3.13 with the venv module" >&2
	    exit 1
	fi
	echo "making $(VENV) with $$("$$python" -V) ($$python)"
	"$$python" -m venv --clear $(VENV)
	echo "$(CURDIR)" > $@

$(VENV)/.has-demo: $(MADE) pyproject.toml constraints.txt
	@$(call install,.)
	touch $@

$(VENV)/.has-test: $(MADE) pyproject.toml constraints.txt
	@$(call install,.[test])
	touch $(VENV)/.has-demo $@

$(VENV)/.has-dev: $(MADE) pyproject.toml constraints.txt
	@$(call install,.[dev])
	touch $(VENV)/.has-demo $(VENV)/.has-test $@

# ---------------------------------------------------------------- running

demo: $(VENV)/.has-demo
	@$(BIN)/trayray run examples/word_count.py
	$(BIN)/python examples/monte_carlo_pi.py

test: $(VENV)/.has-test
	@$(BIN)/python -m pytest $(ARGS)

bench: $(VENV)/.has-test
	@programs=(benchmarks/[a-z]*.py)
	[ -e "$${programs[0]}" ] || { echo "make: no programs in benchmarks/" >&2; exit 1; }
	for program in "$${programs[@]}"; do
	    echo "== $$program"
	    $(BIN)/python "$$program" $(ARGS)
	done

# ---------------------------------------------------------------- checking

lint: $(VENV)/.has-dev
	@$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache --no-logo

format: $(VENV)/.has-dev
	@$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.has-dev
	@$(BIN)/pyright trayray
	$(BIN)/python -m pytest tests/typing/test_types.py

# ---------------------------------------------------------------- wire messages

PROTO_OUT := trayray/wire/proto

PROTO_FRESH := $(CURDIR)/$(VENV)/fresh-proto
PROTO_SOURCES := $(sort $(notdir $(wildcard proto/*.proto)))

# Fills PROTO_FRESH with what the sources say and nothing else. From inside it, because the plugin leaves out an
# __init__.py that it finds at the same path below the current directory; and inside the clone, because the plugin
# formats with the ruff settings that it finds from there.
define generate
rm -rf "$(PROTO_FRESH)"
mkdir -p "$(PROTO_FRESH)"
(
    cd "$(PROTO_FRESH)"
    PATH="$(CURDIR)/$(BIN):$$PATH" "$(CURDIR)/$(BIN)/python" -m grpc_tools.protoc -I "$(CURDIR)/proto" \
        --python_betterproto2_out=. --python_betterproto2_opt=client_generation=async,server_generation=async \
        $(PROTO_SOURCES) 2> >(grep -v '^Writing ' >&2 || true)
)
endef

proto: $(VENV)/.has-dev
	@$(generate)
	rm -rf $(PROTO_OUT)
	cp -r "$(PROTO_FRESH)" $(PROTO_OUT)

proto-check: $(VENV)/.has-dev
	@$(generate)
	if ! diff -ru --exclude=__pycache__ $(PROTO_OUT) "$(PROTO_FRESH)"; then
	    echo "make: $(PROTO_OUT) is not what proto/*.proto says; run make proto" >&2
	    exit 1
	fi
	echo "$(PROTO_OUT) is fresh"

clean:
	rm -rf $(VENV) build dist htmlcov .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find trayray tests examples -name __pycache__ -type d -prune -exec rm -rf {} +
