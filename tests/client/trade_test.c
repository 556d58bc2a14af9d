/*
 * trade_test.c
 *		Trades through the client: each once, to the last digit, and what they amount to.
 */
#include "check.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>

#define OPENED INT64_C(1700000040000)
#define CLOSED (OPENED + 3600000)

static const tk_trade whole = {
	.bot = "alpha",.trade_id = "gr\u00f6\u00dfe-1",.strategy = "trend",.symbol = "BTC/USDT",.side = "short",
	.quantity = "0.123456789012345678901234567890",.entry_price = "97012.5",.exit_price = "96000.1",
	.leverage = "3",.fee = "0.1",.opened_at = OPENED,.closed_at = CLOSED,
	.pnl = "1.00000000000000000000000000000001",.pnl_ratio = "5e-2",.exit_reason = "roi",
	.data = "{\"regime\": \"bull\"}"
};

static void
test_adding(tk_client *client)
{
	tk_trade	trade = whole;
	tk_trade	least = {.trade_id = "open",.symbol = "ETH/USDT",.side = "LONG"};
	int			added = -1;

	CHECK_INT(tk_add_trade(client, &trade, 0, &added), 0);
	CHECK_INT(added, 1);
	CHECK_TEXT(admin_value("SELECT concat_ws('|', strategy, symbol, side, quantity, entry_price,"
						   " exit_price, leverage, fee, extract(epoch FROM opened_at)::int,"
						   " extract(epoch FROM closed_at)::int, pnl, pnl_ratio, exit_reason,"
						   " data ->> 'regime') FROM tradekeep.trade"
						   " WHERE bot = 'alpha' AND trade_id = 'gr\u00f6\u00dfe-1'"),
			   "trend|BTC/USDT|SHORT|0.123456789012345678901234567890|97012.5|96000.1|3|0.1|"
			   "1700000040|1700003640|1.00000000000000000000000000000001|0.05|roi|bull");
	CHECK_INT(tk_add_trade(client, &trade, 0, &added), 0);
	CHECK_INT(added, 0);
	trade.pnl = "1";
	CHECK_INT(tk_add_trade(client, &trade, 0, &added), -1);
	CHECK(failed_with(client, TK_ERROR_SERVER, "TK010"));
	CHECK(tk_hint(client)[0] != '\0');
	CHECK_INT(tk_add_trade(client, &trade, 1, &added), 0);
	CHECK_INT(added, 1);
	CHECK_INT(tk_add_trade(client, &trade, 1, &added), 0);
	CHECK_INT(added, 0);
	CHECK_INT(tk_add_trade(client, &least, 0, NULL), 0);
	CHECK_TEXT(admin_value("SELECT concat_ws('|', bot, leverage, fee, num_nonnulls(strategy,"
						   " quantity, entry_price, opened_at, closed_at, data))"
						   " FROM tradekeep.trade WHERE trade_id = 'open'"), "|1|0|0");
}

static void
test_closing(tk_client *client)
{
	tk_trade	trade = {.trade_id = "c",.symbol = "X",.side = "LONG",.quantity = "2",
	.entry_price = "100",.opened_at = OPENED};
	int			closed = -1;

	CHECK_INT(tk_add_trade(client, &trade, 0, NULL), 0);
	CHECK_INT(tk_close_trade(client, NULL, "c", "100.25", CLOSED, "0.05", "roi", &closed), 0);
	CHECK_INT(closed, 1);
	CHECK_INT(tk_close_trade(client, "", "c", "100.25", CLOSED, "0.05", "roi", &closed), 0);
	CHECK_INT(closed, 0);
	CHECK_TEXT(admin_value("SELECT concat_ws('|', pnl, fee, extract(epoch FROM closed_at)::int)"
						   " FROM tradekeep.trade WHERE trade_id = 'c'"), "0.45|0.05|1700003640");
	CHECK_INT(tk_add_trade(client, &trade, 0, &closed), 0);
	CHECK_INT(closed, 0);
	CHECK_INT(tk_close_trade(client, "", "c", "101", CLOSED, NULL, NULL, NULL), -1);
	CHECK(failed_with(client, TK_ERROR_SERVER, "TK010"));
	CHECK_INT(tk_close_trade(client, "", "nobody's", "101", 0, NULL, NULL, NULL), -1);
	CHECK(failed_with(client, TK_ERROR_SERVER, "P0002"));
	CHECK_INT(tk_close_trade(client, "", NULL, "101", 0, NULL, NULL, NULL), -1);
	CHECK(failed_with(client, TK_ERROR_ARGUMENT, "TK002"));
	CHECK_INT(tk_close_trade(client, "", "c", NULL, 0, NULL, NULL, NULL), -1);
	CHECK(failed_with(client, TK_ERROR_SERVER, "TK009"));

	/* Without a time it is closed now. */
	trade.trade_id = "now";
	CHECK_INT(tk_add_trade(client, &trade, 0, NULL), 0);
	CHECK_INT(tk_close_trade(client, NULL, "now", "99", 0, NULL, NULL, &closed), 0);
	CHECK_INT(closed, 1);
	CHECK_TEXT(admin_value("SELECT closed_at BETWEEN now() - interval '1 hour' AND clock_timestamp()"
						   " FROM tradekeep.trade WHERE trade_id = 'now'"), "t");
}

