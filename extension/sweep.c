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

#include "access/relation.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/latch.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
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

/* How often a table in which nothing was to be done is written down. */
#define IDLE_RECORD		(1 * USECS_PER_MINUTE)

#define MAX_MESSAGE		500

/* One go at a policy. */
typedef struct Run
{
	TtlPolicy  *policy;
	TimestampTz started_at;
	TimestampTz end;
	TimestampTz free_at;		/* when the rate limit lets the next batch go */
	int64		rows;
	int64		partitions;
	int64		changes;
	bool		more;			/* it was over before the table was done */
	bool		skipped;		/* nothing could have come of it */
	ErrorData  *error;			/* the first */
} Run;

/* What a step works on, and what it finds. */
typedef struct Step
{
	Run		   *run;
	TtlPart		part;
	bool		begun;			/* the first batch of a part begins at its first value */
	TtlBatch	batch;
	bool		dropped;
	List	   *parts;
	MemoryContext context;		/* where they last */
	TimestampTz next;			/* when the policy is due again */
} Step;

bool		sweep_in_worker = false;

static Oid	current_table;
Oid		   *sweep_current_table = &current_table;

static Statement select_policies = {
	.sql = "SELECT p.relation, p.column_name, p.keep, p.unit, p.keep_rows, p.key_columns,"
	" p.batch_size, p.rate_limit, pg_catalog.date_part('epoch', p.lock_timeout),"
	" pg_catalog.date_part('epoch', p.sweep_interval),"
	" s.last_run, s.failures, s.batch_size, s.changes "
	"FROM tradekeep.effective_ttl_policy AS p LEFT JOIN tradekeep.sweep_state AS s"
	" ON s.relation OPERATOR(pg_catalog.=) p.relation "
	"WHERE CASE WHEN $1 OPERATOR(pg_catalog.=) 0::pg_catalog.oid"
	" THEN NOT p.paused ELSE p.relation OPERATOR(pg_catalog.=) $1::pg_catalog.regclass END"
	" AND (NOT $2 OR s.next_run IS NULL"
	" OR s.next_run OPERATOR(pg_catalog.<=) pg_catalog.clock_timestamp()) "
	"ORDER BY s.last_run NULLS FIRST, p.relation",
	.nargs = 2,
	.argtypes = {OIDOID, BOOLOID}
};

/* Of tables that are gone; with the policies the rest goes too. */
static Statement forget_dropped = {
	.sql = "WITH policies AS (DELETE FROM tradekeep.ttl_policy AS p WHERE NOT EXISTS ("
	"SELECT FROM pg_catalog.pg_class AS c WHERE c.oid OPERATOR(pg_catalog.=) p.relation)), "
	"history AS (DELETE FROM tradekeep.sweep_history AS h WHERE NOT EXISTS ("
	"SELECT FROM tradekeep.effective_ttl_policy AS p"
	" WHERE p.relation OPERATOR(pg_catalog.=) h.relation)) "
	"DELETE FROM tradekeep.sweep_state AS s WHERE NOT EXISTS ("
	"SELECT FROM tradekeep.effective_ttl_policy AS p"
	" WHERE p.relation OPERATOR(pg_catalog.=) s.relation)",
	.nargs = 0
};

