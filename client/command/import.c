/*
 * import.c
 *		tradekeep import candles: a file of any length into the database.
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

#define REPORTED_ROWS 10

const char *const import_help =
"tradekeep import candles FILE --symbol SYMBOL --timeframe TIMEFRAME [OPTION...]\n"
"\n"
"Stores candles from a file as ccxt gives them: [[ms, open, high, low, close, volume], ...],\n"
"numbers also as strings. \"-\" reads standard input. The file may have any length and any\n"
"order; running it again changes nothing. A candle whose period has not ended is stored as\n"
"open, all others as final.\n"
"\n"
"  --symbol SYMBOL          as the bots name it, BTC/USDT\n"
"  --timeframe TIMEFRAME    1s 1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h 1d 3d 1w 1M\n"
"  --on-error=stop|skip     stop (default): at the first bad row, say where it is, and store\n"
"                           nothing of its chunk of 20,000 rows; what was stored before stays.\n"
"                           skip: leave bad rows out and count them as rejected\n"
"  --json                   the summary as one JSON object\n"
"  --url URL                the database\n"
"\n"
"Inserted: was not there. Updated: replaced a candle that differed. Unchanged: was there.\n"
"Ignored: an open candle that came after its final form, or after a newer open one.\n"
"\n"
"Exit codes: 0 done; 1 the file or a row is bad; 2 wrong usage; 3 database not reachable;\n"
"130 interrupted, after the chunk under way was stored.";

/* A chunk as the reader hands it over. */
typedef struct row_batch
{
	candle_chunk chunk;
	row_status	end;			/* ROW_READ: more may follow; else why the reader stopped */
	row_problem problem;		/* of ROW_BROKEN, or of ROW_REJECTED when that stops */
	int64_t		rejected;		/* rows left out, and the first of them */
	row_problem rejections[REPORTED_ROWS];
	int64_t		consumed;		/* bytes read of the file so far */
} row_batch;

typedef struct import_state
{
	row_reader	reader;
	candle_store store;
	bool		skip;			/* bad rows, instead of stopping */
	bool		json;
	int64_t		rejected;
	struct timespec start;

	/* Two batches, filled and stored in turn; the semaphores count them. */
	row_batch  *batches;
	sem_t		empty;
	sem_t		filled;
	atomic_bool stop;			/* the reader need not go on */
} import_state;

static volatile sig_atomic_t interrupted;

static void
interrupt(int signal)
{
	(void) signal;
	interrupted = 1;
}

