/*
 * degrade_test.c
 *		The bot outlives its database: what is granted and kept without it, and that
 *		all of it arrives, once and in order.
 */
#include "check.h"
#include "redis_server.h"
#include "relay.h"

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define HOUR INT64_C(3600000)

/* A day of the past, on the grid of all timeframes up to a day. */
#define DAY_START INT64_C(1767571200000)

static relay *line;
static char folder[64];

static const tk_candle candle = {.ts = DAY_START,.open = 0.1,.high = 9,.low = 0.1,.close = 3e-9 + 1,
.volume = 1e22,.closed = 1};

/* What the log said: the last collision, and how many warnings there were. */
static char collision[1024];
static int	warnings;

static void
note(void *context, tk_log_level level, const char *message)
{
	(void) context;
	warnings += level == TK_LOG_WARNING;
	if (strncmp(message, "collision", 9) == 0)
		snprintf(collision, sizeof(collision), "%s", message);
}

/* A handle that goes on through outages; the folder and Redis may be null. */
static tk_client *
open_degrading(const char *spool, const redis_server *redis)
{
	tk_options	options = {
		.database_url = relay_url(line),.application_name = "degrading",.connect_timeout = 2000,
		.call_timeout = 10000,.backoff_min = 1,.backoff_max = 1,.log = note,
		.outage = TK_DEGRADE,.spool_directory = spool,
		.redis_url = redis != NULL ? redis->url : NULL
	};

	return tk_open(&options);
}

/* Whether a backoff runs or not. */
static void
restore(tk_client *client)
{
	relay_restore(line);
	CHECK_INT(tk_connect(client), 0);
}

static void
make_folder(void)
{
	strcpy(folder, "/tmp/tradekeep-spool-XXXXXX");
	CHECK(mkdtemp(folder) != NULL);
}

/* Names of files that end like this, and how many there are. */
static int
count_files(const char *suffix)
{
	DIR		   *directory = opendir(folder);
	struct dirent *entry;
	int			count = 0;

	while ((entry = readdir(directory)) != NULL)
	{
		size_t		length = strlen(entry->d_name);

		count += length > strlen(suffix) &&
			strcmp(entry->d_name + length - strlen(suffix), suffix) == 0;
	}
	closedir(directory);
	return count;
}

/* Removes the folder, which must be empty. */
static void
remove_folder(void)
{
	CHECK_INT(rmdir(folder), 0);
}

static tk_metrics
metrics_of(const tk_client *client)
{
	tk_metrics	metrics;

	CHECK_INT(tk_read_metrics(client, &metrics), 0);
	return metrics;
}

/* A claim that PostgreSQL knows of, so that statements are prepared and the clock is known. */
static void
warm_up(tk_client *client)
{
	static int	number;
	char		key[32];

	snprintf(key, sizeof(key), "warm %d", number++);
	CHECK_INT(tk_claim(client, "warm", key, HOUR, NULL), TK_CLAIMED);
	CHECK_INT(tk_error(client), TK_OK);
}

static int
rows(const char *scope)
{
	return atoi(admin_value("SELECT count(*) FROM tradekeep.claim WHERE scope = '%s'", scope));
}

static tk_verdict
claim(tk_client *client, const char *scope, const char *key, tk_answer *answer)
{
	return tk_claim(client, scope, key, HOUR, answer);
}

/* Alone: memory grants, and only once; what it granted arrives. */
static void
test_alone(void)
{
	tk_client  *client = open_degrading(folder, NULL);
	tk_replay_report report;
	tk_answer	answer;
	int			claimed;

	warm_up(client);
	CHECK_INT(claim(client, "alone", "before", NULL), TK_CLAIMED);
	relay_cut(line);
	CHECK_INT(claim(client, "alone", "a", &answer), TK_CLAIMED);
	CHECK_INT(answer.tier, TK_TIER_MEMORY);
	CHECK_INT(answer.degraded, 1);
	CHECK_INT(tk_spooled(client), 1);
	CHECK_INT(tk_error(client), TK_OK);
	CHECK_INT(claim(client, "alone", "a", &answer), TK_DUPLICATE);
	CHECK_INT(answer.tier, TK_TIER_MEMORY);
	CHECK_INT(answer.degraded, 1);
	CHECK_INT(tk_spooled(client), 0);
	CHECK_INT(claim(client, "alone", "before", &answer), TK_DUPLICATE);
	CHECK_INT(answer.degraded, 1);
	CHECK_INT(claim(client, "alone", "b", NULL), TK_CLAIMED);
	CHECK_INT(metrics_of(client).spool_records, 2);
	CHECK_INT(count_files(".spool"), 1);

	/* What needs PostgreSQL fails as ever. */
	CHECK_INT(tk_claimed(client, "alone", "a", &claimed), -1);
	CHECK_INT(tk_release(client, "alone", "a", NULL), -1);
	CHECK_INT(tk_error(client), TK_ERROR_CONNECTION);
	CHECK_INT(tk_begin(client), -1);
	CHECK_INT(tk_replay(client, &report), -1);
	CHECK_INT(tk_error(client), TK_ERROR_CONNECTION);
	CHECK_INT(report.remaining, 2);
	CHECK_INT(rows("alone"), 1);

	/* The next call finds it back. */
	restore(client);
	CHECK_INT(claim(client, "alone", "a", &answer), TK_DUPLICATE);
	CHECK_INT(answer.tier, TK_TIER_POSTGRES);
	CHECK_INT(answer.degraded, 0);
	CHECK_INT(rows("alone"), 3);
	CHECK_TEXT(admin_value("SELECT count(*) FROM tradekeep.claim WHERE scope = 'alone' AND"
						   " data ->> 'degraded' ~ '^[0-9a-f-]{36}:[12]$'"), "2");
	CHECK_TEXT(admin_value("SELECT bool_and(expires_at - claimed_at = '1 hour') FROM"
						   " tradekeep.claim WHERE scope = 'alone'"), "t");
	CHECK_TEXT(admin_value("SELECT count(*) FROM tradekeep.replay"), "0");
	CHECK_INT(count_files(""), 0 + 2);	/* . and .. */
	CHECK_INT(metrics_of(client).replayed, 2);
	CHECK_INT(metrics_of(client).collisions, 0);
	CHECK_INT(metrics_of(client).spool_records, 0);
	tk_close(client);
}

