/*
 * connection_test.c
 *		Where to connect, as whom, and what is said when that fails.
 */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>

#define HOUR 3600000
#define URL "postgresql://%s@/%s?host=%s&port=%s"

static tk_client *
open_url(const char *url)
{
	tk_options	options;

	tk_options_init(&options);
	options.database_url = url;
	options.connect_timeout = 10000;
	return tk_open(&options);
}

/* A way to the checks' own server, with one thing about it changed. */
static const char *
url_to(const char *format, const char *database, const char *user)
{
	static char url[1024];
	char		host[256];
	char		port[16];

	snprintf(host, sizeof(host), "%s",
			 admin_value("SELECT coalesce(host(inet_server_addr()),"
						 " split_part(current_setting('unix_socket_directories'), ',', 1))"));
	snprintf(port, sizeof(port), "%s", admin_value("SHOW port"));
	snprintf(url, sizeof(url), format, user, database, host, port);
	return url;
}

static void
check_connects(const char *format)
{
	char		database[64];
	char		user[64];
	tk_client  *client;

	snprintf(database, sizeof(database), "%s", admin_value("SELECT current_database()"));
	snprintf(user, sizeof(user), "%s", admin_value("SELECT current_user"));
	client = open_url(url_to(format, database, user));
	if (!CHECK_INT(tk_connect(client), 0))
		printf("    %s\n", tk_message(client));
	tk_close(client);
}

static void
check_url_refused(const char *url, const char *part_of_message)
{
	tk_client  *client = open_url(url);

	CHECK_INT(tk_claim(client, "s", "k", HOUR, NULL), TK_REFUSED);
	CHECK_INT(tk_error(client), TK_ERROR_ARGUMENT);
	if (!CHECK(strstr(tk_message(client), part_of_message) != NULL))
		printf("    %s\n", tk_message(client));
	CHECK(strstr(tk_message(client), "secret") == NULL);
	CHECK_INT(tk_connect(client), -1);
	CHECK_INT(tk_error(client), TK_ERROR_ARGUMENT);
	tk_close(client);
}

static void
test_urls(void)
{
	check_connects(URL);
	check_connects("postgres://%s@/%s?host=%s&port=%s");
	check_connects("postgresql+asyncpg://%s@/%s?host=%s&port=%s&ssl=disable");
	check_connects("postgresql+asyncpg://%s@/%s?prepared_statement_cache_size=0&host=%s&port=%s");
	check_connects("postgres+psycopg2://%s@/%s?host=%s&port=%s");
	check_connects("user=%s dbname=%s host=%s port=%s");

	check_url_refused("mysql://u:secret@h/d", "mysql");
	check_url_refused("postgresql://u:secret@h/d?no_such_parameter=1", "no_such_parameter");
	check_url_refused("postgresql://u:secret@[::1/d", "cannot read");
	check_url_refused("postgresql://u:%zzsecret@h/d", "cannot read");
	check_url_refused("host=h password='secret", "cannot read");
	check_url_refused("just-a-word", "cannot read");
}

/* Says the same during the pause after a failed attempt: nothing hides a wrong password. */
static void
check_rejected(const char *url, const char *sqlstate)
{
	tk_client  *client = open_url(url);

	CHECK_INT(tk_connect(client), -1);
	CHECK(failed_with(client, TK_ERROR_AUTHENTICATION, sqlstate));
	CHECK_INT(tk_claim(client, "s", "k", HOUR, NULL), TK_UNAVAILABLE);
	CHECK(failed_with(client, TK_ERROR_AUTHENTICATION, sqlstate));
	CHECK(strstr(tk_message(client), "FATAL") != NULL);
	CHECK(strstr(tk_message(client), ".c:") == NULL && strstr(tk_hint(client), ".c:") == NULL);
	tk_close(client);
}

static void
test_rejections(void)
{
	char		user[64];
	char		database[64];

	snprintf(user, sizeof(user), "%s", admin_value("SELECT current_user"));
	snprintf(database, sizeof(database), "%s", admin_value("SELECT current_database()"));
	check_rejected(url_to(URL, "no_such_database", user), "3D000");
	check_rejected(url_to(URL, database, "no_such_role"), "28000");
}

