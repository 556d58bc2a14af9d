/*
 * rollup_derive.c
 *		Candles made from finer ones, as they follow from what is stored.
 *
 * A derived candle is a function of the candles in its period and of one number: the time
 * of the newest closed source candle of its symbol.  Whoever makes candles of a symbol and
 * target holds the lock of that series until the end of the transaction, and reads behind it
 * with the latest snapshot, whatever the isolation level.  So of two sessions that
 * write into the same period, the second sees what the first one committed.
 *
 * Locks come after the rows of the source, and before those of the target; the rows of
 * the target are the source of the next rollup.  All sessions go this way, so that they wait and
 * do not deadlock.
 *
 * A candle is closed when all its source candles are there and closed, or when a closed one
 * that begins behind it ends no earlier than `grace` after it.  Time is that of the
 * candles, never of the clock: the answer does not depend on when it is asked for.  When the
 * newest closed source candle is another one than before, the incomplete candles that lie
 * between them close, or open again.
 *
 * What was derived from candles that the sweeper took since is frozen: the horizon of a symbol
 * and timeframe says before which time candles may be gone.  It is read after the source
 * candles: when it is not yet there, then no candle was gone when they were read.
 */
#include "rollup.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lock.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "input.h"
#include "owner.h"
#include "probe.h"
#include "statement.h"

/* Of the advisory locks of ours: a series, and all series of a target. */
#define LOCK_SERIES		6
#define LOCK_TARGET		7

/* So many locks may a statement take, over all rollups. */
#define MAX_LOCKS		256

/* So many candles are written by one statement. */
#define WRITE_BATCH		10000

/* Column of tradekeep.rollup_horizon. */
#define HORIZON_HORIZON 3

static ProbeTable candle_table = {.name = "candle",.nkeys = 3};
static ProbeTable horizon_table = {.name = "rollup_horizon",.nkeys = 2};

static Statement delete_derived = {
	.sql = "DELETE FROM tradekeep.candle AS c"
	" USING ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($3)) AS g(symbol, ts)"
	" WHERE c.symbol OPERATOR(pg_catalog.=) g.symbol AND c.timeframe OPERATOR(pg_catalog.=) $2"
	" AND c.ts OPERATOR(pg_catalog.=) g.ts AND c.sources IS NOT NULL",
	.nargs = 3,
	.argtypes = {TEXTARRAYOID, TIMEFRAMEOID, TIMESTAMPTZARRAYOID}
};
static Statement count_late = {
	.sql = "UPDATE tradekeep.rollup_horizon AS h SET late = h.late OPERATOR(pg_catalog.+) $3"
	" WHERE h.symbol OPERATOR(pg_catalog.=) $1 AND h.timeframe OPERATOR(pg_catalog.=) $2",
	.nargs = 3,
	.argtypes = {TEXTOID, TIMEFRAMEOID, INT8OID}
};

/* One rollup at work. */
typedef struct Derivation
{
	const Rollup *rollup;
	Probe		sources;
	Probe		targets;
	Candle	   *bars;			/* to be written; without sources: to be deleted */
	int			nbars;
	int			space;
} Derivation;

static bool deriving = false;

bool
is_deriving(void)
{
	return deriving;
}

static void
lock_series(const Rollup *rollup, const text *symbol)
{
	uint64		hash = DatumGetUInt64(hash_any_extended((unsigned char *) VARDATA_ANY(symbol),
														VARSIZE_ANY_EXHDR(symbol),
														rollup->target));
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) (hash >> 32), (uint32) hash, LOCK_SERIES);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

/* One lock instead of very many keeps all other sessions out. */
static void
lock_all_series(const Rollup *rollup, const Series *series, int nseries, int nrollups)
{
	bool		all = nseries > MAX_LOCKS / nrollups;
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, rollup->target, 0, LOCK_TARGET);
	(void) LockAcquire(&tag, all ? ExclusiveLock : ShareLock, false, false);
	for (int i = 0; !all && i < nseries; i++)
		lock_series(rollup, series[i].symbol);
}

void
add_span(Series *series, TimestampTz from, TimestampTz to)
{
	Span	   *last = series->nspans > 0 ? &series->spans[series->nspans - 1] : NULL;

	if (last != NULL && from <= last->to && to >= last->from)
	{
		last->from = Min(last->from, from);
		last->to = Max(last->to, to);
		return;
	}
	/* Room for 4, 8, 16, and so on. */
	if (series->nspans == 0)
		series->spans = palloc(sizeof(Span) * 4);
	else if (series->nspans >= 4 && (series->nspans & (series->nspans - 1)) == 0)
		series->spans = repalloc_huge(series->spans, sizeof(Span) * 2 * series->nspans);
	series->spans[series->nspans++] = (Span)
	{
		from, to
	};
}