/* Each scope has its policy, and some failures are no outages. */
static void
test_policies(void)
{
	tk_client  *client = open_degrading(folder, NULL);
	tk_options	options;
	tk_answer	answer;

	warm_up(client);
	CHECK_INT(tk_set_outage_policy(client, "careful", TK_REFUSE), 0);
	CHECK_INT(tk_set_outage_policy(client, "", TK_DEGRADE), -1);
	CHECK_INT(tk_set_outage_policy(client, "x", (tk_outage_policy) 7), -1);
	CHECK_INT(tk_error(client), TK_ERROR_ARGUMENT);
	CHECK_INT(tk_begin(client), 0);
	CHECK_INT(claim(client, "policy", "inside", NULL), TK_CLAIMED);
	relay_cut(line);
	CHECK_INT(claim(client, "policy", "inside too", NULL), TK_UNAVAILABLE);
	CHECK_INT(claim(client, "policy", "inside again", NULL), TK_UNAVAILABLE);
	CHECK_INT(tk_upsert_candles(client, "SP/0", "1m", &candle, 1, NULL), -1);
	CHECK_INT(tk_error(client), TK_ERROR_CONNECTION);
	CHECK_INT(tk_rollback(client), 0);
	CHECK_INT(claim(client, "careful", "a", &answer), TK_UNAVAILABLE);
	CHECK(failed_with(client, TK_ERROR_CONNECTION, "08001") ||
		  failed_with(client, TK_ERROR_CONNECTION, "08006"));
	CHECK_INT(answer.tier, TK_TIER_NONE);
	CHECK_INT(tk_claim(client, "no ttl", "a", 0, NULL), TK_UNAVAILABLE);
	CHECK(strstr(tk_message(client), "ttl") != NULL);
	CHECK_INT(tk_set_outage_policy(client, "careful", TK_DEGRADE), 0);
	CHECK_INT(claim(client, "careful", "a", NULL), TK_CLAIMED);
	CHECK_INT(tk_set_outage_policy(client, "careful", TK_REFUSE), 0);

	/* Who refuses is not held up by the spool of others. */
	restore(client);
	CHECK(admin_run("BEGIN; LOCK TABLE tradekeep.replay"));
	CHECK_INT(claim(client, "careful", "b", &answer), TK_CLAIMED);
	CHECK_INT(answer.tier, TK_TIER_POSTGRES);
	CHECK(admin_run("ROLLBACK"));
	CHECK_INT(tk_replay(client, NULL), 0);
	CHECK_INT(rows("careful"), 2);
	tk_close(client);

	/* No password or no such user is no outage, and neither is a server that refuses. */
	tk_options_init(&options);
	options.database_url = "user=nobody_of_this_name";
	options.outage = TK_DEGRADE;
	options.spool_directory = folder;
	client = tk_open(&options);
	CHECK_INT(claim(client, "policy", "auth", NULL), TK_UNAVAILABLE);
	CHECK_INT(tk_error(client), TK_ERROR_AUTHENTICATION);
	CHECK_INT(tk_upsert_candles(client, "SP/0", "1m", &candle, 1, NULL), -1);
	CHECK_INT(tk_error(client), TK_ERROR_AUTHENTICATION);
	CHECK_INT(tk_spooled(client), 0);
	tk_close(client);
	client = open_degrading(folder, NULL);
	CHECK(admin_run("ALTER TABLE tradekeep.claim RENAME TO hidden_claim"));
	CHECK(claim(client, "policy", "hidden", NULL) != TK_CLAIMED);
	CHECK_INT(tk_error(client), TK_ERROR_SERVER);
	CHECK(admin_run("ALTER TABLE tradekeep.hidden_claim RENAME TO claim"));
	CHECK_INT(tk_upsert_candles(client, "SP/0", "7m", &candle, 1, NULL), -1);
	CHECK(failed_with(client, TK_ERROR_SERVER, "22P02"));
	tk_close(client);

	/* A spool that cannot be, and one that nobody named. */
	client = open_degrading("/nonexistent/folder", NULL);
	CHECK_INT(claim(client, "policy", "x", NULL), TK_REFUSED);
	CHECK(strstr(tk_message(client), "/nonexistent/folder") != NULL);
	tk_close(client);
	client = open_degrading("/dev/null", NULL);
	CHECK_INT(claim(client, "policy", "x", NULL), TK_REFUSED);
	tk_close(client);
	client = open_degrading(NULL, NULL);
	CHECK_INT(claim(client, "policy", "x", NULL), TK_REFUSED);
	tk_close(client);
	client = open_named("refusing", 10000);
	CHECK_INT(tk_set_outage_policy(client, "x", TK_DEGRADE), -1);
	CHECK_INT(tk_replay(client, NULL), 0);
	tk_close(client);
	CHECK_INT(count_files(".spool"), 0);
	CHECK_INT(rows("policy"), 0);
}

