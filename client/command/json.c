/*
 * json.c
 *		Candles read one by one from a ccxt JSON file of any length.
 *
 * What lies between the rows is read here; a row, found by its brackets, is
 * parsed by cJSON.
 */
#include "rows.h"

#include <cjson/cJSON.h>
#include <math.h>

#define COLUMNS 6

/* The next character that is not blank, or -1 at the end; it stays unread. */
int
json_peek(input_file *input)
{
	for (;;)
	{
		while (input->start < input->end)
		{
			char		c = input->buffer[input->start];

			if (c == '\n')
				input->line++;
			else if (c != ' ' && c != '\t' && c != '\r')
				return (unsigned char) c;
			input->start++;
		}
		if (!input_fill(input))
			return -1;
	}
}

/*
 * The length of the element that starts here: to its closing bracket, or to the
 * comma or bracket that ends it.  0 when the file or the buffer ends first.
 */
static size_t
element_length(input_file *input)
{
	int			depth = 0;
	bool		in_string = false;

	for (size_t i = 0;; i++)
	{
		char		c;

		while (input->start + i >= input->end)
		{
			if (!input_fill(input))
				return 0;
		}
		c = input->buffer[input->start + i];
		if (c == '\n')
			input->line++;
		if (in_string)
		{
			if (c == '\\')
				i++;
			else if (c == '"')
				in_string = false;
			continue;
		}
		switch (c)
		{
			case '"':
				in_string = true;
				break;
			case '[':
			case '{':
				depth++;
				break;
			case ']':
			case '}':
				if (depth == 0)
					return i;
				if (--depth == 0)
					return i + 1;
				break;
			case ',':
				if (depth == 0)
					return i;
				break;
		}
	}
}

/* A number, or a string that is one through and through: exchanges send both. */
static bool
read_number(const cJSON *item, double *value)
{
	if (cJSON_IsNumber(item))
	{
		*value = item->valuedouble;
		return true;
	}
	return cJSON_IsString(item) && rows_number(item->valuestring, value);
}

static bool
read_candle(const cJSON *array, tk_candle *candle, const char **sqlstate, char *reason, size_t size)
{
	double		values[COLUMNS];
	int			columns = cJSON_GetArraySize(array);
	const cJSON *item;
	int			column = 0;

	*sqlstate = "TK006";
	if (!cJSON_IsArray(array))
	{
		snprintf(reason, size, "not an array");
		return false;
	}
	if (columns != COLUMNS)
	{
		snprintf(reason, size, "%d values, not %d: time, open, high, low, close, volume", columns,
				 COLUMNS);
		return false;
	}
	cJSON_ArrayForEach(item, array)
	{
		if (!read_number(item, &values[column]))
		{
			snprintf(reason, size, "value %d is not a number", column + 1);
			return false;
		}
		if (!isfinite(values[column]))
		{
			*sqlstate = "TK005";
			snprintf(reason, size, "value %d is not finite", column + 1);
			return false;
		}
		column++;
	}
	if (floor(values[0]) != values[0] || fabs(values[0]) > MAX_MS)
	{
		*sqlstate = "TK004";
		snprintf(reason, size, "%.17g is not a time in milliseconds", values[0]);
		return false;
	}
	candle->ts = (int64_t) values[0];
	candle->open = values[1];
	candle->high = values[2];
	candle->low = values[3];
	candle->close = values[4];
	candle->volume = values[5];
	return true;
}

static row_status
parse(row_reader *reader, const char *text, size_t length, tk_candle *candle, row_problem *problem)
{
	const char *sqlstate = "TK006";
	char		reason[128];
	bool		good = false;
	cJSON	   *array;

	for (size_t i = 0; i < length; i++)
	{
		if ((unsigned char) text[i] >= 0x80)
		{
			rows_problem(problem, reader->row, reader->row_line, "22021",
						 "byte 0x%02x: a row has only ASCII", (unsigned char) text[i]);
			return ROW_REJECTED;
		}
	}
	array = cJSON_ParseWithLength(text, length);
	if (array == NULL)
		snprintf(reason, sizeof(reason), "not JSON: \"%.*s\"", (int) (length < 80 ? length : 80),
				 text);
	else
		good = read_candle(array, candle, &sqlstate, reason, sizeof(reason));
	cJSON_Delete(array);
	if (good)
		return ROW_READ;
	rows_problem(problem, reader->row, reader->row_line, sqlstate, "%s", reason);
	return ROW_REJECTED;
}

