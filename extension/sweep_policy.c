/*
 * sweep_policy.c
 *		What a user says about the lifetime of rows: set_ttl() and its kin.
 *
 * Who owns a table may give it a policy.  The policies stand in a table of ours that
 * nobody may write directly, so that all checks are here.  Claims and signals have
 * policies of their own from the start (effective_ttl_policy in sweep.sql); a
 * row for them only overrides how they are swept, never when.
 */
#include "sweep.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "input.h"
#include "statement.h"

PG_FUNCTION_INFO_V1(tradekeep_set_ttl);
PG_FUNCTION_INFO_V1(tradekeep_drop_ttl);
PG_FUNCTION_INFO_V1(tradekeep_pause_ttl);
PG_FUNCTION_INFO_V1(tradekeep_preview_ttl);
PG_FUNCTION_INFO_V1(tradekeep_ttl_backlog);

/* Epochs of 1973 in milliseconds, and of the year 5138 in seconds. */
#define PLAUSIBLE_EPOCH INT64CONST(100000000000)

/* The arguments of set_ttl(). */
enum
{
	ARG_RELATION, ARG_COLUMN, ARG_KEEP, ARG_BATCH_SIZE, ARG_UNIT, ARG_KEEP_ROWS, ARG_KEYS,
	ARG_CREATE_INDEX, ARG_RATE_LIMIT, ARG_LOCK_TIMEOUT, ARG_INTERVAL, ARGS
};

static Statement store_policy = {
	.sql = "INSERT INTO tradekeep.ttl_policy AS p (relation, column_name, keep, batch_size, unit,"
	" keep_rows, key_columns, rate_limit, lock_timeout, sweep_interval)"
	" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
	" ON CONFLICT (relation) DO UPDATE SET column_name = excluded.column_name,"
	" keep = excluded.keep, batch_size = excluded.batch_size, unit = excluded.unit,"
	" keep_rows = excluded.keep_rows, key_columns = excluded.key_columns,"
	" rate_limit = excluded.rate_limit, lock_timeout = excluded.lock_timeout,"
	" sweep_interval = excluded.sweep_interval",
	.nargs = 10,
	.argtypes = {OIDOID, NAMEOID, INTERVALOID, INT4OID, TEXTOID, INT8OID, NAMEARRAYOID, INT4OID,
	INTERVALOID, INTERVALOID}
};

/* A new policy has no past: it is due at once, at the batch size that it asks for. */
static Statement forget_state = {
	.sql = "UPDATE tradekeep.sweep_state SET next_run = NULL, batch_size = NULL, changes = NULL,"
	" failures = 0 WHERE relation OPERATOR(pg_catalog.=) $1::pg_catalog.regclass",
	.nargs = 1,
	.argtypes = {OIDOID}
};

static Statement delete_policy = {
	.sql = "DELETE FROM tradekeep.ttl_policy"
	" WHERE relation OPERATOR(pg_catalog.=) $1::pg_catalog.regclass",
	.nargs = 1,
	.argtypes = {OIDOID}
};

/* Of a built-in policy this makes a row that overrides it. */
static Statement pause_policy = {
	.sql = "INSERT INTO tradekeep.ttl_policy AS p (relation, column_name, keep, paused)"
	" SELECT e.relation, e.column_name, e.keep, $2 FROM tradekeep.effective_ttl_policy AS e"
	" WHERE e.relation OPERATOR(pg_catalog.=) $1::pg_catalog.regclass"
	" ON CONFLICT (relation) DO UPDATE SET paused = excluded.paused",
	.nargs = 2,
	.argtypes = {OIDOID, BOOLOID}
};

static void
execute_for_extension(Statement *statement, Datum *values, const char *nulls)
{
	OwnerScope	scope;

	enter_extension(&scope);
	run_statement(statement, values, nulls);
	leave_owner(&scope);
}

void
require_table_rights(Oid relid, const char *function)
{
	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
	if (!owns_table(relid, GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of table %s to call %s()", get_rel_name(relid), function)));
}

/* Keeps the table from changing until the end of the transaction. */
static Oid
relation_argument(FunctionCallInfo fcinfo, const char *function)
{
	Oid			relid;

	if (PG_ARGISNULL(ARG_RELATION))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("relation must not be null")));
	relid = PG_GETARG_OID(ARG_RELATION);
	/* Again when the wait for the lock is over: it may have gone, or to another owner. */
	require_table_rights(relid, function);
	LockRelationOid(relid, AccessShareLock);
	require_table_rights(relid, function);
	return relid;
}

static int
positive_argument(FunctionCallInfo fcinfo, int argno, const char *name, int least, int most,
				  int absent)
{
	int			number;

	if (PG_ARGISNULL(argno))
		return absent;
	number = PG_GETARG_INT32(argno);
	if (number < least || number > most)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s is out of range: %d", name, number),
				 errhint("It lies between %d and %d.", least, most)));
	return number;
}