static void
fill_batch(import_state *import, row_batch *batch)
{
	candle_chunk *chunk = &batch->chunk;

	chunk->count = 0;
	batch->rejected = 0;
	batch->end = ROW_READ;
	while (chunk->count < CHUNK_ROWS && batch->rejected < CHUNK_ROWS)
	{
		tk_candle  *candle = &chunk->candles[chunk->count];
		row_status	status = rows_next(&import->reader, candle, &batch->problem);

		if (status == ROW_READ)
		{
			candle->closed = candle->ts < import->store.now;
			chunk->rows[chunk->count] = import->reader.row;
			chunk->lines[chunk->count] = import->reader.row_line;
			chunk->count++;
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
	batch->consumed = import->reader.consumed;
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
report_row(const row_problem *problem)
{
	hide_progress();
	if (problem->row >= 0)
		fprintf(stderr, "%stradekeep: row %lld, line %lld: %s%s", paint(stderr, RED),
				(long long) problem->row, (long long) problem->line, problem->reason,
				paint(stderr, PLAIN));
	else if (problem->line > 0)
		fprintf(stderr, "%stradekeep: line %lld: %s%s", paint(stderr, RED),
				(long long) problem->line, problem->reason, paint(stderr, PLAIN));
	else
		fprintf(stderr, "%stradekeep: %s%s", paint(stderr, RED), problem->reason,
				paint(stderr, PLAIN));
	fprintf(stderr, problem->sqlstate[0] != '\0' ? " [%s]\n" : "%s\n", problem->sqlstate);
}

static void
reject(import_state *import, const row_problem *problem)
{
	if (import->rejected++ < REPORTED_ROWS)
		report_row(problem);
}

/* The reason in the handle, as the problem of one row of a chunk. */
static row_problem
problem_of_row(import_state *import, const candle_chunk *chunk, size_t i)
{
	tk_client  *client = import->store.client;
	row_problem problem = {.row = chunk->rows[i],.line = chunk->lines[i]};

	snprintf(problem.sqlstate, sizeof(problem.sqlstate), "%s", tk_sqlstate(client));
	snprintf(problem.reason, sizeof(problem.reason), "%s", tk_message(client));
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
	{
		if (i < REPORTED_ROWS)
			reject(import, &batch->rejections[i]);
		else
			import->rejected++;
	}
	if (batch->end == ROW_BROKEN || batch->end == ROW_REJECTED)
	{
		report_row(&batch->problem);
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

		report_row(&problem);
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

static int
store_batches(import_state *import)
{
	for (int turn = 0;; turn = 1 - turn)
	{
		row_batch  *batch = &import->batches[turn];
		row_status	end;
		int			status;

		while (sem_wait(&import->filled) != 0)
		{
			if (interrupted)
				return EXIT_INTERRUPTED;
		}
		status = store_batch(import, batch);
		if (status != EXIT_DONE)
			return status;
		end = batch->end;
		show_progress("rows", import->reader.size > 0 ?
					  (double) batch->consumed / (double) import->reader.size : -1,
					  stored_rows(import) + import->rejected, seconds_since(&import->start));
		sem_post(&import->empty);
		if (end == ROW_END)
			return EXIT_DONE;
		if (interrupted)
			return EXIT_INTERRUPTED;
	}
}

static void
print_summary(const import_state *import, int status)
{
	const tk_upsert_counts *counts = &import->store.counts;
	double		seconds = seconds_since(&import->start);
	int64_t		rows = stored_rows(import) + import->rejected;
	const struct
	{
		const char *name;
		int64_t		number;
	}			lines[] =
	{
		{"rows", rows}, {"inserted", counts->inserted}, {"updated", counts->updated},
		{"unchanged", counts->unchanged}, {"ignored", counts->ignored},
		{"rejected", import->rejected},
	};
	char		text[32];
	int64_t		rate = seconds > 0 ? (int64_t) ((double) rows / seconds) : 0;

	hide_progress();
	if (import->json)
	{
		fputs("{", stdout);
		for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
			printf("\"%s\": %lld, ", lines[i].name, (long long) lines[i].number);
		printf("\"seconds\": %.3f, \"rows_per_second\": %lld, \"complete\": %s}\n", seconds,
			   (long long) rate, status == EXIT_DONE ? "true" : "false");
		return;
	}
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		printf("%-10s %12s\n", lines[i].name, with_commas(lines[i].number, text));
	printf("%-10s %12.2f\n", "seconds", seconds);
	printf("%-10s %12s\n", "rows/s", with_commas(rate, text));
	if (status != EXIT_DONE)
		printf("Not the whole file: what is counted here was stored, the rest was not. "
			   "Running it again is harmless.\n");
}

/* Reads in a thread and stores in this one. */
static int
run(import_state *import)
{
	struct sigaction action = {.sa_handler = interrupt,.sa_flags = (int) SA_RESETHAND};
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

	/* The first interrupt ends the import after this chunk, the second one at once. */
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
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
	print_summary(import, status);

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
import_candles(import_state *import, const char *path, const char *url)
{
	row_problem problem;
	int			status;

	if (!rows_open(&import->reader, path, &problem))
	{
		report_row(&problem);
		return EXIT_FAILED;
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
		return wrong_usage("import", "what to import? candles FILE");
	if (import.store.symbol == NULL || import.store.timeframe == NULL)
		return wrong_usage("import", "--symbol and --timeframe are needed");
	return import_candles(&import, argv[optind + 1], url);
}
