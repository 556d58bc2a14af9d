/*
 * degrading.c
 *		What the tests of degraded mode share.
 */
#include "degrading.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

relay	   *line;
char		folder[64];

const tk_candle outage_candle = {.ts = DAY_START,.open = 0.1,.high = 9,.low = 0.1,.close = 3e-9 + 1,
.volume = 1e22,.closed = 1};

char		collision[1024];

static void
note(void *context, tk_log_level level, const char *message)
{
	(void) context;
	(void) level;
	if (strncmp(message, "collision", 9) == 0)
		snprintf(collision, sizeof(collision), "%s", message);
}

/* A handle that goes on through outages; the folder and Redis may be null. */
tk_client *
open_degrading(const char *spool, const redis_server *redis)
{
	tk_options	options = {
		.database_url = relay_url(line),.application_name = "degrading",.connect_timeout = 2000,
		.call_timeout = 10000,.backoff_min = 1,.backoff_max = 1,.log = note,
		.outage = TK_DEGRADE,.spool_directory = spool,
		.redis_url = redis != NULL ? redis->url : NULL
	};

	return tk_open(&options);
}

/* Whether a backoff runs or not. */
void
restore(tk_client *client)
{
	relay_restore(line);
	CHECK_INT(tk_connect(client), 0);
}

void
make_folder(void)
{
	strcpy(folder, "/tmp/tradekeep-spool-XXXXXX");
	CHECK(mkdtemp(folder) != NULL);
}

/* Names of files that end like this, and how many there are. */
int
count_files(const char *suffix)
{
	DIR		   *directory = opendir(folder);
	struct dirent *entry;
	int			count = 0;

	while ((entry = readdir(directory)) != NULL)
	{
		size_t		length = strlen(entry->d_name);

		count += length > strlen(suffix) &&
			strcmp(entry->d_name + length - strlen(suffix), suffix) == 0;
	}
	closedir(directory);
	return count;
}

/* Removes the folder, which must be empty. */
void
remove_folder(void)
{
	CHECK_INT(rmdir(folder), 0);
}

tk_metrics
metrics_of(const tk_client *client)
{
	tk_metrics	metrics;

	CHECK_INT(tk_read_metrics(client, &metrics), 0);
	return metrics;
}

/* A claim that PostgreSQL knows of, so that statements are prepared and the clock is known. */
void
warm_up(tk_client *client)
{
	static int	number;
	char		key[32];

	snprintf(key, sizeof(key), "warm %d", number++);
	CHECK_INT(tk_claim(client, "warm", key, HOUR, NULL), TK_CLAIMED);
	CHECK_INT(tk_error(client), TK_OK);
}

int
claim_rows(const char *scope)
{
	return atoi(admin_value("SELECT count(*) FROM tradekeep.claim WHERE scope = '%s'", scope));
}

tk_verdict
claim_hour(tk_client *client, const char *scope, const char *key, tk_answer *answer)
{
	return tk_claim(client, scope, key, HOUR, answer);
}
