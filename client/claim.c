/*
 * claim.c
 *		Claims: who may act on a key.
 *
 * A claim is put to the tiers in turn.  PostgreSQL is the last and the only one
 * that grants; a tier in front of it may answer "duplicate", and only of a claim
 * that it saw committed, or pass.  To add one is to add a line to tiers[].
 */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

static const tki_statement claim_statement = {
	.id = TKI_CLAIM,.access = TKI_WRITE,.name = "tradekeep_" TRADEKEEP_VERSION "_claim",
	.sql = "SELECT tradekeep.claim($1, $2, $3)",
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
	.sql = "SELECT tradekeep.should_process_candle($1, $2, $3, $4, $5)",
	.count = 5,
	.types = {OID_TEXT, OID_INFERRED, OID_TIMESTAMPTZ, OID_INTERVAL, OID_INTERVAL}
};

static const tki_statement claim_publish_statement = {
	.id = TKI_CLAIM_PUBLISH,.access = TKI_WRITE,
	.name = "tradekeep_" TRADEKEEP_VERSION "_claim_publish",
	.sql = "SELECT tradekeep.claim_publish($1, $2, $3)",
	.count = 3,.types = {OID_TEXT, OID_TIMESTAMPTZ, OID_INTERVAL}
};

/* A claim, as the tiers see it. */
typedef struct claim_request
{
	const tki_statement *statement;
	const tki_parameters *parameters;
} claim_request;

typedef struct claim_tier
{
	tk_tier		tier;

	/* Sets *verdict and returns true, or passes; passing with an error set ends the matter. */
	bool		(*decide) (tk_client *client, const claim_request *request, tk_verdict *verdict);
} claim_tier;

static bool
decide_in_postgres(tk_client *client, const claim_request *request, tk_verdict *verdict)
{
	bool		claimed;

	if (!tki_answer_bool(client, tki_execute(client, request->statement, request->parameters),
						 &claimed))
		return false;
	*verdict = claimed ? TK_CLAIMED : TK_DUPLICATE;
	return true;
}

static const claim_tier tiers[] = {
	{TK_TIER_POSTGRES, decide_in_postgres},
};

static tk_verdict
decide(tk_client *client, const tki_statement *statement, const tki_parameters *parameters,
	   tk_answer *answer)
{
	claim_request request = {statement, parameters};
	int64_t		start = answer != NULL ? tki_now_us() : 0;
	tk_tier		tier = TK_TIER_NONE;
	tk_verdict	verdict = TK_UNAVAILABLE;

	for (size_t i = 0; i < sizeof(tiers) / sizeof(tiers[0]) && client->error == TK_OK; i++)
	{
		if (tiers[i].decide(client, &request, &verdict))
		{
			tier = tiers[i].tier;
			break;
		}
	}
	if (answer != NULL)
	{
		answer->tier = tier;
		answer->latency = tki_now_us() - start;
		answer->degraded = 0;
	}
	return tier != TK_TIER_NONE ? verdict : tki_verdict_of_failure(client);
}

/* The verdict on a call that was refused before any tier was asked. */
static tk_verdict
refused(tk_answer *answer)
{
	if (answer != NULL)
	{
		answer->tier = TK_TIER_NONE;
		answer->latency = 0;
		answer->degraded = 0;
	}
	return TK_REFUSED;
}

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
	tki_parameters parameters = {.count = 0};

	if (!tki_enter(client) || !tki_check_scope(client, scope) ||
		!tki_check_key(client, key, "key") || !tki_check_ttl(client, ttl, "ttl"))
		return refused(answer);
	tki_put_text(&parameters, scope);
	tki_put_text(&parameters, key);
	put_ttl(&parameters, ttl);
	return decide(client, &claim_statement, &parameters, answer);
}

tk_verdict
tk_should_process_candle(tk_client *client, const char *instrument, const char *timeframe,
						 int64_t at, int64_t drift, int64_t ttl, tk_answer *answer)
{
	tki_parameters parameters = {.count = 0};

	if (drift < 0)
		drift = 60000;
	if (!tki_enter(client) || !tki_check_key(client, instrument, "instrument") ||
		!tki_check_name(client, timeframe, "timeframe") || !tki_check_time(client, at, "at") ||
		!tki_check_ttl(client, drift, "drift") || !tki_check_ttl(client, ttl, "ttl"))
		return refused(answer);
	tki_put_text(&parameters, instrument);
	tki_put_text(&parameters, timeframe);
	if (at == 0)
		tki_put_null(&parameters);
	else
		tki_put_timestamp(&parameters, at);
	tki_put_interval(&parameters, drift);
	put_ttl(&parameters, ttl);
	return decide(client, &should_process_candle_statement, &parameters, answer);
}

tk_verdict
tk_claim_publish(tk_client *client, const char *instrument, int64_t candle_start, int64_t ttl,
				 tk_answer *answer)
{
	tki_parameters parameters = {.count = 0};

	if (!tki_enter(client) || !tki_check_key(client, instrument, "instrument") ||
		!tki_check_time(client, candle_start, "candle_start") ||
		!tki_check_ttl(client, ttl, "ttl"))
		return refused(answer);
	tki_put_text(&parameters, instrument);
	tki_put_timestamp(&parameters, candle_start);
	put_ttl(&parameters, ttl);
	return decide(client, &claim_publish_statement, &parameters, answer);
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
		!tki_check_key(client, key, "key"))
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
	return ask(client, &release_statement, scope, key, released);
}
