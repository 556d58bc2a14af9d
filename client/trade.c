/*
 * trade.c
 *		The ledger of trades, and what it amounts to.
 *
 * Money goes both ways as decimal text: the server reads and writes it, exactly,
 * and judges it.  Statistics stay in the result that they came in, which the
 * handle keeps until its next call.
 */
#include "internal.h"

#include <math.h>
#include <string.h>

/* $1 is bot; the others are in the order of the function's own arguments. */
const tki_statement tki_add_trade_statement = {
	.id = TKI_ADD_TRADE,.access = TKI_WRITE,.name = "tradekeep_" TRADEKEEP_VERSION "_add_trade",
	.sql = "SELECT tradekeep.add_trade($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14,"
	" $15, $16, $1, $17)",
	.count = 17,
	.types = {OID_TEXT, OID_TEXT, OID_TEXT, OID_TEXT, OID_TEXT, OID_NUMERIC, OID_NUMERIC,
		OID_NUMERIC, OID_NUMERIC, OID_NUMERIC, OID_TIMESTAMPTZ, OID_TIMESTAMPTZ, OID_NUMERIC,
	OID_NUMERIC, OID_TEXT, OID_JSONB, OID_BOOL}
};

const tki_statement tki_close_trade_statement = {
	.id = TKI_CLOSE_TRADE,.access = TKI_WRITE,
	.name = "tradekeep_" TRADEKEEP_VERSION "_close_trade",
	.sql = "SELECT tradekeep.close_trade($2, $3, $4, $5, $6, $1)",
	.count = 6,
	.types = {OID_TEXT, OID_TEXT, OID_NUMERIC, OID_TIMESTAMPTZ, OID_NUMERIC, OID_TEXT}
};

/* Counts, then ratios, then text, each in the order of what they are read into. */
static const tki_statement trade_stats_statement = {
	.id = TKI_TRADE_STATS,.access = TKI_READ,
	.name = "tradekeep_" TRADEKEEP_VERSION "_trade_stats",
	.sql = "SELECT s.trades, s.wins, s.losses, s.draws, s.win_rate, s.profit_factor,"
	" s.payoff_ratio, s.expectancy_ratio, s.max_drawdown_ratio, s.sharpe, s.sortino, s.calmar,"
	" s.sqn, (EXTRACT(epoch FROM s.average_holding)"
	" OPERATOR(pg_catalog.*) 1000)::pg_catalog.float8, s.total_pnl::pg_catalog.text,"
	" s.gross_profit::pg_catalog.text, s.gross_loss::pg_catalog.text,"
	" s.average_win::pg_catalog.text, s.average_loss::pg_catalog.text,"
	" s.expectancy::pg_catalog.text, s.best::pg_catalog.text, s.worst::pg_catalog.text,"
	" s.max_drawdown::pg_catalog.text, s.top_symbols::pg_catalog.text"
	" FROM tradekeep.trade_stats($1, $2, $3, $4, $5, $6) AS s",
	.count = 6,
	.types = {OID_INTERVAL, OID_TEXT, OID_TEXT, OID_TEXT, OID_NUMERIC, OID_TIMESTAMPTZ}
};

/* A time of zero is none. */
static void
put_time(tki_parameters *parameters, int64_t ms)
{
	if (ms == 0)
		tki_put_null(parameters);
	else
		tki_put_timestamp(parameters, ms);
}

/* Runs a statement that answers whether it changed anything. */
static int
change(tk_client *client, const tki_statement *statement, const tki_parameters *parameters,
	   int *changed)
{
	bool		answer = false;

	if (!tki_answer_bool(client, tki_write(client, statement, parameters), &answer) &&
		!tk_spooled(client))
		return -1;
	if (changed != NULL)
		*changed = answer;
	return 0;
}

