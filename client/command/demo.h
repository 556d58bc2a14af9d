/*
 * demo.h
 *		What the parent of the demo and its bots share.
 *
 * Both make the feed, the signals and the plan of kills from the same options,
 * so that only events need to pass between them:
 *
 *		bot to parent	"progress N", "point K", "missed K", "tally N...", a line each
 *		parent to bot	a byte: one more kill of the plan is settled
 */
#ifndef TRADEKEEP_DEMO_H
#define TRADEKEEP_DEMO_H

#include "command.h"

#define BOTS 2
#define POINTS 2
#define KILLS (BOTS * POINTS)

#define DEMO_TIMEFRAME "1m"
#define DEMO_PERIOD INT64_C(60000)

/* The longest key: a symbol, a colon, a time. */
#define KEY_BYTES (512 + 1 + 19 + 1)

typedef enum kill_point
{
	BEFORE_APPEND,				/* the claims are made, nothing is sent */
	BEFORE_COMMIT				/* it is sent, and the database does not know */
} kill_point;

typedef struct signal_event
{
	size_t		candle;			/* index in the feed */
	const char *direction;		/* LONG or SHORT */
	char		key[KEY_BYTES]; /* as claim_publish() makes it */
} signal_event;

typedef struct kill_plan
{
	int			bot;
	kill_point	point;
	size_t		signal;			/* index of the signal at which it happens */
} kill_plan;

typedef struct demo_state
{
	const char *url;
	const char *data;			/* a file, or null for a feed of our own */
	const char *log;
	const char *symbol;
	uint64_t	seed;
	size_t		limit;			/* the most candles to take */

	tk_candle  *candles;		/* ascending by time, each once */
	size_t		count;
	size_t		dropped;		/* rows of the file that came twice */
	signal_event *signals;
	size_t		signal_count;
	kill_plan	kills[KILLS];

	/* Only in a bot. */
	int			bot;			/* 0, 1; -1 in the parent */
	int			settled;		/* kills of the plan that have happened, or never will */
	int			reports;		/* file descriptors */
	int			orders;
} demo_state;

/* What a bot did, over all its lives. */
typedef struct bot_tally
{
	int64_t		seen;			/* candles */
	int64_t		processed;
	int64_t		spared_candles;
	int64_t		spared_publications;
	int64_t		sent;			/* and committed */
	int64_t		appended;
	int64_t		found;			/* in the log already */
} bot_tally;

typedef struct bot_record
{
	int			lives;
	bot_tally	tally;
} bot_record;

typedef struct kill_record
{
	bool		happened;
	bool		waiting;		/* the other bot stood waiting for the claim */
} kill_record;

/* demo.c */
extern int	demo_options(demo_state *demo, const char *subcommand, int argc, char **argv);

/* feed.c */
extern int	feed_make(demo_state *demo);
extern void feed_free(demo_state *demo);
extern const char *feed_rule(const tk_candle *candles, size_t i);

/* receiver.c */
#define LOG_HEADER "# tradekeep demo: what was sent\n"

extern void receiver_line(const demo_state *demo, const signal_event *signal, char *line,
						  size_t size);
extern bool receiver_has(const char *path, const char *key);
extern bool receiver_append(const char *path, const char *line, int bot);
extern bool receiver_reset(const char *path);

/* proof.c */
extern bool prove(const demo_state *demo, tk_client *client, const bot_record bots[BOTS],
				  const kill_record kills[KILLS], double seconds);

#endif							/* TRADEKEEP_DEMO_H */
