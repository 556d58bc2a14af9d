/*
 * metrics.c
 *		What the library knows of itself, and counters of claims in shared memory.
 *
 * Counters exist per database and scope, and for the signals of a database, in a
 * fixed number of slots that fill up and are never given back.  Scopes that find none
 * left are counted together, as `(other)`.  A slot is
 * found without a lock: its key is written before the number of slots grows, and
 * never changes; each session remembers where it found what.  Only a new scope
 * takes the lock.  Counting is one atomic addition.
 *
 * What a transaction claims and releases is counted when it commits: until then
 * it waits in `pending`, by nesting level, so that a rollback to a savepoint takes
 * the right part along.
 *
 * A clean shutdown writes the slots to a file, and the next start reads and removes
 * it, as pg_stat_statements does; after a crash the counters begin anew.
 */
#include "metrics.h"

#include <unistd.h>

#include "access/xact.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "port/atomics.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "input.h"

PG_FUNCTION_INFO_V1(tradekeep_library_version);
PG_FUNCTION_INFO_V1(tradekeep_preloaded_now);
PG_FUNCTION_INFO_V1(tradekeep_counters);
PG_FUNCTION_INFO_V1(tradekeep_reset_stats);

#define MAX_SLOTS	256
#define STATS_FILE	PGSTAT_STAT_PERMANENT_DIRECTORY "/tradekeep.stat"
#define STATS_FILE_MAGIC 0x746b0001

typedef enum SlotKind
{
	SLOT_SCOPE,
	SLOT_SIGNALS,				/* without a scope */
	SLOT_OTHER					/* likewise */
} SlotKind;

typedef struct SlotKey
{
	Oid			database;
	SlotKind	kind;
	char		scope[MAX_SCOPE_BYTES + 1]; /* padded with zeros */
} SlotKey;

typedef struct Slot
{
	SlotKey		key;
	pg_atomic_uint64 counters[COUNTERS];
} Slot;

typedef struct Metrics
{
	LWLock	   *lock;			/* protects the growth of nslots */
	pg_atomic_uint32 nslots;
	Slot		slots[MAX_SLOTS];
} Metrics;

/* A slot as the file has it. */
typedef struct SavedSlot
{
	SlotKey		key;
	uint64		counters[COUNTERS];
} SavedSlot;

/* Where this session found a scope. */
typedef struct KnownSlot
{
	SlotKey		key;
	int			slot;
} KnownSlot;

/* What waits for the end of a transaction, or of a part of it. */
typedef struct PendingCount
{
	int			slot;
	int			level;
	Counter		counter;
	int64		number;
} PendingCount;

static Metrics *metrics = NULL; /* null: not preloaded */
static HTAB *known_slots = NULL;	/* of KnownSlot */
static PendingCount *pending = NULL;
static int	npending = 0;
static int	max_pending = 0;

static shmem_startup_hook_type previous_shmem_startup = NULL;
static shmem_request_hook_type previous_shmem_request = NULL;

static void
load_counters(void)
{
	FILE	   *file = AllocateFile(STATS_FILE, PG_BINARY_R);
	uint32		magic;
	uint32		nslots;
	SavedSlot	saved;

	if (file == NULL)
	{
		if (errno != ENOENT)
			ereport(LOG,
					(errcode_for_file_access(),
					 errmsg("could not read file \"%s\": %m", STATS_FILE)));
		return;
	}
	if (fread(&magic, sizeof(magic), 1, file) == 1 && magic == STATS_FILE_MAGIC &&
		fread(&nslots, sizeof(nslots), 1, file) == 1 && nslots <= MAX_SLOTS)
	{
		uint32		slot = 0;

		while (slot < nslots && fread(&saved, sizeof(saved), 1, file) == 1)
		{
			metrics->slots[slot].key = saved.key;
			for (int i = 0; i < COUNTERS; i++)
				pg_atomic_write_u64(&metrics->slots[slot].counters[i], saved.counters[i]);
			slot++;
		}
		pg_atomic_write_u32(&metrics->nslots, slot);
	}
	else
		ereport(LOG,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("ignoring invalid data in file \"%s\"", STATS_FILE)));
	FreeFile(file);
	unlink(STATS_FILE);
}

/* At a clean shutdown, in the postmaster. */
static void
save_counters(int code, Datum arg)
{
	static const char temporary[] = STATS_FILE ".tmp";
	uint32		magic = STATS_FILE_MAGIC;
	uint32		nslots;
	FILE	   *file;
	bool		written;

	if (code != 0 || metrics == NULL)
		return;
	file = AllocateFile(temporary, PG_BINARY_W);
	nslots = pg_atomic_read_u32(&metrics->nslots);
	written = file != NULL && fwrite(&magic, sizeof(magic), 1, file) == 1 &&
		fwrite(&nslots, sizeof(nslots), 1, file) == 1;
	for (uint32 slot = 0; written && slot < nslots; slot++)
	{
		SavedSlot	saved;

		memset(&saved, 0, sizeof(saved));
		saved.key = metrics->slots[slot].key;
		for (int i = 0; i < COUNTERS; i++)
			saved.counters[i] = pg_atomic_read_u64(&metrics->slots[slot].counters[i]);
		written = fwrite(&saved, sizeof(saved), 1, file) == 1;
	}
	if (file != NULL && FreeFile(file) != 0)
		written = false;
	if (written)
		(void) durable_rename(temporary, STATS_FILE, LOG);
	else
	{
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not write file \"%s\": %m", temporary)));
		unlink(temporary);
	}
}

