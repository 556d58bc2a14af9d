/*
 * sweep.c
 *		A round of the sweeper over all policies, commit by commit.
 *
 * The round runs in a worker or in CALL tradekeep.sweep(), both with a non-atomic SPI
 * connection.  A step is a batch, a dropped partition, or a look at a table's partitions;
 * it is a transaction, and in it an attempt (a subtransaction) that an error takes
 * back.  What happens to one table is recorded for it in sweep_state and never stops
 * the others.  Between two steps no lock is held and no snapshot: there the sweeper
 * waits, so that it deletes no more rows a second than it may.
 *
 * A table gets SLICE at a time, the one first that waited longest, so that none
 * with a backlog keeps the others waiting.
 */
#include "sweep.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "input.h"
#include "statement.h"

PG_FUNCTION_INFO_V1(tradekeep_sweep);

/* How long the sweeper stays with one table while others wait. */
#define SLICE			(1 * USECS_PER_SEC)

/* A batch that takes longer is followed by a smaller one; a step in a worker ends. */
#define LONG_BATCH		(1 * USECS_PER_SEC)
#define STEP_LIMIT_MS	10000
#define LAST_LIMIT_MS	2000

/* A table that fails rests for so long at most, and one whose look is costly in proportion. */
#define MAX_BACKOFF		(10 * USECS_PER_MINUTE)
#define REST_PER_LOOK	20

/* How often a table that keeps a number of rows is counted, although nothing changed. */
#define COUNT_AGAIN		(10 * USECS_PER_MINUTE)

/* By how much a nap may be too long; the next one is shorter by that. */
#define NAP_LAG			(10 * INT64CONST(1000))

/* A table that has to wait longer than this for its rate comes again later. */
#define LONGEST_PAUSE	(200 * INT64CONST(1000))

/* What a step works on, and what it finds. */
typedef struct Step
{
	SweepRun   *run;
	TtlPart		part;
	bool		begun;			/* the first batch of a part begins at its first value */
	TtlBatch	batch;
	bool		dropped;
	List	   *parts;
	List	   *policies;
	MemoryContext context;		/* where they last */
	Oid			only;			/* the table of which the policy is wanted */
	TimestampTz next;			/* when the policy is due again */
} Step;

bool		sweep_in_worker = false;

static Oid	current_table;
Oid		   *sweep_current_table = &current_table;

/* When the rate limit of the setting lets the next batch go. */
static TimestampTz free_at = 0;

static void
set_in_step(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0,
							 false);
}

/*
 * Every transaction of a round begins with this, and ends with the other; in between,
 * memory lasts as long as the transaction.  What the session's defaults are does not
 * matter.  A deletion that a crash takes back is made again, so nobody waits for a
 * flush.
 */
static MemoryContext
begin_step(void)
{
	MemoryContext context = MemoryContextSwitchTo(TopTransactionContext);

	XactIsoLevel = XACT_READ_COMMITTED;
	set_in_step("synchronous_commit", "off");
	set_in_step("lock_timeout", psprintf("%dms", sweep_lock_timeout));
	PushActiveSnapshot(GetTransactionSnapshot());
	return context;
}

static void
end_step(MemoryContext context)
{
	MemoryContextSwitchTo(context);
	PopActiveSnapshot();
	SPI_commit();
}

/* By hand, the rights that the caller had at the beginning may be gone. */
static void
enter_step(Step *step, TtlTable *table, Oid relid, LOCKMODE lockmode, OwnerScope *scope)
{
	enter_table(table, step->run->policy, relid, lockmode, scope);
	if (!sweep_in_worker && !has_privs_of_role(scope->userid, table->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("table %s has another owner now", table->name)));
}

/* The parts are found under the same rights as everything else. */
static void
find_parts(Step *step)
{
	TtlTable	table;
	OwnerScope	scope;
	MemoryContext context;

	enter_step(step, &table, step->run->policy->relid, AccessShareLock, &scope);
	context = MemoryContextSwitchTo(step->context);
	step->parts = list_parts(&table);
	MemoryContextSwitchTo(context);
	leave_owner(&scope);
}