static int
compare_spans(const void *left, const void *right)
{
	const Span *a = left;
	const Span *b = right;

	return (a->from > b->from) - (a->from < b->from);
}

/* Sorts the spans and makes one of those that touch. */
static void
merge_spans(Series *series)
{
	int			kept = 0;

	qsort(series->spans, series->nspans, sizeof(Span), compare_spans);
	for (int i = 1; i < series->nspans; i++)
	{
		Span	   *last = &series->spans[kept];

		if (series->spans[i].from <= last->to)
			last->to = Max(last->to, series->spans[i].to);
		else
			series->spans[++kept] = series->spans[i];
	}
	if (series->nspans > 0)
		series->nspans = kept + 1;
}

static void
start_at(Probe *probe, const text *symbol, Timeframe timeframe, TimestampTz from)
{
	Datum		keys[] = {PointerGetDatum(symbol), TimeframeGetDatum(timeframe)};

	probe_from(probe, keys, TimestampTzGetDatum(from));
}

static bool
next_candle(Probe *probe, ScanDirection direction, Candle *candle)
{
	TupleTableSlot *slot = probe_next(probe, direction);

	if (slot != NULL)
		read_candle(slot, candle);
	return slot != NULL;
}

/* How long after the end of a candle the closed one that closes it may begin, at the earliest. */
static int64
closing_delay(const Rollup *rollup)
{
	return Max(rollup->grace - rollup->source * USECS_PER_SEC, 0);
}

/*
 * Goes back from the newest source candle to a closed one, and further to one that the
 * statement has not touched: that was the newest closed one before, unless
 * one that is gone was newer.  If the statement closed none and took no closed one away, what lies
 * before the spans does not matter.
 */
static void
find_newest(Derivation *derivation, Series *series)
{
	const Rollup *rollup = derivation->rollup;
	int64		delay = closing_delay(rollup);
	TimestampTz stop = DT_NOEND;
	TimestampTz before = DT_NOBEGIN;
	int			change = series->nchanges - 1;
	Candle		candle;

	series->newest = DT_NOBEGIN;
	for (int i = 0; i < series->nspans; i++)
		stop = Min(stop, series->spans[i].from);
	for (int i = 0; i < series->nchanges; i++)
	{
		if (series->changes[i].was_closed)
			before = Max(before, series->changes[i].ts);
		if (series->changes[i].was_closed || series->changes[i].is_closed)
			stop = DT_NOBEGIN;
	}
	start_at(&derivation->sources, series->symbol, rollup->source, DT_NOBEGIN);
	while (next_candle(&derivation->sources, BackwardScanDirection, &candle) && candle.ts >= stop)
	{
		if (!candle.closed)
			continue;
		series->newest = Max(series->newest, candle.ts);
		while (change >= 0 && series->changes[change].ts > candle.ts)
			change--;
		if (change < 0 || series->changes[change].ts != candle.ts)
		{
			before = Max(before, candle.ts);
			break;
		}
	}
	if (stop == DT_NOBEGIN && before != series->newest)
	{
		/* Of those that end in between. */
		TimestampTz low = Max(Min(before, series->newest), MIN_TIME) - delay;
		TimestampTz high = Max(before, series->newest) - delay;

		low = candle_start(rollup->target, low);
		high = candle_start(rollup->target, high);
		if (low < high)
			add_span(series, low, high);
	}
}

static void
add_source(Candle *bar, const Candle *source, int *nclosed)
{
	if (bar->sources++ == 0)
	{
		bar->open = source->open;
		bar->high = source->high;
		bar->low = source->low;
	}
	bar->high = Max(bar->high, source->high);
	bar->low = Min(bar->low, source->low);
	bar->close = source->close;
	bar->volume += source->volume;
	*nclosed += source->closed;
}

