/*
 * lease.c
 *		Leases: claims for work that outlives a call, and perhaps its worker.
 *
 * PostgreSQL alone decides: no tier in front of it is asked, and no outage policy
 * applies, for a token that is not the server's would fence nothing off.
 */
#include "internal.h"

static const tki_statement claim_lease_statement = {
	.id = TKI_CLAIM_LEASE,.access = TKI_WRITE,
	.name = "tradekeep_" TRADEKEEP_VERSION "_claim_lease",
	.sql = "SELECT tradekeep.claim_lease($1, $2, $3, $4)",
	.count = 4,.types = {OID_TEXT, OID_TEXT, OID_INTERVAL, OID_INTERVAL}
};

static const tki_statement extend_lease_statement = {
	.id = TKI_EXTEND_LEASE,.access = TKI_WRITE,
	.name = "tradekeep_" TRADEKEEP_VERSION "_extend_lease",
	.sql = "SELECT tradekeep.extend_lease($1, $2, $3, $4)",
	.count = 4,.types = {OID_TEXT, OID_TEXT, OID_INT8, OID_INTERVAL}
};

static const tki_statement complete_statement = {
	.id = TKI_COMPLETE,.access = TKI_WRITE,.name = "tradekeep_" TRADEKEEP_VERSION "_complete",
	.sql = "SELECT tradekeep.complete($1, $2, $3, $4)",
	.count = 4,.types = {OID_TEXT, OID_TEXT, OID_INT8, OID_JSONB}
};

static const tki_statement release_lease_statement = {
	.id = TKI_RELEASE_LEASE,.access = TKI_WRITE,
	.name = "tradekeep_" TRADEKEEP_VERSION "_release_lease",
	.sql = "SELECT tradekeep.release($1, $2, $3)",
	.count = 3,.types = {OID_TEXT, OID_TEXT, OID_INT8}
};

/* Enters, and puts what every call of a lease begins with. */
static bool
begin_call(tk_client *client, const char *scope, const char *key, tki_parameters *parameters)
{
	if (!tki_enter(client) || !tki_check_scope(client, scope) ||
		!tki_check_key(client, key, "key"))
		return false;
	tki_put_text(parameters, scope);
	tki_put_text(parameters, key);
	return true;
}

/* For what answers by not failing. */
static int
run(tk_client *client, const tki_statement *statement, const tki_parameters *parameters)
{
	PGresult   *result = tki_execute(client, statement, parameters);

	PQclear(result);
	return result != NULL ? 0 : -1;
}

static bool
ask_for_lease(tk_client *client, const char *scope, const char *key, int64_t lease, int64_t ttl,
			  int64_t *token, tk_verdict *verdict)
{
	tki_parameters parameters = {.count = 0};
	PGresult   *result;

	if (!begin_call(client, scope, key, &parameters) ||
		!tki_check_ttl(client, lease, "lease") || !tki_check_ttl(client, ttl, "ttl"))
		return false;
	if (!tki_follows_spool(client, scope))
		return false;
	tki_put_interval(&parameters, lease);
	if (ttl == 0)
		tki_put_null(&parameters);
	else
		tki_put_interval(&parameters, ttl);
	result = tki_execute(client, &claim_lease_statement, &parameters);
	if (result == NULL)
		return false;
	*verdict = TK_CLAIMED;
	if (PQntuples(result) == 1 && PQgetisnull(result, 0, 0))
		*verdict = TK_DUPLICATE;
	else if (!tki_answer_int64(result, 0, token))
		return tki_unexpected(client, result);
	PQclear(result);
	return true;
}

tk_verdict
tk_claim_lease(tk_client *client, const char *scope, const char *key, int64_t lease, int64_t ttl,
			   int64_t *token, tk_answer *answer)
{
	int64_t		start = tki_now_us();
	tk_verdict	verdict;
	bool		answered;

	*token = 0;
	answered = ask_for_lease(client, scope, key, lease, ttl, token, &verdict);
	if (answer != NULL)
	{
		answer->tier = answered ? TK_TIER_POSTGRES : TK_TIER_NONE;
		answer->latency = tki_now_us() - start;
		answer->degraded = 0;
	}
	if (answered)
		return verdict;
	return client != NULL ? tki_verdict_of_failure(client) : TK_REFUSED;
}

int
tk_extend_lease(tk_client *client, const char *scope, const char *key, int64_t token,
				int64_t lease)
{
	tki_parameters parameters = {.count = 0};

	if (!begin_call(client, scope, key, &parameters) || !tki_check_ttl(client, lease, "lease"))
		return -1;
	tki_put_int8(&parameters, token);
	tki_put_interval(&parameters, lease);
	return run(client, &extend_lease_statement, &parameters);
}

int
tk_complete(tk_client *client, const char *scope, const char *key, int64_t token,
			const char *result)
{
	tki_parameters parameters = {.count = 0};

	if (!begin_call(client, scope, key, &parameters))
		return -1;
	tki_put_int8(&parameters, token);
	tki_put_text(&parameters, result);
	return run(client, &complete_statement, &parameters);
}

int
tk_release_lease(tk_client *client, const char *scope, const char *key, int64_t token,
				 int *released)
{
	tki_parameters parameters = {.count = 0};
	bool		yes;

	if (!begin_call(client, scope, key, &parameters))
		return -1;
	tki_put_int8(&parameters, token);
	if (!tki_answer_bool(client, tki_execute(client, &release_lease_statement, &parameters), &yes))
		return -1;
	tki_forget_claim(client, scope, key);
	if (yes)
		tki_redis_forget(client, scope, key, NULL);
	if (released != NULL)
		*released = yes;
	return 0;
}