/* Milliseconds. */
static int
duration_argument(FunctionCallInfo fcinfo, int argno, const char *name, int absent)
{
	int64		usecs;

	if (PG_ARGISNULL(argno))
		return absent;
	usecs = ttl_to_usecs(PG_GETARG_INTERVAL_P(argno), name);
	if (usecs > USECS_PER_DAY)
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_TTL),
				 errmsg("%s is longer than a day", name)));
	return usecs / 1000;
}

static void
keep_argument(FunctionCallInfo fcinfo, TtlPolicy *policy)
{
	if (PG_ARGISNULL(ARG_KEEP))
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_TTL),
				 errmsg("keep must not be null")));
	policy->keep = PG_GETARG_INTERVAL_P(ARG_KEEP);
	if (policy->keep->month < 0 || policy->keep->day < 0 || policy->keep->time < 0)
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_TTL),
				 errmsg("keep must not be negative")));
	(void) interval_to_usecs(policy->keep, "keep");
}

static void
unit_argument(FunctionCallInfo fcinfo, TtlPolicy *policy)
{
	char	   *unit;

	if (PG_ARGISNULL(ARG_UNIT))
		return;
	unit = text_to_cstring(PG_GETARG_TEXT_PP(ARG_UNIT));
	if (strcmp(unit, "s") == 0)
		policy->unit = TTL_SECONDS;
	else if (strcmp(unit, "ms") == 0)
		policy->unit = TTL_MILLISECONDS;
	else
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid unit: \"%s\"", unit),
				 errhint("A bigint counts seconds ('s') or milliseconds ('ms') since 1970.")));
}

static void
count_arguments(FunctionCallInfo fcinfo, TtlPolicy *policy)
{
	Datum	   *names;
	bool	   *nulls;

	if (!PG_ARGISNULL(ARG_KEEP_ROWS))
	{
		policy->keep_rows = PG_GETARG_INT64(ARG_KEEP_ROWS);
		if (policy->keep_rows <= 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("keep_rows is out of range: " INT64_FORMAT, policy->keep_rows),
					 errhint("It is how many rows stay, at least 1.")));
	}
	if (PG_ARGISNULL(ARG_KEYS))
		return;
	if (policy->keep_rows == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key_columns without keep_rows")));
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(ARG_KEYS), NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR,
					  &names, &nulls, &policy->nkeys);
	policy->keys = palloc(sizeof(char *) * policy->nkeys);
	for (int i = 0; i < policy->nkeys; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("key_columns must not contain null")));
		policy->keys[i] = NameStr(*DatumGetName(names[i]));
	}
}

static void
read_arguments(FunctionCallInfo fcinfo, TtlPolicy *policy)
{
	memset(policy, 0, sizeof(TtlPolicy));
	if (PG_ARGISNULL(ARG_COLUMN))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("column_name must not be null")));
	policy->column = NameStr(*PG_GETARG_NAME(ARG_COLUMN));
	keep_argument(fcinfo, policy);
	unit_argument(fcinfo, policy);
	count_arguments(fcinfo, policy);
	policy->batch_size = positive_argument(fcinfo, ARG_BATCH_SIZE, "batch_size", 1, MAX_BATCH_SIZE,
										   sweep_batch_size);
	policy->rate_limit = positive_argument(fcinfo, ARG_RATE_LIMIT, "rate_limit", 0, MAX_RATE_LIMIT,
										   sweep_rate_limit);
	policy->lock_timeout = duration_argument(fcinfo, ARG_LOCK_TIMEOUT, "lock_timeout",
											 sweep_lock_timeout);
	policy->interval = duration_argument(fcinfo, ARG_INTERVAL, "sweep_interval", sweep_interval);
}

/* Seconds taken for milliseconds would all be expired. */
static void
check_unit(const TtlTable *table)
{
	TtlUnit		unit = table->policy->unit;
	int64		value;

	if (unit == TTL_NO_UNIT || !greatest_value(table, &value) || value <= 0)
		return;
	if ((unit == TTL_MILLISECONDS) != (value >= PLAUSIBLE_EPOCH))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("column %s of table %s does not look like %s", table->column, table->name,
						unit == TTL_SECONDS ? "seconds" : "milliseconds"),
				 errdetail("Its greatest value is " INT64_FORMAT ".", value),
				 errhint("The unit is 's' for seconds or 'ms' for milliseconds since 1970.")));
}

/*
 * What tradekeep promises of its own rows is not for a policy to change: when they expire
 * is built in (effective_ttl_policy in sweep.sql), and said again here only to be clear.
 */
