/*
 * proof.c
 *		What the demo left behind, counted against what it should have left.
 */
#include "demo.h"

#include <endian.h>
#include <stdarg.h>
#include <stdlib.h>

/* How often each expected key was seen, and how many others were. */
typedef struct key_count
{
	const demo_state *demo;
	int		   *times;			/* one for each signal */
	int64_t		strange;
} key_count;

typedef struct proof_state
{
	int			failures;
} proof_state;

/* Keys are in the order of time, which for one symbol is the order of bytes. */
static int
compare_keys(const void *key, const void *signal)
{
	return strcmp(key, ((const signal_event *) signal)->key);
}

static const signal_event *
find_signal(const demo_state *demo, const char *key)
{
	return bsearch(key, demo->signals, demo->signal_count, sizeof(signal_event), compare_keys);
}

static void
count_key(key_count *count, const char *key)
{
	const signal_event *signal = find_signal(count->demo, key);

	if (signal != NULL)
		count->times[signal - count->demo->signals]++;
	else
		count->strange++;
}

/* A line of the log counts for its signal only if direction and price are right too. */
static void
count_log(key_count *count)
{
	char		line[KEY_BYTES + 128];
	char		expected[KEY_BYTES + 128];
	FILE	   *log = fopen(count->demo->log, "r");

	if (log == NULL)
		return;
	while (fgets(line, sizeof(line), log) != NULL)
	{
		char		key[KEY_BYTES + 128];
		const signal_event *signal;
		size_t		length;

		if (line[0] == '#')
			continue;
		length = strcspn(line, "\t\n");
		snprintf(key, sizeof(key), "%.*s", (int) length, line);
		signal = find_signal(count->demo, key);
		if (signal != NULL)
			receiver_line(count->demo, signal, expected, sizeof(expected));
		if (signal != NULL && strncmp(line, expected, strlen(expected)) == 0)
			count->times[signal - count->demo->signals]++;
		else
			count->strange++;
	}
	fclose(log);
}

static bool
count_query(key_count *count, tk_client *client, const char *sql)
{
	const char *values[] = {count->demo->symbol};
	PGconn	   *connection = tk_connection(client);
	PGresult   *result = PQexecParams(connection, sql, 1, NULL, values, NULL, NULL, 0);
	bool		succeeded = PQresultStatus(result) == PGRES_TUPLES_OK;

	if (!succeeded)
		report_result(connection, result);
	for (int row = 0; succeeded && row < PQntuples(result); row++)
		count_key(count, PQgetvalue(result, row, 0));
	PQclear(result);
	return succeeded;
}

static void
say(proof_state *proof, bool holds, const char *what, const char *format,...)
{
	char		text[128];
	va_list		arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	printf("  %s%s%s  %-47s %s\n", paint(stdout, holds ? GREEN : RED), holds ? "ok  " : "FAIL",
		   paint(stdout, PLAIN), what, text);
	proof->failures += !holds;
}

/* Once each, and nothing else: says so of one place where signals leave a trace. */
static void
say_once_each(proof_state *proof, const key_count *count, const char *what)
{
	size_t		signals = count->demo->signal_count;
	size_t		once = 0;
	size_t		missing = 0;
	size_t		repeated = 0;

	for (size_t i = 0; i < signals; i++)
	{
		once += count->times[i] == 1;
		missing += count->times[i] == 0;
		repeated += count->times[i] > 1;
	}
	if (once == signals && count->strange == 0)
		say(proof, true, what, "%zu of %zu", once, signals);
	else
		say(proof, false, what, "%zu of %zu: %zu missing, %zu more than once, %lld unexpected",
			once, signals, missing, repeated, (long long) count->strange);
}

static double
read_float8(const char *data)
{
	uint64_t	bits;
	double		value;

	memcpy(&bits, data, sizeof(bits));
	bits = be64toh(bits);
	memcpy(&value, &bits, sizeof(value));
	return value;
}

static bool
same_candle(const PGresult *result, int row, const tk_candle *candle)
{
	const double expected[] = {(double) candle->ts, candle->open, candle->high, candle->low,
	candle->close, candle->volume};

	for (int column = 0; column < 6; column++)
	{
		if (read_float8(PQgetvalue(result, row, column)) != expected[column])
			return false;
	}
	return true;
}

