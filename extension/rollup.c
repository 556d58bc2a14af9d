/*
 * rollup.c
 *		Timeframes derived from finer ones: what is derived from what, and which candles a
 *		statement leaves to be derived anew.
 *
 * Triggers for each statement on tradekeep.candle, which exist while there are rollups, see all
 * that any client writes.  They collect the keys of the rows and find, for each rollup,
 * the candles whose sources these are; rollup_derive.c makes those.  Derived candles are rows of the
 * same table, and so the next rollup follows by the same triggers.
 *
 * Candles of a target that somebody else than derivation took away or changed are made again
 * too.  Those that somebody inserts as derived were dumped because their sources are gone:
 * they move the horizon.
 */
#include "rollup.h"

#include "access/table.h"
#include "access/tableam.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "input.h"
#include "owner.h"
#include "statement.h"

PG_FUNCTION_INFO_V1(tradekeep_timeframe_divides);
PG_FUNCTION_INFO_V1(tradekeep_roll_candles);
PG_FUNCTION_INFO_V1(tradekeep_derive_candles);

/* Columns of tradekeep.rollup. */
enum
{
	ROLLUP_TARGET = 1,
	ROLLUP_SOURCE,
	ROLLUP_GRACE
};

bool		tradekeep_retention = false;

static Statement store_horizons = {
	.sql = "INSERT INTO tradekeep.candle_horizon AS h (symbol, timeframe, horizon)"
	" SELECT * FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3))"
	" ON CONFLICT (symbol, timeframe) DO UPDATE SET horizon = greatest(h.horizon, excluded.horizon)",
	.nargs = 3,
	.argtypes = {TEXTARRAYOID, TIMEFRAMEARRAYOID, TIMESTAMPTZARRAYOID}
};
static Statement keep_frozen = {
	.sql = "SELECT tradekeep.keep_frozen($1, $2, $3, $4, $5)",
	.nargs = 5,
	.argtypes = {TIMEFRAMEOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, BOOLARRAYOID, INT4ARRAYOID}
};

void
rollup_define_settings(void)
{
	DefineCustomBoolVariable("tradekeep.retention",
							 "While on, deleting candles is retention: what was derived from them stays.",
							 NULL, &tradekeep_retention, false, PGC_USERSET, 0, NULL, NULL, NULL);
}

Datum
tradekeep_timeframe_divides(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(timeframe_divides(PG_GETARG_TIMEFRAME(0), PG_GETARG_TIMEFRAME(1)));
}

static int
compare_rollups(const void *left, const void *right)
{
	const Rollup *a = left;
	const Rollup *b = right;

	return (a->target > b->target) - (a->target < b->target);
}

/*
 * A handful of rows.  Who changes them locks tradekeep.candle against writers first, so that they
 * are the same for all of a statement.
 */
int
load_rollups(Rollup **rollups)
{
	Oid			relid = get_relname_relid("rollup", get_namespace_oid(TRADEKEEP_SCHEMA, false));
	Relation	relation;
	TableScanDesc scan;
	TupleTableSlot *slot;
	Snapshot	snapshot;
	int			n = 0;
	int			space = 16;

	*rollups = palloc(sizeof(Rollup) * space);
	if (!OidIsValid(relid))
		return 0;				/* before 0.3.0 */
	relation = table_open(relid, AccessShareLock);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	slot = table_slot_create(relation, NULL);
	scan = table_beginscan(relation, snapshot, 0, NULL);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		Datum		values[ROLLUP_GRACE + 1];
		bool		isnull;

		for (int i = ROLLUP_TARGET; i <= ROLLUP_GRACE; i++)
			values[i] = slot_getattr(slot, i, &isnull);
		if (n == space)
			*rollups = repalloc(*rollups, sizeof(Rollup) * (space *= 2));
		(*rollups)[n++] = (Rollup)
		{
			.source = DatumGetTimeframe(values[ROLLUP_SOURCE]),
				.target = DatumGetTimeframe(values[ROLLUP_TARGET]),
				.grace = interval_to_usecs(DatumGetIntervalP(values[ROLLUP_GRACE]), "grace")
		};
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	table_close(relation, NoLock);
	qsort(*rollups, n, sizeof(Rollup), compare_rollups);
	return n;
}

