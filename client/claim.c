/*
 * claim.c
 *		Claims: who may act on a key.
 *
 * The calls that claim one key name it, and leave the rest to tier.c.  The others ask
 * PostgreSQL alone.
 */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

#define HOUR 3600000

static const tki_statement claim_statement = {
	.id = TKI_CLAIM,.access = TKI_WRITE,.name = "tradekeep_" TRADEKEEP_VERSION "_claim",
	.sql = "SELECT tradekeep.claim_to_remember($1, $2, $3)",
	.count = 3,.types = {OID_TEXT, OID_TEXT, OID_INTERVAL}
};

static const tki_statement claim_many_statement = {
	.id = TKI_CLAIM_MANY,.access = TKI_WRITE,.name = "tradekeep_" TRADEKEEP_VERSION "_claim_many",
	.sql = "SELECT tradekeep.claim_many($1, $2, $3)",
	.count = 3,.types = {OID_TEXT, OID_TEXT_ARRAY, OID_INTERVAL}
};

static const tki_statement claimed_statement = {
	.id = TKI_CLAIMED,.access = TKI_READ,.name = "tradekeep_" TRADEKEEP_VERSION "_claimed",
	.sql = "SELECT tradekeep.claimed($1, $2)",
	.count = 2,.types = {OID_TEXT, OID_TEXT}
};

static const tki_statement release_statement = {
	.id = TKI_RELEASE,.access = TKI_WRITE,.name = "tradekeep_" TRADEKEEP_VERSION "_release",
	.sql = "SELECT tradekeep.release($1, $2)",
	.count = 2,.types = {OID_TEXT, OID_TEXT}
};

static const tki_statement should_process_candle_statement = {
	.id = TKI_SHOULD_PROCESS_CANDLE,.access = TKI_WRITE,
	.name = "tradekeep_" TRADEKEEP_VERSION "_should_process_candle",
	.sql = "SELECT tradekeep.should_process_candle_to_remember($1, $2, $3, $4, $5)",
	.count = 5,
	.types = {OID_TEXT, OID_INFERRED, OID_TIMESTAMPTZ, OID_INTERVAL, OID_INTERVAL}
};

static const tki_statement claim_publish_statement = {
	.id = TKI_CLAIM_PUBLISH,.access = TKI_WRITE,
	.name = "tradekeep_" TRADEKEEP_VERSION "_claim_publish",
	.sql = "SELECT tradekeep.claim_publish_to_remember($1, $2, $3)",
	.count = 3,.types = {OID_TEXT, OID_TIMESTAMPTZ, OID_INTERVAL}
};

/* A ttl of zero is the scope's own. */
static void
put_ttl(tki_parameters *parameters, int64_t ttl)
{
	if (ttl == 0)
		tki_put_null(parameters);
	else
		tki_put_interval(parameters, ttl);
}

tk_verdict
tk_claim(tk_client *client, const char *scope, const char *key, int64_t ttl, tk_answer *answer)
{
	tki_parameters parameters;
	tki_request request = {
		.scope = scope,.key = key,.ttl = ttl,.statement = &claim_statement,
		.parameters = &parameters
	};

	if (!tki_enter(client) || !tki_check_scope(client, scope) ||
		!tki_check_key(client, key, "key") || !tki_check_ttl(client, ttl, "ttl"))
		return tki_refuse(answer);
	parameters.count = 0;		/* the rest is large, and may well stay unused */
	tki_put_text(&parameters, scope);
	tki_put_text(&parameters, key);
	put_ttl(&parameters, ttl);
	return tki_decide(client, &request, NULL, answer);
}

