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

#include <math.h>

#include "access/table.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "input.h"
#include "lock.h"
#include "owner.h"
#include "probe.h"
#include "statement.h"

/* So many locks may a statement take, over all rollups. */
#define MAX_LOCKS		256

/* So many candles are written by one statement. */
#define WRITE_BATCH		10000

/* Column of tradekeep.candle_horizon. */
#define HORIZON_HORIZON 3

static ProbeTable candle_table = {.name = "candle",.nkeys = 3};
static ProbeTable horizon_table = {.name = "candle_horizon",.nkeys = 2};

static Statement add_late = {
	.sql = "UPDATE tradekeep.candle_horizon AS h SET late = h.late OPERATOR(pg_catalog.+) $3"
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
	Probe		ends;			/* of series; begun when needed */
	bool		ends_begun;
	Candle	   *bars;			/* to be written over what is at tid, or as new; without sources:
								 * to be deleted */
	int			nbars;
	int			space;
	int64		nsources;		/* source candles that were read */
} Derivation;

/* At which depth of triggers derivation writes; -1: it does not. */
static int	deriving_depth = -1;

static int
trigger_depth(void)
{
	return DatumGetInt32(DirectFunctionCall1(pg_trigger_depth, (Datum) 0));
}

bool
is_deriving(void)
{
	return deriving_depth >= 0 && trigger_depth() == deriving_depth + 1;
}

static void
lock_series(const Rollup *rollup, const text *symbol)
{
	uint64		hash = DatumGetUInt64(hash_any_extended((unsigned char *) VARDATA_ANY(symbol),
														VARSIZE_ANY_EXHDR(symbol),
														rollup->target));

	lock_until_end(LOCK_SERIES, hash, ExclusiveLock);
}

/*
 * We keep all other writers out already: while rollups are added, or by a batch of several
 * timeframes.
 */
static bool
is_candle_locked(void)
{
	Relation	relation = table_open(candle_relid(), NoLock);
	bool		locked = CheckRelationLockedByMe(relation, ShareRowExclusiveLock, true);

	table_close(relation, NoLock);
	return locked;
}