static void
sweep_batch(Step *step)
{
	TtlTable	table;
	OwnerScope	scope;

	enter_step(step, &table, step->part.relid, RowExclusiveLock, &scope);
	if (!step->begun)
		step->batch.from = first_value(&table);
	step->begun = true;
	delete_batch(&table, &step->batch);
	leave_owner(&scope);
}

/* Locks the parent first, as everybody does. */
static void
sweep_partition(Step *step)
{
	TtlTable	table;
	OwnerScope	scope;

	enter_step(step, &table, step->part.parent, AccessExclusiveLock, &scope);
	leave_owner(&scope);
	enter_step(step, &table, step->part.relid, AccessExclusiveLock, &scope);
	step->dropped = drop_part(&table, &step->part);
	leave_owner(&scope);
}

/* A trigger may catch the first; not this one, which ends the worker. */
static void
end_worker(void)
{
	kill(MyProcPid, SIGTERM);
}

static void
limit_step(void)
{
	static TimeoutId last_limit = MAX_TIMEOUTS;

	if (!sweep_in_worker)
		return;
	if (last_limit == MAX_TIMEOUTS)
		last_limit = RegisterTimeout(USER_TIMEOUT, end_worker);
	enable_timeout_after(STATEMENT_TIMEOUT, STEP_LIMIT_MS);
	enable_timeout_after(last_limit, STEP_LIMIT_MS + LAST_LIMIT_MS);
}

static void
unlimit_step(void)
{
	if (!sweep_in_worker)
		return;
	disable_all_timeouts(false);
	QueryCancelPending = false;
}

/* False when the step failed. */
static bool
attempt_step(Step *step, void (*work) (Step *))
{
	MemoryContext context = begin_step();
	ErrorData  *volatile error = NULL;
	Attempt		attempt;

	begin_attempt(&attempt);
	PG_TRY();
	{
		limit_step();
		SPI_connect();
		work(step);
		SPI_finish();
		keep_attempt(&attempt);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		undo_attempt(&attempt);
		/* Who calls sweep() and cancels wants it to end. */
		if (is_cancel(error) && !sweep_in_worker)
			ReThrowError(error);
	}
	PG_END_TRY();
	unlimit_step();
	end_step(context);
	if (step->run->error == NULL)
		step->run->error = error;
	return error == NULL;
}

void
sweep_nap(TimestampTz until)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until),
					 extension_wait_event("TradekeepSweepMain"));
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	if (sweep_in_worker && ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}

/*
 * Waits until the rate limit lets the next batch go; false when that is beyond the end of
 * the run, or so far that others should not wait with it.  Policies with a limit of their own
 * are counted by themselves, the others together.
 */
static bool
wait_for_rate(SweepRun *run)
{
	CHECK_FOR_INTERRUPTS();
	while (GetCurrentTimestamp() < *run->free_at)
	{
		if (run->end != DT_NOEND &&
			*run->free_at > Min(run->end, GetCurrentTimestamp() + LONGEST_PAUSE))
			return false;
		sweep_nap(*run->free_at);
	}
	return true;
}

static void
count_for_rate(SweepRun *run, TimestampTz began, int64 rows)
{
	int			rate = run->policy->rate_limit;

	if (rate > 0)
		*run->free_at = Max(*run->free_at, began - NAP_LAG) + rows * USECS_PER_SEC / rate;
}

static void
report_progress(const SweepRun *run)
{
	if (sweep_in_worker)
		pgstat_report_activity(STATE_RUNNING, psprintf("sweeping %s: " INT64_FORMAT " rows",
													   run->policy->name, run->rows));
}

