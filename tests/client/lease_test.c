/*
 * lease_test.c
 *		Leases: one holder at a time, and none that comes back too late.
 */
#include "check.h"

#include <stdlib.h>

#define HOUR 3600000

static void
test_life(tk_client *client, tk_client *other)
{
	tk_answer	answer;
	int64_t		token = -1;
	int64_t		other_token = -1;
	int			released = -1;

	CHECK_INT(tk_claim_lease(client, "lease", "life", HOUR, 2 * HOUR, &token, &answer), TK_CLAIMED);
	CHECK(token > 0);
	CHECK_INT(answer.tier, TK_TIER_POSTGRES);
	CHECK_INT(answer.degraded, 0);
	CHECK(answer.latency > 0);
	CHECK_INT(atoll(admin_value("SELECT token FROM tradekeep.claim WHERE key = 'life'")), token);
	CHECK_INT(tk_claim_lease(other, "lease", "life", HOUR, HOUR, &other_token, &answer),
			  TK_DUPLICATE);
	CHECK_INT(other_token, 0);
	CHECK_INT(answer.tier, TK_TIER_POSTGRES);
	CHECK_INT(tk_extend_lease(client, "lease", "life", token, 3 * HOUR), 0);
	CHECK_TEXT(admin_value("SELECT expires_at > clock_timestamp() + interval '2 hours'"
						   " FROM tradekeep.claim WHERE key = 'life'"), "t");

	/* Given back undone, it goes to the next, whose token is higher. */
	CHECK_INT(tk_release_lease(client, "lease", "life", token, &released), 0);
	CHECK_INT(released, 1);
	CHECK_INT(tk_release_lease(client, "lease", "life", token, &released), 0);
	CHECK_INT(released, 0);
	CHECK_INT(tk_release_lease(client, "lease", "life", token, NULL), 0);
	CHECK_INT(tk_claim_lease(other, "lease", "life", HOUR, 2 * HOUR, &other_token, NULL),
			  TK_CLAIMED);
	CHECK(other_token > token);

	/* Completed, it stays claimed for its ttl, with the result. */
	CHECK_INT(tk_complete(other, "lease", "life", other_token, "{\"id\": 7}"), 0);
	CHECK_INT(tk_complete(other, "lease", "life", other_token, NULL), 0);
	CHECK_TEXT(admin_value("SELECT data::text || ' ' || (expires_at - completed_at)"
						   " FROM tradekeep.claim WHERE key = 'life'"), "{\"id\": 7} 02:00:00");
	CHECK_INT(tk_claim_lease(client, "lease", "life", HOUR, HOUR, &token, NULL), TK_DUPLICATE);
	CHECK_INT(tk_claim(client, "lease", "life", HOUR, NULL), TK_DUPLICATE);
}

/* Whoever was too slow is told so, and disturbs nobody. */
static void
test_lost(tk_client *client, tk_client *other)
{
	int64_t		token;
	int64_t		other_token;
	int			released = -1;

	CHECK_INT(tk_claim_lease(client, "lease", "lost", 1, HOUR, &token, NULL), TK_CLAIMED);
	CHECK(admin_await("SELECT NOT tradekeep.claimed('lease', 'lost')"));
	CHECK_INT(tk_extend_lease(client, "lease", "lost", token, HOUR), -1);
	CHECK(failed_with(client, TK_ERROR_SERVER, "TK008"));
	CHECK_INT(tk_claim_lease(other, "lease", "lost", HOUR, HOUR, &other_token, NULL), TK_CLAIMED);
	CHECK(other_token > token);
	CHECK_INT(tk_extend_lease(client, "lease", "lost", token, HOUR), -1);
	CHECK(failed_with(client, TK_ERROR_SERVER, "TK008"));
	CHECK_INT(tk_complete(client, "lease", "lost", token, NULL), -1);
	CHECK(failed_with(client, TK_ERROR_SERVER, "TK008"));
	CHECK_INT(tk_release_lease(client, "lease", "lost", token, &released), 0);
	CHECK_INT(released, 0);
	CHECK_INT(tk_complete(other, "lease", "lost", other_token, NULL), 0);
}

