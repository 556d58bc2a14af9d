/*
 * rows.h
 *		Rows read one by one from a JSON or CSV file of any length: candles; and what
 *		the reader of trades (trade_rows.h) shares with them.
 */
#ifndef TRADEKEEP_ROWS_H
#define TRADEKEEP_ROWS_H

#include "input.h"

/* The server's limit; and more than any name of a timeframe has. */
#define MAX_SYMBOL 512
#define MAX_TIMEFRAME 15

/* Beyond this, milliseconds are no time of anybody's; the server takes less. */
#define MAX_MS 8.64e15

typedef enum row_status
{
	ROW_READ,
	ROW_REJECTED,				/* this row is no candle; the next one may be */
	ROW_END,					/* the file is complete, and nothing follows */
	ROW_BROKEN					/* the file is not, or no longer, a file of rows */
} row_status;

typedef struct row_problem
{
	int64_t		row;			/* of an array, counted from 0; -1: not about an array's row */
	int64_t		line;			/* counted from 1; 0: not about a line */
	char		sqlstate[6];
	char		reason[256];
} row_problem;

/* A candle, and what else its file may say. */
typedef struct file_row
{
	tk_candle	candle;			/* closed is 1, 0, or -1 where the file does not say */
	int64_t		close_time;		/* when the candle ends; INT64_MIN: the file does not say */
	char		symbol[MAX_SYMBOL + 1]; /* "": the file does not say */
	char		timeframe[MAX_TIMEFRAME + 1];
} file_row;

typedef enum csv_column
{
	CSV_TIME, CSV_OPEN, CSV_HIGH, CSV_LOW, CSV_CLOSE, CSV_VOLUME,
	CSV_CLOSE_TIME, CSV_SYMBOL, CSV_TIMEFRAME, CSV_CLOSED, CSV_COLUMNS
}			csv_column;

#define CSV_NEEDED (CSV_VOLUME + 1)
#define CSV_FIELDS 64
#define MAX_COLUMNS 32			/* that a row of ours has, of candles or of trades */

typedef struct row_reader
{
	input_file	input;
	bool		csv;			/* else JSON */
	int64_t		row;			/* of the array's element last found */
	int64_t		row_line;		/* where the row last found starts */
	enum
	{
		BEFORE_ARRAY, AT_FIRST_ROW, AT_NEXT_ROW, AFTER_ROW, AFTER_ARRAY
	}			place;
	int			fields;			/* that a CSV row must have */
	int			columns[MAX_COLUMNS];	/* the field of each; -1: there is none */
	char		record[INPUT_BUFFER + 1];	/* a CSV row, taken apart */
} row_reader;

/* What a header may call a column. */
typedef struct record_name
{
	const char *name;
	int			column;
} record_name;

/* Why there is no row in what was read. */
typedef struct row_fault
{
	const char *sqlstate;
	char		reason[160];
} row_fault;

extern bool rows_open(row_reader *reader, const char *path, row_problem *problem);
extern row_status rows_next(row_reader *reader, file_row *row, row_problem *problem);
extern void rows_close(row_reader *reader);

/* report.c: of rows that are left out, so many are shown. */
#define REPORTED_ROWS 10

extern void report_row(const char *path, const row_problem *problem);
extern void reject_row(const char *path, int64_t before, const row_problem *problem);

/* For the readers of the two formats. */
extern bool rows_start(row_reader *reader, const char *path, row_problem *problem);
extern void rows_problem(row_problem *problem, int64_t row, int64_t line, const char *sqlstate,
						 const char *format,...) __attribute__((format(printf, 5, 6)));
extern bool rows_fault(row_fault *found, const char *sqlstate, const char *format,...)
			__attribute__((format(printf, 3, 4)));
extern bool rows_number(const char *text, double *value);
extern bool rows_moment(const char *text, double *ms);
extern bool rows_truth(const char *text, bool *truth);

extern int	json_peek(input_file *input);
extern row_status json_element(row_reader *reader, size_t *length, row_problem *problem);
extern row_status json_broken(row_reader *reader, int c, row_problem *problem);
extern row_status json_next(row_reader *reader, file_row *row, row_problem *problem);
extern bool csv_open(row_reader *reader, row_problem *problem);
extern row_status csv_next(row_reader *reader, file_row *row, row_problem *problem);

extern row_status record_find(row_reader *reader, char **fields, int *count, size_t *length,
							  row_fault *found);
extern void record_skip(input_file *input, size_t length);
extern void record_skip_line(input_file *input);
extern bool record_is_named(const char *field, const char *name);
extern bool record_map(row_reader *reader, char **fields, const record_name *names, size_t count,
					   row_fault *found);
extern const char *record_field(const row_reader *reader, char **fields, int column);

#endif							/* TRADEKEEP_ROWS_H */