static Statement record_run = {
	.sql = "WITH state AS (INSERT INTO tradekeep.sweep_state AS s (relation, last_run, duration, rows,"
	" partitions, total_rows, total_partitions, runs, failures, next_run, batch_size, changes,"
	" last_error, last_sqlstate, last_error_at)"
	" VALUES ($1, $2, $3, $4, $5, $4, $5, 0, $6, $7, $8, $9, $10, $11,"
	" CASE WHEN $10 IS NOT NULL THEN $2 END)"
	" ON CONFLICT (relation) DO UPDATE SET last_run = excluded.last_run,"
	" duration = excluded.duration, rows = excluded.rows, partitions = excluded.partitions,"
	" total_rows = s.total_rows OPERATOR(pg_catalog.+) excluded.rows,"
	" total_partitions = s.total_partitions OPERATOR(pg_catalog.+) excluded.partitions,"
	" runs = s.runs OPERATOR(pg_catalog.+) CASE WHEN $12 THEN 1 ELSE 0 END,"
	" failures = excluded.failures, next_run = excluded.next_run,"
	" batch_size = excluded.batch_size, changes = excluded.changes,"
	" last_error = coalesce(excluded.last_error, s.last_error),"
	" last_sqlstate = coalesce(excluded.last_sqlstate, s.last_sqlstate),"
	" last_error_at = coalesce(excluded.last_error_at, s.last_error_at)"
	" RETURNING s.relation, s.runs) "
	"INSERT INTO tradekeep.sweep_history AS h"
	" (relation, slot, started_at, duration, rows, partitions, error, sqlstate)"
	" SELECT relation, runs OPERATOR(pg_catalog.%) 20, $2, $3, $4, $5, $10, $11 FROM state WHERE $12"
	" ON CONFLICT (relation, slot) DO UPDATE SET started_at = excluded.started_at,"
	" duration = excluded.duration, rows = excluded.rows, partitions = excluded.partitions,"
	" error = excluded.error, sqlstate = excluded.sqlstate",
	.nargs = 12,
	.argtypes = {OIDOID, TIMESTAMPTZOID, INTERVALOID, INT8OID, INT8OID, INT4OID, TIMESTAMPTZOID,
	INT4OID, INT8OID, TEXTOID, TEXTOID, BOOLOID}
};

/*
 * Every transaction of a round begins with this, and ends with the other; in between,
 * memory lasts as long as the transaction.  What the session's defaults are does not
 * matter.  A deletion that a crash takes back is made again, so nobody waits for a
 * flush.
 */
