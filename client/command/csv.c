/*
 * csv.c
 *		Candles read one by one from a CSV file of any length: with a header that
 *		names its columns, or as Binance publishes them, without.
 *
 * Fields may be quoted, and then hold commas, line ends and doubled quotes.  A
 * quote that is never closed would swallow the rest of the file: of a row that
 * is rejected only the first line is given up, and reading goes on after that.
 */
#include "rows.h"

#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <strings.h>

/* Names of columns, the better one first where several name the same. */
static const struct
{
	const char *name;
	csv_column	column;
}			names[] =

{
	{"ts", CSV_TIME}, {"timestamp", CSV_TIME}, {"open_time", CSV_TIME}, {"time", CSV_TIME},
	{"datetime", CSV_TIME}, {"date", CSV_TIME}, {"open", CSV_OPEN}, {"high", CSV_HIGH},
	{"low", CSV_LOW}, {"close", CSV_CLOSE}, {"volume", CSV_VOLUME},
	{"close_time", CSV_CLOSE_TIME}, {"symbol", CSV_SYMBOL}, {"timeframe", CSV_TIMEFRAME},
	{"interval", CSV_TIMEFRAME}, {"closed", CSV_CLOSED},
};

#define NAMES (sizeof(names) / sizeof(names[0]))

/* Why there is no row in what was read. */
typedef struct csv_fault
{
	const char *sqlstate;
	char		reason[160];
} csv_fault;

static bool fault(csv_fault *found, const char *sqlstate, const char *format,...)
			__attribute__((format(printf, 3, 4)));

static bool
fault(csv_fault *found, const char *sqlstate, const char *format,...)
{
	va_list		arguments;

	found->sqlstate = sqlstate;
	va_start(arguments, format);
	vsnprintf(found->reason, sizeof(found->reason), format, arguments);
	va_end(arguments);
	return false;
}

/*
 * The length of the record that starts here, its line end included.  It is only
 * *complete when its quotes are closed and, but for the last, its line has ended.
 */
static size_t
record_length(input_file *input, bool *complete)
{
	enum
	{
		FIELD_START, PLAIN_FIELD, QUOTED, AFTER_QUOTE
	}			place = FIELD_START;

	for (size_t i = 0;; i++)
	{
		char		c;

		while (input->start + i >= input->end)
		{
			if (input_fill(input))
				continue;
			*complete = place != QUOTED && i < INPUT_BUFFER;
			return i;
		}
		c = input->buffer[input->start + i];
		if (place == QUOTED)
			place = c == '"' ? AFTER_QUOTE : QUOTED;
		else if (c == '\n')
		{
			*complete = true;
			return i + 1;
		}
		else if (c == ',')
			place = FIELD_START;
		else if (c == '"' && place != PLAIN_FIELD)
			place = QUOTED;		/* opened, or doubled */
		else if (place == AFTER_QUOTE || (c != ' ' && c != '\t'))
			place = PLAIN_FIELD;
	}
}

/* Leaves `length` bytes behind. */
static void
skip(input_file *input, size_t length)
{
	for (size_t i = 0; i < length; i++)
		input->line += input->buffer[input->start + i] == '\n';
	input->start += length;
}

/* Leaves the line behind, however long it is. */
static void
skip_line(input_file *input)
{
	for (;;)
	{
		size_t		length = input->end - input->start;
		const char *end = memchr(input->buffer + input->start, '\n', length);

		if (end != NULL)
		{
			skip(input, (size_t) (end - (input->buffer + input->start)) + 1);
			return;
		}
		input->start = input->end;
		if (!input_fill(input))
			return;
	}
}

/*
 * Takes the quotes off the field at `p`, in place.  *end is then where its text
 * ends; returned is what follows the closing quote, or null without one.
 */
static char *
unquote(char *p, char **end)
{
	char	   *target = p;

	for (p++; *p != '\0'; p++)
	{
		if (*p == '"' && *++p != '"')
		{
			*end = target;
			return p + strspn(p, " \t");
		}
		*target++ = *p;
	}
	return NULL;
}

/* Takes a record apart, in place; the number of its fields, or 0. */
static int
split(char *p, char **fields, csv_fault *found)
{
	for (int count = 0; count < CSV_FIELDS;)
	{
		char	   *rest;
		char	   *end;
		bool		last;

		p += strspn(p, " \t");
		if (*p == '"')
			rest = unquote(p, &end);
		else
		{
			rest = end = p + strcspn(p, ",");
			while (end > p && (end[-1] == ' ' || end[-1] == '\t'))
				end--;
		}
		if (rest == NULL || (*rest != ',' && *rest != '\0'))
			return fault(found, "TK006", "something follows a closing quote");
		last = *rest == '\0';
		*end = '\0';
		fields[count++] = p;
		if (last)
			return count;
		p = rest + 1;
	}
	return fault(found, "TK006", "more than %d fields", CSV_FIELDS);
}