static void
test_refusals(tk_client *client)
{
	int64_t		token = -1;
	tk_answer	answer = {.tier = TK_TIER_POSTGRES};
	tk_options	options;
	tk_client  *nobody;

	CHECK_INT(tk_claim_lease(NULL, "lease", "k", HOUR, HOUR, &token, NULL), TK_REFUSED);
	CHECK_INT(token, 0);
	CHECK_INT(tk_claim_lease(client, "", "k", HOUR, HOUR, &token, &answer), TK_REFUSED);
	CHECK(failed_with(client, TK_ERROR_ARGUMENT, "TK001"));
	CHECK_INT(answer.tier, TK_TIER_NONE);
	CHECK_INT(tk_claim_lease(client, "lease", NULL, HOUR, HOUR, &token, NULL), TK_REFUSED);
	CHECK(failed_with(client, TK_ERROR_ARGUMENT, "TK002"));
	CHECK_INT(tk_claim_lease(client, "lease", "\xff", HOUR, HOUR, &token, NULL), TK_REFUSED);
	CHECK(failed_with(client, TK_ERROR_ARGUMENT, "22021"));
	CHECK_INT(tk_claim_lease(client, "lease", "k", -1, HOUR, &token, NULL), TK_REFUSED);
	CHECK(failed_with(client, TK_ERROR_ARGUMENT, "TK003"));
	CHECK_INT(tk_claim_lease(client, "lease", "k", INT64_MAX, HOUR, &token, NULL), TK_REFUSED);
	CHECK(failed_with(client, TK_ERROR_ARGUMENT, "TK003"));
	CHECK_INT(tk_claim_lease(client, "lease", "k", 0, HOUR, &token, NULL), TK_REFUSED);
	CHECK(failed_with(client, TK_ERROR_SERVER, "TK003"));
	CHECK_INT(tk_claim_lease(client, "lease", "k", HOUR, INT64_MIN, &token, NULL), TK_REFUSED);
	CHECK(failed_with(client, TK_ERROR_ARGUMENT, "TK003"));
	CHECK_INT(tk_claim_lease(client, "lease", "k", HOUR, 0, &token, NULL), TK_REFUSED);
	CHECK(failed_with(client, TK_ERROR_SERVER, "TK003"));
	CHECK_INT(tk_extend_lease(client, "lease", "k", 1, -1), -1);
	CHECK(failed_with(client, TK_ERROR_ARGUMENT, "TK003"));
	CHECK_INT(tk_complete(client, "lease", "k", 1, "no JSON"), -1);
	CHECK(failed_with(client, TK_ERROR_SERVER, "22P02"));
	CHECK_INT(tk_complete(client, "lease", "k", INT64_MIN, NULL), -1);
	CHECK(failed_with(client, TK_ERROR_SERVER, "TK008"));
	CHECK_INT(tk_release_lease(NULL, "lease", "k", 1, NULL), -1);
	CHECK_TEXT(admin_value("SELECT count(*) FROM tradekeep.claim WHERE key = 'k'"), "0");

	tk_options_init(&options);
	options.database_url = "host=/nonexistent";
	nobody = tk_open(&options);
	CHECK_INT(tk_claim_lease(nobody, "lease", "k", HOUR, HOUR, &token, &answer), TK_UNAVAILABLE);
	CHECK(failed_with(nobody, TK_ERROR_CONNECTION, "08001"));
	CHECK_INT(answer.tier, TK_TIER_NONE);
	tk_close(nobody);
}

void
test_leases(void)
{
	tk_client  *client = open_named("leases", 30000);
	tk_client  *other = open_named("other leases", 30000);

	test_life(client, other);
	test_lost(client, other);
	test_refusals(client);
	tk_close(client);
	tk_close(other);
}
