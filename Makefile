# Plumb. `make help` lists the targets a person needs. Everything is built into $(BUILD).
# `./run` installs the packages this needs and calls it.

BUILD ?= build
ifeq ($(origin CC),default)
CC := gcc
endif
PKG_CONFIG ?= pkg-config
PREFIX ?= /usr/local

all: $(BUILD)/plumb ## build the program, build/plumb

# ---- flags ----------------------------------------------------------------------------------------

PACKAGES := libutf8proc libedit jansson libcrypto yaml-0.1
NEEDS_NO_PACKAGES := help clean format tidy check-headers
ifneq ($(filter-out $(NEEDS_NO_PACKAGES),$(or $(MAKECMDGOALS),all)),)
PACKAGE_LIBS := $(shell $(PKG_CONFIG) --libs $(PACKAGES))
ifeq ($(PACKAGE_LIBS),)
$(error development packages are missing ($(PACKAGES)); ./run installs them)
endif
endif
PACKAGE_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(PACKAGES))

WARN := -Wall -Wextra -Wshadow -Wundef -Wvla -Wpointer-arith -Wwrite-strings -Wstrict-prototypes \
        -Wmissing-prototypes -Wdouble-promotion
OPT ?= -O2 -g
SAN ?=
WERROR ?=
ALL_CPPFLAGS := -Iinclude -Isrc -I$(BUILD)/gen -D_GNU_SOURCE $(CPPFLAGS)
ALL_CFLAGS := -std=c11 $(OPT) $(WARN) $(SAN) $(if $(SAN),-DSANITIZED) -ffp-contract=off -fno-math-errno -fvisibility=hidden \
              -fno-strict-aliasing -pthread $(PACKAGE_CFLAGS) $(CFLAGS)
ALL_LDFLAGS := $(SAN) $(LDFLAGS)
ALL_LDLIBS := $(PACKAGE_LIBS) -lm -pthread $(LDLIBS)
COMPILE := $(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) $(WERROR) -MMD -MP
LINK := $(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS)

# Everything is compiled again when the compiler or its flags change.
FLAGS := $(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) $(ALL_LDFLAGS) $(ALL_LDLIBS)
ifneq ($(strip $(file <$(BUILD)/flags)),$(strip $(FLAGS)))
$(BUILD)/flags: FORCE
endif
$(BUILD)/flags:
	@mkdir -p $(@D)
	@echo '$(FLAGS)' >$@

# Version and commit, in a header that is written again when they change.
VERSION := 0.1.0
COMMIT := $(shell git rev-parse --short=12 HEAD 2>/dev/null)
ifneq ($(strip $(file <$(BUILD)/gen/version)),$(strip $(VERSION) $(COMMIT)))
$(BUILD)/gen/version.h: FORCE
endif
$(BUILD)/gen/version.h:
	@mkdir -p $(@D)
	@printf '#define PLUMB_VERSION "%s"\n#define PLUMB_COMMIT "%s"\n' '$(VERSION)' '$(COMMIT)' >$@
	@echo '$(VERSION) $(COMMIT)' >$(@D)/version
$(BUILD)/src/cli/cmd_version.o $(BUILD)/src/cli/man.o: $(BUILD)/gen/version.h

# The catalogue is built into the program by .incbin, which -MMD does not see.
$(BUILD)/src/store/catalogue_data.o: models/catalogue.json

# ---- sources --------------------------------------------------------------------------------------

