/*
 * import.c
 *		tradekeep import candles: a file of any length into the database.  Trades have
 *		a file of their own, trades.c.
 *
 * A thread reads and parses the file into one of two chunks while the other one
 * is being stored, so that the parser and the server work at the same time and
 * memory stays bounded.
 */
#include "store.h"

#include <getopt.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <errno.h>
#include <stdatomic.h>

const char *const import_candles_help =
"tradekeep import candles FILE [--symbol SYMBOL] [--timeframe TIMEFRAME] [OPTION...]\n"
"tradekeep import trades FILE ...      see tradekeep import trades --help\n"
"tradekeep import redis ...            see tradekeep import redis --help\n"
"\n"
"Stores candles from a file of any length and any order; \"-\" reads standard input. Running it\n"
"again changes nothing. What the file is, its content tells, plain or gzipped:\n"
"\n"
"  JSON as ccxt gives it    [[ms, open, high, low, close, volume], ...], numbers also as strings\n"
"  CSV with a header        ts (or timestamp, open_time, time, datetime, date), open, high, low,\n"
"                           close, volume; perhaps symbol, timeframe (or interval), closed,\n"
"                           close_time; others are ignored. Any order, any case. Times are\n"
"                           ISO 8601, UTC unless they say otherwise, or since 1970 in s, ms,\n"
"                           us or ns\n"
"  Binance's CSV files      with or without a header, of spot and futures; unzip them first:\n"
"                           unzip -p FILE.zip | tradekeep import candles - ...\n"
"\n"
"A candle is final or open as the file says in closed; else final when its period, or its\n"
"close_time, is over by the server's clock.\n"
"\n"
"  --symbol SYMBOL          as the bots name it, BTC/USDT; instead of the file's, which must\n"
"                           then be the same throughout\n"
"  --timeframe TIMEFRAME    1s 1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h 1d 3d 1w 1M; the same\n"
"  --on-error=stop|skip     stop (default): at the first bad row, say where it is, and store\n"
"                           nothing of its chunk, up to 20,000 rows of a timeframe; what was\n"
"                           stored before stays.\n"
"                           skip: leave bad rows out, count them as rejected, show the first 10\n"
"  --json                   the summary as one JSON object\n"
"  --url URL                the database\n"
"\n"
"Inserted: was not there. Updated: replaced a candle that differed. Unchanged: was there.\n"
"Ignored: an open candle that came after its final form, or after a newer open one.\n"
"\n"
"Exit codes: 0 done; 1 the file or a row is bad; 2 wrong usage; 3 database not reachable;\n"
"4 done, but bad rows were skipped; 130 interrupted, after the chunk under way was stored.";

/* A chunk as the reader hands it over. */
typedef struct row_batch
{
	candle_chunk chunk;
	row_status	end;			/* ROW_READ: more may follow; else why the reader stopped */
	row_problem problem;		/* of ROW_BROKEN, or of ROW_REJECTED when that stops */
	int64_t		rejected;		/* rows left out, and the first of them */
	row_problem rejections[REPORTED_ROWS];
	double		progress;		/* how much of the file was read */
} row_batch;

typedef struct import_state
{
	const char *path;
	row_reader	reader;
	candle_store store;
	bool		skip;			/* bad rows, instead of stopping */
	bool		json;
	int64_t		rejected;
	struct timespec start;

	/* The row last read; `pending` when it waits for a chunk of its own timeframe. */
	file_row	row;
	const store_timeframe *row_timeframe;
	bool		pending;
	char		first_symbol[MAX_SYMBOL + 1];	/* as the file names it */
	char		first_timeframe[MAX_TIMEFRAME + 1];

	/* Two batches, filled and stored in turn; the semaphores count them. */
	row_batch  *batches;
	sem_t		empty;
	sem_t		filled;
	atomic_bool stop;			/* the reader need not go on */
} import_state;

/* What the command line says instead of the file can be true for one thing only. */
static bool
changes(char *first, const char *name)
{
	if (name[0] == '\0')
		return false;
	if (first[0] == '\0')
		strcpy(first, name);
	return strcmp(first, name) != 0;
}