/* The stored candles, one by one, against the feed. */
static void
say_candles(proof_state *proof, const demo_state *demo, tk_client *client)
{
	const char *values[] = {demo->symbol};
	PGconn	   *connection = tk_connection(client);
	PGresult   *result;
	size_t		stored;
	size_t		equal = 0;

	result = PQexecParams(connection, "SELECT (extract(epoch FROM ts) * 1000)::float8, open, high,"
						  " low, close, volume FROM tradekeep.candles($1, '" DEMO_TIMEFRAME "')"
						  " WHERE closed ORDER BY ts",
						  1, NULL, values, NULL, NULL, 1);
	if (PQresultStatus(result) != PGRES_TUPLES_OK)
		report_result(connection, result);
	stored = (size_t) PQntuples(result);
	for (size_t i = 0; i < stored && i < demo->count; i++)
		equal += same_candle(result, (int) i, &demo->candles[i]);
	PQclear(result);
	say(proof, stored == demo->count, "candles stored, each once", "%zu of %zu", stored,
		demo->count);
	say(proof, equal == demo->count, "their values equal those of the feed", "%zu of %zu", equal,
		demo->count);
}

static void
say_signals(proof_state *proof, const demo_state *demo, tk_client *client)
{
	static const struct
	{
		const char *what;
		const char *sql;		/* null: the log */
	}			places[] =
	{
		{"sent: in the receiver's log, exactly once", NULL},
		{"acknowledged: in tradekeep_demo.delivery, once",
		"SELECT signal_key FROM tradekeep_demo.delivery WHERE starts_with(signal_key, $1 || ':')"},
		{"claimed: in tradekeep.claim",
		"SELECT key FROM tradekeep.claim WHERE scope = 'publish' AND starts_with(key, $1 || ':')"},
	};

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
	{
		key_count	count = {.demo = demo,.times = calloc(demo->signal_count, sizeof(int))};

		if (count.times == NULL)
		{
			say(proof, false, places[i].what, "out of memory");
			continue;
		}
		if (places[i].sql == NULL)
			count_log(&count);
		else if (!count_query(&count, client, places[i].sql))
			proof->failures++;
		say_once_each(proof, &count, places[i].what);
		free(count.times);
	}
}

static void
print_kills(const demo_state *demo, const kill_record kills[KILLS])
{
	static const char *const points[POINTS] = {"before the append", "between append and commit"};

	puts("");
	for (int i = 0; i < KILLS; i++)
	{
		const kill_plan *plan = &demo->kills[i];

		printf("  %s%s%s  bot %d  %-26s at %s%s\n", paint(stdout, kills[i].happened ? YELLOW : RED),
			   kills[i].happened ? "killed" : "missed", paint(stdout, PLAIN), plan->bot + 1,
			   points[plan->point], demo->signals[plan->signal].key,
			   kills[i].waiting ? ", the other one waiting" : "");
	}
}

static void
print_row(const char *what, int64_t first, int64_t second)
{
	char		numbers[3][32];

	printf("  %-32s %10s %10s %10s\n", what, with_commas(first, numbers[0]),
		   with_commas(second, numbers[1]), with_commas(first + second, numbers[2]));
}

static void
print_bots(const bot_record bots[BOTS])
{
	const bot_tally *a = &bots[0].tally;
	const bot_tally *b = &bots[1].tally;

	printf("\n  %-32s %10s %10s %10s\n", "", "bot 1", "bot 2", "both");
	print_row("lives", bots[0].lives, bots[1].lives);
	print_row("candles seen", a->seen, b->seen);
	print_row("candles processed", a->processed, b->processed);
	print_row("duplicates spared", a->spared_candles, b->spared_candles);
	print_row("signals sent and committed", a->sent, b->sent);
	print_row("appended to the log", a->appended, b->appended);
	print_row("found in the log already", a->found, b->found);
	puts("");
}

/* Prints the summary; true when all of it holds. */
bool
prove(const demo_state *demo, tk_client *client, const bot_record bots[BOTS],
	  const kill_record kills[KILLS], double seconds)
{
	proof_state proof = {0};
	int			happened = 0;

	for (int i = 0; i < KILLS; i++)
		happened += kills[i].happened;
	print_kills(demo, kills);
	print_bots(bots);
	say_signals(&proof, demo, client);
	say_candles(&proof, demo, client);
	say(&proof, bots[0].tally.processed + bots[1].tally.processed == (int64_t) demo->count,
		"candles processed by one bot each", "%lld of %zu",
		(long long) (bots[0].tally.processed + bots[1].tally.processed), demo->count);
	say(&proof, happened == KILLS, "kills survived", "%d of %d", happened, KILLS);
	if (proof.failures == 0)
		printf("\n  %sEvery signal was sent, exactly once.%s %.1f s\n", paint(stdout, GREEN),
			   paint(stdout, PLAIN), seconds);
	else
		printf("\n  %sThe proof fails: %d of the lines above.%s %.1f s\n", paint(stdout, RED),
			   proof.failures, paint(stdout, PLAIN), seconds);
	return proof.failures == 0;
}
