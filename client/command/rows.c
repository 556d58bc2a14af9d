/*
 * rows.c
 *		Candles read one by one from a ccxt JSON file of any length.
 *
 * The file goes through a fixed buffer.  What lies between the rows is read
 * here; a row, found by its brackets, is parsed by cJSON.
 */
#include "rows.h"

#include <cjson/cJSON.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define COLUMNS 6

/* Beyond this, milliseconds are no time of anybody's; the server takes less. */
#define MAX_MS 8.64e15

static void
set_problem(row_problem *problem, int64_t row, int64_t line, const char *sqlstate,
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

/* A file that lacks its last bracket is refused before anything of it is used. */
static bool
ends_with_bracket(int fd, int64_t size)
{
	char		tail[4096];
	int64_t		offset = size > (int64_t) sizeof(tail) ? size - (int64_t) sizeof(tail) : 0;
	ssize_t		length = pread(fd, tail, sizeof(tail), offset);

	while (length > 0 && isspace((unsigned char) tail[length - 1]))
		length--;
	return length <= 0 || tail[length - 1] == ']';
}

bool
rows_open(row_reader *reader, const char *path, row_problem *problem)
{
	struct stat status;

	memset(reader, 0, offsetof(row_reader, buffer));
	reader->row = -1;
	reader->line = 1;
	reader->size = -1;
	reader->fd = strcmp(path, "-") == 0 ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
	if (reader->fd < 0)
	{
		set_problem(problem, -1, 0, "", "could not open \"%s\": %s", path, strerror(errno));
		return false;
	}
	if (fstat(reader->fd, &status) != 0 || !S_ISREG(status.st_mode))
		return true;
	reader->size = status.st_size;
	if (ends_with_bracket(reader->fd, reader->size))
		return true;
	set_problem(problem, -1, 0, "TK006",
				"the file does not end with a bracket: it is truncated, or not an array");
	rows_close(reader);
	return false;
}

void
rows_close(row_reader *reader)
{
	close(reader->fd);
	reader->fd = -1;
}

/* Reads more behind what is unread; false at the end of the file, or when the buffer is full. */
static bool
fill(row_reader *reader)
{
	ssize_t		length;

	if (reader->start > 0)
	{
		memmove(reader->buffer, reader->buffer + reader->start, reader->end - reader->start);
		reader->end -= reader->start;
		reader->start = 0;
	}
	do
		length = read(reader->fd, reader->buffer + reader->end, ROWS_BUFFER - reader->end);
	while (length < 0 && errno == EINTR);
	if (length <= 0)
		return false;
	reader->end += (size_t) length;
	reader->consumed += length;
	return true;
}

/* The next character that is not blank, or -1 at the end; it stays unread. */
static int
peek(row_reader *reader)
{
	for (;;)
	{
		while (reader->start < reader->end)
		{
			char		c = reader->buffer[reader->start];

			if (c == '\n')
				reader->line++;
			else if (c != ' ' && c != '\t' && c != '\r')
				return (unsigned char) c;
			reader->start++;
		}
		if (!fill(reader))
			return -1;
	}
}

/*
 * The length of the element that starts here: to its closing bracket, or to the
 * comma or bracket that ends it.  0 when the file or the buffer ends first.
 */
static size_t
element_length(row_reader *reader)
{
	int			depth = 0;
	bool		in_string = false;

	for (size_t i = 0;; i++)
	{
		char		c;

		while (reader->start + i >= reader->end)
		{
			if (!fill(reader))
				return 0;
		}
		c = reader->buffer[reader->start + i];
		if (c == '\n')
			reader->line++;
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
	char	   *end;

	if (cJSON_IsNumber(item))
	{
		*value = item->valuedouble;
		return true;
	}
	if (!cJSON_IsString(item) || item->valuestring[0] == '\0' ||
		strpbrk(item->valuestring, "xX \t\r\n") != NULL)
		return false;
	*value = strtod(item->valuestring, &end);
	return *end == '\0';
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
	candle->closed = 1;
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
			set_problem(problem, reader->row, reader->row_line, "22021",
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
	set_problem(problem, reader->row, reader->row_line, sqlstate, "%s", reason);
	return ROW_REJECTED;
}

static row_status
broken(row_reader *reader, int c, row_problem *problem)
{
	if (c < 0 && reader->place == BEFORE_ARRAY)
		set_problem(problem, -1, 0, "TK006", "the file is empty");
	else if (c < 0)
		set_problem(problem, -1, reader->line, "TK006",
					"the file ends after %lld rows: it is truncated", (long long) reader->row + 1);
	else if (reader->place == AFTER_ARRAY)
		set_problem(problem, -1, reader->line, "TK006", "something follows the array");
	else if (reader->place == BEFORE_ARRAY)
		set_problem(problem, -1, reader->line, "TK006", "the file is not a JSON array");
	else
		set_problem(problem, -1, reader->line, "TK006",
					"a comma or bracket is missing after row %lld", (long long) reader->row);
	return ROW_BROKEN;
}

/* Reads the next row, or says in *problem why there is none. */
row_status
rows_next(row_reader *reader, tk_candle *candle, row_problem *problem)
{
	for (;;)
	{
		int			c = peek(reader);
		size_t		length;

		switch (reader->place)
		{
			case BEFORE_ARRAY:
				if (c != '[')
					return broken(reader, c, problem);
				reader->start++;
				reader->place = AT_FIRST_ROW;
				break;
			case AFTER_ROW:
				if (c != ',' && c != ']')
					return broken(reader, c, problem);
				reader->start++;
				reader->place = c == ',' ? AT_NEXT_ROW : AFTER_ARRAY;
				break;
			case AFTER_ARRAY:
				return c < 0 ? ROW_END : broken(reader, c, problem);
			case AT_FIRST_ROW:
			case AT_NEXT_ROW:
				if (c == ']' && reader->place == AT_FIRST_ROW)
				{
					reader->start++;
					reader->place = AFTER_ARRAY;
					break;
				}
				reader->row++;
				reader->row_line = reader->line;
				length = c < 0 ? 0 : element_length(reader);
				if (length == 0 && reader->end - reader->start == ROWS_BUFFER)
				{
					set_problem(problem, reader->row, reader->row_line, "TK006",
								"longer than %d bytes", ROWS_BUFFER);
					return ROW_BROKEN;
				}
				if (length == 0 && (c == ',' || c == ']'))
				{
					set_problem(problem, reader->row, reader->row_line, "TK006",
								"nothing between two commas");
					return ROW_BROKEN;
				}
				if (length == 0)
				{
					reader->row--;
					return broken(reader, -1, problem);
				}
				reader->start += length;
				reader->place = AFTER_ROW;
				return parse(reader, reader->buffer + reader->start - length, length, candle,
							 problem);
		}
	}
}
