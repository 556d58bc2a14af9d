/*
 * sweep_worker.c
 *		The processes that sweep by themselves, and the settings.
 *
 * A launcher without a database knows all databases and starts workers, each for a turn
 * in one of them.  A turn is short: who stays connected is in the way of DROP
 * DATABASE and CREATE DATABASE ... TEMPLATE, which wait five seconds for others to
 * leave.  At most MAX_WORKERS run at a time, each database has its turn, the one first
 * that is due longest.  Without backlog a worker stays only when the next round is so
 * near that starting another one would cost more.
 *
 * All that is true stands in tables.  Shared memory holds what a worker tells the
 * launcher at its end, and where the launcher can be woken; neither survives a
 * crash, nor has to.
 */
#include "sweep.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_database.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "port/atomics.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "trade.h"

PG_FUNCTION_INFO_V1(tradekeep_wake_sweeper);
PG_FUNCTION_INFO_V1(tradekeep_sweeper_running);

#define MAX_WORKERS		2

/* How long a worker stays in a database. */
#define TURN			(3 * USECS_PER_SEC)

/* How often trades are settled while they come, and how long a worker stays for them. */
#define SETTLE_INTERVAL	(100 * INT64CONST(1000))
#define SETTLE_PATIENCE	(1 * USECS_PER_SEC)

/* How often a database without the extension is looked at again, unless we are woken. */
#define ABSENT_INTERVAL	(1 * USECS_PER_MINUTE)

#define LAUNCHER_RESTART_SECONDS 5
#define REST_AFTER_FAILURE (5 * USECS_PER_SEC)

bool		sweep_enabled = true;
int			sweep_interval = 10000;
int			sweep_batch_size = 1000;
int			sweep_rate_limit = 25000;
int			sweep_lock_timeout = 500;

/*
 * Marks of trades after which a database need not wait for its next round: to read what so many have
 * touched takes longer than to start a worker.  Databases share counters; one too many that is
 * woken for another does no harm.
 */
#define MARKS_THAT_WAKE 200
#define MARK_COUNTERS	32

/* What a worker leaves to the launcher. */
typedef struct Report
{
	bool		absent;			/* the extension is not in this database */
	bool		unsettled;		/* trades could not be settled */
	Oid			table;			/* at which it is */
	TimestampTz due;			/* when to come again; 0: it did not get so far */
} Report;

typedef struct SharedSweep
{
	slock_t		mutex;
	Latch	   *launcher;		/* null: none runs */
	bool		woken;
	bool		others_wait;	/* a database is due, and no worker free for it */
	Report		reports[MAX_WORKERS];
	pg_atomic_uint32 marks[MARK_COUNTERS];	/* since a worker was last started for them */
} SharedSweep;

/* The launcher's. */
typedef struct Database
{
	Oid			oid;
	bool		absent;
	bool		running;
	bool		unsettled;		/* more marks make it no better before the next round */
	bool		seen;			/* in the last look at pg_database */
	bool		woken;			/* since its last worker was started */
	Oid			suspect;		/* the table at which the last worker ended */
	TimestampTz due;
} Database;

/* What a worker is told. */
typedef struct Order
{
	Oid			database;
	Oid			suspect;
} Order;

typedef struct Worker
{
	Oid			database;
	BackgroundWorkerHandle *handle; /* null: this place is free */
} Worker;

static SharedSweep *shared = NULL;	/* null: not preloaded */
static bool wake_at_commit = false;
static int	marks_to_count = 0; /* at commit */
static shmem_startup_hook_type previous_shmem_startup = NULL;
static shmem_request_hook_type previous_shmem_request = NULL;

