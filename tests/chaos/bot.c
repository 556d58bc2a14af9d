/*
 * bot.c
 *		A bot that never rests, for the chaos test: it claims, releases and writes at
 *		random, and keeps a log of what it was told.
 *
 *		bot NAME LOG SEED
 *
 * DATABASE_URL, REDIS_URL and TRADEKEEP_SPOOL say where. Claims of scope strict are
 * refused in an outage, those of scope loose and signals degrade, and so do trades and candles.
 * All bots choose among the same keys, which change with the clock. On SIGTERM it takes its
 * spool into the database and ends.
 *
 * The log has a line before each call and one after it, each written at once, times in
 * microseconds of a clock that all processes share, fields separated by tabs:
 *
 *		B	time	call	what	scope	key		price
 *		E	time	call	verdict	tier	degraded	spooled	error
 *		L	time	level	message
 *		M	time	metrics as JSON
 */
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tradekeep.h"

#define PAUSE	2000000			/* ns between calls */
#define ERA		40				/* ms after which there are new keys */
#define KEYS	3				/* that are new then */
#define BACK	50				/* how many eras a bot looks back, at most */

static volatile sig_atomic_t stopped;
static int	log_file;
static long call;
static const char *name;

static void
stop(int signal_number)
{
	stopped = 1;
}

static int64_t
now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t) t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

__attribute__((format(printf, 1, 2)))
static void
write_log(const char *format,...)
{
	char		line[8192];
	va_list		arguments;
	int			length;

	va_start(arguments, format);
	length = vsnprintf(line, sizeof(line) - 1, format, arguments);
	va_end(arguments);
	if (length > (int) sizeof(line) - 2)
		length = sizeof(line) - 2;
	line[length] = '\n';
	if (write(log_file, line, (size_t) length + 1) != length + 1)
		_exit(3);
}

static void
log_message(void *context, tk_log_level level, const char *message)
{
	write_log("L\t%" PRId64 "\t%d\t%s", now_us(), (int) level, message);
}

static void
begin(const char *what, const char *scope, const char *key, double price)
{
	write_log("B\t%" PRId64 "\t%ld\t%s\t%s\t%s\t%.17g", now_us(), ++call, what, scope, key, price);
}

static void
end(tk_client *client, const char *verdict, const tk_answer *answer)
{
	write_log("E\t%" PRId64 "\t%ld\t%s\t%s\t%d\t%d\t%d %s", now_us(), call, verdict,
			  answer != NULL ? tk_tier_name(answer->tier) : "-",
			  answer != NULL ? answer->degraded : 0, tk_spooled(client), (int) tk_error(client),
			  tk_message(client));
}

/* What this bot holds in scope strict, and may give back. */
static char held[64][64];
static unsigned nheld;

static void
claim(tk_client *client, const char *scope)
{
	char		key[64];
	int64_t		era = now_us() / 1000 / ERA - (random() % 2 == 0 ? 0 : random() % BACK);
	tk_answer	answer;
	tk_verdict	verdict;

	snprintf(key, sizeof(key), "%" PRId64 ":%ld", era, random() % KEYS);
	begin("claim", scope, key, 0);
	verdict = tk_claim(client, scope, key, 3600000, &answer);
	end(client, tk_verdict_name(verdict), &answer);
	if (verdict == TK_CLAIMED && strcmp(scope, "strict") == 0)
		strcpy(held[nheld++ % 64], key);
}

static void
give_back(tk_client *client)
{
	char	   *key = held[(unsigned) random() % 64];
	int			released = 0;
	int			status;

	if (key[0] == '\0')
		return;
	begin("release", "strict", key, 0);
	status = tk_release(client, "strict", key, &released);
	end(client, status != 0 ? "failed" : released ? "released" : "absent", NULL);
	key[0] = '\0';
}

