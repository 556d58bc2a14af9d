/*
 * trade_mark.c
 *		Marks: of which days the summaries are not the whole truth.
 *
 * A statement that touches closed trades, whatever it does to them, leaves one row a UTC day in
 * tradekeep.trade_mark: the earliest closed_at that it touched there, unless its transaction has
 * left one there before that.  A mark comes and goes with the transaction, so who sees a change sees
 * its mark.  Marks are only ever appended: there is no key to wait for.  A summary holds for a
 * snapshot unless that sees a mark at or before the last trade which is in it; settling deletes the
 * marks it saw and makes the summaries anew.
 *
 * A statement's mark comes when all of its rows are there.  Whoever asks before that, in a trigger
 * for instance, is told by a trigger that fired before the statement.
 *
 * What logical replication applies fires no triggers for statements, but those for rows.
 *
 * TRUNCATE empties the summaries and the marks in the same way as the trades, so that whoever
 * looks with an older snapshot finds all three empty.  It locks the trades first; so does
 * everybody who reads or settles.
 *
 * The rows are read and written without the executor, which would cost as much as all the rest
 * of the trigger: the table is ours, and has neither indexes nor constraints.  Triggers
 * with transition tables exist on ordinary tables alone, so there is no other node to go to.
 */
#include "trade.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"

#include "lock.h"
#include "owner.h"
#include "sweep.h"

PG_FUNCTION_INFO_V1(tradekeep_mark_trades);
PG_FUNCTION_INFO_V1(tradekeep_trades_are_unfinished);

/* Columns of tradekeep.trade, from 1 on. */
#define COLUMN_CLOSED_AT 12

static Statement truncate_all = {.sql = "TRUNCATE tradekeep.trade_span, tradekeep.trade_mark"};

/* The marks that this transaction has left, and not deleted; one that is rolled back is forgotten. */
static struct
{
	FullTransactionId transaction;
	SubTransactionId subtransaction;
	Marks		marks;
}			left;

/* Statements of this transaction that have yet to leave their marks. */
static struct
{
	LocalTransactionId transaction;
	int			statements;
}			unfinished;

/* The place of a day among the marks, or where it belongs. */
static int
place_of(const Marks *marks, DateADT day)
{
	int			low = 0;
	int			high = marks->nmarks;

	/* Trades mostly come in order. */
	if (high > 0 && marks->marks[high - 1].day <= day)
		return marks->marks[high - 1].day == day ? high - 1 : high;
	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (marks->marks[middle].day < day)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

const Mark *
find_mark(const Marks *marks, DateADT day)
{
	int			place = place_of(marks, day);

	return place < marks->nmarks && marks->marks[place].day == day ? &marks->marks[place] : NULL;
}

void
note_mark(Marks *marks, TimestampTz closed_at)
{
	DateADT		day = day_of(closed_at);
	int			place = place_of(marks, day);
	Mark	   *mark;

	if (place < marks->nmarks && marks->marks[place].day == day)
	{
		marks->marks[place].first = Min(marks->marks[place].first, closed_at);
		return;
	}
	if (marks->nmarks == marks->allocated)
	{
		int			allocated = Max(16, 2 * marks->allocated);

		marks->marks = marks->marks == NULL ? palloc(sizeof(Mark) * allocated) :
			repalloc(marks->marks, sizeof(Mark) * allocated);
		marks->allocated = allocated;
	}
	mark = &marks->marks[place];
	memmove(mark + 1, mark, sizeof(Mark) * (marks->nmarks - place));
	*mark = (Mark)
	{
		.day = day,.first = closed_at
	};
	marks->nmarks++;
}

static Oid
require_table(const char *name)
{
	Oid			relid = get_relname_relid(name, get_namespace_oid(TRADEKEEP_SCHEMA, false));

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table tradekeep.%s does not exist", name),
				 errhint("ALTER EXTENSION tradekeep UPDATE.")));
	return relid;
}

static Relation
open_marks(LOCKMODE lock)
{
	return table_open(require_table("trade_mark"), lock);
}

Oid
lock_trades(void)
{
	Oid			relid = require_table("trade");

	LockRelationOid(relid, AccessShareLock);
	return relid;
}

bool
try_lock_settling(void)
{
	Oid			relid = get_relname_relid("trade", get_namespace_oid(TRADEKEEP_SCHEMA, true));

	return OidIsValid(relid) && ConditionalLockRelationOid(relid, AccessShareLock) &&
		try_lock_until_end(LOCK_SETTLING, 0, ExclusiveLock);
}

void
forget_left_marks(void)
{
	left.transaction = InvalidFullTransactionId;
}

static void
begin_left_marks(void)
{
	FullTransactionId transaction = GetTopFullTransactionId();
	SubTransactionId subtransaction = GetCurrentSubTransactionId();

	if (FullTransactionIdEquals(left.transaction, transaction) &&
		left.subtransaction == subtransaction)
		return;
	left.transaction = transaction;
	left.subtransaction = subtransaction;
	memset(&left.marks, 0, sizeof(Marks));
}

