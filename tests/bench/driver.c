/*
 * driver.c
 *		One client making the calls that pgbench cannot: through libtradekeep, to
 *		Redis, and statements with arrays.
 *
 *	driver LOAD existing|new RUN SECONDS
 *
 * Prints the calls made a second, each one round trip.  With "existing" all that is
 * sent is there already, with "new" none of it, provided that no two runs have the
 * same number.  Every answer is checked; a wrong one ends the program.
 *
 * PostgreSQL is where libpq's environment says, Redis where REDIS_SOCKET says.
 */
#include <endian.h>
#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <libpq-fe.h>
#include <stdbool.h>
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

/* Bars of one call: one minute of so many symbols. */
#define BARS			50

/* 2023-11-14 22:13:00 UTC in the server's microseconds since 2000-01-01. */
#define FIRST_MINUTE	INT64_C(753315180000000)
#define MINUTE			INT64_C(60000000)

static bool new_ones;
static int64_t run;
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
static char symbols[16 * BARS];
static char timeframes[4 * BARS];

static void
prepare(const char *sql)
{
	PGresult   *result;

	for (int i = 0; i < BARS; i++)
	{
		sprintf(symbols + strlen(symbols), "%cCOIN%02d/USDT", i == 0 ? '{' : ',', i);
		sprintf(timeframes + strlen(timeframes), "%c1m", i == 0 ? '{' : ',');
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
	}			elements[BARS];
} binary_array;

static void
fill_array(binary_array *array, int column, int64_t minute)
{
	static const double prices[COLUMNS] = {[OPEN] = 100.25,[HIGH] = 101,[LOW] = 99.5,[CLOSE] = 100.5};
	const uint32_t timestamptz = 1184;
	const uint32_t float8 = 701;
	const uint32_t header[] = {1, 0, column == TS ? timestamptz : float8, BARS, 1};

	for (int i = 0; i < 5; i++)
		array->header[i] = htobe32(header[i]);
	for (int i = 0; i < BARS; i++)
	{
		double		number = column == VOLUME ? (double) minute : prices[column] + i;
		uint64_t	bits = (uint64_t) (FIRST_MINUTE + MINUTE * minute);

		if (column != TS)
			memcpy(&bits, &number, sizeof(bits));
		array->elements[i].size = htobe32(sizeof(bits));
		array->elements[i].high = htobe32((uint32_t) (bits >> 32));
		array->elements[i].low = htobe32((uint32_t) bits);
	}
}

/* Runs the prepared statement for one minute of all symbols. */
static PGresult *
send_bars(int64_t call)
{
	const int64_t minute = new_ones ? run * MINUTES_A_RUN + call : random_below(EXISTING_MINUTES);
	binary_array arrays[COLUMNS];
	const char *values[COLUMNS] = {symbols, timeframes};
	int			lengths[COLUMNS] = {0};
	int			formats[COLUMNS] = {0};

	for (int column = TS; column < COLUMNS; column++)
	{
		fill_array(&arrays[column], column, minute);
		values[column] = (const char *) &arrays[column];
		lengths[column] = sizeof(arrays[column]);
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
	if (atoi(PQgetvalue(result, 0, new_ones ? 0 : 1)) != BARS)
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
	if (atoi(PQcmdTuples(result)) != BARS)
		fail("unnest", "not what was expected");
	PQclear(result);
}

typedef struct load
{
	const char *name;
	void		(*open) (void);
	void		(*call) (int64_t call);
} load;

static const load loads[] =
{
	{"claim", open_tradekeep, claim},
	{"set_nx", open_redis, set_nx},
	{"upsert_candles", open_upsert, upsert_candles},
	{"unnest", open_unnest, unnest},
};

static double
now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double) time.tv_sec + (double) time.tv_nsec / 1e9;
}

int
main(int argc, char **argv)
{
	for (size_t i = 0; argc == 5 && i < sizeof(loads) / sizeof(loads[0]); i++)
	{
		double		start;
		int64_t		calls = 0;

		if (strcmp(loads[i].name, argv[1]) != 0)
			continue;
		new_ones = strcmp(argv[2], "new") == 0;
		run = atoll(argv[3]);
		loads[i].open();
		start = now();
		while (now() < start + atof(argv[4]))
			loads[i].call(++calls);
		printf("%.1f\n", (double) calls / (now() - start));
		return 0;
	}
	fputs("usage: driver LOAD existing|new RUN SECONDS\n", stderr);
	return 2;
}
