/*
 * trade_worker.c
 *		Settling in the sweeper's worker, between its rounds.
 *
 * Marks are written and deleted as fast as trades come, and a reader walks over the dead
 * ones, too.  Autovacuum looks once a minute, which is thousands of pages too late; so the worker
 * vacuums them itself.  It leaves the end of the file to autovacuum: to cut it off means to wait for
 * the writers.
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

/* Deleted marks that are worth a VACUUM: they fill some 20 pages. */
#define MARKS_PER_VACUUM 5000

/* A step in a transaction of its own; DATEVAL_NOEND when there is none, or somebody is in the way. */
static DateADT
settle_month_from(DateADT from, int64 *marks)
{
	DateADT		month = DATEVAL_NOEND;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (try_lock_settling())
		month = settle_step(from, marks);
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
	MemoryContextSwitchTo(context);
	PortalContext = context;
	statement = makeNode(VacuumStmt);
	statement->is_vacuumcmd = true;
	statement->options = list_make2(makeDefElem("truncate", (Node *) makeString("off"), -1),
									makeDefElem("skip_locked", NULL, -1));
	statement->rels = list_make1(makeVacuumRelation(makeRangeVar(TRADEKEEP_SCHEMA, "trade_mark",
																 -1), InvalidOid, NIL));
	ExecVacuum(make_parsestate(NULL), statement, true);
	CommitTransactionCommand();
	PortalContext = outer_portal;
	MemoryContextDelete(context);
	pgstat_report_stat(true);
}

bool
settle_in_worker(TimestampTz end)
{
	static int64 deleted = 0;
	DateADT		from = DATEVAL_NOBEGIN;
	bool		settled = false;

	while (GetCurrentTimestamp() < end)
	{
		DateADT		month = settle_month_from(from, &deleted);

		if (month == DATEVAL_NOEND)
			break;
		from = next_month(month);
		settled = true;
	}
	if (deleted >= MARKS_PER_VACUUM)
	{
		vacuum_marks();
		deleted = 0;
	}
	pgstat_report_activity(STATE_IDLE, NULL);
	return settled;
}