static void
test_nobody_there(void)
{
	tk_client  *client = open_url("host=/nonexistent");
	tk_health	health;
	tk_verdict	verdict;
	const char *keys[] = {"k"};

	CHECK_INT(tk_claim(client, "s", "k", HOUR, NULL), TK_UNAVAILABLE);
	CHECK(failed_with(client, TK_ERROR_CONNECTION, "08001"));
	CHECK(strstr(tk_message(client), "/nonexistent") != NULL);
	CHECK(tk_hint(client)[0] != '\0');
	CHECK_INT(tk_claim_many(client, "s", keys, 1, HOUR, &verdict), -1);
	CHECK_INT(verdict, TK_UNAVAILABLE);
	CHECK_INT(tk_begin(client), -1);
	CHECK(tk_connection(client) == NULL);
	CHECK_INT(tk_health_check(client, &health), 0);
	CHECK_INT(health.connected, 0);
	CHECK(tk_message(client)[0] != '\0');
	tk_close(client);
}

static void
test_health(void)
{
	tk_client  *client = open_named("health", 30000);
	tk_health	health;

	CHECK_INT(tk_health_check(client, &health), 0);
	CHECK_INT(health.connected, 1);
	CHECK(health.latency > 0);
	CHECK_INT(health.server_version, atoi(admin_value("SHOW server_version_num")));
	CHECK_INT(health.standby, 0);
	CHECK_INT(health.preloaded, admin_value("SELECT tradekeep.preloaded()")[0] == 't');
	CHECK_TEXT(health.extension_version,
			   admin_value("SELECT extversion FROM pg_extension WHERE extname = 'tradekeep'"));
	CHECK_TEXT(health.library_version, admin_value("SELECT tradekeep.library_version()"));
	CHECK_INT(health.reconnects, 0);
	tk_close(client);
}

/* A server without the extension answers, and says how to get it. */
static void
test_no_extension(void)
{
	char		user[64];
	tk_client  *client;
	tk_health	health;

	snprintf(user, sizeof(user), "%s", admin_value("SELECT current_user"));
	client = open_url(url_to(URL, "template1", user));
	CHECK_INT(tk_claim(client, "s", "k", HOUR, NULL), TK_REFUSED);
	CHECK(failed_with(client, TK_ERROR_SERVER, "3F000"));
	CHECK(strstr(tk_hint(client), "CREATE EXTENSION") != NULL);
	CHECK_INT(tk_health_check(client, &health), 0);
	CHECK_INT(health.connected, 1);
	CHECK_TEXT(health.extension_version, "");
	tk_close(client);
}

/* As behind a pooler, where the next transaction meets another server session. */
static void
test_lost_statements(void)
{
	tk_client  *client = open_named("pooled", 30000);

	CHECK_INT(tk_claim(client, "pooled", "a", HOUR, NULL), TK_CLAIMED);
	PQclear(PQexec(tk_connection(client), "DEALLOCATE ALL"));
	CHECK_INT(tk_claim(client, "pooled", "b", HOUR, NULL), TK_CLAIMED);
	PQclear(PQexec(tk_connection(client), "DEALLOCATE ALL"));
	CHECK_INT(tk_claim(client, "pooled", "b", HOUR, NULL), TK_DUPLICATE);
	CHECK_INT(tk_claimed(client, "pooled", "a", NULL), 0);
	tk_close(client);

	/* In a transaction the first time costs the transaction, not more. */
	client = open_named("pooled", 30000);
	CHECK_INT(tk_claim(client, "pooled", "c", HOUR, NULL), TK_CLAIMED);
	PQclear(PQexec(tk_connection(client), "DEALLOCATE ALL"));
	CHECK_INT(tk_begin(client), 0);
	CHECK_INT(tk_claim(client, "pooled", "d", HOUR, NULL), TK_UNAVAILABLE);
	CHECK(failed_with(client, TK_ERROR_SERVER, "26000"));
	CHECK_INT(tk_rollback(client), 0);
	CHECK_INT(tk_begin(client), 0);
	CHECK_INT(tk_claim(client, "pooled", "d", HOUR, NULL), TK_CLAIMED);
	CHECK_INT(tk_commit(client), 0);
	tk_close(client);
}

/* A live handle goes on when the extension is made anew under it. */
static void
test_new_extension(void)
{
	tk_client  *client = open_named("drop and create", 30000);

	CHECK_INT(tk_claim(client, "again", "a", HOUR, NULL), TK_CLAIMED);
	CHECK(admin_run("DROP EXTENSION tradekeep"));
	CHECK_INT(tk_claim(client, "again", "a", HOUR, NULL), TK_REFUSED);
	CHECK(admin_run("CREATE EXTENSION tradekeep"));
	CHECK_INT(tk_claim(client, "again", "a", HOUR, NULL), TK_CLAIMED);
	CHECK_INT(tk_claim(client, "again", "a", HOUR, NULL), TK_DUPLICATE);
	tk_close(client);
}

void
test_connections(void)
{
	test_urls();
	test_rejections();
	test_nobody_there();
	test_health();
	test_no_extension();
	test_lost_statements();
	test_new_extension();
}
