/*
 * check.h
 *		Checks of libtradekeep against a real server: PG* or DATABASE_URL name it,
 *		the extension is there, and the role is a superuser.
 */
#ifndef TRADEKEEP_CHECK_H
#define TRADEKEEP_CHECK_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <string.h>
#include <sys/types.h>

#include "tradekeep.h"

#define CHECK(condition) check((condition), #condition, __FILE__, __LINE__)
#define CHECK_INT(actual, expected) \
	check_int((actual), (expected), #actual, __FILE__, __LINE__)
#define CHECK_TEXT(actual, expected) \
	check_text((actual), (expected), #actual, __FILE__, __LINE__)

extern bool check(bool condition, const char *text, const char *file, int line);
extern bool check_int(long long actual, long long expected, const char *text, const char *file,
					  int line);
extern bool check_text(const char *actual, const char *expected, const char *text,
					   const char *file, int line);

/* A second way into the database, to look at it and to disturb it. */
extern bool admin_run(const char *format,...) __attribute__((format(printf, 1, 2)));
extern const char *admin_value(const char *format,...) __attribute__((format(printf, 1, 2)));
extern bool admin_await(const char *format,...) __attribute__((format(printf, 1, 2)));

/* One more of those, the caller's to finish. */
extern PGconn *admin_connect(void);

/* A handle under a name by which the admin finds its session. */
extern tk_client *open_named(const char *name, int call_timeout);
extern pid_t server_process(tk_client *client);
extern int64_t now_ms(void);

/* True when the last call failed like this. */
extern bool failed_with(tk_client *client, tk_error_code code, const char *sqlstate);

extern void test_claims(void);
extern void test_leases(void);
extern void test_candles(void);
extern void test_trades(void);
extern void test_arguments(void);
extern void test_connections(void);
extern void test_outages(void);
extern void test_processes(void);
extern void test_calendar(void);
extern void test_tiers(void);
extern void test_redis_tier(void);
extern void test_signals(void);
extern void test_coherence(void);
extern void test_redis(void);
extern void test_spools(void);
extern void test_degrading(void);
extern void test_replays(void);
extern void test_environment(void);

#endif							/* TRADEKEEP_CHECK_H */