/* Redis decides between processes; what it was told goes when PostgreSQL knows. */
static void
test_redis_decides(redis_server *redis)
{
	tk_client  *one = open_degrading(folder, redis);
	tk_client  *two = open_degrading(folder, redis);
	tk_answer	answer;
	int			granted = 0;

	warm_up(one);
	warm_up(two);
	redis_value(redis, "SET tradekeep:claim:arbiter:foreign 1");
	relay_cut(line);
	for (int i = 0; i < 20; i++)
	{
		char		key[16];
		tk_verdict	first,
					second;

		snprintf(key, sizeof(key), "k%d", i);
		first = claim(i % 2 == 0 ? one : two, "arbiter", key, &answer);
		CHECK_INT(answer.tier, TK_TIER_REDIS);
		second = claim(i % 2 == 0 ? two : one, "arbiter", key, &answer);
		CHECK_INT(answer.tier, TK_TIER_REDIS);
		CHECK_INT(answer.degraded, 1);
		granted += first == TK_CLAIMED && second == TK_DUPLICATE;
	}
	CHECK_INT(granted, 20);
	CHECK_INT(claim(one, "arbiter", "foreign", &answer), TK_DUPLICATE);
	CHECK_INT(tk_should_process_candle(one, "BTC/USDT", "1d", DAY_START, 60000, HOUR, NULL),
			  TK_UNAVAILABLE);
	CHECK(strstr(tk_message(one), "expired") != NULL);
	CHECK_INT(tk_claim_publish(one, "BTC/USDT", DAY_START, 0, NULL), TK_CLAIMED);
	CHECK_INT(tk_claim_publish(two, "BTC/USDT", DAY_START, 0, NULL), TK_DUPLICATE);
	CHECK(strncmp(redis_value(redis, "GET signal:publish:BTC/USDT:2026-01-05T00:00:00"),
				  "tkd:", 4) == 0);
	CHECK(atoll(redis_value(redis, "PTTL signal:publish:BTC/USDT:2026-01-05T00:00:00")) >
		  23 * HOUR);

	/* In normal operation the marks of others count, until their records arrive. */
	relay_restore(line);
	CHECK_INT(tk_replay(two, NULL), 0);
	CHECK_INT(claim(two, "arbiter", "k0", &answer), TK_DUPLICATE);
	CHECK_INT(answer.tier, TK_TIER_REDIS);
	CHECK_INT(answer.degraded, 1);
	CHECK_INT(tk_set_outage_policy(two, "arbiter", TK_REFUSE), 0);
	CHECK_INT(claim(two, "arbiter", "k2", &answer), TK_CLAIMED);
	CHECK_INT(tk_replay(one, NULL), 0);
	CHECK_INT(metrics_of(one).collisions, 1);
	CHECK_INT(metrics_of(two).collisions, 0);
	CHECK_INT(rows("arbiter"), 20);
	CHECK_TEXT(redis_value(redis, "GET tradekeep:claim:arbiter:k4"), "nil");
	CHECK_TEXT(redis_value(redis, "GET tradekeep:claim:arbiter:foreign"), "1");
	CHECK_INT(claim(one, "arbiter", "k4", &answer), TK_DUPLICATE);
	CHECK_INT(answer.tier, TK_TIER_POSTGRES);
	tk_close(one);
	tk_close(two);
}

static tk_verdict
claim_signal(tk_client *client, double price, tk_sent_signal *sent, tk_answer *answer)
{
	tk_signal	signal = {.symbol = "ARB/USDT",.direction = "long",.entry_price = price,
	.tolerance = 0.01,.ttl = HOUR,.data = "{\"n\": 1}"};

	return tk_claim_signal(client, &signal, sent, answer);
}

static void
test_degraded_signals(redis_server *redis)
{
	tk_client  *one = open_degrading(folder, redis);
	tk_client  *two = open_degrading(folder, redis);
	tk_signal	bad = {.symbol = "ARB/USDT",.direction = "long",.entry_price = 1,.data = "{"};
	tk_sent_signal sent;
	tk_answer	answer;

	warm_up(one);
	CHECK_INT(claim_signal(one, 500, NULL, NULL), TK_CLAIMED);
	relay_cut(line);
	CHECK_INT(claim_signal(two, 502, &sent, &answer), TK_DUPLICATE);	/* confirmed before */
	CHECK(sent.price == 500 && sent.signal_id > 0 && sent.expires_at > sent.sent_at);
	CHECK_INT(claim_signal(one, 100.1, &sent, &answer), TK_CLAIMED);
	CHECK(sent.price == 100.1 && sent.signal_id == 0);
	CHECK_INT(sent.expires_at - sent.sent_at, HOUR);
	CHECK_INT(claim_signal(one, 100.5, &sent, &answer), TK_DUPLICATE);
	CHECK_INT(answer.tier, TK_TIER_MEMORY);
	CHECK(sent.price == 100.1);
	CHECK_INT(claim_signal(two, 101.05, &sent, &answer), TK_DUPLICATE);
	CHECK_INT(answer.tier, TK_TIER_REDIS);
	CHECK(sent.price == 100.1 && sent.expires_at - sent.sent_at == HOUR);
	CHECK_INT(claim_signal(two, 101.2, &sent, &answer), TK_CLAIMED);
	CHECK_INT(tk_claim_signal(one, &bad, NULL, NULL), TK_REFUSED);
	CHECK(failed_with(one, TK_ERROR_ARGUMENT, "22P02"));

	/* Without Redis each grants for itself, and PostgreSQL finds out. */
	redis_server_kill(redis);
	CHECK_INT(claim_signal(one, 200, &sent, &answer), TK_CLAIMED);
	CHECK_INT(answer.tier, TK_TIER_MEMORY);
	CHECK_INT(claim_signal(two, 201, &sent, &answer), TK_CLAIMED);
	redis_server_restart(redis, true);
	relay_restore(line);
	CHECK_INT(tk_replay(two, NULL), 0);
	CHECK_INT(tk_replay(one, NULL), 0);
	CHECK_INT(metrics_of(one).collisions + metrics_of(two).collisions, 1);
	CHECK_TEXT(admin_value("SELECT string_agg(price::text, ' ' ORDER BY price) FROM"
						   " tradekeep.signal WHERE symbol = 'ARB/USDT'"), "100.1 101.2 201 500");
	CHECK_TEXT(admin_value("SELECT count(*) FROM tradekeep.signal WHERE data = '{\"n\": 1}'"), "4");
	tk_close(one);
	tk_close(two);
}

