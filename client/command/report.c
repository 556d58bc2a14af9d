/*
 * report.c
 *		What an import says: of rows that it cannot store, and of itself.
 */
#include "rows.h"

/* Where in the file the row is, and what is wrong with it. */
void
report_row(const char *path, const row_problem *problem)
{
	char		reason[sizeof(problem->reason)];
	char		place[64] = "";

	snprintf(reason, sizeof(reason), "%s", problem->reason);
	if (problem->row >= 0)
		snprintf(place, sizeof(place), "row %lld, line %lld: ", (long long) problem->row,
				 (long long) problem->line);
	else if (problem->line > 0)
		snprintf(place, sizeof(place), "line %lld: ", (long long) problem->line);
	hide_progress();
	fprintf(stderr, "%stradekeep: %s: %s%s%s", paint(stderr, RED),
			strcmp(path, "-") == 0 ? "standard input" : path, place, defuse(reason),
			paint(stderr, PLAIN));
	fprintf(stderr, problem->sqlstate[0] != '\0' ? " [%s]\n" : "%s\n", problem->sqlstate);
}

/* The same of a row that is left out, after `before` others: of many only the first are shown. */
void
reject_row(const char *path, int64_t before, const row_problem *problem)
{
	if (before < REPORTED_ROWS)
		report_row(path, problem);
	else if (before == REPORTED_ROWS)
		fputs("tradekeep: more bad rows follow, which are only counted\n", stderr);
}

/*
 * What became of everything: the first line counts it all, under the name of what it is.
 */
void
print_summary(const summary_line *lines, size_t count, double seconds, bool json, int status)
{
	bool		complete = status == EXIT_DONE || status == EXIT_SKIPPED;
	int64_t		rate = seconds > 0 ? (int64_t) ((double) lines[0].number / seconds) : 0;
	char		text[32];

	hide_progress();
	if (json)
	{
		fputs("{", stdout);
		for (size_t i = 0; i < count; i++)
			printf("\"%s\": %lld, ", lines[i].name, (long long) lines[i].number);
		printf("\"seconds\": %.3f, \"%s_per_second\": %lld, \"complete\": %s}\n", seconds,
			   lines[0].name, (long long) rate, complete ? "true" : "false");
		return;
	}
	for (size_t i = 0; i < count; i++)
		printf("%-10s %12s\n", lines[i].name, with_commas(lines[i].number, text));
	printf("%-10s %12.2f\n", "seconds", seconds);
	printf("%s/s%*s\n", lines[0].name, 21 - (int) strlen(lines[0].name), with_commas(rate, text));
	if (!complete)
		printf("This is not all: what is counted here was stored, the rest was not. "
			   "Running it again is harmless.\n");
}
