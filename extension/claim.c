/*
 * claim.c
 *		Exactly-once claims on a key.
 *
 * A claim is a row of tradekeep.claim; its primary key (scope, key) is what makes
 * it exclusive.  Every call goes round the same loop:
 *
 *	1. Probe the index.  A live row answers "duplicate": no transaction id, no WAL,
 *	   no lock on the row.
 *	2. What looks absent is inserted with ON CONFLICT DO NOTHING; what looks expired
 *	   is taken over with ON CONFLICT DO UPDATE ... WHERE it is expired.  Either
 *	   waits for a session that has the same key in an unfinished transaction, and
 *	   gets the claim if that rolls back.  Only here is absence decided.
 *	3. A key that was not obtained went to somebody else: go round again, and the
 *	   probe finds it.
 *
 * The probe looks with the latest snapshot, at every isolation level: what is
 * committed is claimed, also when our own snapshot is older.  The statements of
 * step 2 use the transaction's, and fail with 40001 where that cannot see what
 * they run into.
 *
 * A batch visits its keys in the order of the index, and waits for others in no
 * other order, so that overlapping batches cannot deadlock.  Inserts come before
 * take-overs: a take-over only ever waits for another take-over.
 *
 * A round fails only when somebody else came and went in between, so a few suffice.
 * One that never ends has another cause, such as a trigger that drops our rows.
 *
 * The clock is read again on every round, since waiting takes time, and what would
 * be expired by the time it is granted is renewed before it is returned.
 */
#include "tradekeep.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "input.h"
#include "probe.h"
#include "statement.h"
#include "timeframe.h"

PG_FUNCTION_INFO_V1(tradekeep_claim);
PG_FUNCTION_INFO_V1(tradekeep_claim_or_get);
PG_FUNCTION_INFO_V1(tradekeep_claim_many);
PG_FUNCTION_INFO_V1(tradekeep_claimed);
PG_FUNCTION_INFO_V1(tradekeep_release);
PG_FUNCTION_INFO_V1(tradekeep_clear_claims);
PG_FUNCTION_INFO_V1(tradekeep_set_scope);
PG_FUNCTION_INFO_V1(tradekeep_should_process_candle);
PG_FUNCTION_INFO_V1(tradekeep_claim_publish);

/* Columns of tradekeep.claim and tradekeep.scope. */
#define CLAIM_CLAIMED_AT	3
#define CLAIM_EXPIRES_AT	4
#define CLAIM_DATA			6
#define SCOPE_TTL			2

static ProbeTable claim_table = {.name = "claim",.nkeys = 2};
static ProbeTable scope_table = {.name = "scope",.nkeys = 1};

#define INSERT_CLAIM \
	"INSERT INTO tradekeep.claim AS held (scope, key, claimed_at, expires_at, sweep_after, data)"
#define TAKE_OVER \
	" ON CONFLICT (scope, key) DO UPDATE SET claimed_at = excluded.claimed_at," \
	" expires_at = excluded.expires_at, sweep_after = excluded.sweep_after, data = excluded.data" \
	" WHERE held.expires_at OPERATOR(pg_catalog.<=) excluded.claimed_at"

