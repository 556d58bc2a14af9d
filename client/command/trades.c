/*
 * trades.c
 *		tradekeep import trades: a file of any length into the ledger.
 *
 * A chunk of trades goes to the server as one JSON array, and is stored by one
 * statement, whole or not at all.  The server reads the numbers and calls
 * add_trade() for each, in the order of their keys, so that imports that overlap
 * wait for each other and never die of it.
 */
#include "trade_rows.h"

#include <getopt.h>
#include <stdlib.h>

/* A chunk is a transaction; and what of it is refused, is looked for by repeating it. */
#define TRADE_CHUNK 5000
#define TRADE_CHUNK_BYTES 8000000

const char *const import_trades_help =
"tradekeep import trades FILE [--bot BOT] [--strategy STRATEGY] [OPTION...]\n"
"\n"
"Stores trades from a file of any length and any order; \"-\" reads standard input. Running it\n"
"again changes nothing. What the file is, its content tells, plain or gzipped:\n"
"\n"
"  freqtrade                what a backtest exports (strategy, then trades), or what /trades of\n"
"                           its REST interface answers\n"
"  JSON                     [{...}, ...] or {\"trades\": [{...}, ...]}\n"
"  CSV with a header        columns in any order; others are ignored\n"
"\n"
"Members or columns have the names of the ledger's, in any case, or of these:\n"
"\n"
"  trade_id     id; without one, strategy:symbol:opened_at:side is it\n"
"  symbol       pair                        side        direction; buy is LONG; or is_short\n"
"  quantity     without leverage; or amount, with it, as freqtrade has it\n"
"  entry_price  open_price, open_rate       exit_price  close_price, close_rate\n"
"  opened_at    open_time, entry_time, open_date, open_timestamp\n"
"  closed_at    close_time, exit_time, close_date, close_timestamp; empty or is_open: it is open\n"
"  pnl          profit_abs, close_profit_abs; fees deducted; else reckoned from the prices\n"
"  pnl_ratio    profit_ratio, close_profit  exit_reason sell_reason\n"
"  fee          fees; or from the rates fee_open and fee_close\n"
"  data         JSON; else enter_tag or buy_tag goes there\n"
"\n"
"Times are ISO 8601, UTC unless they say otherwise, or since 1970 in s, ms, us or ns.\n"
"\n"
"  --bot BOT                of trades that do not tell theirs; give each backtest one of its own\n"
"  --strategy STRATEGY      the same\n"
"  --replace                correct trades that are stored with other figures\n"
"  --on-error=stop|skip     stop (default): at a bad trade, or one that is stored with\n"
"                           other figures, say where it is, and store nothing of its chunk, up\n"
"                           to 5,000 trades; what was stored before stays.\n"
"                           skip: leave these out, count them, show the first 10\n"
"  --json                   the summary as one JSON object\n"
"  --url URL                the database\n"
"\n"
"Added: was not there. Replaced: was there with other figures. Unchanged: was there.\n"
"Conflicts: left out, because it is there with other figures. Rejected: left out, as bad.\n"
"\n"
"Exit codes: 0 done; 1 the file or a trade is bad; 2 wrong usage; 3 database not reachable;\n"
"4 done, but trades were left out; 130 interrupted, after the chunk under way was stored.";

