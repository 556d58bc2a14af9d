/*
 * statement.c
 *		SQL that C runs again and again: prepared once a session, kept.
 */
#include "statement.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

Oid
timeframe_type(void)
{
	Oid			schema = get_namespace_oid(TRADEKEEP_SCHEMA, false);

	return GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum("timeframe"),
						   ObjectIdGetDatum(schema));
}

static void
prepare_statement(Statement *statement, Oid timeframe)
{
	Oid			argtypes[STATEMENT_MAX_ARGUMENTS];
	SPIPlanPtr	plan;

	for (int i = 0; i < statement->nargs; i++)
		argtypes[i] = statement->argtypes[i] == TIMEFRAMEARRAYOID ? get_array_type(timeframe) :
			statement->argtypes[i] == TIMEFRAMEOID ? timeframe : statement->argtypes[i];
	plan = SPI_prepare(statement->sql, statement->nargs, argtypes);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	if (SPI_keepplan(plan) != 0)
		elog(ERROR, "SPI_keepplan failed");
	if (statement->plan != NULL)
		SPI_freeplan(statement->plan);
	statement->plan = plan;
	statement->timeframe = timeframe;
}

uint64
execute_statement(Statement *statement, Datum *values, const char *nulls)
{
	Oid			timeframe = timeframe_type();
	int			code;

	if (statement->plan == NULL || statement->timeframe != timeframe)
		prepare_statement(statement, timeframe);
	code = SPI_execute_plan(statement->plan, values, nulls, false, 0);
	if (code < 0)
		elog(ERROR, "SPI_execute_plan failed: %s", SPI_result_code_string(code));
	return SPI_processed;
}

uint64
execute_under(Statement *statement, Datum *values, const char *nulls, Snapshot snapshot)
{
	Oid			timeframe = timeframe_type();
	int			code;

	if (statement->plan == NULL || statement->timeframe != timeframe)
		prepare_statement(statement, timeframe);
	code = SPI_execute_snapshot(statement->plan, values, nulls, snapshot, InvalidSnapshot, false,
								true, 0);
	if (code < 0)
		elog(ERROR, "SPI_execute_snapshot failed: %s", SPI_result_code_string(code));
	return SPI_processed;
}

uint64
execute_latest(Statement *statement, Datum *values)
{
	uint64		processed;

	CommandCounterIncrement();
	PushActiveSnapshot(GetLatestSnapshot());
	processed = execute_under(statement, values, NULL, GetActiveSnapshot());
	PopActiveSnapshot();
	return processed;
}

uint64
run_statement(Statement *statement, Datum *values, const char *nulls)
{
	uint64		processed;

	SPI_connect();
	processed = execute_statement(statement, values, nulls);
	SPI_finish();
	return processed;
}

void
stream_statement(Statement *statement, Datum *values, DestReceiver *dest)
{
	stream_nullable(statement, values, NULL, dest);
}

void
stream_nullable(Statement *statement, Datum *values, const char *nulls, DestReceiver *dest)
{
	Oid			timeframe = timeframe_type();
	SPIExecuteOptions options = {.read_only = true,.dest = dest};
	int			code;

	SPI_connect();
	if (statement->plan == NULL || statement->timeframe != timeframe)
		prepare_statement(statement, timeframe);
	options.params = makeParamList(statement->nargs);
	for (int i = 0; i < statement->nargs; i++)
		options.params->params[i] = (ParamExternData)
	{
		.value = values[i],.isnull = nulls != NULL && nulls[i] == 'n',.pflags = PARAM_FLAG_CONST,
			.ptype = SPI_getargtypeid(statement->plan, i)
	};
	code = SPI_execute_plan_extended(statement->plan, &options);
	if (code < 0)
		elog(ERROR, "SPI_execute_plan_extended failed: %s", SPI_result_code_string(code));
	SPI_finish();
}

Datum
array_datum(Datum *values, int nvalues, Oid type)
{
	int16		length;
	bool		byval;
	char		align;

	get_typlenbyvalalign(type, &length, &byval, &align);
	return PointerGetDatum(construct_array(values, nvalues, type, length, byval, align));
}

/*
 * A caller that begins an attempt ends it on every way out, errors included: the
 * transaction below would not come out of the subtransaction by itself.
 */
void
begin_attempt(Attempt *attempt)
{
	attempt->context = CurrentMemoryContext;
	attempt->owner = CurrentResourceOwner;
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(attempt->context);
}

void
keep_attempt(Attempt *attempt)
{
	ReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(attempt->context);
	CurrentResourceOwner = attempt->owner;
}

void
undo_attempt(Attempt *attempt)
{
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(attempt->context);
	CurrentResourceOwner = attempt->owner;
}

bool
is_cancel(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_QUERY_CANCELED && error->funcname != NULL &&
		strcmp(error->funcname, "ProcessInterrupts") == 0;
}

bool
table_granted(const char *table, AclMode privilege)
{
	Oid			relid = get_relname_relid(table, get_namespace_oid(TRADEKEEP_SCHEMA, false));

	return pg_class_aclcheck(relid, GetUserId(), privilege) == ACLCHECK_OK;
}
