# Everything a person runs. `make demo` and `make test` need git, make and python3-venv before them.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ROOMS := device gateway hardware protocol process mcc demo simulation benchmarks image tests
# Installed once per state of these two files; later runs need no network.
INPUTS := pyproject.toml constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo faults simulate pypy soak test test-systemd lint fuzz schemas openapi drawings doctor-pages sbom bench clean packages image image-packages image-test image-twice image-pi-os-test vendor words screenshots

help: ## what there is
	@awk -F':.*## ' '/^[a-z][a-z-]*:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/demo.stamp: $(INPUTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Kentongan needs Python 3.11 or later; name one with: make PYTHON=python3.11"; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV) || { echo "python3-venv is missing: apt-get install python3-venv"; exit 1; }
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[demo]'
	@touch $@

$(VENV)/dev.stamp: $(VENV)/demo.stamp $(INPUTS)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

# What the tests need beside Python: a real broker, network namespaces, a real systemd.
PACKAGES := mosquitto mosquitto-clients iproute2 iptables procps gcc libc6-dev systemd-container mmdebstrap mtools dosfstools fdisk e2fsprogs postgresql gettext chromium openssh-client
packages:
	@missing=; for package in $(PACKAGES); do \
	  dpkg-query -W -f='$${Status}' $$package 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$package"; done; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ]; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	  else \
	    echo "The tests need more packages: sudo apt-get install$$missing"; exit 1; \
	  fi; fi

demo: $(VENV)/demo.stamp ## the whole story on this machine: button to command centre and back
	@$(BIN)/python -m demo

lint: $(VENV)/dev.stamp ## ruff, mypy --strict, and the arrows between the rooms
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: packages lint pypy ## everything that must hold before a change lands
	$(BIN)/pytest -n 4 --dist worksteal

fuzz: $(VENV)/dev.stamp ## hostile messages, sentences, settings and databases, two processes, minutes
	$(BIN)/python -m tests.fuzz
	KENTONGAN_API_REQUESTS=400 $(BIN)/pytest -n 0 -q tests/mcc/test_api.py -k server_error

test-systemd: packages $(VENV)/dev.stamp ## the services under a real systemd (root)
	$(BIN)/pytest tests/systemd/booted.py

# Interrupted, the rows still end what they started; killed only if they do not.
ROWS := $(BIN)/pytest -n 3 --dist worksteal tests/faults
faults: packages $(VENV)/dev.stamp ## the fault table on real processes, 200 kills at least: 20 minutes at most
	KENTONGAN_FAULT_SCALE=22 KENTONGAN_FAULT_KILLS=200 timeout --signal=INT --kill-after=60 1140 $(ROWS)

soak: packages $(VENV)/dev.stamp ## the same for hours: 4,000 kills
	KENTONGAN_FAULT_SCALE=400 KENTONGAN_FAULT_KILLS=4000 $(ROWS)

# SEED=N replays that one, with its whole trace. On PyPy where `make pypy` has been; PYPY= for CPython all the same.
SEEDS ?= 10000
FIRST ?= 1
PYPY ?= $(wildcard build/pypy/bin/pypy)
simulate: $(VENV)/dev.stamp ## days under every fault: SEEDS=10000 of them from FIRST=1, or one SEED=N
	@$(if $(PYPY),PYTHONPATH=$$(echo $(VENV)/lib/python3*/site-packages) PYPY_GC_NURSERY=32M $(PYPY),$(BIN)/python) \
	-m simulation $(if $(SEED),--seed $(SEED) --trace,--seeds $(SEEDS) --first $(FIRST))

# PyPy for Python 3.11 is not in Debian 12: it comes with its libraries from Debian 13, and nothing of the machine changes.
pypy: build/pypy/bin/pypy ## fetch PyPy into build/pypy, on which the simulator then runs (root)
build/pypy/bin/pypy:
	@$(MAKE) --no-print-directory packages
	rm -rf build/pypy && mkdir -p build
	mmdebstrap --quiet --variant=extract --include=pypy3 trixie build/pypy
	printf '#!/bin/sh\nroot=$$(cd "$$(dirname "$$0")/../usr" && pwd)\nfor libraries in "$$root"/lib/*-linux-gnu*; do :; done\nexec "$$libraries"/ld-linux-*.so.* --library-path "$$libraries" "$$root/bin/pypy3.11" "$$@"\n' > build/pypy/pypy
	rm -rf build/pypy/bin && mkdir build/pypy/bin && mv build/pypy/pypy build/pypy/bin/pypy && chmod +x build/pypy/bin/pypy

schemas: $(VENV)/dev.stamp ## write docs/protocol/ from the code
	$(BIN)/python -m protocol.schema docs/protocol

openapi: $(VENV)/dev.stamp ## write docs/openapi.json from the code
	DJANGO_SETTINGS_MODULE=mcc.site.settings $(BIN)/python -m mcc.api.openapi docs/openapi.json

drawings: $(VENV)/dev.stamp ## write docs/hardware/ from its settings
	$(BIN)/python -m device.drawings docs/hardware/post.toml docs/hardware