/* Batch after batch until nothing is left, something fails, or the time is over. */
static void
sweep_rows(Step *step)
{
	SweepRun   *run = step->run;
	TtlPolicy  *policy = run->policy;

	step->begun = false;
	step->batch.from = PG_INT64_MIN;
	while (!run->more)
	{
		TimestampTz began;
		int64		from = step->batch.from;
		int64		elapsed;

		if (!wait_for_rate(run))
		{
			run->more = true;
			return;
		}
		began = GetCurrentTimestamp();
		/* Not more than a second's worth. */
		step->batch.size = policy->rate_limit == 0 ? policy->current_batch :
			Min(policy->current_batch, policy->rate_limit);
		if (!attempt_step(step, sweep_batch))
		{
			if (is_cancel(run->error))
				policy->current_batch = Max(policy->current_batch / 4, 1);
			return;
		}
		run->rows += step->batch.deleted;
		count_for_rate(run, began, step->batch.deleted);
		if (step->batch.found < step->batch.size)
			return;
		/* A trigger that keeps its rows must not keep us. */
		if (step->batch.deleted == 0 && step->batch.from == from)
			return;

		elapsed = GetCurrentTimestamp() - began;
		if (elapsed > LONG_BATCH)
			policy->current_batch = Max(policy->current_batch / 2, 1);
		else if (elapsed < LONG_BATCH / 4)
			policy->current_batch = Min(policy->current_batch * 2, policy->batch_size);
		report_progress(run);
		run->more = GetCurrentTimestamp() >= run->end;
	}
}

/*
 * By count, nothing is to be done unless rows were inserted or updated, as far as that was
 * reported; now and then we look all the same.
 */
static bool
unchanged(SweepRun *run)
{
	TtlPolicy  *policy = run->policy;
	Datum		relid = ObjectIdGetDatum(policy->relid);

	if (policy->keep_rows == 0)
		return false;
	run->changes = DatumGetInt64(DirectFunctionCall1(pg_stat_get_tuples_inserted, relid)) +
		DatumGetInt64(DirectFunctionCall1(pg_stat_get_tuples_updated, relid));
	return run->changes == policy->changes && policy->failures == 0 &&
		run->started_at - policy->last_run < COUNT_AGAIN;
}

static void
sweep_policy(SweepRun *run)
{
	Step		step = {.run = run,.context = CurrentMemoryContext};
	ListCell   *cell;

	*sweep_current_table = run->policy->relid;
	run->free_at = run->policy->own_rate ? &run->own_free_at : &free_at;
	report_progress(run);
	run->skipped = sweep_in_worker && unchanged(run);
	if (run->skipped || !attempt_step(&step, find_parts))
		return;
	/* A partition that fails does not stop the others. */
	foreach(cell, step.parts)
	{
		step.part = *(TtlPart *) lfirst(cell);
		if (!OidIsValid(step.part.parent))
			sweep_rows(&step);
		else if (attempt_step(&step, sweep_partition))
			run->partitions += step.dropped;
		if (GetCurrentTimestamp() >= run->end && lnext(step.parts, cell) != NULL)
			run->more = true;
		if (run->more)
			return;
	}
}

/* When the table is due again; 0: at every round. */
static TimestampTz
next_run(const SweepRun *run, TimestampTz now)
{
	int64		interval = (int64) run->policy->interval * 1000;
	int64		rest = interval;

	if (run->error != NULL)
	{
		int			doublings = Min(run->policy->failures, 20);

		rest = Min(Max(interval, USECS_PER_SEC) << doublings, Max(interval, MAX_BACKOFF));
	}
	else if (run->more)
		return *run->free_at > now + LONGEST_PAUSE ? *run->free_at : 0;
	else if (run->rows == 0 || run->policy->keep_rows > 0)
		rest = Max(interval, (now - run->started_at) * REST_PER_LOOK);
	return rest > (int64) sweep_interval * 1000 ? now + rest : 0;
}

/* A failure is told once, until the table is swept again; a caller is told each time. */
static void
tell_failure(const SweepRun *run)
{
	if (sweep_in_worker && run->policy->failures > 0)
		return;
	ereport(sweep_in_worker ? LOG : WARNING,
			(errcode(run->error->sqlerrcode),
			 errmsg("could not sweep table %s: %s", run->policy->name, run->error->message),
			 run->error->hint != NULL ? errhint("%s", run->error->hint) : 0));
}

/* By hand one sweeps what one might delete from anyway. */
static List *
keep_own(List *policies)
{
	List	   *own = NIL;
	ListCell   *cell;

	foreach(cell, policies)
	{
		TtlPolicy  *policy = lfirst(cell);

		if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(policy->relid)) &&
			owns_table(policy->relid, GetUserId()))
			own = lappend(own, policy);
	}
	return own;
}

