# `make demo` shows headclust at work, `make test` runs its tests. Both make VENV, or reuse it, and install what they need.
#
#   make test VENV=/tmp/other     another place for the virtual environment
#   make demo PYTHON=python3.12   another Python (>= 3.11) to make it with
#   make test UV=                 install with pip although uv is there
#   make test JOBS=8              in as many processes, for a machine with more than two cores
#   make test CI=true             with the slow tests

VENV ?= .venv
SITE ?= build/site
PYTHON ?=
UV ?= $(shell command -v uv 2>/dev/null)
JOBS ?= 2
PYTHONS := $(or $(PYTHON),python3.13 python3.12 python3.11 python3)

BIN := $(VENV)/bin
# A stamp is touched when an installation has succeeded, and names the checkout it was made from.
USER_STAMP := $(VENV)/.headclust
DEV_STAMP := $(VENV)/.headclust-dev
STAMPS := $(wildcard $(DEV_STAMP) $(USER_STAMP))
HEALTHY := $(if $(STAMPS),$(shell "$(BIN)/python" -c "" 2>/dev/null && cat $(STAMPS) 2>/dev/null | head -n 1))
# The development installation holds all that a user's does.
INSTALLED := $(if $(wildcard $(DEV_STAMP)),$(DEV_STAMP),$(USER_STAMP))

.DEFAULT_GOAL := help
.PHONY: help demo test lint format types docs docs-check site check install install-dev FORCE

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1: /p' Makefile | while IFS=: read -r name text; do printf '%-12s%s\n' "$$name" "$$text"; done

demo: $(INSTALLED) ## embed bundled images, cluster them, compare with k-means
	"$(BIN)/headclust" demo

test: $(DEV_STAMP) ## run the tests
	"$(BIN)/python" -m pytest --numprocesses $(JOBS) --dist worksteal -rs

lint: $(DEV_STAMP) ## check style
	"$(BIN)/ruff" check .
	"$(BIN)/ruff" format --check .

format: $(DEV_STAMP) ## fix style
	"$(BIN)/ruff" check --fix .
	"$(BIN)/ruff" format .

types: $(DEV_STAMP) ## check types
	"$(BIN)/mypy"

docs: $(DEV_STAMP) ## write the generated parts of the documentation anew
	"$(BIN)/python" docs/check.py --write

docs-check: $(DEV_STAMP) ## check that the documentation agrees with the code, and run its tutorials and how-tos
	"$(BIN)/python" docs/check.py --run

site: $(DEV_STAMP) ## build the documentation as a site, in SITE
	"$(BIN)/python" -m sphinx --quiet --fail-on-warning --keep-going --conf-dir docs --jobs auto --fresh-env . "$(SITE)"
	@echo "$(SITE)/index.html"

check: lint types docs-check site test ## all of the checks

install: $(INSTALLED) ## set VENV up for use
install-dev: $(DEV_STAMP) ## set VENV up for development

# Installed from elsewhere, or its Python is gone: install again, whatever the stamp's age.
ifneq ($(HEALTHY),$(CURDIR))
$(USER_STAMP) $(DEV_STAMP): FORCE
endif

$(USER_STAMP): WANTED := .
$(DEV_STAMP): WANTED := .[dev]
$(USER_STAMP) $(DEV_STAMP): pyproject.toml
	@rm -f "$@"
	@$(make_venv)
	@$(install_wanted)
	@printf '%s\n' "$(CURDIR)" > "$@.tmp" && mv "$@.tmp" "$@"

# A virtual environment with a working Python >= 3.11 is reused. One that an interruption left without Python or without
# a whole pip (its RECORD is written last) is made again. pip comes from ensurepip, which some systems package apart from
# Python; uv does without it.
define make_venv
	recent='import sys; sys.exit(sys.version_info < (3, 11))'; \
	$(if $(UV),whole='pass'; needed='import venv',whole='import importlib.metadata as m; m.files("pip")[0]'; needed='import ensurepip, venv'); \
	if "$(BIN)/python" -c "$$recent" 2>/dev/null && "$(BIN)/python" -c "$$whole" 2>/dev/null; then exit 0; fi; \
	found=; bare=; \
	for python in $(PYTHONS); do \
		"$$python" -c "$$recent" 2>/dev/null || continue; \
		if "$$python" -c "$$needed" 2>/dev/null; then found=$$python; break; fi; \
		bare=$${bare:-$$python}; \
	done; \
	if [ -z "$$found" ] && [ -n "$$bare" ]; then \
		echo "headclust: $$bare lacks the venv module: install it (on Debian or Ubuntu the package $${bare##*/}-venv), then run make again." >&2; exit 1; \
	elif [ -z "$$found" ]; then \
		echo "headclust: no Python 3.11 or newer found (looked for $(PYTHONS)): install one, or name it with PYTHON=." >&2; exit 1; \
	elif [ ! -e "$(VENV)/pyvenv.cfg" ] && [ -n "$$(find "$(VENV)" ! -type d 2>/dev/null | head -n 1)" ]; then \
		echo "headclust: $(VENV) exists and is not a virtual environment: name another place with VENV=." >&2; exit 1; \
	elif "$(BIN)/python" -c "" 2>/dev/null && ! "$(BIN)/python" -c "$$recent" 2>/dev/null; then \
		echo "headclust: $(VENV) has a Python older than 3.11: delete it, or name another place with VENV=." >&2; exit 1; \
	elif [ -e "$(VENV)/pyvenv.cfg" ]; then \
		rm -rf "$(VENV)"; \
	fi; \
	echo "Making a virtual environment in $(VENV) with $$found ..."; \
	"$$found" -m venv $(if $(UV),--without-pip) "$(VENV)"
endef

# uv and pip each resolve all packages in one go, so that torch and torchvision fit together, but from what they are
# configured with, which may differ: where uv cannot, pip has a try. The last line is the proof that they do fit.
define install_wanted
	echo "Installing headclust and what it needs into $(VENV); the first time this takes a while ..."; \
	if $(if $(UV),"$(UV)" pip install --python "$(BIN)/python" --editable '$(WANTED)',false); then :; \
	elif "$(BIN)/python" -m pip --version >/dev/null 2>&1 || "$(BIN)/python" -m ensurepip >/dev/null 2>&1; then \
		"$(BIN)/python" -m pip install --disable-pip-version-check --editable '$(WANTED)' || exit 1; \
	else \
		echo "headclust: uv failed, and there is no pip in $(VENV) to try instead." >&2; exit 1; \
	fi; \
	"$(BIN)/python" -c 'import torch, torchvision' || { \
		echo "headclust: torch and torchvision in $(VENV) do not fit together: delete it, then run make again." >&2; exit 1; }
endef

FORCE:
