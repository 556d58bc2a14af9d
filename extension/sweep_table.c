/*
 * sweep_table.c
 *		One table with a TTL: what of it is expired, and taking a batch of that away.
 *
 * A worker is a superuser by birth, and so may be who calls sweep().  Whatever runs
 * because of a table (its triggers, row policies, functions in its indexes) must gain
 * nothing by that.  So all work on a table is done as its owner, in a
 * security-restricted operation, inside a settings level of its own that is
 * rolled back behind it; constraints that are deferred would fire at the commit, with
 * other rights, and are made immediate.  A table is refused when somebody else's
 * triggers would run: of a partitioned table or partition, or behind the action of a foreign key.
 *
 * Values of all supported types are handled as int64: timestamps in microseconds and
 * dates in days since 2000, both in UTC, and epochs as they are.
 */
#include "sweep.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/catalog.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "partitioning/partbounds.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/partcache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "statement.h"

/* Between the epochs of PostgreSQL and of Unix. */
#define EPOCH_USECS \
	((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

static int64
floor_divide(int64 number, int64 divisor)
{
	int64		quotient = number / divisor;

	return number % divisor < 0 ? quotient - 1 : quotient;
}

static int64
usecs_per_unit(TtlUnit unit)
{
	return unit == TTL_SECONDS ? USECS_PER_SEC : 1000;
}

/*
 * The greatest value that is expired now.  Months are subtracted as the calendar
 * has them, in UTC; where the day does not exist, it is the last one before.
 */
static int64
expired_limit(const TtlPolicy *policy, Oid type)
{
	/* timestamptz would be reckoned in the session's time zone. */
	int64		cutoff = DatumGetTimestamp(DirectFunctionCall2(timestamp_mi_interval,
															   TimestampGetDatum(GetCurrentTimestamp()),
															   IntervalPGetDatum(policy->keep)));

	if (type == DATEOID)
		return floor_divide(cutoff, USECS_PER_DAY) - 1; /* a day that is over */
	if (type == INT8OID)
		return floor_divide(cutoff + EPOCH_USECS, usecs_per_unit(policy->unit));
	return cutoff;
}

static Datum
value_datum(Oid type, int64 value)
{
	return type == DATEOID ? DateADTGetDatum((DateADT) value) : Int64GetDatum(value);
}

static int64
datum_value(Oid type, Datum datum)
{
	return type == DATEOID ? DatumGetDateADT(datum) : DatumGetInt64(datum);
}

/* As a time; an epoch that no timestamp can hold is an infinity. */
static TimestampTz
value_time(const TtlTable *table, int64 value)
{
	int64		usecs = usecs_per_unit(table->policy->unit);

	if (table->type == DATEOID)
		return date2timestamp_opt_overflow((DateADT) value, NULL);
	if (table->type != INT8OID)
		return value;
	if (value <= (MIN_TIMESTAMP + EPOCH_USECS) / usecs)
		return DT_NOBEGIN;
	if (value >= END_TIMESTAMP / usecs)
		return DT_NOEND;
	return value * usecs - EPOCH_USECS;
}

int64
first_value(const TtlTable *table)
{
	return table->type == DATEOID ? DATEVAL_NOBEGIN : PG_INT64_MIN;
}

char *
qualified_name(Oid relid)
{
	if (get_rel_name(relid) == NULL)
		return "(dropped)";
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)),
									  get_rel_name(relid));
}

/* A btree whose first columns are these, for all rows. */
static bool
has_index(Relation relation, const AttrNumber *columns, int ncolumns)
{
	List	   *indexes = RelationGetIndexList(relation);
	ListCell   *cell;
	bool		found = false;

	foreach(cell, indexes)
	{
		Relation	index = relation_open(lfirst_oid(cell), AccessShareLock);
		Form_pg_index form = index->rd_index;

		found = index->rd_rel->relam == BTREE_AM_OID && form->indisvalid &&
			form->indnkeyatts >= ncolumns &&
			heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL);
		for (int i = 0; found && i < ncolumns; i++)
			found = form->indkey.values[i] == columns[i];
		relation_close(index, AccessShareLock);
		if (found)
			break;
	}
	list_free(indexes);
	return found;
}

