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
#define TRADEKEEP_VERSION_MINOR 5
#define TRADEKEEP_VERSION_PATCH 0
#define TRADEKEEP_VERSION "0.5.0"

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
	TK_TIER_MEMORY,				/* this process had seen the claim committed */
	TK_TIER_REDIS,				/* another process had, and told Redis */
	TK_TIER_POSTGRES
} tk_tier;

/* What becomes of a claim or a write when PostgreSQL cannot be reached. */
typedef enum tk_outage_policy
{
	TK_REFUSE,					/* TK_UNAVAILABLE: nothing happens that is not committed */
	TK_DEGRADE					/* Redis decides, or without it this process; what was granted and
								 * written goes to the spool, and from there into PostgreSQL */
} tk_outage_policy;

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

	/* Tiers in front of PostgreSQL: they only ever answer "duplicate". */
	int			cache_entries;	/* claims remembered in process memory; 1000, negative: none */
	int			cache_recheck;	/* ms a remembered claim is trusted without asking PostgreSQL
								 * whether anything was released; 1000 */
	const char *redis_url;		/* redis://[user[:password]@]host[:port][/db], unix:///path[?db=n];
								 * null: no Redis */
	const char *redis_password; /* wins over the URL's; null: the URL's */
	int			redis_db;		/* wins over the URL's when above 0 */
	int			redis_timeout;	/* ms to connect, and for an answer; 250 */

	/* Outages */
	tk_outage_policy outage;	/* of scopes without one of their own, candles and trades;
								 * TK_REFUSE */
	const char *spool_directory;	/* where TK_DEGRADE keeps its spool: on a disk that outlives
									 * the process, of this user alone; null: TK_DEGRADE is refused */
	int64_t		spool_limit;	/* bytes of this handle's spool; 64 MB */

	/* Where a call says 0 */
	int64_t		candle_drift;	/* ms, tk_should_process_candle(); 60000 */
	int64_t		candle_ttl;		/* ms, of scope candle; 0: what the server says */
	int64_t		publish_ttl;	/* ms, of scope publish; 0: what the server says */
	int64_t		signal_ttl;		/* ms, of signals; 0: what the server says */

	char		problem[256];	/* why the environment cannot be used; every call is then refused */
} tk_options;

/*
 * Fills in the defaults, then what the environment says: DATABASE_URL, REDIS_URL, REDIS_PASSWORD,
 * REDIS_DB, REDIS_TIMEOUT (seconds), REDIS_ENABLED and USE_PERSISTENT_CACHE (false: no Redis),
 * CANDLE_CHECK_WINDOW, CACHE_TTL_CANDLE, CACHE_TTL_PUBLISH, CACHE_TTL_SIGNAL (seconds),
 * TRADEKEEP_OUTAGE (refuse or degrade), TRADEKEEP_SPOOL (a directory), TRADEKEEP_CACHE_ENTRIES.
 * A variable that is empty is not set. Strings stay the environment's.
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
	int			degraded;		/* 1: decided without PostgreSQL, by the policy TK_DEGRADE */
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
 * (negative: the option candle_drift).  `at` is the bot's clock, 0 for the server's.  Outside the
 * drift the answer is TK_DUPLICATE: there is nothing to do.
 */
extern tk_verdict tk_should_process_candle(tk_client *client, const char *instrument,
										   const char *timeframe, int64_t at, int64_t drift,
										   int64_t ttl, tk_answer *answer);

/* Claims the publication of the signal of the candle that began at candle_start. */
extern tk_verdict tk_claim_publish(tk_client *client, const char *instrument,
								   int64_t candle_start, int64_t ttl, tk_answer *answer);

/* A signal about to be sent. */
typedef struct tk_signal
{
	const char *symbol;			/* 1 to 512 bytes */
	const char *direction;		/* LONG or SHORT, in any case */
	double		entry_price;	/* finite, above 0 */
	double		tolerance;		/* fraction of the earlier price, below 1; 0: 0.0005, negative: 0 */
	int64_t		ttl;			/* ms; 0: the option signal_ttl, else the server's */
	const char *data;			/* JSON of your own, or null */
} tk_signal;

/* One that was sent. */
typedef struct tk_sent_signal
{
	int64_t		signal_id;		/* 0 when it was granted in degraded mode */
	double		price;
	int64_t		sent_at;
	int64_t		expires_at;
} tk_sent_signal;

/*
 * Claims a signal, unless a live one of the same symbol and direction has a price q with
 * |entry_price - q| <= tolerance * q. `sent` (may be null) is filled with this signal when it was
 * claimed, else with such an earlier one: from PostgreSQL the nearest, from a tier in front of it any.
 */
extern tk_verdict tk_claim_signal(tk_client *client, const tk_signal *signal,
								  tk_sent_signal *sent, tk_answer *answer);

