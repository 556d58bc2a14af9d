/*
 * rollup.c
 *		Timeframes derived from finer ones: what is derived from what, and which candles a
 *		statement leaves to be derived anew.
 *
 * Triggers for each statement on tradekeep.candle, which exist while there are rollups, see all
 * that any client writes.  They only collect the keys of the rows: a statement may fire several
 * (ON CONFLICT DO UPDATE, MERGE, WITH), and all that it changed has to be known before anything is
 * derived from it.  That is done when the outermost statement that writes candles finishes, by
 * a hook of the executor; COPY, which is not run by the executor, fires one trigger only.
 *
 * Derivation goes through the rollups from the finest target to the coarsest.  Derived candles are
 * rows of the same table, so the same triggers collect them, and the next rollup finds them
 * with the rest of its sources.
 *
 * Candles of a target that somebody else than derivation took away or changed are made again
 * too.  Those that somebody inserts as derived were dumped because their sources are gone:
 * they move the horizon.
 */
#include "rollup.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "parser/parsetree.h"
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

/* So often triggers of users may interfere with the derivation of one statement. */
#define MAX_ROUNDS 100

bool		tradekeep_retention = false;

static Statement store_horizons = {
	.sql = "INSERT INTO tradekeep.candle_horizon AS h (symbol, timeframe, horizon)"
	" SELECT n.symbol, $2, n.horizon"
	" FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($3)) AS n(symbol, horizon)"
	" ON CONFLICT (symbol, timeframe) DO UPDATE SET horizon = greatest(h.horizon, excluded.horizon)",
	.nargs = 3,
	.argtypes = {TEXTARRAYOID, TIMEFRAMEOID, TIMESTAMPTZARRAYOID}
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
 * A handful of rows. Who changes them locks tradekeep.candle against writers first, so
 * that they are the same for all of a statement.
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

Oid
candle_relid(void)
{
	return get_relname_relid("candle", get_namespace_oid(TRADEKEEP_SCHEMA, true));
}

void
refuse_rollup(Timeframe target)
{
	Rollup	   *rollups;
	int			nrollups;

	/* As writers do, who keep a rollup from being added until they are done. */
	LockRelationOid(candle_relid(), RowExclusiveLock);
	nrollups = load_rollups(&rollups);
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
		LockRelationOid(candle_relid(), ShareRowExclusiveLock);
}

/* What was changed of one timeframe. */
typedef struct ChangeList
{
	Timeframe	timeframe;
	Change	   *items;
	int			length;
	int			space;
} ChangeList;

/* What statements changed, as far as it has to do with rollups. */
typedef struct Changes
{
	MemoryContext context;
	ChangeList	lists[MAX_TIMEFRAMES];
	int			nlists;
} Changes;

/*
 * Of the outermost statement that writes candles, and what is not derived yet; null:
 * nothing.
 */
static Changes *collected = NULL;

/* How many statements that write candles are being run, one inside the other. */
static int	writing = 0;

static ExecutorRun_hook_type next_run = NULL;
static ExecutorFinish_hook_type next_finish = NULL;

static ChangeList *
list_of(Changes *changes, Timeframe timeframe)
{
	for (int i = 0; i < changes->nlists; i++)
		if (changes->lists[i].timeframe == timeframe)
			return &changes->lists[i];
	changes->lists[changes->nlists].timeframe = timeframe;
	return &changes->lists[changes->nlists++];
}

static Changes *
make_changes(void)
{
	MemoryContext context = AllocSetContextCreate(TopTransactionContext, "tradekeep rollups",
												  ALLOCSET_DEFAULT_SIZES);
	Changes    *changes = MemoryContextAllocZero(context, sizeof(Changes));

	changes->context = context;
	return changes;
}

static void
discard_collected(void)
{
	if (collected != NULL)
		MemoryContextDelete(collected->context);
	collected = NULL;
}

/* The same symbol mostly comes many times in a row. */
static void
add_change(ChangeList *list, MemoryContext context, const Change *change)
{
	MemoryContext before = MemoryContextSwitchTo(context);
	const Change *last = list->length > 0 ? &list->items[list->length - 1] : NULL;
	bool		same = last != NULL && compare_text(last->symbol, change->symbol) == 0;
	text	   *symbol = same ? last->symbol : DatumGetTextPCopy(PointerGetDatum(change->symbol));

	if (list->length == list->space)
	{
		list->space = Max(2 * list->space, 64);
		list->items = list->items == NULL ? palloc(sizeof(Change) * list->space) :
			repalloc_huge(list->items, sizeof(Change) * list->space);
	}
	list->items[list->length] = *change;
	list->items[list->length++].symbol = symbol;
	MemoryContextSwitchTo(before);
}

static bool
has_rollup(const Rollup *rollups, int nrollups, Timeframe timeframe)
{
	for (int i = 0; i < nrollups; i++)
		if (rollups[i].source == timeframe || rollups[i].target == timeframe)
			return true;
	return false;
}

/* Adds the rows of a transition table. */
static void
collect_rows(Changes *changes, TriggerData *trigger, Tuplestorestate *rows, bool arrived,
			 const Rollup *rollups, int nrollups)
{
	bool		inserted = TRIGGER_FIRED_BY_INSERT(trigger->tg_event);
	TupleTableSlot *slot;

	if (rows == NULL)
		return;
	slot = MakeSingleTupleTableSlot(RelationGetDescr(trigger->tg_relation), &TTSOpsMinimalTuple);
	tuplestore_select_read_pointer(rows, 0);
	tuplestore_rescan(rows);
	while (tuplestore_gettupleslot(rows, true, false, slot))
	{
		Candle		candle;
		Change		change = {0};

		read_candle(slot, &candle);
		if (!has_rollup(rollups, nrollups, candle.timeframe))
			continue;
		change.subtransaction = GetCurrentSubTransactionId();
		change.symbol = candle.symbol;
		change.ts = candle.ts;
		change.was_closed = !arrived && candle.closed;
		change.is_closed = arrived && candle.closed;
		change.arrived = arrived;
		change.supplied = arrived && !candle.derived;
		change.invites = !is_deriving() && (!arrived || candle.derived);
		change.given = !is_deriving() && inserted ? candle.sources : 0;
		add_change(list_of(changes, candle.timeframe), changes->context, &change);
	}
	ExecDropSingleTupleTableSlot(slot);
}

static int
compare_changes(const void *left, const void *right)
{
	const Change *a = left;
	const Change *b = right;
	int			order = a->symbol == b->symbol ? 0 : compare_text(a->symbol, b->symbol);

	return order != 0 ? order : (a->ts > b->ts) - (a->ts < b->ts);
}

static void
sort_changes(ChangeList *list)
{
	qsort(list->items, list->length, sizeof(Change), compare_changes);
}

/* How many changes from one on are of its symbol. */
static int
count_symbol(const ChangeList *list, int first)
{
	const text *symbol = list->items[first].symbol;
	int			n = 1;

	while (first + n < list->length && (list->items[first + n].symbol == symbol ||
										compare_text(list->items[first + n].symbol, symbol) == 0))
		n++;
	return n;
}

static int
count_symbols(const ChangeList *list)
{
	int			nsymbols = 0;

	for (int i = 0; i < list->length; i += count_symbol(list, i))
		nsymbols++;
	return nsymbols;
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

/* Candles of a timeframe went by retention: of each symbol up to the last of them. */
static void
move_horizons(ChangeList *list)
{
	Datum	   *symbols = palloc(sizeof(Datum) * list->length);
	Datum	   *horizons = palloc(sizeof(Datum) * list->length);
	Datum		values[3];
	int			nsymbols = 0;

	if (list->length == 0)
		return;
	sort_changes(list);
	for (int i = 0, n; i < list->length; i += n)
	{
		n = count_symbol(list, i);
		symbols[nsymbols] = PointerGetDatum(list->items[i].symbol);
		horizons[nsymbols++] = TimestampTzGetDatum(candle_end(list->timeframe,
															  list->items[i + n - 1].ts));
	}
	values[0] = array_datum(symbols, nsymbols, TEXTOID);
	values[1] = TimeframeGetDatum(list->timeframe);
	values[2] = array_datum(horizons, nsymbols, TIMESTAMPTZOID);
	run_as_owner(&store_horizons, values);
}

/* Derived candles of a target came from elsewhere: those whose sources are gone are frozen. */
static void
keep_given(const ChangeList *list)
{
	Datum	   *columns[4];
	Datum		values[5];
	int			ngiven = 0;
	int			n = 0;

	for (int i = 0; i < list->length; i++)
		ngiven += list->items[i].given > 0;
	if (ngiven == 0)
		return;
	for (int i = 0; i < lengthof(columns); i++)
		columns[i] = palloc(sizeof(Datum) * ngiven);
	for (int i = 0; i < list->length; i++)
	{
		const Change *change = &list->items[i];

		if (change->given == 0)
			continue;
		columns[0][n] = PointerGetDatum(change->symbol);
		columns[1][n] = TimestampTzGetDatum(change->ts);
		columns[2][n] = BoolGetDatum(change->is_closed);
		columns[3][n++] = Int32GetDatum(change->given);
	}
	values[0] = TimeframeGetDatum(list->timeframe);
	values[1] = array_datum(columns[0], n, TEXTOID);
	values[2] = array_datum(columns[1], n, TIMESTAMPTZOID);
	values[3] = array_datum(columns[2], n, BOOLOID);
	values[4] = array_datum(columns[3], n, INT4OID);
	run_as_owner(&keep_frozen, values);
}

/*
 * Where a supplied candle stands now, derivation has nothing to do. It would also wait for
 * a series that waits for this row.
 */
static void
settle_invitations(ChangeList *list)
{
	for (int i = 0, n; i < list->length; i += n)
	{
		Change	   *first = &list->items[i];
		bool		supplied = first->supplied;

		for (n = 1; i + n < list->length && compare_changes(first, first + n) == 0; n++)
			supplied |= first[n].supplied;
		for (int j = 0; supplied && j < n; j++)
			first[j].invites = false;
	}
}

/*
 * Adds the changes of a symbol from the first on: all of the source, of the target those
 * that invite.
 */
static void
add_spans(Series *series, const Rollup *rollup, const Change *changes, int nchanges, bool all)
{
	for (int i = 0; i < nchanges; i++)
		if (all || changes[i].invites)
			add_span(series, candle_start(rollup->target, changes[i].ts),
					 candle_end(rollup->target, changes[i].ts));
}

/* Goes through the changes of source and target side by side, symbol by symbol. */
static void
roll_changes(const Rollup *rollup, int nrollups, ChangeList *sources, ChangeList *targets,
			 List **late)
{
	Series	   *series;
	int			nseries = 0;
	int			source = 0;
	int			target = 0;

	sort_changes(sources);
	sort_changes(targets);
	settle_invitations(targets);
	series = palloc0(sizeof(Series) * (count_symbols(sources) + count_symbols(targets) + 1));
	while (source < sources->length || target < targets->length)
	{
		Series	   *one = &series[nseries];
		int			order = source == sources->length ? 1 : target == targets->length ? -1 :
		compare_text(sources->items[source].symbol, targets->items[target].symbol);

		one->symbol = order <= 0 ? sources->items[source].symbol : targets->items[target].symbol;
		if (order <= 0)
		{
			one->changes = &sources->items[source];
			one->nchanges = count_symbol(sources, source);
			add_spans(one, rollup, one->changes, one->nchanges, true);
			source += one->nchanges;
		}
		if (order >= 0)
		{
			int			n = count_symbol(targets, target);

			add_spans(one, rollup, &targets->items[target], n, false);
			target += n;
		}
		if (one->nspans > 0)
			nseries++;
		else
			memset(one, 0, sizeof(Series));
	}
	if (nseries > 0)
		derive_changed(rollup, nrollups, series, nseries, late);
	pfree(series);
}

/*
 * What derivation wrote of a target is source of the rollups to come. Whatever else was
 * changed meanwhile, by triggers of users, waits for the next round.
 */
static void
take_derived(Changes *changes, Timeframe target)
{
	ChangeList *from;
	ChangeList *to = list_of(changes, target);
	int			kept = 0;

	if (collected == NULL)
		return;
	from = list_of(collected, target);
	for (int i = 0; i < from->length; i++)
	{
		if (from->items[i].invites)
			from->items[kept++] = from->items[i];
		else
			add_change(to, changes->context, &from->items[i]);
	}
	from->length = kept;
}

static bool
is_empty(const Changes *changes)
{
	for (int i = 0; i < changes->nlists; i++)
		if (changes->lists[i].length > 0)
			return false;
	return true;
}

/* Derives all that follows from what was collected, and from what is written by that. */
static void
derive_collected(void)
{
	List	   *late = NIL;
	Rollup	   *rollups;
	int			nrollups = load_rollups(&rollups);

	for (int round = 1; collected != NULL; round++)
	{
		Changes    *changes = collected;

		if (round > MAX_ROUNDS)
			ereport(ERROR,
					(errcode(ERRCODE_STATEMENT_TOO_COMPLEX),
					 errmsg("candles were not all derived after %d rounds", MAX_ROUNDS),
					 errhint("Look for triggers on tradekeep.candle that change derived candles.")));

		collected = NULL;
		for (int i = 0; i < nrollups; i++)
			keep_given(list_of(changes, rollups[i].target));
		for (int i = 0; i < nrollups; i++)
		{
			roll_changes(&rollups[i], nrollups, list_of(changes, rollups[i].source),
						 list_of(changes, rollups[i].target), &late);
			take_derived(changes, rollups[i].target);
		}
		MemoryContextDelete(changes->context);
		if (collected != NULL && is_empty(collected))
			discard_collected();
	}
	count_late(late);
}

/* The outermost statement is over. */
static void
finish_collecting(void)
{
	PG_TRY();
	{
		derive_collected();
	}
	PG_CATCH();
	{
		discard_collected();
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/* Does a statement write candles? */
static bool
writes_candles(const QueryDesc *query)
{
	const PlannedStmt *plan = query->plannedstmt;
	ListCell   *cell;
	Oid			relid;

	if (plan->resultRelations == NIL)
		return false;
	relid = candle_relid();
	foreach(cell, plan->resultRelations)
	{
		if (OidIsValid(relid) && rt_fetch(lfirst_int(cell), plan->rtable)->relid == relid)
			return true;
	}
	return false;
}

static void
run_next(QueryDesc *query, ScanDirection direction, uint64 count EXECUTE_ONCE_PARAMETER)
{
	if (next_run != NULL)
		next_run(query, direction, count EXECUTE_ONCE_ARGUMENT);
	else
		standard_ExecutorRun(query, direction, count EXECUTE_ONCE_ARGUMENT);
}

static void
finish_next(QueryDesc *query)
{
	if (next_finish != NULL)
		next_finish(query);
	else
		standard_ExecutorFinish(query);
}

static void
run_statement_hook(QueryDesc *query, ScanDirection direction, uint64 count EXECUTE_ONCE_PARAMETER)
{
	int			outer = writing;

	if (!writes_candles(query))
	{
		run_next(query, direction, count EXECUTE_ONCE_ARGUMENT);
		return;
	}
	writing++;
	PG_TRY();
	{
		run_next(query, direction, count EXECUTE_ONCE_ARGUMENT);
	}
	PG_CATCH();
	{
		writing = outer;
		if (outer == 0)
			discard_collected();
		PG_RE_THROW();
	}
	PG_END_TRY();
	writing = outer;
}

/* The triggers fire here; when those of the outermost statement have, all is known. */
static void
finish_statement_hook(QueryDesc *query)
{
	int			outer = writing;

	if (!writes_candles(query))
	{
		finish_next(query);
		return;
	}
	writing++;
	PG_TRY();
	{
		finish_next(query);
		if (outer == 0)
			derive_collected();
	}
	PG_CATCH();
	{
		writing = outer;
		if (outer == 0)
			discard_collected();
		PG_RE_THROW();
	}
	PG_END_TRY();
	writing = outer;
}

/* What nested statements left when the outermost one failed outside of the executor. */
static void
end_transaction(XactEvent event, void *arg)
{
	/* The memory goes with the transaction. */
	if (event == XACT_EVENT_ABORT)
	{
		collected = NULL;
		writing = 0;
	}
}

/* What a nested statement changed, and a block of PL/pgSQL took back. */
static void
end_subtransaction(SubXactEvent event, SubTransactionId id, SubTransactionId parent, void *arg)
{
	if (event != SUBXACT_EVENT_ABORT_SUB || collected == NULL)
		return;
	for (int i = 0; i < collected->nlists; i++)
	{
		ChangeList *list = &collected->lists[i];
		int			kept = 0;

		for (int j = 0; j < list->length; j++)
			if (list->items[j].subtransaction < id)
				list->items[kept++] = list->items[j];
		list->length = kept;
	}
}

void
rollup_init(void)
{
	RegisterXactCallback(end_transaction, NULL);
	RegisterSubXactCallback(end_subtransaction, NULL);
	next_run = ExecutorRun_hook;
	ExecutorRun_hook = run_statement_hook;
	next_finish = ExecutorFinish_hook;
	ExecutorFinish_hook = finish_statement_hook;
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

static int
compare_lists(const void *left, const void *right)
{
	const ChangeList *a = left;
	const ChangeList *b = right;

	return (a->timeframe > b->timeframe) - (a->timeframe < b->timeframe);
}

/*
 * Deleting by retention takes nothing along; what is derived stays as it is. Horizons are
 * locked in one order, by timeframe and symbol.
 */
static void
retain(TriggerData *trigger, const Rollup *rollups, int nrollups)
{
	Changes    *deleted = make_changes();

	collect_rows(deleted, trigger, trigger->tg_oldtable, false, rollups, nrollups);
	qsort(deleted->lists, deleted->nlists, sizeof(ChangeList), compare_lists);
	for (int i = 0; i < deleted->nlists; i++)
		move_horizons(&deleted->lists[i]);
	MemoryContextDelete(deleted->context);
}

/* Collects the rows that a statement inserted, updated or deleted. */
Datum
tradekeep_roll_candles(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	Rollup	   *rollups;
	int			nrollups;

	check_trigger(fcinfo);
	nrollups = load_rollups(&rollups);
	if (nrollups == 0)
		PG_RETURN_POINTER(NULL);
	if (tradekeep_retention && TRIGGER_FIRED_BY_DELETE(trigger->tg_event) && !is_deriving())
	{
		retain(trigger, rollups, nrollups);
		PG_RETURN_POINTER(NULL);
	}
	if (collected == NULL)
		collected = make_changes();
	collect_rows(collected, trigger, trigger->tg_oldtable, false, rollups, nrollups);
	collect_rows(collected, trigger, trigger->tg_newtable, true, rollups, nrollups);
	/* Not run by the executor, or the hook is younger than the statement. */
	if (writing == 0)
		finish_collecting();
	PG_RETURN_POINTER(NULL);
}

/* The start of the candle of the target that contains a time, which may be infinite. */
static TimestampTz
span_argument(FunctionCallInfo fcinfo, int argno, Timeframe target, const char *name)
{
	TimestampTz ts = PG_GETARG_TIMESTAMPTZ(argno);

	if (TIMESTAMP_IS_NOEND(ts))
		return ts;
	if (TIMESTAMP_IS_NOBEGIN(ts))
		ts = MIN_TIME;
	check_time(Min(ts, END_TIME - 1), name);
	return candle_start(target, Min(ts, END_TIME - 1));
}

/* derive_candles(target, symbol, since, until) -> (sources, written) */
Datum
tradekeep_derive_candles(PG_FUNCTION_ARGS)
{
	Timeframe	target = PG_GETARG_TIMEFRAME(0);
	text	   *symbol = key_argument(fcinfo, 1, "symbol");
	Span		span = {span_argument(fcinfo, 2, target, "since"),
	span_argument(fcinfo, 3, target, "until")};
	Rollup	   *rollups;
	int			nrollups = load_rollups(&rollups);
	TupleDesc	desc;
	Datum		values[2];
	bool		nulls[2] = {false};
	int64		sources;

	require_writable("tradekeep.derive_candles");
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	for (int i = 0; i < nrollups; i++)
		if (rollups[i].target == target)
		{
			/* As writers do: whoever locks candle against them keeps us out, too. */
			LockRelationOid(candle_relid(), RowExclusiveLock);
			values[1] = Int64GetDatum(derive_again(&rollups[i], symbol, &span, &sources));
			values[0] = Int64GetDatum(sources);
			PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
		}
	ereport(ERROR,
			(errcode(ERRCODE_TRADEKEEP_ROLLUP),
			 errmsg("no rollup makes %s candles", timeframe_name(target))));
}