static Statement insert_one = {
	.sql = INSERT_CLAIM " VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (scope, key) DO NOTHING",
	.nargs = 6,
	.argtypes = {TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID, JSONBOID}
};
static Statement take_over_one = {
	.sql = INSERT_CLAIM " VALUES ($1, $2, $3, $4, $5, $6)" TAKE_OVER,
	.nargs = 6,
	.argtypes = {TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID, JSONBOID}
};
static Statement insert_many = {
	.sql = INSERT_CLAIM " SELECT $1, key, $3, $4, $5, NULL FROM pg_catalog.unnest($2) AS key"
	" ON CONFLICT (scope, key) DO NOTHING RETURNING key",
	.nargs = 5,
	.argtypes = {TEXTOID, TEXTARRAYOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
};
static Statement take_over_many = {
	.sql = INSERT_CLAIM " SELECT $1, key, $3, $4, $5, NULL FROM pg_catalog.unnest($2) AS key"
	TAKE_OVER " RETURNING key",
	.nargs = 5,
	.argtypes = {TEXTOID, TEXTARRAYOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
};
static Statement delete_one = {
	.sql = "DELETE FROM tradekeep.claim WHERE scope OPERATOR(pg_catalog.=) $1"
	" AND key OPERATOR(pg_catalog.=) $2"
	" AND expires_at OPERATOR(pg_catalog.>) pg_catalog.clock_timestamp()",
	.nargs = 2,
	.argtypes = {TEXTOID, TEXTOID}
};
static Statement delete_matching = {
	.sql = "WITH doomed AS MATERIALIZED (SELECT scope, key FROM tradekeep.claim"
	" WHERE ($1 IS NULL OR scope OPERATOR(pg_catalog.=) $1)"
	" AND ($2 IS NULL OR key OPERATOR(pg_catalog.~) $2)"
	" ORDER BY scope, key FOR UPDATE)"
	" DELETE FROM tradekeep.claim AS held USING doomed"
	" WHERE held.scope OPERATOR(pg_catalog.=) doomed.scope"
	" AND held.key OPERATOR(pg_catalog.=) doomed.key"
	" RETURNING held.expires_at OPERATOR(pg_catalog.>) pg_catalog.clock_timestamp()",
	.nargs = 2,
	.argtypes = {TEXTOID, TEXTOID}
};
static Statement store_scope = {
	.sql = "INSERT INTO tradekeep.scope (scope, ttl) VALUES ($1, $2)"
	" ON CONFLICT (scope) DO UPDATE SET ttl = excluded.ttl",
	.nargs = 2,
	.argtypes = {TEXTOID, INTERVALOID}
};
static Statement delete_scope = {
	.sql = "DELETE FROM tradekeep.scope WHERE scope OPERATOR(pg_catalog.=) $1",
	.nargs = 1,
	.argtypes = {TEXTOID}
};

#define MAX_ROUNDS 100

/* When a claim begins and ends. */
typedef struct Term
{
	bool		replayed;		/* `at` was given: the clock plays no part */
	TimestampTz at;
	int64		ttl;			/* microseconds; 0 until it is known */
	TimestampTz expires_at;
	TimestampTz sweep_after;
} Term;

/* What a probe found. */
typedef enum Finding
{
	ABSENT,
	EXPIRED,
	LIVE
} Finding;

/* The claim that a duplicate ran into. */
typedef struct Original
{
	TimestampTz claimed_at;
	TimestampTz expires_at;
	Jsonb	   *data;			/* null when it has none */
} Original;

/*
 * The ttl of a scope: a row of tradekeep.scope, or else what is built in.
 */
static int64
scope_ttl(text *scope)
{
	static const struct
	{
		const char *scope;
		int64		ttl;
	}			built_in[] =
	{
		{"candle", USECS_PER_HOUR},
		{"publish", USECS_PER_DAY},
		{"signal", USECS_PER_DAY},
	};
	Probe		probe;
	Datum		keys[1] = {PointerGetDatum(scope)};
	TupleTableSlot *slot;
	int64		ttl = 0;

	probe_begin(&probe, &scope_table, PROBE_LATEST);
	slot = probe_find(&probe, keys);
	if (slot != NULL)
	{
		bool		isnull;
		Datum		value = slot_getattr(slot, SCOPE_TTL, &isnull);

		ttl = ttl_to_usecs(DatumGetIntervalP(value));
	}
	probe_end(&probe);

	for (int i = 0; ttl == 0 && i < lengthof(built_in); i++)
		if (VARSIZE_ANY_EXHDR(scope) == strlen(built_in[i].scope) &&
			memcmp(VARDATA_ANY(scope), built_in[i].scope, strlen(built_in[i].scope)) == 0)
			ttl = built_in[i].ttl;
	if (ttl == 0)
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_TTL),
				 errmsg("scope \"%s\" has no ttl", text_to_cstring(scope)),
				 errhint("Pass a ttl, or give the scope one with tradekeep.set_scope().")));
	return ttl;
}

