/*
 * degrade_test.c
 *		The bot outlives its database: what is granted and kept without it.
 */
#include "degrading.h"

#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* Alone: memory grants, and only once; what it granted arrives. */
static void
test_alone(void)
{
	tk_client  *client = open_degrading(folder, NULL);
	tk_replay_report report;
	tk_answer	answer;
	int			claimed;

	warm_up(client);
	CHECK_INT(claim_hour(client, "alone", "before", NULL), TK_CLAIMED);
	relay_cut(line);
	CHECK_INT(claim_hour(client, "alone", "a", &answer), TK_CLAIMED);
	CHECK_INT(answer.tier, TK_TIER_MEMORY);
	CHECK_INT(answer.degraded, 1);
	CHECK_INT(tk_spooled(client), 1);
	CHECK_INT(tk_error(client), TK_OK);
	CHECK_INT(claim_hour(client, "alone", "a", &answer), TK_DUPLICATE);
	CHECK_INT(answer.tier, TK_TIER_MEMORY);
	CHECK_INT(answer.degraded, 1);
	CHECK_INT(tk_spooled(client), 0);
	CHECK_INT(claim_hour(client, "alone", "before", &answer), TK_DUPLICATE);
	CHECK_INT(answer.degraded, 1);
	CHECK_INT(claim_hour(client, "alone", "b", NULL), TK_CLAIMED);
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
	CHECK_INT(claim_rows("alone"), 1);

	/* The next call finds it back. */
	restore(client);
	CHECK_INT(claim_hour(client, "alone", "a", &answer), TK_DUPLICATE);
	CHECK_INT(answer.tier, TK_TIER_POSTGRES);
	CHECK_INT(answer.degraded, 0);
	CHECK_INT(claim_rows("alone"), 3);
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
	CHECK_INT(claim_hour(client, "policy", "inside", NULL), TK_CLAIMED);
	relay_cut(line);
	CHECK_INT(claim_hour(client, "policy", "inside too", NULL), TK_UNAVAILABLE);
	CHECK_INT(claim_hour(client, "policy", "inside again", NULL), TK_UNAVAILABLE);
	CHECK_INT(tk_upsert_candles(client, "SP/0", "1m", &outage_candle, 1, NULL), -1);
	CHECK_INT(tk_error(client), TK_ERROR_CONNECTION);
	CHECK_INT(tk_rollback(client), 0);
	CHECK_INT(claim_hour(client, "careful", "a", &answer), TK_UNAVAILABLE);
	CHECK(failed_with(client, TK_ERROR_CONNECTION, "08001") ||
		  failed_with(client, TK_ERROR_CONNECTION, "08006"));
	CHECK_INT(answer.tier, TK_TIER_NONE);
	CHECK_INT(tk_claim(client, "no ttl", "a", 0, NULL), TK_UNAVAILABLE);
	CHECK(strstr(tk_message(client), "ttl") != NULL);
	CHECK_INT(tk_set_outage_policy(client, "careful", TK_DEGRADE), 0);
	CHECK_INT(claim_hour(client, "careful", "a", NULL), TK_CLAIMED);
	CHECK_INT(tk_set_outage_policy(client, "careful", TK_REFUSE), 0);

	/* Who refuses is not held up by the spool of others. */
	restore(client);
	CHECK(admin_run("BEGIN; LOCK TABLE tradekeep.replay"));
	CHECK_INT(claim_hour(client, "careful", "b", &answer), TK_CLAIMED);
	CHECK_INT(answer.tier, TK_TIER_POSTGRES);
	CHECK(admin_run("ROLLBACK"));
	CHECK_INT(tk_replay(client, NULL), 0);
	CHECK_INT(claim_rows("careful"), 2);
	tk_close(client);

	/* No password or no such user is no outage, and neither is a server that refuses. */
	tk_options_init(&options);
	options.database_url = "user=nobody_of_this_name";
	options.outage = TK_DEGRADE;
	options.spool_directory = folder;
	client = tk_open(&options);
	CHECK_INT(claim_hour(client, "policy", "auth", NULL), TK_UNAVAILABLE);
	CHECK_INT(tk_error(client), TK_ERROR_AUTHENTICATION);
	CHECK_INT(tk_upsert_candles(client, "SP/0", "1m", &outage_candle, 1, NULL), -1);
	CHECK_INT(tk_error(client), TK_ERROR_AUTHENTICATION);
	CHECK_INT(tk_spooled(client), 0);
	tk_close(client);
	client = open_degrading(folder, NULL);
	CHECK(admin_run("ALTER TABLE tradekeep.claim RENAME TO hidden_claim"));
	CHECK(claim_hour(client, "policy", "hidden", NULL) != TK_CLAIMED);
	CHECK_INT(tk_error(client), TK_ERROR_SERVER);
	CHECK(admin_run("ALTER TABLE tradekeep.hidden_claim RENAME TO claim"));
	CHECK_INT(tk_upsert_candles(client, "SP/0", "7m", &outage_candle, 1, NULL), -1);
	CHECK(failed_with(client, TK_ERROR_SERVER, "22P02"));
	tk_close(client);

	/* A spool that cannot be, and one that nobody named. */
	client = open_degrading("/nonexistent/folder", NULL);
	CHECK_INT(claim_hour(client, "policy", "x", NULL), TK_REFUSED);
	CHECK(strstr(tk_message(client), "/nonexistent/folder") != NULL);
	tk_close(client);
	client = open_degrading("/dev/null", NULL);
	CHECK_INT(claim_hour(client, "policy", "x", NULL), TK_REFUSED);
	tk_close(client);
	client = open_degrading(NULL, NULL);
	CHECK_INT(claim_hour(client, "policy", "x", NULL), TK_REFUSED);
	tk_close(client);
	client = open_named("refusing", 10000);
	CHECK_INT(tk_set_outage_policy(client, "x", TK_DEGRADE), -1);
	CHECK_INT(tk_replay(client, NULL), 0);
	tk_close(client);
	CHECK_INT(count_files(".spool"), 0);
	CHECK_INT(claim_rows("policy"), 0);
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
		first = claim_hour(i % 2 == 0 ? one : two, "arbiter", key, &answer);
		CHECK_INT(answer.tier, TK_TIER_REDIS);
		second = claim_hour(i % 2 == 0 ? two : one, "arbiter", key, &answer);
		CHECK_INT(answer.tier, TK_TIER_REDIS);
		CHECK_INT(answer.degraded, 1);
		granted += first == TK_CLAIMED && second == TK_DUPLICATE;
	}
	CHECK_INT(granted, 20);
	CHECK_INT(claim_hour(one, "arbiter", "foreign", &answer), TK_DUPLICATE);
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
	CHECK_INT(claim_hour(two, "arbiter", "k0", &answer), TK_DUPLICATE);
	CHECK_INT(answer.tier, TK_TIER_REDIS);
	CHECK_INT(answer.degraded, 1);
	CHECK_INT(tk_set_outage_policy(two, "arbiter", TK_REFUSE), 0);
	CHECK_INT(claim_hour(two, "arbiter", "k2", &answer), TK_CLAIMED);
	CHECK_INT(tk_replay(one, NULL), 0);
	CHECK_INT(metrics_of(one).collisions, 1);
	CHECK_INT(metrics_of(two).collisions, 0);
	CHECK_INT(claim_rows("arbiter"), 20);
	CHECK_TEXT(redis_value(redis, "GET tradekeep:claim:arbiter:k4"), "nil");
	CHECK_TEXT(redis_value(redis, "GET tradekeep:claim:arbiter:foreign"), "1");
	CHECK_INT(claim_hour(one, "arbiter", "k4", &answer), TK_DUPLICATE);
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
	CHECK_INT(claim_hour(one, "collide", "x", NULL), TK_CLAIMED);
	CHECK_INT(claim_hour(two, "collide", "x", NULL), TK_CLAIMED);
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
	CHECK_INT(claim_rows("collide"), 2);
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
	tk_candle	partial = outage_candle;
	tk_candle	two[] = {outage_candle, outage_candle};
	tk_upsert_counts counts;
	int			changed;

	relay_cut(line);
	partial.closed = 0;
	partial.volume = 5;
	memset(&counts, -1, sizeof(counts));
	CHECK_INT(tk_upsert_candles(client, "SP/1", "1m", &partial, 1, &counts), 0);
	CHECK_INT(tk_spooled(client), 1);
	CHECK_INT(counts.inserted + counts.updated + counts.unchanged + counts.ignored, 0);
	CHECK_INT(tk_upsert_candles(client, "SP/1", "1m", &outage_candle, 1, NULL), 0);
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
	CHECK_INT(claim_hour(client, "full", "a", &answer), TK_UNAVAILABLE);
	CHECK(failed_with(client, TK_ERROR_CONNECTION, "53100"));
	CHECK_INT(answer.tier, TK_TIER_NONE);
	CHECK_INT(metrics_of(client).spool_failures, 1);
	CHECK_TEXT(redis_value(redis, "GET tradekeep:claim:full:a"), "nil");
	CHECK_INT(claim_signal(client, 700, NULL, NULL), TK_UNAVAILABLE);
	CHECK_TEXT(redis_value(redis, "ZCARD tradekeep:signal:ARB/USDT:LONG"), "0");
	CHECK_INT(claim_hour(client, "full", "a", NULL), TK_UNAVAILABLE);
	CHECK_INT(claim_hour(other, "full", "a", NULL), TK_CLAIMED);
	CHECK_INT(claim_hour(client, "full", "a", NULL), TK_DUPLICATE);
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
	CHECK_INT(claim_hour(client, "removed", "a", NULL), TK_CLAIMED);
	snprintf(command, sizeof(command), "rm %s/*.spool", folder);
	CHECK_INT(system(command), 0);
	restore(client);
	CHECK_INT(tk_replay(client, NULL), 0);
	CHECK_INT(claim_rows("removed"), 1);
	relay_cut(line);
	CHECK_INT(claim_hour(client, "removed", "b", NULL), TK_CLAIMED);
	CHECK_INT(count_files(".spool"), 1);

	/* What was granted in the outage before is not forgotten in this one. */
	CHECK_INT(claim_hour(client, "removed", "a", NULL), TK_DUPLICATE);
	restore(client);
	CHECK_INT(tk_replay(client, NULL), 0);
	tk_close(client);
}