static void
request_shmem(void)
{
	if (previous_shmem_request)
		previous_shmem_request();
	RequestAddinShmemSpace(MAXALIGN(sizeof(Metrics)));
	RequestNamedLWLockTranche("tradekeep", 1);
}

static void
start_shmem(void)
{
	bool		found;

	if (previous_shmem_startup)
		previous_shmem_startup();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	metrics = ShmemInitStruct("tradekeep metrics", sizeof(Metrics), &found);
	if (!found)
	{
		memset(metrics, 0, sizeof(Metrics));
		metrics->lock = &GetNamedLWLockTranche("tradekeep")->lock;
		pg_atomic_init_u32(&metrics->nslots, 0);
		for (int slot = 0; slot < MAX_SLOTS; slot++)
			for (int i = 0; i < COUNTERS; i++)
				pg_atomic_init_u64(&metrics->slots[slot].counters[i], 0);
	}
	LWLockRelease(AddinShmemInitLock);

	if (!IsUnderPostmaster)
		on_shmem_exit(save_counters, (Datum) 0);
	if (!found)
		load_counters();
}

/* The index of a slot among the first nslots, or -1. */
static int
search_slots(const SlotKey *key, int nslots)
{
	for (int slot = 0; slot < nslots; slot++)
		if (memcmp(&metrics->slots[slot].key, key, sizeof(SlotKey)) == 0)
			return slot;
	return -1;
}

/* Finds or makes a slot; -1 when there is no room. */
static int
add_slot(const SlotKey *key)
{
	int			nslots;
	int			slot;

	LWLockAcquire(metrics->lock, LW_EXCLUSIVE);
	nslots = pg_atomic_read_u32(&metrics->nslots);
	slot = search_slots(key, nslots);
	/* A quarter is kept for the kinds of which each database has one. */
	if (slot < 0 && nslots < (key->kind == SLOT_SCOPE ? MAX_SLOTS / 4 * 3 : MAX_SLOTS))
	{
		slot = nslots;
		metrics->slots[slot].key = *key;
		pg_write_barrier();
		pg_atomic_write_u32(&metrics->nslots, nslots + 1);
	}
	LWLockRelease(metrics->lock);
	return slot;
}

/*
 * Finds the slot of a scope, or makes one; errors alone make none, since a caller may
 * name any scope in a call that fails.
 */
static int
find_slot(SlotKind kind, const char *scope, int length, bool make)
{
	static KnownSlot last = {.slot = -1};
	KnownSlot  *known;
	SlotKey		key;

	if (last.slot >= 0 && last.key.kind == kind && memcmp(last.key.scope, scope, length) == 0 &&
		last.key.scope[length] == '\0')
		return last.slot;

	memset(&key, 0, sizeof(key));
	key.database = MyDatabaseId;
	key.kind = kind;
	memcpy(key.scope, scope, length);
	if (known_slots == NULL)
	{
		HASHCTL		control = {.keysize = sizeof(SlotKey),.entrysize = sizeof(KnownSlot)};

		known_slots = hash_create("tradekeep slots", 64, &control, HASH_ELEM | HASH_BLOBS);
	}
	known = hash_search(known_slots, &key, HASH_FIND, NULL);
	if (known == NULL)
	{
		int			nslots = pg_atomic_read_u32(&metrics->nslots);
		int			slot;

		pg_read_barrier();
		slot = search_slots(&key, nslots);
		if (slot < 0 && make)
			slot = add_slot(&key);
		/* Scopes without a slot are not remembered: there is no end to them. */
		if (slot < 0)
			return kind == SLOT_SCOPE ? find_slot(SLOT_OTHER, "", 0, true) : -1;
		known = hash_search(known_slots, &key, HASH_ENTER, NULL);
		known->slot = slot;
	}
	last = *known;
	return last.slot;
}

static void
add_pending(int slot, int level, Counter counter, int64 number)
{
	for (int i = npending - 1; i >= 0 && pending[i].level == level; i--)
		if (pending[i].slot == slot && pending[i].counter == counter)
		{
			pending[i].number += number;
			return;
		}
	if (npending == max_pending)
	{
		int			room = Max(16, max_pending * 2);

		if (pending == NULL)
			pending = MemoryContextAlloc(TopMemoryContext, room * sizeof(PendingCount));
		else
			pending = repalloc(pending, room * sizeof(PendingCount));
		max_pending = room;
	}
	pending[npending++] = (PendingCount)
	{
		.slot = slot,.level = level,.counter = counter,.number = number
	};
}