/* Both are away: two processes grant the same, and one row and a report are left. */
static void
test_collision(void)
{
	tk_client  *one = open_degrading(folder, NULL);
	tk_client  *two = open_degrading(folder, NULL);
	tk_replay_report report;

	warm_up(one);
	warm_up(two);
	relay_cut(line);
	CHECK_INT(claim(one, "collide", "x", NULL), TK_CLAIMED);
	CHECK_INT(claim(two, "collide", "x", NULL), TK_CLAIMED);
	CHECK_INT(tk_claim(two, "collide", "short", 1, NULL), TK_CLAIMED);
	relay_restore(line);
	CHECK(admin_await("SELECT clock_timestamp() > '%s'::timestamptz + '300 ms'",
					  admin_value("SELECT clock_timestamp()")));

	/* This one was free again when it was claimed: no collision. */
	CHECK(admin_run("SELECT tradekeep.claim('collide', 'short', '1 hour')"));
	collision[0] = '\0';
	CHECK_INT(tk_replay(one, &report), 0);
	CHECK_INT(report.replayed, 1);
	CHECK_INT(report.collisions, 0);
	CHECK_INT(tk_replay(two, &report), 0);
	CHECK_INT(report.replayed, 2);
	CHECK_INT(report.collisions, 1);
	CHECK_INT(report.remaining, 0);
	CHECK(strstr(collision, "\"collide\", \"x\" was granted at 20") != NULL);
	CHECK(strstr(collision, "perhaps") == NULL);
	CHECK_INT(rows("collide"), 2);
	tk_close(one);
	tk_close(two);
}

/* Writes are kept in order, and are what they would have been. */
static void
test_writes(void)
{
	const char *kline = "{\"e\":\"kline\",\"E\":1,\"s\":\"ETHUSDT\",\"k\":{\"t\":1767571200000,"
		"\"T\":1767571259999,\"s\":\"ETHUSDT\",\"i\":\"1m\",\"o\":\"1\",\"h\":\"2\",\"l\":\"1\",\"c\":\"2\",\"v\":\"5\",\"x\":true}}";
	const char *broken = "{\"e\":";
	const char *symbols[] = {"A/\"\\\n\xe2\x82\xac", "B"};
	tk_trade	trade = {.trade_id = "1",.bot = "spool",.symbol = "BTC/USDT",.side = "LONG",
		.quantity = "0.1234567890123456789",.entry_price = "97012.5",.opened_at = DAY_START,
	.data = "{\"a\": [1, \"\\u20ac\"]}"};
	tk_client  *client = open_degrading(folder, NULL);
	tk_candle	partial = candle;
	tk_candle	two[] = {candle, candle};
	tk_upsert_counts counts;
	int			changed;

	relay_cut(line);
	partial.closed = 0;
	partial.volume = 5;
	memset(&counts, -1, sizeof(counts));
	CHECK_INT(tk_upsert_candles(client, "SP/1", "1m", &partial, 1, &counts), 0);
	CHECK_INT(tk_spooled(client), 1);
	CHECK_INT(counts.inserted + counts.updated + counts.unchanged + counts.ignored, 0);
	CHECK_INT(tk_upsert_candles(client, "SP/1", "1m", &candle, 1, NULL), 0);
	CHECK_INT(tk_upsert_candles(client, "SP/1", "1m", &partial, 0, NULL), 0);
	CHECK_INT(tk_spooled(client), 0);
	CHECK_INT(tk_upsert_symbols(client, symbols, "1m", two, 2, NULL), 0);
	CHECK_INT(tk_ingest_klines(client, &kline, 1, NULL, NULL, NULL), 0);
	CHECK_INT(tk_ingest_klines(client, &broken, 1, NULL, NULL, NULL), -1);
	CHECK(failed_with(client, TK_ERROR_ARGUMENT, "22P02"));
	CHECK_INT(tk_add_trade(client, &trade, 0, &changed), 0);
	CHECK_INT(changed, 0);
	CHECK_INT(tk_spooled(client), 1);
	CHECK_INT(tk_close_trade(client, "spool", "1", "98100", 0, "48.2", "roi", NULL), 0);
	trade.strategy = "\xff";
	CHECK_INT(tk_add_trade(client, &trade, 0, NULL), -1);
	CHECK(failed_with(client, TK_ERROR_ARGUMENT, "22021"));
	CHECK_INT(metrics_of(client).spool_records, 6);
	relay_restore(line);
	CHECK_INT(tk_replay(client, NULL), 0);
	CHECK_INT(metrics_of(client).rejected, 0);
	CHECK_TEXT(admin_value("SELECT concat_ws(' ', count(*), bool_and(closed), min(volume), min(open),"
						   " min(close)) FROM tradekeep.candle WHERE symbol = 'SP/1'"),
			   "1 t 1e+22 0.1 1.000000003");
	CHECK_TEXT(admin_value("SELECT count(*) FROM tradekeep.candle WHERE symbol ="
						   " E'A/\"\\\\\\n\\u20ac' OR symbol = 'B' OR symbol = 'ETHUSDT'"), "3");
	CHECK_TEXT(admin_value("SELECT concat_ws(' ', quantity, exit_reason, data -> 'a' ->> 1,"
						   " closed_at > opened_at) FROM tradekeep.trade WHERE bot = 'spool'"),
			   "0.1234567890123456789 roi \xe2\x82\xac t");
	CHECK_INT(tk_close_trade(client, "spool", "1", "98100", 0, "48.2", "roi", &changed), 0);
	CHECK_INT(tk_spooled(client), 0);
	CHECK_INT(changed, 0);
	tk_close(client);
	CHECK(admin_run("TRUNCATE tradekeep.trade"));
}

