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
 * A batch waits for others in one order only, that of the index, so that overlapping
 * batches cannot deadlock.  Its first attempt inserts what is absent and touches
 * nothing else: in a herd of bots that claim the same keys at once, the losers write
 * nothing.  When that is not all there is to do, because some keys are expired, slide,
 * or came and went meanwhile, the attempt is undone, and one pass in order inserts or
 * locks every key; what follows finds the rows locked, and waits for nobody.
 *
 * A round fails only when somebody else came and went in between, so a few suffice.
 * One that never ends has another cause, such as a trigger that drops our rows.
 *
 * A duplicate of a sliding claim is the one that writes: it extends the row, which
 * says by how much in its column ttl.  Whether a claim slides is settled when it is
 * made, so that a duplicate never asks for the settings of its scope.
 *
 * The clock is read again on every round, since waiting takes time, and what would
 * be expired by the time it is granted is renewed before it is returned; once, since
 * its row is ours by then and nobody is waited for again.
 */
#include "claim.h"

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
#include "metrics.h"
#include "probe.h"
#include "remember.h"
#include "statement.h"

/* Columns of tradekeep.claim. */
#define CLAIM_CLAIMED_AT	3
#define CLAIM_EXPIRES_AT	4
#define CLAIM_TOKEN			6
#define CLAIM_COMPLETED_AT	7
#define CLAIM_TTL			8
#define CLAIM_DATA			9

static ProbeTable claim_table = {.name = "claim",.nkeys = 2};

#define INSERT_CLAIM \
	"INSERT INTO tradekeep.claim AS held" \
	" (scope, key, claimed_at, expires_at, sweep_after, ttl, data)"
#define DO_NOTHING	" ON CONFLICT (scope, key) DO NOTHING"
#define TAKE_OVER \
	" ON CONFLICT (scope, key) DO UPDATE SET claimed_at = excluded.claimed_at," \
	" expires_at = excluded.expires_at, sweep_after = excluded.sweep_after," \
	" token = NULL, completed_at = NULL, ttl = excluded.ttl, data = excluded.data" \
	" WHERE held.expires_at OPERATOR(pg_catalog.<=) excluded.claimed_at"
#define ONE_ROW		" VALUES ($1, $2, $3, $4, $5, $6, $7)"
#define MANY_ROWS \
	" SELECT $1, key, $3, $4, $5, $6, $7 FROM pg_catalog.unnest($2) AS key"

static Statement insert_one = {
	.sql = INSERT_CLAIM ONE_ROW DO_NOTHING,
	.nargs = 7,
	.argtypes = {TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INTERVALOID,
	JSONBOID}
};
static Statement take_over_one = {
	.sql = INSERT_CLAIM ONE_ROW TAKE_OVER,
	.nargs = 7,
	.argtypes = {TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INTERVALOID,
	JSONBOID}
};
static Statement insert_many = {
	.sql = INSERT_CLAIM MANY_ROWS DO_NOTHING " RETURNING key",
	.nargs = 7,
	.argtypes = {TEXTOID, TEXTARRAYOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INTERVALOID,
	JSONBOID}
};

/* Inserts what is absent and locks what is not. */
static Statement insert_or_lock_many = {
	.sql = INSERT_CLAIM MANY_ROWS
	" ON CONFLICT (scope, key) DO UPDATE SET scope = excluded.scope WHERE false RETURNING key",
	.nargs = 7,
	.argtypes = {TEXTOID, TEXTARRAYOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INTERVALOID,
	JSONBOID}
};
static Statement take_over_many = {
	.sql = "WITH taken AS (UPDATE tradekeep.claim SET claimed_at = $3, expires_at = $4,"
	" sweep_after = $5, token = NULL, completed_at = NULL, ttl = $6, data = NULL"
	" WHERE scope OPERATOR(pg_catalog.=) $1 AND key OPERATOR(pg_catalog.=) ANY ($2)"
	" AND expires_at OPERATOR(pg_catalog.<=) $3 RETURNING key)"
	" SELECT key FROM taken ORDER BY key",
	.nargs = 6,
	.argtypes = {TEXTOID, TEXTARRAYOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INTERVALOID}
};

/*
 * Without $3 the clock is read when the row is there, after any wait for it.  Adding
 * ttl is adding microseconds: it has no days or months, whose length the session's
 * time zone could change.
 */