/* $1: the trades; $2: whether to replace. */
static const char *const store_query =
"SELECT count(*) FILTER (WHERE r.written AND NOT r.known),"
" count(*) FILTER (WHERE r.written AND r.known), count(*) FILTER (WHERE NOT r.written)"
" FROM (SELECT g.known, tradekeep.add_trade(g.trade_id, g.strategy, g.symbol, g.side,"
"  coalesce(g.quantity, trim_scale(g.amount / nullif(g.leverage, 0)), g.amount),"
"  g.entry_price, g.exit_price, g.leverage, coalesce(g.fee, CASE"
"   WHEN g.fee_open IS NOT NULL OR g.fee_close IS NOT NULL"
"   THEN trim_scale(coalesce(g.amount, g.quantity * coalesce(g.leverage, 1))"
"    * (coalesce(g.entry_price * g.fee_open, 0) + coalesce(g.exit_price * g.fee_close, 0)))"
"   END), g.opened_at, g.closed_at, g.pnl, g.pnl_ratio, g.exit_reason, g.data, g.bot, $2)"
"  AS written"
" FROM (SELECT t.*, row_number() OVER same > 1 OR EXISTS (SELECT FROM tradekeep.trade AS s"
"   WHERE s.bot = coalesce(t.bot, '') COLLATE \"C\" AND s.trade_id = t.trade_id COLLATE \"C\")"
"   AS known"
"  FROM ROWS FROM (jsonb_to_recordset($1) AS (bot text, trade_id text, strategy text,"
"   symbol text, side text, quantity numeric, amount numeric, entry_price numeric,"
"   exit_price numeric, leverage numeric, fee numeric, fee_open numeric, fee_close numeric,"
"   opened_at timestamptz, closed_at timestamptz, pnl numeric, pnl_ratio numeric,"
"   exit_reason text, data jsonb)) WITH ORDINALITY AS t(bot, trade_id, strategy, symbol, side,"
"   quantity, amount, entry_price, exit_price, leverage, fee, fee_open, fee_close, opened_at,"
"   closed_at, pnl, pnl_ratio, exit_reason, data, n)"
"  WINDOW same AS (PARTITION BY coalesce(t.bot, '') COLLATE \"C\", t.trade_id COLLATE \"C\""
"   ORDER BY t.n)"
"  ORDER BY coalesce(t.bot, '') COLLATE \"C\", t.trade_id COLLATE \"C\", t.n OFFSET 0) AS g"
" OFFSET 0) AS r";

typedef struct trade_chunk
{
	size_t		count;
	text_buffer text;			/* their objects, with commas between */
	size_t		starts[TRADE_CHUNK + 1];	/* of each object, and where the next would start */
	int64_t		rows[TRADE_CHUNK];	/* where in the file they come from */
	int64_t		lines[TRADE_CHUNK];
} trade_chunk;

typedef struct trade_import
{
	const char *path;
	tk_client  *client;
	trade_reader reader;
	trade_chunk chunk;
	bool		replace;
	bool		skip;			/* bad trades, instead of stopping */
	bool		json;
	int64_t		added;
	int64_t		replaced;
	int64_t		unchanged;
	int64_t		conflicts;
	int64_t		rejected;
	struct timespec start;
} trade_import;

typedef enum chunk_status
{
	STORED,
	REFUSED,					/* a trade is bad; nothing of the chunk was stored */
	FAILED						/* the server is gone, or something else is wrong */
} chunk_status;

static bool
is_refusal(const PGresult *result)
{
	const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);

	return sqlstate != NULL && (strncmp(sqlstate, "TK", 2) == 0 ||
								strncmp(sqlstate, "22", 2) == 0 ||
								strncmp(sqlstate, "23", 2) == 0);
}

/* Stores trades [start, end) of the chunk, and gives the server's answer. */
static PGresult *
send_range(trade_import *import, size_t start, size_t end)
{
	trade_chunk *chunk = &import->chunk;
	char	   *from = chunk->text.data + chunk->starts[start] - 1;
	char	   *to = chunk->text.data + chunk->starts[end] - 1;
	char		kept[] = {from[0], to[0], to[1]};
	const char *values[] = {from, import->replace ? "t" : "f"};
	static const Oid types[] = {3802, 16};
	PGresult   *result;

	/* The array's brackets take the places of the commas around it, for as long as it takes. */
	from[0] = '[';
	to[0] = ']';
	to[1] = '\0';
	result = PQexecParams(tk_connection(import->client), store_query, 2, types, values, NULL, NULL,
						  0);
	from[0] = kept[0];
	to[0] = kept[1];
	to[1] = kept[2];
	return result;
}

/* Stores trades [start, end) for good; else *result has the reason. */
static chunk_status
store_trades(trade_import *import, size_t start, size_t end, PGresult **result)
{
	*result = send_range(import, start, end);
	if (PQresultStatus(*result) != PGRES_TUPLES_OK)
		return is_refusal(*result) ? REFUSED : FAILED;
	import->added += strtoll(PQgetvalue(*result, 0, 0), NULL, 10);
	import->replaced += strtoll(PQgetvalue(*result, 0, 1), NULL, 10);
	import->unchanged += strtoll(PQgetvalue(*result, 0, 2), NULL, 10);
	PQclear(*result);
	*result = NULL;
	return STORED;
}

