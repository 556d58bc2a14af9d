/*
 * client.c
 *		The handle: options, opening and closing, what went wrong last.
 */
#include "internal.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NEEDS_A_HANDLE "a null handle: tk_open() found no memory"

/* Reads the URLs; false with the reason, or with an empty one when memory ran out. */
static bool
use_options(tk_client *client, const tk_options *options, char *reason, size_t size)
{
	const char *url = options->database_url;

	tki_copy_text(reason, size, options->problem);
	if (reason[0] != '\0')
		return false;
	if (options->application_name != NULL &&
		(client->application_name = strdup(options->application_name)) == NULL)
		return false;
	if (url != NULL && url[0] != '\0' &&
		(client->conninfo = tki_conninfo(url, reason, size)) == NULL)
	{
		tki_copy_text(client->connect_hint, sizeof(client->connect_hint),
					  "The form is postgresql://user:password@host:port/database.");
		return false;
	}
	if (options->redis_url != NULL && options->redis_url[0] != '\0' &&
		(client->redis = tki_redis_make(options, reason, size)) == NULL)
	{
		tki_copy_text(client->connect_hint, sizeof(client->connect_hint),
					  "The form is redis://user:password@host:port/database, or unix:///path.");
		return false;
	}
	if (options->outage == TK_DEGRADE &&
		(options->spool_directory == NULL || options->spool_directory[0] == '\0'))
	{
		tki_copy_text(reason, size, "going on through an outage needs a directory for the spool");
		return false;
	}
	if (options->spool_directory != NULL && options->spool_directory[0] != '\0' &&
		!tki_spool_open(client, options->spool_directory, true, reason, size))
	{
		if (options->outage == TK_DEGRADE)
			return false;
		tki_log(client, TK_LOG_WARNING, "%s", reason);
	}
	return true;
}

tk_client *
tk_open(const tk_options *options)
{
	tk_client  *client = calloc(1, sizeof(tk_client));
	tk_options	chosen;
	char		reason[512];

	if (client == NULL)
		return NULL;
	tki_count_forks();
	client->generation = tki_generation;
	if (options != NULL)
	{
		chosen = *options;
		tki_default_options(&chosen);
	}
	else
		tk_options_init(&chosen);
	client->options = chosen;
	client->options.database_url = client->options.application_name = NULL;
	client->options.redis_url = client->options.redis_password = NULL;
	client->options.spool_directory = NULL;
	if (chosen.cache_entries < 0)
		client->options.cache_entries = 0;
	reason[0] = '\0';
	if (tki_make_tiers(client) && use_options(client, &chosen, reason, sizeof(reason)))
		return client;
	if (reason[0] == '\0')
	{
		tk_close(client);
		return NULL;
	}

	/* The handle lives, to say at each call why it is of no use. */
	client->connect_error = TK_ERROR_ARGUMENT;
	tki_copy_text(client->connect_message, sizeof(client->connect_message), reason);
	return client;
}

void
tk_close(tk_client *client)
{
	if (client == NULL)
		return;

	/*
	 * In a child of the process that opened it, the connection is still the parent's: closing it
	 * must not say goodbye to the server.
	 */
	if (client->connection != NULL && client->generation != tki_generation)
	{
		int			null = open("/dev/null", O_RDWR | O_CLOEXEC);

		if (null >= 0)
		{
			dup2(null, PQsocket(client->connection));
			close(null);
			PQfinish(client->connection);
		}
	}
	else
		tki_drop_connection(client);
	PQclear(client->answer);
	tki_spool_close(client);
	tki_policies_free(client);
	tki_redis_free(client->redis);
	free(client->cache);
	free(client->known);
	free(client->text);
	free(client->conninfo);
	free(client->application_name);
	free(client);
}

tk_error_code
tk_error(const tk_client *client)
{
	return client != NULL ? client->error : TK_ERROR_ARGUMENT;
}

const char *
tk_sqlstate(const tk_client *client)
{
	return client != NULL ? client->sqlstate : "";
}

const char *
tk_message(const tk_client *client)
{
	return client != NULL ? client->message : NEEDS_A_HANDLE;
}

const char *
tk_hint(const tk_client *client)
{
	return client != NULL ? client->hint : "";
}

const char *
tk_verdict_name(tk_verdict verdict)
{
	switch (verdict)
	{
		case TK_CLAIMED:
			return "claimed";
		case TK_DUPLICATE:
			return "duplicate";
		case TK_UNAVAILABLE:
			return "unavailable";
		case TK_REFUSED:
			return "refused";
	}
	return "?";
}

const char *
tk_tier_name(tk_tier tier)
{
	switch (tier)
	{
		case TK_TIER_NONE:
			return "none";
		case TK_TIER_MEMORY:
			return "memory";
		case TK_TIER_REDIS:
			return "redis";
		case TK_TIER_POSTGRES:
			return "postgres";
	}
	return "?";
}

PGconn *
tk_connection(tk_client *client)
{
	return client != NULL && client->generation == tki_generation ? client->connection : NULL;
}

/* Also counts the time that the machine slept, while others may have released what is remembered. */
int64_t
tki_now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t
tki_now_ms(void)
{
	return tki_now_us() / 1000;
}

void
tki_log(tk_client *client, tk_log_level level, const char *format,...)
{
	char		message[1280];
	va_list		arguments;

	if (client->options.log == NULL)
		return;
	va_start(arguments, format);
	vsnprintf(message, sizeof(message), format, arguments);
	va_end(arguments);
	client->options.log(client->options.log_context, level, message);
}

void
tki_clear_error(tk_client *client)
{
	client->error = TK_OK;
	client->sqlstate[0] = client->message[0] = client->hint[0] = '\0';
}

void
tki_fail(tk_client *client, tk_error_code code, const char *sqlstate, const char *format,...)
{
	va_list		arguments;

	client->error = code;
	tki_copy_text(client->sqlstate, sizeof(client->sqlstate), sqlstate);
	client->hint[0] = '\0';
	va_start(arguments, format);
	vsnprintf(client->message, sizeof(client->message), format, arguments);
	va_end(arguments);
}

void
tki_hint(tk_client *client, const char *format,...)
{
	va_list		arguments;

	va_start(arguments, format);
	vsnprintf(client->hint, sizeof(client->hint), format, arguments);
	va_end(arguments);
}

/* Copies what fits, and no half of a UTF-8 character. */
void
tki_copy_text(char *target, size_t size, const char *source)
{
	size_t		length = strlen(source);

	if (length >= size)
	{
		length = size - 1;
		while (length > 0 && ((unsigned char) source[length] & 0xC0) == 0x80)
			length--;
	}
	memcpy(target, source, length);
	target[length] = '\0';
}

/* A refusal stays one however often it is asked again; the rest may pass. */
tk_verdict
tki_verdict_of_failure(const tk_client *client)
{
	static const char *const refusals[] = {"TK", "22", "23", "42", "3F", "0A", "25006"};

	if (client->error == TK_ERROR_ARGUMENT)
		return TK_REFUSED;
	if (client->error != TK_ERROR_SERVER)
		return TK_UNAVAILABLE;
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++)
	{
		if (strncmp(client->sqlstate, refusals[i], strlen(refusals[i])) == 0)
			return TK_REFUSED;
	}
	return TK_UNAVAILABLE;
}
