/*
 * demo.c
 *		tradekeep demo: two bots on one feed, four kills, and the proof.
 *
 * The parent prepares the feed and the database, starts the bots, and kills each
 * of them at both dangerous points: a bot that has come to its point says so and
 * stands still until it is killed.  Meanwhile the other bot goes on, runs into
 * the dead one's claim, and gets it as soon as the server notices the death.
 */
#include "demo.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* The parent gives up when no bot says anything for so long, in ms. */
#define PATIENCE 120000

/* How long the other bot may take until it is seen waiting: so many looks, this far apart. */
#define LOOKS 1000
#define LOOK_PAUSE 2

const char *const demo_help =
"tradekeep demo [OPTION...]\n"
"\n"
"Two bot processes follow the same candles. Each stores them, asks whether the candle is\n"
"its own to process, evaluates a rule (the mean of 9 closes crosses the mean of 21), claims\n"
"the signal's publication and sends it to a receiver: asking, claiming and sending are one\n"
"transaction, and the receiver is a log in which the holder of the claim looks for the\n"
"signal's key before it appends. Each bot is killed with SIGKILL before the append and\n"
"between append and commit, and started again without memory. The summary proves from the\n"
"log and the tables that every signal was sent exactly once.\n"
"\n"
"  --data FILE     one-minute candles as ccxt JSON; without it, a random walk\n"
"  --candles N     so many candles (3,000 of the walk, the whole file)\n"
"  --seed N        of the random walk (42)\n"
"  --symbol S      the symbol to use (DEMO/USDT); what the demo left of it is cleared first\n"
"  --log FILE      the receiver's log (tradekeep-demo.log)\n"
"  --url URL       the database; the demo makes a schema tradekeep_demo there\n"
"\n"
"Exit codes: 0 proved; 1 the proof fails, or something else did; 2 wrong usage; 3 database\n"
"not reachable.";

typedef struct bot_process
{
	pid_t		pid;			/* 0: there is none */
	FILE	   *reports;
	int			orders;
	size_t		progress;
} bot_process;

typedef struct demo_stage
{
	demo_state	demo;
	tk_client  *client;
	char	  **arguments;		/* the parent's own, for the bots */
	bot_process bots[BOTS];
	bot_record	records[BOTS];
	kill_record kills[KILLS];
	int			settled;
	struct timespec start;
} demo_stage;

/* Reads the options of the parent, and those that it gives its bots. */
int
demo_options(demo_state *demo, const char *subcommand, int argc, char **argv)
{
	static const struct option options[] = {
		{"url", required_argument, NULL, 'u'},
		{"data", required_argument, NULL, 'd'},
		{"log", required_argument, NULL, 'l'},
		{"seed", required_argument, NULL, 's'},
		{"symbol", required_argument, NULL, 'y'},
		{"candles", required_argument, NULL, 'c'},
		{"bot", required_argument, NULL, 'b'},
		{"settled", required_argument, NULL, 'k'},
		{"reports", required_argument, NULL, 'r'},
		{"orders", required_argument, NULL, 'o'},
		{0}
	};
	int			option;
	long long	candles = 0;

	memset(demo, 0, sizeof(*demo));
	demo->log = "tradekeep-demo.log";
	demo->symbol = "DEMO/USDT";
	demo->seed = 42;
	demo->bot = -1;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
	{
		char	   *end = "";
		long long	number = strchr("scbkro", option) != NULL ? strtoll(optarg, &end, 10) : 0;

		if (*end != '\0')
			return wrong_usage(subcommand, "\"%s\" is not a number", optarg);
		switch (option)
		{
			case 'u':
				demo->url = optarg;
				break;
			case 'd':
				demo->data = optarg;
				break;
			case 'l':
				demo->log = optarg;
				break;
			case 's':
				demo->seed = (uint64_t) number;
				break;
			case 'y':
				demo->symbol = optarg;
				break;
			case 'c':
				candles = number;
				if (candles < 1 || candles > 1000000)
					return wrong_usage(subcommand, "--candles is between 1 and 1,000,000");
				break;
			case 'b':
				demo->bot = (int) number;
				break;
			case 'k':
				demo->settled = (int) number;
				break;
			case 'r':
				demo->reports = (int) number;
				break;
			case 'o':
				demo->orders = (int) number;
				break;
			default:
				return wrong_usage(subcommand, "an option is wrong");
		}
	}
	if (optind < argc)
		return wrong_usage(subcommand, "what is \"%s\"?", argv[optind]);
	if (strlen(demo->symbol) == 0 || strlen(demo->symbol) > 400)
		return wrong_usage(subcommand, "--symbol has 1 to 400 bytes");
	demo->limit = candles > 0 ? (size_t) candles : demo->data != NULL ? 1000000 : 3000;
	return EXIT_DONE;
}

/* Runs SQL with the symbol as $1; true when it succeeded, and *answer is its first value or "". */
static bool
run_sql(demo_stage *stage, const char *sql, char *answer, size_t size)
{
	const char *values[] = {stage->demo.symbol};
	PGconn	   *connection = tk_connection(stage->client);
	PGresult   *result = PQexecParams(connection, sql, strstr(sql, "$1") != NULL, NULL, values,
									  NULL, NULL, 0);
	ExecStatusType status = PQresultStatus(result);
	bool		succeeded = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;

	if (!succeeded)
		report_result(connection, result);
	else if (answer != NULL)
		snprintf(answer, size, "%s", PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "");
	PQclear(result);
	return succeeded;
}

/*
 * Clears what an earlier demo left of this symbol, and nothing of anybody else's:
 * a symbol that has candles or claims must have been marked by a demo.
 */
static bool
prepare_database(demo_stage *stage)
{
	static const char *const statements[] = {
		"CREATE SCHEMA IF NOT EXISTS tradekeep_demo",
		"CREATE TABLE IF NOT EXISTS tradekeep_demo.symbol (symbol text PRIMARY KEY)",
		/* No unique constraint: a signal that is granted twice must show. */
		("CREATE TABLE IF NOT EXISTS tradekeep_demo.delivery (signal_key text NOT NULL,"
		 " bot text NOT NULL, sent_at timestamptz NOT NULL DEFAULT clock_timestamp(),"
		 " direction text NOT NULL, price double precision NOT NULL)"),
	};
	static const char *const clearing[] = {
		"INSERT INTO tradekeep_demo.symbol VALUES ($1) ON CONFLICT DO NOTHING",
		"DELETE FROM tradekeep_demo.delivery WHERE starts_with(signal_key, $1 || ':')",
		"DELETE FROM tradekeep.candle WHERE symbol = $1",
		/* A pattern that matches the symbol literally. */
		("SELECT tradekeep.clear_claims(s, regexp_replace($1, '([][*?\\\\])', '\\\\\\1', 'g')"
		 " || ':*') FROM unnest('{candle,publish}'::text[]) AS s"),
	};
	char		foreign[8];

	for (size_t i = 0; i < sizeof(statements) / sizeof(statements[0]); i++)
	{
		if (!run_sql(stage, statements[i], NULL, 0))
			return false;
	}
	if (!run_sql(stage, "SELECT NOT EXISTS (SELECT FROM tradekeep_demo.symbol WHERE symbol = $1)"
				 " AND (EXISTS (SELECT FROM tradekeep.candle WHERE symbol = $1)"
				 " OR EXISTS (SELECT FROM tradekeep.live_claims"
				 " WHERE scope IN ('candle', 'publish') AND starts_with(key, $1 || ':')))",
				 foreign, sizeof(foreign)))
		return false;
	if (foreign[0] == 't')
	{
		fprintf(stderr, "tradekeep: \"%s\" has candles or claims that are not the demo's: choose "
				"another --symbol\n", stage->demo.symbol);
		return false;
	}
	for (size_t i = 0; i < sizeof(clearing) / sizeof(clearing[0]); i++)
	{
		if (!run_sql(stage, clearing[i], NULL, 0))
			return false;
	}
	return true;
}

/* Becomes a bot: the same program with the same options and a few of its own. */
static void
become_bot(demo_stage *stage, int bot, int reports, int orders)
{
	char		numbers[4][16];
	char	   *own[] = {"--bot", numbers[0], "--settled", numbers[1], "--reports", numbers[2],
	"--orders", numbers[3], NULL};
	char		program[PATH_MAX + 1] = "";
	size_t		count = 0;
	char	  **arguments;

	while (stage->arguments[count] != NULL)
		count++;
	arguments = calloc(count + 1 + sizeof(own) / sizeof(own[0]), sizeof(char *));
	if (arguments == NULL)
		_exit(EXIT_FAILED);
	snprintf(numbers[0], sizeof(numbers[0]), "%d", bot);
	snprintf(numbers[1], sizeof(numbers[1]), "%d", stage->settled);
	snprintf(numbers[2], sizeof(numbers[2]), "%d", reports);
	snprintf(numbers[3], sizeof(numbers[3]), "%d", orders);
	arguments[0] = "tradekeep";
	arguments[1] = "demo-bot";
	memcpy(arguments + 2, stage->arguments + 1, (count - 1) * sizeof(char *));
	memcpy(arguments + 1 + count, own, sizeof(own));
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (readlink("/proc/self/exe", program, sizeof(program) - 1) > 0)
		execv(program, arguments);
	_exit(EXIT_FAILED);
}

