PYTHON ?= python3
SETUP = $(PYTHON) include/winnow_local/setup.py
RUN = .venv/bin/python -m winnow_local
# A test that hangs fails after a quarter of an hour and shows where each thread stands.
PYTEST = -m pytest --timeout=900
LOCK_GPU = .venv/bin/uv pip compile -q --python-version 3.11 --python-platform x86_64-manylinux_2_28 --no-annotate --no-header

.PHONY: help demo up airflow winnow doctor test unit kill images stack lint style lock test_nights test_services test_units
# BLAS that waits for its other threads by spinning takes the cores that other tests would use.
test unit kill stack: export OPENBLAS_NUM_THREADS = 1
help:  ## what each command does
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' Makefile
demo:  ## set everything up and run two nights, the second on the first one's labels (DAY=2026-11-20 for another)
	@$(SETUP) && $(RUN) demo $(DAY)
up:  ## set everything up and leave the Airflow UI running
	@$(SETUP) && $(RUN) up
airflow:  ## Airflow's command line for this checkout: make airflow CMD="dags list"
	@$(RUN) airflow $(CMD)
winnow:  ## Winnow's command line for this checkout: make winnow CMD="backfill --from 2026-11-17 --to 2026-11-19"
	@$(RUN) winnow $(CMD)
doctor:  ## is everything there that tonight's batch needs? (`make up` runs beside it)
	@$(RUN) winnow doctor
test:  ## set everything up, pass the tests, hold style and types
	@$(SETUP) --dev && $(MAKE) -s -k -j3 test_nights test_services test_units style
unit:  ## set everything up and pass the tests that start no service (five minutes on two cores)
	@$(SETUP) --dev && .venv/bin/python $(PYTEST) -n 2 --dist worksteal include tests/unit
# Three at once on two cores: the first mostly waits. Models are loaded at the start of the second
# and at the end of the first, so that memory holds one at a time. Each tells all that fails in it.
NIGHTS = tests/integration/test_waits.py tests/integration/test_nightly.py
test_nights:
	@.venv/bin/python $(PYTEST) tests/dags tests/bench tests/unit/validate && .venv/bin/python $(PYTEST) $(NIGHTS)
test_services:
	@.venv-engine/bin/python $(PYTEST) tests/integration/test_engines.py tests/integration/test_reward_models.py tests/integration/test_server.py && .venv/bin/python $(PYTEST) tests/integration tests/e2e $(addprefix --ignore=,$(NIGHTS)) && .venv/bin/python $(PYTEST) tests/unit/stages/test_[a-k]*.py
test_units:
	@.venv/bin/python $(PYTEST) include tests/unit --ignore=tests/unit/validate --ignore=tests/unit/stages && .venv/bin/python $(PYTEST) tests/unit/stages/test_[l-z]*.py
kill:  ## SIGKILL everything that can be: nights at random moments, the demo in each stage, a shard, a judge, an exchange, a triggerer; as root also the hosts and services of docker/compose.yaml; a backfill of 90 days (three hours)
	@$(SETUP) --dev --cluster && .venv-engine/bin/python -m pytest -m kill tests/integration/test_engines.py tests/integration/test_judge.py && WINNOW_TEST_ALL=1 .venv/bin/python -m pytest -m "kill or sampled" && .venv-cluster/bin/python -m pytest -m kill tests/integration/test_gpu_hosts.py tests/integration/test_outages.py
images:  ## build both images with Docker or Podman and try what they hold (docker/build.sh; the GPU worker takes 50 GB of disk)
	@docker/build.sh && $(SETUP) --dev && .venv/bin/python $(PYTEST) tests/integration/test_images.py
stack:  ## as root, after `make images`: all of docker/compose.yaml in containers; each service is killed, the machine is lost, a release upgraded (WINNOW_BEFORE=its tag); half an hour
	@$(SETUP) --dev && .venv/bin/python -m pytest -m kill -s tests/integration/test_stack.py
lint:  ## style, types and the arrows between packages
	@$(SETUP) --dev && $(MAKE) -s style
style:
	@.venv/bin/ruff check -q . && .venv/bin/ruff format -q --check . && .venv/bin/mypy && PYTHONPATH=plugins .venv/bin/lint-imports
lock:  ## resolve requirements.txt again
	@.venv/bin/uv pip compile -q --universal --python-version 3.11 --no-annotate --no-header -c requirements.txt --extra airflow pyproject.toml -o requirements.lock
	@.venv/bin/uv pip compile -q --universal --python-version 3.11 --no-annotate --no-header -c requirements.lock --extra airflow --extra alarms --extra metrics --extra lineage --extra hub --extra dev pyproject.toml -o requirements-dev.lock
	@.venv/bin/uv pip compile -q --python-version 3.11 --no-annotate --no-header -c requirements.txt --override docker/overrides.txt --extra engine-cpu pyproject.toml -o requirements-engine.lock
	@$(LOCK_GPU) -c requirements.lock -c requirements.txt --extra edge pyproject.toml -o docker/gpu-worker-airflow.lock
	@$(LOCK_GPU) -c requirements.lock -c requirements.txt --extra airflow --extra alarms --extra cluster --extra hub pyproject.toml -o docker/airflow.lock
	@$(LOCK_GPU) -c docker/airflow.lock tests/integration/cluster.in -o tests/integration/cluster.lock
	@$(LOCK_GPU) -c requirements.txt --override docker/gpu-worker-overrides.txt --extra engine-gpu pyproject.toml -o docker/gpu-worker-engine.lock
