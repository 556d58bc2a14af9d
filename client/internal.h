/*
 * internal.h
 *		What the files of libtradekeep share.  Nothing here is exported.
 *
 * A call goes down through three floors: a room (claim.c, candle.c, trade.c ...)
 * checks the arguments and names a statement, statement.c runs it against a
 * deadline and decides what its failure means, connection.c keeps a connection
 * to run it on.
 *
 * A claim or a signal goes through tier.c first, which asks memory (cache.c) and
 * Redis (redis.c) and trusts them as far as known.c allows. When PostgreSQL is
 * away, degrade.c decides, and spool.c keeps.
 */
#ifndef TRADEKEEP_INTERNAL_H
#define TRADEKEEP_INTERNAL_H

#pragma GCC visibility push(default)
#include "tradekeep.h"
#pragma GCC visibility pop

#include <libpq-fe.h>
#include <stdbool.h>

/* The server's limits; it would refuse more with the same SQLSTATE. */
#define MAX_SCOPE_BYTES 63
#define MAX_KEY_BYTES	512
#define MAX_BATCH		1000000
#define MAX_MESSAGE_BYTES 1000000000

/* What a timestamptz can hold, in milliseconds since 1970; the server takes less. */
#define MIN_TIME		(-INT64_C(210866803200000))
#define MAX_TIME		INT64_C(9224318015999999)

/* The longest ttl in milliseconds that an interval can hold in microseconds. */
#define MAX_TTL			(INT64_MAX / 1000)

#define SQLSTATE_SCOPE	"TK001"
#define SQLSTATE_KEY	"TK002"
#define SQLSTATE_TTL	"TK003"
#define SQLSTATE_TIME	"TK004"
#define SQLSTATE_BATCH	"TK006"
#define SQLSTATE_SIGNAL "TK007"

/* What the client itself has to say about connections and transactions. */
#define SQLSTATE_CANNOT_CONNECT		"08001"
#define SQLSTATE_CONNECTION_LOST	"08006"
#define SQLSTATE_OUTCOME_UNKNOWN	"08007"
#define SQLSTATE_OPEN_TRANSACTION	"25001"
#define SQLSTATE_NO_TRANSACTION		"25P01"
#define SQLSTATE_FAILED_TRANSACTION "25P02"
#define SQLSTATE_BAD_ENCODING		"22021"
#define SQLSTATE_BAD_NAME			"22P02"
#define SQLSTATE_DISK_FULL			"53100"
#define SQLSTATE_CANNOT_NOW			"57P03"
#define SQLSTATE_IO					"58030"

/* Types of the server, by their fixed Oids; 0 lets the server infer the type. */
#define OID_INFERRED	0
#define OID_BOOL		16
#define OID_INT8		20
#define OID_INT4		23
#define OID_TEXT		25
#define OID_FLOAT8		701
#define OID_BOOL_ARRAY	1000
#define OID_TEXT_ARRAY	1009
#define OID_FLOAT8_ARRAY 1022
#define OID_TIMESTAMPTZ 1184
#define OID_TIMESTAMPTZ_ARRAY 1185
#define OID_INTERVAL	1186
#define OID_NUMERIC		1700
#define OID_JSONB		3802
#define OID_JSONB_ARRAY 3807

#define MAX_PARAMETERS	17

/* One bit each in tk_client.prepared. */
typedef enum tki_statement_id
{
	TKI_CLAIM,
	TKI_CLAIM_MANY,
	TKI_CLAIMED,
	TKI_RELEASE,
	TKI_SHOULD_PROCESS_CANDLE,
	TKI_CLAIM_PUBLISH,
	TKI_UPSERT_CANDLES,
	TKI_UPSERT_SYMBOLS,
	TKI_INGEST_KLINES,
	TKI_ADD_TRADE,
	TKI_CLOSE_TRADE,
	TKI_TRADE_STATS,
	TKI_CACHE_STATE,
	TKI_CLAIM_SIGNAL,
	TKI_CLAIM_LEASE,
	TKI_EXTEND_LEASE,
	TKI_COMPLETE,
	TKI_RELEASE_LEASE,
	TKI_REPLAY_POSITION,
	TKI_REPLAY_ADVANCE,
	TKI_REPLAY_END,
	TKI_REPLAY_CLAIM,
	TKI_REPLAY_SIGNAL,
	TKI_HEALTH,
	TKI_EXTENSION_HEALTH,
	TKI_IMPORT_CLAIMS,
	TKI_SIMPLE					/* a command without parameters, never prepared */
} tki_statement_id;

