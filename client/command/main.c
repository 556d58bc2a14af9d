/*
 * main.c
 *		The command `tradekeep`: its subcommands and what they have in common.
 */
#include "command.h"

#include <stdarg.h>
#include <stdlib.h>

static const struct
{
	const char *name;
	const char *object;			/* the word behind it that makes it this one, or null: any */
	int			(*run) (int argc, char **argv);
	const char *const *help;	/* null: not for people */
}			subcommands[] =

{
	{"health", NULL, health_main, &health_help},
	{"import", "trades", import_trades_main, &import_trades_help},
	{"import", "redis", import_redis_main, &import_redis_help},
	{"import", NULL, import_main, &import_candles_help},
	{"export", NULL, export_main, &export_help},
	{"replay", NULL, replay_main, &replay_help},
	{"stats", NULL, stats_main, &stats_help},
	{"demo", NULL, demo_main, &demo_help},
	{"demo-bot", NULL, bot_main, NULL},
};

#define SUBCOMMANDS (sizeof(subcommands) / sizeof(subcommands[0]))

static void
print_help(void)
{
	puts("tradekeep keeps what a trading bot must not forget or do twice.\n"
		 "\n"
		 "  tradekeep health                        how the server is, and what is missing\n"
		 "  tradekeep import candles FILE ...       store candles from a JSON or CSV file\n"
		 "  tradekeep import trades FILE ...        store trades: freqtrade's, JSON or CSV\n"
		 "  tradekeep import redis ...              take over what a bot has claimed in Redis\n"
		 "  tradekeep export candles ...            write candles to a CSV or JSON file\n"
		 "  tradekeep replay DIRECTORY ...          store what bots kept during an outage\n"
		 "  tradekeep stats                         what the trades amount to\n"
		 "  tradekeep demo                          two bots, four kills, every signal sent once\n"
		 "\n"
		 "  tradekeep SUBCOMMAND --help             what it does, and its options\n"
		 "  tradekeep --version\n"
		 "\n"
		 "The database is --url URL, else the environment's DATABASE_URL, else libpq's own\n"
		 "variables (PGHOST, PGDATABASE, ...). A password in --url can be seen by other users of\n"
		 "the machine: use the environment.\n"
		 "\n"
		 "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 database not reachable,\n"
		 "4 done but for bad rows that were left out, 130 interrupted.");
}

int
main(int argc, char **argv)
{
	bool		help = argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
									strcmp(argv[1], "help") == 0);

	/* A reader or a server that goes away is an error to report, not to die of. */
	signal(SIGPIPE, SIG_IGN);

	if (argc < 2)
		return wrong_usage(NULL, "which subcommand?");
	if (help && argc == 2)
	{
		print_help();
		return EXIT_DONE;
	}
	if (strcmp(argv[1], "--version") == 0)
	{
		puts("tradekeep " TRADEKEEP_VERSION);
		return EXIT_DONE;
	}
	for (size_t i = 0; i < SUBCOMMANDS; i++)
	{
		const char *object = argv[help ? 3 : 2];

		if (strcmp(argv[help ? 2 : 1], subcommands[i].name) != 0 ||
			(subcommands[i].object != NULL &&
			 (object == NULL || strcmp(object, subcommands[i].object) != 0)))
			continue;
		for (int j = 2; j < argc && subcommands[i].help != NULL; j++)
			help |= strcmp(argv[j], "--help") == 0 || strcmp(argv[j], "-h") == 0;
		if (help && subcommands[i].help != NULL)
		{
			puts(*subcommands[i].help);
			return EXIT_DONE;
		}
		return subcommands[i].run(argc - 1, argv + 1);
	}
	return wrong_usage(NULL, "there is no subcommand \"%s\"", argv[help ? 2 : 1]);
}

int
wrong_usage(const char *subcommand, const char *format,...)
{
	va_list		arguments;

	fputs("tradekeep: ", stderr);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fprintf(stderr, "\nTry: tradekeep %s%s--help\n", subcommand != NULL ? subcommand : "",
			subcommand != NULL ? " " : "");
	return EXIT_USAGE;
}

/* Opens a handle that claims nothing for a bot: without its memory, and without its spool. */
tk_client *
open_with(tk_options *options, const char *application_name)
{
	tk_client  *client;

	options->application_name = application_name;
	options->cache_entries = -1;
	options->outage = TK_REFUSE;
	options->spool_directory = NULL;
	client = tk_open(options);
	if (client == NULL)
	{
		fputs("tradekeep: out of memory\n", stderr);
		exit(EXIT_FAILED);
	}
	return client;
}

tk_client *
open_client(const char *url, const char *application_name)
{
	tk_options	options;

	tk_options_init(&options);
	if (url != NULL)
		options.database_url = url;
	options.redis_url = NULL;
	return open_with(&options, application_name);
}

static void
print_failure(const char *message, const char *sqlstate, const char *hint)
{
	fprintf(stderr, "%stradekeep: %s%s", paint(stderr, RED), message, paint(stderr, PLAIN));
	if (sqlstate[0] != '\0')
		fprintf(stderr, " [%s]", sqlstate);
	fputc('\n', stderr);
	if (hint[0] != '\0')
		fprintf(stderr, "%s\n", hint);
}

/* Says what went wrong with the handle's last call; returns the exit code for it. */
int
report_failure(tk_client *client)
{
	tk_error_code error = tk_error(client);

	hide_progress();
	print_failure(tk_message(client), tk_sqlstate(client), tk_hint(client));
	return error == TK_ERROR_CONNECTION || error == TK_ERROR_AUTHENTICATION ||
		error == TK_ERROR_UNKNOWN_OUTCOME ? EXIT_UNREACHABLE : EXIT_FAILED;
}

/* The same for SQL of our own. */
int
report_result(PGconn *connection, const PGresult *result)
{
	const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	const char *hint = PQresultErrorField(result, PG_DIAG_MESSAGE_HINT);

	hide_progress();
	print_failure(message != NULL ? message : PQerrorMessage(connection),
				  sqlstate != NULL ? sqlstate : "", hint != NULL ? hint : "");
	return PQstatus(connection) == CONNECTION_BAD ? EXIT_UNREACHABLE : EXIT_FAILED;
}

double
seconds_since(const struct timespec *start)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double) (now.tv_sec - start->tv_sec) + (double) (now.tv_nsec - start->tv_nsec) / 1e9;
}

volatile sig_atomic_t interrupted;

static void
interrupt(int signal)
{
	(void) signal;
	interrupted = 1;
}

/* The first interrupt asks long work to end where it can; the second one ends it. */
void
catch_interrupts(void)
{
	struct sigaction action = {.sa_handler = interrupt,.sa_flags = (int) SA_RESETHAND};

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
}
