/*
 * stats.c
 *		tradekeep stats: what the trades amount to, for people and for scripts.
 */
#include "rows.h"

#include <cjson/cJSON.h>
#include <getopt.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

const char *const stats_help =
"tradekeep stats [OPTION...]\n"
"\n"
"Says what closed trades amount to: all of them, or those that the options select. They are\n"
"read as they are now, and never from a cache that is stale.\n"
"\n"
"  --period PERIOD          closed since then: '30 days', '1 month 12 hours'; months by the\n"
"                           calendar in UTC; without it all time\n"
"  --at TIME                until then, instead of now; ISO 8601, UTC unless it says otherwise\n"
"  --symbol, --strategy, --bot NAME\n"
"  --balance AMOUNT         when the period begins: without it there is neither calmar nor a\n"
"                           drawdown in percent\n"
"  --by DIMENSION           a line each, by symbol, strategy, bot, side, exit_reason, weekday\n"
"                           (1 is Monday) or hour, in UTC\n"
"  --json                   all metrics, exactly; what is not defined is null; average_holding\n"
"                           in milliseconds; with --by an array\n"
"  --url URL                the database\n"
"\n"
"Into a file or a pipe go the exact figures, a name and a value on each line, and - for what is\n"
"not defined; with --by a table, rounded. What each metric means: docs/trade_stats.md.\n"
"\n"
"Exit codes: 0 done, also without a trade; 1 failed; 2 wrong usage; 3 database not reachable.";

#define METRICS \
	"m.trades, m.wins, m.losses, m.draws, m.win_rate, m.total_pnl, m.gross_profit," \
	" m.gross_loss, m.profit_factor, m.average_win, m.average_loss, m.payoff_ratio," \
	" m.expectancy, m.expectancy_ratio, m.best, m.worst, m.max_drawdown, m.max_drawdown_ratio," \
	" m.sharpe, m.sortino, m.calmar, m.sqn, round(1000 * extract(epoch FROM m.average_holding))" \
	" AS average_holding, m.top_symbols"
#define FILTERS "$1::interval, $2, $3, $4, $5::numeric, to_timestamp($6::float8)"
#define PARAMETERS 7

/* $7 is the dimension. */
static const char *const json_query =
"SELECT row_to_json(r) FROM (SELECT " METRICS " FROM tradekeep.trade_stats(" FILTERS ") AS m"
" WHERE $7::text IS NULL) AS r";
static const char *const json_by_query =
"SELECT coalesce(json_agg(r), '[]') FROM (SELECT m.value, " METRICS
" FROM tradekeep.stats_by($7, " FILTERS ") AS m) AS r";
static const char *const by_query =
"SELECT coalesce(m.value, '-') AS value, m.trades, coalesce(round(100 * m.win_rate::numeric, 2)"
"::text, '-') AS \"won %\", trim_scale(round(m.total_pnl, 8)) AS pnl,"
" coalesce(round(m.profit_factor::numeric, 3)::text, '-') AS \"profit factor\","
" trim_scale(round(m.expectancy, 8)) AS expectancy,"
" trim_scale(round(m.max_drawdown, 8)) AS \"max drawdown\","
" coalesce(round(m.sharpe::numeric, 3)::text, '-') AS sharpe"
" FROM tradekeep.stats_by($7, " FILTERS ") AS m";

typedef struct stats_state
{
	tk_client  *client;
	tk_stats_query query;
	const char *dimension;		/* null: none */
	bool		json;
} stats_state;

typedef enum metric_kind
{
	COUNT, MONEY, GAIN, RATIO, PERCENT, DURATION
} metric_kind;

/* A metric, as the server calls it and as people do; null: one belongs to the line before. */
typedef struct metric
{
	const char *name;
	const char *label;
	metric_kind kind;
	size_t		offset;
	bool		starts;			/* a group of them */
} metric;

