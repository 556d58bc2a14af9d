/*
 * export.c
 *		tradekeep export candles: the candles of a symbol and timeframe into a file.
 *
 * The server writes the rows, with COPY; they pass through here as they come.
 */
#include "rows.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

const char *const export_help =
"tradekeep export candles --symbol SYMBOL --timeframe TIMEFRAME [OPTION...]\n"
"\n"
"Writes candles, oldest first, so that import reads them again and finds them unchanged.\n"
"\n"
"  --since TIME             from this start on\n"
"  --until TIME             before this one; ISO 8601, UTC unless it says otherwise, or s, ms,\n"
"                           us or ns since 1970\n"
"  --format=csv|json        csv (default): symbol,timeframe,ts,open,high,low,close,volume,closed,\n"
"                           ts in ISO 8601. json: [[ms, open, high, low, close, volume], ...] as\n"
"                           ccxt gives it; having no word for it, it leaves open candles out\n"
"  -o, --output=FILE        instead of standard output; gzipped when it ends in .gz. It is only\n"
"                           there when it is complete\n"
"  --url URL                the database\n"
"\n"
"Exit codes: 0 done, also without a candle; 1 failed; 2 wrong usage; 3 database not reachable;\n"
"130 interrupted.";

typedef struct export_state
{
	tk_client  *client;
	const char *symbol;
	const char *timeframe;
	char		since[64];		/* in SQL */
	char		until[64];
	bool		json;
	const char *path;			/* null: standard output */
	char	   *part;			/* what it is called until it is complete, or null */
	gzFile		file;			/* gzipped, or as it is */
	int64_t		rows;
	struct timespec start;
} export_state;

static bool
fail(const export_state *export, const char *what)
{
	int			reason = errno;

	hide_progress();
	fprintf(stderr, "%stradekeep: could not %s %s: %s%s\n", paint(stderr, RED), what,
			export->path != NULL ? export->path : "standard output", strerror(reason),
			paint(stderr, PLAIN));
	return false;
}