/* Keeps a bar for writing, unless it is what is stored already, or a supplied one is. */
static void
keep_bar(Derivation *derivation, const Candle *bar, const Candle *stored)
{
	if (stored == NULL ? bar->sources == 0 : !stored->derived || same_values(stored, bar))
		return;
	if (derivation->nbars == derivation->space)
	{
		derivation->space = Max(2 * derivation->space, 64);
		derivation->bars = derivation->bars == NULL ?
			palloc(sizeof(Candle) * derivation->space) :
			repalloc_huge(derivation->bars, sizeof(Candle) * derivation->space);
	}
	derivation->bars[derivation->nbars++] = *bar;
}

/*
 * Derives the candles of a span, of which the last is the one that uses up *max_sources, walking along those and
 * along what is stored of the target.  Returns where it ended.
 */
static TimestampTz
derive_span(Derivation *derivation, const Series *series, const Span *span, int64 *max_sources)
{
	const Rollup *rollup = derivation->rollup;
	int64		delay = closing_delay(rollup);
	Candle		source;
	Candle		stored;
	bool		has_source;
	bool		has_stored;

	start_at(&derivation->sources, series->symbol, rollup->source, span->from);
	start_at(&derivation->targets, series->symbol, rollup->target, span->from);
	has_source = next_candle(&derivation->sources, ForwardScanDirection, &source);
	has_stored = next_candle(&derivation->targets, ForwardScanDirection, &stored);
	for (;;)
	{
		Candle		bar = {.symbol = series->symbol,.timeframe = rollup->target,.derived = true};
		TimestampTz end;
		int			nclosed = 0;

		bar.ts = has_source ? candle_start(rollup->target, source.ts) : DT_NOEND;
		if (has_stored)
			bar.ts = Min(bar.ts, stored.ts);
		if (bar.ts >= span->to)
			return DT_NOEND;
		end = candle_end(rollup->target, bar.ts);
		while (has_source && source.ts < end)
		{
			add_source(&bar, &source, &nclosed);
			has_source = next_candle(&derivation->sources, ForwardScanDirection, &source);
		}
		*max_sources -= bar.sources;
		bar.closed = series->newest >= end + delay ||
			nclosed == count_candles(rollup->source, bar.ts, end);
		if (has_stored && stored.ts == bar.ts)
		{
			keep_bar(derivation, &bar, &stored);
			has_stored = next_candle(&derivation->targets, ForwardScanDirection, &stored);
		}
		else
			keep_bar(derivation, &bar, NULL);
		CHECK_FOR_INTERRUPTS();
		if (*max_sources <= 0)
			return end;
	}
}

static TimestampTz
read_horizon(Probe *probe, text *symbol, Timeframe timeframe)
{
	Datum		keys[] = {PointerGetDatum(symbol), TimeframeGetDatum(timeframe)};
	TupleTableSlot *slot = probe_find(probe, keys);
	bool		isnull;

	return slot == NULL ? DT_NOBEGIN :
		DatumGetTimestampTz(slot_getattr(slot, HORIZON_HORIZON, &isnull));
}

/* Counts the candles that came for a period of which the sweeper has taken some. */
static void
count_late_changes(const Rollup *rollup, const Series *series, Timeframe timeframe,
				   TimestampTz horizon)
{
	int64		late = 0;

	for (int i = 0; i < series->nchanges; i++)
		if (series->changes[i].arrived &&
			candle_start(rollup->target, series->changes[i].ts) < horizon)
			late++;
	if (late > 0)
	{
		Datum		values[] = {PointerGetDatum(series->symbol), TimeframeGetDatum(timeframe),
		Int64GetDatum(late)};

		(void) execute_latest(&count_late, values);
	}
}

/* Leaves frozen candles as they are.  Bars stand in the order of their series. */
static void
drop_frozen(Derivation *derivation, const Series *series, int nseries)
{
	const Rollup *rollup = derivation->rollup;
	Probe		probe;
	int			kept = 0;
	int			bar = 0;

	probe_begin(&probe, &horizon_table, PROBE_LATEST);
	require_probe(&probe);
	if (RelationGetNumberOfBlocks(probe.heap) == 0)
	{
		probe_end(&probe);
		return;
	}
	for (int i = 0; i < nseries; i++)
	{
		TimestampTz of_source = read_horizon(&probe, series[i].symbol, rollup->source);
		TimestampTz of_target = read_horizon(&probe, series[i].symbol, rollup->target);
		TimestampTz horizon = Max(of_source, of_target);

		for (; bar < derivation->nbars && derivation->bars[bar].symbol == series[i].symbol; bar++)
			if (derivation->bars[bar].ts >= horizon)
				derivation->bars[kept++] = derivation->bars[bar];
		if (horizon != DT_NOBEGIN)
			count_late_changes(rollup, &series[i],
							   of_source == horizon ? rollup->source : rollup->target, horizon);
	}
	derivation->nbars = kept;
	probe_end(&probe);
}

