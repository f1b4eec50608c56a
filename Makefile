# Two commands: `make train` and `make test`. Both need Python 3.11 or newer and the package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
# Extra words for pip, e.g. an index with the CPU build of torch.
PIP_FLAGS ?=
PIP_INSTALL = $(BIN)/python -m pip install --quiet $(PIP_FLAGS)
# The versions that were tested, also of what builds mnistlab; see CONTRIBUTING.md.
LOCK := requirements.lock
LOCKED_INSTALL = PIP_CONSTRAINT=$(LOCK) PIP_BUILD_CONSTRAINT=$(LOCK) $(PIP_INSTALL)

.PHONY: train test lint types unit optional coverage bench campaign audit \
  sbom archive catalogue docs wheel lock clean help newcomer systems compat forge \
  pictures notebook

train: $(VENV)/.installed ## train the linear model on the bundled data
	$(BIN)/mnistlab train $(ARGS)

test: lint types unit ## ruff, mypy and pytest

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

unit: $(VENV)/.installed-dev
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses auto --dist worksteal $(ARGS)

optional: $(VENV)/.installed-dev ## the tests that need Chromium, ONNX, TensorBoard and MLflow
	$(LOCKED_INSTALL) -e '.[plot,onnx,tensorboard,mlflow]' --group browser
	MNISTLAB_REQUIRE_BROWSER=1 $(BIN)/python -m pytest tests/play tests/exports $(ARGS)

systems: $(VENV)/.installed-dev ## the tests with what Windows refuses refused, then macOS (on Linux)
	for system in windows macos; do \
	  $(BIN)/python -m pytest --system $$system --numprocesses auto --dist worksteal $(ARGS) \
	  || exit; done

coverage: $(VENV)/.installed-dev ## which lines the tests run; half as long again as the tests alone
	rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest --numprocesses auto --dist worksteal $(ARGS)
	$(BIN)/coverage combine -q
	$(BIN)/coverage report

bench: $(VENV)/.installed-bench ## speed and memory beside other tools → docs/benchmarks.md
	$(BIN)/python -m benchmarks $(ARGS)

campaign: $(VENV)/.installed-dev ## the reliability campaign, up to half an hour → docs/reliability.md
	@$(BIN)/python -c 'import atheris' 2>/dev/null || \
	  $(LOCKED_INSTALL) --group campaign || \
	  echo "atheris cannot be installed here; the fuzzing goes on without it"
	$(BIN)/python -m pytest $(ARGS) --campaign --numprocesses auto --dist worksteal

newcomer: $(VENV)/.installed-dev ## the README, docs/install.md and docs/tour.md, command by command, as a new user
	PYTHON="$(PYTHON)" $(BIN)/python -m tests.newcomer $(ARGS)

compat: $(VENV)/.installed-compat ## all tests with the oldest and the newest versions → docs/compatibility.md
	PIP_FLAGS="$(PIP_FLAGS)" $(BIN)/nox $(ARGS)

forge: $(VENV)/.installed-dev ## the workflows under actionlint and zizmor
	$(LOCKED_INSTALL) --group forge
	MNISTLAB_REQUIRE_FORGE=1 $(BIN)/python -m pytest tests/test_forge.py $(ARGS)

audit: $(VENV)/.installed-audit ## known vulnerabilities of what the lock names (asks the package index)
	# strict: an index that does not know a package cannot say that it is sound
	$(BIN)/pip-audit --strict --disable-pip --no-deps --progress-spinner off --requirement $(LOCK)

sbom: $(VENV)/.installed-audit ## bill of materials of what is installed (CycloneDX) → dist/sbom.json
	mkdir -p dist
	$(BIN)/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml \
	  --output-file dist/sbom.json $(BIN)/python

docs: $(VENV)/.installed-docs ## the pages as one site, in English and Chinese → build/site/index.html
	$(BIN)/python docs/site/pages.py

archive: $(VENV)/.installed ## rebuild the two archives in data/: make archive MNIST=<folder with MNIST's files>
	rm -rf build/mnist_sample
	$(BIN)/mnistlab data import-idx $(MNIST) build/mnist_sample --classes 3,7
	$(BIN)/python data/pack.py build/mnist_sample data/mnist_sample.tgz
	$(BIN)/python data/pack_digits.py $(MNIST) data/digits/mnist.npz

notebook: $(VENV)/.installed-dev ## run notebooks/chapter4.ipynb and keep what it shows in it
	$(BIN)/python -m tests.notebook

pictures: $(VENV)/.installed-dev $(VENV)/.installed-browser ## the README's pictures (needs Chromium) → docs/pictures
	$(BIN)/python -m tests.pictures

catalogue: $(VENV)/.installed-dev ## bring the Chinese texts up to the source → src/mnistlab/locale
	$(BIN)/python -m tests.catalogue

wheel: $(VENV)/.installed-dev ## build the wheels of mnistlab and of mnistlab-digits into dist/
	$(BIN)/python -m build --wheel --no-isolation
	$(BIN)/python -m build --wheel --no-isolation --outdir dist data/digits

lock: | $(VENV)/pyvenv.cfg ## bring requirements.lock up to pyproject.toml; ARGS=--upgrade: the newest of everything
	$(PIP_INSTALL) --upgrade 'pip>=25.1'
	$(PIP_INSTALL) --group lock
	mkdir -p build
	cp $(LOCK) build/$(LOCK)
	$(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 \
	  $(foreach extra,plot heif onnx tensorboard mlflow,--extra $(extra)) \
	  $(foreach group,dev bench browser campaign compat audit forge docs lock tested,--group $(group)) --annotation-style line \
	  --custom-compile-command 'make lock' --output-file build/$(LOCK) $(ARGS)
	# the CUDA parts go with the build of torch, which names their versions itself
	grep -vE '^(cuda-|nvidia-|triton=)' build/$(LOCK) > $(LOCK)

clean: ## remove the virtual environment and everything built
	rm -rf $(VENV) .nox build dist .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis

help: ## what there is
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1  \2/p' Makefile | expand -t 2

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "mnistlab needs Python 3.11 or newer; name one with: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml $(LOCK) | $(VENV)/pyvenv.cfg
	$(LOCKED_INSTALL) --editable '.[plot]'
	touch $@

$(VENV)/.installed-%: pyproject.toml $(LOCK) | $(VENV)/pyvenv.cfg
	@# 25.1 is the first pip that knows dependency groups
	$(LOCKED_INSTALL) --upgrade 'pip>=25.1'
	$(LOCKED_INSTALL) --editable '.[plot]' --group $*
	touch $@ $(VENV)/.installed
