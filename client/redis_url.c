/*
 * redis_url.c
 *		Where Redis is, as bots write it.
 *
 *		redis://[user[:password]@]host[:port][/database]	or without the scheme
 *		unix://[[user]:password@]/path[?db=database]
 *
 * What is said about a bad URL never repeats it: it holds a password.
 */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#define DEFAULT_PORT 6379

/* A decimal number of digits alone; -1 when it is none, or above the limit. */
static int
read_number(const char *text, int limit)
{
	size_t		length = strspn(text, "0123456789");
	long		number = length > 0 && length < 10 ? strtol(text, NULL, 10) : -1;

	return text[length] == '\0' && number <= limit ? (int) number : -1;
}

static int
hex_digit(char c)
{
	const char *digits = "00112233445566778899aAbBcCdDeEfF";
	const char *digit = c != '\0' ? strchr(digits, c) : NULL;

	return digit != NULL ? (int) (digit - digits) / 2 : -1;
}

/* Decodes %41 and the like in place; false for what is no such code, and for a zero. */
static bool
decode(char *text)
{
	char	   *target = text;

	for (const char *p = text; *p != '\0'; p++)
	{
		char		c = *p;

		if (c == '%')
		{
			int			high = hex_digit(p[1]);
			int			low = high >= 0 ? hex_digit(p[2]) : -1;

			if (low < 0 || high + low == 0)
				return false;
			c = (char) (high * 16 + low);
			p += 2;
		}
		*target++ = c;
	}
	*target = '\0';
	return true;
}

/* "user:password", "user" or ":password"; an empty one is none. */
static const char *
read_user(char *text, tki_redis_address *address)
{
	char	   *colon = strchr(text, ':');

	if (colon != NULL)
		*colon = '\0';
	if (!decode(text) || (colon != NULL && !decode(colon + 1)))
		return "a percent sign without a code behind it";
	if (text[0] != '\0')
		address->user = text;
	if (colon != NULL && colon[1] != '\0')
		address->password = colon + 1;
	return NULL;
}

/* "host", "host:port", "[::1]", "[::1]:port". */
static const char *
read_host(char *text, tki_redis_address *address)
{
	bool		literal = text[0] == '[';
	char	   *host = text + literal;
	size_t		length;

	if (literal)
		length = strspn(host, "0123456789abcdefABCDEF:.");
	else
		length = strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
	text = host + length;
	if (length == 0 || (literal && *text != ']'))
		return "no host name";
	if (literal)
		*text++ = '\0';
	if (*text == ':')
	{
		*text++ = '\0';
		address->port = read_number(text, 65535);
	}
	else if (*text != '\0')
		return "a bad host name";
	else
		address->port = DEFAULT_PORT;
	if (address->port <= 0)
		return "a bad port";
	address->host = host;
	return NULL;
}

static const char *
read_database(const char *text, tki_redis_address *address)
{
	address->db = text[0] != '\0' ? read_number(text, INT32_MAX) : 0;
	return address->db < 0 ? "a bad number of a database" : NULL;
}

/* What stands behind the scheme.  Returns what is wrong with it, or null. */
static const char *
read_rest(char *text, bool is_path, tki_redis_address *address)
{
	char	   *query = strchr(text, '?');
	char	   *path;
	char	   *at;
	const char *problem = NULL;

	if (query != NULL)
		*query++ = '\0';
	path = strchr(text, '/');
	if (path != NULL)
		*path++ = '\0';
	at = strrchr(text, '@');
	if (at != NULL)
	{
		*at++ = '\0';
		problem = read_user(text, address);
		text = at;
	}
	if (problem != NULL)
		return problem;
	if (query != NULL && strncmp(query, "db=", 3) != 0)
		return "a parameter other than db";
	if (query != NULL && (problem = read_database(query + 3, address)) != NULL)
		return problem;
	if (!is_path)
	{
		problem = read_host(text, address);
		if (problem == NULL && path != NULL && path[0] != '\0')
			problem = read_database(path, address);
		return problem;
	}
	if (text[0] != '\0' || path == NULL || path[0] == '\0')
		return "no path of a socket";

	/* The slash that ended the host, which is empty, begins the path. */
	*--path = '/';
	if (!decode(path))
		return "a percent sign without a code behind it";
	if (strlen(path) >= sizeof(((struct sockaddr_un *) NULL)->sun_path))
		return "a path longer than a socket may have";
	address->path = path;
	return NULL;
}

/*
 * Reads a URL into an address, whose text the caller frees.  False when the URL is
 * refused, with the reason; or, with an empty reason, when memory ran out.
 */
bool
tki_redis_url(const char *url, tki_redis_address *address, char *reason, size_t size)
{
	static const char *const socket_schemes[] = {"unix", "redis+unix", "redis+socket",
	"redis-socket"};
	const char *separator = strstr(url, "://");
	size_t		scheme = separator != NULL ? (size_t) (separator - url) : 0;
	bool		is_path = false;
	const char *problem = NULL;

	memset(address, 0, sizeof(*address));
	reason[0] = '\0';
	for (size_t i = 0; i < sizeof(socket_schemes) / sizeof(socket_schemes[0]); i++)
		is_path |= strlen(socket_schemes[i]) == scheme &&
			strncmp(url, socket_schemes[i], scheme) == 0;
	address->text = strdup(separator != NULL ? separator + 3 : url);
	if (address->text == NULL)
		return false;
	if (separator == NULL || is_path || strncmp(url, "redis://", 8) == 0)
		problem = read_rest(address->text, is_path, address);
	else if (strncmp(url, "rediss://", 9) == 0)
		problem = "TLS, which this library does not speak with Redis";
	else
		problem = "a scheme other than redis and unix";
	if (problem == NULL)
		return true;
	snprintf(reason, size, "cannot use the Redis URL: it has %s", problem);
	free(address->text);
	address->text = NULL;
	return false;
}