void
sweep_define_settings(void)
{
	DefineCustomBoolVariable("tradekeep.sweep", "Sweeps expired rows in the background.", NULL,
							 &sweep_enabled, true, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("tradekeep.sweep_interval",
							"Time between two rounds of the sweeper in a database.", NULL,
							&sweep_interval, 10000, 100, 24 * 60 * 60 * 1000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("tradekeep.sweep_batch_size",
							"Most rows that the sweeper deletes in one transaction.", NULL,
							&sweep_batch_size, 1000, 1, MAX_BATCH_SIZE,
							PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("tradekeep.sweep_rate_limit",
							"Most rows that the sweeper deletes in a second; 0 for any number.", NULL,
							&sweep_rate_limit, 25000, 0, MAX_RATE_LIMIT,
							PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("tradekeep.sweep_lock_timeout",
							"How long the sweeper waits for a lock before it leaves a table alone.",
							NULL, &sweep_lock_timeout, 500, 1, 60 * 60 * 1000,
							PGC_SUSET, GUC_UNIT_MS, NULL, NULL, NULL);
}

static void
request_shmem(void)
{
	if (previous_shmem_request)
		previous_shmem_request();
	RequestAddinShmemSpace(MAXALIGN(sizeof(SharedSweep)));
}

static void
start_shmem(void)
{
	bool		found;

	if (previous_shmem_startup)
		previous_shmem_startup();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct("tradekeep sweep", sizeof(SharedSweep), &found);
	if (!found)
	{
		memset(shared, 0, sizeof(SharedSweep));
		SpinLockInit(&shared->mutex);
		for (int i = 0; i < MARK_COUNTERS; i++)
			pg_atomic_init_u32(&shared->marks[i], 0);
	}
	LWLockRelease(AddinShmemInitLock);
}

static void
wake_launcher(bool look_again)
{
	Latch	   *launcher;

	SpinLockAcquire(&shared->mutex);
	shared->woken |= look_again;
	launcher = shared->launcher;
	SpinLockRelease(&shared->mutex);
	/* Should it have gone meanwhile, its latch is still one. */
	if (launcher != NULL)
		SetLatch(launcher);
}

static pg_atomic_uint32 *
mark_counter(Oid database)
{
	return &shared->marks[database % MARK_COUNTERS];
}

static void
count_marks(int marks)
{
	uint32		before = pg_atomic_fetch_add_u32(mark_counter(MyDatabaseId), marks);

	if (before < MARKS_THAT_WAKE && before + marks >= MARKS_THAT_WAKE)
		wake_launcher(false);
}

static void
end_transaction(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	if (event == XACT_EVENT_COMMIT && wake_at_commit)
		wake_launcher(true);
	if (event == XACT_EVENT_COMMIT && marks_to_count > 0)
		count_marks(marks_to_count);
	wake_at_commit = false;
	marks_to_count = 0;
}

void
sweep_count_mark(void)
{
	if (shared != NULL)
		marks_to_count++;
}

void
sweep_init(void)
{
	BackgroundWorker worker;

	if (IsBinaryUpgrade)
		return;
	previous_shmem_request = shmem_request_hook;
	shmem_request_hook = request_shmem;
	previous_shmem_startup = shmem_startup_hook;
	shmem_startup_hook = start_shmem;
	RegisterXactCallback(end_transaction, NULL);

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	/* None on a standby; at its promotion it starts. */
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = LAUNCHER_RESTART_SECONDS;
	strlcpy(worker.bgw_library_name, "tradekeep", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "tradekeep_sweep_launcher", sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_name, "tradekeep sweep launcher", sizeof(worker.bgw_name));
	strlcpy(worker.bgw_type, "tradekeep sweep launcher", sizeof(worker.bgw_type));
	RegisterBackgroundWorker(&worker);
}

/* Called by the install script: a database that had no extension now has one. */
Datum
tradekeep_wake_sweeper(PG_FUNCTION_ARGS)
{
	wake_at_commit = shared != NULL;
	PG_RETURN_VOID();
}

Datum
tradekeep_sweeper_running(PG_FUNCTION_ARGS)
{
	bool		running = false;

	if (shared != NULL)
	{
		SpinLockAcquire(&shared->mutex);
		running = shared->launcher != NULL;
		SpinLockRelease(&shared->mutex);
	}
	PG_RETURN_BOOL(running);
}

/* A turn in one database. */

/* The SQL objects that this library was made for; any others are left alone. */
static bool
extension_present(void)
{
	return SPI_execute("SELECT FROM pg_catalog.pg_extension WHERE extname OPERATOR(pg_catalog.=)"
					   " 'tradekeep' AND extversion OPERATOR(pg_catalog.=) '" TRADEKEEP_VERSION "'",
					   true, 1) == SPI_OK_SELECT && SPI_processed == 1;
}

/* A round, or none when the extension is not there; false then. */
static bool
round_if_present(Oid suspect, TimestampTz end, TimestampTz *due)
{
	bool		present;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	PushActiveSnapshot(GetTransactionSnapshot());
	present = extension_present();
	PopActiveSnapshot();
	if (present && OidIsValid(suspect))
		blame_table(suspect);
	if (present)
		*due = sweep_round(InvalidOid, end);
	SPI_finish();
	CommitTransactionCommand();
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
	return present;
}

/*
 * Settles trades until the next round is due, more often while there are any; false when the turn
 * is over first.  Should it end in the middle of that, the next one is due at once.
 */
static bool
settle_until(TimestampTz *due, TimestampTz end)
{
	TimestampTz busy_until = 0;

	for (;;)
	{
		TimestampTz now;
		TimestampTz next;

		if (settle_in_worker(end))
			busy_until = GetCurrentTimestamp() + SETTLE_PATIENCE;
		now = GetCurrentTimestamp();
		next = now < busy_until ? Min(*due, now + SETTLE_INTERVAL) : *due;
		if (next >= end || shared->others_wait)
		{
			if (now < busy_until)
				*due = Min(*due, now);
			return false;
		}
		while (GetCurrentTimestamp() < next && !shared->others_wait)
			sweep_nap(next);
		if (next >= *due)
			return true;
	}
}

static void
set_for_worker(const char *name, const char *value)
{
	SetConfigOption(name, value, PGC_SUSET, PGC_S_OVERRIDE);
}

void
tradekeep_sweep_worker(Datum arg)
{
	Report	   *report = &shared->reports[DatumGetInt32(arg)];
	Order		order;
	TimestampTz end = GetCurrentTimestamp() + TURN;
	TimestampTz due = end;

	memcpy(&order, MyBgworkerEntry->bgw_extra, sizeof(Order));
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(order.database, InvalidOid, 0);
	sweep_in_worker = true;
	sweep_current_table = &report->table;
	set_for_worker("search_path", "pg_catalog, pg_temp");
	set_for_worker("default_transaction_read_only", "off");
	set_for_worker("statement_timeout", "0");
#ifdef HAVE_TRANSACTION_TIMEOUT
	set_for_worker("transaction_timeout", "0");
#endif
	set_for_worker("synchronous_commit", "off");
	set_for_worker("lock_timeout", psprintf("%d", sweep_lock_timeout));
	set_for_worker("idle_in_transaction_session_timeout", "0");

	while (sweep_enabled)
	{
		if (!round_if_present(order.suspect, end, &due))
		{
			report->absent = true;
			due = GetCurrentTimestamp() + ABSENT_INTERVAL;
			break;
		}
		order.suspect = InvalidOid;
		if (!settle_until(&due, end))
			break;
	}
	report->unsettled = !end_settling_in_worker();
	report->due = due;
}

/* The launcher. */

static void
forget_launcher(int code, Datum arg)
{
	SpinLockAcquire(&shared->mutex);
	shared->launcher = NULL;
	SpinLockRelease(&shared->mutex);
}

/*
 * Brings forward what is due too late: databases that had no extension, when one was
 * created somewhere, those with many marks, and all when the interval became shorter.  A worker that runs
 * may have looked too early to see it; its database remembers.
 */
static void
bring_forward(List *databases)
{
	static int	known_interval = 0;
	TimestampTz now = GetCurrentTimestamp();
	bool		shorter = sweep_interval < known_interval;
	ListCell   *cell;
	bool		woken;

	known_interval = sweep_interval;

	SpinLockAcquire(&shared->mutex);
	woken = shared->woken;
	shared->woken = false;
	SpinLockRelease(&shared->mutex);
	foreach(cell, databases)
	{
		Database   *database = lfirst(cell);

		if (woken)
			database->woken = true;
		if (database->woken && database->absent)
			database->due = Min(database->due, now);
		else if (shorter && !database->absent)
			database->due = Min(database->due, now + (int64) sweep_interval * 1000);
		if (!database->absent && !database->unsettled &&
			pg_atomic_read_u32(mark_counter(database->oid)) >= MARKS_THAT_WAKE)
			database->due = Min(database->due, now);
	}
}

static Database *
find_database(List *databases, Oid oid)
{
	ListCell   *cell;

	foreach(cell, databases)
	{
		Database   *database = lfirst(cell);

		if (database->oid == oid)
			return database;
	}
	return NULL;
}

/* Whom one can connect to, templates aside: nobody keeps rows there. */
static bool
sweepable(Form_pg_database form)
{
	/* A negative limit other than -1 marks what an interrupted DROP DATABASE left. */
	return form->datallowconn && !form->datistemplate && form->datconnlimit >= -1;
}

/* Adds the databases that are new, due at once, and removes those that are gone. */
static List *
refresh_databases(List *databases)
{
	MemoryContext context = CurrentMemoryContext;
	Relation	relation;
	TableScanDesc scan;
	HeapTuple	tuple;
	ListCell   *cell;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	relation = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(relation, 0, NULL);
	MemoryContextSwitchTo(context);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);
		Database   *database = find_database(databases, form->oid);

		if (!sweepable(form))
			continue;
		if (database == NULL)
		{
			database = palloc0(sizeof(Database));
			database->oid = form->oid;
			databases = lappend(databases, database);
		}
		database->seen = true;
	}
	table_endscan(scan);
	table_close(relation, AccessShareLock);
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);

	foreach(cell, databases)
	{
		Database   *database = lfirst(cell);

		if (!database->seen)
		{
			databases = foreach_delete_current(databases, cell);
			pfree(database);
		}
		else
			database->seen = false;
	}
	return databases;
}

/* Reads the reports of workers that ended. */
static void
collect_reports(Worker *workers, List *databases)
{
	for (int i = 0; i < MAX_WORKERS; i++)
	{
		Database   *database;
		pid_t		pid;

		if (workers[i].handle == NULL ||
			GetBackgroundWorkerPid(workers[i].handle, &pid) != BGWH_STOPPED)
			continue;
		pfree(workers[i].handle);
		workers[i].handle = NULL;
		database = find_database(databases, workers[i].database);
		if (database == NULL)
			continue;
		database->running = false;
		database->absent = shared->reports[i].absent;
		database->due = shared->reports[i].due;
		/* One that failed has its next chance as if it had not, and is told why. */
		database->unsettled = database->due == 0 || shared->reports[i].unsettled;
		database->suspect = database->due == 0 ? shared->reports[i].table : InvalidOid;
		if (database->due == 0)
			database->due = GetCurrentTimestamp() +
				Max((int64) sweep_interval * 1000, REST_AFTER_FAILURE);
	}
}

static Database *
most_overdue(List *databases)
{
	Database   *first = NULL;
	ListCell   *cell;

	foreach(cell, databases)
	{
		Database   *database = lfirst(cell);

		if (!database->running && (first == NULL || database->due < first->due))
			first = database;
	}
	return first;
}

static bool
start_worker(int place, Worker *worker, Database *database)
{
	static bool complained = false;
	BackgroundWorker registration;
	Order		order = {.database = database->oid,.suspect = database->suspect};

	memset(&registration, 0, sizeof(registration));
	registration.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	registration.bgw_start_time = BgWorkerStart_RecoveryFinished;
	registration.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(registration.bgw_library_name, "tradekeep", sizeof(registration.bgw_library_name));
	strlcpy(registration.bgw_function_name, "tradekeep_sweep_worker",
			sizeof(registration.bgw_function_name));
	strlcpy(registration.bgw_name, "tradekeep sweeper", sizeof(registration.bgw_name));
	strlcpy(registration.bgw_type, "tradekeep sweeper", sizeof(registration.bgw_type));
	registration.bgw_main_arg = Int32GetDatum(place);
	memcpy(registration.bgw_extra, &order, sizeof(Order));
	registration.bgw_notify_pid = MyProcPid;
	memset(&shared->reports[place], 0, sizeof(Report));
	pg_atomic_write_u32(mark_counter(database->oid), 0);
	worker->database = database->oid;
	if (RegisterDynamicBackgroundWorker(&registration, &worker->handle))
	{
		database->running = true;
		database->woken = false;
		complained = false;
		return true;
	}
	worker->handle = NULL;
	if (!complained)
		ereport(LOG,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("could not start a sweeper: all background workers are in use"),
				 errhint("Raise max_worker_processes: the sweeper needs up to %d.",
						 MAX_WORKERS + 1)));
	complained = true;
	return false;
}