/* The same, but only tries: nothing stays. */
static chunk_status
try_trades(trade_import *import, size_t end, PGresult **result)
{
	PGconn	   *connection = tk_connection(import->client);
	chunk_status status = STORED;

	PQclear(PQexec(connection, "BEGIN"));
	*result = send_range(import, 0, end);
	if (PQresultStatus(*result) != PGRES_TUPLES_OK)
		status = is_refusal(*result) ? REFUSED : FAILED;
	PQclear(PQexec(connection, "ROLLBACK"));
	return status;
}

/* The server's reason, as the problem of one trade of the chunk. */
static row_problem
problem_of_trade(const trade_import *import, size_t i, const PGresult *result)
{
	row_problem problem = {.row = import->chunk.rows[i],.line = import->chunk.lines[i]};

	snprintf(problem.sqlstate, sizeof(problem.sqlstate), "%s",
			 PQresultErrorField(result, PG_DIAG_SQLSTATE));
	snprintf(problem.reason, sizeof(problem.reason), "%s",
			 PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY));
	return problem;
}

/* Returns the exit code for what the server answered. */
static int
fail(const trade_import *import, PGresult *result)
{
	int			code = report_result(tk_connection(import->client), result);

	PQclear(result);
	return code;
}

static int64_t
left_out(const trade_import *import)
{
	return import->conflicts + import->rejected;
}

static int64_t
trades_done(const trade_import *import)
{
	return import->added + import->replaced + import->unchanged + left_out(import);
}

/* Stores trades [start, end) without those that are refused, which it finds by halves. */
static int
store_good_trades(trade_import *import, size_t start, size_t end)
{
	size_t		middle = start + (end - start) / 2;
	PGresult   *result;
	row_problem problem;
	int			code;

	switch (store_trades(import, start, end, &result))
	{
		case STORED:
			return EXIT_DONE;
		case FAILED:
			return fail(import, result);
		case REFUSED:
			break;
	}
	if (end - start == 1)
	{
		problem = problem_of_trade(import, start, result);
		reject_row(import->path, left_out(import), &problem);
		if (strcmp(problem.sqlstate, "TK010") == 0)
			import->conflicts++;
		else
			import->rejected++;
		PQclear(result);
		return EXIT_DONE;
	}
	PQclear(result);
	code = store_good_trades(import, start, middle);
	return code != EXIT_DONE ? code : store_good_trades(import, middle, end);
}

/*
 * Says which trade is the first that makes the chunk refused, by trying how much
 * of its beginning is not: two that contradict each other are bad together only.
 */
static int
report_first_bad(trade_import *import, PGresult *refusal)
{
	size_t		good = 0;
	size_t		bad = import->chunk.count;
	row_problem problem;

	while (bad - good > 1)
	{
		size_t		middle = good + (bad - good) / 2;
		PGresult   *result;

		switch (try_trades(import, middle, &result))
		{
			case STORED:
				good = middle;
				PQclear(result);
				break;
			case REFUSED:
				bad = middle;
				PQclear(refusal);
				refusal = result;
				break;
			case FAILED:
				PQclear(refusal);
				return fail(import, result);
		}
	}
	problem = problem_of_trade(import, bad - 1, refusal);
	report_row(import->path, &problem);
	PQclear(refusal);
	return EXIT_FAILED;
}

/* Returns an exit code. */
static int
store_chunk(trade_import *import)
{
	PGresult   *result;

	if (import->chunk.count == 0)
		return EXIT_DONE;
	switch (store_trades(import, 0, import->chunk.count, &result))
	{
		case STORED:
			return EXIT_DONE;
		case FAILED:
			return fail(import, result);
		case REFUSED:
			break;
	}
	if (!import->skip)
		return report_first_bad(import, result);
	PQclear(result);
	return store_good_trades(import, 0, import->chunk.count);
}

