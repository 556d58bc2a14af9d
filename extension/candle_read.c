/*
 * candle_read.c
 *		What is missing among the bars that are stored: gaps, and bars to fill them.
 *
 * Both walk through the bars of a symbol and timeframe in order and see which start was
 * expected next.  Bars to be filled up are handed over by the executor; gaps need the
 * keys alone, which are read from the index.
 */
#include "candle.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "input.h"
#include "probe.h"
#include "statement.h"

PG_FUNCTION_INFO_V1(tradekeep_candle_gaps);
PG_FUNCTION_INFO_V1(tradekeep_candles_filled);

#define WHERE_IN_RANGE \
	" FROM tradekeep.candle AS c WHERE c.symbol OPERATOR(pg_catalog.=) $1" \
	" AND c.timeframe OPERATOR(pg_catalog.=) $2 AND c.ts OPERATOR(pg_catalog.>=) $3" \
	" AND c.ts OPERATOR(pg_catalog.<) $4 ORDER BY c.ts"

static ProbeTable candle_table = {.name = "candle",.nkeys = 3};

static Statement select_starts = {
	.sql = "SELECT c.ts" WHERE_IN_RANGE,
	.nargs = 4,
	.argtypes = {TEXTOID, TIMEFRAMEOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
};
static Statement select_bars = {
	.sql = "SELECT c.ts, c.open, c.high, c.low, c.close, c.volume, c.closed" WHERE_IN_RANGE,
	.nargs = 4,
	.argtypes = {TEXTOID, TIMEFRAMEOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
};
static Statement select_bar_before = {
	.sql = "SELECT c.ts, c.open, c.high, c.low, c.close, c.volume, c.closed"
	" FROM tradekeep.candle AS c WHERE c.symbol OPERATOR(pg_catalog.=) $1"
	" AND c.timeframe OPERATOR(pg_catalog.=) $2 AND c.ts OPERATOR(pg_catalog.<) $3"
	" ORDER BY c.ts DESC LIMIT 1",
	.nargs = 3,
	.argtypes = {TEXTOID, TIMEFRAMEOID, TIMESTAMPTZOID}
};

/* Columns of the last two. */
enum
{
	BAR_TS = 1, BAR_OPEN, BAR_HIGH, BAR_LOW, BAR_CLOSE, BAR_VOLUME, BAR_CLOSED
};

/* A walk through the bars of a symbol and timeframe. */
typedef struct Walk Walk;
struct Walk
{
	DestReceiver receiver;
	ReturnSetInfo *result;
	Datum		symbol;
	Timeframe	timeframe;
	int64		length;			/* of a candle; 0: it varies */
	TimestampTz next;			/* the start that is expected; DT_NOBEGIN: any */
	float8		close;			/* of the bar before */
	bool		begun;			/* there was one */
};

static void
receive_startup(DestReceiver *self, int operation, TupleDesc desc)
{
}

static void
receive_end(DestReceiver *self)
{
}

/* The arguments symbol, timeframe, since and until; false when there is nothing to walk through. */
static bool
begin_walk(FunctionCallInfo fcinfo, Walk *walk,
		   bool (*receive) (TupleTableSlot *, DestReceiver *), Datum *range)
{
	memset(walk, 0, sizeof(Walk));
	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) ||
		(!PG_ARGISNULL(2) && PG_GETARG_TIMESTAMPTZ(2) == DT_NOEND))
		return false;
	walk->receiver.receiveSlot = receive;
	walk->receiver.rStartup = receive_startup;
	walk->receiver.rShutdown = receive_end;
	walk->receiver.rDestroy = receive_end;
	walk->receiver.mydest = DestNone;
	walk->result = (ReturnSetInfo *) fcinfo->resultinfo;
	walk->symbol = PG_GETARG_DATUM(0);
	walk->timeframe = PG_GETARG_TIMEFRAME(1);
	if (walk->timeframe != TIMEFRAME_MONTH)
		walk->length = (int64) walk->timeframe * USECS_PER_SEC;
	walk->next = DT_NOBEGIN;
	range[0] = walk->symbol;
	range[1] = TimeframeGetDatum(walk->timeframe);
	range[2] = TimestampTzGetDatum(DT_NOBEGIN);
	range[3] = TimestampTzGetDatum(DT_NOEND);
	if (!PG_ARGISNULL(2) && !TIMESTAMP_NOT_FINITE(PG_GETARG_TIMESTAMPTZ(2)))
	{
		TimestampTz since = PG_GETARG_TIMESTAMPTZ(2);

		check_time(since, "since");
		range[2] = TimestampTzGetDatum(since);
		walk->next = next_start(walk->timeframe, since);
	}
	if (!PG_ARGISNULL(3))
		range[3] = PG_GETARG_DATUM(3);
	return true;
}

/*
 * Where to look for what is missing behind the last bar: until `until`, but the candle
 * that is open now is not missing yet.  DT_NOBEGIN: nowhere.
 */