void
refuse_rollup(Timeframe target)
{
	Rollup	   *rollups;
	int			nrollups = load_rollups(&rollups);

	for (int i = 0; i < nrollups; i++)
		if (rollups[i].target == target)
			ereport(ERROR,
					(errcode(ERRCODE_TRADEKEEP_ROLLUP),
					 errmsg("%s candles are derived from %s candles", timeframe_name(target),
							timeframe_name(rollups[i].source)),
					 errhint("Make candles of a timeframe from ticks, or from candles.")));
}

void
lock_mixed_batch(void)
{
	Rollup	   *rollups;

	if (load_rollups(&rollups) > 0)
		LockRelationOid(get_relname_relid("candle", get_namespace_oid(TRADEKEEP_SCHEMA, false)),
						ShareRowExclusiveLock);
}

/* What a statement changed, as far as it has to do with rollups. */
typedef struct Changes
{
	Change	   *list;
	int			length;
	int			space;
} Changes;

static bool
has_rollup(const Rollup *rollups, int nrollups, Timeframe timeframe)
{
	for (int i = 0; i < nrollups; i++)
		if (rollups[i].source == timeframe || rollups[i].target == timeframe)
			return true;
	return false;
}

/* The same symbol mostly comes many times in a row. */
static text *
keep_symbol(const Changes *changes, text *symbol)
{
	if (changes->length > 0)
	{
		text	   *last = changes->list[changes->length - 1].symbol;

		if (compare_text(last, symbol) == 0)
			return last;
	}
	return DatumGetTextPCopy(PointerGetDatum(symbol));
}

/* Adds the rows of a transition table. */
static void
collect_rows(Changes *changes, TriggerData *trigger, Tuplestorestate *rows, bool arrived,
			 const Rollup *rollups, int nrollups)
{
	bool		update = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event);
	TupleTableSlot *slot;

	if (rows == NULL)
		return;
	slot = MakeSingleTupleTableSlot(RelationGetDescr(trigger->tg_relation), &TTSOpsMinimalTuple);
	tuplestore_select_read_pointer(rows, 0);
	tuplestore_rescan(rows);
	while (tuplestore_gettupleslot(rows, true, false, slot))
	{
		Candle		candle;

		read_candle(slot, &candle);
		if (!has_rollup(rollups, nrollups, candle.timeframe))
			continue;
		if (changes->length == changes->space)
		{
			changes->space = Max(2 * changes->space, 64);
			changes->list = changes->list == NULL ? palloc(sizeof(Change) * changes->space) :
				repalloc_huge(changes->list, sizeof(Change) * changes->space);
		}
		changes->list[changes->length] = (Change)
		{
			.symbol = keep_symbol(changes, candle.symbol),.timeframe = candle.timeframe,
				.ts = candle.ts,.was_closed = !arrived && candle.closed,
				.is_closed = arrived && candle.closed,.arrived = arrived,
				.supplied = arrived && !candle.derived,
				.invites = !is_deriving() && (!arrived || candle.derived),
				.given = !is_deriving() && arrived && !update ? candle.sources : 0
		};
		changes->length++;
	}
	ExecDropSingleTupleTableSlot(slot);
}

static int
compare_changes(const void *left, const void *right)
{
	const Change *a = left;
	const Change *b = right;
	int			order = a->symbol == b->symbol ? 0 : compare_text(a->symbol, b->symbol);

	if (order != 0)
		return order;
	if (a->timeframe != b->timeframe)
		return a->timeframe < b->timeframe ? -1 : 1;
	return (a->ts > b->ts) - (a->ts < b->ts);
}