/* Opens the file under another name; but what is no file, a pipe say, directly. */
static bool
open_output(export_state *export)
{
	struct stat status;
	const char *path = export->path;
	size_t		length = path != NULL ? strlen(path) : 0;
	bool		zipped = length > 3 && strcmp(path + length - 3, ".gz") == 0;
	bool		direct = path != NULL && stat(path, &status) == 0 && !S_ISREG(status.st_mode);
	int			fd;

	if (path == NULL)
		fd = dup(STDOUT_FILENO);
	else if (direct)
		fd = open(path, O_WRONLY | O_CLOEXEC);
	else if (asprintf(&export->part, "%s.part", path) < 0)
	{
		export->part = NULL;
		return fail(export, "open");
	}
	else
		fd = open(export->part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (fd < 0)
	{
		free(export->part);
		export->part = NULL;	/* it is not ours to remove */
		return fail(export, "open");
	}
	export->file = gzdopen(fd, zipped ? "wb" : "wbT");
	if (export->file != NULL)
		return true;
	close(fd);
	errno = ENOMEM;
	return fail(export, "open");
}

/* Leaves the file complete under its name, or not at all. */
static int
close_output(export_state *export, int status)
{
	if (gzclose(export->file) != Z_OK && status == EXIT_DONE)
	{
		fail(export, "write");
		status = EXIT_FAILED;
	}
	if (export->part != NULL && status == EXIT_DONE && rename(export->part, export->path) != 0)
	{
		fail(export, "rename what was written to");
		status = EXIT_FAILED;
	}
	if (export->part != NULL && status != EXIT_DONE)
		unlink(export->part);
	free(export->part);
	return status;
}

static bool
put(export_state *export, const char *data, size_t length)
{
	if (length == 0 || gzwrite(export->file, data, (unsigned) length) == (int) length)
		return true;
	return fail(export, "write");
}

/* COPY takes no parameters; null when out of memory. */
static char *
make_query(const export_state *export, PGconn *connection)
{
	char	   *symbol = PQescapeLiteral(connection, export->symbol, strlen(export->symbol));
	char	   *frame = PQescapeLiteral(connection, export->timeframe, strlen(export->timeframe));
	char	   *sql = NULL;
	const char *form = export->json ?
	"COPY (SELECT '[' || concat_ws(',', (1000 * extract(epoch FROM ts))::bigint, open, high, low,"
	" close, volume) || ']' FROM tradekeep.candles(%s, %s, %s, %s) WHERE closed ORDER BY ts)"
	" TO STDOUT (ENCODING 'UTF8')" :
	"COPY (SELECT symbol, timeframe, to_char(ts AT TIME ZONE 'UTC',"
	" 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS ts, open, high, low, close, volume,"
	" closed::text AS closed FROM tradekeep.candles(%s, %s, %s, %s) AS c ORDER BY c.ts)"
	" TO STDOUT (FORMAT csv, HEADER, ENCODING 'UTF8')";

	if (symbol == NULL || frame == NULL ||
		asprintf(&sql, form, symbol, frame, export->since, export->until) < 0)
		sql = NULL;
	PQfreemem(symbol);
	PQfreemem(frame);
	return sql;
}

/* A row comes with its line end; in JSON it goes between commas and line ends. */
static bool
put_row(export_state *export, const char *data, int length)
{
	if (!export->json)
		return put(export, data, (size_t) length);
	return put(export, export->rows == 0 ? "[\n" : ",\n", 2) &&
		put(export, data, (size_t) length - 1);
}

/* Returns an exit code. */
static int
copy_rows(export_state *export, PGconn *connection)
{
	bool		header = !export->json;
	char	   *data;
	int			length;
	int			status = EXIT_DONE;
	PGresult   *result;

	while (status == EXIT_DONE && (length = PQgetCopyData(connection, &data, 0)) > 0)
	{
		if (!put_row(export, data, length))
			status = EXIT_FAILED;
		PQfreemem(data);
		export->rows += !header;
		header = false;
		if (interrupted)
			status = EXIT_INTERRUPTED;
		if (export->path != NULL && export->rows % 1024 == 0)
			show_progress("candles", -1, export->rows, seconds_since(&export->start));
	}
	if (status != EXIT_DONE)
		return status;			/* the rest is left unread: the connection goes with it */
	result = PQgetResult(connection);
	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		status = report_result(connection, result);
	else if (export->json && !put(export, export->rows == 0 ? "[]\n" : "\n]\n", 3))
		status = EXIT_FAILED;
	PQclear(result);
	while ((result = PQgetResult(connection)) != NULL)
		PQclear(result);
	return status;
}

/* In a transaction, for whose time numbers are written so that they read back the same. */
static int
write_rows(export_state *export)
{
	PGconn	   *connection = tk_connection(export->client);
	char	   *sql = make_query(export, connection);
	PGresult   *result;
	int			status;

	if (sql == NULL)
	{
		fprintf(stderr, "tradekeep: %s", PQerrorMessage(connection));
		return EXIT_FAILED;
	}
	result = PQexec(connection, "SET LOCAL extra_float_digits = 1");
	if (PQresultStatus(result) == PGRES_COMMAND_OK)
	{
		PQclear(result);
		result = PQexec(connection, sql);
	}
	free(sql);
	if (PQresultStatus(result) == PGRES_COPY_OUT)
		status = copy_rows(export, connection);
	else
		status = report_result(connection, result);
	PQclear(result);
	return status;
}

static int
export_candles(export_state *export, const char *url)
{
	int			status;

	export->client = open_client(url, "tradekeep export");
	clock_gettime(CLOCK_MONOTONIC, &export->start);
	if (tk_begin(export->client) != 0)
		status = report_failure(export->client);
	else if (!open_output(export))
		status = EXIT_FAILED;
	else
	{
		catch_interrupts();
		status = close_output(export, write_rows(export));
	}
	tk_close(export->client);
	hide_progress();
	if (status == EXIT_DONE && export->path != NULL)
		printf("%lld candles\n", (long long) export->rows);
	return status;
}

/* A bound of time, in SQL. */
static bool
read_bound(const char *text, char bound[64])
{
	double		ms;

	if (!rows_moment(text, &ms) || fabs(ms) > MAX_MS)
		return false;
	snprintf(bound, 64, "to_timestamp(%.6f)", ms / 1000);
	return true;
}

int
export_main(int argc, char **argv)
{
	static const struct option options[] = {
		{"symbol", required_argument, NULL, 's'},
		{"timeframe", required_argument, NULL, 't'},
		{"since", required_argument, NULL, 'b'},
		{"until", required_argument, NULL, 'e'},
		{"format", required_argument, NULL, 'f'},
		{"output", required_argument, NULL, 'o'},
		{"url", required_argument, NULL, 'u'},
		{0}
	};
	static export_state export = {.since = "NULL",.until = "NULL"};
	const char *url = NULL;
	int			option;

	while ((option = getopt_long(argc, argv, "o:", options, NULL)) != -1)
	{
		switch (option)
		{
			case 's':
				export.symbol = optarg;
				break;
			case 't':
				export.timeframe = optarg;
				break;
			case 'b':
			case 'e':
				if (!read_bound(optarg, option == 'b' ? export.since : export.until))
					return wrong_usage("export", "\"%s\" is not a time", optarg);
				break;
			case 'f':
				export.json = strcmp(optarg, "json") == 0;
				if (!export.json && strcmp(optarg, "csv") != 0)
					return wrong_usage("export", "--format is csv or json");
				break;
			case 'o':
				export.path = strcmp(optarg, "-") == 0 ? NULL : optarg;
				break;
			case 'u':
				url = optarg;
				break;
			default:
				return wrong_usage("export", "an option is wrong");
		}
	}
	if (argc - optind != 1 || strcmp(argv[optind], "candles") != 0)
		return wrong_usage("export", "what to export? candles");
	if (export.symbol == NULL || export.timeframe == NULL)
		return wrong_usage("export", "--symbol and --timeframe are needed");
	return export_candles(&export, url);
}