static AttrNumber
column_number(Relation relation, const char *column)
{
	AttrNumber	number = get_attnum(RelationGetRelid(relation), column);

	/* System columns have negative numbers. */
	if (number <= InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of table %s does not exist", column,
						qualified_name(RelationGetRelid(relation)))));
	return number;
}

/* Refuses what cannot be swept, and learns the rest about the table. */
static void
examine_table(TtlTable *table, Relation relation)
{
	const TtlPolicy *policy = table->policy;
	AttrNumber *columns = palloc(sizeof(AttrNumber) * (policy->nkeys + 1));
	char		kind = relation->rd_rel->relkind;

	table->name = qualified_name(table->relid);
	table->column = pstrdup(quote_identifier(policy->column));
	if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("%s is not a table", table->name)));
	if (relation->rd_rel->relpersistence == RELPERSISTENCE_TEMP || IsCatalogRelation(relation))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("%s is a temporary or system table", table->name)));
	if (kind == RELKIND_PARTITIONED_TABLE && policy->keep_rows > 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("keep_rows does not work on a partitioned table: %s", table->name)));

	for (int i = 0; i < policy->nkeys; i++)
	{
		Oid			type;

		columns[i] = column_number(relation, policy->keys[i]);
		type = get_atttype(table->relid, columns[i]);
		if (!OidIsValid(lookup_type_cache(type, TYPECACHE_LT_OPR)->lt_opr))
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column %s of table %s is of type %s, which has no order",
							quote_identifier(policy->keys[i]), table->name,
							format_type_be(type))));
	}
	columns[policy->nkeys] = column_number(relation, policy->column);
	table->indexed = has_index(relation, columns, policy->nkeys + 1);
	table->type = get_atttype(table->relid, columns[policy->nkeys]);
	if (table->type != TIMESTAMPTZOID && table->type != TIMESTAMPOID && table->type != DATEOID &&
		table->type != INT8OID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column %s of table %s is of type %s", table->column, table->name,
						format_type_be(table->type)),
				 errhint("A ttl goes by a timestamptz, timestamp, date, or bigint epoch.")));
	if ((table->type == INT8OID) != (policy->unit != TTL_NO_UNIT))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 table->type == INT8OID ?
				 errmsg("column %s of table %s needs a unit", table->column, table->name) :
				 errmsg("column %s of table %s has no unit", table->column, table->name),
				 errhint("A bigint counts seconds ('s') or milliseconds ('ms') since 1970;"
						 " other types have no unit.")));
	table->limit = expired_limit(policy, table->type);
	pfree(columns);
}

/*
 * AFTER triggers that a foreign key's action sets off run with our rights, not with those
 * of the referencing table's owner.
 */
static void
require_own_references(const TtlTable *table)
{
	static Statement foreign_reference = {
		.sql = "WITH RECURSIVE reached(relid) AS (SELECT $1 UNION"
		" SELECT c.conrelid FROM reached AS r JOIN pg_catalog.pg_constraint AS c"
		" ON c.confrelid OPERATOR(pg_catalog.=) r.relid"
		" WHERE c.contype OPERATOR(pg_catalog.=) 'f' AND (c.confdeltype OPERATOR(pg_catalog.=)"
		" ANY ('{c,n,d}'::pg_catalog.\"char\"[]) OR c.confupdtype OPERATOR(pg_catalog.=)"
		" ANY ('{c,n,d}'::pg_catalog.\"char\"[]))) "
		"SELECT r.relid FROM reached AS r JOIN pg_catalog.pg_class AS c"
		" ON c.oid OPERATOR(pg_catalog.=) r.relid"
		" WHERE c.relowner OPERATOR(pg_catalog.<>) $2 LIMIT 1",
		.nargs = 2,
		.argtypes = {OIDOID, OIDOID}
	};
	Datum		values[] = {ObjectIdGetDatum(table->relid), ObjectIdGetDatum(table->owner)};
	bool		isnull;

	SPI_connect();
	if (execute_statement(&foreign_reference, values, NULL) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("table %s and table %s, which references it, have different owners",
						qualified_name(table->relid),
						qualified_name(DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0],
																	  SPI_tuptable->tupdesc, 1,
																	  &isnull)))),
				 errhint("What is swept as its owner must not run another's triggers.")));
	SPI_finish();
}