/* Copies a record without its line end; false when it is blank. */
static bool
copy_record(row_reader *reader, size_t length)
{
	const input_file *input = &reader->input;

	memcpy(reader->record, input->buffer + input->start, length);
	while (length > 0 && strchr("\r\n", reader->record[length - 1]) != NULL &&
		   reader->record[length - 1] != '\0')
		length--;
	reader->record[length] = '\0';
	return strspn(reader->record, " \t\r\n") < length;
}

/*
 * Finds the next record that is not blank, and takes it apart.  It stays unread:
 * *length tells how long it is.  ROW_BROKEN leaves the reason in the input.
 */
static row_status
find_record(row_reader *reader, char **fields, int *count, size_t *length, csv_fault *found)
{
	input_file *input = &reader->input;
	bool		complete;

	for (;;)
	{
		*length = record_length(input, &complete);
		reader->row_line = input->line;
		if (input->failure[0] != '\0' &&
			(*length == 0 || input->buffer[input->start + *length - 1] != '\n'))
			return ROW_BROKEN;
		if (*length == 0)
			return ROW_END;
		if (!complete)
		{
			fault(found, "TK006", "a quote is not closed, or a row longer than %d bytes",
				  INPUT_BUFFER);
			return ROW_REJECTED;
		}
		if (copy_record(reader, *length))
			break;
		skip(input, *length);
	}
	if (memchr(input->buffer + input->start, '\0', *length) != NULL)
	{
		fault(found, "22021", "byte 0x00: this is no text");
		return ROW_REJECTED;
	}
	*count = split(reader->record, fields, found);
	return *count > 0 ? ROW_READ : ROW_REJECTED;
}

/* Upper case is lower case, a blank is an underscore. */
static bool
is_named(const char *field, const char *name)
{
	for (; *field != '\0' && *name != '\0'; field++, name++)
	{
		if (tolower((unsigned char) *field) != *name && !(*field == ' ' && *name == '_'))
			return false;
	}
	return *field == *name;
}

static bool
map_header(row_reader *reader, char **fields, csv_fault *found)
{
	static const char *const needed[] = {"time", "open", "high", "low", "close", "volume"};

	for (size_t i = 0; i < NAMES; i++)
	{
		int		   *column = &reader->columns[names[i].column];
		int			named = -1;

		for (int field = 0; field < reader->fields; field++)
		{
			if (!is_named(fields[field], names[i].name))
				continue;
			if (named >= 0)
				return fault(found, "TK006", "two columns are named \"%s\"", names[i].name);
			named = field;
		}
		if (*column < 0)
			*column = named;
	}
	for (int column = 0; column < CSV_NEEDED; column++)
	{
		if (reader->columns[column] < 0)
			return fault(found, "TK006", "neither a JSON array nor CSV with a header:"
						 " no column is named \"%s\"", needed[column]);
	}
	return true;
}

/* The order in which Binance, and everybody else, writes them. */
static bool
map_position(row_reader *reader, csv_fault *found)
{
	if (reader->fields != 6 && reader->fields != 12)
		return fault(found, "TK006", "without a header it must have the 12 columns of Binance's"
					 " files, or the first 6, not %d", reader->fields);
	for (int column = 0; column < CSV_NEEDED + (reader->fields == 12); column++)
		reader->columns[column] = column;
	return true;
}

/* Reads the header.  Where there is none, the first row stays unread. */
bool
csv_open(row_reader *reader, row_problem *problem)
{
	csv_fault	found = {.sqlstate = ""};
	char	   *fields[CSV_FIELDS];
	size_t		length;
	double		ms;
	bool		mapped = false;
	row_status	status = find_record(reader, fields, &reader->fields, &length, &found);

	if (status == ROW_BROKEN)
		fault(&found, "", "%s", reader->input.failure);
	else if (status == ROW_READ && rows_moment(fields[0], &ms))
		mapped = map_position(reader, &found);
	else if (status == ROW_READ)
	{
		mapped = map_header(reader, fields, &found);
		skip(&reader->input, length);
	}
	if (!mapped)
		rows_problem(problem, -1, reader->row_line, found.sqlstate, "%s", found.reason);
	return mapped;
}

static const char *
field_of(const row_reader *reader, char **fields, csv_column column)
{
	return reader->columns[column] >= 0 ? fields[reader->columns[column]] : "";
}