/* Decides to what the row belongs, and whether it is final; false when it cannot. */
static bool
settle_row(import_state *import, row_problem *problem)
{
	const candle_store *store = &import->store;
	file_row   *row = &import->row;
	int64_t		number = import->reader.row;
	int64_t		line = import->reader.row_line;

	import->row_timeframe = store_find(store, row->timeframe);
	if (import->row_timeframe == NULL)
		rows_problem(problem, number, line, "22P02", "there is no timeframe \"%s\"",
					 row->timeframe);
	else if (store->symbol == NULL && row->symbol[0] == '\0')
		rows_problem(problem, number, line, "TK002", "symbol is empty");
	else if (store->symbol != NULL && changes(import->first_symbol, row->symbol))
		rows_problem(problem, number, line, "TK006", "symbol is \"%.100s\" after \"%.100s\": leave"
					 " --symbol out", row->symbol, import->first_symbol);
	else if (store->timeframe != NULL && changes(import->first_timeframe, row->timeframe))
		rows_problem(problem, number, line, "TK006", "timeframe is \"%s\" after \"%s\": leave"
					 " --timeframe out", row->timeframe, import->first_timeframe);
	else
	{
		if (row->candle.closed < 0 && row->close_time != INT64_MIN)
			row->candle.closed = row->close_time < store->clock;
		else if (row->candle.closed < 0)
			row->candle.closed = row->candle.ts < import->row_timeframe->now;
		return true;
	}
	return false;
}

/* The name of the row's symbol, kept with the chunk unless it is that of the row before. */
static const char *
keep_symbol(const import_state *import, candle_chunk *chunk)
{
	const char *symbol = import->row.symbol;
	char	   *kept = chunk->names + chunk->names_size;

	if (import->store.symbol != NULL)
		return import->store.symbol;
	if (chunk->count > 0 && strcmp(chunk->symbols[chunk->count - 1], symbol) == 0)
		return chunk->symbols[chunk->count - 1];
	chunk->names_size += strlen(symbol) + 1;
	return strcpy(kept, symbol);
}

/* Puts the row into the chunk, unless that is of another timeframe. */
static bool
add_row(import_state *import, candle_chunk *chunk)
{
	import->pending = chunk->count > 0 && chunk->timeframe != import->row_timeframe;
	if (import->pending)
		return false;
	chunk->timeframe = import->row_timeframe;
	chunk->symbols[chunk->count] = keep_symbol(import, chunk);
	chunk->candles[chunk->count] = import->row.candle;
	chunk->rows[chunk->count] = import->reader.row;
	chunk->lines[chunk->count] = import->reader.row_line;
	chunk->count++;
	return true;
}

static void
fill_batch(import_state *import, row_batch *batch)
{
	candle_chunk *chunk = &batch->chunk;

	chunk->count = chunk->names_size = 0;
	batch->rejected = 0;
	batch->end = ROW_READ;
	while (chunk->count < CHUNK_ROWS && batch->rejected < CHUNK_ROWS)
	{
		row_status	status = ROW_READ;

		if (!import->pending)
			status = rows_next(&import->reader, &import->row, &batch->problem);
		if (status == ROW_READ && !import->pending && !settle_row(import, &batch->problem))
			status = ROW_REJECTED;
		if (status == ROW_READ)
		{
			if (!add_row(import, chunk))
				break;
		}
		else if (status == ROW_REJECTED && import->skip)
		{
			if (batch->rejected < REPORTED_ROWS)
				batch->rejections[batch->rejected] = batch->problem;
			batch->rejected++;
		}
		else
		{
			batch->end = status;
			break;
		}
	}
	batch->progress = input_progress(&import->reader.input);
}

static void *
read_batches(void *argument)
{
	import_state *import = argument;

	for (int turn = 0;; turn = 1 - turn)
	{
		row_batch  *batch = &import->batches[turn];

		sem_wait(&import->empty);
		if (import->stop)
			return NULL;
		fill_batch(import, batch);
		sem_post(&import->filled);
		if (batch->end != ROW_READ)
			return NULL;
	}
}

