/*
 * tier_test.c
 *		Memory and Redis in front of PostgreSQL: they say "duplicate" when it is one, and
 *		never when it is not.
 */
#include "check.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "redis_server.h"

#define HOUR 3600000
#define PATIENCE 20000

/* A handle that trusts what it knows for `recheck` ms. */
static tk_client *
open_tiered(const redis_server *redis, int recheck)
{
	tk_options	options;
	tk_client  *client;

	tk_options_init(&options);
	options.redis_url = redis != NULL ? redis->url : NULL;
	options.redis_timeout = 5000;
	options.cache_recheck = recheck;
	client = tk_open(&options);
	CHECK_INT(tk_connect(client), 0);
	return client;
}

/* The verdict, and who gave it. */
static const char *
claim(tk_client *client, const char *scope, const char *key)
{
	static char text[64];
	tk_answer	answer;
	tk_verdict	verdict = tk_claim(client, scope, key, HOUR, &answer);

	snprintf(text, sizeof(text), "%s by %s", tk_verdict_name(verdict), tk_tier_name(answer.tier));
	return text;
}

/* Claims a key again and again until it is given, which must not be by a guess. */
static bool
await_claim(tk_client *client, const char *scope, const char *key)
{
	int64_t		deadline = now_ms() + PATIENCE;

	while (now_ms() < deadline)
	{
		const char *answer = claim(client, scope, key);

		if (strcmp(answer, "claimed by postgres") == 0)
			return true;
		if (strncmp(answer, "duplicate", 9) != 0)
			return false;
		poll(NULL, 0, 1);
	}
	return false;
}

static void
test_memory(void)
{
	tk_client  *client = open_tiered(NULL, HOUR);

	CHECK_TEXT(claim(client, "memory", "own"), "claimed by postgres");
	CHECK_TEXT(claim(client, "memory", "own"), "duplicate by memory");
	CHECK_INT(tk_claim(client, "memory", "own", HOUR, NULL), TK_DUPLICATE);
	CHECK(admin_run("SELECT tradekeep.claim('memory', 'foreign', '1 hour')"));
	CHECK_TEXT(claim(client, "memory", "foreign"), "duplicate by postgres");
	CHECK_TEXT(claim(client, "memory", "foreign"), "duplicate by memory");
	CHECK_TEXT(claim(client, "elsewhere", "own"), "claimed by postgres");
	tk_close(client);
}

static void
test_shared_memory(void)
{
	redis_server redis = {0};
	tk_client  *client,
			   *other;

	if (!redis_server_start(&redis, NULL))
		return;
	client = open_tiered(&redis, HOUR);
	other = open_tiered(&redis, HOUR);
	CHECK_TEXT(claim(client, "redis", "a"), "claimed by postgres");
	CHECK_TEXT(claim(other, "redis", "a"), "duplicate by redis");
	CHECK_TEXT(claim(other, "redis", "a"), "duplicate by memory");
	CHECK(admin_run("SELECT tradekeep.release('redis', 'a')"));
	CHECK(await_claim(other, "redis", "a"));
	tk_close(client);
	tk_close(other);
	redis_server_remove(&redis);
}

void
test_tiers(void)
{
	test_memory();
	test_shared_memory();
}