/* What it takes to run a statement twice, when the first answer got lost. */
typedef enum tki_access
{
	TKI_READ,					/* nothing: it changes nothing */
	TKI_WRITE,					/* certainty that the first had no effect */
	TKI_COMMIT					/* as a write; and a fatal error may come after its effect */
} tki_access;

typedef struct tki_statement
{
	tki_statement_id id;
	tki_access	access;
	const char *name;
	const char *sql;
	int			count;			/* of parameters */
	Oid			types[MAX_PARAMETERS];
} tki_statement;

typedef struct tki_parameters
{
	int			count;
	const char *values[MAX_PARAMETERS];
	int			lengths[MAX_PARAMETERS];
	int			formats[MAX_PARAMETERS];
	char		scratch[MAX_PARAMETERS][16];
} tki_parameters;

/* A field of a row value. */
typedef struct tki_field
{
	const char *data;
	int			length;			/* -1: null */
} tki_field;

/* A one-dimensional array in the server's binary format, under construction. */
typedef struct tki_array
{
	char	   *data;
	size_t		size;
} tki_array;

/* What is claimed, as tier.c and degrade.c see it.  Strings are the caller's or on its stack. */
typedef struct tki_request
{
	bool		is_signal;
	const char *scope;			/* of signals "signal" */
	const char *key;			/* of signals the symbol; null: not known on this side */
	int64_t		ttl;			/* ms as the caller or the options say; 0: the server's */
	int64_t		expires_at;		/* of a candle claim, ms by the clock in use; 0: now + ttl */
	bool		too_late;		/* of a candle claim: the drift is over by the clock in use */
	int64_t		valid_from;		/* server times between which `key` is what PostgreSQL would */
	int64_t		valid_until;	/* claim, if it goes by its own clock; 0: at any time */
	const char *direction;		/* of signals, in capitals */
	double		price;
	double		tolerance;
	const char *data;			/* of signals, or null */
	const tki_statement *statement; /* asks PostgreSQL */
	const tki_parameters *parameters;
} tki_request;

/* What an entry of memory or Redis must have to be trusted; see known.c. */
typedef struct tki_stamp
{
	int64_t		epoch;
	int64_t		version;
} tki_stamp;

/* (scope, key), or ("", symbol, direction) of a signal; zeroes follow up to a whole word. */
#define TKI_MAX_NAME	(MAX_SCOPE_BYTES + 1 + MAX_KEY_BYTES)
typedef struct tki_name
{
	size_t		length;
	char		text[TKI_MAX_NAME + 8];
} tki_name;

typedef struct tki_cached
{
	int64_t		version;
	int64_t		expires_at;		/* by the server's clock, in ms */
	int64_t		signal_id;		/* of signals, as what follows */
	int64_t		sent_at;
	double		price;
} tki_cached;

/* The longest name of a key in Redis, and a null byte: a scope may need three bytes for one. */
#define TKI_REDIS_KEY	(sizeof("tradekeep:claim::") + 3 * MAX_SCOPE_BYTES + MAX_KEY_BYTES)

typedef struct tki_cache tki_cache;
typedef struct tki_known tki_known;
typedef struct tki_redis tki_redis;
typedef struct tki_spool tki_spool;
typedef struct tki_grants tki_grants;
typedef struct tki_policy tki_policy;

struct tk_client
{
	PGconn	   *connection;		/* null while there is none */
	unsigned	generation;		/* tki_generation when the handle was opened */
	uint64_t	prepared;		/* statements that the connection knows, by id */
	bool		unnamed;		/* prepared statements do not survive: a pooler is between */
	bool		condemned;		/* the server announced that it ends the connection */
	bool		in_transaction; /* when a statement last ended */
	bool		transaction_lost;	/* the connection broke inside a transaction */
	PGresult   *answer;			/* what strings of the last call point into, or null */
	int64_t		last_use;		/* when a statement was last sent, on the monotonic clock, in ms */

	char	   *conninfo;		/* for libpq, or null */
	char	   *application_name;
	tk_options	options;		/* without the strings */

	int			failures;		/* attempts to connect that failed in a row */
	int64_t		next_attempt;	/* on the monotonic clock, in ms */
	int64_t		connections;	/* made since the handle was opened */

	tk_error_code error;
	char		sqlstate[6];
	char		message[1024];
	char		hint[512];

	/* Why the last attempt to connect failed: the answer of calls during a backoff. */
	tk_error_code connect_error;
	char		connect_sqlstate[6];
	char		connect_message[1024];
	char		connect_hint[512];

