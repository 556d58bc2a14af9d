/*
 * csv.c
 *		Candles read one by one from a CSV file of any length: with a header that
 *		names its columns, or as Binance publishes them, without.
 */
#include "rows.h"

#include <math.h>

/* Names of columns, the better one first where several name the same. */
static const record_name names[] = {
	{"ts", CSV_TIME}, {"timestamp", CSV_TIME}, {"open_time", CSV_TIME}, {"time", CSV_TIME},
	{"datetime", CSV_TIME}, {"date", CSV_TIME}, {"open", CSV_OPEN}, {"high", CSV_HIGH},
	{"low", CSV_LOW}, {"close", CSV_CLOSE}, {"volume", CSV_VOLUME},
	{"close_time", CSV_CLOSE_TIME}, {"symbol", CSV_SYMBOL}, {"timeframe", CSV_TIMEFRAME},
	{"interval", CSV_TIMEFRAME}, {"closed", CSV_CLOSED},
};

#define NAMES (sizeof(names) / sizeof(names[0]))

static bool
map_header(row_reader *reader, char **fields, row_fault *found)
{
	static const char *const needed[] = {"time", "open", "high", "low", "close", "volume"};

	if (!record_map(reader, fields, names, NAMES, found))
		return false;
	for (int column = 0; column < CSV_NEEDED; column++)
	{
		if (reader->columns[column] < 0)
			return rows_fault(found, "TK006", "neither a JSON array nor CSV with a header:"
							  " no column is named \"%s\"", needed[column]);
	}
	return true;
}

/* The order in which Binance, and everybody else, writes them. */
static bool
map_position(row_reader *reader, row_fault *found)
{
	if (reader->fields != 6 && reader->fields != 12)
		return rows_fault(found, "TK006", "without a header it must have the 12 columns of Binance's"
						  " files, or the first 6, not %d", reader->fields);
	for (int column = 0; column < CSV_NEEDED + (reader->fields == 12); column++)
		reader->columns[column] = column;
	return true;
}

/* Reads the header.  Where there is none, the first row stays unread. */
bool
csv_open(row_reader *reader, row_problem *problem)
{
	row_fault	found = {.sqlstate = ""};
	char	   *fields[CSV_FIELDS];
	size_t		length;
	double		ms;
	bool		mapped = false;
	row_status	status = record_find(reader, fields, &reader->fields, &length, &found);

	if (status == ROW_BROKEN)
		rows_fault(&found, "", "%s", reader->input.failure);
	else if (status == ROW_READ && rows_moment(fields[0], &ms))
		mapped = map_position(reader, &found);
	else if (status == ROW_READ)
	{
		mapped = map_header(reader, fields, &found);
		record_skip(&reader->input, length);
	}
	if (!mapped)
		rows_problem(problem, -1, reader->row_line, found.sqlstate, "%s", found.reason);
	return mapped;
}

static bool
read_time(const char *field, int64_t *ms, row_fault *found)
{
	double		value;

	if (!rows_moment(field, &value) || floor(value) != value || fabs(value) > MAX_MS)
		return rows_fault(found, "TK004", "\"%.40s\" is not a time in whole milliseconds", field);
	*ms = (int64_t) value;
	return true;
}

/* The last microsecond of a candle may be its end. */
static bool
read_close_time(const char *field, int64_t *ms, row_fault *found)
{
	double		value;

	if (field[0] == '\0')
		return true;
	if (!rows_moment(field, &value) || fabs(value) > MAX_MS)
		return rows_fault(found, "TK004", "\"%.40s\" is not a time when a candle closes", field);
	*ms = (int64_t) floor(value);
	return true;
}

static bool
read_closed(const char *field, int *closed, row_fault *found)
{
	bool		truth;

	if (field[0] == '\0')
		return true;
	if (!rows_truth(field, &truth))
		return rows_fault(found, "TK006", "closed is true or false, not \"%.40s\"", field);
	*closed = truth;
	return true;
}

static bool
read_prices(const row_reader *reader, char **fields, tk_candle *candle, row_fault *found)
{
	double	   *const values[] = {&candle->open, &candle->high, &candle->low, &candle->close,
	&candle->volume};

	for (int i = 0; i < CSV_NEEDED - CSV_OPEN; i++)
	{
		const char *field = record_field(reader, fields, CSV_OPEN + i);

		if (!rows_number(field, values[i]))
			return rows_fault(found, "TK006", "\"%.40s\" is not a number", field);
		if (!isfinite(*values[i]))
			return rows_fault(found, "TK005", "\"%.40s\" is not finite", field);
	}
	return true;
}

static bool
read_row(const row_reader *reader, char **fields, int count, file_row *row, row_fault *found)
{
	const char *symbol;
	const char *timeframe;

	if (count != reader->fields)
		return rows_fault(found, "TK006", "%d fields, not %d", count, reader->fields);
	symbol = record_field(reader, fields, CSV_SYMBOL);
	timeframe = record_field(reader, fields, CSV_TIMEFRAME);
	if (strlen(symbol) > MAX_SYMBOL)
		return rows_fault(found, "TK002", "symbol is longer than %d bytes", MAX_SYMBOL);
	if (strlen(timeframe) > MAX_TIMEFRAME)
		return rows_fault(found, "22P02", "there is no timeframe \"%.40s\"", timeframe);
	strcpy(row->symbol, symbol);
	strcpy(row->timeframe, timeframe);
	return read_time(record_field(reader, fields, CSV_TIME), &row->candle.ts, found) &&
		read_prices(reader, fields, &row->candle, found) &&
		read_close_time(record_field(reader, fields, CSV_CLOSE_TIME), &row->close_time, found) &&
		read_closed(record_field(reader, fields, CSV_CLOSED), &row->candle.closed, found);
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
				record_is_named(fields[reader->columns[column]], names[i].name);
		if (!named)
			return false;
	}
	return true;
}

/* rows_next() for CSV. */
row_status
csv_next(row_reader *reader, file_row *row, row_problem *problem)
{
	row_fault	found;
	char	   *fields[CSV_FIELDS];
	int			count;
	size_t		length;
	row_status	status;

	for (;;)
	{
		status = record_find(reader, fields, &count, &length, &found);
		if (status != ROW_READ || !is_header(reader, fields, count))
			break;
		record_skip(&reader->input, length);
	}
	if (status == ROW_READ && read_row(reader, fields, count, row, &found))
	{
		record_skip(&reader->input, length);
		return ROW_READ;
	}
	if (status == ROW_BROKEN)
		rows_problem(problem, -1, reader->row_line, "", "%s", reader->input.failure);
	else if (status != ROW_END)
	{
		rows_problem(problem, -1, reader->row_line, found.sqlstate, "%s", found.reason);
		record_skip_line(&reader->input);
		status = ROW_REJECTED;
	}
	return status;
}
