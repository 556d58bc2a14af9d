/*
 * health.c
 *		tradekeep health: what a probe and a person want to know.
 */
#include "command.h"

#include <getopt.h>
#include <stdarg.h>

const char *const health_help =
"tradekeep health [--url URL]\n"
"\n"
"Says how the server answers, which versions there are, and what doctor() finds.\n"
"\n"
"Exit codes: 0 healthy, warnings included; 1 the extension is missing or something is\n"
"wrong; 3 the database cannot be reached.";

static void
line(const char *name, const char *format,...)
{
	va_list		arguments;

	printf("%-20s ", name);
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	putchar('\n');
}

/* Prints the rows of doctor(); true when none of them is an error. */
static bool
consult_doctor(PGconn *connection)
{
	PGresult   *result;
	bool		healthy = true;

	result = PQexec(connection, "SELECT check_name, status, detail, coalesce(remedy, '')"
					" FROM tradekeep.doctor()");
	if (PQresultStatus(result) != PGRES_TUPLES_OK)
	{
		report_result(connection, result);
		PQclear(result);
		return false;
	}
	for (int row = 0; row < PQntuples(result); row++)
	{
		const char *status = PQgetvalue(result, row, 1);
		text_colour colour = RED;

		if (strcmp(status, "ok") == 0)
			colour = GREEN;
		else if (strcmp(status, "warning") == 0)
			colour = YELLOW;
		healthy &= colour != RED;
		line(PQgetvalue(result, row, 0), "%s%s%s: %s", paint(stdout, colour), status,
			 paint(stdout, PLAIN), PQgetvalue(result, row, 2));
		if (PQgetvalue(result, row, 3)[0] != '\0')
			line("", "%s", PQgetvalue(result, row, 3));
	}
	PQclear(result);
	return healthy;
}

static int
check(tk_client *client)
{
	tk_health	health;
	int			failed = tk_health_check(client, &health);

	if (failed || !health.connected)
		return report_failure(client);
	line("server", "PostgreSQL %d.%d, answers in %.2f ms", health.server_version / 10000,
		 health.server_version % 10000, (double) health.latency / 1000);
	line("client", "%s", TRADEKEEP_VERSION);
	if (health.extension_version[0] == '\0')
	{
		line("extension", "%smissing%s in this database: CREATE EXTENSION tradekeep",
			 paint(stdout, RED), paint(stdout, PLAIN));
		return EXIT_FAILED;
	}
	line("extension", "%s", health.extension_version);
	if (tk_error(client) != TK_OK)
		return report_failure(client);
	return consult_doctor(tk_connection(client)) ? EXIT_DONE : EXIT_FAILED;
}

int
health_main(int argc, char **argv)
{
	static const struct option options[] = {{"url", required_argument, NULL, 'u'}, {0}};
	const char *url = NULL;
	tk_client  *client;
	int			option;
	int			status;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
	{
		if (option != 'u')
			return wrong_usage("health", "an option is wrong");
		url = optarg;
	}
	if (optind < argc)
		return wrong_usage("health", "what is \"%s\"?", argv[optind]);
	client = open_client(url, "tradekeep health");
	status = check(client);
	tk_close(client);
	return status;
}