/* Reads the arguments `ttl` and `at`.  An omitted ttl is looked up when needed. */
static Term
term_arguments(FunctionCallInfo fcinfo, int ttl_argno, int at_argno)
{
	Term		term = {0};

	if (!PG_ARGISNULL(ttl_argno))
		term.ttl = ttl_to_usecs(PG_GETARG_INTERVAL_P(ttl_argno));
	term.replayed = !PG_ARGISNULL(at_argno);
	term.at = at_argument(fcinfo, at_argno);
	return term;
}

/*
 * Settles when a claim made now would end.  A replay in the past is kept from the
 * sweeper for a whole ttl from now on.
 */
static void
settle_term(Term *term, text *scope)
{
	if (term->ttl == 0)
		term->ttl = scope_ttl(scope);
	term->expires_at = term->at + term->ttl;
	term->sweep_after = Max(term->expires_at, GetCurrentTimestamp() + term->ttl);
}

/* Prepares for another round, or gives up. */
static void
next_round(Term *term, int round)
{
	CHECK_FOR_INTERRUPTS();
	if (round == MAX_ROUNDS)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not claim after %d rounds", MAX_ROUNDS),
				 errhint("Retry. If it never works, look for triggers on tradekeep.claim.")));
	if (!term->replayed)
		term->at = GetCurrentTimestamp();
}

/* True when a claim of this term is already over: it waited for somebody too long. */
static bool
term_is_over(const Term *term)
{
	return !term->replayed && term->expires_at <= GetCurrentTimestamp();
}

static Finding
find_claim(Probe *probe, text *scope, text *key, TimestampTz at, Original *original)
{
	Datum		keys[2] = {PointerGetDatum(scope), PointerGetDatum(key)};
	TupleTableSlot *slot = probe_find(probe, keys);
	TimestampTz expires_at;
	bool		isnull;

	if (slot == NULL)
		return ABSENT;
	expires_at = DatumGetTimestampTz(slot_getattr(slot, CLAIM_EXPIRES_AT, &isnull));
	if (expires_at <= at)
		return EXPIRED;
	if (original != NULL)
	{
		Datum		data;

		original->claimed_at = DatumGetTimestampTz(slot_getattr(slot, CLAIM_CLAIMED_AT, &isnull));
		original->expires_at = expires_at;
		data = slot_getattr(slot, CLAIM_DATA, &isnull);
		original->data = isnull ? NULL : DatumGetJsonbPCopy(data);
	}
	return LIVE;
}

/*
 * Claims one key.  False: somebody has it, and *original (unless null) tells of it.
 */
static bool
claim_one(text *scope, text *key, Term *term, Jsonb *data, Original *original)
{
	for (int round = 1;; round++)
	{
		Probe		probe;
		Finding		finding;
		Datum		values[6];
		char		nulls[7] = "      ";

		probe_begin(&probe, &claim_table, PROBE_LATEST);
		finding = find_claim(&probe, scope, key, term->at, original);
		probe_end(&probe);
		if (finding == LIVE)
			return false;

		settle_term(term, scope);
		values[0] = PointerGetDatum(scope);
		values[1] = PointerGetDatum(key);
		values[2] = TimestampTzGetDatum(term->at);
		values[3] = TimestampTzGetDatum(term->expires_at);
		values[4] = TimestampTzGetDatum(term->sweep_after);
		values[5] = PointerGetDatum(data);
		if (data == NULL)
			nulls[5] = 'n';
		if (run_statement(finding == ABSENT ? &insert_one : &take_over_one, values, nulls) == 1 &&
			!term_is_over(term))
			return true;
		next_round(term, round);
	}
}

Datum
tradekeep_claim(PG_FUNCTION_ARGS)
{
	text	   *scope = scope_argument(fcinfo, 0);
	text	   *key = key_argument(fcinfo, 1, "key");
	Term		term = term_arguments(fcinfo, 2, 4);

	require_writable("tradekeep.claim");
	PG_RETURN_BOOL(claim_one(scope, key, &term, PG_ARGISNULL(3) ? NULL : PG_GETARG_JSONB_P(3), NULL));
}

