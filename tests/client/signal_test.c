/*
 * signal_test.c
 *		Signals: near ones are duplicates, whichever tier says so; and candles, whose
 *		claims go by a clock.
 */
#include "tiered.h"

#include "internal.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static tk_sent_signal sent;

static const char *
send_signal(tk_client *client, const char *direction, double price, double tolerance)
{
	tk_signal	signal = {.symbol = "BTC/USDT",.direction = direction,.entry_price = price,
		.tolerance = tolerance,.ttl = HOUR,.data = "{\"by\": \"check\"}"};
	tk_answer	answer;
	tk_verdict	verdict = tk_claim_signal(client, &signal, &sent, &answer);

	return describe(verdict, &answer);
}

static void
test_near_signals(void)
{
	tk_client  *client = open_tiered(NULL, HOUR);
	tk_sent_signal original;

	CHECK_TEXT(send_signal(client, "LONG", 1000, 0.001), "claimed by postgres");
	original = sent;
	CHECK(sent.signal_id > 0 && sent.price == 1000 && sent.expires_at - sent.sent_at == HOUR);
	CHECK_TEXT(send_signal(client, "long", 1001, 0.001), "duplicate by memory");
	CHECK(memcmp(&sent, &original, sizeof(sent)) == 0);
	CHECK_TEXT(send_signal(client, "LONG", 999, 0.001), "duplicate by memory");

	/* The limits, as the server reckons them: to the last bit. */
	CHECK_TEXT(send_signal(client, "LONG", nextafter(1001, 2000), 0.001), "claimed by postgres");
	CHECK_TEXT(send_signal(client, "LONG", nextafter(999, 0), 0.001), "claimed by postgres");
	CHECK_TEXT(send_signal(client, "LONG", 1100, -1), "claimed by postgres");
	CHECK_TEXT(send_signal(client, "LONG", 1100, -1), "duplicate by memory");
	CHECK_TEXT(send_signal(client, "LONG", 1100.0001, -1), "claimed by postgres");
	CHECK_TEXT(send_signal(client, "Short", 1000, 0.001), "claimed by postgres");
	CHECK_TEXT(admin_value("SELECT data ->> 'by' FROM tradekeep.live_signals LIMIT 1"), "check");

	/* Of many near ones PostgreSQL names the nearest. */
	CHECK_TEXT(send_signal(client, "LONG", 1000.4, 0.001), "duplicate by postgres");
	CHECK_INT(sent.signal_id, original.signal_id);

	/* Nothing of it in a transaction that may be rolled back. */
	CHECK_INT(tk_begin(client), 0);
	CHECK_TEXT(send_signal(client, "LONG", 2000, 0.001), "claimed by postgres");
	CHECK_INT(tk_rollback(client), 0);
	CHECK_TEXT(send_signal(client, "LONG", 2000, 0.001), "claimed by postgres");
	CHECK_TEXT(send_signal(client, "LONG", 2000, 0.001), "duplicate by memory");

	/* Until all are cleared. */
	CHECK(admin_run("SELECT tradekeep.clear_signals()"));
	for (int64_t limit = now_ms() + 20000;
		 strcmp(send_signal(client, "LONG", 2000, 0.001), "claimed by postgres") != 0;)
	{
		if (!CHECK(now_ms() < limit))
			break;
	}
	tk_close(client);
}

static void
test_shared_signals(redis_server *redis)
{
	static const char *const forged[] = {"tk1:0:0:99999999999999:1:1", "1", "tk1:",
		"tkd:8c5f8d1a-0000-4000-8000-000000000000:1:99999999999999:0:0",
	"tk1:0000000000000000:0:99999999999999:1", NULL};
	tk_client  *client = open_tiered(redis, HOUR);
	tk_client  *other = open_tiered(redis, HOUR);

	/* Both know how things stand, so that Redis is trusted. */
	CHECK_TEXT(send_signal(client, "LONG", 3000, 0.001), "claimed by postgres");
	CHECK_TEXT(send_signal(other, "SHORT", 3000, 0.001), "claimed by postgres");
	CHECK_TEXT(send_signal(other, "LONG", 3001, 0.001), "duplicate by redis");
	CHECK(sent.price == 3000 && sent.signal_id > 0 && sent.expires_at - sent.sent_at == HOUR);
	CHECK_TEXT(send_signal(other, "LONG", 3001, 0.001), "duplicate by memory");
	CHECK_TEXT(send_signal(other, "LONG", nextafter(3003, 4000), 0.001), "claimed by postgres");
	CHECK_TEXT(send_signal(client, "LONG", 0.1 + 0.2, 0), "claimed by postgres");
	CHECK_TEXT(send_signal(other, "LONG", 0.1 + 0.2, -1), "duplicate by redis");
	CHECK(sent.price == 0.1 + 0.2);
	CHECK_TEXT(redis_value(redis, "ZCARD tradekeep:signal:BTC/USDT:LONG"), "3");

	/* What was cleared and what was forged is passed over. */
	CHECK(admin_run("SELECT tradekeep.clear_signals()"));
	for (int i = 0; forged[i] != NULL; i++)
		redis_value(redis, "ZADD tradekeep:signal:BTC/USDT:LONG 3000 %s", forged[i]);
	tk_close(other);
	other = open_tiered(redis, HOUR);
	CHECK_TEXT(send_signal(other, "LONG", 3000, 0.001), "claimed by postgres");
	tk_close(client);
	client = open_tiered(redis, HOUR);
	CHECK_TEXT(send_signal(client, "LONG", 3000, 0.001), "duplicate by redis");
	tk_close(client);
	tk_close(other);
}