static void
reject(import_state *import, const row_problem *problem)
{
	reject_row(import->path, import->rejected++, problem);
}

/* The reason in the handle, as the problem of one row of a chunk. */
static row_problem
problem_of_row(import_state *import, const candle_chunk *chunk, size_t i)
{
	tk_client  *client = import->store.client;
	row_problem problem = {.row = chunk->rows[i],.line = chunk->lines[i]};
	const char *message = tk_message(client);
	int			number = 0;

	snprintf(problem.sqlstate, sizeof(problem.sqlstate), "%s", tk_sqlstate(client));
	/* The server counts the rows of the call: this was the only one. */
	if (sscanf(message, "row %*d: %n", &number) == 0 && number > 0)
		message += number;
	snprintf(problem.reason, sizeof(problem.reason), "%s", message);
	return problem;
}

/* Stores rows [start, end) without those that are refused, which it finds by halves. */
static int
store_good_rows(import_state *import, const candle_chunk *chunk, size_t start, size_t end)
{
	store_status status = store_range(&import->store, chunk, start, end, true);
	size_t		middle = start + (end - start) / 2;
	int			code;

	if (status == STORED)
		return EXIT_DONE;
	if (status == STORE_FAILED)
		return report_failure(import->store.client);
	if (end - start == 1)
	{
		row_problem problem = problem_of_row(import, chunk, start);

		reject(import, &problem);
		return EXIT_DONE;
	}
	code = store_good_rows(import, chunk, start, middle);
	return code != EXIT_DONE ? code : store_good_rows(import, chunk, middle, end);
}

/* Returns an exit code. */
static int
store_batch(import_state *import, const row_batch *batch)
{
	size_t		bad;

	for (int64_t i = 0; i < batch->rejected; i++)
		reject(import, &batch->rejections[i < REPORTED_ROWS ? i : REPORTED_ROWS - 1]);
	if (batch->end == ROW_BROKEN || batch->end == ROW_REJECTED)
	{
		report_row(import->path, &batch->problem);
		return EXIT_FAILED;
	}
	switch (store_chunk(&import->store, &batch->chunk))
	{
		case STORED:
			return EXIT_DONE;
		case STORE_FAILED:
			return report_failure(import->store.client);
		case STORE_REFUSED:
			break;
	}
	if (import->skip)
		return store_good_rows(import, &batch->chunk, 0, batch->chunk.count);
	bad = first_bad_row(&import->store, &batch->chunk);
	if (bad < batch->chunk.count)
	{
		row_problem problem = problem_of_row(import, &batch->chunk, bad);

		report_row(import->path, &problem);
		return EXIT_FAILED;
	}
	return report_failure(import->store.client);
}

static int64_t
stored_rows(const import_state *import)
{
	const tk_upsert_counts *counts = &import->store.counts;

	return counts->inserted + counts->updated + counts->unchanged + counts->ignored;
}

/*
 * Waits for the reader; false when interrupted.  An interrupt just before the
 * wait does not end it: it is looked for every second.
 */
static bool
await_batch(import_state *import)
{
	struct timespec until;

	do
	{
		if (interrupted)
			return false;
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec++;
	} while (sem_timedwait(&import->filled, &until) != 0);
	return true;
}

static int
store_batches(import_state *import)
{
	for (int turn = 0;; turn = 1 - turn)
	{
		row_batch  *batch = &import->batches[turn];
		row_status	end;
		int			status;

		if (!await_batch(import))
			return EXIT_INTERRUPTED;
		status = store_batch(import, batch);
		if (status != EXIT_DONE)
			return status;
		end = batch->end;
		show_progress("rows", batch->progress, stored_rows(import) + import->rejected,
					  seconds_since(&import->start));
		sem_post(&import->empty);
		if (end == ROW_END)
			return import->rejected > 0 ? EXIT_SKIPPED : EXIT_DONE;
	}
}