/* A page says nothing of its time: what was growing when it came is not final. */
static void
test_pages(void)
{
	tk_client  *client = open_degrading(folder, NULL);
	int64_t		start = atoll(admin_value("SELECT ceil(extract(epoch FROM clock_timestamp()))::int8"));
	char		page[128];
	const char *message = page;

	snprintf(page, sizeof(page), " [[%lld000, 1, 2, 1, 2, 5], [%lld000, 1, 2, 1, 2, 5]]",
			 (long long) start - 10, (long long) start);
	relay_cut(line);
	CHECK_INT(tk_ingest_klines(client, &message, 1, "SP/4", "1s", NULL), 0);
	CHECK_INT(tk_spooled(client), 1);
	CHECK(admin_await("SELECT clock_timestamp() > to_timestamp(%lld)", (long long) start + 1));
	relay_restore(line);
	CHECK_INT(tk_replay(client, NULL), 0);
	CHECK_TEXT(admin_value("SELECT string_agg(closed::text, ' ' ORDER BY ts) FROM"
						   " tradekeep.candle WHERE symbol = 'SP/4'"), "true false");
	tk_close(client);
}

/* What PostgreSQL refuses is kept beside the spool; the rest arrives. */
static void
test_rejected(void)
{
	tk_client  *client = open_degrading(folder, NULL);
	tk_replay_report report;
	tk_candle	bad = candle;
	char		command[128];

	relay_cut(line);
	bad.high = 0.01;
	CHECK_INT(claim(client, "reject", "a", NULL), TK_CLAIMED);
	CHECK_INT(tk_upsert_candles(client, "SP/2", "1m", &bad, 1, NULL), 0);
	CHECK_INT(claim(client, "reject", "b", NULL), TK_CLAIMED);
	CHECK_INT(tk_upsert_candles(client, "SP/2", "7m", &candle, 1, NULL), 0);
	CHECK_INT(tk_close_trade(client, "spool", "none", "1", DAY_START, NULL, NULL, NULL), 0);
	CHECK_INT(claim(client, "reject", "c", NULL), TK_CLAIMED);
	relay_restore(line);

	/* As long as the server is not fit, nothing is. */
	CHECK(admin_run("ALTER FUNCTION tradekeep.claim_or_get RENAME TO hidden_claim_or_get"));
	CHECK_INT(tk_replay(client, &report), -1);
	CHECK_INT(report.rejected, 0);
	CHECK_INT(report.remaining, 6);
	CHECK(admin_run("ALTER FUNCTION tradekeep.hidden_claim_or_get RENAME TO claim_or_get"));
	CHECK_INT(tk_replay(client, &report), 0);
	CHECK_INT(report.replayed, 3);
	CHECK_INT(report.rejected, 3);
	CHECK_INT(rows("reject"), 3);
	CHECK_INT(count_files(".spool"), 0);
	CHECK_INT(count_files(".spool.rejected"), 1);
	snprintf(command, sizeof(command), "test $(cat %s/*.rejected | wc -l) = 3 && rm %s/*.rejected",
			 folder, folder);
	CHECK_INT(system(command), 0);
	tk_close(client);
}

/* What the spool cannot take is not granted, and Redis is not left with a mark of it. */
static void
test_full_spool(redis_server *redis)
{
	tk_options	options = {
		.database_url = relay_url(line),.outage = TK_DEGRADE,.spool_directory = folder,
		.redis_url = redis->url,.spool_limit = 100,.backoff_min = 1,.backoff_max = 1
	};
	tk_client  *client = tk_open(&options);
	tk_client  *other = open_degrading(folder, redis);
	tk_answer	answer;

	relay_cut(line);
	CHECK_INT(claim(client, "full", "a", &answer), TK_UNAVAILABLE);
	CHECK(failed_with(client, TK_ERROR_CONNECTION, "53100"));
	CHECK_INT(answer.tier, TK_TIER_NONE);
	CHECK_INT(metrics_of(client).spool_failures, 1);
	CHECK_TEXT(redis_value(redis, "GET tradekeep:claim:full:a"), "nil");
	CHECK_INT(claim_signal(client, 700, NULL, NULL), TK_UNAVAILABLE);
	CHECK_TEXT(redis_value(redis, "ZCARD tradekeep:signal:ARB/USDT:LONG"), "0");
	CHECK_INT(claim(client, "full", "a", NULL), TK_UNAVAILABLE);
	CHECK_INT(claim(other, "full", "a", NULL), TK_CLAIMED);
	CHECK_INT(claim(client, "full", "a", NULL), TK_DUPLICATE);
	relay_restore(line);
	CHECK_INT(tk_replay(other, NULL), 0);
	tk_close(client);
	tk_close(other);
}

/* A file that somebody removed is not written to for ever: when it is replayed, there is a new one. */
static void
test_removed_file(void)
{
	tk_client  *client = open_degrading(folder, NULL);
	char		command[96];

	relay_cut(line);
	CHECK_INT(claim(client, "removed", "a", NULL), TK_CLAIMED);
	snprintf(command, sizeof(command), "rm %s/*.spool", folder);
	CHECK_INT(system(command), 0);
	restore(client);
	CHECK_INT(tk_replay(client, NULL), 0);
	CHECK_INT(rows("removed"), 1);
	relay_cut(line);
	CHECK_INT(claim(client, "removed", "b", NULL), TK_CLAIMED);
	CHECK_INT(count_files(".spool"), 1);

	/* What was granted in the outage before is not forgotten in this one. */
	CHECK_INT(claim(client, "removed", "a", NULL), TK_DUPLICATE);
	restore(client);
	CHECK_INT(tk_replay(client, NULL), 0);
	tk_close(client);
}

