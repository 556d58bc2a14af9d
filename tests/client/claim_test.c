/*
 * claim_test.c
 *		Claims and transactions: who gets what, and when it is free again.
 */
#include "tiered.h"

#include <pthread.h>
#include <stdio.h>

static void
test_one_claim(tk_client *client, tk_client *other)
{
	tk_answer	answer;
	int			yes = -1;

	CHECK_INT(tk_claim(client, "one", "a", HOUR, &answer), TK_CLAIMED);
	CHECK_INT(answer.tier, TK_TIER_POSTGRES);
	CHECK(answer.latency > 0);
	CHECK_INT(tk_error(client), TK_OK);
	CHECK_TEXT(tk_message(client), "");
	CHECK_INT(tk_claim(client, "one", "a", HOUR, NULL), TK_DUPLICATE);
	CHECK_INT(tk_claim(other, "one", "a", HOUR, &answer), TK_DUPLICATE);
	CHECK_INT(answer.tier, TK_TIER_POSTGRES);
	CHECK_INT(tk_claim(other, "another", "a", HOUR, NULL), TK_CLAIMED);

	CHECK_INT(tk_claimed(other, "one", "a", &yes), 0);
	CHECK_INT(yes, 1);
	CHECK_INT(tk_release(other, "one", "a", &yes), 0);
	CHECK_INT(yes, 1);
	CHECK_INT(tk_claimed(other, "one", "a", &yes), 0);
	CHECK_INT(yes, 0);
	CHECK_INT(tk_release(other, "one", "a", &yes), 0);
	CHECK_INT(yes, 0);
	CHECK_INT(tk_release(other, "one", "a", NULL), 0);

	/* The other had it in memory, and is told in a moment. */
	CHECK(await_claim(client, "one", "a"));
	CHECK_TEXT(admin_value("SELECT expires_at - claimed_at FROM tradekeep.claim"
						   " WHERE (scope, key) = ('one', 'a')"), "01:00:00");
}

static void
test_ttl(tk_client *client)
{
	CHECK_INT(tk_claim(client, "one", "no ttl", 0, NULL), TK_REFUSED);
	CHECK(failed_with(client, TK_ERROR_SERVER, "TK003"));
	CHECK_INT(tk_claim(client, "publish", "default ttl", 0, NULL), TK_CLAIMED);
	CHECK_TEXT(admin_value("SELECT expires_at - claimed_at FROM tradekeep.claim"
						   " WHERE key = 'default ttl'"), "1 day");
	CHECK_INT(tk_claim(client, "one", "short", 1, NULL), TK_CLAIMED);
	CHECK(admin_await("SELECT NOT tradekeep.claimed('one', 'short')"));
	CHECK_INT(tk_claim(client, "one", "short", HOUR, NULL), TK_CLAIMED);
}

static void
test_many(tk_client *client)
{
	const char *first[] = {"m1", "m2", "m1"};
	const char *second[] = {"m3", "m2", "gr\u00f6\u00dfe"};
	tk_verdict	verdicts[3];

	CHECK_INT(tk_claim_many(client, "many", first, 3, HOUR, verdicts), 0);
	CHECK_INT(verdicts[0], TK_CLAIMED);
	CHECK_INT(verdicts[1], TK_CLAIMED);
	CHECK_INT(verdicts[2], TK_DUPLICATE);
	CHECK_INT(tk_claim_many(client, "many", second, 3, HOUR, verdicts), 0);
	CHECK_INT(verdicts[0], TK_CLAIMED);
	CHECK_INT(verdicts[1], TK_DUPLICATE);
	CHECK_INT(verdicts[2], TK_CLAIMED);
	CHECK_TEXT(admin_value("SELECT count(*) FROM tradekeep.claim WHERE scope = 'many'"), "4");
	CHECK_INT(tk_claim_many(client, "many", NULL, 0, HOUR, verdicts), 0);

	/* One bad key refuses the call: whether the client sees it or the server. */
	second[1] = "";
	second[0] = "m4";
	CHECK_INT(tk_claim_many(client, "many", second, 3, HOUR, verdicts), -1);
	CHECK(failed_with(client, TK_ERROR_ARGUMENT, "TK002"));
	CHECK_INT(verdicts[0], TK_REFUSED);
	CHECK_INT(verdicts[2], TK_REFUSED);
	second[1] = "m5";
	CHECK_INT(tk_claim_many(client, "many", second, 3, 0, verdicts), -1);
	CHECK(failed_with(client, TK_ERROR_SERVER, "TK003"));
	CHECK_INT(verdicts[0], TK_REFUSED);
	CHECK_TEXT(admin_value("SELECT count(*) FROM tradekeep.claim WHERE scope = 'many'"), "4");
}