static bool
read_time(const char *field, int64_t *ms, csv_fault *found)
{
	double		value;

	if (!rows_moment(field, &value) || floor(value) != value || fabs(value) > MAX_MS)
		return fault(found, "TK004", "\"%.40s\" is not a time in whole milliseconds", field);
	*ms = (int64_t) value;
	return true;
}

/* The last microsecond of a candle may be its end. */
static bool
read_close_time(const char *field, int64_t *ms, csv_fault *found)
{
	double		value;

	if (field[0] == '\0')
		return true;
	if (!rows_moment(field, &value) || fabs(value) > MAX_MS)
		return fault(found, "TK004", "\"%.40s\" is not a time when a candle closes", field);
	*ms = (int64_t) floor(value);
	return true;
}

static bool
read_closed(const char *field, int *closed, csv_fault *found)
{
	static const char *const words[][4] = {{"false", "f", "0", "no"}, {"true", "t", "1", "yes"}};

	if (field[0] == '\0')
		return true;
	for (int truth = 0; truth <= 1; truth++)
	{
		for (int i = 0; i < 4; i++)
		{
			if (strcasecmp(field, words[truth][i]) == 0)
			{
				*closed = truth;
				return true;
			}
		}
	}
	return fault(found, "TK006", "closed is true or false, not \"%.40s\"", field);
}

static bool
read_prices(const row_reader *reader, char **fields, tk_candle *candle, csv_fault *found)
{
	double	   *const values[] = {&candle->open, &candle->high, &candle->low, &candle->close,
	&candle->volume};

	for (int i = 0; i < CSV_NEEDED - CSV_OPEN; i++)
	{
		const char *field = field_of(reader, fields, CSV_OPEN + i);

		if (!rows_number(field, values[i]))
			return fault(found, "TK006", "\"%.40s\" is not a number", field);
		if (!isfinite(*values[i]))
			return fault(found, "TK005", "\"%.40s\" is not finite", field);
	}
	return true;
}

static bool
read_row(const row_reader *reader, char **fields, int count, file_row *row, csv_fault *found)
{
	const char *symbol;
	const char *timeframe;

	if (count != reader->fields)
		return fault(found, "TK006", "%d fields, not %d", count, reader->fields);
	symbol = field_of(reader, fields, CSV_SYMBOL);
	timeframe = field_of(reader, fields, CSV_TIMEFRAME);
	if (strlen(symbol) > MAX_SYMBOL)
		return fault(found, "TK002", "symbol is longer than %d bytes", MAX_SYMBOL);
	if (strlen(timeframe) > MAX_TIMEFRAME)
		return fault(found, "22P02", "there is no timeframe \"%.40s\"", timeframe);
	strcpy(row->symbol, symbol);
	strcpy(row->timeframe, timeframe);
	return read_time(field_of(reader, fields, CSV_TIME), &row->candle.ts, found) &&
		read_prices(reader, fields, &row->candle, found) &&
		read_close_time(field_of(reader, fields, CSV_CLOSE_TIME), &row->close_time, found) &&
		read_closed(field_of(reader, fields, CSV_CLOSED), &row->candle.closed, found);
}

/* Files that were put together may have a header each. */
static bool
is_header(const row_reader *reader, char **fields, int count)
{
	if (count != reader->fields)
		return false;
	for (int column = 0; column < CSV_NEEDED; column++)
	{
		bool		named = false;

		for (size_t i = 0; i < NAMES; i++)
			named |= (int) names[i].column == column &&
				is_named(fields[reader->columns[column]], names[i].name);
		if (!named)
			return false;
	}
	return true;
}

/* rows_next() for CSV. */
row_status
csv_next(row_reader *reader, file_row *row, row_problem *problem)
{
	csv_fault	found;
	char	   *fields[CSV_FIELDS];
	int			count;
	size_t		length;
	row_status	status;

	for (;;)
	{
		status = find_record(reader, fields, &count, &length, &found);
		if (status != ROW_READ || !is_header(reader, fields, count))
			break;
		skip(&reader->input, length);
	}
	if (status == ROW_READ && read_row(reader, fields, count, row, &found))
	{
		skip(&reader->input, length);
		return ROW_READ;
	}
	if (status == ROW_BROKEN)
		rows_problem(problem, -1, reader->row_line, "", "%s", reader->input.failure);
	else if (status != ROW_END)
	{
		rows_problem(problem, -1, reader->row_line, found.sqlstate, "%s", found.reason);
		skip_line(&reader->input);
		status = ROW_REJECTED;
	}
	return status;
}