/* Triggers of a partitioned table are triggers of its partitions too. */
static void
require_one_owner(const TtlTable *table, Relation relation)
{
	List	   *ancestors;
	ListCell   *cell;

	if (!relation->rd_rel->relispartition)
		return;
	ancestors = get_partition_ancestors(table->relid);
	foreach(cell, ancestors)
		if (relation_owner(lfirst_oid(cell)) != table->owner)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("partition %s and table %s have different owners",
						qualified_name(table->relid), qualified_name(lfirst_oid(cell))),
				 errhint("What is swept as its owner must not run another's triggers.")));
	list_free(ancestors);
}

void
enter_table(TtlTable *table, const TtlPolicy *policy, Oid relid, LOCKMODE lockmode,
			OwnerScope *scope)
{
	Relation	relation;

	begin_scope(scope);
	set_lock_timeout(policy->lock_timeout);
	set_in_scope("jit", "off");
	set_in_scope("row_security", "on");

	/* A lock of ours lasts until the end of the transaction. */
	relation = relation_open(relid, lockmode);
	memset(table, 0, sizeof(TtlTable));
	table->policy = policy;
	table->relid = relid;
	table->owner = relation->rd_rel->relowner;
	require_one_owner(table, relation);
	if (relation->rd_rel->relhastriggers)
		require_own_references(table);
	examine_table(table, relation);
	relation_close(relation, NoLock);

	/* With statistics that lag behind, sorting the whole table might seem cheaper. */
	if (table->indexed)
	{
		set_in_scope("enable_seqscan", "off");
		set_in_scope("enable_bitmapscan", "off");
	}
	SetUserIdAndSecContext(table->owner, scope->security | SECURITY_RESTRICTED_OPERATION);
}

static void
execute(const char *command, int nargs, Oid *types, Datum *values, bool read_only)
{
	int			code = SPI_execute_with_args(command, nargs, types, values, NULL, read_only, 0);

	if (code < 0)
		elog(ERROR, "SPI_execute_with_args failed: %s", SPI_result_code_string(code));
}

/* A value of the only row of the last statement. */
static Datum
result_value(int column, bool *isnull)
{
	bool		null;
	Datum		value;

	if (SPI_processed != 1)
		elog(ERROR, "unexpected number of rows: " UINT64_FORMAT, SPI_processed);
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, &null);
	if (isnull != NULL)
		*isnull = null;
	else if (null)
		elog(ERROR, "unexpected null");
	return value;
}

/*
 * The upper bound of a range partition as a value, false when there is none.  Of one
 * that is being made or dropped we know nothing.
 */
static bool
upper_bound(Oid relid, Oid type, int64 *value)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	bool		found = false;
	bool		isnull;
	Datum		datum;

	if (!HeapTupleIsValid(tuple))
		return false;
	datum = SysCacheGetAttr(RELOID, tuple, Anum_pg_class_relpartbound, &isnull);
	if (!isnull)
	{
		PartitionBoundSpec *spec = stringToNode(TextDatumGetCString(datum));

		if (!spec->is_default && spec->strategy == PARTITION_STRATEGY_RANGE)
		{
			PartitionRangeDatum *bound = linitial_node(PartitionRangeDatum, spec->upperdatums);

			found = bound->kind == PARTITION_RANGE_DATUM_VALUE;
			if (found)
				*value = datum_value(type, castNode(Const, bound->value)->constvalue);
		}
	}
	ReleaseSysCache(tuple);
	return found;
}

static bool
is_default_partition(Oid relid)
{
	return get_default_partition_oid(get_partition_parent(relid, false)) == relid;
}

/* All values of the partition lie below its upper bound. */
static bool
wholly_expired(const TtlTable *table, Oid relid)
{
	int64		bound;

	return upper_bound(relid, table->type, &bound) && bound > PG_INT64_MIN &&
		bound - 1 <= table->limit;
}

