/*
 * probe.c
 *		Finding a row of one of our tables by its primary key, without the executor.
 *
 * A probe is a fast path that may only find, never conclude "absent": where the
 * table is not what it seems (a shell whose rows live on other nodes, a missing
 * index) it finds nothing, and the caller goes on to a statement that knows.
 *
 * It takes no transaction id and writes nothing.  Privileges are not checked
 * here: a probe answers for a function, and whoever may execute that may know.
 *
 * What is looked up by name stays remembered until the relation cache says that
 * it changed, so that ALTER, DROP and CREATE EXTENSION are noticed in a live
 * session.
 */
#include "probe.h"

#include "access/genam.h"
#include "access/nbtree.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/visibilitymap.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/predicate.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

static ProbeTable *known_tables = NULL;

static void
forget_table(Datum arg, Oid relid)
{
	for (ProbeTable *table = known_tables; table != NULL; table = table->next)
		if (relid == InvalidOid || relid == table->relid)
			table->relid = InvalidOid;
}

static void
remember_table(ProbeTable *table)
{
	if (known_tables == NULL)
		CacheRegisterRelcacheCallback(forget_table, (Datum) 0);
	if (!table->registered)
	{
		table->next = known_tables;
		known_tables = table;
		table->registered = true;
	}
}

/* A scan key that compares a column of the index, without its argument. */
static void
make_key(ScanKey key, Relation index, int column, StrategyNumber comparison)
{
	Oid			type = index->rd_opcintype[column];
	Oid			operator = get_opfamily_member(index->rd_opfamily[column], type, type, comparison);

	ScanKeyEntryInitialize(key, 0, column + 1, comparison, type, index->rd_indcollation[column],
						   get_opcode(operator), (Datum) 0);
}

/* Finds the primary key of an open table and sets up its scan keys. */
static bool
find_primary_key(ProbeTable *table, Relation heap)
{
	Relation	index;
	bool		usable;

	list_free(RelationGetIndexList(heap));	/* fills in rd_pkindex */
	if (!OidIsValid(heap->rd_pkindex))
		return false;

	index = index_open(heap->rd_pkindex, AccessShareLock);
	usable = index->rd_rel->relam == BTREE_AM_OID && index->rd_index->indisvalid &&
		IndexRelationGetNumberOfKeyAttributes(index) == table->nkeys;
	for (int i = 0; usable && i < table->nkeys; i++)
		make_key(&table->keys[i], index, i, BTEqualStrategyNumber);
	for (int i = BTLessStrategyNumber; usable && table->nkeys > 1 && i <= BTMaxStrategyNumber; i++)
		make_key(&table->bounds[i], index, table->nkeys - 2, i);
	if (usable)
		make_key(&table->from, index, table->nkeys - 1, BTGreaterEqualStrategyNumber);
	table->indexid = RelationGetRelid(index);
	index_close(index, NoLock);
	return usable;
}

/* Looks the table up by name.  False when it is missing or cannot be probed. */
static bool
find_table(ProbeTable *table)
{
	Oid			schema = get_namespace_oid(TRADEKEEP_SCHEMA, true);
	Oid			relid = OidIsValid(schema) ? get_relname_relid(table->name, schema) : InvalidOid;
	Relation	heap;
	bool		usable;

	if (!OidIsValid(relid) || (heap = try_table_open(relid, AccessShareLock)) == NULL)
		return false;
	remember_table(table);
	table->relid = relid;		/* from here on, changes are noticed */
	usable = heap->rd_rel->relkind == RELKIND_RELATION && find_primary_key(table, heap);
	if (!usable)
		table->relid = InvalidOid;
	table_close(heap, NoLock);
	return usable;
}

/*
 * Opens the table, or returns null.  Taking the lock may bring the news that what
 * we remember is outdated; then it is looked up again.
 */
static Relation
open_table(ProbeTable *table)
{
	for (;;)
	{
		Relation	heap;

		if (!OidIsValid(table->relid) && !find_table(table))
			return NULL;
		heap = try_table_open(table->relid, AccessShareLock);
		if (heap != NULL && OidIsValid(table->relid))
			return heap;
		if (heap != NULL)
			table_close(heap, NoLock);
		table->relid = InvalidOid;
	}
}