static void
check_own_table(const TtlPolicy *policy)
{
	static const struct
	{
		const char *table;
		const char *column;
		bool		may_keep;	/* longer */
	}			own[] =

	{
		{"claim", "sweep_after", true},
		{"signal", "sweep_after", true},
		{"tick", "sweep_after", true},
		{"candle_correction", "corrected_at", true},
		{"symbol_lock", "until", true},
		{"candle", "ts", false},
	};
	char	   *name = get_rel_name(policy->relid);

	if (get_rel_namespace(policy->relid) != get_namespace_oid(TRADEKEEP_SCHEMA, false))
		return;
	for (int i = 0; i < lengthof(own); i++)
		if (strcmp(name, own[i].table) == 0 &&
			(strcmp(policy->column, own[i].column) != 0 || policy->keep_rows > 0 ||
			 (!own[i].may_keep && (policy->keep->month != 0 || policy->keep->day != 0 ||
								   policy->keep->time != 0))))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("when rows of tradekeep.%s expire is built in", name),
					 errhint("With column_name %s, %sbatch_size, rate_limit, lock_timeout and"
							 " sweep_interval can be set.%s", own[i].column,
							 own[i].may_keep ? "keep, " : "",
							 own[i].may_keep ? "" : " See set_candle_retention().")));
}

static void
offer_index(const TtlTable *table, bool create)
{
	int			code;

	if (table->indexed)
		return;
	if (!create)
	{
		ereport(NOTICE,
				(errmsg("table %s has no index for its ttl: each look reads all of it", table->name),
				 errhint("%s;  or set_ttl(..., create_index => true).",
						 index_command(table, get_rel_relkind(table->relid) == RELKIND_RELATION ?
									   "CONCURRENTLY " : ""))));
		return;
	}
	code = SPI_execute(index_command(table, ""), false, 0);
	if (code < 0)
		elog(ERROR, "SPI_execute failed: %s", SPI_result_code_string(code));
}

Datum
tradekeep_set_ttl(PG_FUNCTION_ARGS)
{
	TtlPolicy	policy;
	TtlTable	table;
	OwnerScope	scope;
	Datum		values[] = {PG_GETARG_DATUM(ARG_RELATION), PG_GETARG_DATUM(ARG_COLUMN),
		PG_GETARG_DATUM(ARG_KEEP), PG_GETARG_DATUM(ARG_BATCH_SIZE), PG_GETARG_DATUM(ARG_UNIT),
		PG_GETARG_DATUM(ARG_KEEP_ROWS), PG_GETARG_DATUM(ARG_KEYS), PG_GETARG_DATUM(ARG_RATE_LIMIT),
	PG_GETARG_DATUM(ARG_LOCK_TIMEOUT), PG_GETARG_DATUM(ARG_INTERVAL)};
	static const int arguments[] = {ARG_RELATION, ARG_COLUMN, ARG_KEEP, ARG_BATCH_SIZE, ARG_UNIT,
	ARG_KEEP_ROWS, ARG_KEYS, ARG_RATE_LIMIT, ARG_LOCK_TIMEOUT, ARG_INTERVAL};
	char		nulls[lengthof(arguments)];

	require_writable("tradekeep.set_ttl");
	read_arguments(fcinfo, &policy);
	policy.relid = relation_argument(fcinfo, "tradekeep.set_ttl");
	check_own_table(&policy);
	SPI_connect();
	enter_table(&table, &policy, policy.relid, AccessShareLock, &scope);
	check_unit(&table);
	offer_index(&table, !PG_ARGISNULL(ARG_CREATE_INDEX) && PG_GETARG_BOOL(ARG_CREATE_INDEX));
	leave_owner(&scope);
	SPI_finish();

	for (int i = 0; i < lengthof(arguments); i++)
		nulls[i] = PG_ARGISNULL(arguments[i]) ? 'n' : ' ';
	execute_for_extension(&store_policy, values, nulls);
	execute_for_extension(&forget_state, values, NULL);
	PG_RETURN_VOID();
}

Datum
tradekeep_drop_ttl(PG_FUNCTION_ARGS)
{
	Datum		values[1];
	OwnerScope	scope;
	bool		existed;

	require_writable("tradekeep.drop_ttl");
	values[0] = ObjectIdGetDatum(relation_argument(fcinfo, "tradekeep.drop_ttl"));
	enter_extension(&scope);
	existed = run_statement(&delete_policy, values, NULL) > 0;
	leave_owner(&scope);
	execute_for_extension(&forget_state, values, NULL);
	PG_RETURN_BOOL(existed);
}