static Statement slide = {
	.sql = "UPDATE tradekeep.claim"
	" SET expires_at = GREATEST(expires_at,"
	" COALESCE($3, pg_catalog.clock_timestamp()) OPERATOR(pg_catalog.+) ttl),"
	" sweep_after = GREATEST(sweep_after, $3 OPERATOR(pg_catalog.+) ttl,"
	" pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+) ttl)"
	" WHERE scope OPERATOR(pg_catalog.=) $1 AND key OPERATOR(pg_catalog.=) ANY ($2)"
	" AND expires_at OPERATOR(pg_catalog.>) COALESCE($3, pg_catalog.clock_timestamp())"
	" AND ttl IS NOT NULL AND token IS NULL",
	.nargs = 3,
	.argtypes = {TEXTOID, TEXTARRAYOID, TIMESTAMPTZOID}
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
	" RETURNING held.scope, held.expires_at OPERATOR(pg_catalog.>) pg_catalog.clock_timestamp()",
	.nargs = 2,
	.argtypes = {TEXTOID, TEXTOID}
};
#define MAX_ROUNDS 100

/* What a probe found. */
typedef enum Finding
{
	ABSENT,
	EXPIRED,
	LIVE,
	SLIDING						/* live, and a duplicate extends it */
} Finding;

/* Reads the arguments `ttl` and `at`.  An omitted ttl is looked up when needed. */
static Term
term_arguments(FunctionCallInfo fcinfo, int ttl_argno, int at_argno)
{
	Term		term = {0};

	if (!PG_ARGISNULL(ttl_argno))
		term.ttl = ttl_to_usecs(PG_GETARG_INTERVAL_P(ttl_argno), "ttl");
	term.replayed = !PG_ARGISNULL(at_argno);
	term.at = at_argument(fcinfo, at_argno);
	return term;
}

/*
 * Settles when a claim made now would end.  A ttl given with the claim wins over a
 * scope that ends with the candle.  A replay in the past is kept from the sweeper for
 * a whole ttl from now on.
 */
static void
settle_term(Term *term, text *scope)
{
	if (!term->pinned)
	{
		ScopeSettings settings = scope_settings(scope);

		if (term->ttl == 0 && settings.expiry != EXPIRY_CANDLE)
			term->ttl = require_ttl(scope, &settings);
		if (settings.expiry == EXPIRY_SLIDING)
			term->kept_ttl = term->ttl;
		if (term->ttl != 0)
			term->pinned = true;
		else
			term->expires_at = candle_end(settings.timeframe, term->at);
	}
	if (term->ttl != 0)
		term->expires_at = term->at + term->ttl;
	term->sweep_after = Max(term->expires_at,
							GetCurrentTimestamp() + (term->expires_at - term->at));
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

/* Judges what a probe found. */
static Finding
judge_claim(TupleTableSlot *slot, TimestampTz at, Original *original)
{
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
		original->settled = slot_attisnull(slot, CLAIM_TTL) ||
			!slot_attisnull(slot, CLAIM_COMPLETED_AT);
	}
	return slot_attisnull(slot, CLAIM_TTL) || !slot_attisnull(slot, CLAIM_TOKEN) ? LIVE : SLIDING;
}

/* Looks up one key, by what the latest snapshot or the running statement sees. */
static Finding
find_claim(text *scope, text *key, TimestampTz at, ProbeView view, Original *original)
{
	Datum		keys[2] = {PointerGetDatum(scope), PointerGetDatum(key)};
	Probe		probe;
	Finding		finding;

	probe_begin(&probe, &claim_table, view);
	finding = judge_claim(probe_find(&probe, keys), at, original);
	probe_end(&probe);
	return finding;
}

/* The arguments of an insert, but for $2, which is one key or many. */
static void
fill_values(text *scope, Datum keys, const Term *term, Jsonb *data, Datum *values, char *nulls)
{
	values[0] = PointerGetDatum(scope);
	values[1] = keys;
	values[2] = TimestampTzGetDatum(term->at);
	values[3] = TimestampTzGetDatum(term->expires_at);
	values[4] = TimestampTzGetDatum(term->sweep_after);
	values[5] = PointerGetDatum(usecs_to_interval(term->kept_ttl));
	values[6] = PointerGetDatum(data);
	strcpy(nulls, "       ");
	if (term->kept_ttl == 0)
		nulls[5] = 'n';
	if (data == NULL)
		nulls[6] = 'n';
}

