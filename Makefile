# Each target prepares what it needs; no other command has to come first.
#
#   make demo              the main job in a lab of network namespaces (root); KEEP=1 leaves it running
#   make test              static checks, manual, unit tests, lab; what needs root is skipped, with its reason, for ordinary users
#   make test-without-lane the tests on real packets without the lane, what does not depend on it left out (root)
#   make check             format, lint, types, unit tests: fast, no root
#   make docs              the manual as HTML in docs/_build; a warning is an error; no root
#   make bench             the appliance beside plain routing, nft NAT, HAProxy and a bare queue loop (root)
#   make bench-flood       fresh connections under a SYN flood, beside the kernel's own synproxy (root)
#   make bench-defence     requests while a VIP is flooded with UDP, fragments and stray TCP (root)
#   make bench-sessions    what a hundred thousand and a million sessions cost one shard: no root
#   make bench-config      what two thousand services with twenty thousand real servers cost (root)
#   make faults            one fault after another under load, and what clients saw of each (root); FAULTS="--rows restarted"
#   make connections COUNT=200000  so many short connections at a bounded rate, then a verdict on shares, memory and tables (root)
#   make soak MINUTES=5    traffic of all kinds for so long, then a verdict on what has piled up (root)
#   make fuzz              the shard under a coverage-guided fuzzer for a minute, no root; FUZZ="--seconds 600" for longer
#   make test-stock-kernel native steering, lane and units on a stock Debian kernel under qemu (root); SHORT=1 for the short version
#   make lane              the lane's program for the kernel, build/lane.bpf.o: compiled by clang from bpf/; no root
#   make swagger-ui        the program of the page /docs, into build/swagger-ui: an npm package of a fixed version; no root
#   make ui                what draws the charts of the page /ui/, uPlot, into build/uplot: an npm package of a fixed version; no root
#   make browser           a browser and its driver, for the tests of the page /ui/; without them these are skipped
#   make screenshots       the pictures of the manual that show the appliance at work (root)
#   make prometheus        prometheus and promtool for the tests, unpacked into build/prometheus from the distribution's package
#   make gen               write anew what is made from the code: deploy/nftables.conf, docs/reference, dashboard, picture (graphviz)
#   make venv              only the environment, .venv
#   make clean             remove the environment, the manual and caches

SHELL := /bin/bash
PYTHON := .venv/bin/python

.PHONY: demo test test-without-lane check docs lane prometheus bench bench-flood bench-defence bench-sessions bench-config faults soak connections fuzz test-stock-kernel swagger-ui ui browser screenshots gen venv clean

venv:
	@tools/prepare.sh

# Without clang, and without the right to install it, what needs the lane cannot run either: it needs root.
LANE_IF_POSSIBLE := $(MAKE) --no-print-directory lane || [ "$$(id -u)" != 0 ]

# With tshark, a capture is read by the program that people read it with; wrk is the load of one test. Without them, those tests are
# skipped, and say why.
PROGRAMS_OF_TESTS := tools/prepare.sh tshark wrk ethtool || true

demo: venv
	@$(LANE_IF_POSSIBLE)
	@KEEP=$(KEEP) tools/demo.sh

define STATIC_CHECKS
	$(PYTHON) -m ruff format --check --quiet .
	$(PYTHON) -m ruff check --quiet .
	$(PYTHON) -m mypy --no-error-summary
endef

check: venv
	$(STATIC_CHECKS)
	$(PYTHON) -m pytest -q tests/unit tests/project -m "not slow"

# A process of tests for each CPU, and four at most. Tests of one file share what is made for them, so a file is one piece of work.
# Most tests on real packets wait, each in network namespaces of its own. Those marked `alone` would disturb others, or be disturbed.
IN_PARALLEL := -n auto --maxprocesses 4 --dist loadfile
define ON_REAL_PACKETS
	$(PYTHON) -m pytest tests/lab $(1) -m "not alone" $(IN_PARALLEL) --no-loadscope-reorder --verbose --durations 20
	$(PYTHON) -m pytest $(2) tests/lab $(1) -m alone --verbose --durations 20
endef

