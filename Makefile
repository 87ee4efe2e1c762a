# make demo          the complete workflow, from an unlabelled recording to live keypoints
# make closed-loop   a simulated arm: record, train, perceive, and control from what is perceived
# make test          the whole test suite, through colcon
# make lint          ruff and mypy
# make torture       damage, kill and fill what the package reads and writes; CASES=1000 KILLS=20
# make mutants       put small faults into the objectives that their unit tests have to notice; MUTANTS=200
# make fuzz          fuzz the readers, guided by coverage, each for FUZZ_SECONDS=60
# make clean         remove build/, install/, log/ and out/, but not .venv/
#
# Requires Python 3.11 with venv, make and a package registry; no ROS and no GPU. Everything is
# created in .venv/, build/, install/, log/ and out/, which git ignores.

SHELL := /bin/bash
PYTHON ?= python3
VENV := $(CURDIR)/.venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
EXTRAS := train,record,onnx,ros,examples,dev
# Additional arguments for pip. PyPI's torch for Linux includes CUDA, several gigabytes; PyTorch's
# installation page names the index of its CPU builds, for PIP_ARGS='--extra-index-url ...'
PIP_ARGS ?=
# Not in constraints.txt, whose hashes would exclude the builds of that index.
TORCH := torch==2.13.0

# Your own recording, for `make demo BAG=... TOPIC=...`; optional labels to score the model against (a
# CSV: stamp_ns,keypoint,u,v); and the folder for the results.
BAG ?=
TOPIC ?=
ANNOTATIONS ?=
MINUTES ?= 4
OUT ?= out/demo
SEED ?= 0
# Processes that share the tests, a file at a time; each has a ROS domain of its own.
TEST_PROCESSES ?= 2

# The wheels make .venv/ a ROS prefix. A ROS installation sourced in this shell is ignored, because its
# libraries are built for another Python.
export AMENT_PREFIX_PATH := $(VENV)
export PATH := $(BIN):$(PATH)
unexport PYTHONPATH LD_LIBRARY_PATH COLCON_PREFIX_PATH CMAKE_PREFIX_PATH ROS_DISTRO

CASES ?= 1000
KILLS ?= 20
# Mutants of all files that are tried; 0: all.
MUTANTS ?= 0
FUZZ_SECONDS ?= 60

.PHONY: demo closed-loop test lint torture mutants fuzz constraints environment clean

demo: $(READY)
	@$(BIN)/python -m demo.run --out '$(OUT)' --minutes '$(MINUTES)' \
		$(if $(BAG),--bag '$(BAG)') $(if $(TOPIC),--topic '$(TOPIC)') $(if $(ANNOTATIONS),--annotations '$(ANNOTATIONS)')

# `make closed-loop MINUTES=10 SEED=3`
closed-loop: $(READY)
	@$(BIN)/python -m examples.closed_loop --minutes '$(MINUTES)' --seed '$(SEED)' \
		$(if $(filter-out file,$(origin OUT)),--out '$(OUT)')

# Old results are removed first, so that they cannot stand in for a run that was cut short. `colcon
# test-result` alone would accept no result at all, so both commands have to succeed.
test: $(READY)
	@echo '== colcon build'
	@rm -rf build/keypoint_perception install/keypoint_perception
	@$(BIN)/colcon build --event-handlers console_direct+
	@echo '== colcon test'
	@code=0; \
	$(BIN)/colcon test --event-handlers console_direct+ --return-code-on-test-failure \
		--pytest-args -v --timeout=300 --durations=10 -n $(TEST_PROCESSES) --dist loadfile || code=1; \
	echo '== colcon test-result'; \
	$(BIN)/colcon test-result --verbose || code=1; \
	test -f build/keypoint_perception/pytest.xml || { echo 'no test ran'; code=1; }; \
	exit $$code

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

torture: $(READY)
	@$(BIN)/python -m torture.run --cases $(CASES) --kills $(KILLS) --seed $(SEED)
	@for transport in raw compressed; do \
		$(BIN)/python -m torture.node_campaign --seed $(SEED) --transport $$transport || exit 1; \
	done

mutants: $(READY)
	@$(BIN)/python -m torture.mutation_testing --sample $(MUTANTS) --seed $(SEED)

fuzz: $(READY)
	@$(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/python -m pip install $(PIP_ARGS) atheris
	@for reader in cdr mcap ros1 image manifest csv yaml; do \
		$(BIN)/python -m torture.fuzz $$reader -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 || exit 1; \
	done

environment: $(READY)

$(READY): constraints.txt setup.py setup.cfg package.xml
	@echo '== setting up .venv/ (ROS 2 Jazzy, PyTorch and tools from wheels, about 2 GB on disk;'
	@echo '   only once; later runs reuse it)'
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; v in ((3, 11), (3, 12)) or sys.exit( \
		f"Python {v[0]}.{v[1]} found, but the ROS wheels support 3.11 and 3.12 only: " \
		"choose one, as in `make demo PYTHON=python3.11`.")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
		echo 'venv is missing: on Debian and Ubuntu, `apt install python3-venv`.'; exit 1; }
	@$(BIN)/python -m pip install --disable-pip-version-check --require-hashes --no-deps \
		--requirement constraints.txt $(PIP_ARGS)
	@$(BIN)/python -m pip install --disable-pip-version-check --no-build-isolation \
		$(PIP_ARGS) $(TORCH) --editable '.[$(EXTRAS)]'
	@touch $(READY)
	@echo '== .venv/ is ready'

# Pins the versions of .venv/, for maintainers who have tried newer ones.
constraints:
	@$(BIN)/python .ci/write_constraints.py

clean:
	@rm -rf build install log out