# Every source under src/ belongs to the library, but for the program's main and for the kernels that
# are compiled once per instruction-set level (src/kernels/lanes/, see there).
SRC := $(filter-out src/cli/main.c src/kernels/lanes/%,$(wildcard src/*/*.c))
OBJ := $(SRC:%.c=$(BUILD)/%.o)

LANES_SRC := $(wildcard src/kernels/lanes/*.c)
ARCH := $(firstword $(subst -, ,$(shell $(CC) -dumpmachine)))
ifeq ($(ARCH),x86_64)
LEVELS := f64 scalar avx2 avx512 vnni
else
LEVELS := f64 scalar
endif
FLAGS_f64 :=
FLAGS_scalar :=
FLAGS_avx2 := -mavx2 -mfma -mf16c -mbmi2
FLAGS_avx512 := $(FLAGS_avx2) -mavx512f -mavx512bw -mavx512dq -mavx512vl
FLAGS_vnni := $(FLAGS_avx512) -mavx512vnni
FLAGS_vnni_int8_amx := -mamx-tile -mamx-int8# for one file: FLAGS_LEVEL_FILE
FLAGS_vnni_bf16_amx := -mamx-tile -mamx-bf16
FLAGS_vnni_bf16_dot := -mavx512bf16
LANES_OBJ := $(foreach l,$(LEVELS),$(LANES_SRC:src/kernels/lanes/%.c=$(BUILD)/src/kernels/lanes/$(l)/%.o))

# Test programs: one per source; a fuzz target is linked with a driver that replays files.
programs = $(patsubst %.c,$(BUILD)/%,$(wildcard $(1)))
UNIT_TESTS := $(call programs,tests/unit/test_*.c)
KERNEL_TESTS := $(call programs,tests/kernels/check_*.c)
FUZZ_TESTS := $(call programs,tests/fuzz/fuzz_*.c)

# ---- compiling ------------------------------------------------------------------------------------

objects: $(OBJ) $(LANES_OBJ)

$(BUILD)/libplumb.a: $(OBJ) $(LANES_OBJ)
	@rm -f $@
	@ar rcs $@ $^

$(BUILD)/plumb: $(BUILD)/src/cli/main.o $(BUILD)/libplumb.a | $(BUILD)/models
	@echo "  LD    $@"
	@$(LINK) -o $@ $^ $(ALL_LDLIBS)

# The program finds the models that come with it beside itself.
$(BUILD)/models:
	@mkdir -p $(@D)
	@ln -sfnr models $@

$(BUILD)/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	@echo "  CC    $<"
	@$(COMPILE) -c -o $@ $<

define lanes_rule
$(BUILD)/src/kernels/lanes/$(1)/%.o: src/kernels/lanes/%.c $(BUILD)/flags
	@mkdir -p $$(@D)
	@echo "  CC    $$< ($(1))"
	@$$(COMPILE) $(if $(SAN),-O1,-O3) $(FLAGS_$(1)) $$(FLAGS_$(1)_$$*) $(LANES_FLAGS) -DLEVEL=$(1) -DLEVEL_$(1)=1 -c -o $$@ $$<
endef
$(foreach l,$(LEVELS),$(eval $(call lanes_rule,$(l))))

TEST_LIBS = $(BUILD)/libplumb.a $(shell $(PKG_CONFIG) --libs cmocka) $(ALL_LDLIBS)
$(UNIT_TESTS): $(BUILD)/tests/%: tests/%.c $(BUILD)/libplumb.a
	@mkdir -p $(@D)
	@echo "  TEST  $<"
	@$(COMPILE) -Itests $(ALL_LDFLAGS) -o $@ $< $(TEST_LIBS)

$(FUZZ_TESTS): $(BUILD)/tests/%: tests/%.c $(BUILD)/tests/fuzz/replay.o $(BUILD)/libplumb.a
	@mkdir -p $(@D)
	@echo "  FUZZ  $<"
	@$(COMPILE) -Itests $(ALL_LDFLAGS) -o $@ $< $(BUILD)/tests/fuzz/replay.o $(BUILD)/libplumb.a $(ALL_LDLIBS)

# The AVX-512 levels once more, through SIMDe: the kernel checks run them where the processor cannot.
# Not in instrumented builds, where they take minutes to compile.
ifneq ($(and $(if $(SAN),,plain),$(filter x86_64,$(ARCH)),$(wildcard /usr/include/simde/x86/avx512.h)),)
EMULATED := avx512 vnni
endif
EMULATED_OBJ := $(foreach l,$(EMULATED),$(LANES_SRC:src/kernels/lanes/%.c=$(BUILD)/tests/kernels/emulated_$(l)/%.o))

define emulated_rule
$(BUILD)/tests/kernels/emulated_$(1)/%.o: src/kernels/lanes/%.c tests/kernels/emulate.h $(BUILD)/flags
	@mkdir -p $$(@D)
	@echo "  CC    $$< ($(1), emulated)"
	@$$(COMPILE) -O2 $(FLAGS_avx2) -Wno-psabi -include tests/kernels/emulate.h -DLEVEL=emulated_$(1) \
		-DLEVEL_$(1)=1 -c -o $$@ $$<
endef
$(foreach l,$(EMULATED),$(eval $(call emulated_rule,$(l))))

$(KERNEL_TESTS): $(EMULATED_OBJ)
$(KERNEL_TESTS): $(BUILD)/tests/%: tests/%.c $(BUILD)/libplumb.a
	@mkdir -p $(@D)
	@echo "  TEST  $<"
	@$(COMPILE) $(if $(EMULATED),-DHAVE_EMULATED) -Itests $(ALL_LDFLAGS) -o $@ $< $(EMULATED_OBJ) \
		$(BUILD)/libplumb.a $(ALL_LDLIBS)

# ---- tests ----------------------------------------------------------------------------------------

RUN_TESTS = RUNNER='$(RUNNER)' tools/run_tests
export PLUMB = $(BUILD)/plumb

test: ## unit tests, kernels, fuzz seeds, the program from outside, the house rules
	@$(MAKE) --no-print-directory WERROR=-Werror programs
	@CHECK_QUICK=1 $(MAKE) --no-print-directory -j1 unit check-kernels seeds e2e
	@echo "== all tests passed"

programs: all $(UNIT_TESTS) $(KERNEL_TESTS) $(FUZZ_TESTS)

unit: $(UNIT_TESTS) ## unit tests only
	@$(RUN_TESTS) $(UNIT_TESTS)

check-kernels: $(KERNEL_TESTS) ## every kernel at every level against its scalar twin (BENCH=1: speeds)
	@$(RUN_TESTS) $(KERNEL_TESTS)

MODEL ?= smollm2-135m-instruct
bench: all $(BUILD)/tests/kernels/check_speed ## speeds beside the bounds of this machine: kernels, then MODEL
	@BENCH=1 $(RUN_TESTS) $(BUILD)/tests/kernels/check_speed
	@$(PLUMB) show $(MODEL) >/dev/null 2>&1 || { echo "skipped: $(MODEL) (not here; plumb pull brings it)"; exit 0; }; \
		for mode in int8 f32; do $(PLUMB) bench $(MODEL) --mode $$mode; done

# The peer needs a Python with torch and transformers: PYTHON=…
PYTHON ?= python3
TORCH_TRAIN := ../shared/tools/torch_train.py
BENCH_TRAIN := $(PLUMB) bench train smollm2-135m --batch 2 --seq 256
HAS_BF16 := grep -qE 'avx512_bf16|amx_bf16' /proc/cpuinfo
bench-train: all ## training steps beside the arithmetic peak, and beside PyTorch where PYTHON has it
	@$(PLUMB) bench train recipes/reckoner.yaml
	@$(BENCH_TRAIN)
	@if $(HAS_BF16); then $(BENCH_TRAIN) --bf16; else echo "skipped: BF16 (this processor does not multiply it)"; fi
	@$(PYTHON) -c 'import torch, transformers' 2>/dev/null && test -f $(TORCH_TRAIN) || \
		{ echo "skipped: PyTorch (PYTHON=$(PYTHON) has no torch and transformers, or no $(TORCH_TRAIN))"; exit 0; }; \
		for type in fp32 $$($(HAS_BF16) && echo bf16); do $(PYTHON) $(TORCH_TRAIN) smollm2-135m 2 256 $$type 3; done
	@$(BENCH_TRAIN)

seeds: $(FUZZ_TESTS) ## replay the seeds of every fuzz target
	@$(RUN_TESTS) -s $(FUZZ_TESTS)

e2e: $(BUILD)/plumb ## the program from outside, and the house rules (pytest)
	@python3 -m pytest -q -rs -p no:cacheprovider tests/e2e

# The same tests in instrumented builds, with all levels and with the scalar one only.
INSTRUMENTED = $(MAKE) --no-print-directory WERROR=-Werror BUILD=$(BUILD)-$@ SAN='$(SAN)' RUNNER='$(RUNNER)' \
               OPT='-O1 -g -fno-omit-frame-pointer $(FALSE_ALARMS)'
# Warnings that follow values through a function are misled by what a sanitizer adds.
FALSE_ALARMS := -Wno-format-truncation -Wno-maybe-uninitialized
NO_RECOVER := -fno-sanitize-recover=all
# The thread sanitizer needs addresses where it expects them.
FIXED_ADDRESSES := $(shell setarch -R true 2>/dev/null && echo setarch -R)

asan: SAN := -fsanitize=address,undefined $(NO_RECOVER)
asan: ## all tests with the address and undefined behaviour sanitizers
	+@$(INSTRUMENTED) test
	+@PLUMB_CPU=scalar $(INSTRUMENTED) unit

ubsan: SAN := -fsanitize=undefined $(NO_RECOVER)
ubsan: ## all tests with the undefined behaviour sanitizer
	+@$(INSTRUMENTED) test
	+@PLUMB_CPU=scalar $(INSTRUMENTED) unit

tsan: SAN := -fsanitize=thread
tsan: RUNNER := $(FIXED_ADDRESSES)
tsan: ## unit tests with the thread sanitizer
	+@$(INSTRUMENTED) unit
	+@PLUMB_CPU=scalar $(INSTRUMENTED) unit

# libFuzzer wants its own instrumentation in the library and brings its own main. Kernels are not what
# is fuzzed, and clang takes minutes to instrument them.
RUNS ?= 1000000
FUZZ_BUILD := $(BUILD)-fuzz
fuzz: ## fuzz one target with clang: make fuzz T=gguf RUNS=1000000
	@test -f 'tests/fuzz/fuzz_$(T).c' || { echo "make fuzz T=NAME, one of:" \
		$(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c)); exit 2; }
	@$(MAKE) --no-print-directory BUILD=$(FUZZ_BUILD) CC=clang OPT='-O1 -g' WERROR=-Werror \
		SAN='-fsanitize=fuzzer-no-link,address,undefined $(NO_RECOVER)' LANES_FLAGS=-fno-sanitize=all \
		$(FUZZ_BUILD)/libfuzzer_$(T)
	@mkdir -p $(FUZZ_BUILD)/corpus/$(T) $(FUZZ_BUILD)/crashes
	@$(FUZZ_BUILD)/libfuzzer_$(T) -runs=$(RUNS) -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
		$(patsubst %,-dict=%,$(wildcard tests/fuzz/$(T).dict)) \
		-artifact_prefix=$(FUZZ_BUILD)/crashes/$(T)- $(FUZZ_BUILD)/corpus/$(T) tests/fuzz/seeds/$(T)

$(BUILD)/libfuzzer_%: tests/fuzz/fuzz_%.c $(BUILD)/libplumb.a
	@$(COMPILE) -Itests -fsanitize=fuzzer $(ALL_LDFLAGS) -o $@ $< $(BUILD)/libplumb.a $(ALL_LDLIBS)

# ---- keeping house --------------------------------------------------------------------------------

tidy: check-headers ## the house rules alone: layers, headers, banned calls, lengths
	@tools/check_layers.py
	@tools/check_banned.py
	@tools/check_lengths.py

# Not those of src/kernels/lanes/, which are parts of the sources there.
HEADERS := $(wildcard include/*.h src/*/*.h)
check-headers: # each header compiles alone, and twice
	@CC='$(CC)' CPPFLAGS='$(ALL_CPPFLAGS) $(PACKAGE_CFLAGS)' tools/check_headers $(HEADERS)

format: ## clang-format all sources
	@clang-format -i $(wildcard include/*.h src/*/*.[ch] src/*/*/*.[ch] tests/*/*.[ch])

aarch64: ## compile the scalar level for aarch64 with a cross compiler
	@$(MAKE) --no-print-directory BUILD=$(BUILD)-aarch64 CC=aarch64-linux-gnu-gcc WERROR=-Werror \
		CPPFLAGS='-idirafter /usr/include/$(ARCH)-linux-gnu' objects

EMBEDDED := $(patsubst %/manifest.json,%,$(wildcard models/*/manifest.json))
install: all ## install the program, its manual and its models under PREFIX (default /usr/local)
	install -D -m 755 $(BUILD)/plumb $(DESTDIR)$(PREFIX)/bin/plumb
	@rm -rf $(BUILD)/man && mkdir -p $(BUILD)/man
	$(BUILD)/plumb help --man $(BUILD)/man
	install -d $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 644 $(BUILD)/man/*.1 $(DESTDIR)$(PREFIX)/share/man/man1
	@set -e; for m in $(EMBEDDED); do \
		echo "install -m 644 $$m/* $(DESTDIR)$(PREFIX)/share/plumb/$$m"; \
		rm -rf $(DESTDIR)$(PREFIX)/share/plumb/$$m; \
		install -d $(DESTDIR)$(PREFIX)/share/plumb/$$m; \
		install -m 644 $$m/* $(DESTDIR)$(PREFIX)/share/plumb/$$m; done

clean: ## remove everything that was built
	rm -rf $(BUILD) $(BUILD)-asan $(BUILD)-ubsan $(BUILD)-tsan $(BUILD)-fuzz $(BUILD)-aarch64

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):[^#]*## /\1 /p' Makefile | \
		while read -r name text; do printf '  %-14s %s\n' "$$name" "$$text"; done

FORCE:
.PHONY: bench-train FORCE all objects programs test unit check-kernels bench seeds e2e asan ubsan tsan fuzz tidy check-headers \
        format aarch64 install clean help
.SECONDARY:
.DELETE_ON_ERROR:
-include $(OBJ:.o=.d) $(LANES_OBJ:.o=.d) $(BUILD)/src/cli/main.d
-include $(addsuffix .d,$(UNIT_TESTS) $(KERNEL_TESTS) $(FUZZ_TESTS)) $(EMULATED_OBJ:.o=.d)