# The steps of `make test` say their names; each is worth nothing when the one before has failed.
test: venv prometheus
	@$(MAKE) --no-print-directory browser || true
	@$(LANE_IF_POSSIBLE)
	@$(PROGRAMS_OF_TESTS)
	@echo "##### 1 of 5: static checks (format, lint, types)"
	$(STATIC_CHECKS)
	@echo "##### 2 of 5: the manual"
	@$(MAKE) --no-print-directory docs
	@echo "##### 3 of 5: tests without a network (unit tests, tests of the project's own tools)"
	$(PYTHON) -m pytest tests --ignore=tests/lab --ignore=tests/kernel --ignore=tests/systemd
	@echo "##### 4 of 5: the lane's program in the kernel, beside the Python that it repeats (needs root)"
	$(PYTHON) -m pytest tests/kernel
	@echo "##### 5 of 5: tests on real packets in a lab, and the service under a systemd of its own (needs root; about half an hour)"
	$(call ON_REAL_PACKETS,,tests/systemd)

# Once more, for what depends on it.
test-without-lane: venv
	@$(PROGRAMS_OF_TESTS)
	$(call ON_REAL_PACKETS,--lane off,)

lane:
	@tools/prepare.sh clang llvm libbpf-dev
	@tools/build_lane.sh

prometheus:
	@tools/prometheus.sh

docs: venv
	@if ! [ .venv/.docs-ready -nt requirements-docs.lock ]; then \
	  echo "docs: Python packages of requirements-docs.lock" >&2; \
	  $(PYTHON) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-docs.lock && \
	  touch .venv/.docs-ready; \
	fi
	$(PYTHON) -m sphinx --quiet --fail-on-warning --keep-going --builder html docs docs/_build
	@echo "the manual is docs/_build/index.html"

bench: lane
	@tools/prepare.sh wrk iperf3 nginx-light haproxy ethtool
	$(PYTHON) -m bench $(BENCH)

bench-flood: lane
	@tools/prepare.sh wrk iperf3 nginx-light
	$(PYTHON) -m bench.flood $(BENCH)

bench-defence: lane
	@tools/prepare.sh wrk iperf3 nginx-light
	$(PYTHON) -m bench.defence $(BENCH)

bench-sessions: venv
	$(PYTHON) -m bench.sessions $(BENCH)

bench-config: lane
	$(PYTHON) -m bench.scale $(BENCH)

faults:
	@tools/prepare.sh libfaketime
	@$(LANE_IF_POSSIBLE)
	$(PYTHON) -m faults $(FAULTS)

soak: venv
	@$(LANE_IF_POSSIBLE)
	$(PYTHON) -m faults.soak --minutes $(or $(MINUTES),5) $(SOAK)

connections: lane
	@tools/prepare.sh wrk nginx-light
	$(PYTHON) -m faults.connections --count $(or $(COUNT),200000) $(CONNECTIONS)

fuzz: venv
	@$(PYTHON) -c 'import atheris' 2>/dev/null || \
	  $(PYTHON) -m pip install --quiet --disable-pip-version-check --only-binary :all: --require-hashes -r requirements-fuzz.lock || \
	  { echo "fuzz: atheris was not installed; it exists for CPython 3.11 to 3.13 on x86-64 Linux with glibc only" >&2; exit 1; }
	$(PYTHON) -m tests.fuzz $(FUZZ)

test-stock-kernel: lane
	@tools/prepare.sh systemd
	@SHORT=$(SHORT) tests/stock_kernel/run.sh

# An npm from elsewhere does as well, and Debian's package would not stand beside it.
NPM_IF_MISSING := command -v npm >/dev/null || tools/prepare.sh npm

swagger-ui:
	@$(NPM_IF_MISSING)
	@tools/fetch_swagger_ui.sh

ui:
	@$(NPM_IF_MISSING)
	@tools/fetch_uplot.sh

# What is left of a browser that could not be had is no reason to stop: its tests are skipped, and say why.
browser: ui
	@tools/prepare.sh chromium nodejs
	@tools/fetch_axe.sh
	@if ! [ .venv/.browser-ready -nt requirements-browser.lock ]; then \
	  echo "browser: Python packages of requirements-browser.lock" >&2; \
	  $(PYTHON) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-browser.lock && \
	  touch .venv/.browser-ready; \
	fi

screenshots: browser
	@$(LANE_IF_POSSIBLE)
	$(PYTHON) -m tests.lab.web_page_picture docs/images/ui.png
	$(PYTHON) -m tools.screenshot_top

gen: venv
	$(PYTHON) tools/render_shipped_ruleset.py > deploy/nftables.conf.new
	mv deploy/nftables.conf.new deploy/nftables.conf
	$(PYTHON) -m tools.reference
	$(PYTHON) -m tools.dashboard > deploy/grafana/appliance.json.new
	mv deploy/grafana/appliance.json.new deploy/grafana/appliance.json
	$(PYTHON) -m tools.picture

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info docs/_build build/lane.bpf.o build/prometheus \
	  build/swagger-ui build/uplot build/axe-core