/* One thing wrong with a good trade, and nothing is stored. */
static void
test_refusals(tk_client *client)
{
	tk_trade	bad[16];
	static const char *const sqlstates[] = {"TK002", "TK002", "TK002", "TK009", "TK009", "22P02",
		"TK009", "TK009", "TK009", "TK009", "22P02", "TK004", "TK004", "TK009", "22021",
	"TK009"};
	char		long_name[600];
	int			added = -1;

	memset(long_name, 'x', sizeof(long_name));
	long_name[sizeof(long_name) - 1] = '\0';
	for (int i = 0; i < 16; i++)
	{
		bad[i] = whole;
		bad[i].trade_id = "bad";
	}
	bad[0].trade_id = NULL;
	bad[1].symbol = "";
	bad[2].strategy = long_name;
	bad[3].side = NULL;
	bad[4].side = "UP";
	bad[5].quantity = "1,5";
	bad[6].quantity = "0";
	bad[7].fee = "NaN";
	bad[8].pnl = "Infinity";
	bad[9].exit_price = "1e100";
	bad[10].data = "{";
	bad[11].closed_at = INT64_C(7258118400000);
	bad[12].opened_at = INT64_MAX;
	bad[13].closed_at = OPENED - 1;
	bad[14].exit_reason = "\xff";
	bad[15].closed_at = 0;
	for (int i = 0; i < 16; i++)
	{
		CHECK_INT(tk_add_trade(client, &bad[i], 1, &added), -1);
		CHECK(failed_with(client, i < 2 || i == 12 ? TK_ERROR_ARGUMENT : TK_ERROR_SERVER,
						  sqlstates[i]));
	}
	CHECK_INT(added, -1);
	CHECK_TEXT(admin_value("SELECT count(*) FROM tradekeep.trade WHERE trade_id = 'bad'"), "0");
}

static void
test_stats(tk_client *client)
{
	static const char *const pnls[] = {"10.5", "-4.25", "0", "1e-18"};
	tk_stats_query query = {.bot = "stats",.at = CLOSED + 5000,.starting_balance = "100"};
	tk_trade_metrics metrics;
	tk_trade	trade = whole;
	char		trade_id[2] = "a";

	trade.bot = "stats";
	trade.trade_id = trade_id;
	for (int i = 0; i < 4; i++, trade_id[0]++, trade.closed_at += 1000)
	{
		trade.pnl = pnls[i];
		CHECK_INT(tk_add_trade(client, &trade, 0, NULL), 0);
	}
	CHECK_INT(tk_trade_stats(client, &query, &metrics), 0);
	CHECK_INT(metrics.trades, 4);
	CHECK_INT(metrics.wins, 2);
	CHECK_INT(metrics.losses, 1);
	CHECK_INT(metrics.draws, 1);
	CHECK(metrics.win_rate == 0.5);
	CHECK_TEXT(metrics.total_pnl, "6.250000000000000001");
	CHECK_TEXT(metrics.gross_profit, "10.500000000000000001");
	CHECK_TEXT(metrics.gross_loss, "-4.25");
	CHECK(fabs(metrics.profit_factor - 10.5 / 4.25) < 1e-12);
	CHECK(strtod(metrics.average_win, NULL) == 5.25);
	CHECK(strtod(metrics.average_loss, NULL) == -4.25);
	CHECK(fabs(metrics.payoff_ratio - 5.25 / 4.25) < 1e-12);
	CHECK(strtod(metrics.expectancy, NULL) == 1.5625);
	CHECK(fabs(metrics.expectancy_ratio - ((1 + 5.25 / 4.25) / 2 - 1)) < 1e-12);
	CHECK_TEXT(metrics.best, "10.5");
	CHECK_TEXT(metrics.worst, "-4.25");
	CHECK_TEXT(metrics.max_drawdown, "4.25");
	CHECK(fabs(metrics.max_drawdown_ratio - 4.25 / 110.5) < 1e-12);
	CHECK(isnan(metrics.sharpe) && isnan(metrics.sortino));
	CHECK(metrics.calmar > 0 && metrics.sqn > 0);
	CHECK(metrics.average_holding == 3601500);
	CHECK_TEXT(metrics.top_symbols,
			   "[{\"pnl\": 6.250000000000000001, \"symbol\": \"BTC/USDT\"}]");

	/* The window, and each filter. */
	query.period = "1500 milliseconds";
	query.at -= 2000;
	CHECK_INT(tk_trade_stats(client, &query, &metrics), 0);
	CHECK_TEXT(metrics.total_pnl, "0.000000000000000001");
	query = (tk_stats_query){.symbol = "nothing",.strategy = "trend"};
	CHECK_INT(tk_trade_stats(client, &query, &metrics), 0);
	CHECK_INT(metrics.trades, 0);
	CHECK(metrics.best == NULL && metrics.top_symbols == NULL && metrics.average_win == NULL);
	CHECK(isnan(metrics.win_rate) && isnan(metrics.calmar) && isnan(metrics.average_holding));
	query = (tk_stats_query){.strategy = "nothing"};
	CHECK_INT(tk_trade_stats(client, &query, &metrics), 0);
	CHECK_INT(metrics.trades, 0);
	CHECK_INT(tk_trade_stats(client, NULL, &metrics), 0);
	CHECK_INT(metrics.trades, atoi(admin_value("SELECT count(pnl) FROM tradekeep.trade")));
}

