/*
 * candle_claim.c
 *		Claims on candles: which bot processes one, which publishes its signal.
 *
 * They live in the scopes `candle` and `publish`, under keys that a bot would have
 * made by hand: {instrument}:{timeframe}:{candle_start} and {instrument}:{candle_start}.
 */
#include "claim.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "input.h"
#include "metrics.h"

/* The key of a candle; without the timeframe when it is null. */
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

static text **
candle_keys(text **instruments, int ninstruments, const char *timeframe, TimestampTz candle_start)
{
	text	  **keys = palloc(sizeof(text *) * ninstruments);

	for (int i = 0; i < ninstruments; i++)
		keys[i] = candle_key(instruments[i], timeframe, candle_start);
	return keys;
}

/*
 * Reads the arguments (…, timeframe, at, drift, ttl) into the candle's timeframe and
 * start, and the term of a claim on it.  False: the drift is over.
 *
 * The claim outlives the drift by a whole ttl, so that a slow clock elsewhere cannot
 * claim the same candle again.
 */
static bool
process_arguments(FunctionCallInfo fcinfo, Timeframe *timeframe, TimestampTz *start, Term *term)
{
	text	   *scope = cstring_to_text(CANDLE_SCOPE);
	ScopeSettings settings;
	int64		drift;

	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_TIME),
				 errmsg("timeframe must not be null")));
	*timeframe = PG_GETARG_TIMEFRAME(1);
	*term = (Term)
	{
		.at = at_argument(fcinfo, 2),.replayed = !PG_ARGISNULL(2),.pinned = true
	};
	if (PG_ARGISNULL(3))
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_TTL),
				 errmsg("drift must not be null")));
	drift = interval_to_usecs(PG_GETARG_INTERVAL_P(3), "drift");
	if (drift < 0)
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_TTL),
				 errmsg("drift must not be negative")));
	if (!PG_ARGISNULL(4))
		term->ttl = ttl_to_usecs(PG_GETARG_INTERVAL_P(4), "ttl");

	*start = candle_start(*timeframe, term->at);
	if (term->at - *start > drift)
		return false;
	if (term->ttl == 0)
	{
		settings = scope_settings(scope);
		term->ttl = require_ttl(scope, &settings);
	}
	term->ttl += *start + drift - term->at;
	return true;
}

/* Whoever waited for another bot until the drift was over is too late, and keeps the claim. */
static bool
still_in_time(FunctionCallInfo fcinfo, TimestampTz start, const Term *term)
{
	return term->replayed ||
		GetCurrentTimestamp() - start <= interval_to_usecs(PG_GETARG_INTERVAL_P(3), "drift");
}

bool
process_candle(FunctionCallInfo fcinfo, Original *original)
{
	text	   *instrument = key_argument(fcinfo, 0, "instrument");
	Timeframe	timeframe;
	TimestampTz start;
	Term		term;
	bool		in_time;
	text	   *key;

	in_time = process_arguments(fcinfo, &timeframe, &start, &term);
	key = candle_key(instrument, timeframe_name(timeframe), start);
	return in_time && claim_one(cstring_to_text(CANDLE_SCOPE), key, &term, NULL, original) &&
		still_in_time(fcinfo, start, &term);
}

/* should_process_candle(instrument, timeframe, at, drift, ttl) */
static Datum
should_process_candle(PG_FUNCTION_ARGS)
{
	require_writable("tradekeep.should_process_candle");
	PG_RETURN_BOOL(process_candle(fcinfo, NULL));
}

COUNTED_FUNCTION(tradekeep_should_process_candle, should_process_candle, CANDLE_SCOPE)

/* should_process_candles(instruments, timeframe, at, drift, ttl) */
static Datum
should_process_candles(PG_FUNCTION_ARGS)
{
	int			ninstruments;
	text	  **instruments = keys_argument(fcinfo, 0, "instrument", &ninstruments);
	Timeframe	timeframe;
	TimestampTz start;
	Term		term;
	text	  **keys;
	bool		in_time;
	ArrayType  *granted;
	Datum	   *answers;

	require_writable("tradekeep.should_process_candles");
	in_time = process_arguments(fcinfo, &timeframe, &start, &term);
	keys = candle_keys(instruments, ninstruments, timeframe_name(timeframe), start);
	if (in_time)
	{
		granted = claim_keys(cstring_to_text(CANDLE_SCOPE), keys, ninstruments, &term);
		if (still_in_time(fcinfo, start, &term))
			PG_RETURN_ARRAYTYPE_P(granted);
	}
	answers = palloc0(sizeof(Datum) * ninstruments);
	PG_RETURN_ARRAYTYPE_P(construct_array(answers, ninstruments, BOOLOID, 1, true,
										  TYPALIGN_CHAR));
}

COUNTED_FUNCTION(tradekeep_should_process_candles, should_process_candles, CANDLE_SCOPE)

/* Reads the arguments (…, candle_start, ttl). */
static TimestampTz
publish_arguments(FunctionCallInfo fcinfo, Term *term)
{
	TimestampTz start;

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
	*term = (Term)
	{
		.at = GetCurrentTimestamp()
	};
	if (!PG_ARGISNULL(2))
		term->ttl = ttl_to_usecs(PG_GETARG_INTERVAL_P(2), "ttl");
	return start;
}

bool
publish_candle(FunctionCallInfo fcinfo, Original *original)
{
	text	   *instrument = key_argument(fcinfo, 0, "instrument");
	Term		term;
	TimestampTz start = publish_arguments(fcinfo, &term);

	return claim_one(cstring_to_text(PUBLISH_SCOPE), candle_key(instrument, NULL, start), &term,
					 NULL, original);
}

/* claim_publish(instrument, candle_start, ttl) */
static Datum
claim_publish(PG_FUNCTION_ARGS)
{
	require_writable("tradekeep.claim_publish");
	PG_RETURN_BOOL(publish_candle(fcinfo, NULL));
}

COUNTED_FUNCTION(tradekeep_claim_publish, claim_publish, PUBLISH_SCOPE)

/* claim_publish_many(instruments, candle_start, ttl) */
static Datum
claim_publish_many(PG_FUNCTION_ARGS)
{
	int			ninstruments;
	text	  **instruments = keys_argument(fcinfo, 0, "instrument", &ninstruments);
	Term		term;
	TimestampTz start;

	require_writable("tradekeep.claim_publish_many");
	start = publish_arguments(fcinfo, &term);
	PG_RETURN_ARRAYTYPE_P(claim_keys(cstring_to_text(PUBLISH_SCOPE),
									 candle_keys(instruments, ninstruments, NULL, start),
									 ninstruments, &term));
}

COUNTED_FUNCTION(tradekeep_claim_publish_many, claim_publish_many, PUBLISH_SCOPE)