static void
count(SlotKind kind, const char *scope, int length, Counter counter, int64 number)
{
	bool		make = counter != COUNT_ERROR || kind != SLOT_SCOPE;
	int			slot;

	if (metrics == NULL || number == 0)
		return;
	slot = find_slot(kind, scope, length, make);
	if (slot < 0)
		return;
	if (counter == COUNT_CLAIMED || counter == COUNT_RELEASED)
		add_pending(slot, GetCurrentTransactionNestLevel(), counter, number);
	else
		pg_atomic_fetch_add_u64(&metrics->slots[slot].counters[counter], number);
}

void
count_claims(const text *scope, Counter counter, int64 number)
{
	count(SLOT_SCOPE, VARDATA_ANY(scope), VARSIZE_ANY_EXHDR(scope), counter, number);
}

void
count_signals(Counter counter, int64 number)
{
	count(SLOT_SIGNALS, "", 0, counter, number);
}

static void
end_transaction(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PREPARE:
			for (int i = 0; i < npending; i++)
				pg_atomic_fetch_add_u64(&metrics->slots[pending[i].slot].counters[pending[i].counter],
										pending[i].number);
			npending = 0;
			break;
		case XACT_EVENT_ABORT:
			npending = 0;
			break;
		default:
			break;
	}
}

static void
end_subtransaction(SubXactEvent event, SubTransactionId subid, SubTransactionId parent, void *arg)
{
	int			level = GetCurrentTransactionNestLevel();
	int			end = npending;

	if (event != SUBXACT_EVENT_ABORT_SUB && event != SUBXACT_EVENT_COMMIT_SUB)
		return;
	while (npending > 0 && pending[npending - 1].level >= level)
		npending--;
	/* What committed joins its parent's; it is never written behind where it is read. */
	if (event == SUBXACT_EVENT_COMMIT_SUB)
		for (int i = npending; i < end; i++)
		{
			PendingCount count = pending[i];

			add_pending(count.slot, level - 1, count.counter, count.number);
		}
}

void
metrics_init(void)
{
	previous_shmem_request = shmem_request_hook;
	shmem_request_hook = request_shmem;
	previous_shmem_startup = shmem_startup_hook;
	shmem_startup_hook = start_shmem;
	RegisterXactCallback(end_transaction, NULL);
	RegisterSubXactCallback(end_subtransaction, NULL);
}

Datum
counted_call(FunctionCallInfo fcinfo, PGFunction function, const char *scope)
{
	Datum		result;

	if (metrics == NULL)
		return function(fcinfo);
	PG_TRY();
	{
		result = function(fcinfo);
	}
	PG_CATCH();
	{
		if (scope != ARGUMENT_SCOPE)
			count(scope[0] == '\0' ? SLOT_SIGNALS : SLOT_SCOPE, scope, strlen(scope),
				  COUNT_ERROR, 1);
		else if (!PG_ARGISNULL(0))
		{
			text	   *argument = PG_GETARG_TEXT_PP(0);

			if (VARSIZE_ANY_EXHDR(argument) > 0 && VARSIZE_ANY_EXHDR(argument) <= MAX_SCOPE_BYTES)
				count_claims(argument, COUNT_ERROR, 1);
		}
		PG_RE_THROW();
	}
	PG_END_TRY();
	return result;
}

/*
 * One row per scope of this database, the signals among them with a null scope; not
 * preloaded, no row.
 */
Datum
tradekeep_counters(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	int			nslots;

	InitMaterializedSRF(fcinfo, 0);
	if (metrics == NULL)
		return (Datum) 0;
	nslots = pg_atomic_read_u32(&metrics->nslots);
	pg_read_barrier();
	for (int slot = 0; slot < nslots; slot++)
	{
		Slot	   *from = &metrics->slots[slot];
		Datum		values[1 + COUNTERS];
		bool		nulls[1 + COUNTERS] = {false};

		if (from->key.database != MyDatabaseId)
			continue;
		values[0] = CStringGetTextDatum(from->key.kind == SLOT_OTHER ? "(other)" :
										from->key.scope);
		nulls[0] = from->key.kind == SLOT_SIGNALS;
		for (int i = 0; i < COUNTERS; i++)
			values[1 + i] = Int64GetDatum(pg_atomic_read_u64(&from->counters[i]));
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

Datum
tradekeep_reset_stats(PG_FUNCTION_ARGS)
{
	int			nslots;

	if (metrics == NULL)
		PG_RETURN_VOID();
	nslots = pg_atomic_read_u32(&metrics->nslots);
	pg_read_barrier();
	for (int slot = 0; slot < nslots; slot++)
		if (metrics->slots[slot].key.database == MyDatabaseId)
			for (int i = 0; i < COUNTERS; i++)
				pg_atomic_write_u64(&metrics->slots[slot].counters[i], 0);
	PG_RETURN_VOID();
}

Datum
tradekeep_library_version(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(TRADEKEEP_VERSION));
}

Datum
tradekeep_preloaded_now(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(tradekeep_preloaded);
}
