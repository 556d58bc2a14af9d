/*
 * trade_worker.c
 *		Settling in the sweeper's worker, between its rounds.
 *
 * Marks are written and deleted as fast as trades come, and a reader walks over the dead
 * ones, too.  Autovacuum looks once a minute, which is thousands of pages too late; so the worker
 * vacuums them itself.  It leaves the end of the file to autovacuum: to cut it off means to wait for
 * the writers.
 *
 * It never waits for others longer than the sweeper does.  What fails is logged, and tried again
 * in the next turn.
 */
#include "trade.h"

#include "access/xact.h"
#include "commands/vacuum.h"
#include "nodes/makefuncs.h"
#include "parser/parse_node.h"
#include "pgstat.h"
#include "storage/lmgr.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* Deleted marks that are worth a VACUUM, at any moment and at the end of a turn; 226 fill a page. */
#define MARKS_PER_VACUUM 2000
#define MARKS_AT_END	500

/* In this process, which lives for a turn. */
static int64 deleted = 0;
static bool failed = false;
static bool refused = false;	/* somebody was in the way */

static void
report_failure(const ErrorData *error)
{
	failed = true;
	/* Somebody works on our tables. */
	if (error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)
		return;
	ereport(LOG,
			(errcode(error->sqlerrcode),
			 errmsg("could not settle trades: %s", error->message),
			 errhint("Statistics are right, and slow to read. See tradekeep.doctor().")));
}

/* The step, or nothing where it fails. */
static DateADT
attempt_step(DateADT from)
{
	MemoryContext context = CurrentMemoryContext;
	volatile DateADT month = DATEVAL_NOEND;
	volatile int64 marks = 0;
	Attempt		attempt;

	begin_attempt(&attempt);
	PG_TRY();
	{
		int64		step_marks = 0;

		refused = !try_lock_settling();
		if (!refused)
			month = settle_step(from, &step_marks);
		marks = step_marks;
		keep_attempt(&attempt);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		undo_attempt(&attempt);
		report_failure(error);
		month = DATEVAL_NOEND;
		marks = 0;
	}
	PG_END_TRY();
	deleted += marks;
	return month;
}

/* A step in a transaction of its own; DATEVAL_NOEND when there is none, or somebody is in the way. */
static DateADT
settle_month_from(DateADT from)
{
	DateADT		month;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	XactIsoLevel = XACT_READ_COMMITTED;
	pgstat_report_activity(STATE_RUNNING, "settling trades");
	PushActiveSnapshot(GetTransactionSnapshot());
	month = attempt_step(from);
	PopActiveSnapshot();
	CommitTransactionCommand();
	pgstat_report_stat(true);
	return month;
}

static void
vacuum_marks(void)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "tradekeep vacuum",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext outer_portal = PortalContext;
	VacuumStmt *statement;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	pgstat_report_activity(STATE_RUNNING, "vacuuming marks of trades");
	MemoryContextSwitchTo(context);
	PortalContext = context;
	statement = makeNode(VacuumStmt);
	statement->is_vacuumcmd = true;
	statement->options = list_make2(makeDefElem("truncate", (Node *) makeString("off"), -1),
									makeDefElem("skip_locked", NULL, -1));
#ifdef HAVE_SKIP_DATABASE_STATS
	statement->options = lappend(statement->options,
								 makeDefElem("skip_database_stats", NULL, -1));
#endif
	statement->rels = list_make1(makeVacuumRelation(makeRangeVar(TRADEKEEP_SCHEMA, "trade_mark",
																 -1), InvalidOid, NIL));
	ExecVacuum(make_parsestate(NULL), statement, true);
	CommitTransactionCommand();
	PortalContext = outer_portal;
	MemoryContextDelete(context);
	pgstat_report_stat(true);
	deleted = 0;
}

bool
settle_in_worker(TimestampTz end)
{
	DateADT		from = DATEVAL_NOBEGIN;
	bool		settled = false;

	while (!failed && GetCurrentTimestamp() < end)
	{
		DateADT		month = settle_month_from(from);

		if (month == DATEVAL_NOEND)
			break;
		from = next_month(month);
		settled = true;
	}
	if (deleted >= MARKS_PER_VACUUM)
		vacuum_marks();
	pgstat_report_activity(STATE_IDLE, NULL);
	return settled;
}

bool
end_settling_in_worker(void)
{
	if (deleted >= MARKS_AT_END)
		vacuum_marks();
	return !failed && !refused;
}