static bool
start_bot(demo_stage *stage, int bot)
{
	bot_process *process = &stage->bots[bot];
	int			reports[2];
	int			orders[2];

	if (pipe2(reports, O_CLOEXEC) != 0)
		return false;
	if (pipe2(orders, O_CLOEXEC) != 0)
	{
		close(reports[0]);
		close(reports[1]);
		return false;
	}
	process->pid = fork();
	if (process->pid == 0)
	{
		fcntl(reports[1], F_SETFD, 0);
		fcntl(orders[0], F_SETFD, 0);
		become_bot(stage, bot, reports[1], orders[0]);
	}
	close(reports[1]);
	close(orders[0]);
	process->reports = fdopen(reports[0], "r");
	/* A line in a buffer would be one that poll() does not see. */
	if (process->reports != NULL)
		setvbuf(process->reports, NULL, _IONBF, 0);
	process->orders = orders[1];
	process->progress = 0;
	stage->records[bot].lives++;
	return process->pid > 0 && process->reports != NULL;
}

/* Waits for the end of a bot; returns its wait status. */
static int
bury_bot(demo_stage *stage, int bot)
{
	bot_process *process = &stage->bots[bot];
	int			status = 0;

	while (waitpid(process->pid, &status, 0) < 0 && errno == EINTR)
		;
	fclose(process->reports);
	close(process->orders);
	process->pid = 0;
	return status;
}

static void
settle(demo_stage *stage, int bot_to_tell)
{
	stage->settled++;
	if (stage->bots[bot_to_tell].pid > 0 && write(stage->bots[bot_to_tell].orders, "", 1) != 1)
		perror("tradekeep: could not reach a bot");
}

/* Looks until the other bot stands waiting for a lock: for the claim of the one to be killed. */
static bool
see_waiting(demo_stage *stage, int bot)
{
	char		sql[256];
	char		answer[8] = "f";

	snprintf(sql, sizeof(sql), "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname ="
			 " current_database() AND application_name = 'tradekeep demo bot %d'"
			 " AND wait_event_type = 'Lock')", bot + 1);
	for (int look = 0; look < LOOKS; look++)
	{
		if (!run_sql(stage, sql, answer, sizeof(answer)) || answer[0] == 't')
			break;
		poll(NULL, 0, LOOK_PAUSE);
	}
	return answer[0] == 't';
}

/* The bot has come to its point: lets the other one run into its claim, and kills it there. */
static bool
kill_bot(demo_stage *stage, int bot)
{
	kill_record *record = &stage->kills[stage->settled];
	int			other = (bot + 1) % BOTS;
	int			status;

	settle(stage, other);
	record->waiting = see_waiting(stage, other);
	kill(stage->bots[bot].pid, SIGKILL);
	status = bury_bot(stage, bot);
	record->happened = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
	return start_bot(stage, bot);
}

static void
add_tally(bot_tally *sum, const char *text)
{
	long long	n[7] = {0};

	sscanf(text, "%lld %lld %lld %lld %lld %lld %lld", &n[0], &n[1], &n[2], &n[3], &n[4], &n[5],
		   &n[6]);
	sum->seen += n[0];
	sum->processed += n[1];
	sum->spared_candles += n[2];
	sum->spared_publications += n[3];
	sum->sent += n[4];
	sum->appended += n[5];
	sum->found += n[6];
}

