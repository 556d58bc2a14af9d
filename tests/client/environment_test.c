/*
 * environment_test.c
 *		What bots put into their environment, and what they should not.
 */
#include "check.h"
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>

#define HOUR 3600000

/* The options under one variable more. */
static tk_options
under(const char *name, const char *value)
{
	tk_options	options;
	char	   *before = getenv(name) != NULL ? strdup(getenv(name)) : NULL;

	setenv(name, value, 1);
	tk_options_init(&options);
	if (before != NULL)
		setenv(name, before, 1);
	else
		unsetenv(name);
	free(before);
	return options;
}

static void
check_default(const tk_options *options)
{
	CHECK_INT(options->connect_timeout, 5000);
	CHECK_INT(options->call_timeout, 30000);
	CHECK_INT(options->backoff_min, 100);
	CHECK_INT(options->backoff_max, 30000);
	CHECK_INT(options->cache_entries, 1000);
	CHECK_INT(options->cache_recheck, 1000);
	CHECK(options->redis_url == NULL && options->redis_password == NULL);
	CHECK_INT(options->redis_db, 0);
	CHECK_INT(options->redis_timeout, 250);
	CHECK_INT(options->outage, TK_REFUSE);
	CHECK(options->spool_directory == NULL);
	CHECK_INT(options->spool_limit, 67108864);
	CHECK_INT(options->candle_drift, 60000);
	CHECK_INT(options->candle_ttl, 0);
	CHECK_INT(options->publish_ttl, 0);
	CHECK_INT(options->signal_ttl, 0);
	CHECK_TEXT(options->problem, "");
}

/* All of them empty are as good as none. */
static void
test_defaults(void)
{
	static const char *const names[] = {"REDIS_URL", "REDIS_PASSWORD", "REDIS_DB",
		"REDIS_TIMEOUT", "REDIS_ENABLED", "USE_PERSISTENT_CACHE", "CANDLE_CHECK_WINDOW",
		"CACHE_TTL_CANDLE", "CACHE_TTL_PUBLISH", "CACHE_TTL_SIGNAL", "TRADEKEEP_OUTAGE",
	"TRADEKEEP_SPOOL", "TRADEKEEP_CACHE_ENTRIES"};
	tk_options	options;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unsetenv(names[i]);
	tk_options_init(&options);
	check_default(&options);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		options = under(names[i], "");
		check_default(&options);
	}
	options = under("DATABASE_URL", "");
	CHECK(options.database_url == NULL);
	options = under("DATABASE_URL", "postgresql:///x");
	CHECK_TEXT(options.database_url, "postgresql:///x");
}

static void
test_values(void)
{
	static const struct
	{
		const char *text;
		int			ms;
	}			seconds[] =

	{
		{"0", 250}, {"0.0", 250}, {"1", 1000}, {"0.5", 500}, {"2.25", 2250}, {".5", 500},
		{"0.0001", 1}, {"1.9999", 1999}, {"007", 7000}, {"2147483.647", INT32_MAX}
	};
	static const char *const no[] = {"false", "0", "no", "off", "FALSE", "No"};
	static const char *const yes[] = {"true", "1", "yes", "on", "True", "YES"};

	for (size_t i = 0; i < sizeof(seconds) / sizeof(seconds[0]); i++)
		CHECK_INT(under("REDIS_TIMEOUT", seconds[i].text).redis_timeout, seconds[i].ms);
	CHECK_INT(under("REDIS_DB", "7").redis_db, 7);
	CHECK_INT(under("CANDLE_CHECK_WINDOW", "90").candle_drift, 90000);
	CHECK_INT(under("CACHE_TTL_CANDLE", "3600").candle_ttl, HOUR);
	CHECK_INT(under("CACHE_TTL_PUBLISH", "0.001").publish_ttl, 1);
	CHECK_INT(under("CACHE_TTL_SIGNAL", "86400").signal_ttl, 24 * HOUR);
	CHECK_INT(under("TRADEKEEP_OUTAGE", "Degrade").outage, TK_DEGRADE);
	CHECK_INT(under("TRADEKEEP_OUTAGE", "refuse").outage, TK_REFUSE);
	CHECK_TEXT(under("TRADEKEEP_SPOOL", "/var/spool").spool_directory, "/var/spool");
	CHECK_INT(under("TRADEKEEP_CACHE_ENTRIES", "5").cache_entries, 5);
	CHECK_INT(under("TRADEKEEP_CACHE_ENTRIES", "0").cache_entries, -1);
	CHECK_TEXT(under("REDIS_PASSWORD", "p").redis_password, "p");

	setenv("REDIS_URL", "redis://h", 1);
	for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++)
	{
		CHECK(under("REDIS_ENABLED", no[i]).redis_url == NULL);
		CHECK(under("USE_PERSISTENT_CACHE", no[i]).redis_url == NULL);
		CHECK(under("REDIS_ENABLED", yes[i]).redis_url != NULL);
		CHECK(under("USE_PERSISTENT_CACHE", yes[i]).redis_url != NULL);
	}
	unsetenv("REDIS_URL");
}

