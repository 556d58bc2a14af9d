/*
 * tiered.c
 *		Handles with tiers in front of PostgreSQL, and what the checks of them ask.
 */
#include "tiered.h"

#include <poll.h>
#include <stdio.h>

#define PATIENCE 20000

tk_client *
open_tiered(const redis_server *redis, int recheck)
{
	tk_options	options;
	tk_client  *client;

	tk_options_init(&options);
	options.redis_url = redis != NULL ? redis->url : NULL;
	options.redis_timeout = 5000;
	options.cache_recheck = recheck;
	options.backoff_max = 200;
	client = tk_open(&options);
	CHECK_INT(tk_connect(client), 0);
	return client;
}

const char *
describe(tk_verdict verdict, const tk_answer *answer)
{
	static char text[64];

	snprintf(text, sizeof(text), "%s by %s%s", tk_verdict_name(verdict),
			 tk_tier_name(answer->tier), answer->degraded ? ", degraded" : "");
	return text;
}

const char *
claim(tk_client *client, const char *scope, const char *key)
{
	tk_answer	answer;
	tk_verdict	verdict = tk_claim(client, scope, key, HOUR, &answer);

	return describe(verdict, &answer);
}

bool
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

void
make_deaf(tk_client *client)
{
	PQclear(PQexec(tk_connection(client), "UNLISTEN *"));
}

void
end_session_of(tk_client *client)
{
	int64_t		start = now_ms();
	pid_t		pid = server_process(client);

	CHECK(admin_run("SELECT pg_terminate_backend(%d)", pid));
	CHECK(admin_await("SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = %d)", pid));

	/* A connection in use just now is not looked at. */
	while (now_ms() < start + 3)
		;
}