void
probe_begin(Probe *probe, ProbeTable *table, ProbeView view)
{
	probe->table = table;
	probe->walking = false;
	probe->map = InvalidBuffer;
	probe->pause = probe->pause_left = 1;
	probe->heap = open_table(table);
	if (probe->heap == NULL)
		return;
	probe->index = index_open(table->indexid, AccessShareLock);
	probe->snapshot = RegisterSnapshot(view == PROBE_LATEST ? GetLatestSnapshot() :
									   GetActiveSnapshot());
	probe->slot = table_slot_create(probe->heap, NULL);
	probe->scan = index_beginscan_compat(probe->heap, probe->index, probe->snapshot, table->nkeys);
}

void
require_probe(const Probe *probe)
{
	if (probe->heap == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot look up rows of table \"%s.%s\"", TRADEKEEP_SCHEMA,
						probe->table->name),
				 errhint("It has to be an ordinary table with its primary key.")));
}

TupleTableSlot *
probe_find(Probe *probe, const Datum *keys)
{
	ScanKeyData scankeys[PROBE_MAX_KEYS];

	if (probe->heap == NULL)
		return NULL;
	memcpy(scankeys, probe->table->keys, sizeof(ScanKeyData) * probe->table->nkeys);
	for (int i = 0; i < probe->table->nkeys; i++)
		scankeys[i].sk_argument = keys[i];
	index_rescan(probe->scan, scankeys, probe->table->nkeys, NULL, 0);
	if (index_getnext_slot(probe->scan, ForwardScanDirection, probe->slot))
		return probe->slot;
	return NULL;
}

/*
 * Walking reads what is left of a page of the index at once, which has to pay: a walk
 * is given up after so many entries that lead nowhere, and after one that found too few
 * keys, the next is put off for twice as many keys as the last time.
 */
#define WALK_STEPS		32
#define WALK_WORTH		4
#define WALK_MAX_PAUSE	512

static bool
same_prefix(const Probe *probe, const Datum *keys)
{
	for (int i = 0; i < probe->table->nkeys - 1; i++)
		if (probe->prefix[i] != keys[i])
			return false;
	return true;
}

static void
begin_walk(Probe *probe, const Datum *keys)
{
	ScanKeyData scankeys[PROBE_MAX_KEYS];
	int			nprefix = probe->table->nkeys - 1;

	memcpy(scankeys, probe->table->keys, sizeof(ScanKeyData) * nprefix);
	for (int i = 0; i < nprefix; i++)
		probe->prefix[i] = scankeys[i].sk_argument = keys[i];
	scankeys[nprefix] = probe->table->from;
	scankeys[nprefix].sk_argument = keys[nprefix];
	probe->scan->xs_want_itup = true;
	index_rescan(probe->scan, scankeys, probe->table->nkeys, NULL, 0);
	probe->walking = true;
	probe->on_entry = probe->at_end = false;
	probe->walked = 0;
}

static void
end_walk(Probe *probe)
{
	probe->walking = false;
	probe->scan->xs_want_itup = false;
	if (probe->walked >= WALK_WORTH)
		probe->pause = 0;
	else
		probe->pause = Min(Max(2 * probe->pause, 1), WALK_MAX_PAUSE);
	probe->pause_left = probe->pause;
}

/* Walks up to the key.  False: it is too far away; else *slot is its row, or null. */
static bool
walk_to(Probe *probe, Datum key, TupleTableSlot **slot)
{
	IndexScanDesc scan = probe->scan;
	int			column = probe->table->nkeys;
	FmgrInfo   *compare = index_getprocinfo(probe->index, column, BTORDER_PROC);
	Oid			collation = probe->index->rd_indcollation[column - 1];

	*slot = NULL;
	for (int step = 0; step < WALK_STEPS; step++)
	{
		Datum		value;
		bool		isnull;
		int			order;

		if (!probe->on_entry && !probe->at_end)
		{
			probe->on_entry = index_getnext_tid(scan, ForwardScanDirection) != NULL;
			probe->at_end = !probe->on_entry;
		}
		if (probe->at_end)
			return true;
		value = index_getattr(scan->xs_itup, column, scan->xs_itupdesc, &isnull);
		order = DatumGetInt32(FunctionCall2Coll(compare, collation, value, key));
		if (order > 0)
			return true;
		probe->on_entry = false;
		if (order == 0 && index_fetch_heap(scan, probe->slot))
		{
			*slot = probe->slot;
			return true;
		}
	}
	return false;
}

