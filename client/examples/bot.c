/*
 * bot.c
 *		A bot in one page: looks at each candle once, sends each signal once, however many of
 *		its kind run beside it, and however often it is started again.
 *
 *		cc bot.c $(pkg-config --cflags --libs tradekeep) -o bot
 *		DATABASE_URL=postgresql://... REDIS_URL=redis://... ./bot BTC/USDT ETH/USDT
 */
#include <stdio.h>
#include <unistd.h>

#include <tradekeep.h>

/* The strategy: yours. 0 when there is nothing to do. */
static double
find_entry(const char *symbol)
{
	return symbol[0] == 'B' ? 97012.5 : 0;
}

static void
look_at(tk_client *client, const char *symbol)
{
	tk_signal	signal = {.symbol = symbol,.direction = "LONG"};

	signal.entry_price = find_entry(symbol);
	if (signal.entry_price == 0)
		return;
	switch (tk_claim_signal(client, &signal, NULL, NULL))
	{
		case TK_CLAIMED:
			printf("%s LONG at %g\n", symbol, signal.entry_price);
			break;
		case TK_DUPLICATE:
			break;				/* sent already, near this price */
		case TK_UNAVAILABLE:
		case TK_REFUSED:
			fprintf(stderr, "%s: %s\n", symbol, tk_message(client));
			break;
	}
}

int
main(int argc, char **argv)
{
	tk_client  *client = tk_open(NULL);

	for (;;)
	{
		for (int i = 1; i < argc; i++)
		{
			tk_answer	answer;
			tk_verdict	verdict = tk_should_process_candle(client, argv[i], "1m", 0, -1, 0,
														   &answer);

			if (verdict == TK_CLAIMED)
				look_at(client, argv[i]);
			else if (verdict != TK_DUPLICATE)
				fprintf(stderr, "%s: %s\n", argv[i], tk_message(client));
			if (verdict == TK_REFUSED)
				return 1;
		}
		sleep(1);
	}
}
