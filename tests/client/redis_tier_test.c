/*
 * redis_tier_test.c
 *		What processes tell each other through Redis, and what becomes of it when Redis
 *		forgets, remembers too much, or was told lies.
 */
#include "tiered.h"

#include "internal.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define PATIENCE 20000

/* A claim of another's reaches a handle first through Redis, then by its own memory. */
static void
test_sharing(redis_server *redis)
{
	tk_client  *client = open_tiered(redis, HOUR);
	tk_client  *other = open_tiered(redis, HOUR);
	char		mark[128];

	CHECK_TEXT(claim(client, "shared", "a"), "claimed by postgres");
	CHECK_TEXT(claim(other, "shared", "a"), "duplicate by redis");
	CHECK_TEXT(claim(other, "shared", "a"), "duplicate by memory");
	CHECK(atoi(redis_value(redis, "PTTL tradekeep:claim:shared:a")) > HOUR - 60000);
	CHECK(atoi(redis_value(redis, "PTTL tradekeep:claim:shared:a")) <= HOUR);

	/* In a transaction Redis is neither asked nor told. */
	CHECK_INT(tk_begin(client), 0);
	CHECK_TEXT(claim(client, "shared", "b"), "claimed by postgres");
	CHECK_TEXT(claim(client, "shared", "a"), "duplicate by postgres");
	CHECK_INT(tk_commit(client), 0);
	CHECK_TEXT(redis_value(redis, "EXISTS tradekeep:claim:shared:b"), "0");

	/* What is released is forgotten everywhere: by who does it, and by who hears of it. */
	CHECK_INT(tk_release(client, "shared", "a", NULL), 0);
	CHECK_TEXT(redis_value(redis, "EXISTS tradekeep:claim:shared:a"), "0");
	CHECK(await_claim(other, "shared", "a"));
	CHECK(admin_run("SELECT tradekeep.release('shared', 'a')"));
	CHECK(await_claim(client, "shared", "a"));

	/* Also where another handle, not knowing better yet, tells Redis again. */
	make_deaf(client);
	CHECK_TEXT(claim(client, "shared", "a"), "duplicate by memory");
	snprintf(mark, sizeof(mark), "%s", redis_value(redis, "GET tradekeep:claim:shared:a"));
	CHECK_INT(tk_release(client, "shared", "a", NULL), 0);
	redis_value(redis, "SET tradekeep:claim:shared:a %s", mark);
	CHECK_TEXT(claim(client, "shared", "a"), "claimed by postgres");

	/* The names that bots gave such keys before. */
	CHECK_INT(tk_claim_publish(client, "GOLD", INT64_C(1700000100000), 0, NULL), TK_CLAIMED);
	CHECK_TEXT(redis_value(redis, "EXISTS signal:publish:GOLD:2023-11-14T22:15:00"), "1");
	CHECK_TEXT(claim(client, "candle", "GOLD:1m:2023-11-14T22:15:00"), "claimed by postgres");
	CHECK_TEXT(redis_value(redis, "EXISTS candle:GOLD:1m:2023-11-14T22:15:00"), "1");

	/* Two claims that would be one, were their names just put together. */
	CHECK_TEXT(claim(client, "c:d", "e"), "claimed by postgres");
	CHECK_TEXT(claim(other, "c", "x"), "claimed by postgres");
	CHECK_TEXT(claim(other, "c", "d:e"), "claimed by postgres");
	tk_close(client);
	tk_close(other);
}

/* Nobody was there to hear: what Redis holds is worth nothing. */
static void
test_release_unheard(redis_server *redis)
{
	tk_client  *client = open_tiered(redis, HOUR);
	char		key[16];

	for (int i = 0; i < 20; i++)
	{
		snprintf(key, sizeof(key), "%d", i);
		CHECK_TEXT(claim(client, "unheard", key), "claimed by postgres");
	}
	tk_close(client);
	CHECK(admin_run("SELECT tradekeep.release('unheard', '7')"));
	CHECK_TEXT(redis_value(redis, "EXISTS tradekeep:claim:unheard:7"), "1");
	client = open_tiered(redis, HOUR);
	CHECK_TEXT(claim(client, "unheard", "7"), "claimed by postgres");

	/* The others are asked of PostgreSQL once more, and are good again. */
	CHECK_TEXT(claim(client, "unheard", "8"), "duplicate by postgres");
	tk_close(client);
	client = open_tiered(redis, HOUR);
	CHECK_TEXT(claim(client, "unheard", "8"), "duplicate by redis");
	tk_close(client);
}

/* Until the socket has something, and is looked into by the next call. */
static bool
await_notification(const tk_client *client)
{
	bool		there = tki_poll(PQsocket(client->connection), POLLIN, tki_now_ms() + PATIENCE) > 0;

	while (tki_now_ms() <= client->last_use + 1)
		poll(NULL, 0, 1);
	return there;
}

/*
 * A notification of a release may be read long after it was sent.  What was claimed since must
 * not be taken out of Redis, where it counts in an outage.
 */
