/*
 * record.c
 *		Records of a CSV file of any length, one by one, and the names in its header.
 *
 * Fields may be quoted, and then hold commas, line ends and doubled quotes.  A
 * quote that is never closed would swallow the rest of the file: of a row that
 * is rejected only the first line is given up, and reading goes on after that.
 */
#include "rows.h"

#include <ctype.h>
#include <stdarg.h>

/* Says why there is no row in what was read; returns false. */
bool
rows_fault(row_fault *found, const char *sqlstate, const char *format,...)
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
void
record_skip(input_file *input, size_t length)
{
	for (size_t i = 0; i < length; i++)
		input->line += input->buffer[input->start + i] == '\n';
	input->start += length;
}

/* Leaves the line behind, however long it is. */
void
record_skip_line(input_file *input)
{
	for (;;)
	{
		size_t		length = input->end - input->start;
		const char *end = memchr(input->buffer + input->start, '\n', length);

		if (end != NULL)
		{
			record_skip(input, (size_t) (end - (input->buffer + input->start)) + 1);
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
split(char *p, char **fields, row_fault *found)
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
			return rows_fault(found, "TK006", "something follows a closing quote");
		last = *rest == '\0';
		*end = '\0';
		fields[count++] = p;
		if (last)
			return count;
		p = rest + 1;
	}
	return rows_fault(found, "TK006", "more than %d fields", CSV_FIELDS);
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
row_status
record_find(row_reader *reader, char **fields, int *count, size_t *length, row_fault *found)
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
			rows_fault(found, "TK006", "a quote is not closed, or a row longer than %d bytes",
					   INPUT_BUFFER);
			return ROW_REJECTED;
		}
		if (copy_record(reader, *length))
			break;
		record_skip(input, *length);
	}
	if (memchr(input->buffer + input->start, '\0', *length) != NULL)
	{
		rows_fault(found, "22021", "byte 0x00: this is no text");
		return ROW_REJECTED;
	}
	*count = split(reader->record, fields, found);
	return *count > 0 ? ROW_READ : ROW_REJECTED;
}

/* The case does not matter, nor do what stands between words: "Open Time", open_time, openTime. */
bool
record_is_named(const char *field, const char *name)
{
	static const char *const between = "_- ";

	for (;;)
	{
		field += strspn(field, between);
		name += strspn(name, between);
		if (*field == '\0' || tolower((unsigned char) *field) != *name)
			return *field == *name;
		field++;
		name++;
	}
}

/*
 * Finds the columns that a header names; of several names for one column that
 * which comes first in `names` counts.
 */
bool
record_map(row_reader *reader, char **fields, const record_name *names, size_t count,
		   row_fault *found)
{
	for (size_t i = 0; i < count; i++)
	{
		int		   *column = &reader->columns[names[i].column];
		int			named = -1;

		for (int field = 0; field < reader->fields; field++)
		{
			if (!record_is_named(fields[field], names[i].name))
				continue;
			if (named >= 0)
				return rows_fault(found, "TK006", "two columns are named \"%s\"", names[i].name);
			named = field;
		}
		if (*column < 0)
			*column = named;
	}
	return true;
}

/* The field of a column, "" where there is none. */
const char *
record_field(const row_reader *reader, char **fields, int column)
{
	return reader->columns[column] >= 0 ? fields[reader->columns[column]] : "";
}