int
tk_add_trade(tk_client *client, const tk_trade *trade, int replace, int *added)
{
	tki_parameters parameters = {.count = 0};

	if (!tki_enter(client) || !tki_check_key(client, trade->trade_id, "trade_id") ||
		!tki_check_key(client, trade->symbol, "symbol") ||
		!tki_check_time(client, trade->opened_at, "opened_at") ||
		!tki_check_time(client, trade->closed_at, "closed_at"))
		return -1;
	tki_put_text(&parameters, trade->bot);
	tki_put_text(&parameters, trade->trade_id);
	tki_put_text(&parameters, trade->strategy);
	tki_put_text(&parameters, trade->symbol);
	tki_put_text(&parameters, trade->side);
	tki_put_text(&parameters, trade->quantity);
	tki_put_text(&parameters, trade->entry_price);
	tki_put_text(&parameters, trade->exit_price);
	tki_put_text(&parameters, trade->leverage);
	tki_put_text(&parameters, trade->fee);
	put_time(&parameters, trade->opened_at);
	put_time(&parameters, trade->closed_at);
	tki_put_text(&parameters, trade->pnl);
	tki_put_text(&parameters, trade->pnl_ratio);
	tki_put_text(&parameters, trade->exit_reason);
	tki_put_text(&parameters, trade->data);
	tki_put_text(&parameters, replace ? "t" : "f");
	return change(client, &tki_add_trade_statement, &parameters, added);
}

int
tk_close_trade(tk_client *client, const char *bot, const char *trade_id, const char *exit_price,
			   int64_t closed_at, const char *fee, const char *exit_reason, int *closed)
{
	tki_parameters parameters = {.count = 0};

	if (!tki_enter(client) || !tki_check_key(client, trade_id, "trade_id") ||
		!tki_check_time(client, closed_at, "closed_at"))
		return -1;
	tki_put_text(&parameters, bot);
	tki_put_text(&parameters, trade_id);
	tki_put_text(&parameters, exit_price);
	put_time(&parameters, closed_at);
	tki_put_text(&parameters, fee);
	tki_put_text(&parameters, exit_reason);
	return change(client, &tki_close_trade_statement, &parameters, closed);
}

/* Reads what trade_stats_statement answers; the text stays in the result. */
static bool
read_metrics(const PGresult *result, tk_trade_metrics *metrics)
{
	int64_t    *const counts[] = {&metrics->trades, &metrics->wins, &metrics->losses,
	&metrics->draws};
	double	   *const ratios[] = {&metrics->win_rate, &metrics->profit_factor,
		&metrics->payoff_ratio, &metrics->expectancy_ratio, &metrics->max_drawdown_ratio,
		&metrics->sharpe, &metrics->sortino, &metrics->calmar, &metrics->sqn,
	&metrics->average_holding};
	const char **const texts[] = {&metrics->total_pnl, &metrics->gross_profit,
		&metrics->gross_loss, &metrics->average_win, &metrics->average_loss,
		&metrics->expectancy, &metrics->best, &metrics->worst, &metrics->max_drawdown,
	&metrics->top_symbols};
	int			column = 0;

	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
	{
		if (!tki_answer_int64(result, column++, counts[i]))
			return false;
	}
	for (size_t i = 0; i < sizeof(ratios) / sizeof(ratios[0]); i++, column++)
	{
		int64_t		bits;

		if (PQgetisnull(result, 0, column))
		{
			*ratios[i] = NAN;
			continue;
		}
		if (!tki_answer_int64(result, column, &bits))
			return false;
		memcpy(ratios[i], &bits, sizeof(bits));
	}
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++, column++)
		*texts[i] = PQgetisnull(result, 0, column) ? NULL : PQgetvalue(result, 0, column);
	return true;
}

int
tk_trade_stats(tk_client *client, const tk_stats_query *query, tk_trade_metrics *metrics)
{
	static const tk_stats_query all;
	tki_parameters parameters = {.count = 0};
	PGresult   *result;

	if (query == NULL)
		query = &all;
	if (!tki_enter(client) || !tki_check_time(client, query->at, "at"))
		return -1;
	tki_put_text(&parameters, query->period);
	tki_put_text(&parameters, query->symbol);
	tki_put_text(&parameters, query->strategy);
	tki_put_text(&parameters, query->bot);
	tki_put_text(&parameters, query->starting_balance);
	put_time(&parameters, query->at);
	result = tki_execute(client, &trade_stats_statement, &parameters);
	if (result == NULL)
		return -1;
	if (!read_metrics(result, metrics))
	{
		tki_unexpected(client, result);
		return -1;
	}
	client->answer = result;
	return 0;
}