#define METRIC(name, label, kind, starts) \
	{#name, label, kind, offsetof(tk_trade_metrics, name), starts}

static const metric metrics[] = {
	METRIC(trades, "Trades", COUNT, false),
	METRIC(wins, "Won", COUNT, false),
	METRIC(losses, "Lost", COUNT, false),
	METRIC(draws, "Even", COUNT, false),
	METRIC(win_rate, "Win rate", PERCENT, false),
	METRIC(total_pnl, "Net", GAIN, true),
	METRIC(gross_profit, "Won", GAIN, false),
	METRIC(gross_loss, "Lost", GAIN, false),
	METRIC(profit_factor, "Profit factor", RATIO, false),
	METRIC(average_win, "Average win", GAIN, true),
	METRIC(average_loss, "Average loss", GAIN, false),
	METRIC(payoff_ratio, "Payoff ratio", RATIO, false),
	METRIC(expectancy, "Expectancy", GAIN, false),
	METRIC(expectancy_ratio, "Expectancy ratio", RATIO, false),
	METRIC(best, "Best", GAIN, false),
	METRIC(worst, "Worst", GAIN, false),
	METRIC(max_drawdown, "Max drawdown", MONEY, true),
	METRIC(max_drawdown_ratio, "Max drawdown", PERCENT, false),
	METRIC(sharpe, "Sharpe", RATIO, false),
	METRIC(sortino, "Sortino", RATIO, false),
	METRIC(calmar, "Calmar", RATIO, false),
	METRIC(sqn, "SQN", RATIO, false),
	METRIC(average_holding, "Average holding", DURATION, true),
};

/* Cuts an amount to 8 decimals for the eye; a long one stays as it is. */
static void
round_money(const char *money, char *text, size_t size)
{
	const char *point = strchr(money, '.');
	double		value = strtod(money, NULL);
	char	   *end;

	if (point == NULL || strlen(point) <= 9 || fabs(value) >= 1e6)
		snprintf(text, size, "%s", money);
	else if (fabs(value) < 1e-6)
		snprintf(text, size, "%.6g", value);
	else
		snprintf(text, size, "%.8f", value);
	if (strchr(text, '.') == NULL || strchr(text, 'e') != NULL)
		return;
	for (end = text + strlen(text); end[-1] == '0'; end--)
		;
	end[end[-1] == '.' ? -1 : 0] = '\0';
}

/* A value for people; false when there is none. */
static bool
format_value(const metric *metric, const void *value, char *text, size_t size)
{
	bool		is_ratio = metric->kind >= RATIO;
	double		number = is_ratio ? *(const double *) value : 0;
	char		digits[32];
	char		days[32] = "";
	int64_t		seconds = isnan(number) ? 0 : (int64_t) (number / 1000);

	switch (metric->kind)
	{
		case COUNT:
			snprintf(text, size, "%s", with_commas(*(const int64_t *) value, digits));
			return true;
		case MONEY:
		case GAIN:
			if (*(const char *const *) value == NULL)
				return false;
			round_money(*(const char *const *) value, text, size);
			return true;
		case RATIO:
			snprintf(text, size, "%.3f", number);
			break;
		case PERCENT:
			snprintf(text, size, "%.2f %%", 100 * number);
			break;
		case DURATION:
			if (seconds >= 86400)
				snprintf(days, sizeof(days), "%lld d ", (long long) (seconds / 86400));
			snprintf(text, size, "%s%02d:%02d:%02d", days, (int) (seconds / 3600 % 24),
					 (int) (seconds / 60 % 60), (int) (seconds % 60));
			break;
	}
	return !isnan(number);
}

/* Green for what came in, red for what went. */
static text_colour
colour_of(const metric *metric, const void *value)
{
	const char *money = metric->kind == GAIN ? *(const char *const *) value : NULL;

	if (money == NULL || strtod(money, NULL) == 0)
		return PLAIN;
	return money[0] == '-' ? RED : GREEN;
}

static void
print_title(const tk_stats_query *query)
{
	printf("%sTrades, %s%s%s%s%s%s%s%s%s\n\n", paint(stdout, BOLD),
		   query->period != NULL ? "last " : "all time", query->period != NULL ? query->period : "",
		   query->symbol != NULL ? ", " : "", query->symbol != NULL ? query->symbol : "",
		   query->strategy != NULL ? ", " : "", query->strategy != NULL ? query->strategy : "",
		   query->bot != NULL ? ", bot " : "", query->bot != NULL ? query->bot : "",
		   paint(stdout, PLAIN));
}

static void
print_symbols(const char *json)
{
	cJSON	   *symbols = cJSON_Parse(json != NULL ? json : "[]");
	const cJSON *entry;

	if (cJSON_GetArraySize(symbols) > 0)
		printf("\n  %sBest symbols%s\n", paint(stdout, DIM), paint(stdout, PLAIN));
	cJSON_ArrayForEach(entry, symbols)
	{
		const cJSON *symbol = cJSON_GetObjectItem(entry, "symbol");
		const cJSON *pnl = cJSON_GetObjectItem(entry, "pnl");

		if (!cJSON_IsString(symbol) || !cJSON_IsNumber(pnl))
			continue;
		printf("  %-20s %s%20.10g%s\n", defuse(symbol->valuestring),
			   paint(stdout, pnl->valuedouble < 0 ? RED : GREEN), pnl->valuedouble,
			   paint(stdout, PLAIN));
	}
	cJSON_Delete(symbols);
}

/* In groups and colours; what is not defined is left out. */
static void
print_for_people(const stats_state *state, const tk_trade_metrics *values)
{
	print_title(&state->query);
	for (size_t i = 0; i < sizeof(metrics) / sizeof(metrics[0]); i++)
	{
		const void *value = (const char *) values + metrics[i].offset;
		const char *colour = paint(stdout, colour_of(&metrics[i], value));
		char		text[320];

		if (metrics[i].starts && values->trades > 0)
			putchar('\n');
		if (format_value(&metrics[i], value, text, sizeof(text)) &&
			(values->trades > 0 || i == 0))
			printf("  %-20s %s%20s%s\n", metrics[i].label, colour, text, paint(stdout, PLAIN));
	}
	print_symbols(values->top_symbols);
}

/* As short as it can be and still be read as the same. */
static void
print_number(double number)
{
	char		text[32];

	for (int digits = 15; digits <= 17; digits++)
	{
		snprintf(text, sizeof(text), "%.*g", digits, number);
		if (strtod(text, NULL) == number)
			break;
	}
	puts(isnan(number) ? "-" : text);
}

/* All of it and exactly. */
static void
print_for_scripts(const tk_trade_metrics *values)
{
	for (size_t i = 0; i < sizeof(metrics) / sizeof(metrics[0]); i++)
	{
		const void *value = (const char *) values + metrics[i].offset;
		const char *money;

		printf("%-20s ", metrics[i].name);
		switch (metrics[i].kind)
		{
			case COUNT:
				printf("%lld\n", (long long) *(const int64_t *) value);
				break;
			case MONEY:
			case GAIN:
				money = *(const char *const *) value;
				puts(money != NULL ? money : "-");
				break;
			case DURATION:
			case RATIO:
			case PERCENT:
				print_number(*(const double *) value);
				break;
		}
	}
	printf("%-20s %s\n", "top_symbols", values->top_symbols != NULL ? values->top_symbols : "-");
}

/* A table, its columns as wide as they must be. */
static void
print_table(const PGresult *result)
{
	int			columns = PQnfields(result);
	int			widths[16] = {0};

	for (int column = 0; column < columns; column++)
	{
		widths[column] = (int) strlen(PQfname(result, column));
		for (int row = 0; row < PQntuples(result); row++)
		{
			if (PQgetlength(result, row, column) > widths[column])
				widths[column] = PQgetlength(result, row, column);
		}
	}
	for (int row = -1; row < PQntuples(result); row++)
	{
		for (int column = 0; column < columns; column++)
		{
			const char *text = row < 0 ? PQfname(result, column) :
			defuse(PQgetvalue(result, row, column));
			text_colour colour = row < 0 ? BOLD : PLAIN;

			if (row >= 0 && strcmp(PQfname(result, column), "pnl") == 0 && strtod(text, NULL) != 0)
				colour = text[0] == '-' ? RED : GREEN;
			printf("%s%s%*s%s", column > 0 ? "  " : "", paint(stdout, colour),
				   column == 0 ? -widths[column] : widths[column], text, paint(stdout, PLAIN));
		}
		putchar('\n');
	}
}

/*
 * What only SQL has, as a table or as JSON; in a transaction, for whose time numbers
 * are written so that they read back the same.  Returns an exit code.
 */
static int
print_query(const stats_state *state)
{
	const tk_stats_query *query = &state->query;
	const char *values[PARAMETERS] = {query->period, query->symbol, query->strategy, query->bot,
	query->starting_balance};
	PGconn	   *connection;
	PGresult   *result;
	char		at[32];
	int			status = EXIT_DONE;

	if (tk_begin(state->client) != 0)
		return report_failure(state->client);
	connection = tk_connection(state->client);
	snprintf(at, sizeof(at), "%.3f", (double) query->at / 1000);
	values[5] = query->at != 0 ? at : NULL;
	values[6] = state->dimension;
	PQclear(PQexec(connection, "SET LOCAL extra_float_digits = 1"));
	result = PQexecParams(connection, !state->json ? by_query :
						  state->dimension != NULL ? json_by_query : json_query,
						  PARAMETERS, NULL, values, NULL, NULL, 0);
	if (PQresultStatus(result) != PGRES_TUPLES_OK)
		status = report_result(connection, result);
	else if (state->json)
		puts(PQgetvalue(result, 0, 0));
	else
		print_table(result);
	PQclear(result);
	return status;
}

static int
print_stats(const stats_state *state)
{
	tk_trade_metrics values;

	if (state->json || state->dimension != NULL)
		return print_query(state);
	if (tk_trade_stats(state->client, &state->query, &values) != 0)
		return report_failure(state->client);
	if (isatty(STDOUT_FILENO))
		print_for_people(state, &values);
	else
		print_for_scripts(&values);
	return EXIT_DONE;
}

int
stats_main(int argc, char **argv)
{
	static const struct option options[] = {
		{"period", required_argument, NULL, 'p'},
		{"symbol", required_argument, NULL, 's'},
		{"strategy", required_argument, NULL, 't'},
		{"bot", required_argument, NULL, 'b'},
		{"balance", required_argument, NULL, 'm'},
		{"at", required_argument, NULL, 'a'},
		{"by", required_argument, NULL, 'd'},
		{"json", no_argument, NULL, 'j'},
		{"url", required_argument, NULL, 'u'},
		{0}
	};
	stats_state state = {.json = false};
	tk_stats_query *query = &state.query;
	const char *url = NULL;
	double		ms;
	int			option;
	int			status;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
	{
		switch (option)
		{
			case 'p':
				query->period = optarg;
				break;
			case 's':
				query->symbol = optarg;
				break;
			case 't':
				query->strategy = optarg;
				break;
			case 'b':
				query->bot = optarg;
				break;
			case 'm':
				query->starting_balance = optarg;
				break;
			case 'a':
				if (!rows_moment(optarg, &ms) || fabs(ms) > MAX_MS)
					return wrong_usage("stats", "\"%s\" is not a time", optarg);
				query->at = llround(ms);
				break;
			case 'd':
				state.dimension = optarg;
				break;
			case 'j':
				state.json = true;
				break;
			case 'u':
				url = optarg;
				break;
			default:
				return wrong_usage("stats", "an option is wrong");
		}
	}
	if (optind < argc)
		return wrong_usage("stats", "what is \"%s\"?", argv[optind]);
	state.client = open_client(url, "tradekeep stats");
	status = print_stats(&state);
	tk_close(state.client);
	return status;
}