/* A handle that refuses everything, and says why, without a password. */
static void
check_useless(tk_options *options, const char *part_of_message)
{
	tk_client  *client = tk_open(options);
	int64_t		token;

	CHECK_INT(tk_connect(client), -1);
	CHECK(failed_with(client, TK_ERROR_ARGUMENT, ""));
	CHECK_INT(tk_claim_lease(client, "s", "k", HOUR, HOUR, &token, NULL), TK_REFUSED);
	CHECK_INT(tk_claim(client, "s", "k", HOUR, NULL), TK_REFUSED);
	CHECK_INT(tk_error(client), TK_ERROR_ARGUMENT);
	if (!CHECK(strstr(tk_message(client), part_of_message) != NULL))
		printf("    %s\n", tk_message(client));
	CHECK(strstr(tk_message(client), "secret") == NULL && strstr(tk_hint(client), "secret") == NULL);
	tk_close(client);
}

static void
test_bad_values(void)
{
	static const char *const garbage[] = {"x", "-1", "1x", " 1", "1 ", "+1", "0x10", "nan", "inf",
		"1e3", "1.", ".", "-", "1,5", "1.5s", "99999999999999999999", "1.5.1", "\xff", "\n",
	"\xd9\xa1"};
	static const char *const seconds[] = {"REDIS_TIMEOUT", "CANDLE_CHECK_WINDOW",
	"CACHE_TTL_CANDLE", "CACHE_TTL_PUBLISH", "CACHE_TTL_SIGNAL"};
	static const char *const others[] = {"REDIS_DB", "TRADEKEEP_CACHE_ENTRIES", "REDIS_ENABLED",
	"USE_PERSISTENT_CACHE", "TRADEKEEP_OUTAGE"};
	char		expected[128];
	tk_options	options;

	for (size_t i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++)
	{
		for (size_t j = 0; j < 5; j++)
		{
			options = under(seconds[j], garbage[i]);
			snprintf(expected, sizeof(expected), "%s is \"%s\"", seconds[j], garbage[i]);
			if (!CHECK(strstr(options.problem, expected) != NULL))
				printf("    %s: %s\n", expected, options.problem);
			options = under(others[j], garbage[i]);
			snprintf(expected, sizeof(expected), "%s is \"%s\"", others[j], garbage[i]);
			if (!CHECK(strstr(options.problem, expected) != NULL))
				printf("    %s: %s\n", expected, options.problem);
		}
	}
	CHECK(under("REDIS_TIMEOUT", "2147483.648").problem[0] != '\0');
	CHECK(under("CACHE_TTL_CANDLE", "3155760000.001").problem[0] != '\0');
	CHECK_TEXT(under("CACHE_TTL_CANDLE", "3155760000").problem, "");
	CHECK(under("REDIS_DB", "1.5").problem[0] != '\0');

	options = under("REDIS_TIMEOUT", "soon");
	check_useless(&options, "REDIS_TIMEOUT is \"soon\", not seconds");
	setenv("REDIS_TIMEOUT", "soon", 1);
	check_useless(NULL, "REDIS_TIMEOUT is \"soon\", not seconds");
	unsetenv("REDIS_TIMEOUT");
	options = under("REDIS_URL", "rediss://:secret@h");
	check_useless(&options, "TLS");
	options = under("TRADEKEEP_OUTAGE", "degrade");
	check_useless(&options, "spool");
}

/* What a URL says, as "user password host port path db", with "-" for what it does not say. */
static void
check_url(const char *url, const char *expected)
{
	tki_redis_address address;
	char		reason[256];
	char		said[256];
	bool		accepted = tki_redis_url(url, &address, reason, sizeof(reason));

	if (!CHECK(accepted))
	{
		printf("    %s: %s\n", url, reason);
		return;
	}
	snprintf(said, sizeof(said), "%s %s %s %d %s %d", address.user != NULL ? address.user : "-",
			 address.password != NULL ? address.password : "-",
			 address.host != NULL ? address.host : "-", address.port,
			 address.path != NULL ? address.path : "-", address.db);
	CHECK_TEXT(said, expected);
	free(address.text);
}

