# The commands of edgefer. Each sets up what it needs in .venv; plain `make` lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python requirements/install.py
RECIPE ?= small
MODEL ?=
WEIGHTS ?=
DATA ?= $(firstword $(wildcard data/fer2013.zip data/fer2013.csv data/fer2013))
OUT ?=
RUN ?= runs/small
DISTRIBUTE ?=
ARGS ?=
# Processes that run tests at the same time; auto: one a core. Each runs whole files, whose tests share fixtures.
WORKERS ?= auto
PARALLEL = -n $(WORKERS) --dist loadfile --no-loadscope-reorder
export TF_CPP_MIN_LOG_LEVEL := 2

# Where the system's Python has picamera2, the daemon uses it, with the numpy and OpenCV it was built against.
ON_PI := $(shell $(PYTHON) -c 'import importlib.util as u; print("yes" if u.find_spec("picamera2") else "")' 2>/dev/null)
EDGE_PACKAGES := $(if $(ON_PI),requirements/pi.txt,requirements/edge.txt)

.DEFAULT_GOAL := help
.PHONY: help run train own convert detector evaluate robustness bench bench-pi benchmarks test test-pi test-homeassistant fuzz coverage mutation audit power-cut check wheel pi-install pi-uninstall pi-bundle publish clean

help: ## list these commands
	@echo "edgefer: facial-expression recognition for low-power devices"; echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo; echo "  DATA is FER2013 (folder, zip or fer2013.csv; default: data/fer2013.zip, .csv or folder); ARGS are passed on"

run: $(VENV)/.edge ## your camera, or drawn faces without one            [ARGS='--source file:clip.mp4']
	@$(BIN)/edgefer run $(ARGS)

train: $(VENV)/.train ## train a model                                     DATA=… [RECIPE=small] [FERPLUS=…] [OUT=…] [DISTRIBUTE=mirrored]
	@$(BIN)/python -m train --data "$(DATA)" --recipe "$(RECIPE)" $(if $(FERPLUS),--ferplus "$(FERPLUS)") $(if $(OUT),--out "$(OUT)") $(if $(DISTRIBUTE),--distribute "$(DISTRIBUTE)") $(ARGS)

own: $(VENV)/.train ## a model of your own classes                       DATA=folder of pictures by class [OUT=…]
	@$(BIN)/python -m train own $(if $(filter command line environment,$(origin DATA)),"$(DATA)") $(if $(OUT),--out "$(OUT)") $(ARGS)

convert: $(VENV)/.train ## quantize a model to TFLite, also a foreign one   MODEL=… [RECIPE=int8] [DATA=…] [OUT=…] [LABELS=… SCALE=0..1 CROP=0.2]
	@$(BIN)/python -m convert "$(MODEL)" --recipe "$(if $(filter command line,$(origin RECIPE)),$(RECIPE),int8)" $(if $(DATA),--data "$(DATA)") $(if $(OUT),--out "$(OUT)") $(if $(MAX_LOSS),--max-loss "$(MAX_LOSS)") $(if $(LABELS),--labels="$(LABELS)") $(if $(SCALE),--scale="$(SCALE)") $(if $(CROP),--crop="$(CROP)") $(ARGS)

detector: $(VENV)/.train ## quantize the face detector YuNet to TFLite      WEIGHTS=yunet_n_320_320.onnx DATA=… [OUT=…]
	@$(BIN)/python -m convert.detector "$(WEIGHTS)" --data "$(DATA)" $(if $(OUT),--out "$(OUT)") $(ARGS)

evaluate: $(VENV)/.train ## score a Keras or TFLite model                    MODEL=… DATA=…
	@$(BIN)/python -m train.evaluate "$(or $(MODEL),small)" "$(DATA)" $(ARGS)

robustness: $(VENV)/.train ## score models on varied pictures: blur, noise, …   MODEL='a.tflite b.keras' DATA=…
	@$(BIN)/python -m train.robustness $(foreach model,$(or $(MODEL),small),"$(model)") "$(DATA)" $(ARGS)

bench: $(VENV)/.edge ## measure frames per second, CPU and memory here     [ARGS='--json']
	@$(BIN)/edgefer bench $(ARGS)

benchmarks: $(VENV)/.edge ## cost and loss of tracking; detectors on photographs
	@PYTHONPATH=. $(BIN)/python tests/benchmarks/following.py
	@PYTHONPATH=. $(BIN)/python tests/benchmarks/detection.py
	@PYTHONPATH=. $(BIN)/python tests/benchmarks/leaning.py

test: $(VENV)/.dev ## run the tests, except the slow ones                  [WORKERS=auto] [ARGS='-k name']
	@$(BIN)/python -m pytest $(PARALLEL) -m "not slow" $(ARGS)