static bool
same_series(const Change *a, const Change *b)
{
	return a->timeframe == b->timeframe &&
		(a->symbol == b->symbol || compare_text(a->symbol, b->symbol) == 0);
}

static Datum
array_of(Datum *values, int n, Oid type)
{
	int16		length;
	bool		byval;
	char		align;

	get_typlenbyvalalign(type, &length, &byval, &align);
	return PointerGetDatum(construct_array(values, n, type, length, byval, align));
}

static void
run_as_owner(Statement *statement, Datum *values)
{
	OwnerScope	scope;

	enter_extension(&scope);
	SPI_connect();
	(void) execute_latest(statement, values);
	SPI_finish();
	leave_owner(&scope);
}

/* Candles of each series went, up to the last of them. */
static void
move_horizons(const Changes *changes)
{
	Datum	   *symbols = palloc(sizeof(Datum) * changes->length);
	Datum	   *timeframes = palloc(sizeof(Datum) * changes->length);
	Datum	   *horizons = palloc(sizeof(Datum) * changes->length);
	Datum		values[3];
	int			n = 0;

	for (int i = 0; i < changes->length; i++)
	{
		const Change *change = &changes->list[i];

		if (i + 1 < changes->length && same_series(change, change + 1))
			continue;
		symbols[n] = PointerGetDatum(change->symbol);
		timeframes[n] = TimeframeGetDatum(change->timeframe);
		horizons[n++] = TimestampTzGetDatum(candle_end(change->timeframe, change->ts));
	}
	values[0] = array_of(symbols, n, TEXTOID);
	values[1] = array_of(timeframes, n, timeframe_type());
	values[2] = array_of(horizons, n, TIMESTAMPTZOID);
	run_as_owner(&store_horizons, values);
}

/*
 * Where a supplied candle stands now, derivation has nothing to do.  It would also wait for a series that
 * waits for this row.
 */
static void
settle_invitations(Changes *changes)
{
	for (int i = 0, n; i < changes->length; i += n)
	{
		Change	   *first = &changes->list[i];
		bool		supplied = first->supplied;

		for (n = 1; i + n < changes->length && compare_changes(first, first + n) == 0; n++)
			supplied |= first[n].supplied;
		for (int j = 0; supplied && j < n; j++)
			first[j].invites = false;
	}
}

/* Derived candles came from elsewhere: those whose sources are not there are frozen. */
static void
keep_given(const Changes *changes, Timeframe target)
{
	Datum	   *symbols = palloc(sizeof(Datum) * changes->length);
	Datum	   *starts = palloc(sizeof(Datum) * changes->length);
	Datum	   *closed = palloc(sizeof(Datum) * changes->length);
	Datum	   *sources = palloc(sizeof(Datum) * changes->length);
	Datum		values[5];
	int			n = 0;

	for (int i = 0; i < changes->length; i++)
	{
		const Change *change = &changes->list[i];

		if (change->given == 0 || change->timeframe != target)
			continue;
		symbols[n] = PointerGetDatum(change->symbol);
		starts[n] = TimestampTzGetDatum(change->ts);
		closed[n] = BoolGetDatum(change->is_closed);
		sources[n++] = Int32GetDatum(change->given);
	}
	if (n == 0)
		return;
	values[0] = TimeframeGetDatum(target);
	values[1] = array_of(symbols, n, TEXTOID);
	values[2] = array_of(starts, n, TIMESTAMPTZOID);
	values[3] = array_of(closed, n, BOOLOID);
	values[4] = array_of(sources, n, INT4OID);
	run_as_owner(&keep_frozen, values);
}

/* Adds the changes of one symbol and timeframe to what a rollup has to do for the symbol. */
static void
add_changes(Series *series, const Rollup *rollup, const Change *changes, int nchanges)
{
	if (changes->timeframe == rollup->source)
	{
		series->changes = changes;
		series->nchanges = nchanges;
	}
	for (int i = 0; i < nchanges; i++)
		if (changes->timeframe == rollup->source || changes[i].invites)
			add_span(series, candle_start(rollup->target, changes[i].ts),
					 candle_end(rollup->target, changes[i].ts));
}

