/*
 * feed.c
 *		The candles of the demo, and the rule that makes signals of them.
 */
#include "demo.h"
#include "rows.h"

#include <math.h>
#include <stdlib.h>

/*
 * The rule: the mean of the last 9 closes crosses that of the last 21.  From below
 * it is LONG, from above SHORT.  Where candles are missing it goes on with those
 * there are.
 */
#define FAST 9
#define SLOW 21

/* 2024-01-01 in milliseconds */
#define WALK_START INT64_C(1704067200000)

/* How far the fast mean lies above the slow one after candle i. */
static double
lead(const tk_candle *candles, size_t i)
{
	double		fast = 0;
	double		slow = 0;

	for (size_t back = 0; back < SLOW; back++)
	{
		slow += candles[i - back].close;
		if (back < FAST)
			fast += candles[i - back].close;
	}
	return fast / FAST - slow / SLOW;
}

/* The direction of the signal that candle i raises, or null. */
const char *
feed_rule(const tk_candle *candles, size_t i)
{
	double		before;
	double		after;

	if (i < SLOW)
		return NULL;
	before = lead(candles, i - 1);
	after = lead(candles, i);
	if (before <= 0 && after > 0)
		return "LONG";
	if (before >= 0 && after < 0)
		return "SHORT";
	return NULL;
}

/* The next number of splitmix64, between 0 and 1. */
static double
next_random(uint64_t *state)
{
	uint64_t	z = (*state += UINT64_C(0x9E3779B97F4A7C15));

	z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
	return (double) ((z ^ (z >> 31)) >> 11) / 9007199254740992.0;
}

static double
cents(double price)
{
	return round(price * 100) / 100;
}

/* A random walk, the same for the same seed on every machine. */
static void
walk(demo_state *demo)
{
	uint64_t	state = demo->seed;
	double		price = 100;

	for (size_t i = 0; i < demo->limit; i++)
	{
		tk_candle  *candle = &demo->candles[i];

		candle->ts = WALK_START + (int64_t) i * DEMO_PERIOD;
		candle->open = price;
		price = cents(fmax(1, price * (1 + 0.004 * (next_random(&state) - 0.5))));
		candle->close = price;
		candle->high = cents(fmax(candle->open, candle->close) * (1 + 0.001 * next_random(&state)));
		candle->low = cents(fmin(candle->open, candle->close) * (1 - 0.001 * next_random(&state)));
		candle->volume = cents(100 * next_random(&state));
		candle->closed = 1;
	}
	demo->count = demo->limit;
}

static int
compare_candles(const void *a, const void *b)
{
	const tk_candle *left = a;
	const tk_candle *right = b;

	return (left->ts > right->ts) - (left->ts < right->ts);
}

/* Puts candles in order; of those of the same time one stays. */
static void
tidy(demo_state *demo)
{
	size_t		kept = 0;

	qsort(demo->candles, demo->count, sizeof(tk_candle), compare_candles);
	for (size_t i = 0; i < demo->count; i++)
	{
		if (kept > 0 && demo->candles[kept - 1].ts == demo->candles[i].ts)
			continue;
		demo->candles[kept++] = demo->candles[i];
	}
	demo->dropped = demo->count - kept;
	demo->count = kept;
}

static bool
read_file(demo_state *demo)
{
	static row_reader reader;
	row_problem problem;
	file_row	row;
	row_status	status = ROW_READ;

	if (!rows_open(&reader, demo->data, &problem))
	{
		fprintf(stderr, "tradekeep: %s: %s\n", demo->data, problem.reason);
		return false;
	}
	while (demo->count < demo->limit && (status = rows_next(&reader, &row, &problem)) == ROW_READ)
	{
		row.candle.closed = 1;
		demo->candles[demo->count++] = row.candle;
	}
	rows_close(&reader);
	if (status == ROW_REJECTED || status == ROW_BROKEN)
	{
		fprintf(stderr, "tradekeep: %s, line %lld: %s\n", demo->data, (long long) problem.line,
				problem.reason);
		return false;
	}
	tidy(demo);
	return true;
}

static void
make_signals(demo_state *demo)
{
	for (size_t i = 0; i < demo->count; i++)
	{
		const char *direction = feed_rule(demo->candles, i);
		signal_event *signal = &demo->signals[demo->signal_count];
		time_t		seconds = (time_t) (demo->candles[i].ts / 1000);
		struct tm	utc;
		char		start[32];

		if (direction == NULL)
			continue;
		strftime(start, sizeof(start), "%Y-%m-%dT%H:%M:%S", gmtime_r(&seconds, &utc));
		signal->candle = i;
		signal->direction = direction;
		snprintf(signal->key, sizeof(signal->key), "%s:%s", demo->symbol, start);
		demo->signal_count++;
	}
}

/* Each bot once at each point, spread over the signals. */
static void
plan_kills(demo_state *demo)
{
	for (int i = 0; i < KILLS; i++)
	{
		demo->kills[i].bot = i % BOTS;
		demo->kills[i].point = i / BOTS;
		demo->kills[i].signal = demo->signal_count * (size_t) (i + 1) / (KILLS + 1);
	}
}

/* Makes candles, signals and the plan; returns an exit code. */
int
feed_make(demo_state *demo)
{
	demo->candles = calloc(demo->limit, sizeof(tk_candle));
	if (demo->candles == NULL)
	{
		fputs("tradekeep: out of memory\n", stderr);
		return EXIT_FAILED;
	}
	if (demo->data == NULL)
		walk(demo);
	else if (!read_file(demo))
		return EXIT_FAILED;
	demo->signals = calloc(demo->count + 1, sizeof(signal_event));
	if (demo->signals == NULL)
	{
		fputs("tradekeep: out of memory\n", stderr);
		return EXIT_FAILED;
	}
	make_signals(demo);
	plan_kills(demo);
	return EXIT_DONE;
}

void
feed_free(demo_state *demo)
{
	free(demo->candles);
	free(demo->signals);
}