Datum
tradekeep_claim_or_get(PG_FUNCTION_ARGS)
{
	text	   *scope = scope_argument(fcinfo, 0);
	text	   *key = key_argument(fcinfo, 1, "key");
	Term		term = term_arguments(fcinfo, 2, 4);
	Original	original = {0};
	bool		claimed;
	TupleDesc	desc;
	Datum		values[4];
	bool		nulls[4] = {false};

	require_writable("tradekeep.claim_or_get");
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	claimed = claim_one(scope, key, &term, PG_ARGISNULL(3) ? NULL : PG_GETARG_JSONB_P(3),
						&original);
	values[0] = BoolGetDatum(claimed);
	values[1] = TimestampTzGetDatum(claimed ? term.at : original.claimed_at);
	values[2] = TimestampTzGetDatum(claimed ? term.expires_at : original.expires_at);
	values[3] = PointerGetDatum(original.data);
	nulls[3] = claimed || original.data == NULL;
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* One key of a batch, and where its answer goes. */
typedef struct BatchKey
{
	text	   *key;
	int			position;
	Finding		finding;
} BatchKey;

/* The order of the index, and in it the order of the arguments. */
static int
compare_batch_keys(const void *left, const void *right)
{
	const BatchKey *a = left;
	const BatchKey *b = right;
	Size		a_length = VARSIZE_ANY_EXHDR(a->key);
	Size		b_length = VARSIZE_ANY_EXHDR(b->key);
	int			order = memcmp(VARDATA_ANY(a->key), VARDATA_ANY(b->key), Min(a_length, b_length));

	if (order == 0)
		order = a_length < b_length ? -1 : a_length > b_length;
	return order != 0 ? order : a->position - b->position;
}

static bool
same_key(const text *a, const text *b)
{
	return VARSIZE_ANY_EXHDR(a) == VARSIZE_ANY_EXHDR(b) &&
		memcmp(VARDATA_ANY(a), VARDATA_ANY(b), VARSIZE_ANY_EXHDR(a)) == 0;
}

/*
 * Tries to obtain those of the pending keys that were found to be `finding`, and
 * notes which were.  Both the keys and the answer come in the order of the index.
 */
static void
obtain_keys(text *scope, BatchKey *pending, int npending, Finding finding,
			const Term *term, bool *granted)
{
	Datum	   *keys = palloc(sizeof(Datum) * npending);
	Datum		values[5];
	int			nkeys = 0;
	int			next = 0;

	for (int i = 0; i < npending; i++)
		if (pending[i].finding == finding)
			keys[nkeys++] = PointerGetDatum(pending[i].key);
	if (nkeys == 0)
		return;

	values[0] = PointerGetDatum(scope);
	values[1] = PointerGetDatum(construct_array(keys, nkeys, TEXTOID, -1, false, TYPALIGN_INT));
	values[2] = TimestampTzGetDatum(term->at);
	values[3] = TimestampTzGetDatum(term->expires_at);
	values[4] = TimestampTzGetDatum(term->sweep_after);
	SPI_connect();
	execute_statement(finding == ABSENT ? &insert_many : &take_over_many, values, NULL);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		bool		isnull;
		text	   *key = DatumGetTextPP(SPI_getbinval(SPI_tuptable->vals[row],
													   SPI_tuptable->tupdesc, 1, &isnull));

		while (next < npending && !same_key(pending[next].key, key))
			next++;
		if (next == npending)
			elog(ERROR, "claims were granted out of order");
		granted[pending[next].position] = true;
	}
	SPI_finish();
}