static List *
add_part(List *parts, Oid relid, Oid parent)
{
	TtlPart    *part = palloc(sizeof(TtlPart));

	part->relid = relid;
	part->parent = parent;
	return lappend(parts, part);
}

static List *
walk_partitions(const TtlTable *table, Oid relid, List *parts)
{
	Relation	relation = relation_open(relid, AccessShareLock);
	PartitionKey key = RelationGetPartitionKey(relation);
	bool		by_time = key->strategy == PARTITION_STRATEGY_RANGE && key->partnatts == 1 &&
	key->partattrs[0] == column_number(relation, table->policy->column);
	List	   *children = find_inheritance_children(relid, AccessShareLock);
	ListCell   *cell;

	relation_close(relation, NoLock);
	foreach(cell, children)
	{
		Oid			child = lfirst_oid(cell);

		/* Not to be looked into: its own step will refuse it. */
		if (relation_owner(child) != table->owner)
			parts = add_part(parts, child, InvalidOid);
		else if (by_time && !is_default_partition(child))
		{
			if (wholly_expired(table, child))
				parts = add_part(parts, child, relid);
		}
		else if (get_rel_relkind(child) == RELKIND_PARTITIONED_TABLE)
			parts = walk_partitions(table, child, parts);
		else if (get_rel_relkind(child) == RELKIND_RELATION)
			parts = add_part(parts, child, InvalidOid);
	}
	return parts;
}

List *
list_parts(const TtlTable *table)
{
	if (get_rel_relkind(table->relid) == RELKIND_PARTITIONED_TABLE)
		return walk_partitions(table, table->relid, NIL);
	return add_part(NIL, table->relid, InvalidOid);
}

static char *
quoted_keys(const TtlPolicy *policy, const char *prefix)
{
	StringInfoData keys;

	initStringInfo(&keys);
	for (int i = 0; i < policy->nkeys; i++)
		appendStringInfo(&keys, "%s%s%s", i > 0 ? ", " : "", prefix,
						 quote_identifier(policy->keys[i]));
	return keys.data;
}

/*
 * Rows behind the newest keep_rows of their keys, and not younger than `keep`; the
 * statement's $1 is the limit.
 */
static char *
surplus_query(const TtlTable *table)
{
	char	   *keys = quoted_keys(table->policy, "t.");

	return psprintf("SELECT r.id, r.value FROM ("
					"SELECT t.ctid AS id, t.%s AS value,"
					" pg_catalog.row_number() OVER (%s%s ORDER BY t.%s DESC, t.ctid DESC) AS place"
					" FROM ONLY %s AS t WHERE t.%s IS NOT NULL) AS r "
					"WHERE r.place > " INT64_FORMAT " AND r.value <= $1",
					table->column, keys[0] != '\0' ? "PARTITION BY " : "", keys, table->column,
					table->name, table->column, table->policy->keep_rows);
}

/*
 * Both forms give the rows that were deleted, those that were found, and the greatest
 * value among these.  They delete the very row versions that they locked: what is
 * updated in between is another version, which the statement does not see, and what
 * is locked by others waits for another round.
 */
static char *
age_command(const TtlTable *table)
{
	return psprintf("WITH expired AS MATERIALIZED ("
					"SELECT t.ctid AS id, t.%s AS value FROM ONLY %s AS t"
					" WHERE t.%s >= $2 AND t.%s <= $1 ORDER BY t.%s LIMIT $3"
					" FOR UPDATE SKIP LOCKED), "
					"gone AS (DELETE FROM ONLY %s AS t"
					" WHERE t.ctid = ANY (ARRAY(SELECT id FROM expired)) RETURNING 1) "
					"SELECT (SELECT pg_catalog.count(*) FROM gone), pg_catalog.count(*),"
					" pg_catalog.max(value) FROM expired",
					table->column, table->name, table->column, table->column, table->column,
					table->name);
}