/* Extends a sliding claim.  False: it is gone. */
static bool
slide_one(text *scope, text *key, const Term *term)
{
	Datum		keys[1] = {PointerGetDatum(key)};
	Datum		values[3] = {
		PointerGetDatum(scope),
		PointerGetDatum(construct_array(keys, 1, TEXTOID, -1, false, TYPALIGN_INT)),
		TimestampTzGetDatum(term->at)
	};

	return run_statement(&slide, values, term->replayed ? "   " : "  n") == 1;
}

bool
claim_one(text *scope, text *key, Term *term, Jsonb *data, Original *original)
{
	bool		granted = false;

	for (int round = 1;; round++)
	{
		Finding		finding = find_claim(scope, key, term->at, PROBE_LATEST, original);
		Datum		values[7];
		char		nulls[8];

		if (finding == LIVE || (finding == SLIDING && slide_one(scope, key, term)))
		{
			if (finding == SLIDING && original != NULL)
				find_claim(scope, key, term->at, PROBE_LATEST, original);	/* as it is now */
			count_claims(scope, COUNT_DUPLICATE, 1);
			return false;
		}
		if (finding != SLIDING)
		{
			settle_term(term, scope);
			fill_values(scope, PointerGetDatum(key), term, data, values, nulls);
			if (run_statement(finding == ABSENT ? &insert_one : &take_over_one, values,
							  nulls) == 1)
			{
				if (granted || !term_is_over(term))
				{
					count_claims(scope, COUNT_CLAIMED, 1);
					if (original != NULL)
						*original = (Original)
					{
						.claimed_at = term->at,.expires_at = term->expires_at,
							.settled = term->kept_ttl == 0
					};
					return true;
				}
				granted = true;
			}
		}
		next_round(term, round);
	}
}

static Datum
claim(PG_FUNCTION_ARGS)
{
	text	   *scope = scope_argument(fcinfo, 0);
	text	   *key = key_argument(fcinfo, 1, "key");
	Term		term = term_arguments(fcinfo, 2, 4);

	require_writable("tradekeep.claim");
	PG_RETURN_BOOL(claim_one(scope, key, &term, PG_ARGISNULL(3) ? NULL : PG_GETARG_JSONB_P(3), NULL));
}

COUNTED_FUNCTION(tradekeep_claim, claim, ARGUMENT_SCOPE)

static Datum
claim_or_get(PG_FUNCTION_ARGS)
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
	values[1] = TimestampTzGetDatum(original.claimed_at);
	values[2] = TimestampTzGetDatum(original.expires_at);
	values[3] = PointerGetDatum(original.data);
	nulls[3] = original.data == NULL;
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

COUNTED_FUNCTION(tradekeep_claim_or_get, claim_or_get, ARGUMENT_SCOPE)

/* One key of a batch, and where its answer goes. */
typedef struct BatchKey
{
	text	   *key;
	int			position;
	bool		granted;
} BatchKey;

/* The order of the index, and in it the order of the arguments. */
static int
compare_batch_keys(const void *left, const void *right)
{
	const BatchKey *a = left;
	const BatchKey *b = right;
	int			order = compare_text(a->key, b->key);

	return order != 0 ? order : a->position - b->position;
}

/*
 * Looks up the keys that were not granted, and drops those that are somebody's for
 * good.  Says whether all that remain are absent.  Returns how many remain.
 */
static int
keep_claimable(text *scope, BatchKey *keys, int nkeys, TimestampTz at, bool *all_absent)
{
	Probe		probe;
	int			kept = 0;

	*all_absent = true;
	probe_begin(&probe, &claim_table, PROBE_LATEST);
	for (int i = 0; i < nkeys; i++)
	{
		Datum		datums[2] = {PointerGetDatum(scope), PointerGetDatum(keys[i].key)};
		Finding		finding = judge_claim(probe_find_next(&probe, datums), at, NULL);

		if (finding == LIVE)
			continue;
		*all_absent &= finding == ABSENT;
		keys[kept++] = keys[i];
	}
	probe_end(&probe);
	return kept;
}

/*
 * Runs a statement for the keys that were not yet granted.  It returns those that it
 * granted, in the order of the index as they are here.
 */