# Texts in the code are English; the Indonesian ones stand in locale/ and are compiled beside.
words: packages $(VENV)/dev.stamp ## gather the texts of the pages into their catalogues, and compile these
	@for app in console cases people registers escalation api community visits anev; do mkdir -p mcc/$$app/locale && (cd mcc/$$app && export PYTHONPATH=$(CURDIR) DJANGO_SETTINGS_MODULE=mcc.site.settings && \
	$(CURDIR)/$(BIN)/django-admin makemessages -l id --no-obsolete --no-location --no-wrap -v 0 && \
	if [ -d static ]; then $(CURDIR)/$(BIN)/django-admin makemessages -d djangojs -l id --no-obsolete --no-location --no-wrap -i 'static/vendor/*' -v 0; fi && \
	$(CURDIR)/$(BIN)/django-admin compilemessages -v 0); done

screenshots: packages $(VENV)/dev.stamp ## write docs/pictures/: the console and the telephone's view, by the real chain
	$(BIN)/python -m tests.browser.pictures docs/pictures

# Leaflet 1.9.4 from npm, as it was looked at: no page loads anything from elsewhere.
LEAFLET := leaflet-1.9.4
LEAFLET_SHA256 := 84c65a256e50657896f54c33bd857b6849ebe94c817803be818bf32a3dde0b77
LEAFLET_TO := $(CURDIR)/mcc/console/static/vendor/leaflet
vendor: ## fetch the console's map library from npm into mcc/console/static/vendor
	@work=$$(mktemp -d) && trap 'rm -rf "$$work"' EXIT && cd "$$work" && npm pack --silent $(subst -1,@1,$(LEAFLET)) >/dev/null && \
	echo "$(LEAFLET_SHA256)  $(LEAFLET).tgz" | sha256sum --check --quiet && tar -xzf $(LEAFLET).tgz && \
	mkdir -p $(LEAFLET_TO) && cp package/LICENSE package/dist/leaflet.css $(LEAFLET_TO)/ && \
	grep -v '^//# sourceMappingURL=' package/dist/leaflet.js > $(LEAFLET_TO)/leaflet.js

doctor-pages: $(VENV)/dev.stamp ## write the tables of docs/doctor.*.md from the code
	$(BIN)/python -m process.doctor docs

# arm64 programs run here by qemu-user, which registers itself only where binfmt_misc is mounted.
IMAGE_PACKAGES := mmdebstrap arch-test kmod qemu-user-static binfmt-support mtools dosfstools e2fsprogs fdisk qemu-system-arm device-tree-compiler openssh-client mosquitto mosquitto-clients
image-packages:
	@test -e /proc/sys/fs/binfmt_misc/register || mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
	@$(MAKE) --no-print-directory packages PACKAGES="$(IMAGE_PACKAGES)"

SUITE ?= bookworm
image: image-packages $(VENV)/dev.stamp ## write build/image/kentongan-bookworm.img, the card of a post (root)
	$(BIN)/python -m image build --suite $(SUITE) $(if $(UPDATE_KEY),--update-key $(UPDATE_KEY)) $(if $(PI_OS),--pi-os $(PI_OS))

# Two boards at a time; what each saw, with its times, stays in build/image/*.log, too.
IMAGE_TEST := KENTONGAN_IMAGE=build/image/kentongan-$(SUITE).img $(BIN)/pytest -n 0 -q -s
image-test: image-packages $(VENV)/dev.stamp ## boot that image, press, answer, cut its power, update it (root)
	rm -f build/image/$(SUITE)-*.log
	$(IMAGE_TEST) tests/image/cut.py tests/image/raspi.py & \
	$(IMAGE_TEST) tests/image/updated.py tests/image/booted.py tests/image/wifi.py; ended=$$?; wait $$! && exit $$ended

image-twice: image ## build it once more from nothing and compare the bytes (root)
	$(if $(PI_OS),@echo "image-twice compares the card over Debian only"; exit 2)
	rm -rf build/image-twice
	$(BIN)/python -m image build --suite $(SUITE) --out build/image-twice --cache build/image-twice/cache $(if $(UPDATE_KEY),--update-key $(UPDATE_KEY))
	cmp build/image/kentongan-$(SUITE).img build/image-twice/kentongan-$(SUITE).img

image-pi-os-test: image-packages $(VENV)/dev.stamp ## the same over a stand-in of Raspberry Pi OS: built, booted, pressed (root): 15 minutes
	$(BIN)/pytest -n 0 -s tests/image/from_pi_os.py

sbom: $(VENV)/dev.stamp ## write build/*.cdx.json: what each program brings, as CycloneDX
	$(BIN)/python -m process.sbom build

# The peers, each in an environment of its own. One that cannot be had is named on the page, with why.
PEER_MQTT_IO := mqtt-io==2.7.0 gpiozero==2.0.1
PEER_THINGSBOARD := thingsboard-gateway==3.8.5
build/peers/%/stamp:
	@mkdir -p build/peers && $(PYTHON) -m venv build/peers/$* && \
	build/peers/$*/bin/pip install --quiet --disable-pip-version-check $(if $(filter mqtt-io,$*),$(PEER_MQTT_IO),$(PEER_THINGSBOARD)) >build/peers/$*.log 2>&1 \
	&& touch $@ || { rm -rf build/peers/$*; echo "bench: $* could not be installed; see build/peers/$*.log"; }

# QUICK=1: small sizes, to see that it runs; nothing is written. PARTS="press kept": only these.
bench: packages $(VENV)/dev.stamp build/peers/mqtt-io/stamp build/peers/thingsboard-gateway/stamp ## every figure beside a floor or a peer, into docs/performance.md: 15 minutes
	@$(BIN)/python -m benchmarks $(PARTS) $(if $(QUICK),--quick,$(if $(PARTS),,--write docs/performance.md))

clean: ## remove what these targets made
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
