/*
 * sweep.h
 *		TTL policies, and the sweeper that applies them.
 *
 *	sweep_policy.c	what a user says: set_ttl() and its kin
 *	sweep_table.c	one table: what of it is expired, and taking a batch of that away
 *	sweep_state.c	policies as our tables have them, and what became of them
 *	sweep.c			a round over all policies, commit by commit
 *	sweep_worker.c	the processes that go round by themselves, and the settings
 */
#ifndef TRADEKEEP_SWEEP_H
#define TRADEKEEP_SWEEP_H

#include "tradekeep.h"

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "storage/lockdefs.h"

#include "owner.h"

/* Settings; the times are milliseconds. */
extern bool sweep_enabled;
extern int	sweep_interval;
extern int	sweep_batch_size;
extern int	sweep_rate_limit;	/* rows a second, 0: any */
extern int	sweep_lock_timeout;

#define MAX_BATCH_SIZE	1000000
#define MAX_RATE_LIMIT	100000000

/* What a bigint column counts. */
typedef enum TtlUnit
{
	TTL_NO_UNIT,
	TTL_SECONDS,
	TTL_MILLISECONDS
} TtlUnit;

typedef struct TtlPolicy
{
	Oid			relid;
	char	   *name;			/* of the table, qualified and quoted, for messages */
	char	   *column;
	Interval   *keep;
	TtlUnit		unit;
	int64		keep_rows;		/* 0: by age alone */
	bool		candle_retention;	/* of candles, each timeframe as it was set */
	int			nkeys;
	char	  **keys;			/* columns of which each value keeps keep_rows rows */

	/* The settings, unless the policy has its own. */
	int			batch_size;
	int			rate_limit;
	bool		own_rate;
	int			lock_timeout;
	int			interval;

	/* How it went before. */
	TimestampTz last_run;		/* 0: never */
	int			failures;		/* in a row */
	int			current_batch;	/* smaller than batch_size while batches take too long */
	int64		changes;		/* of the table at the last look, -1: unknown */
} TtlPolicy;

/* A table that a policy applies to: the policy's own, or a partition of it. */
typedef struct TtlTable
{
	const TtlPolicy *policy;
	Oid			relid;
	Oid			owner;
	char	   *name;			/* qualified and quoted */
	char	   *column;			/* quoted */
	Oid			type;
	bool		indexed;		/* on the column, or the keys and the column */
	int64		limit;			/* values up to this one are expired */
} TtlTable;

/* A partition that can be swept by itself. */
typedef struct TtlPart
{
	Oid			relid;
	Oid			parent;			/* of one that goes as a whole; else InvalidOid */
} TtlPart;

/*
 * Opens a table for a policy: locks it, checks that it can be swept, and goes on as
 * its owner, security-restricted, under a pinned search_path.  An error in between
 * is taken back with the transaction, or the attempt, that it ends.
 */
extern void enter_table(TtlTable *table, const TtlPolicy *policy, Oid relid, LOCKMODE lockmode,
						OwnerScope *scope);

extern char *qualified_name(Oid relid);

/*
 * The parts of a policy's table, inside enter_table(): itself, or the partitions that
 * are swept row by row, and those that are expired as a whole.
 */
extern List *list_parts(const TtlTable *table);

/* What a batch came to.  The next one begins at `from`. */
typedef struct TtlBatch
{
	int			size;			/* rows at most */
	int64		from;			/* values below are dealt with */
	int64		found;
	int64		deleted;
} TtlBatch;

extern int64 first_value(const TtlTable *table);
extern void delete_batch(const TtlTable *table, TtlBatch *batch);
extern bool drop_part(const TtlTable *table, const TtlPart *part);
extern int64 count_expired(const TtlTable *table, const TtlPart *part);

/* Reading: the oldest expired value as a time, and how many the planner expects. */
extern bool oldest_expired(const TtlTable *table, TimestampTz *oldest);
extern int64 estimate_expired(const TtlTable *table);
extern bool greatest_value(const TtlTable *table, int64 *value);

/* The command that makes the index a policy needs; `concurrently` may be empty. */
extern char *index_command(const TtlTable *table, const char *concurrently);

/*
 * The policies in effect, or the one of a table, paused or not; in memory of the
 * given context.
 */
extern List *load_policies(Oid only, bool due_alone, MemoryContext context);

/* The policy of a table; an error when there is none. */
extern TtlPolicy *require_policy(Oid relid);

/* Refuses who has not the rights of a table's owner. */
extern void require_table_rights(Oid relid, const char *function);

/* True in the sweeper's own processes. */
extern bool sweep_in_worker;

/* One go of the sweeper at a policy, and what came of it. */
typedef struct SweepRun
{
	TtlPolicy  *policy;
	TimestampTz started_at;
	TimestampTz end;
	TimestampTz *free_at;		/* when the rate limit lets the next batch go */
	TimestampTz own_free_at;	/* by the policy's own limit */
	int64		rows;
	int64		partitions;
	int64		changes;
	bool		more;			/* it was over before the table was done */
	bool		skipped;		/* nothing could have come of it */
	ErrorData  *error;			/* the first */
} SweepRun;

/* Removes what stands there of tables that are gone; with the policies the rest goes too. */
extern void forget_dropped(void);

/* Writes down how a run went, if that is worth it; next 0: the policy is due at every round. */
extern void record_run(const SweepRun *run, TimestampTz now, TimestampTz next);

/*
 * Sweeps the policies that are due until `end`, or one of them, and commits as it
 * goes; needs a non-atomic SPI connection.  Returns when the next round is due.
 */
extern TimestampTz sweep_round(Oid only, TimestampTz end);

/* Writes down that a worker ended at work on this table. */
extern void blame_table(Oid relid);

/* The table a worker is at, kept where the launcher finds it when the worker ends. */
extern Oid *sweep_current_table;

/* Waits, but not when the process is called. */
extern void sweep_nap(TimestampTz until);

/* A mark was left on trades; when the transaction commits, the worker may come for many. */
extern void sweep_count_mark(void);

extern void sweep_define_settings(void);

/* Installs the launcher; only while preloading. */
extern void sweep_init(void);

/* The main functions of the processes. */
extern PGDLLEXPORT void tradekeep_sweep_launcher(Datum arg);
extern PGDLLEXPORT void tradekeep_sweep_worker(Datum arg);

#endif							/* TRADEKEEP_SWEEP_H */
