/*
 * bot.c
 *		One bot of the demo: a process of its own, with a handle of its own.
 *
 * It goes through the feed from the start, and remembers nothing of an earlier
 * life.  For each candle:
 *
 *		store the candle
 *		begin
 *			should_process_candle?  if it is somebody else's: roll back, next candle
 *			the rule; on a signal: claim_publish?  if it is claimed:
 *				insert the delivery
 *				look for the key in the receiver's log, append it if it is not there
 *		commit
 *
 * When a call fails, the candle is done again from the start: whatever was left
 * undone is free again, and whatever was done is a duplicate.
 */
#include "demo.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

/* A candle is tried so often, a tenth of a second apart. */
#define ATTEMPTS 300
#define PAUSE 100

typedef enum bot_step
{
	GO_ON,
	TRY_AGAIN,
	GIVE_UP
} bot_step;

typedef struct bot_state
{
	demo_state *demo;
	tk_client  *client;
	bot_tally	tally;
} bot_state;

static void
report(const bot_state *bot, const char *event, long long number)
{
	if (dprintf(bot->demo->reports, "%s %lld\n", event, number) < 0)
		exit(EXIT_FAILED);		/* the parent is gone */
}

static void
report_tally(const bot_state *bot)
{
	const bot_tally *t = &bot->tally;

	dprintf(bot->demo->reports, "tally %lld %lld %lld %lld %lld %lld %lld\n", (long long) t->seen,
			(long long) t->processed, (long long) t->spared_candles,
			(long long) t->spared_publications, (long long) t->sent, (long long) t->appended,
			(long long) t->found);
}

/* The kill that is next in the plan, or null. */
static const kill_plan *
next_kill(const demo_state *demo)
{
	return demo->settled < KILLS ? &demo->kills[demo->settled] : NULL;
}

static size_t
kill_candle(const demo_state *demo, const kill_plan *plan)
{
	return demo->signals[plan->signal].candle;
}

/* Lets the other bot go first where it is to be killed: else we might take its signal. */
static void
give_way(bot_state *bot, size_t i)
{
	demo_state *demo = bot->demo;
	const kill_plan *plan;
	char		order;

	while ((plan = next_kill(demo)) != NULL && plan->bot != demo->bot &&
		   kill_candle(demo, plan) <= i)
	{
		if (read(demo->orders, &order, 1) == 1)
			demo->settled++;
		else if (errno != EINTR)
			exit(EXIT_FAILED);	/* the parent is gone */
	}
}

/* Where the plan says so, tells the parent and waits for the end. */
static void
maybe_die(bot_state *bot, size_t i, kill_point point)
{
	const kill_plan *plan = next_kill(bot->demo);

	if (plan == NULL || plan->bot != bot->demo->bot || plan->point != point ||
		kill_candle(bot->demo, plan) != i)
		return;
	report_tally(bot);
	report(bot, "point", bot->demo->settled);
	for (;;)
		pause();
}

/* Alive after a candle at which it should have died: the parent must not wait for it. */
static void
report_missed_kills(bot_state *bot, size_t i)
{
	demo_state *demo = bot->demo;
	const kill_plan *plan;

	while ((plan = next_kill(demo)) != NULL && plan->bot == demo->bot &&
		   kill_candle(demo, plan) <= i)
		report(bot, "missed", demo->settled++);
}

/* A failed call is worth another try, unless it was refused. */
static bot_step
failed(bot_state *bot, bool refused)
{
	tk_error_code error = tk_error(bot->client);
	bool		hopeless;

	hopeless = refused || error == TK_ERROR_ARGUMENT || error == TK_ERROR_AUTHENTICATION;
	if (hopeless)
		report_failure(bot->client);
	tk_rollback(bot->client);
	return hopeless ? GIVE_UP : TRY_AGAIN;
}

static bool
insert_delivery(bot_state *bot, const signal_event *signal)
{
	char		name[16];
	char		price[32];
	const char *values[] = {signal->key, name, signal->direction, price};
	PGconn	   *connection = tk_connection(bot->client);
	PGresult   *result;
	bool		inserted;

	if (connection == NULL)
		return false;
	snprintf(name, sizeof(name), "bot %d", bot->demo->bot + 1);
	snprintf(price, sizeof(price), "%.17g", bot->demo->candles[signal->candle].close);
	result = PQexecParams(connection, "INSERT INTO tradekeep_demo.delivery"
						  " (signal_key, bot, direction, price) VALUES ($1, $2, $3, $4)",
						  4, NULL, values, NULL, NULL, 0);
	inserted = PQresultStatus(result) == PGRES_COMMAND_OK;
	if (!inserted)
		report_result(connection, result);
	PQclear(result);
	return inserted;
}