/* Refused before anything is sent, and never answered from memory. */
static void
test_bad_signals(void)
{
	tk_client  *client = open_tiered(NULL, HOUR);
	static const struct
	{
		tk_signal	signal;
		const char *sqlstate;
	}			bad[] =
	{
		{{NULL, "LONG", 1, 0, 0, NULL}, "TK002"},
		{{"", "LONG", 1, 0, 0, NULL}, "TK002"},
		{{"\xff", "LONG", 1, 0, 0, NULL}, "22021"},
		{{"X", NULL, 1, 0, 0, NULL}, "TK007"},
		{{"X", "LONGER", 1, 0, 0, NULL}, "TK007"},
		{{"X", "LONG", 0, 0, 0, NULL}, "TK007"},
		{{"X", "LONG", -1, 0, 0, NULL}, "TK007"},
		{{"X", "LONG", NAN, 0, 0, NULL}, "TK007"},
		{{"X", "LONG", INFINITY, 0, 0, NULL}, "TK007"},
		{{"X", "LONG", 1, 1, 0, NULL}, "TK007"},
		{{"X", "LONG", 1, NAN, 0, NULL}, "TK007"},
		{{"X", "LONG", 1, INFINITY, 0, NULL}, "TK007"},
		{{"X", "LONG", 1, 0, -1, NULL}, "TK003"},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		tk_answer	answer = {TK_TIER_POSTGRES, 1, 1};

		CHECK_INT(tk_claim_signal(client, &bad[i].signal, &sent, &answer), TK_REFUSED);
		CHECK(failed_with(client, TK_ERROR_ARGUMENT, bad[i].sqlstate));
		CHECK(answer.tier == TK_TIER_NONE && answer.latency == 0 && answer.degraded == 0);
	}
	CHECK_INT(tk_claim_signal(client, &(tk_signal) {"X", "LONG", 1, 0, 0, "{"}, NULL, NULL),
			  TK_REFUSED);
	CHECK(failed_with(client, TK_ERROR_SERVER, "22P02"));
	CHECK_INT(tk_claim_signal(NULL, &bad[0].signal, NULL, NULL), TK_REFUSED);
	tk_close(client);
}

/* Candles by the bot's clock, and by the server's. */
static void
test_candles_in_memory(void)
{
	tk_client  *client = open_tiered(NULL, HOUR);
	tk_client  *other = open_tiered(NULL, HOUR);
	int64_t		start = tki_candle_start(900, atoll(admin_value("SELECT (extract(epoch FROM now())"
														" * 1000)::int8")));
	tk_answer	answer;
	int			claimed = 0;
	int			wrong = 0;

#define PROCESS(handle, instrument, timeframe, at, drift) \
	describe(tk_should_process_candle(handle, instrument, timeframe, at, drift, HOUR, &answer), \
			 &answer)
	CHECK_TEXT(PROCESS(client, "MEM", "15m", start + 1000, -1), "claimed by postgres");
	CHECK_TEXT(PROCESS(client, "MEM", "15m", start + 2000, -1), "duplicate by memory");
	CHECK_TEXT(PROCESS(client, "MEM", "15m", start + 60000, -1), "duplicate by memory");

	/* Over: the server says so, and nothing is claimed. */
	CHECK_TEXT(PROCESS(client, "MEM", "15m", start + 60001, -1), "duplicate by postgres");

	/* What a replay claims in the past has long expired by the clock that counts. */
	CHECK_TEXT(PROCESS(client, "PAST", "15m", INT64_C(1700000100000), -1), "claimed by postgres");
	CHECK_TEXT(PROCESS(client, "PAST", "15m", INT64_C(1700000100000), -1),
			   "duplicate by postgres");
	CHECK_TEXT(PROCESS(client, "MEM", "15m", start + 900000, -1), "claimed by postgres");
	CHECK_TEXT(PROCESS(client, "MEM", "1m", start + 900000, -1), "claimed by postgres");
	CHECK_INT(tk_should_process_candle(client, "MEM", "7m", start, -1, 0, NULL), TK_REFUSED);
	CHECK(failed_with(client, TK_ERROR_SERVER, "22P02"));

	/* A month lasts: the second call is as good as the first, but for its tier. */
	CHECK_TEXT(PROCESS(client, "MONTH", "1M", 0, INT64_C(32) * 24 * HOUR), "claimed by postgres");
	CHECK_TEXT(PROCESS(client, "MONTH", "1M", 0, INT64_C(32) * 24 * HOUR), "duplicate by memory");

	/* Candles of a second: each that was granted is one of the server's, and each is granted once. */
	for (int64_t limit = now_ms() + 2500; now_ms() < limit;)
	{
		tk_client  *handles[] = {client, other};

		for (int i = 0; i < 2; i++)
		{
			tk_verdict	verdict = tk_should_process_candle(handles[i], "SECOND", "1s", 0, 1000,
														   HOUR, NULL);

			claimed += verdict == TK_CLAIMED;
			wrong += verdict != TK_CLAIMED && verdict != TK_DUPLICATE;
		}
	}
	CHECK_INT(wrong, 0);
	CHECK(claimed >= 2);
	CHECK_INT(claimed, atoi(admin_value("SELECT count(*) FROM tradekeep.claim"
										" WHERE key LIKE 'SECOND:%%'")));

	CHECK_INT(tk_claim_publish(client, "MEM", start, 0, &answer), TK_CLAIMED);
	CHECK_INT(tk_claim_publish(client, "MEM", start, 0, &answer), TK_DUPLICATE);
	CHECK_INT(answer.tier, TK_TIER_MEMORY);
	CHECK_INT(tk_claim_publish(client, "MEM", start + 1, 0, NULL), TK_REFUSED);
	CHECK(failed_with(client, TK_ERROR_SERVER, "TK004"));
	tk_close(client);
	tk_close(other);
}

