/*
 * lease.c
 *		Claims for work that outlives a transaction.
 *
 *	  claim_lease()                complete()
 *	free ────────────────► leased ───────────────► completed ──► (ttl is over) free
 *	  ▲                   │   │ ▲
 *	  │ release(), or the │   └─┘ extend_lease()
 *	  └── lease ran out ──┘
 *
 * A lease is a row of tradekeep.claim with a token: while it is leased, expires_at is
 * the end of the lease, and the column ttl says how long it is kept once completed.
 * So a lease that ran out is an expired claim, and the next one takes it over as any
 * claim does, with a higher token.  Every step names the token, and finds its row only
 * as long as nobody else has it: the token is what fences off the old holder.
 *
 * Tokens come from a sequence, so they grow whatever happens to the rows; one is drawn
 * when the row is ours, so that they grow in the order of the grants.
 */
#include "claim.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "input.h"
#include "metrics.h"
#include "remember.h"
#include "statement.h"

/*
 * Turns a claim that this transaction has just made into a lease.  A token drawn any
 * earlier could be lower than one that was granted while the claim waited.
 */
static Statement give_token = {
	.sql = "UPDATE tradekeep.claim SET token = $3"
	" WHERE scope OPERATOR(pg_catalog.=) $1 AND key OPERATOR(pg_catalog.=) $2",
	.nargs = 3,
	.argtypes = {TEXTOID, TEXTOID, INT8OID}
};

/* The row that (scope, key, token) holds a lease on, as of $4. */
#define LEASED_ROW \
	" WHERE scope OPERATOR(pg_catalog.=) $1 AND key OPERATOR(pg_catalog.=) $2" \
	" AND token OPERATOR(pg_catalog.=) $3 AND completed_at IS NULL" \
	" AND expires_at OPERATOR(pg_catalog.>) $4"

static Statement extend_row = {
	.sql = "UPDATE tradekeep.claim SET expires_at = GREATEST(expires_at, $5),"
	" sweep_after = GREATEST(sweep_after, $5)" LEASED_ROW,
	.nargs = 5,
	.argtypes = {TEXTOID, TEXTOID, INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID}
};
static Statement complete_row = {
	.sql = "UPDATE tradekeep.claim SET completed_at = $4, data = $5,"
	" expires_at = $4 OPERATOR(pg_catalog.+) ttl,"
	" sweep_after = $4 OPERATOR(pg_catalog.+) ttl" LEASED_ROW,
	.nargs = 5,
	.argtypes = {TEXTOID, TEXTOID, INT8OID, TIMESTAMPTZOID, JSONBOID}
};
static Statement find_completed = {
	.sql = "SELECT FROM tradekeep.claim"
	" WHERE scope OPERATOR(pg_catalog.=) $1 AND key OPERATOR(pg_catalog.=) $2"
	" AND token OPERATOR(pg_catalog.=) $3 AND completed_at IS NOT NULL"
	" AND expires_at OPERATOR(pg_catalog.>) $4",
	.nargs = 4,
	.argtypes = {TEXTOID, TEXTOID, INT8OID, TIMESTAMPTZOID}
};
static Statement delete_row = {
	.sql = "DELETE FROM tradekeep.claim" LEASED_ROW,
	.nargs = 4,
	.argtypes = {TEXTOID, TEXTOID, INT8OID, TIMESTAMPTZOID}
};

/* Reads (scope, key, token) and the clock into $1 to $4. */
static void
lease_arguments(FunctionCallInfo fcinfo, Datum *values)
{
	values[0] = PointerGetDatum(scope_argument(fcinfo, 0));
	values[1] = PointerGetDatum(key_argument(fcinfo, 1, "key"));
	if (PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_LEASE),
				 errmsg("token must not be null"),
				 errhint("claim_lease() returns null when somebody else has the lease.")));
	values[2] = PG_GETARG_DATUM(2);
	values[3] = TimestampTzGetDatum(GetCurrentTimestamp());
}

static int64
lease_argument(FunctionCallInfo fcinfo, int argno)
{
	if (PG_ARGISNULL(argno))
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_TTL),
				 errmsg("lease must not be null")));
	return ttl_to_usecs(PG_GETARG_INTERVAL_P(argno), "lease");
}