static char *
count_command(const TtlTable *table)
{
	return psprintf("WITH surplus AS MATERIALIZED (%s AND r.value >= $2"
					" ORDER BY r.value LIMIT $3), "
					"expired AS MATERIALIZED (SELECT t.ctid AS id FROM ONLY %s AS t"
					" WHERE t.ctid = ANY (ARRAY(SELECT id FROM surplus)) AND t.%s <= $1"
					" FOR UPDATE SKIP LOCKED), "
					"gone AS (DELETE FROM ONLY %s AS t"
					" WHERE t.ctid = ANY (ARRAY(SELECT id FROM expired)) RETURNING 1) "
					"SELECT (SELECT pg_catalog.count(*) FROM gone), pg_catalog.count(*),"
					" pg_catalog.max(value) FROM surplus",
					surplus_query(table), table->name, table->column, table->name);
}

/*
 * Symbols are found by descending the index once for each.  What rollups still need stays;
 * before 0.3.0 there were none.
 */
#define OLD_CANDLES(needed, lock) \
	"WITH RECURSIVE symbols(symbol) AS (" \
	"(SELECT c.symbol FROM tradekeep.candle AS c ORDER BY c.symbol LIMIT 1) UNION ALL" \
	" SELECT (SELECT c.symbol FROM tradekeep.candle AS c WHERE c.symbol > s.symbol" \
	" ORDER BY c.symbol LIMIT 1) FROM symbols AS s WHERE s.symbol IS NOT NULL), " \
	"limits AS MATERIALIZED (SELECT o.timeframe, o.cutoff, " needed " AS needed" \
	" FROM (SELECT r.timeframe, (pg_catalog.timezone('UTC', pg_catalog.clock_timestamp())" \
	" - r.keep) AT TIME ZONE 'UTC' AS cutoff FROM tradekeep.candle_retention AS r) AS o), " \
	"expired AS MATERIALIZED (SELECT o.id" \
	" FROM symbols AS s CROSS JOIN limits AS l CROSS JOIN LATERAL (" \
	"SELECT t.ctid AS id FROM ONLY tradekeep.candle AS t" \
	" WHERE t.symbol = s.symbol AND t.timeframe OPERATOR(pg_catalog.=) l.timeframe" \
	" AND t.ts <= l.cutoff AND t.ts < l.needed" \
	" ORDER BY t.ts " lock ") AS o WHERE s.symbol IS NOT NULL "

/* $1 and $2 are of no use, but the same for all forms. */
#define RETENTION_COMMAND(needed) \
	OLD_CANDLES(needed, "LIMIT $3 FOR UPDATE SKIP LOCKED") "LIMIT $3), " \
	"gone AS (DELETE FROM ONLY tradekeep.candle AS t" \
	" WHERE t.ctid = ANY (ARRAY(SELECT id FROM expired)) RETURNING 1) " \
	"SELECT (SELECT pg_catalog.count(*) FROM gone), pg_catalog.count(*), NULL::timestamptz" \
	" FROM expired WHERE $1 IS NOT NULL AND $2 IS NOT NULL"
#define COUNT_COMMAND(needed) OLD_CANDLES(needed, "") ") SELECT pg_catalog.count(*) FROM expired"

#define NEEDED "tradekeep.retention_end(o.timeframe, o.cutoff)"
#define NOTHING_NEEDED "timestamptz 'infinity'"

/* The SQL may be older than the library, for a while. */
static bool
has_rollups(void)
{
	return OidIsValid(get_relname_relid("rollup", get_namespace_oid(TRADEKEEP_SCHEMA, false)));
}

static const char *
retention_command(void)
{
	/* For rollups: what was derived of these candles stays. */
	set_in_scope("tradekeep.retention", "on");
	return has_rollups() ? RETENTION_COMMAND(NEEDED) : RETENTION_COMMAND(NOTHING_NEEDED);
}

/*
 * Deletes up to batch->size expired rows, oldest first, from batch->from on.  The
 * starting point spares a batch the index entries that the one before left dead.
 */
