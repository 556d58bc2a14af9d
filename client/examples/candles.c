/*
 * candles.c
 *		Stores the candles of an exchange's websocket: one message a line on standard input, in
 *		batches of what has come.
 *
 *		cc candles.c $(pkg-config --cflags --libs tradekeep) -o candles
 *		websocat 'wss://stream.binance.com/ws/btcusdt@kline_1m' | DATABASE_URL=postgresql://... ./candles
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <tradekeep.h>

#define BATCH	100

/* Stores a batch; while PostgreSQL is away, as often as it takes. False: it is refused. */
static int
store(tk_client *client, char **messages, size_t count)
{
	tk_upsert_counts counts;

	while (tk_ingest_klines(client, (const char *const *) messages, count, NULL, NULL,
							&counts) != 0)
	{
		fprintf(stderr, "%s\n", tk_message(client));
		if (tk_error(client) == TK_ERROR_SERVER || tk_error(client) == TK_ERROR_ARGUMENT)
			return 0;

		/* An upsert may be repeated, also when nobody knows what became of the first. */
		sleep(1);
	}
	printf("%lld inserted, %lld updated\n", (long long) counts.inserted,
		   (long long) counts.updated);
	return 1;
}

int
main(void)
{
	tk_client  *client = tk_open(NULL);
	char	   *messages[BATCH];
	size_t		count = 0;
	size_t		size = 0;
	int			good = 1;
	char	   *line = NULL;

	while (good && getline(&line, &size, stdin) > 0)
	{
		messages[count++] = strdup(line);
		if (count < BATCH && strstr(line, "\"x\":true") == NULL)
			continue;			/* a candle that closes waits for nothing */
		good = store(client, messages, count);
		while (count > 0)
			free(messages[--count]);
	}
	if (good && count > 0)
		good = store(client, messages, count);
	while (count > 0)
		free(messages[--count]);
	free(line);
	tk_close(client);
	return !good;
}