static void
write_mark(Relation relation, TimestampTz first)
{
	TupleDesc	desc = RelationGetDescr(relation);
	Datum	   *values = palloc0(sizeof(Datum) * desc->natts);
	bool	   *nulls = palloc(sizeof(bool) * desc->natts);
	HeapTuple	tuple;
	MemoryContext context;

	/* Columns of somebody else's stay null. */
	memset(nulls, true, desc->natts);
	values[0] = TimestampTzGetDatum(first);
	nulls[0] = false;
	tuple = heap_form_tuple(desc, values, nulls);
	simple_heap_insert(relation, tuple);
	heap_freetuple(tuple);
	sweep_count_mark();
	context = MemoryContextSwitchTo(TopTransactionContext);
	note_mark(&left.marks, first);
	MemoryContextSwitchTo(context);
}

void
write_marks(const Marks *marks)
{
	Relation	relation;

	if (marks->nmarks == 0)
		return;
	begin_left_marks();
	relation = open_marks(RowExclusiveLock);
	for (int i = 0; i < marks->nmarks; i++)
	{
		const Mark *mark = &marks->marks[i];
		const Mark *earlier = find_mark(&left.marks, mark->day);

		if (earlier == NULL || earlier->first > mark->first)
			write_mark(relation, mark->first);
	}
	table_close(relation, NoLock);
}

/* The marks that the active snapshot sees. */
void
read_marks(Marks *marks)
{
	Relation	relation = open_marks(AccessShareLock);
	TupleTableSlot *slot = table_slot_create(relation, NULL);
	TableScanDesc scan = table_beginscan(relation, GetActiveSnapshot(), 0, NULL);

	memset(marks, 0, sizeof(Marks));
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		bool		isnull;

		CHECK_FOR_INTERRUPTS();
		note_mark(marks, DatumGetTimestampTz(slot_getattr(slot, 1, &isnull)));
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	table_close(relation, NoLock);
}

static void
note_row(Marks *marks, TupleTableSlot *slot)
{
	bool		isnull;
	Datum		closed_at = slot_getattr(slot, COLUMN_CLOSED_AT, &isnull);

	if (!isnull)
		note_mark(marks, DatumGetTimestampTz(closed_at));
}

/* Notes the days of the closed trades in a transition table. */
static void
note_rows(Marks *marks, Relation relation, Tuplestorestate *rows)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(relation),
													&TTSOpsMinimalTuple);
	int			pointer = tuplestore_alloc_read_pointer(rows, EXEC_FLAG_REWIND);

	/* Other triggers may have read from it already. */
	tuplestore_select_read_pointer(rows, pointer);
	tuplestore_rescan(rows);
	while (tuplestore_gettupleslot(rows, true, false, slot))
	{
		CHECK_FOR_INTERRUPTS();
		note_row(marks, slot);
	}
	ExecDropSingleTupleTableSlot(slot);
}

static void
forget_all(void)
{
	OwnerScope	scope;

	enter_extension(&scope);
	run_statement(&truncate_all, NULL, NULL);
	leave_owner(&scope);
	forget_left_marks();
}

bool
trades_are_unfinished(void)
{
	return unfinished.statements > 0 && unfinished.transaction == my_local_transaction();
}

Datum
tradekeep_trades_are_unfinished(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(trades_are_unfinished());
}

static void
begin_statement(void)
{
	if (unfinished.transaction != my_local_transaction())
		unfinished.statements = 0;
	unfinished.transaction = my_local_transaction();
	unfinished.statements++;
}

static void
end_statement(void)
{
	if (trades_are_unfinished())
		unfinished.statements--;
}

Datum
tradekeep_mark_trades(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	Marks		marks = {0};

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("mark_trades must be called by a trigger")));
	if (strcmp(RelationGetRelationName(trigger->tg_relation), "trade") != 0 ||
		RelationGetNamespace(trigger->tg_relation) != get_namespace_oid(TRADEKEEP_SCHEMA, true))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("mark_trades is for tradekeep.trade alone")));

	if (TRIGGER_FIRED_BEFORE(trigger->tg_event))
	{
		begin_statement();
		PG_RETURN_POINTER(NULL);
	}
	if (TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
		forget_all();
	if (TRIGGER_FIRED_FOR_ROW(trigger->tg_event))
	{
		note_row(&marks, trigger->tg_trigslot);
		if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
			note_row(&marks, trigger->tg_newslot);
	}
	if (trigger->tg_oldtable != NULL)
		note_rows(&marks, trigger->tg_relation, trigger->tg_oldtable);
	if (trigger->tg_newtable != NULL)
		note_rows(&marks, trigger->tg_relation, trigger->tg_newtable);
	write_marks(&marks);
	if (TRIGGER_FIRED_FOR_STATEMENT(trigger->tg_event) &&
		!TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
		end_statement();
	PG_RETURN_POINTER(NULL);
}