/* A server that comes back decides anew; what this process knew counts when it is away again. */
static void
test_new_epoch(void)
{
	tk_client  *client = open_degrading(folder, NULL);
	tki_stamp	stamp;

	CHECK_INT(claim_hour(client, "epoch", "a", NULL), TK_CLAIMED);
	stamp = tki_known_stamp(client, "epoch");
	stamp.epoch++;
	tki_known_learn(client, "epoch", stamp, (int64_t) time(NULL) * 1000, tki_now_ms(), tki_now_ms());
	relay_cut(line);
	CHECK_INT(claim_hour(client, "epoch", "a", NULL), TK_DUPLICATE);
	CHECK_INT(tk_spooled(client), 0);
	restore(client);
	CHECK(admin_run("DELETE FROM tradekeep.claim WHERE scope = 'epoch'"));
	CHECK_INT(claim_hour(client, "epoch", "a", NULL), TK_CLAIMED);
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
	CHECK_INT(claim_hour(client, "still", "a", NULL), TK_CLAIMED);
	CHECK_INT(tk_spooled(client), 1);
	CHECK_INT(claim_hour(client, "still", "a", NULL), TK_DUPLICATE);
	restore(client);
	CHECK_INT(tk_replay(client, &report), 0);
	CHECK_INT(claim_rows("still"), 1);
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
	CHECK_INT(claim_hour(client, "unknown", "a", NULL), TK_CLAIMED);
	CHECK_INT(tk_spooled(client), 1);
	CHECK_INT(claim_rows("unknown"), 1);
	CHECK_INT(claim_hour(client, "unknown", "a", NULL), TK_DUPLICATE);
	restore(client);
	collision[0] = '\0';
	CHECK_INT(tk_replay(client, &report), 0);
	CHECK_INT(report.collisions, 1);
	CHECK(strstr(collision, "perhaps by the same call") != NULL);

	/* Redis may know the claim from somebody who was told that this very call has it. */
	CHECK_TEXT(redis_value(redis, "SET tradekeep:claim:unknown:b 1"), "OK");
	warm_up(client);
	relay_lose_answer(line, "_claim");
	CHECK_INT(claim_hour(client, "unknown", "b", NULL), TK_UNAVAILABLE);
	CHECK(failed_with(client, TK_ERROR_UNKNOWN_OUTCOME, "08007"));
	CHECK_INT(tk_spooled(client), 0);
	CHECK_INT(claim_rows("unknown"), 2);
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
	test_full_spool(&redis);
	test_removed_file();
	test_new_epoch();
	test_standstill();
	test_unknown_outcome(&redis);
	test_json();
	remove_folder();
	redis_server_remove(&redis);
	relay_stop(line);
	CHECK(admin_run("TRUNCATE tradekeep.signal"));
}
