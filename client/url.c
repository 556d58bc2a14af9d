/*
 * url.c
 *		Database URLs as bots have them, turned into what libpq takes.
 *
 * SQLAlchemy names its driver in the scheme, and drivers have parameters of
 * their own; everything else is libpq's to judge.  What is said about a bad URL
 * never repeats it: it holds a password.
 */
#include "internal.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A parameter of asyncpg's, and libpq's name of it; null when it concerns only asyncpg. */
static const struct
{
	const char *name;
	const char *libpq_name;
}			driver_parameters[] =

{
	{"ssl", "sslmode"},
	{"statement_cache_size", NULL},
	{"prepared_statement_cache_size", NULL},
};

/* Appends "name=value", given as [p, end), in libpq's spelling; returns the new end of target. */
static char *
append_parameter(char *target, char separator, const char *p, const char *end)
{
	const char *name = p;
	size_t		length = strcspn(p, "=&");

	for (size_t i = 0; i < sizeof(driver_parameters) / sizeof(driver_parameters[0]); i++)
	{
		if (strlen(driver_parameters[i].name) != length ||
			strncmp(driver_parameters[i].name, p, length) != 0)
			continue;
		if (driver_parameters[i].libpq_name == NULL)
			return target;

		/* "ssl=true" is libpq's own: it takes it as JDBC does. */
		if (strncmp(p, "ssl=true", (size_t) (end - p)) != 0)
		{
			name = driver_parameters[i].libpq_name;
			p += length;
			return target + sprintf(target, "%c%s%.*s", separator, name, (int) (end - p), p);
		}
	}
	return target + sprintf(target, "%c%.*s", separator, (int) (end - p), p);
}

/* postgresql+driver://rest as postgresql://rest, with the driver's parameters translated. */
static char *
translate_driver_url(const char *rest)
{
	const char *query = strchr(rest, '?');
	size_t		head = query != NULL ? (size_t) (query - rest) : strlen(rest);
	char	   *url = malloc(sizeof("postgresql") + 2 * strlen(rest));
	char	   *end;
	char		separator = '?';

	if (url == NULL)
		return NULL;
	end = url + sprintf(url, "postgresql%.*s", (int) head, rest);
	while (query != NULL && query[0] != '\0')
	{
		const char *parameter = query + 1;
		char	   *before = end;

		query = strchr(parameter, '&');
		end = append_parameter(end, separator, parameter,
							   query != NULL ? query : parameter + strlen(parameter));
		if (end != before)
			separator = '&';
	}
	return url;
}

/*
 * What libpq says begins with one of these, unless it speaks another language, and goes on
 * with what it read: with the password, where a scheme or an escape is missing.  Only the name of a
 * parameter is repeated, when it cannot be a part of one.
 */
static void
explain(char *reason, size_t size, const char *error, const char *url)
{
	static const char *const problems[] = {"invalid URI query parameter",
		"invalid connection option", "missing \"=\"", "unterminated quoted string",
		"end of string reached when looking for matching \"]\"",
		"IPv6 host address may not be empty", "unexpected character",
		"extra key/value separator \"=\"", "missing key/value separator \"=\"",
	"invalid percent-encoded token", "forbidden value %00"};
	const char *query = strchr(url, '?');
	const char *problem = NULL;
	size_t		length;

	for (size_t i = 0; i < sizeof(problems) / sizeof(problems[0]) && problem == NULL; i++)
	{
		length = strlen(problems[i]);
		if (strncmp(error, problems[i], length) != 0)
			continue;
		problem = problems[i];
		if (i == 0 ? query != NULL && strchr(query, '@') == NULL :
			i == 1 && strpbrk(url, "@?") == NULL && strstr(url, "pass") == NULL)
			length = strcspn(error, "\n");
	}
	snprintf(reason, size, "cannot read the database URL%s%.*s", problem != NULL ? ": " : "",
			 problem != NULL ? (int) length : 0, error);
}

/*
 * Returns a new string for libpq.  Null when the URL is refused, with the
 * reason; or, with an empty reason, when memory ran out.
 */
char *
tki_conninfo(const char *url, char *reason, size_t size)
{
	const char *separator = strstr(url, "://");
	size_t		scheme;
	char	   *conninfo;
	char	   *error = NULL;
	PQconninfoOption *parsed;

	reason[0] = '\0';
	scheme = strspn(url, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.");
	if (separator == NULL || url + scheme != separator)
		conninfo = strdup(url);
	else if (strncmp(url, "postgresql+", 11) == 0 || strncmp(url, "postgres+", 9) == 0)
		conninfo = translate_driver_url(separator);
	else if (strncmp(url, "postgresql:", 11) == 0 || strncmp(url, "postgres:", 9) == 0)
		conninfo = strdup(url);
	else
	{
		snprintf(reason, size, "cannot use a database URL with the scheme \"%.*s\"",
				 (int) (scheme < 32 ? scheme : 32), url);
		return NULL;
	}
	if (conninfo == NULL)
		return NULL;

	parsed = PQconninfoParse(conninfo, &error);
	if (parsed == NULL)
	{
		if (error != NULL)
			explain(reason, size, error, conninfo);
		PQfreemem(error);
		free(conninfo);
		return NULL;
	}
	PQconninfoFree(parsed);
	return conninfo;
}
