# tradekeep: the server half is built here with PGXS, the client by client/Makefile.
# `make help` lists what there is; PG_CONFIG= chooses the server.

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)
EXTVERSION := $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" extension/tradekeep.control)
export PG_CONFIG

MODULE_big = tradekeep
OBJS = $(addprefix extension/, tradekeep.o input.o probe.o statement.o owner.o timeframe.o \
	scope.o claim.o candle_claim.o lease.o signal.o signal_claim.o remember.o \
	candle.o candle_input.o candle_ingest.o candle_read.o candle_tick.o \
	candlestick.o rollup.o rollup_derive.o \
	trade.o trade_pnl.o trade_run.o trade_metrics.o trade_mark.o trade_row.o trade_read.o trade_settle.o \
	trade_worker.o \
	sweep.o sweep_policy.o sweep_state.o sweep_table.o sweep_worker.o metrics.o)

# The install script is its rooms in the order in which they depend on each other.
PARTS = tradekeep timeframe claim signal remember candle rollup trade trade_stats sweep metrics access
EXTENSION = extension/tradekeep
DATA_built = extension/tradekeep--$(EXTVERSION).sql
UPDATES = extension/tradekeep--0.1.0--0.2.0.sql extension/tradekeep--0.2.0--0.3.0.sql \
	extension/tradekeep--0.3.0--0.4.0.sql extension/tradekeep--0.4.0--0.5.0.sql

# Both runners create the extension themselves, so that any test can run alone.
REGRESS = timeframe claim scope lease signal remember candle candle_ingest candle_read candle_tick candle_keep \
	candlestick rollup trade trade_stats sweep metrics access
REGRESS_OPTS = --load-extension=tradekeep
ISOLATION = $(sort $(basename $(notdir $(wildcard tests/isolation/specs/*.spec))))
ISOLATION_OPTS = --inputdir=tests/isolation --load-extension=tradekeep

# As system headers PostgreSQL's own do not warn. Callbacks have parameters they do not need, and
# lengthof() is unsigned.
WARNINGS = -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare $(if $(WERROR),-Werror)
PG_CPPFLAGS = -isystem $(shell $(PG_CONFIG) --includedir-server)
PG_CFLAGS = $(WARNINGS)

# DATA= on the command line is what make demo is given; to PGXS it is what to install.
DEMO_DATA := $(DATA)
override DATA := $(UPDATES)

ifneq ($(and $(wildcard $(PGXS)),$(wildcard $(shell $(PG_CONFIG) --includedir-server)/postgres.h)),)
include $(PGXS)

# clang makes the bitcode, and so checks every file a second time.
BITCODE_CFLAGS += $(WARNINGS)

$(OBJS) $(OBJS:.o=.bc): $(wildcard extension/*.h) Makefile extension/server.stamp

# Objects for another server are of no use to this one.
SERVER := $(shell $(PG_CONFIG) --version --includedir-server)
extension/server.stamp: FORCE
	@echo '$(SERVER)' | cmp -s - $@ || echo '$(SERVER)' >$@
FORCE:
EXTRA_CLEAN = extension/server.stamp

$(DATA_built): $(PARTS:%=extension/%.sql) extension/tradekeep.control Makefile
	cat $(PARTS:%=extension/%.sql) >$@
else
all install uninstall installcheck clean: no-server
no-server:
	@echo "PostgreSQL's server headers are missing: run tests/setup, or install" \
		"postgresql-server-dev-NN and libpq-dev, or set PG_CONFIG" >&2; exit 1
endif

CLIENT_NEEDS = libpq hiredis libcjson zlib

all: client
client:
	@pkg-config --exists $(CLIENT_NEEDS) || { echo "the client needs pkg-config and the headers" \
		"of $(CLIENT_NEEDS): run tests/setup, or install pkgconf libpq-dev libhiredis-dev" \
		"libcjson-dev zlib1g-dev" >&2; exit 1; }
	$(MAKE) -C client all

install: install-client
uninstall: uninstall-client
clean: clean-client
install-client: client
install-client uninstall-client clean-client:
	$(MAKE) -C client $(@:-client=)

test:
	tests/run
demo:
	tests/demo start $(if $(DEMO_DATA),'$(DEMO_DATA)')
demo-stop:
	tests/demo stop
bench: all
	tests/bench/run
format format-check: all
	tests/format $(if $(findstring check,$@),--check) extension client

help:
	@echo "make                  build the extension and the client (WERROR=1: warnings are errors)"
	@echo "make install          install both (DESTDIR=, CLIENT_PREFIX=/usr/local); make uninstall"
	@echo "make installcheck     run the regression tests and isolation specs on a running server"
	@echo "make test             install what is missing, build, run every test on private servers"
	@echo "make demo [DATA=FILE] install what is missing, build, run two bots on a private cluster"
	@echo "make demo-stop        remove what the demo left"
	@echo "make bench            measure claims and candles against their peers"
	@echo "make format           indent the C sources as PostgreSQL does; make format-check"
	@echo "make clean            remove what was built"
	@echo "PG_CONFIG=PATH        the server to build for, on any of these"

.PHONY: FORCE client no-server install-client uninstall-client clean-client test demo demo-stop bench \
	format format-check help