/* ROW_READ: the chunk is full, and more may follow; else why the reader stopped. */
static row_status
fill_chunk(trade_import *import, row_problem *problem)
{
	const row_reader *rows = &import->reader.rows;
	trade_chunk *chunk = &import->chunk;

	chunk->count = chunk->text.size = 0;
	text_puts(&chunk->text, ",");
	chunk->starts[0] = 1;
	while (chunk->count < TRADE_CHUNK && chunk->text.size < TRADE_CHUNK_BYTES && !interrupted)
	{
		row_status	status = trades_next(&import->reader, &chunk->text, problem);

		if (chunk->text.failed)
		{
			rows_problem(problem, -1, 0, "", "out of memory");
			return ROW_BROKEN;
		}
		if (status == ROW_READ)
		{
			chunk->rows[chunk->count] = rows->csv ? -1 : rows->row;
			chunk->lines[chunk->count] = rows->row_line;
			chunk->count++;
			text_puts(&chunk->text, ",");
			chunk->starts[chunk->count] = chunk->text.size;
		}
		else if (status == ROW_REJECTED && import->skip)
		{
			reject_row(import->path, left_out(import), problem);
			import->rejected++;
		}
		else
			return status;
	}
	return ROW_READ;
}

/* Reads and stores in turn; returns an exit code. */
static int
run(trade_import *import)
{
	row_problem problem;

	for (;;)
	{
		row_status	end = fill_chunk(import, &problem);
		int			status;

		if (interrupted)
			return EXIT_INTERRUPTED;
		if (end == ROW_BROKEN || end == ROW_REJECTED)
		{
			report_row(import->path, &problem);
			return EXIT_FAILED;
		}
		status = store_chunk(import);
		if (status != EXIT_DONE)
			return status;
		show_progress("trades", input_progress(&import->reader.rows.input), trades_done(import),
					  seconds_since(&import->start));
		if (end == ROW_END)
			return left_out(import) > 0 ? EXIT_SKIPPED : EXIT_DONE;
	}
}

static void
summarize(const trade_import *import, int status)
{
	const summary_line lines[] =
	{
		{"trades", trades_done(import)}, {"added", import->added}, {"replaced", import->replaced},
		{"unchanged", import->unchanged}, {"conflicts", import->conflicts},
		{"rejected", import->rejected},
	};

	print_summary(lines, 6, seconds_since(&import->start), import->json, status);
}

static int
import_trades(trade_import *import, const char *url)
{
	row_problem problem;
	int			status;

	if (!trades_open(&import->reader, import->path, &problem))
	{
		report_row(import->path, &problem);
		return EXIT_FAILED;
	}
	import->client = open_client(url, "tradekeep import");
	clock_gettime(CLOCK_MONOTONIC, &import->start);
	if (tk_connect(import->client) != 0)
		status = report_failure(import->client);
	else
	{
		catch_interrupts();
		status = run(import);
		summarize(import, status);
	}
	tk_close(import->client);
	trades_close(&import->reader);
	free(import->chunk.text.data);
	return status;
}

int
import_trades_main(int argc, char **argv)
{
	static const struct option options[] = {
		{"bot", required_argument, NULL, 'b'},
		{"strategy", required_argument, NULL, 's'},
		{"replace", no_argument, NULL, 'r'},
		{"on-error", required_argument, NULL, 'e'},
		{"json", no_argument, NULL, 'j'},
		{"url", required_argument, NULL, 'u'},
		{0}
	};
	static trade_import import;
	const char *url = NULL;
	int			option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
	{
		switch (option)
		{
			case 'b':
				import.reader.bot = optarg;
				break;
			case 's':
				import.reader.strategy = optarg;
				break;
			case 'r':
				import.replace = true;
				break;
			case 'e':
				import.skip = strcmp(optarg, "skip") == 0;
				if (!import.skip && strcmp(optarg, "stop") != 0)
					return wrong_usage("import trades", "--on-error is stop or skip");
				break;
			case 'j':
				import.json = true;
				break;
			case 'u':
				url = optarg;
				break;
			default:
				return wrong_usage("import trades", "an option is wrong");
		}
	}
	if (argc - optind != 2)
		return wrong_usage("import trades", "which file?");
	import.path = argv[optind + 1];
	return import_trades(&import, url);
}
