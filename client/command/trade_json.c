/*
 * trade_json.c
 *		Trades in a JSON file of any length: where in it they are, and their members.
 *
 * They stand in an array: the file itself, or "trades" of an object, or "trades" of
 * each strategy in "strategy", which is how freqtrade writes what a backtest gave.
 * All else is skipped, however long it is.  cJSON tells whether a trade is sound,
 * but makes doubles of numbers: its members are taken from the text, as they are.
 */
#include "trade_rows.h"

#include <cjson/cJSON.h>

/* Leaves a string behind, from its opening quote on; false when the file ends first. */
static bool
read_string(input_file *input, char *text, size_t size)
{
	size_t		length = 0;
	bool		escaped = false;

	for (input->start++;; input->start++)
	{
		char		c;

		if (input->start == input->end && !input_fill(input))
			return false;
		c = input->buffer[input->start];
		if (c == '"' && !escaped)
			break;
		escaped = c == '\\' && !escaped;
		if (c == '\n')
			input->line++;
		if (length + 1 < size)
			text[length++] = c;
	}
	text[length] = '\0';
	input->start++;
	return true;
}

/* Leaves a value behind, from its first character on; false when the file ends first. */
static bool
skip_value(input_file *input)
{
	char		unused[1];
	int			depth = 0;

	for (;;)
	{
		int			c = json_peek(input);

		if (c < 0)
			return false;
		if (c == '"')
		{
			if (!read_string(input, unused, sizeof(unused)))
				return false;
		}
		else if (c == ',' || c == ']' || c == '}')
		{
			if (depth == 0)
				return true;
			depth -= c != ',';
			input->start++;
		}
		else
		{
			depth += c == '[' || c == '{';
			input->start++;
		}
		if (depth == 0 && (c == '"' || c == ']' || c == '}'))
			return true;
	}
}

static row_status
broken(const trade_reader *reader, row_problem *problem)
{
	const input_file *input = &reader->rows.input;

	if (input->failure[0] != '\0')
		rows_problem(problem, -1, input->line, "", "%s", input->failure);
	else if (input->start == input->end)
		rows_problem(problem, -1, input->line, "TK006", "the file ends here: it is truncated");
	else
		rows_problem(problem, -1, input->line, "TK006", "this is not JSON");
	return ROW_BROKEN;
}

/* True of what may stand between quotes, and was not too long to be kept whole. */
static bool
is_name(const char *key)
{
	char		quoted[sizeof(((trade_reader *) 0)->key) + 2];
	cJSON	   *string;
	bool		sound;

	snprintf(quoted, sizeof(quoted), "\"%s\"", key);
	string = cJSON_Parse(quoted);
	sound = cJSON_IsString(string) && strlen(key) < sizeof(((trade_reader *) 0)->key) - 1;
	cJSON_Delete(string);
	return sound;
}

/* At the value of a member: goes into it, or skips it.  ROW_READ: it is the trades. */
static row_status
look_at_member(trade_reader *reader, row_problem *problem)
{
	input_file *input = &reader->rows.input;
	int			c = json_peek(input);

	if (c == '[' && reader->level != IN_STRATEGIES && strcmp(reader->key, "trades") == 0)
		return ROW_READ;
	if (c == '{' && reader->level == IN_ROOT && strcmp(reader->key, "strategy") == 0)
	{
		reader->level = IN_STRATEGIES;
		reader->after_member = false;
		input->start++;
	}
	else if (c == '{' && reader->level == IN_STRATEGIES)
	{
		if (!is_name(reader->key))
		{
			rows_problem(problem, -1, input->line, "TK006", "this is no name of a strategy");
			return ROW_BROKEN;
		}
		reader->level = IN_STRATEGY;
		reader->after_member = false;
		strcpy(reader->file_strategy, reader->key);
		input->start++;
	}
	else if (!skip_value(input))
		return broken(reader, problem);
	return ROW_END;
}

/* Inside an object: leaves it at its end, or looks at the next member. */
static row_status
next_member(trade_reader *reader, row_problem *problem)
{
	input_file *input = &reader->rows.input;
	int			c = json_peek(input);

	if (c == '}')
	{
		input->start++;
		reader->level = reader->level == IN_ROOT ? AT_END : reader->level - 1;
		reader->after_member = true;
		reader->file_strategy[0] = '\0';
		return ROW_END;
	}
	if (reader->after_member && c == ',')
	{
		input->start++;
		c = json_peek(input);
	}
	else if (reader->after_member)
		return broken(reader, problem);
	if (c != '"' || !read_string(input, reader->key, sizeof(reader->key)) ||
		json_peek(input) != ':')
		return broken(reader, problem);
	input->start++;
	reader->after_member = true;
	return look_at_member(reader, problem);
}