/* Sends a signal whose claim is held, inside the transaction that holds it. */
static bot_step
deliver(bot_state *bot, size_t i, const signal_event *signal)
{
	char		line[KEY_BYTES + 64];

	if (!insert_delivery(bot, signal))
	{
		tk_rollback(bot->client);
		return TRY_AGAIN;
	}
	maybe_die(bot, i, BEFORE_APPEND);
	if (receiver_has(bot->demo->log, signal->key))
		bot->tally.found++;
	else
	{
		receiver_line(bot->demo, signal, line, sizeof(line));
		if (!receiver_append(bot->demo->log, line, bot->demo->bot))
		{
			fprintf(stderr, "tradekeep: could not append to \"%s\": %s\n", bot->demo->log,
					strerror(errno));
			return GIVE_UP;
		}
		bot->tally.appended++;
	}
	maybe_die(bot, i, BEFORE_COMMIT);
	return GO_ON;
}

/* The signal that the rule finds in what the bot has seen so far, or null. */
static const signal_event *
evaluate(const demo_state *demo, size_t i)
{
	if (feed_rule(demo->candles, i) == NULL)
		return NULL;
	for (size_t s = 0; s < demo->signal_count; s++)
	{
		if (demo->signals[s].candle == i)
			return &demo->signals[s];
	}
	return NULL;
}

static bot_step
process(bot_state *bot, size_t i)
{
	demo_state *demo = bot->demo;
	tk_client  *client = bot->client;
	const tk_candle *candle = &demo->candles[i];
	const signal_event *signal;
	tk_verdict	verdict;
	bool		sending = false;
	bot_step	step;

	if (tk_upsert_candles(client, demo->symbol, DEMO_TIMEFRAME, candle, 1, NULL) != 0)
		return failed(bot, tk_error(client) == TK_ERROR_SERVER);
	if (tk_begin(client) != 0)
		return failed(bot, false);

	/* The clock of a replay stands at the end of the candle. */
	verdict = tk_should_process_candle(client, demo->symbol, DEMO_TIMEFRAME,
									   candle->ts + DEMO_PERIOD, -1, 0, NULL);
	if (verdict == TK_DUPLICATE)
	{
		bot->tally.spared_candles++;
		tk_rollback(client);
		return GO_ON;
	}
	if (verdict != TK_CLAIMED)
		return failed(bot, verdict == TK_REFUSED);

	signal = evaluate(demo, i);
	if (signal != NULL)
	{
		verdict = tk_claim_publish(client, demo->symbol, candle->ts, 0, NULL);
		if (verdict == TK_DUPLICATE)
			bot->tally.spared_publications++;
		else if (verdict != TK_CLAIMED)
			return failed(bot, verdict == TK_REFUSED);
		else if ((step = deliver(bot, i, signal)) != GO_ON)
			return step;
		else
			sending = true;
	}
	if (tk_commit(client) != 0)
		return failed(bot, false);
	bot->tally.processed++;
	bot->tally.sent += sending;
	return GO_ON;
}

static int
follow_feed(bot_state *bot)
{
	for (size_t i = 0; i < bot->demo->count; i++)
	{
		int			attempts = 1;
		bot_step	step;

		give_way(bot, i);
		while ((step = process(bot, i)) == TRY_AGAIN && attempts++ < ATTEMPTS)
			poll(NULL, 0, PAUSE);
		if (step != GO_ON)
			return EXIT_FAILED;
		bot->tally.seen++;
		report_missed_kills(bot, i);
		if (i % 50 == 49)
			report(bot, "progress", (long long) i + 1);
	}
	report_tally(bot);
	return EXIT_DONE;
}

/* tradekeep demo-bot: the parent's options, and what it adds to them. */
int
bot_main(int argc, char **argv)
{
	demo_state	demo;
	bot_state	bot = {.demo = &demo};
	char		name[32];
	int			status = demo_options(&demo, "demo", argc, argv);

	if (status == EXIT_DONE)
		status = feed_make(&demo);
	if (status == EXIT_DONE)
	{
		snprintf(name, sizeof(name), "tradekeep demo bot %d", demo.bot + 1);
		bot.client = open_client(demo.url, name);
		status = follow_feed(&bot);
		tk_close(bot.client);
	}
	feed_free(&demo);
	return status;
}
