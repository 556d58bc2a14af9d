/*
 * check.c
 *		Runs the checks, counts them, and gives them a way to look at the server.
 */
#include "check.h"

#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* How long a condition may take to come true, in ms. */
#define PATIENCE 20000

static int	passed;
static int	failures;

/* One to disturb and one to look: inside a transaction nobody sees the others come and go. */
static PGconn *admin;
static PGconn *observer;

bool
check(bool condition, const char *text, const char *file, int line)
{
	if (condition)
		passed++;
	else
	{
		failures++;
		printf("%s:%d: failed: %s\n", file, line, text);
	}
	return condition;
}

bool
check_int(long long actual, long long expected, const char *text, const char *file, int line)
{
	bool		equal = check(actual == expected, text, file, line);

	if (!equal)
		printf("    is %lld, not %lld\n", actual, expected);
	return equal;
}

bool
check_text(const char *actual, const char *expected, const char *text, const char *file, int line)
{
	bool		equal = check(strcmp(actual, expected) == 0, text, file, line);

	if (!equal)
		printf("    is \"%s\", not \"%s\"\n", actual, expected);
	return equal;
}

int64_t
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static PGresult *
query(PGconn *connection, const char *format, va_list arguments)
{
	char		sql[4096];

	vsnprintf(sql, sizeof(sql), format, arguments);
	return PQexec(connection, sql);
}

bool
admin_run(const char *format,...)
{
	va_list		arguments;
	PGresult   *result;
	bool		succeeded;

	va_start(arguments, format);
	result = query(admin, format, arguments);
	va_end(arguments);
	succeeded = PQresultStatus(result) == PGRES_COMMAND_OK ||
		PQresultStatus(result) == PGRES_TUPLES_OK;
	if (!succeeded)
		printf("%s", PQerrorMessage(admin));
	PQclear(result);
	return succeeded;
}

/* The first value of a query as text, valid until the next call. */
const char *
admin_value(const char *format,...)
{
	static char value[1024];
	va_list		arguments;
	PGresult   *result;

	va_start(arguments, format);
	result = query(observer, format, arguments);
	va_end(arguments);
	snprintf(value, sizeof(value), "%s", PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) :
			 PQerrorMessage(observer));
	PQclear(result);
	return value;
}

PGconn *
admin_connect(void)
{
	const char *url = getenv("DATABASE_URL");

	return PQconnectdb(url != NULL ? url : "");
}

/* Asks until the answer is true; false when it does not become so. */
bool
admin_await(const char *format,...)
{
	int64_t		deadline = now_ms() + PATIENCE;
	va_list		arguments;
	bool		answer = false;

	while (!answer && now_ms() < deadline)
	{
		PGresult   *result;

		va_start(arguments, format);
		result = query(observer, format, arguments);
		va_end(arguments);
		answer = PQntuples(result) > 0 && strcmp(PQgetvalue(result, 0, 0), "t") == 0;
		PQclear(result);
		if (!answer)
			poll(NULL, 0, 2);
	}
	return answer;
}

tk_client *
open_named(const char *name, int call_timeout)
{
	tk_options	options;
	tk_client  *client;

	tk_options_init(&options);
	options.application_name = name;
	options.call_timeout = call_timeout;
	options.backoff_max = 200;
	client = tk_open(&options);
	if (client == NULL || tk_connect(client) != 0)
	{
		printf("could not connect: %s\n", tk_message(client));
		exit(1);
	}
	return client;
}

pid_t
server_process(tk_client *client)
{
	return PQbackendPID(tk_connection(client));
}

bool
failed_with(tk_client *client, tk_error_code code, const char *sqlstate)
{
	bool		as_expected;

	as_expected = tk_error(client) == code && strcmp(tk_sqlstate(client), sqlstate) == 0 &&
		tk_message(client)[0] != '\0';
	if (!as_expected)
		printf("    error %d, SQLSTATE \"%s\": %s\n", tk_error(client), tk_sqlstate(client),
			   tk_message(client));
	return as_expected;
}

int
main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	admin = admin_connect();
	observer = admin_connect();
	if (PQstatus(admin) != CONNECTION_OK || PQstatus(observer) != CONNECTION_OK)
	{
		printf("%s", PQerrorMessage(admin));
		return 1;
	}
	admin_run("SET client_min_messages = warning; TRUNCATE tradekeep.claim, tradekeep.candle");
	test_claims();
	test_leases();
	test_candles();
	test_trades();
	test_arguments();
	test_connections();
	test_outages();
	test_processes();
	test_environment();
	test_calendar();
	test_tiers();
	test_redis_tier();
	test_signals();
	test_coherence();
	test_redis();
	test_spools();
	test_degrading();
	test_replays();
	admin_run("TRUNCATE tradekeep.claim, tradekeep.candle");
	PQfinish(admin);
	PQfinish(observer);
	printf("libtradekeep: %d passed, %d failed\n", passed, failures);
	return failures > 0;
}