static void
test_late_notification(redis_server *redis)
{
	tk_client  *client = open_tiered(redis, HOUR);
	tk_client  *idle = open_tiered(redis, HOUR);
	tki_stamp	stamp;
	int64_t		low,
				high;

	CHECK_TEXT(claim(idle, "late", "a"), "claimed by postgres");
	CHECK_TEXT(claim(idle, "late", "a"), "duplicate by memory");
	CHECK(admin_run("SELECT tradekeep.release('late', 'a')"));
	CHECK(await_claim(client, "late", "a"));
	CHECK_TEXT(redis_value(redis, "EXISTS tradekeep:claim:late:a"), "1");

	/*
	 * The worst that can happen: an answer with the new version is read together with the
	 * notification, and before it.
	 */
	CHECK(await_notification(idle));
	stamp = tki_known_stamp(idle, "late");
	stamp.version++;
	CHECK(tki_known_clock(idle, tki_now_ms(), &low, &high));
	tki_known_learn(idle, "late", stamp, high, tki_now_ms(), tki_now_ms());
	CHECK_TEXT(claim(idle, "late", "b"), "claimed by postgres");
	CHECK_TEXT(claim(idle, "late", "a"), "duplicate by redis");
	CHECK_TEXT(redis_value(redis, "EXISTS tradekeep:claim:late:a"), "1");
	tk_close(client);
	tk_close(idle);
}

static void
test_lost_redis(redis_server *redis)
{
	tk_client  *client = open_tiered(redis, HOUR);
	tk_client  *other;

	CHECK_TEXT(claim(client, "lost", "kept"), "claimed by postgres");
	CHECK_TEXT(claim(client, "lost", "released"), "claimed by postgres");
	redis_value(redis, "FLUSHALL");
	other = open_tiered(redis, HOUR);
	CHECK_TEXT(claim(other, "lost", "kept"), "duplicate by postgres");
	tk_close(other);

	/* From an old dump, with what was released since. */
	CHECK_TEXT(claim(client, "lost", "b"), "claimed by postgres");
	redis_value(redis, "SAVE");
	CHECK_INT(tk_release(client, "lost", "b", NULL), 0);
	CHECK(redis_server_restart(redis, false));
	CHECK_TEXT(redis_value(redis, "EXISTS tradekeep:claim:lost:b"), "1");
	other = open_tiered(redis, HOUR);
	CHECK_TEXT(claim(other, "lost", "b"), "claimed by postgres");
	CHECK_TEXT(claim(client, "lost", "kept"), "duplicate by postgres");
	tk_close(other);

	/* It is away: nobody waits, and nothing is wrong. */
	redis_server_kill(redis);
	CHECK_TEXT(claim(client, "lost", "c"), "claimed by postgres");
	CHECK_TEXT(claim(client, "lost", "c"), "duplicate by memory");
	CHECK_INT(tk_release(client, "lost", "c", NULL), 0);
	CHECK_TEXT(claim(client, "lost", "c"), "claimed by postgres");
	tk_close(client);
	CHECK(redis_server_restart(redis, true));
}

/* Whatever Redis has under the name of a claim: only what was confirmed counts. */
static void
test_forgeries(redis_server *redis)
{
	tk_client  *client = open_tiered(redis, HOUR);
	char		real[128],
				forged[20][128];
	unsigned long long epoch;
	long long	version,
				expires;
	char	   *flood = malloc(65537);
	int			count = 0;

	CHECK_TEXT(claim(client, "forged", "real"), "claimed by postgres");
	CHECK_TEXT(claim(client, "forged", "real"), "duplicate by memory");
	snprintf(real, sizeof(real), "%s", redis_value(redis, "GET tradekeep:claim:forged:real"));
	CHECK_INT(sscanf(real, "tk1:%16llx:%lld:%lld", &epoch, &version, &expires), 3);
#define FORGE(...) snprintf(forged[count++], sizeof(forged[0]), __VA_ARGS__)
	FORGE("tk1:%016llx:%lld:%lld", epoch ^ 1, version, expires);
	FORGE("tk1:%016llx:%lld:%lld", epoch, version + 1, expires);
	FORGE("tk1:%016llx:%lld:%lld", epoch, version - 1, expires);
	FORGE("tk1:%016llx:%lld:%lld", epoch, version, expires - 2 * HOUR);
	FORGE("tk1:%016llx:%lld:-%lld", epoch, version, expires);
	FORGE("tk1:%016llx:%lld:%lld:1:1", epoch, version, expires);
	FORGE("tk1:%016llx:%lld:%lldx", epoch, version, expires);
	FORGE("tk1:%016llx:%lld:99999999999999999999999", epoch, version);
	FORGE("tk1:%016llx:%lld:", epoch, version);
	FORGE("tk1:%016llx::%lld", epoch, expires);
	FORGE("tk1:%016llxf:%lld:%lld", epoch, version, expires);
	FORGE("tk2:%016llx:%lld:%lld", epoch, version, expires);
	FORGE("tkd:8c5f8d1a-0000-4000-8000-000000000000:1:%lld", expires);
	FORGE("%lld", expires);
	FORGE("tk1:::");
	FORGE("tk1:");
	FORGE("1");
	for (int i = 0; i < count; i++)
	{
		char		key[16];

		snprintf(key, sizeof(key), "%d", i);
		redis_value(redis, "SET tradekeep:claim:forged:%s %s", key, forged[i]);
		CHECK_TEXT(claim(client, "forged", key), "claimed by postgres");
	}
	memset(flood, '1', 65536);
	flood[65536] = '\0';
	redis_value(redis, "SET tradekeep:claim:forged:flood tk1:%s", flood);
	CHECK_TEXT(claim(client, "forged", "flood"), "claimed by postgres");
	redis_value(redis, "SET tradekeep:claim:forged:null %b", "tk1:\0", (size_t) 5);
	CHECK_TEXT(claim(client, "forged", "null"), "claimed by postgres");
	redis_value(redis, "RPUSH tradekeep:claim:forged:list %s", real);
	CHECK_TEXT(claim(client, "forged", "list"), "claimed by postgres");

	/* The proof that a right one counts. */
	redis_value(redis, "SET tradekeep:claim:forged:copy %s", real);
	CHECK_TEXT(claim(client, "forged", "copy"), "duplicate by redis");
	free(flood);
	tk_close(client);
}

