/*
 * driver.c
 *		One client making the calls that pgbench cannot: through libtradekeep, to
 *		Redis, and statements with arrays.
 *
 *	driver LOAD existing|new RUN SECONDS
 *
 * Prints the calls made a second, each one round trip, and the median of what they
 * took, in microseconds.  With "existing" all that is sent is there already, with "new"
 * none of it, provided that no two runs have the same number.  Every answer is checked;
 * a wrong one ends the program.
 *
 * PostgreSQL is where libpq's environment says, Redis where REDIS_SOCKET says.
 */
#include <endian.h>
#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tradekeep.h"

/* What run stored before: keys, a minute apart, and bars of so many minutes. */
#define FIRST_KEY		INT64_C(1700000000000)
#define KEY_STEP		60000
#define EXISTING_KEYS	1000000
#define EXISTING_MINUTES 1000

/* How far apart two runs are that store new ones. */
#define KEYS_A_RUN		INT64_C(1000000000000)
#define MINUTES_A_RUN	100000

/* Bars of one call: one minute of so many symbols, or so many minutes of one. */
#define MINUTE_BARS		50
#define PAGE_BARS		1000

/* More calls than any run makes. */
#define MAX_CALLS		(1 << 22)

/* 2023-11-14 22:13:00 UTC in the server's microseconds since 2000-01-01. */
#define FIRST_MINUTE	INT64_C(753315180000000)
#define MINUTE			INT64_C(60000000)

static bool new_ones;
static int64_t run;
static int	bars;
static tk_client *client;
static redisContext *redis;
static PGconn *connection;

static void
fail(const char *what, const char *why)
{
	fprintf(stderr, "driver: %s: %s\n", what, why);
	exit(1);
}

/* xorshift64: good enough to miss the caches. */
static int64_t
random_below(int64_t limit)
{
	static uint64_t state = UINT64_C(0x9e3779b97f4a7c15);

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (int64_t) (state % (uint64_t) limit);
}

static const char *
next_key(int64_t call)
{
	static char key[32];

	snprintf(key, sizeof(key), "%" PRId64, new_ones ? run * KEYS_A_RUN + call :
			 FIRST_KEY + KEY_STEP * random_below(EXISTING_KEYS));
	return key;
}

static void
open_tradekeep(void)
{
	client = tk_open(NULL);
	if (client == NULL || tk_connect(client) != 0)
		fail("tk_connect", client != NULL ? tk_message(client) : "out of memory");
}

static void
claim(int64_t call)
{
	tk_verdict	verdict = tk_claim(client, "signal", next_key(call), 0, NULL);

	if (verdict != (new_ones ? TK_CLAIMED : TK_DUPLICATE))
		fail(tk_verdict_name(verdict), tk_message(client));
}

static void
open_redis(void)
{
	redis = redisConnectUnix(getenv("REDIS_SOCKET"));
	if (redis == NULL || redis->err != 0)
		fail("redis", redis != NULL ? redis->errstr : "out of memory");
}

static void
set_nx(int64_t call)
{
	const char *words[] = {"SET", next_key(call), "1", "NX", "EX", "3600"};
	redisReply *reply = redisCommandArgv(redis, 6, words, NULL);

	if (reply == NULL)
		fail("SET", redis->errstr);
	if (reply->type != (new_ones ? REDIS_REPLY_STATUS : REDIS_REPLY_NIL))
		fail("SET", reply->str != NULL ? reply->str : "not what was expected");
	freeReplyObject(reply);
}

#define ARRAYS \
	"$1::text[], $2::tradekeep.timeframe[], $3::timestamptz[], $4::float8[], $5::float8[]," \
	" $6::float8[], $7::float8[], $8::float8[]"

enum
{
	SYMBOL, TIMEFRAME, TS, OPEN, HIGH, LOW, CLOSE, VOLUME, COLUMNS
};

/* The first two columns of every call, in text. */
static char symbols[16 * PAGE_BARS];
static char timeframes[4 * PAGE_BARS];

static void
prepare(const char *sql)
{
	PGresult   *result;

	for (int i = 0; i < bars; i++)
	{
		char		separator = i == 0 ? '{' : ',';

		if (bars == PAGE_BARS)
			sprintf(symbols + strlen(symbols), "%cRUN%" PRId64 "/USDT", separator, run);
		else
			sprintf(symbols + strlen(symbols), "%cCOIN%02d/USDT", separator, i);
		sprintf(timeframes + strlen(timeframes), "%c1m", separator);
	}
	strcat(symbols, "}");
	strcat(timeframes, "}");
	connection = PQconnectdb("");
	result = PQprepare(connection, "bars", sql, 0, NULL);
	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		fail("prepare", PQerrorMessage(connection));
	PQclear(result);
}

/* The others in the binary format, as libtradekeep sends them: eight-byte values. */
typedef struct binary_array
{
	uint32_t	header[5];		/* dimensions, has nulls, element type, length, lower bound */
	struct
	{
		uint32_t	size;
		uint32_t	high;
		uint32_t	low;
	}			elements[PAGE_BARS];
} binary_array;

/* The minute of a call's bar. */
static int64_t
minute_of(int64_t call, int64_t existing, int bar)
{
	if (bars == PAGE_BARS)
		return (call - 1) * PAGE_BARS + bar;
	return new_ones ? run * MINUTES_A_RUN + call : existing;
}

