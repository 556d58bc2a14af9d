/*
 * remember.c
 *		What caches in front of the database may remember.
 *
 * A client that was told of a claim may answer "duplicate" by itself until the claim
 * expires, unless it is released before.  It cannot be told of that in time, so whatever
 * releases makes a number grow, the version of a subject: `claim:SCOPE` for the claims
 * of a scope, `claim` for those of all scopes, `signal` for the signals.  What is
 * remembered is stamped with the version as it was before the claim was looked at, and
 * is good for nothing once the version is another.  A notification only makes that
 * faster known.
 *
 * A version is a sum over rows of tradekeep.cache_version.  Those that release at the same
 * time do not wait for each other: each takes the first slot that is free, by a lock until
 * the end of its transaction, and adds to the row of that slot, as it is by now, whatever
 * the isolation level.  There are few rows to read, then, as there are few at a time.
 * Rows only grow, with their commit, so of two snapshots that see the same sum neither sees
 * a release that the other does not.
 *
 * The epoch tells servers, databases and extensions apart, and one start of a server from
 * the next: a crash may lose what was committed asynchronously, and with it the last
 * versions, which later ones would repeat.  After the crash of a backend the postmaster lives
 * on, and only where recovery ended tells.
 */
#include "remember.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/async.h"
#include "common/hashfn.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "claim.h"
#include "input.h"
#include "lock.h"
#include "metrics.h"
#include "probe.h"
#include "signal.h"
#include "statement.h"

PG_FUNCTION_INFO_V1(tradekeep_cache_state);
PG_FUNCTION_INFO_V1(tradekeep_forget_cached);

#define CHANNEL		"tradekeep_release"
#define ALL_CLAIMS	"claim"
#define ALL_SIGNALS "signal"
#define MAX_SUBJECT_BYTES (sizeof(ALL_CLAIMS) + MAX_SCOPE_BYTES)

/* A column of tradekeep.cache_version. */
#define VERSION_N	3

static ProbeTable version_table = {.name = "cache_version",.nkeys = 2};

static Statement grow = {
	.sql = "INSERT INTO tradekeep.cache_version AS v (subject, slot, n) VALUES ($1, $2, 1)"
	" ON CONFLICT (subject, slot) DO UPDATE SET n = v.n OPERATOR(pg_catalog.+) 1",
	.nargs = 2,
	.argtypes = {TEXTOID, INT4OID}
};

/* What an answer is stamped with. */
typedef struct Stamp
{
	int64		version;
	int64		epoch;
	TimestampTz clock;
} Stamp;

/* The subject of a scope's claims; without a scope that of all. */
static char *
claims_of(const text *scope)
{
	if (scope == NULL)
		return ALL_CLAIMS;
	return psprintf(ALL_CLAIMS ":%.*s", (int) VARSIZE_ANY_EXHDR(scope), VARDATA_ANY(scope));
}

/*
 * Once a subtransaction is enough: it lives and dies with all of its releases.  A row that
 * thousands of them update leaves as many versions to every reader.
 */
static void
grow_version(const char *subject)
{
	static LocalTransactionId transaction = InvalidLocalTransactionId;
	static SubTransactionId subtransaction = InvalidSubTransactionId;
	static char grown[MAX_SUBJECT_BYTES + 1];
	Datum		values[2];
	int			slot = 0;

	if (transaction == my_local_transaction() &&
		subtransaction == GetCurrentSubTransactionId() && strcmp(grown, subject) == 0)
		return;
	while (!try_lock_until_end(LOCK_SLOT, slot, ExclusiveLock))
		slot++;
	values[0] = CStringGetTextDatum(subject);
	values[1] = Int32GetDatum(slot);
	SPI_connect();
	execute_latest(&grow, values);
	SPI_finish();
	transaction = my_local_transaction();
	subtransaction = GetCurrentSubTransactionId();
	strlcpy(grown, subject, sizeof(grown));
}

/* Before ALTER EXTENSION UPDATE there is no table, and nobody who would look at it. */
static void
note(const char *subject, const text *key)
{
	Oid			schema = get_namespace_oid(TRADEKEEP_SCHEMA, false);

	if (!OidIsValid(get_relname_relid(version_table.name, schema)))
		return;
	grow_version(subject);
	Async_Notify(CHANNEL, key == NULL ? subject :
				 psprintf("%s\n%.*s", subject, (int) VARSIZE_ANY_EXHDR(key), VARDATA_ANY(key)));
}

void
note_release(const text *scope, const text *key)
{
	note(claims_of(scope), key);
}

void
note_signals_cleared(void)
{
	note(ALL_SIGNALS, NULL);
}