	tki_cache  *cache;			/* null: nothing is remembered */
	tki_known  *known;			/* what PostgreSQL last said of releases */
	tki_redis  *redis;			/* null: not configured */
	tki_spool  *spool;			/* null: no directory is configured */
	tki_grants *grants;			/* what the spools grant, or null */
	tki_policy *policies;		/* of scopes that have their own */
	bool		spooled;		/* what the last call wrote is in the spool */
	char	   *text;			/* the last answer of tk_metrics_json() and its like, or null */
	tk_metrics	metrics;		/* the counters; the rest is filled in by tk_read_metrics() */
};

/* client.c */
extern int64_t tki_now_ms(void);
extern int64_t tki_now_us(void);
extern void tki_log(tk_client *client, tk_log_level level, const char *format,...)
			__attribute__((format(printf, 3, 4)));
extern void tki_clear_error(tk_client *client);
extern void tki_fail(tk_client *client, tk_error_code code, const char *sqlstate,
					 const char *format,...) __attribute__((format(printf, 4, 5)));
extern void tki_hint(tk_client *client, const char *format,...)
			__attribute__((format(printf, 2, 3)));
extern void tki_copy_text(char *target, size_t size, const char *source);
extern tk_verdict tki_verdict_of_failure(const tk_client *client);

/* environment.c */
extern void tki_default_options(tk_options *options);

/* url.c */
extern char *tki_conninfo(const char *url, char *reason, size_t size);

/* connection.c */
extern unsigned tki_generation; /* how many forks lie between this process and the first */
extern void tki_count_forks(void);
extern bool tki_enter(tk_client *client);
extern bool tki_connect(tk_client *client, bool despite_backoff);
extern bool tki_connection_is_dead(tk_client *client);
extern void tki_drop_connection(tk_client *client);
extern void tki_cancel(tk_client *client);
extern int	tki_poll(int fd, short events, int64_t deadline);
extern int	tki_backoff(int failures, int first, int longest);

/* redis_url.c */
typedef struct tki_redis_address
{
	char	   *text;			/* what the others point into */
	const char *host;			/* null: there is a path */
	const char *path;			/* of a socket */
	const char *user;			/* null: the default one */
	const char *password;		/* null: none */
	int			port;
	int			db;
} tki_redis_address;

extern bool tki_redis_url(const char *url, tki_redis_address *address, char *reason, size_t size);

/* redis.c */
struct redisReply;				/* of hiredis/hiredis.h */
extern tki_redis *tki_redis_make(const tk_options *options, char *reason, size_t size);
extern void tki_redis_free(tki_redis *redis);
extern tk_breaker tki_redis_breaker(const tk_client *client);
extern const char *tki_redis_reason(const tk_client *client);
extern bool tki_redis_usable(const tk_client *client);
extern struct redisReply *tki_redis_command(tk_client *client, int argc, const char *const *argv,
											const size_t *lengths);

/* statement.c */
extern PGresult *tki_execute(tk_client *client, const tki_statement *statement,
							 const tki_parameters *parameters);
extern int	tki_command(tk_client *client, const tki_statement *statement);
extern bool tki_in_transaction(const tk_client *client);
extern bool tki_answer_bool(tk_client *client, PGresult *result, bool *answer);
extern bool tki_answer_int64(const PGresult *result, int column, int64_t *answer);
extern bool tki_answer_row(const PGresult *result, int count, tki_field *fields);
extern bool tki_unexpected(tk_client *client, PGresult *result);

/* wire.c */
extern void tki_put_null(tki_parameters *parameters);
extern void tki_put_text(tki_parameters *parameters, const char *value);
extern void tki_put_int4(tki_parameters *parameters, int32_t value);
extern void tki_put_int8(tki_parameters *parameters, int64_t value);
extern void tki_put_timestamp(tki_parameters *parameters, int64_t ms);
extern void tki_put_interval(tki_parameters *parameters, int64_t ms);
extern void tki_put_float8(tki_parameters *parameters, double value);
extern void tki_put_array(tki_parameters *parameters, const tki_array *array);
extern bool tki_array_start(tki_array *array, Oid type, size_t count, size_t payload);
extern void tki_array_set_count(tki_array *array, uint32_t count);
extern void tki_array_add(tki_array *array, const void *value, size_t length);
extern void tki_array_add_timestamp(tki_array *array, int64_t ms);
extern void tki_array_add_float8(tki_array *array, double value);
extern void tki_array_add_json(tki_array *array, const char *json, size_t length);
extern uint32_t tki_read_uint32(const char *data);
extern uint64_t tki_read_uint64(const char *data);
extern int64_t tki_read_time(const char *data);