/* Goes to the next array of trades; ROW_END: there is no further one. */
static row_status
find_array(trade_reader *reader, row_problem *problem)
{
	input_file *input = &reader->rows.input;
	row_status	status = ROW_END;

	while (status == ROW_END)
	{
		int			c = json_peek(input);

		if (reader->level == AT_START && c == '[')
		{
			reader->level = AT_END;
			status = ROW_READ;
		}
		else if (reader->level == AT_START && c == '{')
		{
			input->start++;
			reader->level = IN_ROOT;
		}
		else if (reader->level == AT_START)
			return json_broken(&reader->rows, c, problem);
		else if (reader->level == AT_END)
		{
			if (c >= 0)
				rows_problem(problem, -1, input->line, "TK006", "something follows the trades");
			else if (!reader->found)
				rows_problem(problem, -1, 0, "TK006", "there is no array of trades in it");
			return c < 0 && reader->found ? ROW_END : ROW_BROKEN;
		}
		else
			status = next_member(reader, problem);
	}
	if (status != ROW_READ)
		return status;
	reader->found = true;
	reader->in_array = true;
	reader->rows.place = BEFORE_ARRAY;
	return status;
}

static size_t
blanks(const char *p)
{
	size_t		length = 0;

	while (p[length] != '\0' && (unsigned char) p[length] <= ' ')
		length++;
	return length;
}

/* The length of a string with its quotes, of a nested value, or of a bare one. */
static size_t
value_length(const char *p)
{
	int			depth = 0;
	bool		in_string = false;

	for (size_t i = 0;; i++)
	{
		if (in_string && p[i] == '\\')
			i++;
		else if (p[i] == '"')
			in_string = !in_string;
		else if (!in_string && (p[i] == '[' || p[i] == '{'))
			depth++;
		else if (!in_string && depth > 0 && (p[i] == ']' || p[i] == '}'))
			depth--;
		else if (p[i] == '\0' || (!in_string && depth == 0 && strchr(",]}: \t\r\n", p[i]) != NULL))
			return i;
		if (!in_string && depth == 0 && strchr("\"]}", p[i]) != NULL)
			return i + 1;
	}
}

static void
read_member(trade_value values[TRADE_FIELDS], const char *key, size_t key_length,
			const char *text, size_t length)
{
	trade_value value = {VALUE_BARE, 0, text, length};
	trade_field field;
	char		name[64];

	if (key_length >= sizeof(name) || strncmp(text, "null", length) == 0)
		return;
	memcpy(name, key, key_length);
	name[key_length] = '\0';
	value.name = trade_name(name, &field);
	if (value.name < 0 || (values[field].kind != VALUE_NONE && values[field].name < value.name))
		return;
	if (text[0] == '"')
	{
		value.kind = VALUE_STRING;
		value.text++;
		value.length -= 2;
	}
	else if (text[0] == '{' || text[0] == '[')
		value.kind = VALUE_NESTED;
	values[field] = value;
}

/* Takes an object apart that cJSON found sound. */
static void
read_members(trade_value values[TRADE_FIELDS], const char *p)
{
	for (p++, p += blanks(p); *p == '"';)
	{
		const char *key = p + 1;
		size_t		key_length = value_length(p) - 2;
		size_t		length;

		p += key_length + 2;
		p += blanks(p);
		p += *p == ':';
		p += blanks(p);
		length = value_length(p);
		read_member(values, key, key_length, p, length);
		p += length;
		p += blanks(p);
		p += *p == ',';
		p += blanks(p);
	}
}

/* Reads an element of an array, which the reader's record then holds. */
static row_status
read_trade(trade_reader *reader, const char *text, size_t length,
		   trade_value values[TRADE_FIELDS], row_fault *found)
{
	char	   *record = reader->rows.record;
	cJSON	   *object;
	bool		sound;

	memcpy(record, text, length);
	record[length] = '\0';
	if (strlen(record) < length)
	{
		rows_fault(found, "22021", "byte 0x00: this is no text");
		return ROW_REJECTED;
	}
	object = cJSON_ParseWithLength(record, length);
	sound = cJSON_IsObject(object);
	if (object == NULL)
		rows_fault(found, "TK006", "not JSON: \"%.80s\"", record);
	else if (!sound)
		rows_fault(found, "TK006", "not an object");
	cJSON_Delete(object);
	if (!sound)
		return ROW_REJECTED;
	read_members(values, record);
	return ROW_READ;
}

/* The next trade of a JSON file; why a row is rejected is in *found. */
row_status
trade_json_next(trade_reader *reader, trade_value values[TRADE_FIELDS], row_fault *found,
				row_problem *problem)
{
	const input_file *input = &reader->rows.input;
	size_t		length;
	row_status	status;

	for (;;)
	{
		if (!reader->in_array)
		{
			status = find_array(reader, problem);
			if (status != ROW_READ)
				return status;
		}
		status = json_element(&reader->rows, &length, problem);
		if (status == ROW_READ)
			return read_trade(reader, input->buffer + input->start - length, length, values, found);
		if (status == ROW_BROKEN)
			return status;
		reader->in_array = false;
	}
}