/* Claims a batch of distinct keys in the order of the index. */
static void
claim_batch(text *scope, BatchKey *pending, int npending, Term *term, bool *granted)
{
	for (int round = 1;; round++)
	{
		Probe		probe;
		int			kept = 0;

		probe_begin(&probe, &claim_table, PROBE_LATEST);
		for (int i = 0; i < npending; i++)
		{
			Finding		finding = find_claim(&probe, scope, pending[i].key, term->at, NULL);

			if (finding == LIVE)
				continue;
			pending[kept] = pending[i];
			pending[kept++].finding = finding;
		}
		probe_end(&probe);
		npending = kept;
		if (npending == 0)
			break;

		settle_term(term, scope);
		obtain_keys(scope, pending, npending, ABSENT, term, granted);
		obtain_keys(scope, pending, npending, EXPIRED, term, granted);
		if (!term_is_over(term))
		{
			kept = 0;
			for (int i = 0; i < npending; i++)
				if (!granted[pending[i].position])
					pending[kept++] = pending[i];
			npending = kept;
		}
		next_round(term, round);
	}
}

Datum
tradekeep_claim_many(PG_FUNCTION_ARGS)
{
	text	   *scope = scope_argument(fcinfo, 0);
	Term		term = term_arguments(fcinfo, 2, 3);
	ArrayType  *array;
	Datum	   *keys;
	bool	   *nulls;
	int			nkeys;
	int			ndistinct = 0;
	BatchKey   *batch;
	bool	   *granted;
	Datum	   *answers;

	require_writable("tradekeep.claim_many");
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_BATCH),
				 errmsg("keys must not be null")));
	array = PG_GETARG_ARRAYTYPE_P(1);
	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_BATCH),
				 errmsg("keys must be a one-dimensional array")));
	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &keys, &nulls, &nkeys);

	batch = palloc(sizeof(BatchKey) * nkeys);
	for (int i = 0; i < nkeys; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_TRADEKEEP_KEY),
					 errmsg("key %d must not be null", i + 1)));
		batch[i].key = DatumGetTextPP(keys[i]);
		batch[i].position = i;
		check_key(batch[i].key, psprintf("key %d", i + 1));
	}

	qsort(batch, nkeys, sizeof(BatchKey), compare_batch_keys);
	for (int i = 0; i < nkeys; i++)
		if (ndistinct == 0 || !same_key(batch[i].key, batch[ndistinct - 1].key))
			batch[ndistinct++] = batch[i];
	granted = palloc0(sizeof(bool) * nkeys);
	claim_batch(scope, batch, ndistinct, &term, granted);

	answers = palloc(sizeof(Datum) * nkeys);
	for (int i = 0; i < nkeys; i++)
		answers[i] = BoolGetDatum(granted[i]);
	PG_RETURN_ARRAYTYPE_P(construct_array(answers, nkeys, BOOLOID, 1, true, TYPALIGN_CHAR));
}

Datum
tradekeep_claimed(PG_FUNCTION_ARGS)
{
	text	   *scope = scope_argument(fcinfo, 0);
	text	   *key = key_argument(fcinfo, 1, "key");
	TimestampTz at = at_argument(fcinfo, 2);
	Probe		probe;
	Finding		finding;

	probe_begin(&probe, &claim_table, PROBE_STATEMENT);
	finding = find_claim(&probe, scope, key, at, NULL);
	probe_end(&probe);
	PG_RETURN_BOOL(finding == LIVE);
}

Datum
tradekeep_release(PG_FUNCTION_ARGS)
{
	text	   *scope = scope_argument(fcinfo, 0);
	text	   *key = key_argument(fcinfo, 1, "key");
	Datum		values[2] = {PointerGetDatum(scope), PointerGetDatum(key)};

	require_writable("tradekeep.release");
	PG_RETURN_BOOL(run_statement(&delete_one, values, NULL) == 1);
}

Datum
tradekeep_clear_claims(PG_FUNCTION_ARGS)
{
	Datum		values[2] = {0};
	char		nulls[3] = "nn";
	int64		cleared = 0;

	require_writable("tradekeep.clear_claims");
	if (!PG_ARGISNULL(0))
	{
		values[0] = PointerGetDatum(scope_argument(fcinfo, 0));
		nulls[0] = ' ';
	}
	if (!PG_ARGISNULL(1))
	{
		values[1] = CStringGetTextDatum(glob_to_regex(PG_GETARG_TEXT_PP(1)));
		nulls[1] = ' ';
	}
	if (PG_ARGISNULL(0) && PG_ARGISNULL(1) &&
		!table_granted("claim", ACL_TRUNCATE))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to clear the claims of all scopes"),
				 errhint("Name a scope or a pattern, or ask for the level admin"
						 " (tradekeep.grant_access).")));

	SPI_connect();
	execute_statement(&delete_matching, values, nulls);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		bool		isnull;

		cleared += DatumGetBool(SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, 1,
											  &isnull));
	}
	SPI_finish();
	PG_RETURN_INT64(cleared);
}

