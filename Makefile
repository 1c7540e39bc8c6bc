# Plumb. `make help` lists the targets a person needs. Everything is built into $(BUILD).

BUILD ?= build
CC ?= gcc
PKG_CONFIG ?= pkg-config
PACKAGES := libutf8proc libedit jansson libcrypto
TEST_PACKAGES := cmocka

WARN := -Wall -Wextra -Wshadow -Wundef -Wvla -Wpointer-arith -Wwrite-strings -Wstrict-prototypes \
        -Wmissing-prototypes -Wdouble-promotion
OPT ?= -O2 -g
SAN ?=
WERROR ?=
CPPFLAGS += -Iinclude -Isrc -I$(BUILD)/gen -D_GNU_SOURCE
CFLAGS += -std=c11 $(OPT) $(WARN) $(WERROR) $(SAN) -ffp-contract=off -fno-math-errno -fvisibility=hidden \
          -fno-strict-aliasing -pthread $(shell $(PKG_CONFIG) --cflags $(PACKAGES))
LDLIBS += $(shell $(PKG_CONFIG) --libs $(PACKAGES)) -lm -pthread
LDFLAGS += $(SAN)

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
LANES_OBJ := $(foreach l,$(LEVELS),$(LANES_SRC:src/kernels/lanes/%.c=$(BUILD)/src/kernels/lanes/$(l)/%.o))

TEST_SRC := $(wildcard tests/unit/*.c)
TESTS := $(TEST_SRC:%.c=$(BUILD)/%)

all: $(BUILD)/plumb

$(BUILD)/libplumb.a: $(OBJ) $(LANES_OBJ)
	@rm -f $@
	@ar rcs $@ $^

$(BUILD)/plumb: $(BUILD)/src/cli/main.o $(BUILD)/libplumb.a
	@echo "  LD    $@"
	@$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

# Version and commit, rewritten only when they change.
VERSION := 0.1.0
COMMIT := $(shell git rev-parse --short=12 HEAD 2>/dev/null)
$(BUILD)/gen/version.h: FORCE
	@mkdir -p $(@D)
	@printf '#define PLUMB_VERSION "%s"\n#define PLUMB_COMMIT "%s"\n' '$(VERSION)' '$(COMMIT)' >$@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@
$(BUILD)/src/cli/cmd_version.o $(BUILD)/src/cli/man.o: $(BUILD)/gen/version.h

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC    $<"
	@$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

define lanes_rule
$(BUILD)/src/kernels/lanes/$(1)/%.o: src/kernels/lanes/%.c
	@mkdir -p $$(@D)
	@echo "  CC    $$< ($(1))"
	@$$(CC) $$(CPPFLAGS) $$(CFLAGS) -O3 $(FLAGS_$(1)) -DLEVEL=$(1) -DLEVEL_$(1)=1 -MMD -MP -c -o $$@ $$<
endef
$(foreach l,$(LEVELS),$(eval $(call lanes_rule,$(l))))

$(BUILD)/tests/unit/%: tests/unit/%.c $(BUILD)/libplumb.a
	@mkdir -p $(@D)
	@echo "  TEST  $<"
	@$(CC) $(CPPFLAGS) $(CFLAGS) -Itests $(shell $(PKG_CONFIG) --cflags $(TEST_PACKAGES)) $(LDFLAGS) -MMD -MP -o $@ $< \
		$(BUILD)/libplumb.a $(shell $(PKG_CONFIG) --libs $(TEST_PACKAGES)) $(LDLIBS)

unit: $(TESTS)
	@fail=0; for t in $(TESTS); do echo "== $$t"; $$t || fail=1; done; exit $$fail

clean:
	rm -rf $(BUILD)

.PHONY: all unit clean FORCE
.SECONDARY:
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