static void
grant_keys(Statement *statement, text *scope, BatchKey *keys, int nkeys, const Term *term)
{
	Datum	   *datums = palloc(sizeof(Datum) * nkeys);
	Datum		values[7];
	char		nulls[8];
	int			ndatums = 0;
	int			next = 0;

	for (int i = 0; i < nkeys; i++)
		if (!keys[i].granted)
			datums[ndatums++] = PointerGetDatum(keys[i].key);
	if (ndatums == 0)
		return;
	fill_values(scope, PointerGetDatum(construct_array(datums, ndatums, TEXTOID, -1, false,
													   TYPALIGN_INT)), term, NULL, values, nulls);
	SPI_connect();
	execute_statement(statement, values, nulls);
	for (uint64 row = 0; SPI_tuptable != NULL && row < SPI_processed; row++)
	{
		bool		isnull;
		text	   *key = DatumGetTextPP(SPI_getbinval(SPI_tuptable->vals[row],
													   SPI_tuptable->tupdesc, 1, &isnull));

		while (next < nkeys && compare_text(keys[next].key, key) != 0)
			next++;
		if (next == nkeys)
			elog(ERROR, "claims were granted out of order");
		keys[next].granted = true;
	}
	SPI_finish();
}

/* Notes the answers of those that were granted and drops them; returns how many remain. */
static int
settle_granted(BatchKey *keys, int nkeys, bool *granted)
{
	int			kept = 0;

	for (int i = 0; i < nkeys; i++)
	{
		if (keys[i].granted)
			granted[keys[i].position] = true;
		else
			keys[kept++] = keys[i];
	}
	return kept;
}

/*
 * The first attempt: inserts keys that were absent a moment ago, and nothing else.
 * True when that settled all of them; otherwise it is undone.
 */
static bool
insert_absent(text *scope, BatchKey *keys, int *nkeys, Term *term, bool *granted)
{
	BatchKey   *before = palloc(sizeof(BatchKey) * *nkeys);
	int			nbefore = *nkeys;
	Attempt		attempt;
	bool		settled = false;
	bool		all_absent;

	memcpy(before, keys, sizeof(BatchKey) * nbefore);
	begin_attempt(&attempt);
	PG_TRY();
	{
		grant_keys(&insert_many, scope, keys, *nkeys, term);
		*nkeys = settle_granted(keys, *nkeys, granted);
		/* Waiting took time, in which a claim that stood in the way may have expired. */
		settled = *nkeys == 0 ||
			keep_claimable(scope, keys, *nkeys,
						   term->replayed ? term->at : GetCurrentTimestamp(),
						   &all_absent) == 0;
	}
	PG_CATCH();
	{
		undo_attempt(&attempt);
		PG_RE_THROW();
	}
	PG_END_TRY();

	if (settled && !term_is_over(term))
	{
		keep_attempt(&attempt);
		return true;
	}
	undo_attempt(&attempt);
	for (int i = 0; i < nbefore; i++)
		granted[before[i].position] = false;
	memcpy(keys, before, sizeof(BatchKey) * nbefore);
	*nkeys = nbefore;
	return false;
}

/*
 * One pass in order over all keys, and then what their rows ask for.  They are ours or
 * locked by then, so the clock is read a last time; what was inserted and is over by
 * then is taken over from ourselves.
 */
static void
claim_in_order(text *scope, BatchKey *keys, int nkeys, Term *term, bool *granted)
{
	settle_term(term, scope);
	grant_keys(&insert_or_lock_many, scope, keys, nkeys, term);
	if (!term->replayed)
	{
		if (term_is_over(term))
			for (int i = 0; i < nkeys; i++)
				keys[i].granted = false;
		term->at = GetCurrentTimestamp();
		settle_term(term, scope);
	}
	grant_keys(&take_over_many, scope, keys, nkeys, term);
	grant_keys(&slide, scope, keys, nkeys, term);
	settle_granted(keys, nkeys, granted);
}

/* Claims a batch of distinct keys, and notes in granted[] which it got. */
static void
claim_batch(text *scope, BatchKey *keys, int nkeys, Term *term, bool *granted)
{
	bool		all_absent;

	nkeys = keep_claimable(scope, keys, nkeys, term->at, &all_absent);
	if (nkeys == 0)
		return;
	settle_term(term, scope);
	/* A duplicate of a sliding claim writes in any case. */
	if (all_absent && term->kept_ttl == 0 && insert_absent(scope, keys, &nkeys, term, granted))
		return;
	if (!term->replayed)
		term->at = GetCurrentTimestamp();
	claim_in_order(scope, keys, nkeys, term, granted);
}

