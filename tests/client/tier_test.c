/*
 * tier_test.c
 *		Memory and Redis in front of PostgreSQL: they say "duplicate" when it is one, and
 *		never when it is not.
 *
 * Where nothing else is said, handles trust what they know for an hour: what they notice,
 * they notice for another reason than time.
 */
#include "tiered.h"

#include "internal.h"

#include <cjson/cJSON.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

static char last_log[1280];

static void
keep_log(void *context, tk_log_level level, const char *message)
{
	(void) context;
	(void) level;
	snprintf(last_log, sizeof(last_log), "%s", message);
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

	/* Neither a neighbour's name nor a bad argument is answered from memory. */
	CHECK_TEXT(claim(client, "memor", "yown"), "claimed by postgres");
	CHECK_TEXT(claim(client, "memory", "ow"), "claimed by postgres");
	CHECK_INT(tk_claim(client, "memory", "own", -1, NULL), TK_REFUSED);
	CHECK(failed_with(client, TK_ERROR_ARGUMENT, "TK003"));
	tk_close(client);
}

static void
test_no_memory(void)
{
	tk_options	options;
	tk_client  *client;

	tk_options_init(&options);
	options.cache_entries = -1;
	client = tk_open(&options);
	CHECK_TEXT(claim(client, "no memory", "a"), "claimed by postgres");
	CHECK_TEXT(claim(client, "no memory", "a"), "duplicate by postgres");
	CHECK_INT(tk_release(client, "no memory", "a", NULL), 0);
	CHECK_TEXT(claim(client, "no memory", "a"), "claimed by postgres");
	tk_close(client);
}

/* Inside a transaction nothing is answered from memory, and nothing is remembered. */
static void
test_in_transaction(void)
{
	tk_client  *client = open_tiered(NULL, HOUR);

	CHECK_TEXT(claim(client, "block", "before"), "claimed by postgres");
	CHECK_TEXT(claim(client, "block", "before"), "duplicate by memory");
	CHECK_INT(tk_begin(client), 0);
	CHECK_TEXT(claim(client, "block", "before"), "duplicate by postgres");
	CHECK_TEXT(claim(client, "block", "inside"), "claimed by postgres");
	CHECK_TEXT(claim(client, "block", "inside"), "duplicate by postgres");
	CHECK_INT(tk_rollback(client), 0);
	CHECK_TEXT(claim(client, "block", "inside"), "claimed by postgres");

	/* The same in one that the library did not begin. */
	PQclear(PQexec(tk_connection(client), "BEGIN"));
	CHECK_TEXT(claim(client, "block", "own SQL"), "claimed by postgres");
	CHECK_TEXT(claim(client, "block", "before"), "duplicate by postgres");
	PQclear(PQexec(tk_connection(client), "ROLLBACK"));
	CHECK_TEXT(claim(client, "block", "own SQL"), "claimed by postgres");

	/* One that is lost lets nothing through until it is rolled back. */
	CHECK_INT(tk_begin(client), 0);
	end_session_of(client);
	CHECK_INT(tk_claim(client, "block", "before", HOUR, NULL), TK_UNAVAILABLE);
	CHECK_INT(tk_connect(client), 0);
	CHECK_INT(tk_claim(client, "block", "before", HOUR, NULL), TK_UNAVAILABLE);
	CHECK(failed_with(client, TK_ERROR_CONNECTION, "08006"));
	CHECK_INT(tk_rollback(client), 0);
	CHECK_INT(tk_claim(client, "block", "before", HOUR, NULL), TK_DUPLICATE);
	tk_close(client);
}