/* forget_cached(scope) */
Datum
tradekeep_forget_cached(PG_FUNCTION_ARGS)
{
	text	   *scope = PG_ARGISNULL(0) ? NULL : scope_argument(fcinfo, 0);

	require_writable("tradekeep.forget_cached");
	if (scope == NULL && !table_granted("claim", ACL_TRUNCATE))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to make clients forget all scopes"),
				 errhint("Name a scope, or ask for the level admin (tradekeep.grant_access).")));
	note_release(scope, NULL);
	if (scope == NULL || compare_text(scope, cstring_to_text(ALL_SIGNALS)) == 0)
		note_signals_cleared();
	PG_RETURN_VOID();
}

static int64
sum_versions(Probe *probe, const char *subject)
{
	Datum		keys[1] = {CStringGetTextDatum(subject)};
	TupleTableSlot *slot;
	int64		sum = 0;

	probe_from(probe, keys, Int32GetDatum(0));
	while ((slot = probe_next(probe, ForwardScanDirection)) != NULL)
	{
		bool		isnull;

		sum += DatumGetInt64(slot_getattr(slot, VERSION_N, &isnull));
	}
	return sum;
}

/* Another CREATE EXTENSION makes another table. */
static int64
current_epoch(const Probe *probe)
{
	struct
	{
		uint64		system;
		TimestampTz started;
		XLogRecPtr	recovered;
		Oid			database;
		Oid			table;
	}			identity =

	{
		GetSystemIdentifier(), PgStartTime,
		RecoveryInProgress() ? InvalidXLogRecPtr : GetXLogReplayRecPtr(NULL),
		MyDatabaseId, probe->table->relid
	};

	return (int64) hash_bytes_extended((const unsigned char *) &identity, sizeof(identity), 0);
}

/*
 * The stamp of an answer that is still to be found, by the snapshot of the statement: what
 * it does not see of releases makes the answer useless, and never wrong.
 */
static Stamp
take_stamp(const char *subject, const char *subject_of_all)
{
	Stamp		stamp = {.clock = GetCurrentTimestamp()};
	Probe		probe;

	probe_begin(&probe, &version_table, PROBE_STATEMENT);
	require_probe(&probe);
	stamp.version = sum_versions(&probe, subject);
	if (subject_of_all != NULL)
		stamp.version += sum_versions(&probe, subject_of_all);
	stamp.epoch = current_epoch(&probe);
	probe_end(&probe);
	return stamp;
}

/*
 * A row of the type that the function returns, which is looked up once a session: that takes
 * as long as finding a duplicate.
 */
static Datum
stamped_row(FunctionCallInfo fcinfo, TupleDesc *desc, const Stamp *stamp, Datum *values,
			bool *nulls)
{
	if (*desc == NULL)
	{
		TupleDesc	found;
		MemoryContext before;

		if (get_call_result_type(fcinfo, NULL, &found) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "return type must be a row type");
		before = MemoryContextSwitchTo(TopMemoryContext);
		*desc = BlessTupleDesc(CreateTupleDescCopy(found));
		MemoryContextSwitchTo(before);
	}
	values[(*desc)->natts - 3] = Int64GetDatum(stamp->version);
	values[(*desc)->natts - 2] = Int64GetDatum(stamp->epoch);
	values[(*desc)->natts - 1] = TimestampTzGetDatum(stamp->clock);
	return HeapTupleGetDatum(heap_form_tuple(*desc, values, nulls));
}

/*
 * Until its transaction commits, a claim is nothing to be remembered; nor is one whose end
 * may change.
 */
static Datum
stamped_claim(FunctionCallInfo fcinfo, const Stamp *stamp, bool claimed, const Original *original)
{
	static TupleDesc desc = NULL;
	Datum		values[5] = {BoolGetDatum(claimed), TimestampTzGetDatum(original->expires_at)};
	bool		nulls[5] = {false, !original->settled || IsTransactionBlock()};

	return stamped_row(fcinfo, &desc, stamp, values, nulls);
}

/* claim_to_remember(scope, key, ttl) */
static Datum
claim_to_remember(PG_FUNCTION_ARGS)
{
	text	   *scope = scope_argument(fcinfo, 0);
	text	   *key = key_argument(fcinfo, 1, "key");
	Term		term = {.at = GetCurrentTimestamp()};
	Original	original = {0};
	Stamp		stamp;
	bool		claimed;

	require_writable("tradekeep.claim_to_remember");
	if (!PG_ARGISNULL(2))
		term.ttl = ttl_to_usecs(PG_GETARG_INTERVAL_P(2), "ttl");
	stamp = take_stamp(claims_of(scope), ALL_CLAIMS);
	claimed = claim_one(scope, key, &term, NULL, &original);
	return stamped_claim(fcinfo, &stamp, claimed, &original);
}