static void
test_bad_queries(tk_client *client)
{
	static const struct
	{
		tk_stats_query query;
		const char *sqlstate;
	}			bad[] =
	{
		{{.period = "soon"}, "22007"},
		{{.period = "-1 day"}, "TK003"},
		{{.starting_balance = "much"}, "22P02"},
		{{.starting_balance = "0"}, "TK009"},
		{{.at = INT64_C(7258118400000)}, "TK004"},
	};
	tk_trade_metrics metrics;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		CHECK_INT(tk_trade_stats(client, &bad[i].query, &metrics), -1);
		CHECK(failed_with(client, TK_ERROR_SERVER, bad[i].sqlstate));
	}
}

static void
test_transactions(tk_client *client)
{
	tk_trade	trade = whole;
	tk_trade_metrics metrics;
	tk_stats_query query = {.bot = "undone"};

	trade.bot = "undone";
	CHECK_INT(tk_begin(client), 0);
	CHECK_INT(tk_add_trade(client, &trade, 0, NULL), 0);
	CHECK_INT(tk_trade_stats(client, &query, &metrics), 0);
	CHECK_INT(metrics.trades, 1);
	CHECK_INT(tk_rollback(client), 0);
	CHECK_INT(tk_trade_stats(client, &query, &metrics), 0);
	CHECK_INT(metrics.trades, 0);
}

typedef struct waiting_trade
{
	tk_client  *client;
	int			status;
} waiting_trade;

static void *
add_in_thread(void *argument)
{
	waiting_trade *waiter = argument;
	tk_trade	trade = whole;

	trade.bot = "cut off";
	waiter->status = tk_add_trade(waiter->client, &trade, 0, NULL);
	return NULL;
}

/* The answer got lost on the way: nobody repeats the call but the caller, who may. */
static void
test_unknown_outcome(void)
{
	waiting_trade waiter = {.client = open_named("trade cut off", 30000)};
	pid_t		session = server_process(waiter.client);
	pthread_t	thread;
	int			added = -1;
	tk_trade	trade = whole;

	trade.bot = "cut off";
	CHECK(admin_run("BEGIN; LOCK TABLE tradekeep.trade IN SHARE MODE"));
	pthread_create(&thread, NULL, add_in_thread, &waiter);
	CHECK(admin_await("SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = %d",
					  session));
	shutdown(PQsocket(tk_connection(waiter.client)), SHUT_RDWR);
	pthread_join(thread, NULL);
	CHECK_INT(waiter.status, -1);
	CHECK(failed_with(waiter.client, TK_ERROR_UNKNOWN_OUTCOME, "08007"));
	CHECK(admin_run("ROLLBACK"));
	CHECK(admin_await("SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = %d)", session));
	CHECK_INT(tk_add_trade(waiter.client, &trade, 0, &added), 0);
	CHECK_TEXT(admin_value("SELECT count(*) FROM tradekeep.trade WHERE bot = 'cut off'"), "1");
	tk_close(waiter.client);
}

void
test_trades(void)
{
	tk_client  *client = open_named("trades", 30000);

	CHECK(admin_run("TRUNCATE tradekeep.trade"));
	test_adding(client);
	test_closing(client);
	test_refusals(client);
	test_stats(client);
	test_bad_queries(client);
	test_transactions(client);
	test_unknown_outcome();
	CHECK(admin_run("TRUNCATE tradekeep.trade"));
	tk_close(client);
}