void
delete_batch(const TtlTable *table, TtlBatch *batch)
{
	Oid			types[] = {table->type, table->type, INT4OID};
	Datum		values[] = {value_datum(table->type, table->limit),
	value_datum(table->type, batch->from), Int32GetDatum(batch->size)};
	bool		isnull;
	Datum		last;

	/* Deferred constraints would fire at the commit, when we are the owner no more. */
	if (SPI_execute("SET CONSTRAINTS ALL IMMEDIATE", false, 0) < 0)
		elog(ERROR, "could not set constraints");
	execute(table->policy->candle_retention ? retention_command() :
			table->policy->keep_rows > 0 ? count_command(table) : age_command(table),
			lengthof(types), types, values, false);
	batch->deleted = DatumGetInt64(result_value(1, NULL));
	batch->found = DatumGetInt64(result_value(2, NULL));
	last = result_value(3, &isnull);
	if (!isnull)
		batch->from = datum_value(table->type, last);
}

/*
 * Drops a partition that is expired as a whole, unless it is another one by now.  `table`
 * is the partition, locked exclusively.
 */
bool
drop_part(const TtlTable *table, const TtlPart *part)
{
	if (!get_rel_relispartition(part->relid) ||
		get_partition_parent(part->relid, true) != part->parent ||
		!wholly_expired(table, part->relid))
		return false;
	execute(psprintf("DROP TABLE %s", table->name), 0, NULL, NULL, false);
	return true;
}

/* Children that merely inherit are tables of their own. */
static const char *
from_name(const TtlTable *table)
{
	return get_rel_relkind(table->relid) == RELKIND_PARTITIONED_TABLE ? table->name :
		psprintf("ONLY %s", table->name);
}

int64
count_expired(const TtlTable *table, const TtlPart *part)
{
	Oid			types[] = {table->type};
	Datum		values[] = {value_datum(table->type, table->limit)};

	if (OidIsValid(part->parent))
		execute(psprintf("SELECT pg_catalog.count(*) FROM %s", from_name(table)), 0, NULL, NULL, true);
	else if (table->policy->candle_retention)
		execute(has_rollups() ? COUNT_COMMAND(NEEDED) : COUNT_COMMAND(NOTHING_NEEDED), 0, NULL, NULL,
				true);
	else if (table->policy->keep_rows > 0)
		execute(psprintf("SELECT pg_catalog.count(*) FROM (%s) AS surplus", surplus_query(table)),
				1, types, values, true);
	else
		execute(psprintf("SELECT pg_catalog.count(*) FROM ONLY %s AS t WHERE t.%s <= $1",
						 table->name, table->column), 1, types, values, true);
	return DatumGetInt64(result_value(1, NULL));
}

/* min or max of the column; false when there is no value. */
static bool
extreme_value(const TtlTable *table, const char *aggregate, int64 *value)
{
	bool		isnull;
	Datum		datum;

	execute(psprintf("SELECT pg_catalog.%s(t.%s) FROM %s AS t", aggregate, table->column,
					 from_name(table)), 0, NULL, NULL, true);
	datum = result_value(1, &isnull);
	if (!isnull)
		*value = datum_value(table->type, datum);
	return !isnull;
}

bool
oldest_expired(const TtlTable *table, TimestampTz *oldest)
{
	int64		value;

	if (!extreme_value(table, "min", &value) || value > table->limit)
		return false;
	*oldest = value_time(table, value);
	return true;
}

bool
greatest_value(const TtlTable *table, int64 *value)
{
	return extreme_value(table, "max", value);
}

/* The planner never expects less than one. */
int64
estimate_expired(const TtlTable *table)
{
	static const char label[] = "\"Plan Rows\": ";
	Oid			types[] = {table->type};
	Datum		values[] = {value_datum(table->type, table->limit)};
	char	   *explained;
	char	   *rows;

	execute(psprintf("EXPLAIN (FORMAT JSON) SELECT FROM %s AS t WHERE t.%s <= $1",
					 from_name(table), table->column), 1, types, values, false);
	explained = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	rows = strstr(explained, label);
	return rows != NULL ? strtoll(rows + strlen(label), NULL, 10) : 1;
}

char *
index_command(const TtlTable *table, const char *concurrently)
{
	const TtlPolicy *policy = table->policy;
	char	   *keys = quoted_keys(policy, "");

	return psprintf("CREATE INDEX %sON %s (%s%s%s)", concurrently, table->name, keys,
					policy->nkeys > 0 ? ", " : "", table->column);
}