/* degrade.c */
extern bool tki_may_degrade(const tk_client *client, const char *scope);
extern bool tki_stays_degraded(tk_client *client, const tki_request *request);
extern bool tki_follows_spool(tk_client *client, const char *scope);
extern tk_verdict tki_degrade(tk_client *client, const tki_request *request,
							  tk_sent_signal *sent, tk_answer *answer);
extern PGresult *tki_write(tk_client *client, const tki_statement *statement,
						   const tki_parameters *parameters);
extern void tki_policies_free(tk_client *client);

/* spool.c */
extern bool tki_spool_open(tk_client *client, const char *path, bool adopt, char *reason,
						   size_t size);
extern void tki_spool_close(tk_client *client);

/* candle.c and trade.c: what is kept in the spool */
extern const tki_statement tki_upsert_candles_statement;
extern const tki_statement tki_upsert_symbols_statement;
extern const tki_statement tki_ingest_klines_statement;
extern const tki_statement tki_add_trade_statement;
extern const tki_statement tki_close_trade_statement;

/* check.c */
extern bool tki_is_utf8(const char *text, size_t length);
extern bool tki_check_scope(tk_client *client, const char *scope);
extern bool tki_check_key(tk_client *client, const char *key, const char *what);
extern bool tki_check_name(tk_client *client, const char *name, const char *what);
extern bool tki_check_ttl(tk_client *client, int64_t ttl, const char *what);
extern bool tki_check_time(tk_client *client, int64_t ms, const char *what);
extern bool tki_check_count(tk_client *client, size_t count, const char *what);

/* calendar.c */
#define TKI_UTC_TEXT	20
extern int	tki_timeframe(const char *name);
extern bool tki_candle_time(int64_t ms);
extern int64_t tki_candle_start(int timeframe, int64_t ms);
extern int64_t tki_candle_end(int timeframe, int64_t start);
extern void tki_utc_text(int64_t ms, char *text);

/* cache.c; to be freed by free() */
#define TKI_NEVER_TRUSTED INT64_MIN /* a version that no subject has */
extern tki_cache *tki_cache_make(int size);
extern void tki_set_name(tki_name *name, const char *scope, const char *key,
						 const char *direction);
extern const tki_cached *tki_cache_find(tki_cache *cache, const tki_name *name, int64_t clock);
extern void tki_cache_put(tki_cache *cache, const tki_name *name, const tki_cached *cached);
extern void tki_cache_drop(tki_cache *cache, const tki_name *name);
extern void tki_cache_clear(tki_cache *cache);
extern void tki_cache_distrust(tki_cache *cache);
extern void tki_cache_count(const tki_cache *cache, int64_t *entries, int64_t *evictions);

/* known.c; to be freed by free() */
extern tki_known *tki_known_make(void);
extern void tki_known_learn(tk_client *client, const char *scope, tki_stamp stamp, int64_t clock,
							int64_t sent_at, int64_t received_at);
extern bool tki_known_fresh(tk_client *client, const char *scope, int64_t *now, tki_stamp *stamp);
extern bool tki_known_ask(tk_client *client);
extern void tki_known_distrust(tk_client *client, const char *scope);
extern tki_stamp tki_known_stamp(const tk_client *client, const char *scope);
extern bool tki_known_clock(const tk_client *client, int64_t now, int64_t *low, int64_t *high);
extern int64_t tki_known_ttl(const tk_client *client, const char *scope);
extern bool tki_known_needs_ttl(const tk_client *client, const char *scope);
extern bool tki_known_listening(const tk_client *client);
extern void tki_known_drain(tk_client *client);
extern void tki_forget_all(tk_client *client);

/* tier.c */
extern bool tki_make_tiers(tk_client *client);
extern tk_verdict tki_decide(tk_client *client, const tki_request *request, tk_sent_signal *sent,
							 tk_answer *answer);
extern tk_verdict tki_refuse(tk_answer *answer);
extern bool tki_remembered(tk_client *client, const tki_request *request, int64_t clock,
						   tki_cached *cached);
extern bool tki_near(const tki_request *request, double price);
extern void tki_forget_claim(tk_client *client, const char *scope, const char *key);

/* redis_tier.c */
extern void tki_redis_key(char *target, const tki_request *request);
extern bool tki_redis_find(tk_client *client, const tki_request *request, int64_t *now,
						   tki_cached *cached, bool *degraded);
extern void tki_redis_remember(tk_client *client, const tki_request *request, tki_stamp stamp,
							   const tki_cached *cached);
extern void tki_redis_forget(tk_client *client, const char *scope, const char *key,
							 const tki_stamp *newest);

#endif							/* TRADEKEEP_INTERNAL_H */
