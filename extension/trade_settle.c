/*
 * trade_settle.c
 *		Settling: making the summaries of marked days, and of their months, anew.
 *
 * A step settles one month under one snapshot.  Of each marked day it reads the trades, or, where
 * all that was touched lies behind the last one in the summary, those behind it; it stores their
 * runs, for all trades and for each value of each dimension, and deletes exactly the
 * marks that its snapshot saw.  A mark that comes later than the snapshot stays, and so does
 * the truth.
 *
 * Today is settled up to a moment ago, as trades that are about to be committed would otherwise
 * come before the end of a summary that is just made; a mark is left for what was left out, and one
 * that lies behind it waits.  How long a moment is depends on how late trades came before.
 *
 * A month is summed up from its days once it is over.  A month in which nothing is settled after
 * it ended is found at the next step, as the last one before the present.
 *
 * A lock keeps two from settling at a time; the worker, when it is second, goes home.  Nobody else
 * waits for it.  Summaries that an old snapshot does not see were made by a transaction that
 * changed the row of trade_settling, too: who comes with such a snapshot fails with 40001.
 */
#include "trade.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "input.h"
#include "lock.h"
#include "owner.h"

PG_FUNCTION_INFO_V1(tradekeep_settle_trade_stats);
PG_FUNCTION_INFO_V1(tradekeep_settle_trades);
PG_FUNCTION_INFO_V1(tradekeep_rebuild_trade_stats);

/* At the ends of a window, so many trades and a few more are read, however many a day has. */
#define PART_TRADES		256

/*
 * How late a trade may come, after its closed_at, without making us read its day again: as late as
 * the latest one that did, within these bounds, and from then on a little less with each step.
 */
#define SHORTEST_LAG	INT64CONST(50000)
#define LONGEST_LAG		INT64CONST(10000000)
#define LAG_DECAY		10000

#define WHERE_IN_SPAN(alias) \
	" WHERE " alias ".span OPERATOR(pg_catalog.=) $1 AND " alias ".start OPERATOR(pg_catalog.>=) $2" \
	" AND " alias ".start OPERATOR(pg_catalog.<) $3"