static MemoryContext
begin_step(void)
{
	XactIsoLevel = XACT_READ_COMMITTED;
	(void) set_config_option("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
	PushActiveSnapshot(GetTransactionSnapshot());
	return MemoryContextSwitchTo(TopTransactionContext);
}

static void
end_step(MemoryContext context)
{
	MemoryContextSwitchTo(context);
	PopActiveSnapshot();
	SPI_commit();
}

static Datum
column_of(HeapTuple row, int column, bool *isnull)
{
	return SPI_getbinval(row, SPI_tuptable->tupdesc, column, isnull);
}

static int64
number_of(HeapTuple row, int column, Oid type, int64 absent)
{
	bool		isnull;
	Datum		datum = column_of(row, column, &isnull);

	if (isnull)
		return absent;
	return type == INT8OID ? DatumGetInt64(datum) :
		type == FLOAT8OID ? (int64) (DatumGetFloat8(datum) * 1000) : DatumGetInt32(datum);
}

static void
read_keys(TtlPolicy *policy, HeapTuple row, int column)
{
	bool		isnull;
	Datum		datum = column_of(row, column, &isnull);
	Datum	   *names;

	if (isnull)
		return;
	deconstruct_array(DatumGetArrayTypeP(datum), NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR, &names,
					  NULL, &policy->nkeys);
	policy->keys = palloc(sizeof(char *) * policy->nkeys);
	for (int i = 0; i < policy->nkeys; i++)
		policy->keys[i] = pstrdup(NameStr(*DatumGetName(names[i])));
}

static TtlPolicy *
read_policy(HeapTuple row)
{
	TtlPolicy  *policy = palloc0(sizeof(TtlPolicy));
	char	   *unit = SPI_getvalue(row, SPI_tuptable->tupdesc, 4);
	bool		isnull;

	policy->relid = DatumGetObjectId(column_of(row, 1, &isnull));
	policy->name = qualified_name(policy->relid);
	policy->column = pstrdup(NameStr(*DatumGetName(column_of(row, 2, &isnull))));
	policy->keep = palloc(sizeof(Interval));
	*policy->keep = *DatumGetIntervalP(column_of(row, 3, &isnull));
	policy->unit = unit == NULL ? TTL_NO_UNIT : strcmp(unit, "s") == 0 ? TTL_SECONDS :
		TTL_MILLISECONDS;
	policy->keep_rows = number_of(row, 5, INT8OID, 0);
	read_keys(policy, row, 6);
	policy->batch_size = number_of(row, 7, INT4OID, sweep_batch_size);
	policy->rate_limit = number_of(row, 8, INT4OID, sweep_rate_limit);
	policy->lock_timeout = number_of(row, 9, FLOAT8OID, sweep_lock_timeout);
	policy->interval = number_of(row, 10, FLOAT8OID, sweep_interval);
	policy->last_run = number_of(row, 11, INT8OID, 0);
	policy->failures = number_of(row, 12, INT4OID, 0);
	policy->current_batch = number_of(row, 13, INT4OID, policy->batch_size);
	policy->current_batch = Min(policy->current_batch, policy->batch_size);
	policy->changes = number_of(row, 14, INT8OID, -1);
	return policy;
}

List *
load_policies(Oid only, bool due_alone, MemoryContext context)
{
	Datum		values[] = {ObjectIdGetDatum(only), BoolGetDatum(due_alone)};
	List	   *policies = NIL;
	OwnerScope	scope;
	uint64		n;

	enter_extension(&scope);
	SPI_connect();
	n = execute_statement(&select_policies, values, NULL);
	for (uint64 i = 0; i < n; i++)
	{
		MemoryContext spi = MemoryContextSwitchTo(context);

		policies = lappend(policies, read_policy(SPI_tuptable->vals[i]));
		MemoryContextSwitchTo(spi);
	}
	SPI_finish();
	leave_owner(&scope);
	return policies;
}

/* The parts are found under the same rights as everything else. */
static void
find_parts(Step *step)
{
	TtlTable	table;
	OwnerScope	scope;
	MemoryContext context;

	enter_table(&table, step->run->policy, step->run->policy->relid, AccessShareLock, &scope);
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

	enter_table(&table, step->run->policy, step->part.relid, RowExclusiveLock, &scope);
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

	enter_table(&table, step->run->policy, step->part.parent, AccessExclusiveLock, &scope);
	leave_owner(&scope);
	enter_table(&table, step->run->policy, step->part.relid, AccessExclusiveLock, &scope);
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

/* Waits until the rate limit lets the next batch go; what was not used is soon forgotten. */
static void
keep_rate(Run *run, int64 rows)
{
	int			rate = run->policy->rate_limit;
	TimestampTz now = GetCurrentTimestamp();

	if (rate > 0)
		run->free_at = Max(run->free_at, now - USECS_PER_SEC / 10) + rows * USECS_PER_SEC / rate;
	CHECK_FOR_INTERRUPTS();
	while (GetCurrentTimestamp() < run->free_at)
		sweep_nap(run->free_at);
}

static void
report_progress(const Run *run)
{
	if (sweep_in_worker)
		pgstat_report_activity(STATE_RUNNING, psprintf("sweeping %s: " INT64_FORMAT " rows",
													   run->policy->name, run->rows));
}

/* Batch after batch until nothing is left, something fails, or the time is over. */
static void
sweep_rows(Step *step)
{
	Run		   *run = step->run;
	TtlPolicy  *policy = run->policy;

	step->begun = false;
	step->batch.from = PG_INT64_MIN;
	while (!run->more)
	{
		TimestampTz began = GetCurrentTimestamp();
		int64		from = step->batch.from;
		int64		elapsed;

		step->batch.size = policy->current_batch;
		if (!attempt_step(step, sweep_batch))
		{
			if (is_cancel(run->error))
				policy->current_batch = Max(policy->current_batch / 4, 1);
			return;
		}
		run->rows += step->batch.deleted;
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
		keep_rate(run, step->batch.deleted);
		run->more = GetCurrentTimestamp() >= run->end;
	}
}

/*
 * By count, nothing is to be done unless rows were inserted or updated, as far as that was
 * reported; now and then we look all the same.
 */
static bool
unchanged(Run *run)
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
sweep_policy(Run *run)
{
	Step		step = {.run = run,.context = CurrentMemoryContext};
	ListCell   *cell;

	*sweep_current_table = run->policy->relid;
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
next_run(const Run *run, TimestampTz now)
{
	int64		interval = (int64) run->policy->interval * 1000;
	int64		rest = interval;

	if (run->error != NULL)
	{
		int			doublings = Min(run->policy->failures, 20);

		rest = Min(Max(interval, USECS_PER_SEC) << doublings, Max(interval, MAX_BACKOFF));
	}
	else if (run->more)
		return 0;
	else if (run->rows == 0 || run->policy->keep_rows > 0)
		rest = Max(interval, (now - run->started_at) * REST_PER_LOOK);
	return rest > (int64) sweep_interval * 1000 ? now + rest : 0;
}

static char *
short_message(const ErrorData *error)
{
	return pnstrdup(error->message,
					pg_mbcliplen(error->message, strlen(error->message), MAX_MESSAGE));
}

/* Writes down how a run went, if that is worth it. */
static void
record(Step *step)
{
	Run		   *run = step->run;
	TtlPolicy  *policy = run->policy;
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz next = next_run(run, now);
	bool		notable = run->rows > 0 || run->partitions > 0 || run->error != NULL;
	bool		recovered = run->error == NULL && policy->failures > 0;
	bool		small = policy->current_batch < policy->batch_size;
	Datum		values[12];
	char		nulls[12];
	OwnerScope	scope;

	if (run->skipped ||
		(!notable && !recovered && next == 0 && run->changes == policy->changes &&
		 now - policy->last_run < IDLE_RECORD) ||
		!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(policy->relid)))
		return;

	memset(nulls, ' ', sizeof(nulls));
	values[0] = ObjectIdGetDatum(policy->relid);
	values[1] = TimestampTzGetDatum(run->started_at);
	values[2] = IntervalPGetDatum(usecs_to_interval(now - run->started_at));
	values[3] = Int64GetDatum(run->rows);
	values[4] = Int64GetDatum(run->partitions);
	values[5] = Int32GetDatum(run->error != NULL ? policy->failures + 1 : 0);
	values[6] = TimestampTzGetDatum(next);
	nulls[6] = next == 0 ? 'n' : ' ';
	values[7] = Int32GetDatum(policy->current_batch);
	nulls[7] = small ? ' ' : 'n';
	values[8] = Int64GetDatum(run->changes);
	nulls[8] = run->changes < 0 || run->more ? 'n' : ' ';
	if (run->error != NULL)
	{
		values[9] = CStringGetTextDatum(short_message(run->error));
		values[10] = CStringGetTextDatum(unpack_sql_state(run->error->sqlerrcode));
	}
	else
		nulls[9] = nulls[10] = 'n';
	values[11] = BoolGetDatum(notable);

	enter_extension(&scope);
	set_lock_timeout(policy->lock_timeout);
	run_statement(&record_run, values, nulls);
	leave_owner(&scope);
	if (next != 0)
		step->next = next;
	else if (run->more)
		step->next = now;
}

/* A failure is told once, until the table is swept again; a caller is told each time. */
static void
tell_failure(const Run *run)
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

static List *
begin_round(Oid only)
{
	MemoryContext context = begin_step();
	List	   *policies;
	OwnerScope	scope;

	enter_extension(&scope);
	set_lock_timeout(sweep_lock_timeout);
	run_statement(&forget_dropped, NULL, NULL);
	leave_owner(&scope);
	policies = load_policies(only, sweep_in_worker && !OidIsValid(only), context);
	MemoryContextSwitchTo(context);
	if (!sweep_in_worker)
		policies = keep_own(policies);
	end_step(context);
	return policies;
}

/*
 * Tells and records how a run went, and returns when the policy is due again.  A table that
 * was dropped under us is no failure; neither is a record that somebody has locked.
 */
static TimestampTz
finish_run(Run *run, bool tell)
{
	Step		step = {.run = run};

	step.next = run->started_at + (int64) run->policy->interval * 1000;
	if (run->error != NULL && tell && SearchSysCacheExists1(RELOID, ObjectIdGetDatum(run->policy->relid)))
		tell_failure(run);
	(void) attempt_step(&step, record);
	return step.next;
}

void
blame_table(Oid relid)
{
	List	   *policies = begin_round(relid);
	ErrorData	error = {
		.sqlerrcode = ERRCODE_ADMIN_SHUTDOWN,
		.message = "the sweeper ended while it was at this table"
	};

	if (policies != NIL)
	{
		Run			run = {.policy = linitial(policies),.started_at = GetCurrentTimestamp(),
		.changes = -1,.error = &error};

		(void) finish_run(&run, true);
	}
}

TimestampTz
sweep_round(Oid only, TimestampTz end)
{
	List	   *policies = begin_round(only);
	ListCell   *cell;
	TimestampTz next = GetCurrentTimestamp() + (int64) sweep_interval * 1000;

	foreach(cell, policies)
	{
		TimestampTz now = GetCurrentTimestamp();
		Run			run = {.policy = lfirst(cell),.started_at = now,.changes = -1};
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