/* A line in the middle that the disk has spoiled is kept; those around it arrive. */
static void
test_damaged_line(void)
{
	tk_client  *client = open_degrading(folder, NULL);
	tk_replay_report report;
	char		command[192];

	relay_cut(line);
	CHECK_INT(claim(client, "damaged", "a", NULL), TK_CLAIMED);
	CHECK_INT(claim(client, "damaged", "spoiled", NULL), TK_CLAIMED);
	CHECK_INT(claim(client, "damaged", "c", NULL), TK_CLAIMED);
	tk_close(client);
	snprintf(command, sizeof(command), "sed -i s/spoiled/spilled/ %s/*.spool &&"
			 " printf '{\"v\":1,' >>$(ls %s/*.spool)", folder, folder);
	CHECK_INT(system(command), 0);
	client = open_degrading(folder, NULL);
	relay_restore(line);
	CHECK_INT(tk_replay(client, &report), 0);
	CHECK_INT(report.replayed, 2);
	CHECK_INT(report.rejected, 2);
	CHECK_INT(rows("damaged"), 2);
	snprintf(command, sizeof(command), "test $(wc -l <$(ls %s/*.rejected)) = 2 &&"
			 " grep -q spilled %s/*.rejected && rm %s/*.rejected", folder, folder, folder);
	CHECK_INT(system(command), 0);
	tk_close(client);
}

/* A server that stands still is away, too, once a call has waited for it in vain. */
static void
test_standstill(void)
{
	tk_options	options = {
		.database_url = relay_url(line),.outage = TK_DEGRADE,.spool_directory = folder,
		.call_timeout = 300,.connect_timeout = 300,.backoff_min = 1,.backoff_max = 1
	};
	tk_client  *client = tk_open(&options);
	tk_replay_report report;

	warm_up(client);
	relay_block(line);
	CHECK_INT(claim(client, "still", "a", NULL), TK_CLAIMED);
	CHECK_INT(tk_spooled(client), 1);
	CHECK_INT(claim(client, "still", "a", NULL), TK_DUPLICATE);
	restore(client);
	CHECK_INT(tk_replay(client, &report), 0);
	CHECK_INT(rows("still"), 1);
	tk_close(client);
}

/* An answer that got lost: the claim may be there already, and that is said. */
static void
test_unknown_outcome(redis_server *redis)
{
	tk_client  *client = open_degrading(folder, redis);
	tk_trade	trade = {.trade_id = "u",.bot = "unknown",.symbol = "X",.side = "LONG",
	.quantity = "1",.entry_price = "2",.opened_at = DAY_START};
	tk_replay_report report;

	warm_up(client);
	CHECK_INT(tk_add_trade(client, &trade, 0, NULL), 0);
	relay_lose_answer(line, "_claim");
	CHECK_INT(claim(client, "unknown", "a", NULL), TK_CLAIMED);
	CHECK_INT(tk_spooled(client), 1);
	CHECK_INT(rows("unknown"), 1);
	CHECK_INT(claim(client, "unknown", "a", NULL), TK_DUPLICATE);
	restore(client);
	collision[0] = '\0';
	CHECK_INT(tk_replay(client, &report), 0);
	CHECK_INT(report.collisions, 1);
	CHECK(strstr(collision, "perhaps by the same call") != NULL);

	/* Redis may know the claim from somebody who was told that this very call has it. */
	CHECK_TEXT(redis_value(redis, "SET tradekeep:claim:unknown:b 1"), "OK");
	warm_up(client);
	relay_lose_answer(line, "_claim");
	CHECK_INT(claim(client, "unknown", "b", NULL), TK_UNAVAILABLE);
	CHECK(failed_with(client, TK_ERROR_UNKNOWN_OUTCOME, "08007"));
	CHECK_INT(tk_spooled(client), 0);
	CHECK_INT(rows("unknown"), 2);
	restore(client);

	/* Writes that may be repeated are kept; one that may not fails as unknown. */
	trade.trade_id = "v";
	relay_lose_answer(line, "_add_trade");
	CHECK_INT(tk_add_trade(client, &trade, 0, NULL), 0);
	CHECK_INT(tk_spooled(client), 1);
	restore(client);
	CHECK_INT(tk_replay(client, &report), 0);
	CHECK_INT(report.rejected, 0);
	CHECK_INT(tk_add_trade(client, &trade, 0, NULL), 0);
	relay_lose_answer(line, "_add_trade");
	CHECK_INT(tk_add_trade(client, &trade, 1, NULL), -1);
	CHECK(failed_with(client, TK_ERROR_UNKNOWN_OUTCOME, "08007"));
	restore(client);
	CHECK_INT(tk_close_trade(client, "unknown", "u", "3", DAY_START + 1, NULL, NULL, NULL), 0);
	relay_lose_answer(line, "_close_trade");
	CHECK_INT(tk_close_trade(client, "unknown", "v", "3", 0, NULL, NULL, NULL), -1);
	CHECK(failed_with(client, TK_ERROR_UNKNOWN_OUTCOME, "08007"));
	restore(client);
	CHECK_TEXT(admin_value("SELECT count(*) FROM tradekeep.trade WHERE bot = 'unknown'"
						   " AND closed_at IS NOT NULL"), "2");
	CHECK(admin_run("TRUNCATE tradekeep.trade"));
	tk_close(client);
}

/* JSON that PostgreSQL would refuse when it is too late is refused at once, and no other. */
static void
test_json(void)
{
	static const char *const bad[] = {"", "{}}", "{} x", "[01]", "[-]", "[1.]", "[1e]", "[1e99999]",
		"[\"\\u0000\"]", "[\"\t\"]", "[\"\x01\"]", "[\f1]", "\xef\xbb\xbf[1]", "[NaN]", "[\"\\ud800\"]",
	"nul", "\"", "\"\\", "[1,]"};
	static const char *const good[] = {"null", "0", "-0.0", " [1e+9, -10.50E-0, 0]\t\r\n", "{\"a-01.\": 1}",
	"\"\\\\u0000 \\\"01\\u00e9\x7f\"", "[\"\xef\xbb\xbf\"]"};
	tk_client  *client = open_degrading(folder, NULL);
	tk_signal	wanted = {.symbol = "JSON",.direction = "LONG",.entry_price = 1,.tolerance = 0.01,
	.ttl = HOUR};
	tk_replay_report report;

	relay_cut(line);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		wanted.data = bad[i];
		CHECK_INT(tk_claim_signal(client, &wanted, NULL, NULL), TK_REFUSED);
		CHECK(failed_with(client, TK_ERROR_ARGUMENT, "22P02"));
	}
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
	{
		wanted.data = good[i];
		CHECK_INT(tk_claim_signal(client, &wanted, NULL, NULL), TK_CLAIMED);
		wanted.entry_price *= 2;
	}
	relay_restore(line);
	CHECK_INT(tk_replay(client, &report), 0);
	CHECK_INT(report.replayed, sizeof(good) / sizeof(good[0]));
	CHECK_INT(report.rejected, 0);
	tk_close(client);
}