static void
test_candle_claims(tk_client *client, tk_client *other)
{
	int64_t		start = INT64_C(1700000100000); /* 2023-11-14T22:15:00 */
	int64_t		late = start + 61000;

	CHECK_INT(tk_should_process_candle(client, "GOLD", "15m", start + 5000, -1, 0, NULL),
			  TK_CLAIMED);
	CHECK_INT(tk_should_process_candle(other, "GOLD", "15m", start + 9000, -1, 0, NULL),
			  TK_DUPLICATE);
	CHECK_INT(tk_should_process_candle(other, "GOLD", "1m", start + 9000, -1, 0, NULL),
			  TK_CLAIMED);
	CHECK_TEXT(admin_value("SELECT string_agg(key, ' ' ORDER BY key) FROM tradekeep.claim"
						   " WHERE scope = 'candle'"),
			   "GOLD:15m:2023-11-14T22:15:00 GOLD:1m:2023-11-14T22:15:00");

	/* Outside the drift there is nothing to do, and nothing is claimed. */
	CHECK_INT(tk_should_process_candle(client, "OIL", "15m", late, -1, 0, NULL), TK_DUPLICATE);
	CHECK_INT(tk_should_process_candle(client, "OIL", "15m", late, 120000, 0, NULL), TK_CLAIMED);
	CHECK_INT(tk_should_process_candle(client, "GOLD", "7m", start, -1, 0, NULL), TK_REFUSED);
	CHECK(failed_with(client, TK_ERROR_SERVER, "22P02"));

	CHECK_INT(tk_claim_publish(client, "GOLD", start, 0, NULL), TK_CLAIMED);
	CHECK_INT(tk_claim_publish(other, "GOLD", start, 0, NULL), TK_DUPLICATE);
	CHECK_INT(tk_claim_publish(other, "GOLD", start + 60000, 0, NULL), TK_CLAIMED);
	CHECK_TEXT(admin_value("SELECT min(key) FROM tradekeep.claim WHERE scope = 'publish'"
						   " AND key LIKE 'GOLD:%%'"), "GOLD:2023-11-14T22:15:00");
}

static void
test_transactions(tk_client *client, tk_client *other)
{
	CHECK_INT(tk_begin(client), 0);
	CHECK_INT(tk_begin(client), -1);
	CHECK(failed_with(client, TK_ERROR_ARGUMENT, "25001"));
	CHECK_INT(tk_claim(client, "tx", "a", HOUR, NULL), TK_CLAIMED);
	CHECK_INT(tk_rollback(client), 0);
	CHECK_INT(tk_claim(other, "tx", "a", HOUR, NULL), TK_CLAIMED);

	CHECK_INT(tk_begin(client), 0);
	CHECK_INT(tk_claim(client, "tx", "b", HOUR, NULL), TK_CLAIMED);
	CHECK_INT(tk_commit(client), 0);
	CHECK_INT(tk_claim(other, "tx", "b", HOUR, NULL), TK_DUPLICATE);

	CHECK_INT(tk_commit(client), -1);
	CHECK(failed_with(client, TK_ERROR_ARGUMENT, "25P01"));
	CHECK_INT(tk_rollback(client), 0);

	/* A refused call fails its transaction; the commit must not pass for one. */
	CHECK_INT(tk_begin(client), 0);
	CHECK_INT(tk_claim(client, "tx", "c", HOUR, NULL), TK_CLAIMED);
	CHECK_INT(tk_claim(client, "tx", "d", 0, NULL), TK_REFUSED);
	CHECK_INT(tk_claim(client, "tx", "e", HOUR, NULL), TK_UNAVAILABLE);
	CHECK(failed_with(client, TK_ERROR_SERVER, "25P02"));
	CHECK_INT(tk_commit(client), -1);
	CHECK(failed_with(client, TK_ERROR_SERVER, "25P02"));
	CHECK_INT(tk_claim(other, "tx", "c", HOUR, NULL), TK_CLAIMED);
}

static void *
claim_in_thread(void *client)
{
	static tk_verdict verdict;

	verdict = tk_claim(client, "tx", "contested", HOUR, NULL);
	return &verdict;
}