static Statement select_spans = {
	.sql = "SELECT " SPAN_COLUMN_LIST " FROM tradekeep.trade_span AS s" WHERE_IN_SPAN("s")
	" ORDER BY s.start",
	.nargs = 3,
	.argtypes = {CHAROID, TIMESTAMPOID, TIMESTAMPOID}
};
static Statement delete_spans = {
	.sql = "DELETE FROM tradekeep.trade_span AS s" WHERE_IN_SPAN("s"),
	.nargs = 3,
	.argtypes = {CHAROID, TIMESTAMPOID, TIMESTAMPOID}
};
static Statement upsert_span = {
	.sql = "INSERT INTO tradekeep.trade_span (" SPAN_COLUMN_LIST ") VALUES ($1, $2, $3, $4, $5, $6,"
	" $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25)"
	" ON CONFLICT (dimension, value, span, start) DO UPDATE SET trades = excluded.trades,"
	" wins = excluded.wins, losses = excluded.losses, held = excluded.held,"
	" first_at = excluded.first_at, last_at = excluded.last_at, total = excluded.total,"
	" profit = excluded.profit, loss = excluded.loss, squares = excluded.squares,"
	" best = excluded.best, worst = excluded.worst, peak = excluded.peak, low = excluded.low,"
	" drawdown = excluded.drawdown, drawdown_peak = excluded.drawdown_peak,"
	" holding = excluded.holding, day_squares = excluded.day_squares,"
	" day_loss_squares = excluded.day_loss_squares, symbols = excluded.symbols,"
	" symbol_pnl = excluded.symbol_pnl",
	.nargs = 25,
	.argtypes = {TEXTOID, TEXTOID, CHAROID, TIMESTAMPOID, INT8OID, INT8OID, INT8OID, INT8OID,
		TIMESTAMPTZOID, TIMESTAMPTZOID, NUMERICOID, NUMERICOID, NUMERICOID, NUMERICOID, NUMERICOID,
		NUMERICOID, NUMERICOID, NUMERICOID, NUMERICOID, NUMERICOID, NUMERICOID, NUMERICOID,
	NUMERICOID, TEXTARRAYOID, NUMERICARRAYOID}
};
static Statement delete_marks = {
	.sql = "DELETE FROM tradekeep.trade_mark AS m WHERE m.first OPERATOR(pg_catalog.>=) $1"
	" AND m.first OPERATOR(pg_catalog.<) $2"
	" AND (m.first OPERATOR(pg_catalog.<) $3 OR m.first OPERATOR(pg_catalog.>=) $4)",
	.nargs = 4,
	.argtypes = {TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
};
static Statement select_first_trade = {
	.sql = "SELECT pg_catalog.min(t.closed_at) FROM tradekeep.trade AS t"
	" WHERE t.closed_at OPERATOR(pg_catalog.>=) $1 AND t.closed_at OPERATOR(pg_catalog.<) $2",
	.nargs = 2,
	.argtypes = {TIMESTAMPTZOID, TIMESTAMPTZOID}
};

/* The last month before $1 with trades, if it is not summed up. */
static Statement select_unbuilt = {
	.sql = "SELECT l.month FROM (SELECT pg_catalog.date_trunc('month', pg_catalog.max(s.start))"
	" AS month FROM tradekeep.trade_span AS s WHERE s.dimension OPERATOR(pg_catalog.=) ''"
	" AND s.value OPERATOR(pg_catalog.=) '' AND s.span OPERATOR(pg_catalog.=) 'd'"
	" AND s.start OPERATOR(pg_catalog.<) $1) AS l WHERE l.month IS NOT NULL AND NOT EXISTS ("
	"SELECT FROM tradekeep.trade_span AS s WHERE s.dimension OPERATOR(pg_catalog.=) ''"
	" AND s.value OPERATOR(pg_catalog.=) '' AND s.span OPERATOR(pg_catalog.=) 'm'"
	" AND s.start OPERATOR(pg_catalog.=) l.month)",
	.nargs = 1,
	.argtypes = {TIMESTAMPOID}
};
static Statement note_settling = {
	.sql = "UPDATE tradekeep.trade_settling SET settled_at = pg_catalog.clock_timestamp(), lag = $1",
	.nargs = 1,
	.argtypes = {INT8OID}
};
static Statement select_lag = {.sql = "SELECT s.lag FROM tradekeep.trade_settling AS s"};
static Statement enable_triggers = {.sql = "SELECT tradekeep.enable_trade_triggers()"};
static Statement delete_all_spans = {.sql = "DELETE FROM tradekeep.trade_span"};
static Statement mark_all_days = {
	.sql = "INSERT INTO tradekeep.trade_mark SELECT pg_catalog.min(t.closed_at)"
	" FROM tradekeep.trade AS t WHERE t.closed_at IS NOT NULL"
	" GROUP BY pg_catalog.date_bin('1 day', t.closed_at, '2000-01-01 00:00:00+00')"
};

/* The runs of a day or a month. */
typedef struct Settling
{
	TimestampTz now;
	HTAB	   *groups;
	MemoryContext context;		/* of the groups; made anew for each day and month */
	MemoryContext row_context;
	TimestampTz last;			/* of the stored summary of all trades; DT_NOBEGIN: none */
	List	   *parts;			/* runs of all trades of the day, but those that stay as they are */
	bool		parted;			/* they are stored */
	int64		marks;			/* deleted */
	bool		noted;
	int64		lag;			/* before now, in microseconds; today is settled up to there */
	int64		next_lag;
} Settling;

static void
clear_groups(Settling *settling)
{
	MemoryContext context;

	MemoryContextReset(settling->context);
	context = MemoryContextSwitchTo(settling->context);
	settling->groups = create_groups("tradekeep settling", sizeof(RunGroup));
	MemoryContextSwitchTo(context);
	settling->last = DT_NOBEGIN;
	settling->parts = NIL;
	settling->parted = false;
}

static RunGroup *
group_of(Settling *settling, Dimension dimension, const text *value)
{
	MemoryContext context = MemoryContextSwitchTo(settling->context);
	RunGroup   *group = find_group(settling->groups, dimension, value);

	MemoryContextSwitchTo(context);
	return group;
}

/* Our own changes count, and are seen by what is read next. */
static void
see_changes(void)
{
	CommandCounterIncrement();
	UpdateActiveSnapshotCommandId();
}

static void
read_settled(Statement *statement, Datum *values, const char *nulls,
			 void (*take) (TupleTableSlot *, void *), Settling *settling)
{
	see_changes();
	read_rows(statement, values, nulls, take, settling);
}

/* The end of what is settled of a day, if it is not over yet. */
static TimestampTz
settled_until(const Settling *settling, DateADT day)
{
	return day == day_of(settling->now) ? settling->now - settling->lag : day_start(day + 1);
}

/* Runs a statement under the snapshot of the step. */
static uint64
change(Statement *statement, Datum *values, const char *nulls)
{
	uint64		changed;

	SPI_connect();
	changed = execute_under(statement, values, nulls, GetActiveSnapshot());
	SPI_finish();
	return changed;
}

static void
add_part(Settling *settling, const Run *stored)
{
	MemoryContext context = MemoryContextSwitchTo(settling->context);
	Run		   *part = palloc(sizeof(Run));

	begin_run(part, true);
	if (stored != NULL)
		append_run(part, stored, true);
	settling->parts = lappend(settling->parts, part);
	MemoryContextSwitchTo(context);
}

static void
take_span(TupleTableSlot *slot, void *argument)
{
	Settling   *settling = argument;
	MemoryContext context = MemoryContextSwitchTo(settling->row_context);
	Dimension	dimension = ALL_TRADES;
	char	   *name;
	Run			run;

	MemoryContextReset(settling->row_context);
	name = TextDatumGetCString(slot->tts_values[0]);
	while (dimension < DIMENSIONS && strcmp(name, dimension_names[dimension]) != 0)
		dimension++;
	if (dimension == DIMENSIONS)
		elog(ERROR, "unknown dimension \"%s\" in tradekeep.trade_span", name);
	run_from_slot(&run, slot);
	append_run(&group_of(settling, dimension, slot->tts_isnull[1] ? NULL :
						 DatumGetTextPP(slot->tts_values[1]))->run, &run, true);
	if (dimension == ALL_TRADES)
	{
		settling->last = run.last;
		settling->parts = NIL;
		add_part(settling, &run);
	}
	MemoryContextSwitchTo(context);
}

/* Trades of one time stay together, as windows end between times. */
static void
append_to_part(Settling *settling, const ClosedTrade *trade)
{
	const Run  *last = settling->parts == NIL ? NULL : llast(settling->parts);

	if (last == NULL || (last->trades >= PART_TRADES && trade->closed_at > last->last))
		add_part(settling, NULL);
	append_trade(llast(settling->parts), trade);
}

static void
take_trade(TupleTableSlot *slot, void *argument)
{
	static const int columns[DIMENSIONS] = {
		[BY_SYMBOL] = TRADE_SYMBOL,[BY_STRATEGY] = TRADE_STRATEGY,[BY_BOT] = TRADE_BOT
	};
	Settling   *settling = argument;
	MemoryContext context = MemoryContextSwitchTo(settling->row_context);
	const text *empty;
	ClosedTrade trade;

	MemoryContextReset(settling->row_context);
	empty = cstring_to_text("");
	trade_from_slot(&trade, slot);
	append_to_part(settling, &trade);
	for (Dimension i = ALL_TRADES; i < DIMENSIONS; i++)
	{
		RunGroup   *group = group_of(settling, i, i == ALL_TRADES ? empty :
									 slot->tts_isnull[columns[i]] ? NULL :
									 DatumGetTextPP(slot->tts_values[columns[i]]));

		append_trade(&group->run, &trade);
		group->changed = true;
	}
	MemoryContextSwitchTo(context);
}

static void
store_run(Settling *settling, Dimension dimension, const text *value, char span, TimestampTz start,
		  const Run *run)
{
	MemoryContext context = MemoryContextSwitchTo(settling->row_context);
	Datum		values[SPAN_COLUMNS];
	char		nulls[SPAN_COLUMNS];

	MemoryContextReset(settling->row_context);
	memset(nulls, ' ', SPAN_KEY_COLUMNS);
	nulls[1] = value == NULL ? 'n' : ' ';
	values[0] = CStringGetTextDatum(dimension_names[dimension]);
	values[1] = PointerGetDatum(value);
	values[2] = CharGetDatum(span);
	values[3] = TimestampGetDatum(start);
	run_to_columns(run, values + SPAN_KEY_COLUMNS, nulls + SPAN_KEY_COLUMNS);
	change(&upsert_span, values, nulls);
	MemoryContextSwitchTo(context);
}

/* Stores the runs that changed; those of a month all did. */
static void
store_groups(Settling *settling, char span, DateADT start)
{
	HASH_SEQ_STATUS scan;
	RunGroup   *group;

	hash_seq_init(&scan, settling->groups);
	while ((group = hash_seq_search(&scan)) != NULL)
	{
		if (span == SPAN_MONTH)
			close_day(&group->run);
		else if (!group->changed)
			continue;
		store_run(settling, group->key.dimension, group->key.value, span, day_start(start),
				  &group->run);
	}
}

/* A day that is but one part needs none. */
static void
store_parts(Settling *settling)
{
	const text *value = cstring_to_text("");
	ListCell   *cell;

	if (list_length(settling->parts) < 2 && !settling->parted)
		return;
	foreach(cell, settling->parts)
	{
		const Run  *part = lfirst(cell);

		store_run(settling, ALL_TRADES, value, SPAN_PART, part->first, part);
	}
}

/* Reads the summaries of days. */
static void
read_spans(Settling *settling, DateADT from, DateADT until)
{
	Datum		values[] = {CharGetDatum(SPAN_DAY), TimestampGetDatum(day_start(from)),
	TimestampGetDatum(day_start(until))};

	clear_groups(settling);
	read_settled(&select_spans, values, NULL, take_span, settling);
}

/* The last one may go on. */
static void
take_part(TupleTableSlot *slot, void *argument)
{
	Settling   *settling = argument;
	MemoryContext context = MemoryContextSwitchTo(settling->row_context);
	Run			run;

	MemoryContextReset(settling->row_context);
	run_from_slot(&run, slot);
	settling->parts = NIL;
	add_part(settling, &run);
	settling->parted = true;
	MemoryContextSwitchTo(context);
}

static void
read_parts(Settling *settling, DateADT day)
{
	Datum		values[] = {CharGetDatum(SPAN_PART), TimestampGetDatum(day_start(day)),
	TimestampGetDatum(day_start(day + 1))};

	read_settled(&select_spans, values, NULL, take_part, settling);
}

static void
forget_spans(char span, DateADT from, DateADT until)
{
	Datum		values[] = {CharGetDatum(span), TimestampGetDatum(day_start(from)),
	TimestampGetDatum(day_start(until))};

	change(&delete_spans, values, NULL);
}

static void
take_first_trade(TupleTableSlot *slot, void *argument)
{
	if (!slot->tts_isnull[0])
		*(TimestampTz *) argument = DatumGetTimestampTz(slot->tts_values[0]);
}

/* Leaves a mark for the first of the trades of a day that were not settled. */
static void
mark_rest(TimestampTz from, TimestampTz until)
{
	Datum		values[] = {TimestampTzGetDatum(from), TimestampTzGetDatum(until)};
	TimestampTz first = DT_NOEND;
	Marks		rest = {0};

	see_changes();
	read_rows(&select_first_trade, values, NULL, take_first_trade, &first);
	if (first == DT_NOEND)
		return;
	note_mark(&rest, first);
	write_marks(&rest);
}

static void
settle_day(Settling *settling, const Mark *mark)
{
	TimestampTz from = day_start(mark->day);
	TimestampTz end = day_start(mark->day + 1);
	TimestampTz until = settled_until(settling, mark->day);
	Datum		values[5] = {0};

	read_spans(settling, mark->day, mark->day + 1);
	if (mark->first <= settling->last)
	{
		if (mark->day == day_of(settling->now))
			settling->next_lag = Max(settling->lag, Min(settling->now - mark->first, LONGEST_LAG));
		forget_spans(SPAN_DAY, mark->day, mark->day + 1);
		forget_spans(SPAN_PART, mark->day, mark->day + 1);
		clear_groups(settling);
	}
	if (settling->last != DT_NOBEGIN)
	{
		from = settling->last + 1;
		read_parts(settling, mark->day);
	}
	until = Max(until, from);
	values[0] = TimestampTzGetDatum(from);
	values[1] = TimestampTzGetDatum(until);
	read_settled(&select_trades, values, "  nnn", take_trade, settling);
	store_groups(settling, SPAN_DAY, mark->day);
	store_parts(settling);
	if (until < end)
		mark_rest(until, end);
}

/* Before summaries are changed for good. */
static void
note(Settling *settling)
{
	Datum		values[] = {Int64GetDatum(settling->next_lag)};

	if (!settling->noted)
		change(&note_settling, values, NULL);
	settling->noted = true;
}

/* Sums up a month from its days, if it is over. */
static void
settle_month(Settling *settling, DateADT month)
{
	DateADT		end = next_month(month);

	note(settling);
	forget_spans(SPAN_MONTH, month, month + 1);
	if (day_start(end) > settling->now)
		return;
	read_spans(settling, month, end);
	store_groups(settling, SPAN_MONTH, month);
}

static void
take_month(TupleTableSlot *slot, void *argument)
{
	*(DateADT *) argument = day_of(DatumGetTimestamp(slot->tts_values[0]));
}

/* A month that ended with nothing settled in it since. */
static void
settle_ended_month(Settling *settling)
{
	Datum		values[] = {TimestampGetDatum(day_start(month_start(day_of(settling->now))))};
	DateADT		month = DATEVAL_NOBEGIN;

	see_changes();
	read_rows(&select_unbuilt, values, NULL, take_month, &month);
	if (month != DATEVAL_NOBEGIN)
		settle_month(settling, month);
}

/* Of all days from one on and before another, but for what of today is too young. */
static void
forget_marks(Settling *settling, DateADT from, DateADT until)
{
	DateADT		today = day_of(settling->now);
	Datum		values[] = {TimestampTzGetDatum(day_start(from)), TimestampTzGetDatum(day_start(until)),
		TimestampTzGetDatum(settled_until(settling, today)),
	TimestampTzGetDatum(day_start(today + 1))};

	settling->marks += change(&delete_marks, values, NULL);
	forget_left_marks();
}

/* Settles the first marked month from a day on; DATEVAL_NOEND when there is none. */
static DateADT
settle_next(Settling *settling, DateADT from)
{
	Marks		marks;
	DateADT		month = DATEVAL_NOEND;

	read_marks(&marks);
	for (int i = 0; i < marks.nmarks; i++)
	{
		const Mark *mark = &marks.marks[i];

		CHECK_FOR_INTERRUPTS();
		if (mark->day < from || mark->first >= settled_until(settling, mark->day))
			continue;
		if (month == DATEVAL_NOEND)
		{
			month = month_start(mark->day);
			forget_marks(settling, mark->day, next_month(month));
		}
		else if (mark->day >= next_month(month))
			break;
		settle_day(settling, mark);
	}
	if (month != DATEVAL_NOEND)
		settle_month(settling, month);
	return month;
}

static void
take_lag(TupleTableSlot *slot, void *argument)
{
	*(int64 *) argument = DatumGetInt64(slot->tts_values[0]);
}

static void
begin_settling(Settling *settling)
{
	/* Where policies would hide trades even from their owner, fail. */
	set_in_scope("row_security", "off");
	(void) lock_trades();
	lock_until_end(LOCK_SETTLING, 0, ExclusiveLock);
	settling->now = GetCurrentTimestamp();
	settling->context = AllocSetContextCreate(CurrentMemoryContext, "tradekeep settling",
											  ALLOCSET_DEFAULT_SIZES);
	settling->row_context = AllocSetContextCreate(CurrentMemoryContext, "tradekeep row",
												  ALLOCSET_DEFAULT_SIZES);
	settling->marks = 0;
	settling->noted = false;
	clear_groups(settling);
	/* One snapshot for all of it, taken behind the lock where the isolation level lets us. */
	PushCopiedSnapshot(IsolationUsesXactSnapshot() ? GetTransactionSnapshot() :
					   GetLatestSnapshot());
	settling->lag = SHORTEST_LAG;
	read_rows(&select_lag, NULL, NULL, take_lag, &settling->lag);
	settling->next_lag = Max(SHORTEST_LAG, settling->lag - settling->lag / LAG_DECAY);
}

static void
end_settling(Settling *settling)
{
	PopActiveSnapshot();
	MemoryContextDelete(settling->row_context);
	MemoryContextDelete(settling->context);
}

/* With the rights of the extension's owner. */
DateADT
settle_step(DateADT from, int64 *marks)
{
	Settling	settling;
	OwnerScope	scope;
	DateADT		month;

	enter_extension(&scope);
	begin_settling(&settling);
	settle_ended_month(&settling);
	month = settle_next(&settling, from);
	end_settling(&settling);
	leave_owner(&scope);
	*marks += settling.marks;
	return month;
}

Datum
tradekeep_settle_trade_stats(PG_FUNCTION_ARGS)
{
	DateADT		month;
	int64		marks = 0;

	require_writable("tradekeep.settle_trade_stats");
	month = settle_step(PG_ARGISNULL(0) ? DATEVAL_NOBEGIN : PG_GETARG_DATEADT(0), &marks);
	if (month == DATEVAL_NOEND)
		PG_RETURN_NULL();
	PG_RETURN_DATEADT(month);
}

Datum
tradekeep_settle_trades(PG_FUNCTION_ARGS)
{
	CallContext *context = (CallContext *) fcinfo->context;
	bool		atomic = context == NULL || !IsA(context, CallContext) || context->atomic;
	DateADT		month = DATEVAL_NOBEGIN;
	int64		marks = 0;

	require_writable("tradekeep.settle_trades");
	SPI_connect_ext(atomic ? 0 : SPI_OPT_NONATOMIC);
	for (;;)
	{
		/* What is written meanwhile into months that were passed waits for the next call. */
		month = settle_step(month, &marks);
		if (month == DATEVAL_NOEND)
			break;
		month = next_month(month);
		if (!atomic)
			SPI_commit();
	}
	SPI_finish();
	PG_RETURN_VOID();
}

Datum
tradekeep_rebuild_trade_stats(PG_FUNCTION_ARGS)
{
	Settling	settling;
	OwnerScope	scope;
	DateADT		month = DATEVAL_NOBEGIN;
	int64		months = 0;

	require_writable("tradekeep.rebuild_trade_stats");
	enter_extension(&scope);
	run_statement(&enable_triggers, NULL, NULL);
	begin_settling(&settling);
	note(&settling);
	change(&delete_all_spans, NULL, NULL);
	change(&mark_all_days, NULL, NULL);
	see_changes();
	while ((month = settle_next(&settling, month)) != DATEVAL_NOEND)
	{
		month = next_month(month);
		months++;
		see_changes();
	}
	end_settling(&settling);
	leave_owner(&scope);
	PG_RETURN_INT64(months);
}