/*
 * So many releases at once that Redis would be told of them for longer than a call may take.  The
 * server has more of them than a socket holds.
 */
static void
test_flood(redis_server *redis)
{
	static const char waiting[] = "SELECT wait_event = '%s' FROM pg_stat_activity WHERE pid = %d";
	tk_client  *client = open_tiered(redis, HOUR);
	pid_t		pid = server_process(client);

	CHECK_TEXT(claim(client, "flood", "0"), "claimed by postgres");
	CHECK_TEXT(claim(client, "flood", "0"), "duplicate by memory");
	redis_value(redis, "CONFIG RESETSTAT");
	CHECK(admin_run("SELECT count(tradekeep.claim('flood', i::text, '1 h'))"
					" FROM generate_series(1, 50000) AS i"));
	CHECK(admin_run("SELECT count(tradekeep.release('flood', i::text))"
					" FROM generate_series(1, 50000) AS i"));
	CHECK(admin_await(waiting, "ClientWrite", pid));
	while (strcmp(admin_value(waiting, "ClientRead", pid), "t") != 0)
		CHECK(strncmp(claim(client, "flood", "0"), "duplicate", 9) == 0);
	CHECK(strstr(redis_value(redis, "INFO commandstats"), "cmdstat_eval:calls=") != NULL);
	CHECK(atoi(strstr(redis_value(redis, "INFO commandstats"), "cmdstat_eval:calls=") + 19) < 49000);
	tk_close(client);
}

/* A grant of an outage that only Redis still tells of: its spool was replayed where no Redis was. */
static void
test_left_over(redis_server *redis)
{
	static const char mark[] = "SET tradekeep:claim:left:a tkd:8c5f8d1a-0000-4000-8000-000000000000:1:%lld";
	const long long expires = (long long) time(NULL) * 1000 + HOUR;
	tk_options	options;
	tk_client  *client;
	int64_t		token;
	int			released = -1;

	tk_options_init(&options);
	options.redis_url = redis->url;
	options.spool_directory = redis->folder;
	options.outage = TK_DEGRADE;
	client = tk_open(&options);
	CHECK_TEXT(claim(client, "left", "a"), "claimed by postgres");
	redis_value(redis, mark, expires);

	/* Who holds nothing releases nothing. */
	CHECK_INT(tk_release_lease(client, "left", "a", 1, &released), 0);
	CHECK_INT(released, 0);
	CHECK_TEXT(claim(client, "left", "a"), "duplicate by redis, degraded");
	CHECK_INT(tk_release(client, "left", "a", NULL), 0);
	CHECK_TEXT(claim(client, "left", "a"), "claimed by postgres");

	CHECK_INT(tk_release(client, "left", "a", NULL), 0);
	CHECK_INT(tk_claim_lease(client, "left", "a", HOUR, HOUR, &token, NULL), TK_CLAIMED);
	redis_value(redis, mark, expires);
	CHECK_INT(tk_release_lease(client, "left", "a", token, NULL), 0);
	CHECK_TEXT(claim(client, "left", "a"), "claimed by postgres");
	tk_close(client);
}

void
test_redis_tier(void)
{
	redis_server redis = {0};

	if (!redis_server_start(&redis, NULL))
		return;
	test_sharing(&redis);
	test_release_unheard(&redis);
	test_late_notification(&redis);
	test_lost_redis(&redis);
	test_forgeries(&redis);
	test_flood(&redis);
	test_left_over(&redis);
	redis_server_remove(&redis);
}