test-pi: $(VENV)/.dev ## a Pi's software without a Pi: Debian roots, the real systemd (as root; minutes)
	@tests/pi/packages.sh && $(BIN)/python -m pytest tests/pi $(ARGS)

test-homeassistant: $(VENV)/.dev ## edgefer in real Home Assistant Cores, the newest and an old one (as root; minutes)
	@tests/homeassistant/install.sh && $(BIN)/python -m pytest tests/homeassistant $(ARGS)

fuzz: $(VENV)/.dev ## feed bad input to every parser, COUNT times each; docs/reliability.md
	@$(INSTALL) -r requirements/fuzz.txt
	@for target in $(or $(TARGETS),config spec card model mqtt history http frame); do PYTHONPATH=tests/fuzz $(BIN)/python tests/fuzz $$target $(or $(COUNT),100000) || exit 1; done
	@EDGEFER_PEER_EXAMPLES=$(or $(PEERS),1000) $(BIN)/python -m pytest tests/fuzz/test_network_peer.py -q

power-cut: $(VENV)/.dev ## kill writing processes at random times, check the files; docs/reliability.md   [COUNT=200]
	@$(BIN)/python tests/benchmarks/powercut.py $(if $(COUNT),--count $(COUNT)) $(ARGS)

coverage: $(VENV)/.dev ## lines and branches of the runtime that tests run
	@$(INSTALL) -r requirements/quality.txt
	@$(BIN)/coverage erase && $(BIN)/coverage run -m pytest $(PARALLEL) tests/edge tests/fuzz $(ARGS)
	@$(BIN)/coverage combine -q && $(BIN)/coverage report

mutation: $(VENV)/.dev ## small changes to five modules: which do tests miss? (half an hour)
	@$(INSTALL) -r requirements/quality.txt
	@mkdir -p build/mutation && ln -sfn ../../edge build/mutation/src && ln -sf $(addprefix ../../,tests models README.md pyproject.toml) build/mutation/
	@cd build/mutation && "$(CURDIR)/$(BIN)/mutmut" run $(ARGS) && "$(CURDIR)/$(BIN)/mutmut" results

audit: $(VENV)/.dev ## known vulnerabilities of the pinned packages
	@$(INSTALL) -r requirements/quality.txt
	@for file in edge outputs pi train jax; do $(BIN)/pip-audit --no-deps -r requirements/$$file.txt || exit 1; done

bench-pi: $(VENV)/.edge ## instructions per frame on emulated boards; docs/boards.md   [ARGS='a.tflite …']
	@tests/pi/packages.sh && PYTHONPATH=.:tests $(BIN)/python tests/benchmarks/boards.py $(ARGS)

check: $(VENV)/.dev ## lint, types and all tests: what CI runs
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy
	@echo "the service under the real systemd, where 'make test-pi' has installed its packages:"
	@$(BIN)/python -m pytest tests/pi/test_installed.py
	@echo "real Home Assistant Cores, where 'make test-homeassistant' has made their roots:"
	@$(BIN)/python -m pytest tests/homeassistant
	@$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

wheel: $(VENV)/.edge ## build the lean wheel into dist/
	@$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist . && ls dist/*.whl

pi-install: ## on a Raspberry Pi: install into /opt/edgefer               [ARGS=--dry-run]
	@edge/deploy/pi.sh install $(ARGS)

pi-uninstall: ## uninstall; configuration and data stay            [ARGS=--dry-run]
	@edge/deploy/pi.sh uninstall $(ARGS)

pi-bundle: $(VENV)/.edge ## one file to install from without a network, into dist/ [ARGS=--dry-run]
	@PYTHON=$(BIN)/python edge/deploy/pi.sh bundle $(ARGS)

publish: $(VENV)/.train ## measure a converted run and put it into models/    RUN=runs/small [DATA=…] [ARGS=--replace]
	@$(BIN)/python -m convert.publish "$(RUN)" $(if $(DATA),--data "$(DATA)") $(ARGS)

clean: ## remove the virtual environment and what was built
	rm -rf $(VENV) build dist

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "edgefer needs Python 3.11 or newer; pass PYTHON=…"; exit 1; }
	@$(PYTHON) -m venv $(if $(ON_PI),--system-site-packages) $(VENV) || { echo "making the virtual environment failed; on Debian: sudo apt install python3-venv"; exit 1; }

# A stamp a set of packages; a changed list installs again.
$(VENV)/.edge $(VENV)/.train $(VENV)/.dev: $(VENV)/.%: $(wildcard requirements/*.txt) pyproject.toml | $(BIN)/python
	@echo "installing into $(VENV) what $* needs (once; minutes for train and dev):" >&2
	@$(INSTALL) -r $(if $(filter edge,$*),$(EDGE_PACKAGES),requirements/$*.txt)
	@$(INSTALL) --no-deps -e .
	@touch $@