/* What others release is noticed when they say so. */
static void
test_heard_release(void)
{
	tk_client  *client = open_tiered(NULL, HOUR);
	tk_client  *deaf = open_tiered(NULL, HOUR);
	tk_metrics	metrics;

	CHECK_TEXT(claim(client, "heard", "a"), "claimed by postgres");
	CHECK_TEXT(claim(client, "heard", "a"), "duplicate by memory");
	CHECK_TEXT(claim(deaf, "heard", "a"), "duplicate by postgres");
	CHECK_TEXT(claim(deaf, "heard", "a"), "duplicate by memory");
	tk_read_metrics(client, &metrics);
	CHECK_INT(metrics.listening, 1);
	make_deaf(deaf);
	CHECK(admin_run("SELECT tradekeep.release('heard', 'a')"));
	CHECK(await_claim(client, "heard", "a"));

	/* It is hearing that did it. */
	CHECK(admin_run("SELECT tradekeep.release('heard', 'a')"));
	CHECK_TEXT(claim(deaf, "heard", "a"), "duplicate by memory");

	/* Whole scopes, scopes with a line feed, and everything. */
	CHECK(await_claim(client, "heard", "a"));
	CHECK_TEXT(claim(client, "a\nb", "c"), "claimed by postgres");
	CHECK_TEXT(claim(client, "a\nb", "c"), "duplicate by memory");
	CHECK(admin_run("SELECT tradekeep.release(E'a\\nb', 'c')"));
	CHECK(await_claim(client, "a\nb", "c"));
	CHECK(admin_run("SELECT tradekeep.clear_claims('heard')"));
	CHECK(await_claim(client, "heard", "a"));
	CHECK(admin_run("SELECT tradekeep.clear_claims(NULL, '*')"));
	CHECK(await_claim(client, "heard", "a"));
	CHECK(admin_run("BEGIN; DELETE FROM tradekeep.claim WHERE scope = 'heard';"
					" SELECT tradekeep.forget_cached('heard'); COMMIT"));
	CHECK(await_claim(client, "heard", "a"));
	CHECK(admin_run("BEGIN; DELETE FROM tradekeep.claim; SELECT tradekeep.forget_cached();"
					" COMMIT"));
	CHECK(await_claim(client, "heard", "a"));

	/* By hand and in silence: until the handle is told. */
	CHECK_TEXT(claim(client, "heard", "a"), "duplicate by memory");
	CHECK(admin_run("DELETE FROM tradekeep.claim"));
	CHECK_TEXT(claim(client, "heard", "a"), "duplicate by memory");
	CHECK_INT(tk_resync(client), 0);
	CHECK_TEXT(claim(client, "heard", "a"), "claimed by postgres");
	tk_close(client);
	tk_close(deaf);
}

/* Who hears nothing asks again when what he knows is old. */
static void
test_recheck(void)
{
	tk_client  *deaf = open_tiered(NULL, 50);

	CHECK_TEXT(claim(deaf, "recheck", "a"), "claimed by postgres");
	CHECK_TEXT(claim(deaf, "recheck", "a"), "duplicate by memory");
	make_deaf(deaf);
	CHECK(admin_run("SELECT tradekeep.release('recheck', 'a')"));
	CHECK(await_claim(deaf, "recheck", "a"));

	/* After the question about releases, memory answers again. */
	CHECK(admin_await("SELECT pg_sleep(0.06) IS NOT NULL"));
	CHECK_TEXT(claim(deaf, "recheck", "a"), "duplicate by memory");
	tk_close(deaf);
}

/* Whoever releases knows it at once, whether others tell him or not. */
static void
test_own_release(void)
{
	tk_client  *client = open_tiered(NULL, HOUR);
	int64_t		token = 0;

	CHECK_TEXT(claim(client, "own", "a"), "claimed by postgres");
	CHECK_TEXT(claim(client, "own", "a"), "duplicate by memory");
	CHECK_TEXT(claim(client, "own", "b"), "claimed by postgres");
	CHECK_TEXT(claim(client, "own", "b"), "duplicate by memory");
	make_deaf(client);
	CHECK_INT(tk_release(client, "own", "a", NULL), 0);
	CHECK_TEXT(claim(client, "own", "a"), "claimed by postgres");
	CHECK_INT(tk_begin(client), 0);
	CHECK_INT(tk_release(client, "own", "a", NULL), 0);
	CHECK_TEXT(claim(client, "own", "b"), "duplicate by postgres");
	CHECK_INT(tk_commit(client), 0);
	CHECK_TEXT(claim(client, "own", "a"), "claimed by postgres");
	CHECK_INT(tk_begin(client), 0);
	CHECK_INT(tk_release(client, "own", "a", NULL), 0);
	CHECK_INT(tk_rollback(client), 0);
	CHECK_TEXT(claim(client, "own", "a"), "duplicate by postgres");

	/* A lease that is given back. */
	CHECK_INT(tk_claim_lease(client, "own", "lease", HOUR, HOUR, &token, NULL), TK_CLAIMED);
	CHECK_TEXT(claim(client, "own", "lease"), "duplicate by postgres");
	CHECK_INT(tk_release_lease(client, "own", "lease", token, NULL), 0);
	CHECK_TEXT(claim(client, "own", "lease"), "claimed by postgres");
	tk_close(client);
}