static void
refuse_lost_lease(const Datum *values)
{
	ereport(ERROR,
			(errcode(ERRCODE_TRADEKEEP_LEASE),
			 errmsg("token %lld holds no lease on \"%s\" in scope \"%s\"",
					(long long) DatumGetInt64(values[2]), TextDatumGetCString(values[1]),
					TextDatumGetCString(values[0])),
			 errdetail("The lease ran out, was released, or has gone to somebody else."),
			 errhint("Somebody else may do the work, or has done it: drop the result.")));
}

/* claim_lease(scope, key, lease, ttl) */
static Datum
claim_lease(PG_FUNCTION_ARGS)
{
	text	   *scope = scope_argument(fcinfo, 0);
	text	   *key = key_argument(fcinfo, 1, "key");
	Term		term = {.pinned = true,.at = GetCurrentTimestamp()};
	Datum		values[3] = {PointerGetDatum(scope), PointerGetDatum(key)};
	Oid			schema;

	require_writable("tradekeep.claim_lease");
	term.ttl = lease_argument(fcinfo, 2);
	if (PG_ARGISNULL(3))
	{
		ScopeSettings settings = scope_settings(scope);

		term.kept_ttl = require_ttl(scope, &settings);
	}
	else
		term.kept_ttl = ttl_to_usecs(PG_GETARG_INTERVAL_P(3), "ttl");
	if (!claim_one(scope, key, &term, NULL, NULL))
		PG_RETURN_NULL();
	schema = get_namespace_oid(TRADEKEEP_SCHEMA, false);
	values[2] = Int64GetDatum(nextval_internal(get_relname_relid("lease_token", schema), true));
	if (run_statement(&give_token, values, NULL) != 1)
		elog(ERROR, "the claim for a lease is gone");
	PG_RETURN_DATUM(values[2]);
}

COUNTED_FUNCTION(tradekeep_claim_lease, claim_lease, ARGUMENT_SCOPE)

/* extend_lease(scope, key, token, lease) */
static Datum
extend_lease(PG_FUNCTION_ARGS)
{
	Datum		values[5];
	TimestampTz end;

	require_writable("tradekeep.extend_lease");
	lease_arguments(fcinfo, values);
	end = DatumGetTimestampTz(values[3]) + lease_argument(fcinfo, 3);
	values[4] = TimestampTzGetDatum(end);
	if (run_statement(&extend_row, values, NULL) != 1)
		refuse_lost_lease(values);
	PG_RETURN_VOID();
}

COUNTED_FUNCTION(tradekeep_extend_lease, extend_lease, ARGUMENT_SCOPE)

/* complete(scope, key, token, result) */
static Datum
complete(PG_FUNCTION_ARGS)
{
	Datum		values[5];
	char		nulls[6] = "     ";

	require_writable("tradekeep.complete");
	lease_arguments(fcinfo, values);
	if (PG_ARGISNULL(3))
		nulls[4] = 'n';
	else
		values[4] = PG_GETARG_DATUM(3);
	if (run_statement(&complete_row, values, nulls) == 1)
		PG_RETURN_BOOL(true);
	/* The holder repeats itself: it did not hear our first answer. */
	if (run_statement(&find_completed, values, nulls) == 1)
		PG_RETURN_BOOL(false);
	refuse_lost_lease(values);
	PG_RETURN_NULL();			/* not reached */
}

COUNTED_FUNCTION(tradekeep_complete, complete, ARGUMENT_SCOPE)

/* release(scope, key, token) */
static Datum
release_lease(PG_FUNCTION_ARGS)
{
	Datum		values[4];
	bool		released;

	require_writable("tradekeep.release");
	lease_arguments(fcinfo, values);
	released = run_statement(&delete_row, values, NULL) == 1;
	count_claims(DatumGetTextPP(values[0]), COUNT_RELEASED, released);
	if (released)
		note_release(DatumGetTextPP(values[0]), DatumGetTextPP(values[1]));
	PG_RETURN_BOOL(released);
}

COUNTED_FUNCTION(tradekeep_release_lease, release_lease, ARGUMENT_SCOPE)
