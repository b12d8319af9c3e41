# Every target installs what it needs; the logic lives in tools/.
PYTHON ?= python3
SECONDS ?=
MINUTES ?=
ARGS ?=
WORKERS ?= 6

VENV := .venv/installed-from
BIN := .venv/bin
DEVSTACK := $(PYTHON) tools/devstack.py
UV_COMPILE := $(BIN)/uv pip compile --no-config --universal --python-version 3.11 \
	--generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links \
	--custom-compile-command "make lock" --quiet $(if $(UPGRADE),--upgrade)

.DEFAULT_GOAL := help
.PHONY: help demo run simulate test browser check format fuzz bench bench-venue bench-control outages soak reconcile-drill contract audit lock up down clean

help:  ## say what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 13

demo: $(VENV)  ## simulator, gateway and a consumer, live; SECONDS=20 ends by itself
	@$(DEVSTACK) run -- $(BIN)/ws-gateway demo $(if $(SECONDS),--seconds $(SECONDS)) $(ARGS)

run: $(VENV)  ## serve against the real exchange
	@$(DEVSTACK) run -- $(BIN)/ws-gateway serve $(ARGS)

simulate: $(VENV)  ## a local Bybit; ARGS="--port 8899 --api-key k --api-secret s"
	@$(BIN)/ws-gateway simulate $(ARGS)

test: check  ## check, then every test; ARGS="-k topic" narrows
	@$(DEVSTACK) run -- $(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup $(ARGS)

browser:  ## have a Chromium, for the tests of the console
	@$(PYTHON) tools/chromium.py

check: $(VENV)  ## format, lint, types, import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-logo

format: $(VENV)  ## format, and mend what lint can mend
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

fuzz: $(VENV)  ## throw changed frames at the decoder; SECONDS=60, ARGS="--seed 1"
	@PYTHONPATH=tests $(BIN)/python -m fuzz.fuzz_frames --seconds $(or $(SECONDS),60) $(ARGS)

bench: $(VENV)  ## measure beside the broker's ceiling and other stacks; ARGS="--with-cryptofeed"
	@$(DEVSTACK) run -- $(BIN)/python bench/run.py $(ARGS)

bench-venue: $(VENV)  ## measure reconnects and cost per topic; ARGS="--parts soak --faults all"
	@$(BIN)/python bench/venue_life.py $(ARGS)

reconcile-drill: $(VENV)  ## hold a busy account through cuts and kills against its ledger
	@PYTHONPATH=tests $(DEVSTACK) run -- $(BIN)/python bench/reconcile_drill.py $(ARGS)

outages: $(VENV)  ## break everything around the gateway under load; SECONDS=60 each
	@PYTHONPATH=tests:tools $(BIN)/python bench/outages.py --seconds $(or $(SECONDS),60) $(ARGS)

soak: $(VENV)  ## fail exchange, broker and database for MINUTES=10, and see what grows
	@PYTHONPATH=tests:tools $(BIN)/python bench/soak.py --minutes $(or $(MINUTES),10) $(ARGS)

bench-control: $(VENV)  ## measure pages, POST to first event, reads beside a load, a full start
	@$(DEVSTACK) run -- $(BIN)/python bench/control.py $(ARGS)

contract: $(VENV)  ## write anew what is made of the code: schemas, references, dashboards
	@$(BIN)/python -m ws_gateway.contract docs/contract
	@$(BIN)/python -m ws_gateway.control.api.openapi > docs/openapi.json
	@$(BIN)/python -m ws_gateway.control.metrics > docs/metrics.md
	@$(BIN)/python tools/dashboards.py deploy/grafana/dashboards
	@$(BIN)/python tools/references.py docs

audit:  ## ask whether anything locked has a known weakness; ARGS="--source FOLDER"
	@$(PYTHON) tools/audit.py $(ARGS)

lock: $(VENV)  ## lock the dependencies anew; UPGRADE=1 takes newer ones
	@$(UV_COMPILE) pyproject.toml -o requirements/runtime.txt
	@$(UV_COMPILE) pyproject.toml --extra dev -o requirements/dev.txt
	@echo 'setuptools>=77' | $(UV_COMPILE) - -o requirements/build.txt

up:  ## start RabbitMQ to stay
	@$(DEVSTACK) up

down:  ## stop it
	@$(DEVSTACK) down

clean:  ## stop everything and delete what was built
	@$(DEVSTACK) wipe
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist src/*.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV): pyproject.toml requirements/dev.txt tools/make_venv.py
	@$(PYTHON) tools/make_venv.py
