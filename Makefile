# make run      build, and open the screen: live where that is possible, else on the bundled recording
# make test     all tests that need no KVM host
# make lab      tests on real KVM hosts, emulated: kvm_amd and kvm_intel on one kernel, for every change
# make lab-all  the same on every kernel
# make fuzz     a minute of libFuzzer for each format that is read: FUZZ_SECONDS=60
# make bench    the benchmarks of docs/performance.md
# make install  PREFIX=/usr/local DESTDIR=

SWIFT ?= swift
PREFIX ?= /usr/local
DESTDIR ?=
# Options of vmctop for `make run`, such as ARGS=--ascii.
ARGS ?=

binary := .build/release/vmctop
sources := $(shell find Package.swift Sources CNcurses -type f 2>/dev/null)

.PHONY: run test fuzz lab lab-all bench install clean format lint packages-build packages-test packages-lab packages-bench swift

.DEFAULT_GOAL := $(binary)

run: packages-build $(binary)
	@$(binary) --fallback-demo $(ARGS)

test: packages-test swift
	$(SWIFT) build --build-tests
	lab/tests/selftest
	.ci/tests $(SWIFT) test --skip-build

# All of it is compiled to be watched by libFuzzer; a trap stays a trap.
fuzz: packages-build swift
	VMCTOP_FUZZ=1 $(SWIFT) build -c release --build-path .build/fuzz --product vmctop-fuzz -Xswiftc -sanitize=fuzzer \
	  -Xswiftc -use-ld=lld
	Tests/Fuzz/run .build/fuzz/release/vmctop-fuzz

# kvm_amd by itself: what it counts while a control changes is held to the clock.
lab: packages-lab $(binary)
	lab/tests/run $(binary) --only amd-6.12
	lab/tests/run $(binary) --only intel-6.12
	lab/tests/paused.py $(binary) --only intel-6.12

lab-all: packages-lab $(binary)
	lab/tests/run $(binary)
	lab/tests/paused.py $(binary)

bench: packages-bench $(binary)
	$(SWIFT) build -c release --static-swift-stdlib --product vmctop-bench
	lab/bench/run $(binary) .build/release/vmctop-bench

packages-build packages-test packages-lab packages-bench: packages-%:
	@.ci/packages $*

swift:
	@command -v $(SWIFT) >/dev/null || { echo "needs Swift 6.3: https://www.swift.org/install/linux" >&2; exit 1; }

# One file that needs nothing of Swift where it runs. SwiftPM leaves an unchanged binary as old as it was.
$(binary): $(sources) | packages-build swift
	$(SWIFT) build -c release --static-swift-stdlib --product vmctop
	@touch $@

bin := $(DESTDIR)$(PREFIX)/bin
share := $(DESTDIR)$(PREFIX)/share

install: $(binary)
	install -d $(bin) $(share)/man/man1 $(share)/man/man5 $(share)/bash-completion/completions $(share)/zsh/site-functions \
	  $(share)/fish/vendor_completions.d
	install -m 755 -s $(binary) $(bin)/vmctop
	install -m 644 docs/vmctop.1 $(share)/man/man1/vmctop.1
	install -m 644 docs/vmctop-recording.5 $(share)/man/man5/vmctop-recording.5
	$(binary) --generate-completion-script bash > $(share)/bash-completion/completions/vmctop
	$(binary) --generate-completion-script zsh > $(share)/zsh/site-functions/_vmctop
	$(binary) --generate-completion-script fish > $(share)/fish/vendor_completions.d/vmctop.fish

format:
	$(SWIFT) format --in-place --parallel --recursive Package.swift Sources Tests

lint:
	$(SWIFT) format lint --strict --parallel --recursive Package.swift Sources Tests

clean:
	rm -rf .build lab/out*