/*
 * Leases, for work that outlives a call: *token (a fencing token that only grows) tells holders
 * apart. A lease that is neither completed nor extended within `lease` ms goes to the next who asks.
 * Leases are never decided without PostgreSQL.
 *
 * tk_claim_lease() gives TK_DUPLICATE when somebody holds the lease, or the work is done; ttl is how
 * long it stays claimed once completed. The others fail with SQLSTATE TK008 when the token holds the
 * lease no more; tk_release_lease() then gives 0 in *released (may be null).
 */
extern tk_verdict tk_claim_lease(tk_client *client, const char *scope, const char *key,
								 int64_t lease, int64_t ttl, int64_t *token, tk_answer *answer);
extern int	tk_extend_lease(tk_client *client, const char *scope, const char *key, int64_t token,
							int64_t lease);
extern int	tk_complete(tk_client *client, const char *scope, const char *key, int64_t token,
						const char *result);
extern int	tk_release_lease(tk_client *client, const char *scope, const char *key, int64_t token,
							 int *released);

/*
 * Forgets what this handle remembers, and asks PostgreSQL anew: for after changes of the tables by
 * hand. Whoever changes them tells all clients with SELECT tradekeep.forget_cached().
 */
extern int	tk_resync(tk_client *client);

/*
 * The policy of one scope; `signal` is also that of tk_claim_signal(). 0, or -1 when there is no
 * spool for TK_DEGRADE.
 */
extern int	tk_set_outage_policy(tk_client *client, const char *scope, tk_outage_policy policy);

/* 1 when what the last call stored or claimed is in the spool, not yet in PostgreSQL; else 0. */
extern int	tk_spooled(const tk_client *client);

typedef struct tk_replay_report
{
	int64_t		replayed;		/* records that are now in PostgreSQL */
	int64_t		collisions;		/* claims and signals among them that somebody else had got, too */
	int64_t		rejected;		/* records that PostgreSQL refuses; kept beside the spool */
	int64_t		remaining;		/* records still in the spool */
} tk_replay_report;

/*
 * Takes the handle's spool into PostgreSQL, in order; each record once, however often this is cut
 * off. Calls under TK_DEGRADE do the same bit by bit, once PostgreSQL is back. Each collision and each
 * rejected record is logged as a warning. 0 when nothing remains. `report` may be null.
 */
extern int	tk_replay(tk_client *client, tk_replay_report *report);

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

/* Microseconds: bucket i counts calls below 2^i, the last one all others. */
#define TK_LATENCY_BUCKETS 26

typedef struct tk_tier_metrics
{
	int64_t		duplicates;		/* answered "duplicate" here */
	int64_t		claimed;		/* granted here; by memory and Redis only in degraded mode */
	int64_t		misses;			/* passed on to the next tier */
	int64_t		errors;
	int64_t		latency_sum;	/* microseconds of the calls below */
	int64_t		latency[TK_LATENCY_BUCKETS];	/* calls that this tier answered; of memory those
												 * that fill in a tk_answer, and every 64th other */
} tk_tier_metrics;

typedef enum tk_breaker
{
	TK_BREAKER_OFF,				/* no Redis is configured */
	TK_BREAKER_CLOSED,			/* all is well */
	TK_BREAKER_OPEN,			/* Redis failed, and is not asked for a while */
	TK_BREAKER_PROBING			/* the next call tries it */
} tk_breaker;

typedef struct tk_metrics
{
	tk_tier_metrics memory;
	tk_tier_metrics redis;
	tk_tier_metrics postgres;
	int64_t		unavailable;	/* calls without a verdict */
	int64_t		degraded;		/* verdicts in degraded mode, whichever tier gave them */
	int64_t		cached_entries;
	int64_t		evictions;
	int64_t		invalidations;	/* times that a release or a new epoch made entries useless */
	int64_t		reconnects;
	int64_t		redis_failures;
	tk_breaker	breaker;
	int			listening;		/* releases by others are heard at once */
	int64_t		spool_records;
	int64_t		spool_bytes;
	int64_t		spool_failures; /* writes that the spool could not take */
	int64_t		replayed;
	int64_t		collisions;
	int64_t		rejected;
} tk_metrics;

/* Counted since the handle was opened. Cheap, and never asks anybody. */
extern int	tk_read_metrics(const tk_client *client, tk_metrics *metrics);

/* The same as JSON, and as Prometheus's text format. Null when memory ran out. */
extern const char *tk_metrics_json(tk_client *client);
extern const char *tk_metrics_prometheus(tk_client *client);

/*
 * The connection below, for SQL that has no call here, in the same transaction
 * if one is open.  Null while there is none.  It stays the handle's: never
 * finish it, and leave no result unread.  It is in libpq's nonblocking mode, in
 * which PQexec() and its like work as ever.  Notifications are the library's: on
 * channels that it did not listen to, they are dropped.
 */
struct pg_conn;
extern struct pg_conn *tk_connection(tk_client *client);

#ifdef __cplusplus
}
#endif

#endif							/* TRADEKEEP_H */