static void
fill_array(binary_array *array, int column, int64_t call, int64_t existing)
{
	static const double prices[COLUMNS] = {[OPEN] = 100.25,[HIGH] = 101,[LOW] = 99.5,[CLOSE] = 100.5};
	const uint32_t timestamptz = 1184;
	const uint32_t float8 = 701;
	const uint32_t header[] = {1, 0, column == TS ? timestamptz : float8, bars, 1};

	for (int i = 0; i < 5; i++)
		array->header[i] = htobe32(header[i]);
	for (int i = 0; i < bars; i++)
	{
		int64_t		minute = minute_of(call, existing, i);
		double		number = column == VOLUME ? (double) minute : prices[column] + i;
		uint64_t	bits = (uint64_t) (FIRST_MINUTE + MINUTE * minute);

		if (column != TS)
			memcpy(&bits, &number, sizeof(bits));
		array->elements[i].size = htobe32(sizeof(bits));
		array->elements[i].high = htobe32((uint32_t) (bits >> 32));
		array->elements[i].low = htobe32((uint32_t) bits);
	}
}

/* Runs the prepared statement for one minute of all symbols, or a page of one. */
static PGresult *
send_bars(int64_t call)
{
	const int64_t existing = random_below(EXISTING_MINUTES);
	binary_array arrays[COLUMNS];
	const char *values[COLUMNS] = {symbols, timeframes};
	int			lengths[COLUMNS] = {0};
	int			formats[COLUMNS] = {0};

	for (int column = TS; column < COLUMNS; column++)
	{
		fill_array(&arrays[column], column, call, existing);
		values[column] = (const char *) &arrays[column];
		lengths[column] = (int) offsetof(binary_array, elements[bars]);
		formats[column] = 1;
	}
	return PQexecPrepared(connection, "bars", COLUMNS, values, lengths, formats, 0);
}

static void
open_upsert(void)
{
	prepare("SELECT inserted, unchanged FROM tradekeep.upsert_candles(" ARRAYS ")");
}

static void
upsert_candles(int64_t call)
{
	PGresult   *result = send_bars(call);

	if (PQresultStatus(result) != PGRES_TUPLES_OK)
		fail("upsert_candles", PQerrorMessage(connection));
	if (atoi(PQgetvalue(result, 0, new_ones ? 0 : 1)) != bars)
		fail("upsert_candles", "not what was expected");
	PQclear(result);
}

static void
open_unnest(void)
{
	prepare("INSERT INTO peer_candle (symbol, timeframe, ts, open, high, low, close, volume)"
			" SELECT * FROM unnest(" ARRAYS ")"
			" ON CONFLICT (symbol, timeframe, ts) DO UPDATE SET open = excluded.open,"
			" high = excluded.high, low = excluded.low, close = excluded.close,"
			" volume = excluded.volume");
}

static void
unnest(int64_t call)
{
	PGresult   *result = send_bars(call);

	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		fail("unnest", PQerrorMessage(connection));
	if (atoi(PQcmdTuples(result)) != bars)
		fail("unnest", "not what was expected");
	PQclear(result);
}

typedef struct load
{
	const char *name;
	void		(*open) (void);
	void		(*call) (int64_t call);
	int			bars;
} load;

static const load loads[] =
{
	{"claim", open_tradekeep, claim, 0},
	{"set_nx", open_redis, set_nx, 0},
	{"upsert_candles", open_upsert, upsert_candles, MINUTE_BARS},
	{"unnest", open_unnest, unnest, MINUTE_BARS},
	{"upsert_page", open_upsert, upsert_candles, PAGE_BARS},	/* new only */
	{"unnest_page", open_unnest, unnest, PAGE_BARS},
};

static double
now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double) time.tv_sec + (double) time.tv_nsec / 1e9;
}

static int
compare_times(const void *left, const void *right)
{
	const float *a = left;
	const float *b = right;

	return (*a > *b) - (*a < *b);
}

/* Makes calls for so many seconds, and prints how that went. */
static void
measure(const load *wanted, double seconds)
{
	static float times[MAX_CALLS];
	int64_t		calls = 0;
	double		start;
	double		before;
	double		after;

	wanted->open();
	start = after = now();
	while (after < start + seconds && calls < MAX_CALLS)
	{
		before = after;
		wanted->call(calls + 1);
		after = now();
		times[calls++] = (float) (1e6 * (after - before));
	}
	qsort(times, (size_t) calls, sizeof(float), compare_times);
	printf("%.1f %.1f\n", (double) calls / (after - start), times[calls / 2]);
}

int
main(int argc, char **argv)
{
	for (size_t i = 0; argc == 5 && i < sizeof(loads) / sizeof(loads[0]); i++)
	{
		if (strcmp(loads[i].name, argv[1]) != 0)
			continue;
		new_ones = strcmp(argv[2], "new") == 0;
		run = atoll(argv[3]);
		bars = loads[i].bars;
		measure(&loads[i], atof(argv[4]));
		return 0;
	}
	fputs("usage: driver LOAD existing|new RUN SECONDS\n", stderr);
	return 2;
}
