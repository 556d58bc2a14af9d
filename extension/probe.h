/*
 * probe.h
 *		Finding a row of one of our tables by its primary key, without the executor.
 */
#ifndef TRADEKEEP_PROBE_H
#define TRADEKEEP_PROBE_H

#include "tradekeep.h"

#include "access/relscan.h"
#include "access/sdir.h"
#include "access/skey.h"
#include "access/stratnum.h"
#include "executor/tuptable.h"
#include "storage/buf.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

#define PROBE_MAX_KEYS 4

/* A table and its primary key.  Static: found once, remembered until it changes. */
typedef struct ProbeTable
{
	const char *name;
	int			nkeys;
	Oid			relid;			/* InvalidOid: look it up */
	Oid			indexid;
	ScanKeyData keys[PROBE_MAX_KEYS];	/* equality */
	ScanKeyData bounds[BTMaxStrategyNumber + 1];	/* each comparison of column nkeys - 2 */
	ScanKeyData from;			/* the last column from a value on */
	struct ProbeTable *next;	/* all that were looked up, for invalidation */
	bool		registered;
} ProbeTable;

typedef struct Probe
{
	ProbeTable *table;
	Relation	heap;			/* null: the table cannot be probed */
	Relation	index;
	Snapshot	snapshot;
	IndexScanDesc scan;
	TupleTableSlot *slot;
	Buffer		map;			/* of visibility, of probe_next_key() */

	/* Of probe_find_next() */
	bool		walking;		/* the scan goes along the index, behind `prefix` */
	bool		on_entry;		/* it stands on an entry that was not used up */
	bool		at_end;			/* or behind the last one */
	Datum		prefix[PROBE_MAX_KEYS - 1]; /* all columns but the last */
	int			walked;			/* keys found since the walk began */
	int			pause;			/* keys to be looked up singly after a walk in vain */
	int			pause_left;
} Probe;

/* Which rows a probe sees. */
typedef enum ProbeView
{
	PROBE_LATEST,				/* all that is committed by now, and our own */
	PROBE_STATEMENT				/* what the running statement sees */
} ProbeView;

extern void probe_begin(Probe *probe, ProbeTable *table, ProbeView view);

/* Raises an error when the table cannot be probed: for callers that have no other way. */
extern void require_probe(const Probe *probe);

/*
 * The row with these key values, or null when there is none to be seen.  The slot
 * is valid until the next call.
 */
extern TupleTableSlot *probe_find(Probe *probe, const Datum *keys);

/*
 * The same for keys in ascending order: those that are neighbours in the index are
 * found by walking along it instead of going down from the root each time.  The datums
 * of all columns but the last must stay valid until the next call.
 */
extern TupleTableSlot *probe_find_next(Probe *probe, const Datum *keys);

/*
 * Starts on the rows whose last column but one lies within two bounds, and those
 * before it equal `keys`; the last column is free.  probe_next() goes through them in
 * the order of the index, or against it.
 */
extern void probe_range(Probe *probe, const Datum *keys,
						StrategyNumber low_comparison, Datum low,
						StrategyNumber high_comparison, Datum high);
extern TupleTableSlot *probe_next(Probe *probe, ScanDirection direction);

/* Starts on the rows whose columns but the last equal `keys`, from a value of the last one on. */
extern void probe_from(Probe *probe, const Datum *keys, Datum from);

/*
 * Walks along the keys whose columns but the last equal `keys`, from a value of the last
 * one on, in order; rows are looked at only where the index does not suffice.  The last column
 * has eight bytes.
 */
extern void probe_keys(Probe *probe, const Datum *keys, Datum from);
extern bool probe_next_key(Probe *probe, int64 *last);

extern void probe_end(Probe *probe);

#endif							/* TRADEKEEP_PROBE_H */