static void
test_good_urls(void)
{
	char		path[108];
	char		url[128];
	char		expected[128];

	check_url("redis://h", "- - h 6379 - 0");
	check_url("redis://h/", "- - h 6379 - 0");
	check_url("redis://h:1/15", "- - h 1 - 15");
	check_url("redis://h:65535?db=3", "- - h 65535 - 3");
	check_url("redis://:p@h:1/2", "- p h 1 - 2");
	check_url("redis://u:p@h", "u p h 6379 - 0");
	check_url("redis://u@h", "u - h 6379 - 0");
	check_url("redis://@h", "- - h 6379 - 0");
	check_url("redis://:@h", "- - h 6379 - 0");
	check_url("redis://u:p:q@h", "u p:q h 6379 - 0");
	check_url("redis://u:p@q@h", "u p@q h 6379 - 0");
	check_url("redis://%75:%70%40%2f%3A%25%3f@h", "u p@/:%? h 6379 - 0");
	check_url("redis://[::1]", "- - ::1 6379 - 0");
	check_url("redis://u:p@[fe80::1:2]:7/1", "u p fe80::1:2 7 - 1");
	check_url("redis://redis_cache.railway.internal:6379", "- - redis_cache.railway.internal 6379 - 0");
	check_url("localhost", "- - localhost 6379 - 0");
	check_url("localhost:1", "- - localhost 1 - 0");
	check_url(":p@127.0.0.1:1/2", "- p 127.0.0.1 1 - 2");
	check_url("[::1]:1", "- - ::1 1 - 0");
	check_url("unix:///a/b.sock", "- - - 0 /a/b.sock 0");
	check_url("unix:///a%20b?db=2", "- - - 0 /a b 2");
	check_url("unix://u:p@/a", "u p - 0 /a 0");
	check_url("redis+unix:///a", "- - - 0 /a 0");
	check_url("redis+socket:///a?db=1", "- - - 0 /a 1");
	check_url("redis-socket:///a", "- - - 0 /a 0");

	memset(path, 'x', sizeof(path));
	path[0] = '/';
	path[107] = '\0';
	snprintf(url, sizeof(url), "unix://%s", path);
	snprintf(expected, sizeof(expected), "- - - 0 %s 0", path);
	check_url(url, expected);
}

static void
test_bad_urls(void)
{
	static const char *const urls[] = {"", " ", "redis://", "redis:///1", "redis://:secret@",
		"redis://h:secret", "redis://h:", "redis://h:0", "redis://h:65536", "redis://h:-1",
		"redis://h:99999999999", "redis://h/secret", "redis://h/-1", "redis://h/1/2",
		"redis://h/99999999999", "redis://h?secret=1", "redis://h?db=1&secret=1", "redis://h?db=secret",
		"redis://h?", "redis://h#secret", "redis://u:%zzsecret@h", "redis://u:secret%@h",
		"redis://u:%00secret@h", "redis://%4:secret@h", "redis://[::1", "redis://[h]", "redis://[]",
		"redis://[::1]secret", "redis://h secret", "redis://h\nsecret", "redis://u:secret@h,h2:1",
		"rediss://:secret@h", "redis+tls://:secret@h", "http://u:secret@h", "REDIS://h", "://secret",
		"secret pass@h o s t", "redis://\xff", "unix://", "unix:///", "unix://secret", "unix://secret/a",
	"unix:///a%", "unix:///a?secret=1", "unix://u:secret@a/b"};
	char		url[256];
	tk_options	options = {.redis_url = url};
	tki_redis_address address;
	char		reason[256];

	for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++)
	{
		if (!CHECK(!tki_redis_url(urls[i], &address, reason, sizeof(reason))))
		{
			printf("    %s\n", urls[i]);
			free(address.text);
		}
		CHECK(reason[0] != '\0' && strstr(reason, "secret") == NULL);
		CHECK(address.text == NULL);
		snprintf(url, sizeof(url), "%s", urls[i]);
		if (url[0] != '\0')
			check_useless(&options, "cannot use the Redis URL");
	}
	memset(url, 'x', sizeof(url));
	memcpy(url, "unix:///", 8);
	url[7 + 108] = '\0';
	check_useless(&options, "a path longer than a socket may have");
}

/* Options of the program's own: what is not positive is the default, and the environment silent. */
static void
test_own_options(void)
{
	tk_options	options = {.connect_timeout = -1,.call_timeout = -1,.backoff_min = -1,
		.backoff_max = -1,.cache_recheck = -1,.redis_timeout = -1,.spool_limit = -1,.candle_drift = -1,
	.candle_ttl = -1,.publish_ttl = -1,.signal_ttl = -1};
	char		url[] = "redis://:secret@h/1";
	tk_client  *client;

	setenv("CANDLE_CHECK_WINDOW", "5", 1);
	setenv("REDIS_DB", "3", 1);
	client = tk_open(&options);
	check_default(&client->options);
	CHECK(client->redis == NULL);
	tk_close(client);
	client = tk_open(NULL);
	CHECK_INT(client->options.candle_drift, 5000);
	tk_close(client);
	unsetenv("CANDLE_CHECK_WINDOW");
	unsetenv("REDIS_DB");

	memset(&options, 0, sizeof(options));
	client = tk_open(&options);
	check_default(&client->options);
	tk_close(client);

	/* Nothing of the caller's is needed after tk_open(). */
	options.cache_entries = -1;
	options.redis_url = url;
	client = tk_open(&options);
	memset(url, 'x', sizeof(url) - 1);
	CHECK_INT(client->options.cache_entries, 0);
	CHECK(client->options.redis_url == NULL);
	CHECK_INT(tki_redis_breaker(client), TK_BREAKER_CLOSED);
	tk_close(client);
}

void
test_environment(void)
{
	test_defaults();
	test_values();
	test_bad_values();
	test_good_urls();
	test_bad_urls();
	test_own_options();
}