/* Statements of the caller's own on the handle's connection; and what is not ours to hear. */
static void
test_own_sql(void)
{
	tk_options	options;
	tk_client  *client;
	PGconn	   *connection;

	tk_options_init(&options);
	options.cache_recheck = HOUR;
	options.log = keep_log;
	client = tk_open(&options);
	CHECK_TEXT(claim(client, "sql", "a"), "claimed by postgres");
	CHECK_TEXT(claim(client, "sql", "a"), "duplicate by memory");
	connection = tk_connection(client);
	PQclear(PQexec(connection, "SELECT tradekeep.release('sql', 'a')"));
	CHECK(await_claim(client, "sql", "a"));
	CHECK_TEXT(claim(client, "sql", "a"), "duplicate by memory");
	PQclear(PQexec(connection, "LISTEN elsewhere; NOTIFY elsewhere, 'claim:sql'"));
	last_log[0] = '\0';
	CHECK_INT(tk_claimed(client, "sql", "a", NULL), 0);
	CHECK(strstr(last_log, "elsewhere") != NULL);
	CHECK_TEXT(claim(client, "sql", "a"), "duplicate by memory");
	tk_close(client);
}

/* A connection takes what it knew with it: what is remembered must be confirmed over the next. */
static void
test_lost_connection(void)
{
	tk_client  *client = open_tiered(NULL, HOUR);
	tk_metrics	metrics;

	CHECK_TEXT(claim(client, "lost line", "a"), "claimed by postgres");
	CHECK_TEXT(claim(client, "lost line", "b"), "claimed by postgres");
	CHECK_TEXT(claim(client, "lost line", "a"), "duplicate by memory");
	end_session_of(client);
	tk_read_metrics(client, &metrics);
	CHECK(admin_run("SELECT tradekeep.release('lost line', 'a')"));
	CHECK_TEXT(claim(client, "lost line", "a"), "claimed by postgres");
	CHECK_TEXT(claim(client, "lost line", "b"), "duplicate by postgres");

	/* Without a release in between, memory is as good as it was. */
	end_session_of(client);
	CHECK_TEXT(claim(client, "lost line", "b"), "duplicate by postgres");
	CHECK_TEXT(claim(client, "lost line", "a"), "duplicate by memory");
	tk_read_metrics(client, &metrics);
	CHECK_INT(metrics.reconnects, 2);
	CHECK_INT(metrics.listening, 1);
	tk_close(client);
}

static void
test_expiry(void)
{
	tk_client  *client = open_tiered(NULL, HOUR);
	tk_answer	answer;
	int64_t		start = now_ms();

	CHECK_INT(tk_claim(client, "expiry", "a", 300, NULL), TK_CLAIMED);
	CHECK_INT(tk_claim(client, "expiry", "a", 300, &answer), TK_DUPLICATE);
	CHECK(answer.tier == TK_TIER_MEMORY || now_ms() - start >= 300);
	CHECK(admin_await("SELECT NOT tradekeep.claimed('expiry', 'a')"));
	CHECK_INT(tk_claim(client, "expiry", "a", 300, NULL), TK_CLAIMED);

	/* What slides is extended by each duplicate: PostgreSQL must see them all. */
	CHECK(admin_run("SELECT tradekeep.set_scope('sliding', '1 hour', 'sliding')"));
	CHECK_TEXT(claim(client, "sliding", "a"), "claimed by postgres");
	CHECK_TEXT(claim(client, "sliding", "a"), "duplicate by postgres");
	CHECK_TEXT(claim(client, "sliding", "a"), "duplicate by postgres");

	/* A scope that began to slide does so for what is remembered, too. */
	CHECK_TEXT(claim(client, "late slider", "a"), "claimed by postgres");
	CHECK_TEXT(claim(client, "late slider", "a"), "duplicate by memory");
	CHECK(admin_run("SELECT tradekeep.set_scope('late slider', '1 hour', 'sliding')"));
	CHECK(admin_run("SELECT tradekeep.release('late slider', 'a')"));
	CHECK(await_claim(client, "late slider", "a"));
	CHECK_TEXT(claim(client, "late slider", "a"), "duplicate by postgres");
	CHECK(admin_run("DELETE FROM tradekeep.scope"));
	tk_close(client);
}

