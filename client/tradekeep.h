/*
 * tradekeep.h
 *		libtradekeep: what a trading bot must not forget or do twice, kept in
 *		PostgreSQL by the extension tradekeep.
 *
 * One handle per thread, and after a fork one of the child's own.  A handle is
 * opened once and lives as long as the bot: it connects when it is first needed,
 * notices that the server went away, and reconnects with exponential backoff and
 * jitter.  No call retries a write whose outcome is unknown.  Behind a pooler in
 * transaction mode everything works, without prepared statements and so slower.
 *
 * Ownership: tk_open() makes the only object a caller must free, with
 * tk_close().  Strings returned by a function of the handle belong to the
 * handle and stay valid until its next call.  Arguments are only read, and
 * never kept.
 *
 * Time: moments are milliseconds since 1970-01-01 UTC, as exchanges send them.
 * Durations are milliseconds too.  Zero stands for "the default", or "now".
 *
 * Errors: functions that return int give 0 on success and -1 on failure;
 * verdicts name their failures.  tk_error(), tk_sqlstate(), tk_message() and
 * tk_hint() then say what happened to the handle's last call.
 */
#ifndef TRADEKEEP_H
#define TRADEKEEP_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C"
{
#endif

#define TRADEKEEP_VERSION_MAJOR 0
#define TRADEKEEP_VERSION_MINOR 4
#define TRADEKEEP_VERSION_PATCH 0
#define TRADEKEEP_VERSION "0.4.0"

typedef struct tk_client tk_client;

/* The answer to a claim.  Never a guess. */
typedef enum tk_verdict
{
	TK_CLAIMED,					/* it is yours, now: do the work */
	TK_DUPLICATE,				/* somebody has it: leave it alone */
	TK_UNAVAILABLE,				/* nobody could decide: ask again later */
	TK_REFUSED					/* the call is wrong and will stay wrong: see tk_message() */
} tk_verdict;

/* Who gave the answer. */
typedef enum tk_tier
{
	TK_TIER_NONE,				/* there was no answer */
	TK_TIER_POSTGRES
} tk_tier;

typedef enum tk_error_code
{
	TK_OK,
	TK_ERROR_ARGUMENT,			/* refused before anything was sent */
	TK_ERROR_CONNECTION,		/* the server cannot be reached; nothing was written */
	TK_ERROR_UNKNOWN_OUTCOME,	/* the connection broke while a write was under way */
	TK_ERROR_AUTHENTICATION,	/* the server rejects this user, password or database */
	TK_ERROR_SERVER,			/* the server raised an error: see tk_sqlstate() */
	TK_ERROR_MEMORY
} tk_error_code;

typedef enum tk_log_level
{
	TK_LOG_DEBUG,
	TK_LOG_INFO,
	TK_LOG_WARNING,
	TK_LOG_ERROR
} tk_log_level;

typedef void (*tk_log_function) (void *context, tk_log_level level, const char *message);

typedef struct tk_options
{
	const char *database_url;	/* libpq URI or keywords; also postgresql+asyncpg://. Null: libpq's
								 * own environment (PGHOST, PGDATABASE, ...) */
	const char *application_name;	/* as pg_stat_activity shows it; "tradekeep" */
	int			connect_timeout;	/* ms for one attempt; 5000 */
	int			call_timeout;	/* ms until a call gives up waiting for the server, connecting not
								 * counted; 30000 */
	int			backoff_min;	/* ms, the longest pause after a first failed attempt to connect:
								 * it doubles, and the pause is drawn at random below it; 100 */
	int			backoff_max;	/* ms, the longest pause of all; 30000 */
	tk_log_function log;		/* null: silence */
	void	   *log_context;
} tk_options;

/*
 * Fills in the defaults, then what the environment says: DATABASE_URL.
 */
extern void tk_options_init(tk_options *options);

/*
 * Makes a handle; options may be null for the defaults.  Returns null only when
 * out of memory.  It does not connect: the first call does, or tk_connect().
 */
extern tk_client *tk_open(const tk_options *options);
extern void tk_close(tk_client *client);

/*
 * Connects now, waiting as long as one attempt may take.  While a backoff runs,
 * calls fail at once, as the last attempt did, instead of waiting; this one
 * tries all the same.
 */
extern int	tk_connect(tk_client *client);

extern tk_error_code tk_error(const tk_client *client);
extern const char *tk_sqlstate(const tk_client *client);	/* five characters, or "" */
extern const char *tk_message(const tk_client *client); /* "" after success */
extern const char *tk_hint(const tk_client *client);	/* "" when there is none */

extern const char *tk_verdict_name(tk_verdict verdict);
extern const char *tk_tier_name(tk_tier tier);

/*
 * A transaction joins claims with whatever else must happen with them: what is
 * rolled back was never claimed.  A claim inside it is yours only when
 * tk_commit() returned 0.  When the connection breaks, the transaction is gone,
 * and every call fails until tk_rollback().  tk_commit() that fails with
 * TK_ERROR_UNKNOWN_OUTCOME may or may not have committed.
 */
extern int	tk_begin(tk_client *client);
extern int	tk_commit(tk_client *client);
extern int	tk_rollback(tk_client *client);

/* What is known of a verdict. */
typedef struct tk_answer
{
	tk_tier		tier;
	int64_t		latency;		/* microseconds the caller waited */
} tk_answer;

/*
 * Claims (scope, key) for ttl milliseconds; 0 is the scope's own ttl.  `answer`
 * may be null.  Scopes have 1 to 63 bytes, keys 1 to 512, both in UTF-8.
 */
extern tk_verdict tk_claim(tk_client *client, const char *scope, const char *key,
						   int64_t ttl, tk_answer *answer);

/*
 * Claims many keys of one scope in one round trip.  verdicts[i] answers keys[i];
 * of a key that comes twice, the first may be claimed.  Returns -1, and fills
 * verdicts with TK_UNAVAILABLE or TK_REFUSED, when there is no answer.  Up to
 * 1,000,000 keys.
 */
extern int	tk_claim_many(tk_client *client, const char *scope, const char *const *keys,
						  size_t count, int64_t ttl, tk_verdict *verdicts);

/* Sets *claimed to 1 when (scope, key) is claimed by anybody, else to 0. */
extern int	tk_claimed(tk_client *client, const char *scope, const char *key, int *claimed);

/* Gives (scope, key) free.  *released (may be null) tells whether it was claimed. */
extern int	tk_release(tk_client *client, const char *scope, const char *key, int *released);

/*
 * TK_CLAIMED once per candle, and only within `drift` ms after the candle's start
 * (negative: 60,000).  `at` is the bot's clock, 0 for the server's.  Outside the
 * drift the answer is TK_DUPLICATE: there is nothing to do.
 */
extern tk_verdict tk_should_process_candle(tk_client *client, const char *instrument,
										   const char *timeframe, int64_t at, int64_t drift,
										   int64_t ttl, tk_answer *answer);

/* Claims the publication of the signal of the candle that began at candle_start. */
extern tk_verdict tk_claim_publish(tk_client *client, const char *instrument,
								   int64_t candle_start, int64_t ttl, tk_answer *answer);

typedef struct tk_candle
{
	int64_t		ts;				/* start of the candle */
	double		open;
	double		high;
	double		low;
	double		close;
	double		volume;
	int			closed;			/* 0 while the candle may still change */
} tk_candle;

typedef struct tk_upsert_counts
{
	int64_t		inserted;
	int64_t		updated;
	int64_t		unchanged;
	int64_t		ignored;		/* partial bars that came after a newer or a final one */
} tk_upsert_counts;

/*
 * Stores candles of one symbol and timeframe in one round trip: all of them or,
 * when one is refused, none.  Prices are the server's to judge: it refuses what is
 * not finite, high < low and the like with SQLSTATE TK005.  `counts` may be null.
 * Up to 1,000,000 candles; none at all only checks the arguments.
 */
extern int	tk_upsert_candles(tk_client *client, const char *symbol, const char *timeframe,
							  const tk_candle *candles, size_t count, tk_upsert_counts *counts);

/*
 * Stores one candle each of many symbols in one round trip: symbols[i] goes with
 * candles[i].
 */
extern int	tk_upsert_symbols(tk_client *client, const char *const *symbols,
							  const char *timeframe, const tk_candle *candles, size_t count,
							  tk_upsert_counts *counts);

/*
 * Stores the candles in raw messages of an exchange, each as it came from a
 * websocket or a REST endpoint of Binance or Bybit, or as ccxt's arrays, in one
 * round trip: all of them or, when one is refused, none.  The server reads them.
 * `symbol` and `timeframe` are for messages that do not name theirs, else null.
 * A message that is no JSON is refused with SQLSTATE 22P02.  `counts` may be null.
 * Up to 1,000,000 messages and 1 GB; none at all only checks the arguments.
 */
extern int	tk_ingest_klines(tk_client *client, const char *const *messages, size_t count,
							 const char *symbol, const char *timeframe,
							 tk_upsert_counts *counts);

/*
 * A trade.  Money is decimal text, "0.1" or "-1.5e-7", so that nothing is rounded
 * on its way into the ledger; a double has up to 17 digits that count, and "%.15g"
 * gives those that people mean.  Null, or a time of 0, is what is not known.
 */
typedef struct tk_trade
{
	const char *bot;			/* null: "", the only one there is */
	const char *trade_id;		/* with bot the key; 1 to 512 bytes */
	const char *strategy;
	const char *symbol;			/* 1 to 512 bytes */
	const char *side;			/* LONG or SHORT, in any case */
	const char *quantity;		/* what the stake alone pays for, without leverage */
	const char *entry_price;
	const char *exit_price;
	const char *leverage;		/* null: 1 */
	const char *fee;			/* the sum of all fees, in the currency of pnl; null: 0 */
	int64_t		opened_at;
	int64_t		closed_at;		/* 0: it is open, and has no exit_price, pnl ... */
	const char *pnl;			/* fees deducted; null: reckoned from the prices */
	const char *pnl_ratio;		/* pnl by the stake, 0.05 is 5 % */
	const char *exit_reason;
	const char *data;			/* JSON of your own */
} tk_trade;

/*
 * Adds a trade, open or closed, once: *added (may be null) is 1, or 0 when the same
 * one is stored already, closed since perhaps.  One that is stored with other
 * figures is refused with SQLSTATE TK010, or with `replace` corrected.
 *
 * After TK_ERROR_UNKNOWN_OUTCOME the library does not repeat it, as of no write; but
 * the caller may, and should: without `replace` that can do no harm, and *added
 * then tells of the repetition alone.  With `replace` it may undo a correction
 * that somebody else made in between.
 */
extern int	tk_add_trade(tk_client *client, const tk_trade *trade, int replace, int *added);

/*
 * Closes an open trade, whose pnl the server reckons: *closed (may be null) is 1, or
 * 0 when it was closed so before; with other figures TK010, and P0002 when there is
 * none.  bot null is ""; closed_at 0 is now; fee is the sum of all fees, null for
 * what is stored.  After an unknown outcome it may be repeated.
 */
extern int	tk_close_trade(tk_client *client, const char *bot, const char *trade_id,
						   const char *exit_price, int64_t closed_at, const char *fee,
						   const char *exit_reason, int *closed);

/* Which trades; all null and 0: every closed one. */
typedef struct tk_stats_query
{
	const char *period;			/* "30 days": closed since then, as intervals are written in SQL,
								 * months by the calendar; null: all time */
	const char *symbol;
	const char *strategy;
	const char *bot;
	const char *starting_balance;	/* when the period begins, in decimal text */
	int64_t		at;				/* when the period ends; 0: now */
} tk_stats_query;

/*
 * The metrics, as docs/trade_stats.md defines them.  What the trades do not define is NAN
 * in a double and null in text.  Text belongs to the handle; amounts of money are
 * exact decimal text.
 */
typedef struct tk_trade_metrics
{
	int64_t		trades;
	int64_t		wins;
	int64_t		losses;
	int64_t		draws;
	double		win_rate;		/* as all ratios: 0.5 is 50 % */
	const char *total_pnl;
	const char *gross_profit;
	const char *gross_loss;		/* 0 or negative */
	double		profit_factor;
	const char *average_win;
	const char *average_loss;	/* negative */
	double		payoff_ratio;
	const char *expectancy;
	double		expectancy_ratio;
	const char *best;
	const char *worst;
	const char *max_drawdown;
	double		max_drawdown_ratio; /* this and calmar need a starting_balance */
	double		sharpe;
	double		sortino;
	double		calmar;
	double		sqn;
	double		average_holding;	/* milliseconds */
	const char *top_symbols;	/* JSON: [{"symbol": ..., "pnl": ...}, ...], the best five */
} tk_trade_metrics;

/*
 * The metrics of closed trades, never stale.  query may be null.  A bad period is
 * refused with SQLSTATE 22007 or TK003, a bad balance with 22P02 or TK009.
 */
extern int	tk_trade_stats(tk_client *client, const tk_stats_query *query,
						   tk_trade_metrics *metrics);

typedef struct tk_health
{
	int			connected;
	int64_t		latency;		/* microseconds of one round trip */
	int			server_version; /* 150020 is 15.20 */
	int			standby;		/* the server is a hot standby: it answers reads only */
	int			preloaded;		/* tradekeep is in shared_preload_libraries */
	char		extension_version[32];	/* of the SQL objects; "" when the extension is missing */
	char		library_version[32];	/* of the server's tradekeep.so */
	int64_t		reconnects;		/* connections made by this handle after its first */
} tk_health;

/* Asks the server how it is.  Also 0 when it cannot be reached: see connected. */
extern int	tk_health_check(tk_client *client, tk_health *health);

/*
 * The connection below, for SQL that has no call here, in the same transaction
 * if one is open.  Null while there is none.  It stays the handle's: never
 * finish it, and leave no result unread.  It is in libpq's nonblocking mode, in
 * which PQexec() and its like work as ever.
 */
struct pg_conn;
extern struct pg_conn *tk_connection(tk_client *client);

#ifdef __cplusplus
}
#endif

#endif							/* TRADEKEEP_H */