static void
roll_changes(const Rollup *rollup, int nrollups, const Changes *changes)
{
	Series	   *series = palloc0(sizeof(Series) * changes->length);
	int			nseries = 0;

	for (int i = 0, n; i < changes->length; i += n)
	{
		const Change *first = &changes->list[i];
		Series	   *last = nseries > 0 ? &series[nseries - 1] : NULL;

		for (n = 1; i + n < changes->length && same_series(first, first + n);)
			n++;
		if (first->timeframe != rollup->source && first->timeframe != rollup->target)
			continue;
		if (last == NULL || compare_text(last->symbol, first->symbol) != 0)
		{
			last = &series[nseries++];
			last->symbol = first->symbol;
		}
		add_changes(last, rollup, first, n);
		if (last->nspans == 0)
			nseries--;
	}
	if (nseries > 0)
		derive_changed(rollup, nrollups, series, nseries);
}

static void
check_trigger(FunctionCallInfo fcinfo)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(trigger->tg_event) ||
		TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		strcmp(RelationGetRelationName(trigger->tg_relation), "candle") != 0 ||
		RelationGetNamespace(trigger->tg_relation) != get_namespace_oid(TRADEKEEP_SCHEMA, true))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("roll_candles is for statements on tradekeep.candle alone")));
}

/* Derives what follows from the rows that a statement inserted, updated or deleted. */
Datum
tradekeep_roll_candles(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	Changes		changes = {0};
	Rollup	   *rollups;
	int			nrollups;

	check_trigger(fcinfo);
	nrollups = load_rollups(&rollups);
	collect_rows(&changes, trigger, trigger->tg_oldtable, false, rollups, nrollups);
	collect_rows(&changes, trigger, trigger->tg_newtable, true, rollups, nrollups);
	if (changes.length == 0)
		PG_RETURN_POINTER(NULL);
	qsort(changes.list, changes.length, sizeof(Change), compare_changes);
	if (tradekeep_retention && TRIGGER_FIRED_BY_DELETE(trigger->tg_event) && !is_deriving())
	{
		move_horizons(&changes);
		PG_RETURN_POINTER(NULL);
	}
	settle_invitations(&changes);
	for (int i = 0; i < nrollups; i++)
		keep_given(&changes, rollups[i].target);
	for (int i = 0; i < nrollups; i++)
		roll_changes(&rollups[i], nrollups, &changes);
	PG_RETURN_POINTER(NULL);
}

/* derive_candles(target, symbol, since, max_sources) -> (until, sources, written) */
Datum
tradekeep_derive_candles(PG_FUNCTION_ARGS)
{
	Timeframe	target = PG_GETARG_TIMEFRAME(0);
	text	   *symbol = key_argument(fcinfo, 1, "symbol");
	TimestampTz since = PG_GETARG_TIMESTAMPTZ(2);
	int64		max_sources = Max(PG_GETARG_INT32(3), 1);
	int64		left = max_sources;
	Rollup	   *rollups;
	int			nrollups = load_rollups(&rollups);
	TupleDesc	desc;
	Datum		values[3];
	bool		nulls[3] = {false};
	int64		written = 0;

	require_writable("tradekeep.derive_candles");
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (since != DT_NOBEGIN)
		check_time(since, "since");
	for (int i = 0; i < nrollups; i++)
		if (rollups[i].target == target)
		{
			TimestampTz until = derive_from(&rollups[i], symbol, since, &left, &written);

			nulls[0] = until == DT_NOEND;
			values[0] = TimestampTzGetDatum(until);
			values[1] = Int64GetDatum(max_sources - left);
			values[2] = Int64GetDatum(written);
			PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
		}
	ereport(ERROR,
			(errcode(ERRCODE_TRADEKEEP_ROLLUP),
			 errmsg("no rollup makes %s candles", timeframe_name(target))));
}
