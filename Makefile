PYTHON ?= python3
SETUP = $(PYTHON) include/winnow_local/setup.py
RUN = .venv/bin/python -m winnow_local
LOCK_GPU = .venv/bin/uv pip compile -q --python-version 3.11 --python-platform x86_64-manylinux_2_28 --no-annotate --no-header

.PHONY: help demo up airflow test kill lint lock
help:  ## what each command does
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' Makefile
demo:  ## set everything up and run one nightly batch (DAY=2026-11-20 for another night)
	@$(SETUP) && $(RUN) demo $(DAY)
up:  ## set everything up and leave the Airflow UI running
	@$(SETUP) && $(RUN) up
airflow:  ## Airflow's command line for this checkout: make airflow CMD="dags list"
	@$(RUN) airflow $(CMD)
test:  ## set everything up and pass the tests
	@$(SETUP) --dev && .venv-engine/bin/python -m pytest tests/integration/test_engines.py tests/integration/test_server.py && .venv/bin/python -m pytest
kill:  ## SIGKILL everything that can be: the demo in each stage, a shard, a labelling exchange, a triggerer (an hour)
	@$(SETUP) --dev && .venv-engine/bin/python -m pytest -m kill tests/integration/test_engines.py && .venv/bin/python -m pytest -m kill
lint:  ## style, types and the arrows between packages
	@$(SETUP) --dev && .venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy && PYTHONPATH=plugins .venv/bin/lint-imports
lock:  ## resolve requirements.txt again
	@.venv/bin/uv pip compile -q --universal --python-version 3.11 --no-annotate --no-header -c requirements.txt --extra airflow pyproject.toml -o requirements.lock
	@.venv/bin/uv pip compile -q --universal --python-version 3.11 --no-annotate --no-header -c requirements.lock --extra airflow --extra dev pyproject.toml -o requirements-dev.lock
	@.venv/bin/uv pip compile -q --python-version 3.11 --no-annotate --no-header -c requirements.txt --override docker/overrides.txt --extra engine-cpu pyproject.toml -o requirements-engine.lock
	@$(LOCK_GPU) -c requirements.lock -c requirements.txt --extra edge pyproject.toml -o docker/gpu-worker-airflow.lock
	@$(LOCK_GPU) -c requirements.txt --override docker/gpu-worker-overrides.txt --extra engine-gpu pyproject.toml -o docker/gpu-worker-engine.lock