static void
delete_bars(const Rollup *rollup, const Candle *bars, int nbars)
{
	Datum	   *symbols = palloc(sizeof(Datum) * nbars);
	Datum	   *starts = palloc(sizeof(Datum) * nbars);
	Datum		values[3];
	int			n = 0;

	for (int i = 0; i < nbars; i++)
		if (bars[i].sources == 0)
		{
			symbols[n] = PointerGetDatum(bars[i].symbol);
			starts[n++] = TimestampTzGetDatum(bars[i].ts);
		}
	if (n == 0)
		return;
	values[0] = PointerGetDatum(construct_array(symbols, n, TEXTOID, -1, false, TYPALIGN_INT));
	values[1] = TimeframeGetDatum(rollup->target);
	values[2] = PointerGetDatum(construct_array(starts, n, TIMESTAMPTZOID, sizeof(TimestampTz), true,
												TYPALIGN_DOUBLE));
	(void) execute_latest(&delete_derived, values);
}

/* Writes the bars; the same trigger that led here derives from them in turn. */
static void
write_bars(Derivation *derivation)
{
	Candle	   *bars = derivation->bars;
	int			kept = 0;

	delete_bars(derivation->rollup, bars, derivation->nbars);
	for (int i = 0; i < derivation->nbars; i++)
		if (bars[i].sources > 0)
		{
			bars[kept] = bars[i];
			check_candle(&bars[kept++], 0);
		}
	for (int i = 0; i < kept; i += WRITE_BATCH)
		write_derived(bars + i, Min(kept - i, WRITE_BATCH));
}

/* With the rights of the extension's owner: who may write candles need not be able to delete some. */
static void
store_bars(Derivation *derivation, const Series *series, int nseries)
{
	bool		outer = deriving;
	OwnerScope	scope;

	if (derivation->nbars == 0 && series->nchanges == 0)
		return;
	enter_extension(&scope);
	SPI_connect();
	deriving = true;
	PG_TRY();
	{
		drop_frozen(derivation, series, nseries);
		if (derivation->nbars > 0)
			write_bars(derivation);
	}
	PG_FINALLY();
	{
		deriving = outer;
	}
	PG_END_TRY();
	SPI_finish();
	leave_owner(&scope);
}

static void
begin_derivation(Derivation *derivation, const Rollup *rollup)
{
	memset(derivation, 0, sizeof(Derivation));
	derivation->rollup = rollup;
	probe_begin(&derivation->sources, &candle_table, PROBE_LATEST);
	probe_begin(&derivation->targets, &candle_table, PROBE_LATEST);
	require_probe(&derivation->sources);
}

static void
end_probes(Derivation *derivation)
{
	probe_end(&derivation->sources);
	probe_end(&derivation->targets);
}

void
derive_changed(const Rollup *rollup, int nrollups, Series *series, int nseries)
{
	Derivation	derivation;
	int64		max_sources = PG_INT64_MAX;

	lock_all_series(rollup, series, nseries, nrollups);
	CommandCounterIncrement();
	begin_derivation(&derivation, rollup);
	for (int i = 0; i < nseries; i++)
	{
		find_newest(&derivation, &series[i]);
		merge_spans(&series[i]);
		for (int j = 0; j < series[i].nspans; j++)
			(void) derive_span(&derivation, &series[i], &series[i].spans[j],
							   &max_sources);
	}
	end_probes(&derivation);
	store_bars(&derivation, series, nseries);
}

TimestampTz
derive_from(const Rollup *rollup, text *symbol, TimestampTz from, int64 *max_sources, int64 *written)
{
	Series		series = {.symbol = symbol};
	Derivation	derivation;
	TimestampTz end;

	add_span(&series, candle_start(rollup->target, Max(from, MIN_TIME)), DT_NOEND);
	lock_all_series(rollup, &series, 1, 1);
	begin_derivation(&derivation, rollup);
	find_newest(&derivation, &series);
	end = derive_span(&derivation, &series, &series.spans[0], max_sources);
	end_probes(&derivation);
	store_bars(&derivation, &series, 1);
	*written = derivation.nbars;
	return end;
}