/* Says why there can be no further row, whatever stands where one should. */
row_status
json_broken(row_reader *reader, int c, row_problem *problem)
{
	const input_file *input = &reader->input;

	if (c < 0 && input->failure[0] != '\0')
		rows_problem(problem, -1, input->line, "", "%s", input->failure);
	else if (c < 0 && reader->place == BEFORE_ARRAY)
		rows_problem(problem, -1, 0, "TK006", "the file is empty");
	else if (c < 0)
		rows_problem(problem, -1, input->line, "TK006",
					 "the file ends after %lld rows: it is truncated", (long long) reader->row + 1);
	else if (reader->place == AFTER_ARRAY)
		rows_problem(problem, -1, input->line, "TK006", "something follows the array");
	else if (reader->place == BEFORE_ARRAY)
		rows_problem(problem, -1, input->line, "TK006", "the file is not a JSON array");
	else
		rows_problem(problem, -1, input->line, "TK006",
					 "a comma or bracket is missing after row %lld", (long long) reader->row);
	return ROW_BROKEN;
}

/* Where a row should begin, at `c`, none could be found in one piece. */
static row_status
no_element(row_reader *reader, int c, row_problem *problem)
{
	const input_file *input = &reader->input;

	if (input->end - input->start == INPUT_BUFFER)
		rows_problem(problem, reader->row, reader->row_line, "TK006", "longer than %d bytes",
					 INPUT_BUFFER);
	else if (c == ',' || c == ']')
		rows_problem(problem, reader->row, reader->row_line, "TK006",
					 "nothing between two commas");
	else
	{
		reader->row--;
		json_broken(reader, -1, problem);
	}
	return ROW_BROKEN;
}

/*
 * Finds the next element of an array, and leaves it behind: ROW_READ with its
 * *length, which lies right before what is unread then; ROW_END when the array
 * has ended.
 */
row_status
json_element(row_reader *reader, size_t *length, row_problem *problem)
{
	input_file *input = &reader->input;

	for (;;)
	{
		int			c = json_peek(input);

		switch (reader->place)
		{
			case BEFORE_ARRAY:
				if (c != '[')
					return json_broken(reader, c, problem);
				input->start++;
				reader->place = AT_FIRST_ROW;
				break;
			case AFTER_ROW:
				if (c != ',' && c != ']')
					return json_broken(reader, c, problem);
				input->start++;
				reader->place = c == ',' ? AT_NEXT_ROW : AFTER_ARRAY;
				break;
			case AFTER_ARRAY:
				return ROW_END;
			case AT_FIRST_ROW:
			case AT_NEXT_ROW:
				if (c == ']' && reader->place == AT_FIRST_ROW)
				{
					input->start++;
					reader->place = AFTER_ARRAY;
					break;
				}
				reader->row++;
				reader->row_line = input->line;
				*length = c < 0 ? 0 : element_length(input);
				if (*length == 0)
					return no_element(reader, c, problem);
				input->start += *length;
				reader->place = AFTER_ROW;
				return ROW_READ;
		}
	}
}

/* rows_next() for JSON. */
row_status
json_next(row_reader *reader, file_row *row, row_problem *problem)
{
	input_file *input = &reader->input;
	size_t		length;
	row_status	status = json_element(reader, &length, problem);
	int			c;

	if (status == ROW_READ)
		return parse(reader, input->buffer + input->start - length, length, &row->candle, problem);
	if (status == ROW_BROKEN)
		return status;
	c = json_peek(input);
	return c < 0 ? ROW_END : json_broken(reader, c, problem);
}