COUNTED_FUNCTION(tradekeep_claim_to_remember, claim_to_remember, ARGUMENT_SCOPE)

/* should_process_candle_to_remember(instrument, timeframe, at, drift, ttl) */
static Datum
should_process_candle_to_remember(PG_FUNCTION_ARGS)
{
	Original	original = {0};
	Stamp		stamp;
	bool		claimed;

	require_writable("tradekeep.should_process_candle_to_remember");
	stamp = take_stamp(ALL_CLAIMS ":" CANDLE_SCOPE, ALL_CLAIMS);
	claimed = process_candle(fcinfo, &original);
	return stamped_claim(fcinfo, &stamp, claimed, &original);
}

COUNTED_FUNCTION(tradekeep_should_process_candle_to_remember, should_process_candle_to_remember,
				 CANDLE_SCOPE)

/* claim_publish_to_remember(instrument, candle_start, ttl) */
static Datum
claim_publish_to_remember(PG_FUNCTION_ARGS)
{
	Original	original = {0};
	Stamp		stamp;
	bool		claimed;

	require_writable("tradekeep.claim_publish_to_remember");
	stamp = take_stamp(ALL_CLAIMS ":" PUBLISH_SCOPE, ALL_CLAIMS);
	claimed = publish_candle(fcinfo, &original);
	return stamped_claim(fcinfo, &stamp, claimed, &original);
}

COUNTED_FUNCTION(tradekeep_claim_publish_to_remember, claim_publish_to_remember, PUBLISH_SCOPE)

/* claim_signal_to_remember(symbol, direction, entry_price, tolerance, ttl, data) */
static Datum
claim_signal_to_remember(PG_FUNCTION_ARGS)
{
	static TupleDesc desc = NULL;
	Sent		sent;
	Stamp		stamp;
	bool		claimed;
	Datum		values[SIGNAL_RESULT_COLUMNS + 3];
	bool		nulls[SIGNAL_RESULT_COLUMNS + 3] = {false};

	require_writable("tradekeep.claim_signal_to_remember");
	stamp = take_stamp(ALL_SIGNALS, NULL);
	claimed = claim_one_signal(fcinfo, -1, &sent);
	fill_signal_result(claimed, &sent, values);
	return stamped_row(fcinfo, &desc, &stamp, values, nulls);
}

COUNTED_FUNCTION(tradekeep_claim_signal_to_remember, claim_signal_to_remember, SIGNALS)

/* cache_state(scopes) */
Datum
tradekeep_cache_state(PG_FUNCTION_ARGS)
{
	int			nscopes;
	text	  **scopes = keys_argument(fcinfo, 0, "scope", &nscopes);
	Datum	   *versions = palloc(sizeof(Datum) * nscopes);
	Datum	   *ttls = palloc(sizeof(Datum) * nscopes);
	bool	   *no_ttl = palloc(sizeof(bool) * nscopes);
	int			dims[1] = {nscopes};
	int			lbs[1] = {1};
	Datum		values[7];
	bool		nulls[7] = {false};
	TupleDesc	desc;
	int64		version_of_all;
	Probe		probe;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	/* The latest snapshot also in a transaction that has an older one: this is asked for news. */
	values[1] = TimestampTzGetDatum(GetCurrentTimestamp());
	probe_begin(&probe, &version_table, PROBE_LATEST);
	require_probe(&probe);
	values[0] = Int64GetDatum(current_epoch(&probe));
	version_of_all = sum_versions(&probe, ALL_CLAIMS);
	for (int i = 0; i < nscopes; i++)
	{
		check_scope(scopes[i]);
		versions[i] = Int64GetDatum(version_of_all + sum_versions(&probe, claims_of(scopes[i])));
	}
	values[3] = Int64GetDatum(sum_versions(&probe, ALL_SIGNALS));
	probe_end(&probe);
	for (int i = 0; i < nscopes; i++)
	{
		int64		ttl = scope_settings(scopes[i]).ttl;

		ttls[i] = Int64GetDatum(ttl / 1000);
		no_ttl[i] = ttl == 0;
	}
	values[2] = array_datum(versions, nscopes, INT8OID);
	values[4] = PointerGetDatum(construct_md_array(ttls, no_ttl, 1, dims, lbs, INT8OID,
												   sizeof(int64), true, TYPALIGN_DOUBLE));
	values[5] = Int32GetDatum(MyProcPid);
	values[6] = BoolGetDatum(RecoveryInProgress());
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