/* The same names in the extension that came after it. */
static void
test_new_extension(void)
{
	static const char anew[] = "DROP EXTENSION tradekeep; CREATE EXTENSION tradekeep";
	tk_client  *client = open_tiered(NULL, HOUR);
	tk_options	options;
	char		url[512];
	PGconn	   *connection;
	int64_t		told_until;

	snprintf(url, sizeof(url), "host=%s port=%s user=%s dbname=tradekeep_check_epoch",
			 PQhost(tk_connection(client)), PQport(tk_connection(client)),
			 PQuser(tk_connection(client)));
	tk_close(client);
	CHECK(admin_run("DROP DATABASE IF EXISTS tradekeep_check_epoch"));
	CHECK(admin_run("CREATE DATABASE tradekeep_check_epoch"));
	connection = PQconnectdb(url);
	PQclear(PQexec(connection, "CREATE EXTENSION tradekeep"));
	tk_options_init(&options);
	options.database_url = url;
	client = tk_open(&options);
	CHECK_TEXT(claim(client, "epoch", "a"), "claimed by postgres");
	CHECK_TEXT(claim(client, "epoch", "b"), "claimed by postgres");
	CHECK_TEXT(claim(client, "epoch", "b"), "duplicate by memory");
	PQclear(PQexec(connection, anew));

	/* Whatever else is claimed, the answer tells that this is another world. */
	CHECK_TEXT(claim(client, "another scope", "a"), "claimed by postgres");
	CHECK_TEXT(claim(client, "epoch", "a"), "claimed by postgres");
	CHECK_TEXT(claim(client, "epoch", "b"), "claimed by postgres");
	tk_close(client);

	/* It is the question about releases that tells, while a key of before is in hand. */
	options.cache_recheck = 100;
	client = tk_open(&options);
	CHECK_TEXT(claim(client, "epoch", "b"), "duplicate by postgres");
	told_until = now_ms() + 100;
	PQclear(PQexec(connection, anew));
	while (now_ms() < told_until)
		;
	CHECK_TEXT(claim(client, "epoch", "b"), "claimed by postgres");
	PQfinish(connection);
	tk_close(client);
	CHECK(admin_run("DROP DATABASE tradekeep_check_epoch"));
}

/* The cache itself: bounded, and the entry that was used longest ago gives way. */
static void
test_bound(void)
{
	tki_cache  *cache = tki_cache_make(1000);
	tki_cached	cached = {.expires_at = 1000};
	int64_t		entries,
				evictions;
	int			kept = 0;
	tki_name	name;
	char		key[32];

	tki_set_name(&name, "bound", "used", NULL);
	tki_cache_put(cache, &name, &cached);
	for (int i = 0; i < 100000; i++)
	{
		snprintf(key, sizeof(key), "%d", i);
		tki_set_name(&name, "bound", key, NULL);
		cached.version = i;
		tki_cache_put(cache, &name, &cached);
		tki_set_name(&name, "bound", "used", NULL);
		if (i % 500 == 0)
			CHECK(tki_cache_find(cache, &name, 0) != NULL);
	}
	for (int i = 0; i < 100000; i++)
	{
		const tki_cached *found;

		snprintf(key, sizeof(key), "%d", i);
		tki_set_name(&name, "bound", key, NULL);
		found = tki_cache_find(cache, &name, 999);
		kept += found != NULL && found->version == i && i >= 99001;
	}
	CHECK_INT(kept, 999);
	tki_cache_count(cache, &entries, &evictions);
	CHECK_INT(entries, 1000);
	CHECK_INT(evictions, 99001);

	/* What is found expired is gone. */
	CHECK(tki_cache_find(cache, &name, 1000) == NULL);
	tki_cache_count(cache, &entries, &evictions);
	CHECK_INT(entries, 999);
	tki_cache_clear(cache);
	tki_cache_count(cache, &entries, &evictions);
	CHECK_INT(entries, 0);
	tki_cache_put(cache, &name, &cached);
	CHECK(tki_cache_find(cache, &name, 0) != NULL);
	free(cache);
}