/* {instrument}:{candle_start}, with the timeframe between them unless it is null. */
static bool
put_candle_key(char *key, const char *instrument, const char *timeframe, int64_t start)
{
	/* A time, with a null byte that makes room for one colon; and perhaps another one. */
	if (strlen(instrument) + (timeframe != NULL ? strlen(timeframe) + 1 : 0) + TKI_UTC_TEXT >
		MAX_KEY_BYTES)
		return false;
	key = stpcpy(stpcpy(key, instrument), ":");
	if (timeframe != NULL)
		key = stpcpy(stpcpy(key, timeframe), ":");
	tki_utc_text(start, key);
	return true;
}

/*
 * Names the candle of a request, which the server would find by `at` or else by its own clock.
 * Nothing is named that it would refuse, or that is over: there it answers.
 */
static void
name_candle(tk_client *client, tki_request *request, char *key, const char *instrument,
			const char *timeframe, int64_t at, int64_t drift)
{
	int			length = tki_timeframe(timeframe);
	int64_t		clock = at;
	int64_t		low,
				ttl,
				start;

	if (at == 0)
		tki_known_clock(client, tki_now_ms(), &low, &clock);
	if (length == 0 || !tki_candle_time(clock))
		return;
	start = tki_candle_start(length, clock);
	request->too_late = clock - start > drift;
	if (request->too_late || !tki_candle_time(start) ||
		!put_candle_key(key, instrument, timeframe, start))
		return;
	request->key = key;
	if (at == 0)
	{
		request->valid_from = start;
		request->valid_until = tki_candle_end(length, start);
	}
	ttl = request->ttl != 0 ? request->ttl : tki_known_ttl(client, request->scope);
	request->expires_at = start + drift + (ttl != 0 ? ttl : HOUR);
}

tk_verdict
tk_should_process_candle(tk_client *client, const char *instrument, const char *timeframe,
						 int64_t at, int64_t drift, int64_t ttl, tk_answer *answer)
{
	tki_parameters parameters = {.count = 0};
	tki_request request = {
		.scope = "candle",.statement = &should_process_candle_statement,.parameters = &parameters
	};
	char		key[MAX_KEY_BYTES + 1];

	if (!tki_enter(client))
		return tki_refuse(answer);
	if (drift < 0)
		drift = client->options.candle_drift;
	if (ttl == 0)
		ttl = client->options.candle_ttl;
	if (!tki_check_key(client, instrument, "instrument") ||
		!tki_check_name(client, timeframe, "timeframe") || !tki_check_time(client, at, "at") ||
		!tki_check_ttl(client, drift, "drift") || !tki_check_ttl(client, ttl, "ttl"))
		return tki_refuse(answer);
	request.ttl = ttl;
	name_candle(client, &request, key, instrument, timeframe, at, drift);
	tki_put_text(&parameters, instrument);
	tki_put_text(&parameters, timeframe);
	if (at == 0)
		tki_put_null(&parameters);
	else
		tki_put_timestamp(&parameters, at);
	tki_put_interval(&parameters, drift);
	put_ttl(&parameters, ttl);
	return tki_decide(client, &request, NULL, answer);
}

tk_verdict
tk_claim_publish(tk_client *client, const char *instrument, int64_t candle_start, int64_t ttl,
				 tk_answer *answer)
{
	tki_parameters parameters = {.count = 0};
	tki_request request = {
		.scope = "publish",.statement = &claim_publish_statement,.parameters = &parameters
	};
	char		key[MAX_KEY_BYTES + 1];

	if (!tki_enter(client))
		return tki_refuse(answer);
	if (ttl == 0)
		ttl = client->options.publish_ttl;
	if (!tki_check_key(client, instrument, "instrument") ||
		!tki_check_time(client, candle_start, "candle_start") ||
		!tki_check_ttl(client, ttl, "ttl"))
		return tki_refuse(answer);
	request.ttl = ttl;
	if (tki_candle_time(candle_start) && candle_start % 1000 == 0 &&
		put_candle_key(key, instrument, NULL, candle_start))
		request.key = key;
	tki_put_text(&parameters, instrument);
	tki_put_timestamp(&parameters, candle_start);
	put_ttl(&parameters, ttl);
	return tki_decide(client, &request, NULL, answer);
}

