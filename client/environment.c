/*
 * environment.c
 *		Options: their defaults, and what the environment says of them.
 */
#include "internal.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The longest ttl that the server takes: 100 years. */
#define MAX_SECONDS (INT64_C(36525) * 86400)

typedef bool (*variable_reader) (const char *text, tk_options *options, size_t field);

static bool
read_text(const char *text, tk_options *options, size_t field)
{
	*(const char **) ((char *) options + field) = text;
	return true;
}

/* A number of digits alone. */
static bool
read_int(const char *text, tk_options *options, size_t field)
{
	size_t		length = strspn(text, "0123456789");

	if (text[length] != '\0' || length > 9)
		return false;
	*(int *) ((char *) options + field) = atoi(text);
	return true;
}

/* Whoever says 0 means none, not the default. */
static bool
read_entries(const char *text, tk_options *options, size_t field)
{
	int		   *entries = (int *) ((char *) options + field);

	if (!read_int(text, options, field))
		return false;
	if (*entries == 0)
		*entries = -1;
	return true;
}

/*
 * Seconds such as "30" and "0.5", into milliseconds, and never a few into none: 0 is the
 * default.  Not by strtod(), which goes by the language of the process, and takes "nan".
 */
static bool
parse_seconds(const char *text, int64_t limit, int64_t *ms)
{
	size_t		whole = strspn(text, "0123456789");
	bool		has_point = text[whole] == '.';
	const char *fraction = text + whole + has_point;
	size_t		digits = strspn(fraction, "0123456789");
	int64_t		unit = 1000;

	if (fraction[digits] != '\0' || whole + digits == 0 || whole > 12 ||
		(has_point && digits == 0))
		return false;
	*ms = whole > 0 ? strtoll(text, NULL, 10) * 1000 : 0;
	for (size_t i = 0; i < digits && unit > 1; i++)
		*ms += (fraction[i] - '0') * (unit /= 10);
	if (*ms == 0 && strspn(fraction, "0") < digits)
		*ms = 1;
	return *ms <= limit;
}

static bool
read_seconds(const char *text, tk_options *options, size_t field)
{
	return parse_seconds(text, MAX_SECONDS * 1000, (int64_t *) ((char *) options + field));
}

static bool
read_timeout(const char *text, tk_options *options, size_t field)
{
	int64_t		ms;

	if (!parse_seconds(text, INT32_MAX, &ms))
		return false;
	*(int *) ((char *) options + field) = (int) ms;
	return true;
}

static bool
read_outage(const char *text, tk_options *options, size_t field)
{
	tk_outage_policy *policy = (tk_outage_policy *) ((char *) options + field);

	*policy = strcasecmp(text, "degrade") == 0 ? TK_DEGRADE : TK_REFUSE;
	return *policy == TK_DEGRADE || strcasecmp(text, "refuse") == 0;
}

/* Takes Redis away when the variable says no. */
static bool
read_switch(const char *text, tk_options *options, size_t field)
{
	static const char *const words[] = {"false", "true", "0", "1", "no", "yes", "off", "on"};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
	{
		if (strcasecmp(text, words[i]) != 0)
			continue;
		if (i % 2 == 0)
			*(const char **) ((char *) options + field) = NULL;
		return true;
	}
	return false;
}

/* In this order: a switch comes after what it switches off. */
static const struct
{
	const char *name;
	variable_reader read;
	size_t		field;
	const char *wanted;
}			variables[] =

{
	{"DATABASE_URL", read_text, offsetof(tk_options, database_url), ""},
	{"REDIS_URL", read_text, offsetof(tk_options, redis_url), ""},
	{"REDIS_PASSWORD", read_text, offsetof(tk_options, redis_password), ""},
	{"REDIS_DB", read_int, offsetof(tk_options, redis_db), "a number"},
	{"REDIS_TIMEOUT", read_timeout, offsetof(tk_options, redis_timeout), "seconds"},
	{"REDIS_ENABLED", read_switch, offsetof(tk_options, redis_url), "true or false"},
	{"USE_PERSISTENT_CACHE", read_switch, offsetof(tk_options, redis_url), "true or false"},
	{"CANDLE_CHECK_WINDOW", read_seconds, offsetof(tk_options, candle_drift), "seconds"},
	{"CACHE_TTL_CANDLE", read_seconds, offsetof(tk_options, candle_ttl), "seconds"},
	{"CACHE_TTL_PUBLISH", read_seconds, offsetof(tk_options, publish_ttl), "seconds"},
	{"CACHE_TTL_SIGNAL", read_seconds, offsetof(tk_options, signal_ttl), "seconds"},
	{"TRADEKEEP_OUTAGE", read_outage, offsetof(tk_options, outage), "refuse or degrade"},
	{"TRADEKEEP_SPOOL", read_text, offsetof(tk_options, spool_directory), ""},
	{"TRADEKEEP_CACHE_ENTRIES", read_entries, offsetof(tk_options, cache_entries), "a number"},
};

/* What is not positive is the default. */
static void
choose(int *option, int value)
{
	if (*option <= 0)
		*option = value;
}

static void
choose_long(int64_t *option, int64_t value)
{
	if (*option <= 0)
		*option = value;
}

void
tki_default_options(tk_options *options)
{
	choose(&options->connect_timeout, 5000);
	choose(&options->call_timeout, 30000);
	choose(&options->backoff_min, 100);
	choose(&options->backoff_max, 30000);
	if (options->cache_entries == 0)
		options->cache_entries = 1000;
	choose(&options->cache_recheck, 1000);
	choose(&options->redis_timeout, 250);
	choose_long(&options->spool_limit, INT64_C(64) * 1024 * 1024);
	choose_long(&options->candle_drift, 60000);
	choose_long(&options->candle_ttl, 0);
	choose_long(&options->publish_ttl, 0);
	choose_long(&options->signal_ttl, 0);
}

void
tk_options_init(tk_options *options)
{
	memset(options, 0, sizeof(*options));
	for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++)
	{
		const char *text = getenv(variables[i].name);
		char		value[64];

		if (text == NULL || text[0] == '\0' ||
			variables[i].read(text, options, variables[i].field))
			continue;
		tki_copy_text(value, sizeof(value), text);
		if (options->problem[0] == '\0')
			snprintf(options->problem, sizeof(options->problem),
					 "the environment variable %s is \"%s\", not %s", variables[i].name, value,
					 variables[i].wanted);
	}
	tki_default_options(options);
}
