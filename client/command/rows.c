/*
 * rows.c
 *		Candles read one by one from a file: what kind of file it is.
 */
#include "rows.h"

#include <stdarg.h>
#include <stddef.h>

void
rows_problem(row_problem *problem, int64_t row, int64_t line, const char *sqlstate,
			 const char *format,...)
{
	va_list		arguments;

	problem->row = row;
	problem->line = line;
	snprintf(problem->sqlstate, sizeof(problem->sqlstate), "%s", sqlstate);
	va_start(arguments, format);
	vsnprintf(problem->reason, sizeof(problem->reason), format, arguments);
	va_end(arguments);
}

static bool
starts_with(const input_file *input, const char *bytes, size_t length)
{
	return input->end - input->start >= length &&
		memcmp(input->buffer + input->start, bytes, length) == 0;
}

/* The first byte that is not blank tells JSON from CSV; what people mistake for either is named. */
static bool
recognise(row_reader *reader, row_problem *problem)
{
	input_file *input = &reader->input;
	size_t		first;

	input_fill(input);
	if (starts_with(input, "PK\3\4", 4))
	{
		rows_problem(problem, -1, 0, "TK006", "it is a zip archive: unzip -p FILE.zip |"
					 " tradekeep import ... -");
		return false;
	}
	if (starts_with(input, "\377\376", 2) || starts_with(input, "\376\377", 2))
	{
		rows_problem(problem, -1, 0, "22021", "it is UTF-16: save it as UTF-8");
		return false;
	}
	if (starts_with(input, "\357\273\277", 3))
		input->start += 3;
	for (first = input->start; first < input->end; first++)
	{
		if (strchr(" \t\r\n", input->buffer[first]) == NULL || input->buffer[first] == '\0')
			break;
	}
	reader->csv = first < input->end && input->buffer[first] != '[' && input->buffer[first] != '{';
	return true;
}

/* Opens a file and sees what kind it is; else says in *problem why not. */
bool
rows_start(row_reader *reader, const char *path, row_problem *problem)
{
	memset(reader, 0, offsetof(row_reader, record));
	reader->row = -1;
	for (int column = 0; column < MAX_COLUMNS; column++)
		reader->columns[column] = -1;
	if (!input_open(&reader->input, path))
	{
		rows_problem(problem, -1, 0, "", "could not open it: %s", reader->input.failure);
		return false;
	}
	if (recognise(reader, problem))
		return true;
	rows_close(reader);
	return false;
}

/* Opens a file and reads what comes before its rows; else says in *problem why not. */
bool
rows_open(row_reader *reader, const char *path, row_problem *problem)
{
	bool		good;

	if (!rows_start(reader, path, problem))
		return false;
	good = reader->csv ? csv_open(reader, problem) : input_ends_with(&reader->input, ']');
	if (good)
		return true;
	if (!reader->csv)
		rows_problem(problem, -1, 0, "TK006",
					 "the file does not end with a bracket: it is truncated, or not an array");
	rows_close(reader);
	return false;
}

/* Reads the next row, or says in *problem why there is none. */
row_status
rows_next(row_reader *reader, file_row *row, row_problem *problem)
{
	row->candle.closed = -1;
	row->close_time = INT64_MIN;
	row->symbol[0] = row->timeframe[0] = '\0';
	return reader->csv ? csv_next(reader, row, problem) : json_next(reader, row, problem);
}

void
rows_close(row_reader *reader)
{
	input_close(&reader->input);
}