/*
 * Starts workers for what is due, as far as there are places; returns when to look
 * again.  The end of a worker calls us too.
 */
static TimestampTz
start_workers(Worker *workers, List *databases)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz next = now + (int64) sweep_interval * 1000;
	Database   *database = most_overdue(databases);

	for (int i = 0; i < MAX_WORKERS && database != NULL && database->due <= now; i++)
		if (workers[i].handle == NULL)
		{
			if (!start_worker(i, &workers[i], database))
				return Min(next, now + USECS_PER_SEC);
			database = most_overdue(databases);
		}
	shared->others_wait = database != NULL && database->due <= now;
	return database == NULL || shared->others_wait ? next : Min(next, database->due);
}

void
tradekeep_sweep_launcher(Datum arg)
{
	Worker		workers[MAX_WORKERS] = {0};
	List	   *databases = NIL;
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "tradekeep sweep launcher",
												  ALLOCSET_DEFAULT_SIZES);

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	sweep_in_worker = true;
	MemoryContextSwitchTo(context);
	before_shmem_exit(forget_launcher, (Datum) 0);
	SpinLockAcquire(&shared->mutex);
	shared->launcher = MyLatch;
	SpinLockRelease(&shared->mutex);

	for (;;)
	{
		TimestampTz next = GetCurrentTimestamp() + (int64) sweep_interval * 1000;

		databases = refresh_databases(databases);
		collect_reports(workers, databases);
		bring_forward(databases);
		if (sweep_enabled)
			next = start_workers(workers, databases);
		pgstat_report_activity(STATE_IDLE, NULL);
		sweep_nap(next);
	}
}