TupleTableSlot *
probe_find_next(Probe *probe, const Datum *keys)
{
	Datum		last = keys[probe->table->nkeys - 1];
	TupleTableSlot *slot;

	if (probe->heap == NULL)
		return NULL;
	if (probe->walking && (!same_prefix(probe, keys) || !walk_to(probe, last, &slot)))
		end_walk(probe);
	if (!probe->walking)
	{
		if (probe->pause_left > 0)
		{
			probe->pause_left--;
			return probe_find(probe, keys);
		}
		begin_walk(probe, keys);
		if (!walk_to(probe, last, &slot))
		{
			end_walk(probe);
			return probe_find(probe, keys);
		}
	}
	probe->walked++;
	return slot;
}

void
probe_range(Probe *probe, const Datum *keys,
			StrategyNumber low_comparison, Datum low,
			StrategyNumber high_comparison, Datum high)
{
	ScanKeyData scankeys[PROBE_MAX_KEYS];
	int			nequal = probe->table->nkeys - 2;

	if (probe->heap == NULL)
		return;
	memcpy(scankeys, probe->table->keys, sizeof(ScanKeyData) * nequal);
	for (int i = 0; i < nequal; i++)
		scankeys[i].sk_argument = keys[i];
	scankeys[nequal] = probe->table->bounds[low_comparison];
	scankeys[nequal].sk_argument = low;
	scankeys[nequal + 1] = probe->table->bounds[high_comparison];
	scankeys[nequal + 1].sk_argument = high;
	index_rescan(probe->scan, scankeys, probe->table->nkeys, NULL, 0);
}

TupleTableSlot *
probe_next(Probe *probe, ScanDirection direction)
{
	if (probe->heap != NULL && index_getnext_slot(probe->scan, direction, probe->slot))
		return probe->slot;
	return NULL;
}

void
probe_from(Probe *probe, const Datum *keys, Datum from)
{
	ScanKeyData scankeys[PROBE_MAX_KEYS];
	int			nkeys = probe->table->nkeys;

	memcpy(scankeys, probe->table->keys, sizeof(ScanKeyData) * (nkeys - 1));
	for (int i = 0; i < nkeys - 1; i++)
		scankeys[i].sk_argument = keys[i];
	scankeys[nkeys - 1] = probe->table->from;
	scankeys[nkeys - 1].sk_argument = from;
	index_rescan(probe->scan, scankeys, nkeys, NULL, 0);
}

void
probe_keys(Probe *probe, const Datum *keys, Datum from)
{
	probe->scan->xs_want_itup = true;
	probe_from(probe, keys, from);
}

/*
 * As an index-only scan does it.  Where the visibility map says that all rows of a page are
 * visible, the row is not looked at; serializable transactions lock its page instead.
 */
bool
probe_next_key(Probe *probe, int64 *last)
{
	ItemPointer tid;

	while ((tid = index_getnext_tid(probe->scan, ForwardScanDirection)) != NULL)
	{
		IndexTuple	key;

		if (VM_ALL_VISIBLE(probe->heap, ItemPointerGetBlockNumber(tid), &probe->map))
			PredicateLockPage(probe->heap, ItemPointerGetBlockNumber(tid), probe->snapshot);
		else if (!index_fetch_heap(probe->scan, probe->slot))
			continue;

		/* Tuples are as long as eight divides, and their last column ends there. */
		key = probe->scan->xs_itup;
		memcpy(last, (char *) key + IndexTupleSize(key) - sizeof(int64), sizeof(int64));
		return true;
	}
	return false;
}

void
probe_end(Probe *probe)
{
	if (probe->heap == NULL)
		return;
	if (BufferIsValid(probe->map))
		ReleaseBuffer(probe->map);
	index_endscan(probe->scan);
	ExecDropSingleTupleTableSlot(probe->slot);
	UnregisterSnapshot(probe->snapshot);
	index_close(probe->index, NoLock);
	table_close(probe->heap, NoLock);
}
