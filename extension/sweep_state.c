/*
 * sweep_state.c
 *		Policies as our tables have them, and what became of them there.
 */
#include "sweep.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "input.h"
#include "statement.h"

/* How often a table in which nothing was to be done is written down. */
#define IDLE_RECORD		(1 * USECS_PER_MINUTE)

#define MAX_MESSAGE		500

static Statement select_policies = {
	.sql = "SELECT p.relation, p.column_name, p.keep, p.unit, p.keep_rows, p.key_columns,"
	" p.batch_size, p.rate_limit, pg_catalog.date_part('epoch', p.lock_timeout),"
	" pg_catalog.date_part('epoch', p.sweep_interval),"
	" s.last_run, s.failures, s.batch_size, s.changes, p.candle_retention "
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
static Statement delete_dropped = {
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

static Statement store_run = {
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
	policy->rate_limit = number_of(row, 8, INT4OID, -1);
	policy->own_rate = policy->rate_limit >= 0;
	if (!policy->own_rate)
		policy->rate_limit = sweep_rate_limit;
	policy->lock_timeout = number_of(row, 9, FLOAT8OID, sweep_lock_timeout);
	policy->interval = number_of(row, 10, FLOAT8OID, sweep_interval);
	policy->last_run = number_of(row, 11, INT8OID, 0);
	policy->failures = number_of(row, 12, INT4OID, 0);
	policy->current_batch = number_of(row, 13, INT4OID, policy->batch_size);
	policy->current_batch = Min(policy->current_batch, policy->batch_size);
	policy->changes = number_of(row, 14, INT8OID, -1);
	policy->candle_retention = DatumGetBool(column_of(row, 15, &isnull));
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

void
forget_dropped(void)
{
	OwnerScope	scope;

	enter_extension(&scope);
	run_statement(&delete_dropped, NULL, NULL);
	leave_owner(&scope);
}

static char *
short_message(const ErrorData *error)
{
	return pnstrdup(error->message,
					pg_mbcliplen(error->message, strlen(error->message), MAX_MESSAGE));
}

void
record_run(const SweepRun *run, TimestampTz now, TimestampTz next)
{
	const TtlPolicy *policy = run->policy;
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
	run_statement(&store_run, values, nulls);
	leave_owner(&scope);
}