Datum
tradekeep_set_scope(PG_FUNCTION_ARGS)
{
	text	   *scope = scope_argument(fcinfo, 0);
	Datum		values[2] = {PointerGetDatum(scope)};

	require_writable("tradekeep.set_scope");
	if (PG_ARGISNULL(1))
		run_statement(&delete_scope, values, NULL);
	else
	{
		ttl_to_usecs(PG_GETARG_INTERVAL_P(1));
		values[1] = PG_GETARG_DATUM(1);
		run_statement(&store_scope, values, NULL);
	}
	PG_RETURN_VOID();
}

/* {instrument}:{timeframe}:{candle_start}, or without the timeframe when it is null. */
static text *
candle_key(const text *instrument, const char *timeframe, TimestampTz candle_start)
{
	char		start[UTC_TEXT_LENGTH + 1];
	text	   *key;

	utc_text(candle_start, start);
	key = cstring_to_text(psprintf("%.*s:%s%s%s",
								   (int) VARSIZE_ANY_EXHDR(instrument), VARDATA_ANY(instrument),
								   timeframe ? timeframe : "", timeframe ? ":" : "", start));
	check_key(key, "instrument with its candle");
	return key;
}

Datum
tradekeep_should_process_candle(PG_FUNCTION_ARGS)
{
	text	   *instrument = key_argument(fcinfo, 0, "instrument");
	text	   *scope = cstring_to_text("candle");
	Term		term = term_arguments(fcinfo, 4, 2);
	Timeframe	timeframe;
	int64		drift;
	TimestampTz start;
	text	   *key;

	require_writable("tradekeep.should_process_candle");
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_TIME),
				 errmsg("timeframe must not be null")));
	timeframe = PG_GETARG_TIMEFRAME(1);
	if (PG_ARGISNULL(3))
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_TTL),
				 errmsg("drift must not be null")));
	drift = interval_to_usecs(PG_GETARG_INTERVAL_P(3), "drift");
	if (drift < 0)
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_TTL),
				 errmsg("drift must not be negative")));

	start = candle_start(timeframe, term.at);
	key = candle_key(instrument, timeframe_name(timeframe), start);
	if (term.at - start > drift)
		PG_RETURN_BOOL(false);

	/*
	 * The claim outlives the drift by a whole ttl, so that a slow clock elsewhere
	 * cannot claim the same candle again.
	 */
	if (term.ttl == 0)
		term.ttl = scope_ttl(scope);
	term.ttl += start + drift - term.at;
	PG_RETURN_BOOL(claim_one(scope, key, &term, NULL, NULL));
}

Datum
tradekeep_claim_publish(PG_FUNCTION_ARGS)
{
	text	   *instrument = key_argument(fcinfo, 0, "instrument");
	text	   *scope = cstring_to_text("publish");
	Term		term = {.at = GetCurrentTimestamp()};
	TimestampTz start;

	require_writable("tradekeep.claim_publish");
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_TIME),
				 errmsg("candle_start must not be null")));
	start = PG_GETARG_TIMESTAMPTZ(1);
	check_time(start, "candle_start");
	if (start % USECS_PER_SEC != 0)
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_TIME),
				 errmsg("candle_start has a fraction of a second: %s", timestamptz_to_str(start)),
				 errhint("Candles begin on whole seconds: see tradekeep.candle_start().")));
	if (!PG_ARGISNULL(2))
		term.ttl = ttl_to_usecs(PG_GETARG_INTERVAL_P(2));
	PG_RETURN_BOOL(claim_one(scope, candle_key(instrument, NULL, start), &term, NULL, NULL));
}