/* Keeps this many candles of one minute each, and a claim behind them. */
static void
fill_spool(tk_client *client, const char *symbol, int count)
{
	for (int i = 0; i < count; i++)
	{
		tk_candle	one = candle;

		one.ts += i * INT64_C(60000);
		if (tk_upsert_candles(client, symbol, "1m", &one, 1, NULL) != 0 || !tk_spooled(client))
			CHECK(!"kept");
	}
	CHECK_INT(claim(client, symbol, "last", NULL), TK_CLAIMED);
}

/* Nothing overtakes the spool, and no call takes much longer for it. */
static void
test_order(void)
{
	tk_client  *client = open_degrading(folder, NULL);
	const char *key = "many";
	int64_t		token;
	tk_verdict	verdict;
	tk_answer	answer;
	int			calls = 0;

	warm_up(client);
	relay_cut(line);
	fill_spool(client, "SP/3", 2000);
	restore(client);
	CHECK_INT(tk_begin(client), -1);
	CHECK(failed_with(client, TK_ERROR_CONNECTION, "57P03"));
	CHECK_INT(tk_claim_many(client, "SP/3", &key, 1, HOUR, &verdict), -1);
	CHECK_INT(verdict, TK_UNAVAILABLE);
	CHECK_INT(claim(client, "SP/3", "new", &answer), TK_CLAIMED);
	CHECK_INT(answer.degraded, 1);
	CHECK_INT(tk_spooled(client), 1);
	CHECK(metrics_of(client).spool_records > 0 && metrics_of(client).replayed > 0);
	CHECK_INT(rows("SP/3"), 0);
	while (tk_release(client, "SP/3", "new", NULL) != 0 && calls < 1000)
		calls++;
	CHECK_INT(metrics_of(client).spool_records, 0);
	CHECK_INT(rows("SP/3"), 1);
	CHECK_TEXT(admin_value("SELECT count(*) FROM tradekeep.candle WHERE symbol = 'SP/3'"), "2000");
	CHECK_INT(tk_begin(client), 0);
	CHECK_INT(tk_replay(client, NULL), -1);
	CHECK_INT(tk_rollback(client), 0);
	CHECK_INT(tk_claim_lease(client, "SP/3", "lease", HOUR, HOUR, &token, NULL), TK_CLAIMED);
	tk_close(client);
}

/* A process that is gone leaves its grants to the next one; one that lives keeps its own. */
static void
test_orphans(void)
{
	tk_client  *first = open_degrading(folder, NULL);
	tk_client  *second;
	tk_answer	answer;

	warm_up(first);
	relay_cut(line);
	CHECK_INT(claim(first, "orphan", "a", NULL), TK_CLAIMED);
	second = open_degrading(folder, NULL);
	CHECK_INT(metrics_of(second).spool_records, 0);
	CHECK_INT(claim(second, "orphan", "b", NULL), TK_CLAIMED);
	tk_close(first);
	first = open_degrading(folder, NULL);
	CHECK_INT(metrics_of(first).spool_records, 1);
	CHECK_INT(claim(first, "orphan", "a", &answer), TK_DUPLICATE);
	CHECK_INT(answer.degraded, 1);
	CHECK_INT(claim(first, "orphan", "c", NULL), TK_CLAIMED);
	CHECK_INT(count_files(".spool"), 3);
	relay_restore(line);
	CHECK_INT(tk_replay(first, NULL), 0);
	CHECK_INT(rows("orphan"), 2);
	CHECK_INT(count_files(".spool"), 1);
	CHECK_INT(tk_replay(second, NULL), 0);
	CHECK_INT(rows("orphan"), 3);
	CHECK_INT(count_files(".spool"), 0);
	tk_close(first);
	tk_close(second);
}

/* Spools of processes that followed each other arrive in that order, whatever their names. */
static void
test_succession(void)
{
	tk_client  *client;
	tk_replay_report report;
	char		id[2][16];

	relay_cut(line);
	for (int i = 0; i < 8; i++)
	{
		tk_trade	trade = {.trade_id = id[i % 2],.symbol = "X",.side = "LONG",.quantity = "1",
		.entry_price = "2",.opened_at = DAY_START};
		int64_t		start = now_ms();

		client = open_degrading(folder, NULL);
		snprintf(id[i % 2], sizeof(id[0]), "t%d", i);
		if (i > 0)
			CHECK_INT(tk_close_trade(client, NULL, id[(i + 1) % 2], "3", DAY_START, NULL, NULL,
									 NULL), 0);
		CHECK_INT(tk_add_trade(client, &trade, 0, NULL), 0);
		tk_close(client);
		while (now_ms() < start + 2)
			;
	}
	relay_restore(line);
	client = open_degrading(folder, NULL);
	CHECK_INT(tk_replay(client, &report), 0);
	CHECK_INT(report.replayed, 15);
	CHECK_INT(report.rejected, 0);
	tk_close(client);
	CHECK(admin_run("TRUNCATE tradekeep.trade"));
}