static int64_t
real_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/*
 * After a slow exchange the server's clock is known badly, and a call just before the end of a
 * candle names the next one.  That one must not pass for claimed.
 */
static void
test_vague_clock(void)
{
	tk_client  *client = open_tiered(NULL, HOUR);
	pid_t		server = server_process(client);
	tk_verdict	verdict;
	int64_t		next;
	pid_t		child;

	CHECK_TEXT(claim(client, "vague", "a"), "claimed by postgres");
	CHECK_TEXT(claim(client, "vague", "a"), "duplicate by memory");
	while (real_ms() % 1000 < 300 || real_ms() % 1000 > 320)
		;
	next = real_ms() / 1000 * 1000 + 1000;
	fflush(stdout);
	kill(server, SIGSTOP);
	child = fork();
	if (child == 0)
	{
		while (real_ms() < next - 300)
			;
		kill(server, SIGCONT);
		_exit(0);
	}
	CHECK_TEXT(claim(client, "vague", "b"), "claimed by postgres");
	tk_should_process_candle(client, "VAGUE", "1s", 0, 60000, HOUR, NULL);
	waitpid(child, NULL, 0);
	while (real_ms() < next + 10)
		;
	do
		verdict = tk_should_process_candle(client, "VAGUE", "1s", 0, 60000, HOUR, NULL);
	while (verdict != TK_CLAIMED && real_ms() < next + 700);
	CHECK_INT(verdict, TK_CLAIMED);
	tk_close(client);
}

/* What a call leaves open, the options say. */
static void
test_option_ttls(void)
{
	tk_options	options;
	tk_client  *client;
	int64_t		start = INT64_C(1700000100000);

	tk_options_init(&options);
	options.candle_drift = 5000;
	options.candle_ttl = 7000;
	options.publish_ttl = 8000;
	options.signal_ttl = 9000;
	client = tk_open(&options);
	CHECK_INT(tk_should_process_candle(client, "OPTION", "15m", start + 5001, -1, 0, NULL),
			  TK_DUPLICATE);
	CHECK_INT(tk_should_process_candle(client, "OPTION", "15m", start + 5000, -1, 0, NULL),
			  TK_CLAIMED);
	CHECK_TEXT(admin_value("SELECT expires_at - '2023-11-14 22:15:00Z' FROM tradekeep.claim"
						   " WHERE scope = 'candle' AND key LIKE 'OPTION:%%'"), "00:00:12");
	CHECK_INT(tk_claim_publish(client, "OPTION", start, 0, NULL), TK_CLAIMED);
	CHECK_TEXT(admin_value("SELECT expires_at - claimed_at FROM tradekeep.claim"
						   " WHERE scope = 'publish' AND key LIKE 'OPTION:%%'"), "00:00:08");
	CHECK_INT(tk_claim_signal(client, &(tk_signal) {"OPTION", "LONG", 1, 0, 0, NULL}, &sent, NULL),
			  TK_CLAIMED);
	CHECK_INT(sent.expires_at - sent.sent_at, 9000);
	tk_close(client);
}

void
test_signals(void)
{
	redis_server redis = {0};

	CHECK(admin_run("SELECT tradekeep.clear_signals()"));
	test_near_signals();
	test_bad_signals();
	test_candles_in_memory();
	test_vague_clock();
	test_option_ttls();
	CHECK(admin_run("SELECT tradekeep.clear_signals()"));
	if (!redis_server_start(&redis, NULL))
		return;
	test_shared_signals(&redis);
	redis_server_remove(&redis);
}