/* Who waited for a claim gets it when it is rolled back, and a duplicate when it is not. */
static void
test_waiting(tk_client *client, tk_client *other)
{
	for (int commit = 0; commit <= 1; commit++)
	{
		pid_t		session = server_process(other);
		pthread_t	thread;
		void	   *verdict;

		CHECK_INT(tk_begin(client), 0);
		CHECK_INT(tk_claim(client, "tx", "contested", HOUR, NULL), TK_CLAIMED);
		pthread_create(&thread, NULL, claim_in_thread, other);
		CHECK(admin_await("SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = %d",
						  session));
		CHECK_INT(commit ? tk_commit(client) : tk_rollback(client), 0);
		pthread_join(thread, &verdict);
		CHECK_INT(*(tk_verdict *) verdict, commit ? TK_DUPLICATE : TK_CLAIMED);
		tk_release(client, "tx", "contested", NULL);
	}
}

/* What the server refuses for good is not confused with what may pass. */
static void
test_refusals(tk_client *client)
{
	PQclear(PQexec(tk_connection(client), "SET default_transaction_read_only = on"));
	CHECK_INT(tk_claim(client, "one", "read only", HOUR, NULL), TK_REFUSED);
	CHECK(failed_with(client, TK_ERROR_SERVER, "25006"));
	PQclear(PQexec(tk_connection(client), "RESET default_transaction_read_only"));

	CHECK(admin_run("DROP ROLE IF EXISTS tradekeep_check_nobody;"
					" CREATE ROLE tradekeep_check_nobody"));
	PQclear(PQexec(tk_connection(client), "SET ROLE tradekeep_check_nobody"));
	CHECK_INT(tk_claim(client, "one", "privilege", HOUR, NULL), TK_REFUSED);
	CHECK(failed_with(client, TK_ERROR_SERVER, "42501"));
	PQclear(PQexec(tk_connection(client), "RESET ROLE"));
	CHECK(admin_run("DROP ROLE tradekeep_check_nobody"));

	PQclear(PQexec(tk_connection(client), "SET lock_timeout = '1ms'"));
	CHECK(admin_run("BEGIN; SELECT tradekeep.claim('one', 'locked', '1 hour')"));
	CHECK_INT(tk_claim(client, "one", "locked", HOUR, NULL), TK_UNAVAILABLE);
	CHECK(failed_with(client, TK_ERROR_SERVER, "55P03"));
	CHECK(admin_run("ROLLBACK"));
	PQclear(PQexec(tk_connection(client), "RESET lock_timeout"));
	CHECK_INT(tk_claim(client, "one", "locked", HOUR, NULL), TK_CLAIMED);
}

/* The server answers a claim before it commits it: what fails between is no claim. */
static void
test_failing_commit(tk_client *client)
{
	CHECK(admin_run("CREATE FUNCTION public.tradekeep_check() RETURNS trigger LANGUAGE plpgsql"
					" AS 'BEGIN RAISE integrity_constraint_violation; END';"
					"CREATE CONSTRAINT TRIGGER tradekeep_check AFTER INSERT ON tradekeep.claim"
					" DEFERRABLE INITIALLY DEFERRED FOR EACH ROW"
					" EXECUTE FUNCTION public.tradekeep_check()"));
	CHECK_INT(tk_claim(client, "one", "failing commit", HOUR, NULL), TK_REFUSED);
	CHECK(failed_with(client, TK_ERROR_SERVER, "23000"));
	CHECK_INT(tk_begin(client), 0);
	CHECK_INT(tk_claim(client, "one", "failing commit", HOUR, NULL), TK_CLAIMED);
	CHECK_INT(tk_commit(client), -1);
	CHECK(failed_with(client, TK_ERROR_SERVER, "23000"));
	CHECK(admin_run("DROP TRIGGER tradekeep_check ON tradekeep.claim;"
					"DROP FUNCTION public.tradekeep_check()"));
	CHECK_INT(tk_claim(client, "one", "failing commit", HOUR, NULL), TK_CLAIMED);
}

void
test_claims(void)
{
	tk_client  *client = open_named("claims 1", 30000);
	tk_client  *other = open_named("claims 2", 30000);

	test_one_claim(client, other);
	test_ttl(client);
	test_many(client);
	test_candle_claims(client, other);
	test_transactions(client, other);
	test_waiting(client, other);
	test_refusals(client);
	test_failing_commit(client);
	CHECK_TEXT(tk_verdict_name(TK_CLAIMED), "claimed");
	CHECK_TEXT(tk_tier_name(TK_TIER_POSTGRES), "postgres");
	tk_close(client);
	tk_close(other);
}