static void
claim_signal(tk_client *client)
{
	char		symbol[64];
	tk_signal	wanted = {.symbol = symbol,.direction = random() % 2 == 0 ? "LONG" : "short",
	.tolerance = 0.01,.ttl = 3600000};
	tk_answer	answer;
	tk_verdict	verdict;

	snprintf(symbol, sizeof(symbol), "S%" PRId64, now_us() / 1000 / (5 * ERA));
	wanted.entry_price = 100 + (double) (random() % 1280) / 128;	/* exact, and so is its text */
	begin("signal", wanted.direction, symbol, wanted.entry_price);
	verdict = tk_claim_signal(client, &wanted, NULL, &answer);
	end(client, tk_verdict_name(verdict), &answer);
}

/* Opened and then closed, which is refused of a trade that is not there yet. */
static void
add_trade(tk_client *client)
{
	char		id[64];
	int			status;
	tk_trade	trade = {.bot = name,.trade_id = id,.symbol = "BTC/USDT",.side = "LONG",
	.quantity = "0.5",.entry_price = "100",.opened_at = 1767608100000};

	snprintf(id, sizeof(id), "%" PRId64, now_us());
	begin("trade", name, id, 0);
	status = tk_add_trade(client, &trade, 0, NULL);
	end(client, status == 0 ? "stored" : "failed", NULL);
	if (status != 0)
		return;
	begin("close", name, id, 0);
	end(client, tk_close_trade(client, name, id, "101", 1767608160000, NULL, NULL, NULL) == 0 ?
		"stored" : "failed", NULL);
}

/* A partial bar, and then the final one, which must be what stays. */
static void
store_candle(tk_client *client)
{
	char		minute[32];
	tk_candle	bar = {.open = 1,.high = 3,.low = 1,.close = 2,.volume = 1};

	bar.ts = INT64_C(1500000000000) / 60000 * 60000 + now_us() / 100000 * 60000;
	snprintf(minute, sizeof(minute), "%" PRId64, bar.ts);
	begin("partial", name, minute, 0);
	end(client, tk_upsert_candles(client, name, "1m", &bar, 1, NULL) == 0 ? "stored" : "failed",
		NULL);
	bar.close = 3;
	bar.volume = 2;
	bar.closed = 1;
	begin("candle", name, minute, 0);
	end(client, tk_upsert_candles(client, name, "1m", &bar, 1, NULL) == 0 ? "stored" : "failed",
		NULL);
}

static void
act(tk_client *client)
{
	int			draw = (int) (random() % 100);

	if (draw < 35)
		claim(client, "strict");
	else if (draw < 65)
		claim(client, "loose");
	else if (draw < 75)
		claim_signal(client);
	else if (draw < 83)
		give_back(client);
	else if (draw < 90)
		add_trade(client);
	else
		store_candle(client);
}

int
main(int argc, char **argv)
{
	static const struct timespec pause = {0, PAUSE};
	static const struct timespec second = {1, 0};
	tk_options	options;
	tk_client  *client;
	int			left = 60;

	/* Who sees the log may send the signal. */
	signal(SIGTERM, stop);
	if (argc != 4 || (log_file = open(argv[2], O_WRONLY | O_CREAT | O_APPEND, 0600)) < 0)
		return 2;
	name = argv[1];
	srandom((unsigned) atoi(argv[3]));

	tk_options_init(&options);
	options.application_name = name;
	options.connect_timeout = 300;
	options.call_timeout = 1000;
	options.backoff_max = 500;
	options.redis_timeout = 100;
	options.outage = TK_DEGRADE;
	options.log = log_message;
	client = tk_open(&options);
	if (client == NULL || tk_set_outage_policy(client, "strict", TK_REFUSE) != 0)
		return 2;
	while (!stopped)
	{
		act(client);
		nanosleep(&pause, NULL);
	}
	while (tk_replay(client, NULL) != 0 && left-- > 0)
		nanosleep(&second, NULL);
	write_log("M\t%" PRId64 "\t%s", now_us(), tk_metrics_json(client));
	tk_close(client);
	return left > 0 ? 0 : 1;
}