/* More scopes than there is room for knowledge of, and more claims than entries. */
static void
test_many_scopes(void)
{
	tk_options	options;
	tk_client  *client;
	tk_metrics	metrics;
	char		scope[32];
	int			wrong = 0;

	tk_options_init(&options);
	options.cache_entries = 100;
	client = tk_open(&options);
	for (int round = 0; round < 3; round++)
	{
		for (int i = 0; i < 150; i++)
		{
			snprintf(scope, sizeof(scope), "scope %d", i);
			wrong += tk_claim(client, scope, "a", HOUR, NULL) !=
				(round == 0 ? TK_CLAIMED : TK_DUPLICATE);
		}
	}
	CHECK_INT(wrong, 0);
	tk_read_metrics(client, &metrics);
	CHECK_INT(metrics.cached_entries, 100);
	CHECK_TEXT(claim(client, "scope 149", "a"), "duplicate by memory");
	tk_close(client);
}

/* The counters, and the same in both formats. */
static void
test_metrics(void)
{
	tk_client  *client = open_tiered(NULL, HOUR);
	tk_metrics	metrics;
	tk_answer	answer;
	const char *text;
	cJSON	   *json;
	int64_t		timed = 0;

	CHECK_INT(tk_read_metrics(client, &metrics), 0);
	CHECK(metrics.memory.duplicates == 0 && metrics.breaker == TK_BREAKER_OFF &&
		  metrics.listening == 0);
	CHECK_INT(tk_claim(client, "metrics", "a", HOUR, &answer), TK_CLAIMED);
	for (int i = 0; i < 6400; i++)
		tk_claim(client, "metrics", "a", HOUR, NULL);
	CHECK_INT(tk_claim(client, "metrics", "a", HOUR, &answer), TK_DUPLICATE);
	CHECK_INT(tk_claim(client, "metrics", "b", 0, &answer), TK_REFUSED);
	CHECK_INT(tk_read_metrics(client, &metrics), 0);
	CHECK_INT(metrics.memory.duplicates, 6401);
	CHECK_INT(metrics.memory.misses, 2);
	CHECK_INT(metrics.postgres.claimed, 1);
	CHECK_INT(metrics.postgres.errors, 1);
	CHECK_INT(metrics.cached_entries, 1);
	CHECK_INT(metrics.unavailable, 0);
	for (int i = 0; i < TK_LATENCY_BUCKETS; i++)
		timed += metrics.memory.latency[i];
	CHECK_INT(timed, 101);

	json = cJSON_Parse(tk_metrics_json(client));
	CHECK(json != NULL);
	CHECK_INT(cJSON_GetObjectItem(cJSON_GetObjectItem(json, "memory"), "duplicates")->valueint,
			  6401);
	CHECK_TEXT(cJSON_GetObjectItem(json, "breaker")->valuestring, "off");
	CHECK(cJSON_IsTrue(cJSON_GetObjectItem(json, "listening")));
	cJSON_Delete(json);

	text = tk_metrics_prometheus(client);
	CHECK(strstr(text, "\ntradekeep_client_duplicates_total{tier=\"memory\"} 6401\n") != NULL);
	CHECK(strstr(text, "\ntradekeep_client_latency_seconds_bucket{tier=\"memory\",le=\"+Inf\"} 101\n"
				 "tradekeep_client_latency_seconds_sum{tier=\"memory\"} ") != NULL);
	CHECK(strstr(text, "\ntradekeep_client_latency_seconds_count{tier=\"memory\"} 101\n") != NULL);
	CHECK(strstr(text, "\n# TYPE tradekeep_client_latency_seconds histogram\n") != NULL);
	CHECK(strstr(text, "\ntradekeep_client_breaker{state=\"off\"} 1\n") != NULL);
	CHECK(text[strlen(text) - 1] == '\n' && strstr(text, "\n\n") == NULL);
	CHECK_INT(tk_read_metrics(NULL, &metrics), -1);
	CHECK(tk_metrics_json(NULL) == NULL && tk_metrics_prometheus(NULL) == NULL);
	tk_close(client);
}

void
test_tiers(void)
{
	test_memory();
	test_no_memory();
	test_in_transaction();
	test_heard_release();
	test_recheck();
	test_own_release();
	test_own_sql();
	test_lost_connection();
	test_expiry();
	test_new_extension();
	test_bound();
	test_many_scopes();
	test_metrics();
}
