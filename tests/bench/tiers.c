/*
 * tiers.c
 *		One side of a row about the client's tiers.
 *
 *		tiers SIDE RUN SECONDS [COUNT]
 *
 * Prints how much of it was done a second; `growth` prints by how many kB the process grew in
 * claiming COUNT keys. Every answer is checked, who gave it too; a wrong one ends the program. No
 * two runs have the same number.
 *
 * PostgreSQL is where libpq's environment says, Redis where REDIS_SOCKET says; SPOOL is a directory.
 */
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <libpq-fe.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tradekeep.h"

#define HOUR		3600000
#define BATCH		1000
#define KEYS		100000		/* that exist, of the million in setup.sql */

static const char *run;
static double seconds;
static long count;
static tk_options options;
static tk_client *client;

static void
fail(const char *what, const char *why)
{
	fprintf(stderr, "tiers: %s: %s\n", what, why);
	exit(1);
}

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}

static void
open_client(void)
{
	client = tk_open(&options);
	if (client == NULL)
		fail("tk_open", "out of memory");
}

static void
claim(const char *key, tk_verdict verdict, tk_tier tier)
{
	tk_answer	answer;

	if (tk_claim(client, "signal", key, HOUR, &answer) != verdict || answer.tier != tier)
		fail(tk_tier_name(answer.tier), tk_message(client));
}

static const char *
existing_key(long i)
{
	static char key[32];

	snprintf(key, sizeof(key), "%" PRId64, INT64_C(1700000000000) + INT64_C(60000) * (i * 7919 % KEYS));
	return key;
}

static const char *
new_key(long i)
{
	static char key[64];

	snprintf(key, sizeof(key), "tiers:%s:%ld", run, i);
	return key;
}

/* The same work again and again, for so many seconds; looks at the clock every `step` times. */
static double
repeat(void (*work) (long i), long step)
{
	double		start = now();
	long		done = 0;

	while (now() < start + seconds)
	{
		for (long i = 0; i < step; i++)
			work(done++);
	}
	return (double) done / (now() - start);
}

static void
claim_remembered(long i)
{
	claim("1700000000000", TK_DUPLICATE, TK_TIER_MEMORY);
}

/* Once a second PostgreSQL is asked whether anything was released; that belongs to it. */
static double
memory(void)
{
	open_client();
	claim("1700000000000", TK_DUPLICATE, TK_TIER_POSTGRES);
	return repeat(claim_remembered, 10000);
}

static redisContext *
connect_redis(void)
{
	redisContext *redis = redisConnectUnix(getenv("REDIS_SOCKET"));

	if (redis == NULL || redis->err)
		fail("redis", redis != NULL ? redis->errstr : "out of memory");
	return redis;
}

static redisContext *bare_redis;

static void
get_bare(long i)
{
	redisReply *reply = redisCommand(bare_redis, "GET %s", "tradekeep:claim:signal:1700000000000");

	if (reply == NULL || reply->type != REDIS_REPLY_STRING)
		fail("GET", bare_redis->errstr);
	freeReplyObject(reply);
}

static double
get(void)
{
	bare_redis = connect_redis();
	freeReplyObject(redisCommand(bare_redis, "SETNX %s %s", "tradekeep:claim:signal:1700000000000",
								 "tk1:0123456789abcdef:12345:1700000000000"));
	return repeat(get_bare, 100);
}

static void
claim_in_redis(long i)
{
	claim("1700000000000", TK_DUPLICATE, TK_TIER_REDIS);
}

static double
redis(void)
{
	char		url[256];

	snprintf(url, sizeof(url), "unix://%s", getenv("REDIS_SOCKET"));
	options.redis_url = url;
	options.cache_entries = -1;
	open_client();
	tk_claim(client, "signal", "1700000000000", HOUR, NULL);
	return repeat(claim_in_redis, 100);
}

static void
claim_existing(long i)
{
	claim(existing_key(i), TK_DUPLICATE, TK_TIER_POSTGRES);
}

/* With its memory, which is too small for the keys and has to be kept all the same. */
static double
postgres(void)
{
	open_client();
	return repeat(claim_existing, 100);
}

static PGconn *bare_postgres;

static void
execute_existing(long i)
{
	const char *values[] = {"signal", existing_key(i), "1 hour"};
	PGresult   *result = PQexecPrepared(bare_postgres, "claim", 3, values, NULL, NULL, 1);

	/* The row's first column is behind their count, its type and its length. */
	if (PQresultStatus(result) != PGRES_TUPLES_OK || PQgetvalue(result, 0, 0)[12] != 0)
		fail("PQexecPrepared", PQerrorMessage(bare_postgres));
	PQclear(result);
}

