/*
 * receiver.c
 *		The world outside the database: a log of what was sent.
 *
 * It takes part in no transaction, as a chat or an exchange does not.  What makes
 * it agree with the database is that the one who holds a signal's claim looks
 * for the signal's key before appending it: nobody else appends that key, and
 * whoever did so and died before its commit has left the key to be found.
 */
#include "demo.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* Key, direction and price: what a line begins with, whoever sent it. */
void
receiver_line(const demo_state *demo, const signal_event *signal, char *line, size_t size)
{
	snprintf(line, size, "%s\t%s\t%.17g", signal->key, signal->direction,
			 demo->candles[signal->candle].close);
}

bool
receiver_has(const char *path, const char *key)
{
	char		line[KEY_BYTES + 128];
	size_t		length = strlen(key);
	FILE	   *log = fopen(path, "r");
	bool		found = false;

	if (log == NULL)
		return false;
	while (!found && fgets(line, sizeof(line), log) != NULL)
		found = strncmp(line, key, length) == 0 && line[length] == '\t';
	fclose(log);
	return found;
}

bool
receiver_append(const char *path, const char *line, int bot)
{
	char		text[KEY_BYTES + 128];
	int			length = snprintf(text, sizeof(text), "%s\tbot %d\n", line, bot + 1);
	int			log = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	bool		appended;

	if (log < 0)
		return false;
	appended = write(log, text, (size_t) length) == length && fsync(log) == 0;
	close(log);
	return appended;
}

/* Starts an empty log, unless the file is somebody's. */
bool
receiver_reset(const char *path)
{
	char		line[sizeof(LOG_HEADER)] = LOG_HEADER;
	FILE	   *log = fopen(path, "r");
	bool		ours = true;

	if (log != NULL)
	{
		if (fgets(line, sizeof(line), log) != NULL)
			ours = strcmp(line, LOG_HEADER) == 0;
		fclose(log);
	}
	if (!ours)
	{
		fprintf(stderr, "tradekeep: \"%s\" is not a log of the demo: choose another with --log\n",
				path);
		return false;
	}
	log = fopen(path, "w");
	if (log == NULL || fputs(LOG_HEADER, log) < 0 || fclose(log) != 0)
	{
		fprintf(stderr, "tradekeep: could not write \"%s\": %s\n", path, strerror(errno));
		return false;
	}
	return true;
}
