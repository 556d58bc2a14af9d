/*
 * command.h
 *		What the subcommands of `tradekeep` share.
 */
#ifndef TRADEKEEP_COMMAND_H
#define TRADEKEEP_COMMAND_H

#include <libpq-fe.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tradekeep.h"

/* Exit codes, part of the interface. */
enum
{
	EXIT_DONE = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_UNREACHABLE = 3,
	EXIT_SKIPPED = 4,			/* done, but for rows that were left out */
	EXIT_INTERRUPTED = 130
};

/* main.c */
extern int	wrong_usage(const char *subcommand, const char *format,...)
			__attribute__((format(printf, 2, 3)));
extern tk_client *open_with(tk_options *options, const char *application_name);
extern tk_client *open_client(const char *url, const char *application_name);
extern int	report_failure(tk_client *client);
extern int	report_result(PGconn *connection, const PGresult *result);
extern double seconds_since(const struct timespec *start);
extern volatile sig_atomic_t interrupted;
extern void catch_interrupts(void);

/* The subcommands: each takes its own arguments, its name first. */
extern int	health_main(int argc, char **argv);
extern int	import_main(int argc, char **argv);
extern int	import_trades_main(int argc, char **argv);
extern int	import_redis_main(int argc, char **argv);
extern int	export_main(int argc, char **argv);
extern int	replay_main(int argc, char **argv);
extern int	stats_main(int argc, char **argv);
extern int	demo_main(int argc, char **argv);
extern int	bot_main(int argc, char **argv);

extern const char *const health_help;
extern const char *const import_candles_help;
extern const char *const import_trades_help;
extern const char *const import_redis_help;
extern const char *const export_help;
extern const char *const replay_help;
extern const char *const stats_help;
extern const char *const demo_help;

/* report.c */
typedef struct summary_line
{
	const char *name;
	int64_t		number;
} summary_line;

extern void print_summary(const summary_line *lines, size_t count, double seconds, bool json,
						  int status);

/* terminal.c */
typedef enum text_colour
{
	PLAIN, BOLD, DIM, GREEN, YELLOW, RED
} text_colour;

extern const char *paint(FILE *stream, text_colour colour);
extern char *defuse(char *text);
extern const char *with_commas(int64_t number, char buffer[32]);
extern void show_progress(const char *what, double done, int64_t count, double seconds);
extern void hide_progress(void);

#endif							/* TRADEKEEP_COMMAND_H */