ArrayType *
claim_keys(text *scope, text **keys, int nkeys, Term *term)
{
	BatchKey   *batch = palloc(sizeof(BatchKey) * nkeys);
	bool	   *granted = palloc0(sizeof(bool) * nkeys);
	Datum	   *answers = palloc(sizeof(Datum) * nkeys);
	int			ndistinct = 0;
	int			ngranted = 0;

	for (int i = 0; i < nkeys; i++)
		batch[i] = (BatchKey)
	{
		.key = keys[i],.position = i
	};
	qsort(batch, nkeys, sizeof(BatchKey), compare_batch_keys);
	for (int i = 0; i < nkeys; i++)
		if (ndistinct == 0 || compare_text(batch[i].key, batch[ndistinct - 1].key) != 0)
			batch[ndistinct++] = batch[i];
	claim_batch(scope, batch, ndistinct, term, granted);

	for (int i = 0; i < nkeys; i++)
	{
		answers[i] = BoolGetDatum(granted[i]);
		ngranted += granted[i];
	}
	count_claims(scope, COUNT_CLAIMED, ngranted);
	count_claims(scope, COUNT_DUPLICATE, nkeys - ngranted);
	return construct_array(answers, nkeys, BOOLOID, 1, true, TYPALIGN_CHAR);
}

static Datum
claim_many(PG_FUNCTION_ARGS)
{
	text	   *scope = scope_argument(fcinfo, 0);
	Term		term = term_arguments(fcinfo, 2, 3);
	int			nkeys;
	text	  **keys = keys_argument(fcinfo, 1, "key", &nkeys);

	require_writable("tradekeep.claim_many");
	PG_RETURN_ARRAYTYPE_P(claim_keys(scope, keys, nkeys, &term));
}

COUNTED_FUNCTION(tradekeep_claim_many, claim_many, ARGUMENT_SCOPE)

PG_FUNCTION_INFO_V1(tradekeep_claimed);

Datum
tradekeep_claimed(PG_FUNCTION_ARGS)
{
	text	   *scope = scope_argument(fcinfo, 0);
	text	   *key = key_argument(fcinfo, 1, "key");
	TimestampTz at = at_argument(fcinfo, 2);
	Finding		finding = find_claim(scope, key, at, PROBE_STATEMENT, NULL);

	PG_RETURN_BOOL(finding == LIVE || finding == SLIDING);
}

static Datum
release(PG_FUNCTION_ARGS)
{
	text	   *scope = scope_argument(fcinfo, 0);
	text	   *key = key_argument(fcinfo, 1, "key");
	Datum		values[2] = {PointerGetDatum(scope), PointerGetDatum(key)};
	bool		released;

	require_writable("tradekeep.release");
	released = run_statement(&delete_one, values, NULL) == 1;
	count_claims(scope, COUNT_RELEASED, released);
	if (released)
		note_release(scope, key);
	PG_RETURN_BOOL(released);
}

COUNTED_FUNCTION(tradekeep_release, release, ARGUMENT_SCOPE)

PG_FUNCTION_INFO_V1(tradekeep_clear_claims);

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
	if (PG_ARGISNULL(0) && PG_ARGISNULL(1) && !table_granted("claim", ACL_TRUNCATE))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to clear the claims of all scopes"),
				 errhint("Name a scope or a pattern, or ask for the level admin"
						 " (tradekeep.grant_access).")));

	SPI_connect();
	execute_statement(&delete_matching, values, nulls);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[row];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;

		if (!DatumGetBool(SPI_getbinval(tuple, desc, 2, &isnull)))
			continue;			/* it had expired */
		count_claims(DatumGetTextPP(SPI_getbinval(tuple, desc, 1, &isnull)),
					 COUNT_RELEASED, 1);
		cleared++;
	}
	SPI_finish();
	if (cleared > 0)
		note_release(PG_ARGISNULL(0) ? NULL : DatumGetTextPP(values[0]), NULL);
	PG_RETURN_INT64(cleared);
}