static TimestampTz
end_of_walk(FunctionCallInfo fcinfo, const Walk *walk)
{
	TimestampTz until;

	if (PG_ARGISNULL(3) || walk->next == DT_NOBEGIN)
		return DT_NOBEGIN;
	until = Min(PG_GETARG_TIMESTAMPTZ(3),
				candle_start(walk->timeframe, GetCurrentStatementStartTimestamp()));
	if (!time_fits(until))
		return until == DT_NOEND ? DT_NOBEGIN : until;
	return next_start(walk->timeframe, until);
}

static void
put_gap(Walk *walk, TimestampTz end)
{
	Datum		values[] = {TimestampTzGetDatum(walk->next), TimestampTzGetDatum(end),
	Int64GetDatum(count_candles(walk->timeframe, walk->next, end))};
	bool		nulls[lengthof(values)] = {false};

	tuplestore_putvalues(walk->result->setResult, walk->result->setDesc, values, nulls);
}

static TimestampTz
slot_time(TupleTableSlot *slot)
{
	bool		isnull;

	return DatumGetTimestampTz(slot_getattr(slot, BAR_TS, &isnull));
}

static void
pass_start(Walk *walk, TimestampTz ts)
{
	if (walk->next != DT_NOBEGIN && ts > walk->next)
		put_gap(walk, ts);
	walk->next = walk->length > 0 ? ts + walk->length : candle_end(walk->timeframe, ts);
}

static bool
receive_start(TupleTableSlot *slot, DestReceiver *self)
{
	pass_start((Walk *) self, slot_time(slot));
	return true;
}

/*
 * The way without the executor, several times as fast; false when the table has to be asked
 * by a query: it is distributed, row policies may apply, or privileges are missing.
 */
static bool
pass_keys(Walk *walk, const Datum *range)
{
	Probe		probe;
	int64		ts;
	bool		usable;

	if (!table_granted("candle", ACL_SELECT))
		return false;
	probe_begin(&probe, &candle_table, PROBE_STATEMENT);
	usable = probe.heap != NULL && !probe.heap->rd_rel->relrowsecurity;
	if (usable)
	{
		probe_keys(&probe, range, range[2]);
		while (probe_next_key(&probe, &ts) && ts < DatumGetTimestampTz(range[3]))
		{
			CHECK_FOR_INTERRUPTS();
			pass_start(walk, ts);
		}
	}
	probe_end(&probe);
	return usable;
}

Datum
tradekeep_candle_gaps(PG_FUNCTION_ARGS)
{
	Walk		walk;
	Datum		range[4];
	TimestampTz end;

	if (!begin_walk(fcinfo, &walk, receive_start, range))
		return (Datum) 0;
	if (!pass_keys(&walk, range))
		stream_statement(&select_starts, range, &walk.receiver);
	end = end_of_walk(fcinfo, &walk);
	if (end > walk.next)
		put_gap(&walk, end);
	return (Datum) 0;
}

/* Bars without trades: all prices are the last close. */
static void
fill_until(Walk *walk, TimestampTz end)
{
	while (walk->begun && walk->next < end)
	{
		Datum		values[] = {
			walk->symbol, TimeframeGetDatum(walk->timeframe), TimestampTzGetDatum(walk->next),
			Float8GetDatum(walk->close), Float8GetDatum(walk->close), Float8GetDatum(walk->close),
			Float8GetDatum(walk->close), Float8GetDatum(0), BoolGetDatum(true), BoolGetDatum(true)
		};
		bool		nulls[lengthof(values)] = {false};

		CHECK_FOR_INTERRUPTS();
		tuplestore_putvalues(walk->result->setResult, walk->result->setDesc, values, nulls);
		walk->next = candle_end(walk->timeframe, walk->next);
	}
}

static void
remember_bar(Walk *walk, TupleTableSlot *slot)
{
	bool		isnull;

	walk->close = DatumGetFloat8(slot_getattr(slot, BAR_CLOSE, &isnull));
	walk->begun = true;
}

static bool
receive_bar_before(TupleTableSlot *slot, DestReceiver *self)
{
	remember_bar((Walk *) self, slot);
	return true;
}

static bool
receive_bar(TupleTableSlot *slot, DestReceiver *self)
{
	Walk	   *walk = (Walk *) self;
	TimestampTz ts = slot_time(slot);
	Datum		values[10] = {walk->symbol, TimeframeGetDatum(walk->timeframe)};
	bool		nulls[lengthof(values)] = {false};

	fill_until(walk, ts);
	slot_getallattrs(slot);
	memcpy(&values[2], slot->tts_values, sizeof(Datum) * BAR_CLOSED);
	values[2 + BAR_CLOSED] = BoolGetDatum(false);
	tuplestore_putvalues(walk->result->setResult, walk->result->setDesc, values, nulls);
	remember_bar(walk, slot);
	walk->next = candle_end(walk->timeframe, ts);
	return true;
}

Datum
tradekeep_candles_filled(PG_FUNCTION_ARGS)
{
	Walk		walk;
	Datum		range[4];

	if (!begin_walk(fcinfo, &walk, receive_bar_before, range))
		return (Datum) 0;
	if (walk.next != DT_NOBEGIN)
		stream_statement(&select_bar_before, range, &walk.receiver);
	walk.receiver.receiveSlot = receive_bar;
	stream_statement(&select_bars, range, &walk.receiver);
	fill_until(&walk, end_of_walk(fcinfo, &walk));
	return (Datum) 0;
}