/* One lock instead of very many keeps all other sessions out. */
static void
lock_all_series(const Rollup *rollup, const Series *series, int nseries, int nrollups)
{
	bool		all = nseries > MAX_LOCKS / nrollups;

	if (is_candle_locked())
		return;
	lock_until_end(LOCK_TARGET, rollup->target, all ? ExclusiveLock : ShareLock);
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

/*
 * How long after the end of a candle the closed one that closes it may begin, at the
 * earliest.
 */
static int64
closing_delay(const Rollup *rollup)
{
	return Max(rollup->grace - rollup->source * USECS_PER_SEC, 0);
}

/*
 * The newest closed source candle. Goes back from the end of the series to it, and further
 * to one that the statement has not touched: before the statement the newest one was that,
 * or one that is gone since.
 */
static void
find_newest(Derivation *derivation, Series *series)
{
	int			change = series->nchanges - 1;
	Candle		candle;

	if (series->newest_known)
		return;
	series->newest_known = true;
	series->newest = series->untouched = DT_NOBEGIN;
	if (!derivation->ends_begun)
		probe_begin(&derivation->ends, &candle_table, PROBE_LATEST);
	derivation->ends_begun = true;
	start_at(&derivation->ends, series->symbol, derivation->rollup->source, DT_NOBEGIN);
	while (next_candle(&derivation->ends, BackwardScanDirection, &candle))
	{
		if (!candle.closed)
			continue;
		series->newest = Max(series->newest, candle.ts);
		while (change >= 0 && series->changes[change].ts > candle.ts)
			change--;
		if (change < 0 || series->changes[change].ts != candle.ts)
		{
			series->untouched = candle.ts;
			break;
		}
	}
}

/*
 * Is there a closed source candle at that time or later? `next` is the first one behind
 * the bar.
 */
static bool
is_followed(Derivation *derivation, Series *series, const Candle *next, TimestampTz ts)
{
	if (next == NULL)
		return false;
	if (next->closed && next->ts >= ts)
		return true;
	find_newest(derivation, series);
	return series->newest >= ts;
}

/*
 * Adds the candles that close or open because the newest closed source candle is another
 * one; false when there are none.
 */
static bool
add_closing(Derivation *derivation, Series *series)
{
	const Rollup *rollup = derivation->rollup;
	int64		delay = closing_delay(rollup);
	TimestampTz low;
	TimestampTz high;

	find_newest(derivation, series);
	high = series->newest;
	for (int i = 0; i < series->nchanges; i++)
		if (series->changes[i].was_closed)
			high = Max(high, series->changes[i].ts);
	if (high == series->untouched)
		return false;
	low = candle_start(rollup->target, Max(series->untouched, MIN_TIME) - delay);
	high = candle_start(rollup->target, high - delay);
	if (low < high)
		add_span(series, low, high);
	return low < high;
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

/*
 * Keeps a bar for writing, unless it is what is stored already, or a supplied one is. The
 * first week and the first three days of all begin before the first time that a candle can
 * have.
 */
static void
keep_bar(Derivation *derivation, Candle *bar, const Candle *stored)
{
	if (stored == NULL ? bar->sources == 0 || bar->ts < MIN_TIME :
		!stored->derived || same_values(stored, bar))
		return;
	if (derivation->nbars == derivation->space)
	{
		derivation->space = Max(2 * derivation->space, 64);
		derivation->bars = derivation->bars == NULL ?
			palloc(sizeof(Candle) * derivation->space) :
			repalloc_huge(derivation->bars, sizeof(Candle) * derivation->space);
	}
	if (stored != NULL)
		bar->tid = stored->tid;
	derivation->bars[derivation->nbars++] = *bar;
}

/*
 * Derives the candles of a span, walking along the source candles and along what is stored
 * of the target.
 */
static void
derive_span(Derivation *derivation, Series *series, const Span *span)
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
			return;
		end = candle_end(rollup->target, bar.ts);
		while (has_source && source.ts < end)
		{
			add_source(&bar, &source, &nclosed);
			if (source.closed && source.ts < series->first_closed)
				series->anchor = source.ts;
			has_source = next_candle(&derivation->sources, ForwardScanDirection, &source);
		}
		derivation->nsources += bar.sources;
		bar.closed = nclosed == count_candles(rollup->source, bar.ts, end) ||
			is_followed(derivation, series, has_source ? &source : NULL, end + delay);
		if (has_stored && stored.ts == bar.ts)
		{
			keep_bar(derivation, &bar, &stored);
			has_stored = next_candle(&derivation->targets, ForwardScanDirection, &stored);
		}
		else
			keep_bar(derivation, &bar, NULL);
		CHECK_FOR_INTERRUPTS();
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

/* Candles that came for a period of which the sweeper has taken some. */
typedef struct Late
{
	text	   *symbol;
	Timeframe	timeframe;
	int64		number;
} Late;

static void
list_late(const Rollup *rollup, const Series *series, Timeframe timeframe, TimestampTz horizon,
		  List **list)
{
	Late	   *late = palloc0(sizeof(Late));

	for (int i = 0; i < series->nchanges; i++)
		if (series->changes[i].arrived &&
			candle_start(rollup->target, series->changes[i].ts) < horizon)
			late->number++;
	if (late->number == 0)
		return;
	late->symbol = DatumGetTextPCopy(PointerGetDatum(series->symbol));
	late->timeframe = timeframe;
	*list = lappend(*list, late);
}

static int
compare_late(const ListCell *left, const ListCell *right)
{
	const Late *a = lfirst(left);
	const Late *b = lfirst(right);

	if (a->timeframe != b->timeframe)
		return a->timeframe < b->timeframe ? -1 : 1;
	return compare_text(a->symbol, b->symbol);
}

static void
add_late_number(const Late *late)
{
	Datum		values[] = {PointerGetDatum(late->symbol), TimeframeGetDatum(late->timeframe),
	Int64GetDatum(late->number)};

	(void) execute_latest(&add_late, values);
}

/* Last of all: retention locks candles before horizons, too. */
void
count_late(List *late)
{
	OwnerScope	scope;
	ListCell   *cell;

	if (late == NIL)
		return;
	list_sort(late, compare_late);
	enter_extension(&scope);
	SPI_connect();
	foreach(cell, late)
	{
		const Late *one = lfirst(cell);

		/* Of several rollups of one source, the one that left out most. */
		if (lnext(late, cell) != NULL && compare_late(cell, lnext(late, cell)) == 0)
		{
			Late	   *next = lfirst(lnext(late, cell));

			next->number = Max(next->number, one->number);
			continue;
		}
		add_late_number(one);
	}
	SPI_finish();
	leave_owner(&scope);
}

/* Leaves frozen candles as they are.  Bars stand in the order of their series. */
static void
drop_frozen(Derivation *derivation, const Series *series, int nseries, List **late)
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
			list_late(rollup, &series[i],
					  of_source == horizon ? rollup->source : rollup->target, horizon, late);
	}
	derivation->nbars = kept;
	probe_end(&probe);
}

/* What is to be done to a bar. */
typedef enum BarWrite
{
	BAR_DELETE,
	BAR_UPDATE,
	BAR_INSERT
} BarWrite;

