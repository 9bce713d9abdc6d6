# hftpipe: every target works from a fresh clone; `make run` needs Python 3.11+ and nothing else.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

# Variables of `make run`, each the flag of `hftpipe run` with the same name.
CPUS      ?= 0-3
DURATION  ?=
REPLAY    ?=
SPEED     ?=
VENUE     ?=
# 1: a simulated venue beside the run, for VENUE=binance_usdm, binance_spot, bybit_linear and bybit_spot.
SIMULATED ?=
# paper, or live: real orders (docs/live-orders.md).
MODE      ?=
STRATEGY  ?=
JSON      ?=
RECORD    ?=
PROCESSES ?=
CONFIG    ?= configs/paper.toml configs/risk_limits.toml
ARGS      ?=
# Benches: where the figures go.
BENCH_JSON ?= bench-results/figures.json

FLAGS = $(foreach file,$(CONFIG),--config $(file)) --cpus $(CPUS) \
	$(if $(DURATION),--duration $(DURATION)) $(if $(REPLAY),--replay $(REPLAY)) $(if $(SPEED),--speed $(SPEED)) \
	$(if $(VENUE),--venue $(VENUE)) $(if $(SIMULATED),--set live.simulated=true) $(if $(MODE),--set pipeline.mode=$(MODE)) $(if $(STRATEGY),--strategy $(STRATEGY)) $(if $(JSON),--json $(JSON)) \
	$(if $(RECORD),--record $(RECORD)) $(if $(PROCESSES),--processes $(PROCESSES)) $(ARGS)

# Simulated world and feed campaign: how many seeds.
SEEDS ?= 200
# Exit code of pytest when ARGS (-k) choose no test.
NONE_CHOSEN := 5
# Exit campaign: how many runs; lost connections: how many (100 unless given).
RUNS ?= 200
# Soak: how long.
MINUTES ?= 60

.PHONY: run test warm sim feed exits disconnects chaos soak bench lint format doctor clean
.DEFAULT_GOAL := run

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "hftpipe needs Python 3.11 or newer (PYTHON=python3.12 make ...)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@

## Run the whole pipeline in paper mode until Ctrl-C (or DURATION=seconds).
run: $(STAMP)
	@$(BIN)/hftpipe run $(FLAGS)

## All tests: those that start pipelines and exchanges, and on what CPU they leave those that only reckon, shown at the end.
test: warm
	@others=$$(mktemp); \
	nice -n 10 $(BIN)/python -m pytest tests -m "not in_turn" $(ARGS) >"$$others" 2>&1 & pid=$$!; \
	trap 'kill $$pid; rm -f "$$others"; exit 130' INT TERM; \
	$(BIN)/python -m pytest tests -m in_turn $(ARGS); in_turn=$$?; \
	wait $$pid; code=$$?; cat "$$others"; rm -f "$$others"; \
	for one in $$in_turn $$code; do [ $$one -eq 0 ] || [ $$one -eq $(NONE_CHOSEN) ] || exit $$one; done

## Compile all that there is, on every CPU: starts from then on have nothing to compile.
warm: $(STAMP)
	@$(BIN)/python -m hftpipe.app.precompile

## The whole pipeline in one thread on simulated time, under faults: SEEDS runs, each with its invariants checked.
sim: $(STAMP)
	$(BIN)/python -m hftpipe.simulation.world --seeds $(SEEDS) $(ARGS)

## The ITCH feed behind a bad network, one thread a seed: SEEDS runs, every VALID book compared with the engine's.
feed: $(STAMP)
	$(BIN)/python -m hftpipe.simulation.feed_campaign --seeds $(SEEDS) $(ARGS)

## Every way down with real processes: RUNS runs, and what lives on at the exchange afterwards (nothing may).
exits: $(STAMP)
	$(BIN)/python -m hftpipe.simulation.exit_campaign --runs $(RUNS) $(ARGS)

## Two live venues at once, both simulated, their connections lost RUNS times: does everything come back, and is it right?
disconnects: RUNS = 100
disconnects: $(STAMP)
	$(BIN)/python -m hftpipe.simulation.live_campaign.disconnects --losses $(RUNS) $(if $(JSON),--json $(JSON)) $(ARGS)

## A live run at a simulated venue, killed again and again for MINUTES: is anything lost, doubled or left alone?
chaos: $(STAMP)
	$(BIN)/python -m hftpipe.simulation.live_campaign.chaos --minutes $(MINUTES) $(if $(JSON),--json $(JSON)) $(ARGS)

## 10,000 messages a second for MINUTES: is memory flat?
soak: $(STAMP)
	$(BIN)/python -m hftpipe.simulation.live_campaign.soak --minutes $(MINUTES) $(if $(JSON),--json $(JSON)) $(ARGS)

## All benches: percentile tables, and one JSON row per figure.
bench: $(STAMP)
	@mkdir -p $(dir $(BENCH_JSON))
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[bench]'
	$(BIN)/python -m pytest benches -rs --bench-json $(BENCH_JSON) $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

doctor: $(STAMP)
	@$(BIN)/hftpipe doctor --cpus $(CPUS)

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis bench-results
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