static void
begin_round(Step *step)
{
	forget_dropped();
	step->policies = load_policies(step->only, sweep_in_worker && !OidIsValid(step->only),
								   step->context);
	if (!sweep_in_worker)
	{
		MemoryContext context = MemoryContextSwitchTo(step->context);

		step->policies = keep_own(step->policies);
		MemoryContextSwitchTo(context);
	}
}

static void
record(Step *step)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz next = next_run(step->run, now);

	record_run(step->run, now, next);
	if (next != 0)
		step->next = next;
	else if (step->run->more)
		step->next = now;
}

/*
 * Tells and records how a run went, and returns when the policy is due again.  A table that
 * was dropped under us is no failure; neither is a record that somebody has locked.
 */
static TimestampTz
finish_run(SweepRun *run, bool tell)
{
	Step		step = {.run = run};

	step.next = run->started_at + (int64) run->policy->interval * 1000;
	if (run->error != NULL && tell &&
		SearchSysCacheExists1(RELOID, ObjectIdGetDatum(run->policy->relid)))
		tell_failure(run);
	(void) attempt_step(&step, record);
	return step.next;
}

void
blame_table(Oid relid)
{
	SweepRun	load = {0};
	Step		step = {.run = &load,.only = relid,.context = CurrentMemoryContext};
	ErrorData	error = {
		.sqlerrcode = ERRCODE_ADMIN_SHUTDOWN,
		.message = "the sweeper ended while it was at this table"
	};

	if (attempt_step(&step, begin_round) && step.policies != NIL)
	{
		SweepRun	run = {.policy = linitial(step.policies),.started_at = GetCurrentTimestamp(),
		.changes = -1,.error = &error};

		(void) finish_run(&run, true);
	}
}

/* Our own tables are locked, or gone: the extension is being dropped, or updated. */
static bool
is_upheaval(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE ||
		error->sqlerrcode == ERRCODE_UNDEFINED_TABLE ||
		error->sqlerrcode == ERRCODE_UNDEFINED_SCHEMA;
}

TimestampTz
sweep_round(Oid only, TimestampTz end)
{
	SweepRun	load = {0};
	Step		step = {.run = &load,.only = only,.context = CurrentMemoryContext};
	ListCell   *cell;
	TimestampTz next = GetCurrentTimestamp() + (int64) sweep_interval * 1000;

	if (!attempt_step(&step, begin_round))
	{
		if (!sweep_in_worker || !is_upheaval(load.error))
			ReThrowError(load.error);
		return next;
	}
	foreach(cell, step.policies)
	{
		TimestampTz now = GetCurrentTimestamp();
		SweepRun	run = {.policy = lfirst(cell),.started_at = now,.changes = -1};
		TimestampTz due;

		if (now >= end)
			return now;
		run.end = end == DT_NOEND ? end : Min(end, now + SLICE);
		sweep_policy(&run);
		due = finish_run(&run, !OidIsValid(only));
		next = Min(next, due);
		if (OidIsValid(only) && run.error != NULL)
			ReThrowError(run.error);
	}
	*sweep_current_table = InvalidOid;
	return next;
}

/* A procedure: it commits as it goes. */
Datum
tradekeep_sweep(PG_FUNCTION_ARGS)
{
	CallContext *context = (CallContext *) fcinfo->context;
	Oid			only = PG_ARGISNULL(0) ? InvalidOid : PG_GETARG_OID(0);

	require_writable("tradekeep.sweep");
	if (context == NULL || !IsA(context, CallContext) || context->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("tradekeep.sweep() cannot run inside a transaction block"),
				 errdetail("It commits after each batch."),
				 errhint("Call it by itself, with autocommit on.")));
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	if (OidIsValid(only))
	{
		require_table_rights(only, "tradekeep.sweep");
		require_policy(only);
	}
	/* Whatever isolation level the session has, the round begins with a transaction of its own. */
	SPI_commit();
	(void) sweep_round(only, DT_NOEND);
	SPI_finish();
	PG_RETURN_VOID();
}