/* Reads and frees a boolean[] without nulls of `count` elements. */
static bool
read_verdicts(tk_client *client, PGresult *result, size_t count, tk_verdict *verdicts)
{
	const char *data;

	if (PQntuples(result) != 1 || PQgetlength(result, 0, 0) != (int) (20 + 5 * count))
		return tki_unexpected(client, result);
	data = PQgetvalue(result, 0, 0);
	if (tki_read_uint32(data) != 1 || tki_read_uint32(data + 4) != 0 ||
		tki_read_uint32(data + 12) != count)
		return tki_unexpected(client, result);
	for (size_t i = 0; i < count; i++)
		verdicts[i] = data[20 + 5 * i + 4] != 0 ? TK_CLAIMED : TK_DUPLICATE;
	PQclear(result);
	return true;
}

static bool
claim_keys(tk_client *client, const char *scope, const char *const *keys, size_t count,
		   int64_t ttl, tk_verdict *verdicts)
{
	tki_parameters parameters = {.count = 0};
	tki_array	array;
	PGresult   *result;
	size_t		bytes = 0;

	if (!tki_enter(client) || !tki_check_scope(client, scope) ||
		!tki_check_ttl(client, ttl, "ttl") || !tki_check_count(client, count, "keys"))
		return false;
	for (size_t i = 0; i < count; i++)
	{
		if (!tki_check_key(client, keys[i], "key"))
			return false;
		bytes += strlen(keys[i]);
	}
	if (count == 0)
		return true;
	if (!tki_follows_spool(client, scope))
		return false;
	if (!tki_array_start(&array, OID_TEXT, count, bytes))
	{
		tki_fail(client, TK_ERROR_MEMORY, "", "out of memory");
		return false;
	}
	for (size_t i = 0; i < count; i++)
		tki_array_add(&array, keys[i], strlen(keys[i]));
	tki_put_text(&parameters, scope);
	tki_put_array(&parameters, &array);
	put_ttl(&parameters, ttl);
	result = tki_execute(client, &claim_many_statement, &parameters);
	free(array.data);
	return result != NULL && read_verdicts(client, result, count, verdicts);
}

int
tk_claim_many(tk_client *client, const char *scope, const char *const *keys, size_t count,
			  int64_t ttl, tk_verdict *verdicts)
{
	tk_verdict	failure;

	if (claim_keys(client, scope, keys, count, ttl, verdicts))
		return 0;
	failure = client != NULL ? tki_verdict_of_failure(client) : TK_REFUSED;
	for (size_t i = 0; i < count; i++)
		verdicts[i] = failure;
	return -1;
}

/* claimed() and release(): a key in, a boolean out. */
static int
ask(tk_client *client, const tki_statement *statement, const char *scope, const char *key,
	int *answer)
{
	tki_parameters parameters = {.count = 0};
	bool		yes;

	if (!tki_enter(client) || !tki_check_scope(client, scope) ||
		!tki_check_key(client, key, "key") ||
		(statement->access == TKI_WRITE && !tki_follows_spool(client, scope)))
		return -1;
	tki_put_text(&parameters, scope);
	tki_put_text(&parameters, key);
	if (!tki_answer_bool(client, tki_execute(client, statement, &parameters), &yes))
		return -1;
	if (answer != NULL)
		*answer = yes;
	return 0;
}

int
tk_claimed(tk_client *client, const char *scope, const char *key, int *claimed)
{
	return ask(client, &claimed_statement, scope, key, claimed);
}

int
tk_release(tk_client *client, const char *scope, const char *key, int *released)
{
	int			yes;

	if (ask(client, &release_statement, scope, key, &yes) != 0)
		return -1;
	tki_forget_claim(client, scope, key);
	if (yes)
		tki_redis_forget(client, scope, key, NULL);
	if (released != NULL)
		*released = yes;
	return 0;
}
