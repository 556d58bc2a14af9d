/*
 * report.c
 *		What an import says of rows that it cannot store.
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