static double
execute(void)
{
	bare_postgres = PQconnectdb("");
	PQclear(PQprepare(bare_postgres, "claim", "SELECT tradekeep.claim_to_remember($1, $2, $3)",
					  3, NULL));
	return repeat(execute_existing, 100);
}

static void
claim_new(long i)
{
	claim(new_key(i), TK_CLAIMED, TK_TIER_POSTGRES);
}

static double
singly(void)
{
	open_client();
	return repeat(claim_new, 10);
}

static void
claim_batch(long i)
{
	static char keys[BATCH][64];
	const char *pointers[BATCH];
	tk_verdict	verdicts[BATCH];

	for (int k = 0; k < BATCH; k++)
	{
		snprintf(keys[k], sizeof(keys[k]), "%s", new_key(i * BATCH + k));
		pointers[k] = keys[k];
	}
	if (tk_claim_many(client, "signal", pointers, BATCH, HOUR, verdicts) != 0 ||
		verdicts[0] != TK_CLAIMED || verdicts[BATCH - 1] != TK_CLAIMED)
		fail("tk_claim_many", tk_message(client));
}

static double
batch(void)
{
	open_client();
	return BATCH * repeat(claim_batch, 1);
}

/* Nothing listens there, and no Redis is configured: this process decides, and the disk keeps. */
static void
claim_degraded(long i)
{
	tk_answer	answer;

	if (tk_claim(client, "signal", new_key(i), HOUR, &answer) != TK_CLAIMED || !answer.degraded ||
		!tk_spooled(client))
		fail("spool", tk_message(client));
}

static double
spool(void)
{
	options.database_url = "postgresql://127.0.0.1:1/nobody";
	options.outage = TK_DEGRADE;
	options.spool_directory = getenv("SPOOL");
	options.spool_limit = INT64_C(1) << 30;
	open_client();
	return repeat(claim_degraded, 10);
}

static int	bare_file;

static void
write_bare(long i)
{
	static const char line[] = "{\"v\":1,\"seq\":1,\"at\":1700000000000,\"op\":\"claim\",\"scope\":\"signal\","
		"\"key\":\"tiers:1:1\",\"expires_at\":1700003600000,\"crc\":\"01234567\"}\n";

	if (write(bare_file, line, sizeof(line) - 1) != (ssize_t) sizeof(line) - 1 ||
		fdatasync(bare_file) != 0)
		fail("bare file", "could not write");
}

static double
bare_writes(void)
{
	char		path[4096];

	snprintf(path, sizeof(path), "%s/bare.%s", getenv("SPOOL"), run);
	bare_file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_EXCL, 0600);
	return repeat(write_bare, 10);
}

/* What of this process lies in memory, in kB. */
static long
resident(void)
{
	FILE	   *file = fopen("/proc/self/statm", "r");
	long		total,
				pages;

	if (file == NULL || fscanf(file, "%ld %ld", &total, &pages) != 2)
		fail("/proc/self/statm", "cannot be read");
	fclose(file);
	return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static double
growth(void)
{
	long		start = resident();

	open_client();
	for (long i = 0; i < count; i++)
		claim(new_key(i), TK_DUPLICATE, TK_TIER_POSTGRES);
	return (double) (resident() - start);
}

static const struct
{
	const char *name;
	double		(*measure) (void);
}			sides[] =

{
	{"memory", memory}, {"get", get}, {"redis", redis}, {"postgres", postgres},
	{"execute", execute}, {"singly", singly}, {"batch", batch}, {"spool", spool},
	{"bare_writes", bare_writes}, {"growth", growth},
};

int
main(int argc, char **argv)
{
	if (argc < 4)
		fail("usage", "tiers SIDE RUN SECONDS [COUNT]");
	run = argv[2];
	seconds = atof(argv[3]);
	count = argc > 4 ? atol(argv[4]) : 0;
	tk_options_init(&options);
	for (size_t i = 0; i < sizeof(sides) / sizeof(sides[0]); i++)
	{
		if (strcmp(sides[i].name, argv[1]) == 0)
		{
			printf("%f\n", sides[i].measure());
			tk_close(client);
			return 0;
		}
	}
	fail(argv[1], "unknown side");
}