/* Takes one line from a bot; false when the demo cannot go on. */
static bool
hear(demo_stage *stage, int bot)
{
	bot_process *process = &stage->bots[bot];
	size_t		slower;
	char		line[256];
	int			status;

	if (fgets(line, sizeof(line), process->reports) == NULL)
	{
		status = bury_bot(stage, bot);
		process->progress = stage->demo.count;
		if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_DONE)
			return true;
		fprintf(stderr, "tradekeep: bot %d ended before its feed\n", bot + 1);
		return false;
	}
	if (strncmp(line, "tally ", 6) == 0)
		add_tally(&stage->records[bot].tally, line + 6);
	else if (strncmp(line, "missed ", 7) == 0)
		settle(stage, (bot + 1) % BOTS);
	else if (strncmp(line, "point ", 6) == 0)
		return kill_bot(stage, bot);
	else if (strncmp(line, "progress ", 9) == 0)
		process->progress = strtoul(line + 9, NULL, 10);
	slower = stage->bots[0].progress < stage->bots[1].progress ? stage->bots[0].progress :
		stage->bots[1].progress;
	show_progress("candles", (double) slower / (double) stage->demo.count, (int64_t) slower,
				  seconds_since(&stage->start));
	return true;
}

/* Listens to the bots until both have come to the end of the feed. */
static bool
listen(demo_stage *stage)
{
	while (stage->bots[0].pid > 0 || stage->bots[1].pid > 0)
	{
		struct pollfd entries[BOTS];
		int			ready;

		for (int bot = 0; bot < BOTS; bot++)
		{
			entries[bot].fd = stage->bots[bot].pid > 0 ? fileno(stage->bots[bot].reports) : -1;
			entries[bot].events = POLLIN;
			entries[bot].revents = 0;
		}
		ready = poll(entries, BOTS, PATIENCE);
		if (ready == 0)
		{
			fputs("tradekeep: the bots stand still\n", stderr);
			return false;
		}
		for (int bot = 0; bot < BOTS; bot++)
		{
			if (ready > 0 && entries[bot].revents != 0 && !hear(stage, bot))
				return false;
		}
	}
	return true;
}

static bool
run_bots(demo_stage *stage)
{
	bool		finished = start_bot(stage, 0) && start_bot(stage, 1) && listen(stage);

	for (int bot = 0; bot < BOTS; bot++)
	{
		if (stage->bots[bot].pid <= 0)
			continue;
		kill(stage->bots[bot].pid, SIGKILL);
		bury_bot(stage, bot);
	}
	hide_progress();
	return finished;
}

static void
introduce(const demo_state *demo)
{
	char		number[32];

	printf("%stradekeep demo%s\n\n", paint(stdout, BOLD), paint(stdout, PLAIN));
	printf("  feed    %s one-minute candles of %s, ", with_commas((int64_t) demo->count, number),
		   demo->symbol);
	if (demo->data != NULL)
		printf("from %s\n", demo->data);
	else
		printf("a random walk from seed %llu\n", (unsigned long long) demo->seed);
	if (demo->dropped > 0)
		printf("          %zu rows came twice and were left out\n", demo->dropped);
	printf("  rule    mean of 9 closes crosses mean of 21: %zu signals\n", demo->signal_count);
	printf("  bots    two processes, each to be killed twice with SIGKILL\n");
	fflush(stdout);
}

static int
perform(demo_stage *stage)
{
	double		seconds;

	introduce(&stage->demo);
	if (stage->demo.signal_count == 0)
	{
		fputs("tradekeep: the feed raises no signal, so there is nothing to prove\n", stderr);
		return EXIT_FAILED;
	}
	stage->client = open_client(stage->demo.url, "tradekeep demo");
	if (tk_connect(stage->client) != 0)
		return report_failure(stage->client);
	if (!prepare_database(stage) || !receiver_reset(stage->demo.log))
		return EXIT_FAILED;
	clock_gettime(CLOCK_MONOTONIC, &stage->start);
	if (!run_bots(stage))
		return EXIT_FAILED;
	seconds = seconds_since(&stage->start);
	return prove(&stage->demo, stage->client, stage->records, stage->kills, seconds) ?
		EXIT_DONE : EXIT_FAILED;
}

int
demo_main(int argc, char **argv)
{
	static demo_stage stage;
	char	  **arguments = calloc((size_t) argc + 1, sizeof(char *));
	int			status;

	if (arguments == NULL)
		return EXIT_FAILED;
	/* getopt reorders what it reads; the bots get it as it came. */
	memcpy(arguments, argv, (size_t) argc * sizeof(char *));
	stage.arguments = arguments;
	status = demo_options(&stage.demo, "demo", argc, argv);
	if (status == EXIT_DONE)
		status = feed_make(&stage.demo);
	if (status == EXIT_DONE)
		status = perform(&stage);
	tk_close(stage.client);
	feed_free(&stage.demo);
	free(arguments);
	return status;
}