/* Runs in a child, which ends as if it were killed. */
static void
in_child(void (*run) (void))
{
	pid_t		child;
	int			status;

	fflush(stdout);
	child = fork();
	if (child == 0)
	{
		run();
		raise(SIGKILL);
	}
	waitpid(child, &status, 0);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void
keep_claims(void)
{
	tk_client  *client = open_degrading(folder, NULL);
	char		key[16];

	for (int i = 0; i < 450; i++)
	{
		snprintf(key, sizeof(key), "k%d", i);
		if (claim(client, "crash", key, NULL) != TK_CLAIMED)
			_exit(1);
	}
}

static void
replay_all(void)
{
	tk_client  *client = open_degrading(folder, NULL);

	tk_replay(client, NULL);
}

/* Killed in the middle of a chunk, and between a commit and the end of the file. */
static void
test_crashes(void)
{
	tk_client  *client;
	tk_replay_report report;
	pid_t		child;

	relay_cut(line);
	in_child(keep_claims);
	relay_restore(line);

	/* The third chunk waits for this key. */
	CHECK(admin_run("BEGIN; SELECT tradekeep.claim('crash', 'k420', '1 hour')"));
	fflush(stdout);
	child = fork();
	if (child == 0)
	{
		replay_all();
		_exit(1);
	}
	CHECK(admin_await("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
					  " AND application_name = 'degrading')"));
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	CHECK(admin_run("ROLLBACK"));
	CHECK(admin_await("SELECT NOT EXISTS (SELECT FROM pg_stat_activity"
					  " WHERE application_name = 'degrading')"));
	CHECK_INT(rows("crash"), 400);
	CHECK_TEXT(admin_value("SELECT max(position) FROM tradekeep.replay"), "400");

	/* All is committed, and its process is gone before it knows. */
	relay_lose_answer(line, "COMMIT");
	in_child(replay_all);
	relay_restore(line);
	CHECK_INT(rows("crash"), 450);
	CHECK_TEXT(admin_value("SELECT max(position) FROM tradekeep.replay"), "450");
	CHECK_INT(count_files(".spool"), 1);

	/* The file is removed, and no word of it comes back. */
	client = open_degrading(folder, NULL);
	CHECK_INT(metrics_of(client).spool_records, 450);
	relay_lose_answer(line, "end_replay");
	CHECK_INT(tk_replay(client, &report), 0);
	relay_restore(line);
	CHECK_INT(report.replayed + report.collisions + report.rejected, 0);
	CHECK_INT(rows("crash"), 450);
	CHECK_TEXT(admin_value("SELECT count(DISTINCT data ->> 'degraded') FROM tradekeep.claim"
						   " WHERE scope = 'crash'"), "450");
	CHECK_INT(count_files(".spool"), 0);
	tk_close(client);
	CHECK(admin_run("TRUNCATE tradekeep.replay"));
}

/* A commit whose answer is lost is found out, and counted, by the handle itself. */
static void
test_lost_commit(void)
{
	tk_client  *client = open_degrading(folder, NULL);
	tk_replay_report report;

	relay_cut(line);
	CHECK_INT(claim(client, "lost commit", "a", NULL), TK_CLAIMED);
	CHECK_INT(claim(client, "lost commit", "b", NULL), TK_CLAIMED);
	CHECK(admin_run("SELECT tradekeep.claim('lost commit', 'b', '1 hour')"));
	relay_lose_answer(line, "COMMIT");
	CHECK_INT(tk_replay(client, &report), -1);
	CHECK(failed_with(client, TK_ERROR_UNKNOWN_OUTCOME, "08007"));
	CHECK_INT(report.replayed, 0);
	CHECK_INT(report.remaining, 2);
	relay_restore(line);
	CHECK_INT(tk_replay(client, &report), 0);
	CHECK_INT(report.replayed, 2);
	CHECK_INT(report.collisions, 1);
	CHECK_INT(rows("lost commit"), 2);
	tk_close(client);
}

static void *
claim_meanwhile(void *argument)
{
	tk_client  *client = open_named("meanwhile", 30000);
	int		   *granted = argument;

	for (int i = 449; i >= 0; i--)
	{
		char		key[16];

		snprintf(key, sizeof(key), "k%d", i);
		*granted += claim(client, "race", key, NULL) == TK_CLAIMED;
	}
	tk_close(client);
	return NULL;
}

/* While a spool is replayed, another bot claims the same: each collision is seen. */
static void
test_race(void)
{
	tk_client  *client = open_degrading(folder, NULL);
	tk_replay_report report;
	pthread_t	thread;
	int			granted = 0;

	relay_cut(line);
	for (int i = 0; i < 450; i++)
	{
		char		key[16];

		snprintf(key, sizeof(key), "k%d", i);
		if (claim(client, "race", key, NULL) != TK_CLAIMED)
			CHECK(!"granted");
	}
	relay_restore(line);
	pthread_create(&thread, NULL, claim_meanwhile, &granted);
	while (tk_replay(client, &report) != 0 && tk_error(client) == TK_ERROR_SERVER)
		;						/* a deadlock: they claim from the other end */
	pthread_join(thread, NULL);
	CHECK_INT(report.remaining, 0);
	CHECK_INT(rows("race"), 450);
	CHECK_INT(metrics_of(client).collisions, granted);
	tk_close(client);
}

void
test_degrading(void)
{
	redis_server redis;

	line = relay_start();
	make_folder();
	if (!redis_server_start(&redis, NULL))
		return;
	test_alone();
	test_policies();
	test_redis_decides(&redis);
	test_degraded_signals(&redis);
	test_collision();
	test_writes();
	test_pages();
	test_rejected();
	test_full_spool(&redis);
	test_removed_file();
	test_damaged_line();
	test_standstill();
	test_unknown_outcome(&redis);
	test_json();
	test_order();
	test_orphans();
	test_succession();
	test_crashes();
	test_lost_commit();
	test_race();
	remove_folder();
	redis_server_remove(&redis);
	relay_stop(line);
	CHECK(admin_run("TRUNCATE tradekeep.signal"));
}