Datum
tradekeep_pause_ttl(PG_FUNCTION_ARGS)
{
	Datum		values[2];

	require_writable("tradekeep.pause_ttl");
	values[0] = ObjectIdGetDatum(relation_argument(fcinfo, "tradekeep.pause_ttl"));
	(void) require_policy(DatumGetObjectId(values[0]));
	values[1] = BoolGetDatum(PG_ARGISNULL(1) || PG_GETARG_BOOL(1));
	execute_for_extension(&pause_policy, values, NULL);
	PG_RETURN_VOID();
}

static TtlPolicy *
find_policy(Oid relid)
{
	List	   *policies = load_policies(relid, false, CurrentMemoryContext);

	return policies != NIL ? linitial(policies) : NULL;
}

TtlPolicy *
require_policy(Oid relid)
{
	TtlPolicy  *policy = find_policy(relid);

	if (policy == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("table %s has no ttl", get_rel_name(relid)),
				 errhint("tradekeep.set_ttl() gives it one.")));
	return policy;
}

Datum
tradekeep_preview_ttl(PG_FUNCTION_ARGS)
{
	Oid			relid = relation_argument(fcinfo, "tradekeep.preview_ttl");
	TtlPolicy  *policy = require_policy(relid);
	List	   *parts;
	ListCell   *cell;
	TtlTable	table;
	OwnerScope	scope;
	int64		rows = 0;

	SPI_connect();
	enter_table(&table, policy, relid, AccessShareLock, &scope);
	parts = list_parts(&table);
	leave_owner(&scope);
	foreach(cell, parts)
	{
		TtlPart    *part = lfirst(cell);

		enter_table(&table, policy, part->relid, AccessShareLock, &scope);
		rows += count_expired(&table, part);
		leave_owner(&scope);
	}
	SPI_finish();
	PG_RETURN_INT64(rows);
}

/* Sums up the parts of a table: how many rows are expired, and the oldest of them. */
static void
measure_backlog(TtlPolicy *policy, Datum *values, bool *nulls)
{
	TtlTable	table;
	OwnerScope	scope;
	List	   *parts;
	ListCell   *cell;
	int64		rows = 0;
	TimestampTz oldest = DT_NOEND;

	enter_table(&table, policy, policy->relid, AccessShareLock, &scope);
	parts = list_parts(&table);
	leave_owner(&scope);
	values[2] = BoolGetDatum(table.indexed);
	nulls[2] = policy->candle_retention;

	/* By count there is nothing cheap to say, nor where all of the table would be read. */
	if (policy->keep_rows > 0 || policy->candle_retention || !table.indexed)
		return;
	foreach(cell, parts)
	{
		TtlPart    *part = lfirst(cell);
		TimestampTz value;

		enter_table(&table, policy, part->relid, AccessShareLock, &scope);
		if (oldest_expired(&table, &value))
		{
			oldest = Min(oldest, value);
			rows += estimate_expired(&table);
		}
		leave_owner(&scope);
	}
	values[0] = Int64GetDatum(rows);
	nulls[0] = false;
	values[1] = TimestampTzGetDatum(oldest);
	nulls[1] = rows == 0;
}

/*
 * Looking at a table may run functions of its owner, with the owner's rights, in the session
 * of whoever looks: who has not these rights anyway must not have prepared the session with
 * temporary tables.  Row policies, which bind the owner too, are not run.
 */
static bool
may_look(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	bool		may = false;

	if (HeapTupleIsValid(tuple))
	{
		Form_pg_class form = (Form_pg_class) GETSTRUCT(tuple);
		Oid			temporary;
		Oid			toast;

		GetTempNamespaceState(&temporary, &toast);
		may = !form->relforcerowsecurity &&
			(!OidIsValid(temporary) || has_privs_of_role(GetUserId(), form->relowner));
		ReleaseSysCache(tuple);
	}
	return may;
}

/* False, and all is null, when the table cannot be swept or looked at. */
static bool
try_backlog(TtlPolicy *policy, Datum *values, bool *nulls)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool measured = true;
	Attempt		attempt;

	begin_attempt(&attempt);
	PG_TRY();
	{
		SPI_connect();
		measure_backlog(policy, values, nulls);
		SPI_finish();
		keep_attempt(&attempt);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		undo_attempt(&attempt);
		if (is_cancel(error))
			ReThrowError(error);
		measured = false;
	}
	PG_END_TRY();
	return measured;
}

/*
 * A row of nulls for a table that is locked, or cannot be swept any more: a view of all
 * must not fail, or wait, because of one.
 */
Datum
tradekeep_ttl_backlog(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	TtlPolicy  *policy = find_policy(relid);
	Datum		values[3];
	bool		nulls[3] = {true, true, true};
	TupleDesc	desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (policy == NULL || !may_look(relid) || !ConditionalLockRelationOid(relid, AccessShareLock) ||
		!try_backlog(policy, values, nulls))
		memset(nulls, true, sizeof(nulls));
	return HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
}