static BarWrite
write_of(const Candle *bar)
{
	if (bar->sources == 0)
		return BAR_DELETE;
	return ItemPointerIsValid(&bar->tid) ? BAR_UPDATE : BAR_INSERT;
}

/* What is made of good candles is good, but for a sum that is too large. */
static void
check_sum(const Candle *bar)
{
	if (isfinite(bar->volume))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_TRADEKEEP_CANDLE),
			 errmsg("volume of the %s candle of %s at %s is out of range",
					timeframe_name(bar->timeframe), text_to_cstring(bar->symbol),
					timestamptz_to_str(bar->ts)),
			 errdetail("It is the sum over its %d candles.", bar->sources)));
}

/*
 * Writes the bars in the order of their keys, in which others write supplied ones: those
 * that follow each other and want the same are done by one statement.  The triggers collect
 * them for the rollups that they are sources of.
 */
static void
write_bars(Derivation *derivation)
{
	static void (*const writers[]) (const Candle **, int) = {
		[BAR_DELETE] = delete_derived,[BAR_UPDATE] = update_derived,[BAR_INSERT] = insert_derived
	};
	const Candle **bars = palloc(sizeof(Candle *) * derivation->nbars);

	for (int i = 0, n; i < derivation->nbars; i += n)
	{
		BarWrite	write = write_of(&derivation->bars[i]);

		for (n = 0; n < WRITE_BATCH && i + n < derivation->nbars &&
			 write_of(&derivation->bars[i + n]) == write; n++)
		{
			bars[n] = &derivation->bars[i + n];
			check_sum(bars[n]);
		}
		writers[write] (bars, n);
	}
}

/*
 * With the rights of the extension's owner: who may write candles need not be able to
 * delete some.
 */
static void
store_bars(Derivation *derivation)
{
	int			outer = deriving_depth;
	OwnerScope	scope;

	if (derivation->nbars == 0)
		return;
	enter_extension(&scope);
	SPI_connect();
	deriving_depth = trigger_depth();
	PG_TRY();
	{
		write_bars(derivation);
	}
	PG_FINALLY();
	{
		deriving_depth = outer;
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
	if (derivation->ends_begun)
		probe_end(&derivation->ends);
}

/* The statement opened no candle, and closed some of one period only, or none. */
static bool
is_plain(const Rollup *rollup, Series *series)
{
	series->first_closed = DT_NOEND;
	series->anchor = DT_NOBEGIN;
	for (int i = 0; i < series->nchanges; i++)
	{
		const Change *change = &series->changes[i];

		if (change->was_closed)
			return false;
		if (change->is_closed && series->first_closed == DT_NOEND)
			series->first_closed = change->ts;
		if (change->is_closed &&
			change->ts >= candle_end(rollup->target, series->first_closed))
			return false;
	}
	return true;
}

static void
derive_spans(Derivation *derivation, Series *series)
{
	merge_spans(series);
	for (int i = 0; i < series->nspans; i++)
		derive_span(derivation, series, &series->spans[i]);
}

/*
 * Mostly one closed candle follows others of its period: then no other candle closes by
 * it, and there is no need to look for the newest one.
 */
static void
derive_series(Derivation *derivation, Series *series)
{
	const Rollup *rollup = derivation->rollup;
	int			nbars = derivation->nbars;

	if (is_plain(rollup, series))
	{
		derive_spans(derivation, series);
		if (series->first_closed == DT_NOEND ||
			(closing_delay(rollup) == 0 &&
			 series->anchor >= candle_start(rollup->target, series->first_closed)))
			return;
		if (!add_closing(derivation, series))
			return;
		derivation->nbars = nbars;
	}
	else
		(void) add_closing(derivation, series);
	derive_spans(derivation, series);
}

void
derive_changed(const Rollup *rollup, int nrollups, Series *series, int nseries, List **late)
{
	Derivation	derivation;

	lock_all_series(rollup, series, nseries, nrollups);
	CommandCounterIncrement();
	begin_derivation(&derivation, rollup);
	for (int i = 0; i < nseries; i++)
		derive_series(&derivation, &series[i]);
	end_probes(&derivation);
	drop_frozen(&derivation, series, nseries, late);
	store_bars(&derivation);
}

int64
derive_again(const Rollup *rollup, text *symbol, const Span *span, int64 *sources)
{
	Series		series = {.symbol = symbol};
	Derivation	derivation;
	List	   *late = NIL;

	add_span(&series, span->from, span->to);
	lock_all_series(rollup, &series, 1, 1);
	begin_derivation(&derivation, rollup);
	derive_spans(&derivation, &series);
	end_probes(&derivation);
	*sources = derivation.nsources;
	drop_frozen(&derivation, &series, 1, &late);
	store_bars(&derivation);
	return derivation.nbars;
}