static void
summarize(const import_state *import, int status)
{
	const tk_upsert_counts *counts = &import->store.counts;
	const summary_line lines[] =
	{
		{"rows", stored_rows(import) + import->rejected}, {"inserted", counts->inserted},
		{"updated", counts->updated}, {"unchanged", counts->unchanged},
		{"ignored", counts->ignored}, {"rejected", import->rejected},
	};

	print_summary(lines, 6, seconds_since(&import->start), import->json, status);
}

/* Reads in a thread and stores in this one. */
static int
run(import_state *import)
{
	sigset_t	interrupts;
	pthread_t	reader;
	int			status;

	import->batches = calloc(2, sizeof(row_batch));
	if (import->batches == NULL)
	{
		fputs("tradekeep: out of memory\n", stderr);
		return EXIT_FAILED;
	}
	sem_init(&import->empty, 0, 2);
	sem_init(&import->filled, 0, 0);

	/* An interrupt ends the import after this chunk, and is this thread's to see. */
	catch_interrupts();
	sigemptyset(&interrupts);
	sigaddset(&interrupts, SIGINT);
	sigaddset(&interrupts, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &interrupts, NULL);
	if (pthread_create(&reader, NULL, read_batches, import) != 0)
	{
		fputs("tradekeep: could not start a thread\n", stderr);
		free(import->batches);
		return EXIT_FAILED;
	}
	pthread_sigmask(SIG_UNBLOCK, &interrupts, NULL);

	status = store_batches(import);
	summarize(import, status);

	/* It may wait for a chunk to fill, or for its standard input. */
	import->stop = true;
	pthread_cancel(reader);
	pthread_join(reader, NULL);
	sem_destroy(&import->empty);
	sem_destroy(&import->filled);
	free(import->batches);
	return status;
}

static int
import_candles(import_state *import, const char *url)
{
	const row_reader *reader = &import->reader;
	const char *missing = NULL;
	row_problem problem;
	int			status;

	if (!rows_open(&import->reader, import->path, &problem))
	{
		report_row(import->path, &problem);
		return EXIT_FAILED;
	}
	if (import->store.symbol == NULL && reader->columns[CSV_SYMBOL] < 0)
		missing = "symbol";
	else if (import->store.timeframe == NULL && reader->columns[CSV_TIMEFRAME] < 0)
		missing = "timeframe";
	if (missing != NULL)
	{
		rows_close(&import->reader);
		return wrong_usage("import", "the file does not tell the %s: --%s", missing, missing);
	}
	import->store.client = open_client(url, "tradekeep import");
	status = store_open(&import->store);
	clock_gettime(CLOCK_MONOTONIC, &import->start);
	if (status == EXIT_DONE)
		status = run(import);
	store_close(&import->store);
	tk_close(import->store.client);
	rows_close(&import->reader);
	return status;
}

int
import_main(int argc, char **argv)
{
	static const struct option options[] = {
		{"symbol", required_argument, NULL, 's'},
		{"timeframe", required_argument, NULL, 't'},
		{"on-error", required_argument, NULL, 'e'},
		{"json", no_argument, NULL, 'j'},
		{"url", required_argument, NULL, 'u'},
		{0}
	};
	static import_state import;
	const char *url = NULL;
	int			option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
	{
		switch (option)
		{
			case 's':
				import.store.symbol = optarg;
				break;
			case 't':
				import.store.timeframe = optarg;
				break;
			case 'e':
				import.skip = strcmp(optarg, "skip") == 0;
				if (!import.skip && strcmp(optarg, "stop") != 0)
					return wrong_usage("import", "--on-error is stop or skip");
				break;
			case 'j':
				import.json = true;
				break;
			case 'u':
				url = optarg;
				break;
			default:
				return wrong_usage("import", "an option is wrong");
		}
	}
	if (argc - optind != 2 || strcmp(argv[optind], "candles") != 0)
		return wrong_usage("import", "what to import? candles FILE, trades FILE, or redis");
	import.path = argv[optind + 1];
	return import_candles(&import, url);
}
