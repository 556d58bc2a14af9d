/*
 * trade_rows.c
 *		Trades read one by one from a file, and written as JSON objects with the
 *		columns of the ledger, for the statement that stores them.
 *
 * Numbers stay text all the way, so that nothing is rounded.  Times are read here,
 * as those of candles are, and written in UTC.
 */
#include "trade_rows.h"

#include <cjson/cJSON.h>
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <strings.h>

/* The years of the ledger: 1900 up to 2200, in ms. */
#define FIRST_MS (-2208988800000.0)
#define END_MS 7258118400000.0

/* Names, the better one first where several name the same. */
const record_name trade_names[] = {
	{"bot", TRADE_BOT}, {"trade_id", TRADE_ID}, {"id", TRADE_ID}, {"strategy", TRADE_STRATEGY},
	{"symbol", TRADE_SYMBOL}, {"pair", TRADE_SYMBOL}, {"side", TRADE_SIDE},
	{"direction", TRADE_SIDE}, {"is_short", TRADE_IS_SHORT}, {"quantity", TRADE_QUANTITY},
	{"amount", TRADE_AMOUNT}, {"entry_price", TRADE_ENTRY_PRICE},
	{"open_price", TRADE_ENTRY_PRICE}, {"open_rate", TRADE_ENTRY_PRICE},
	{"exit_price", TRADE_EXIT_PRICE}, {"close_price", TRADE_EXIT_PRICE},
	{"close_rate", TRADE_EXIT_PRICE}, {"leverage", TRADE_LEVERAGE}, {"fee", TRADE_FEE},
	{"fees", TRADE_FEE}, {"fee_open", TRADE_FEE_OPEN}, {"fee_close", TRADE_FEE_CLOSE},
	{"opened_at", TRADE_OPENED_AT}, {"open_time", TRADE_OPENED_AT},
	{"entry_time", TRADE_OPENED_AT}, {"open_date", TRADE_OPENED_AT},
	{"open_timestamp", TRADE_OPENED_AT}, {"closed_at", TRADE_CLOSED_AT},
	{"close_time", TRADE_CLOSED_AT}, {"exit_time", TRADE_CLOSED_AT},
	{"close_date", TRADE_CLOSED_AT}, {"close_timestamp", TRADE_CLOSED_AT},
	{"is_open", TRADE_IS_OPEN}, {"pnl", TRADE_PNL}, {"profit_abs", TRADE_PNL},
	{"close_profit_abs", TRADE_PNL}, {"pnl_ratio", TRADE_PNL_RATIO},
	{"profit_ratio", TRADE_PNL_RATIO}, {"close_profit", TRADE_PNL_RATIO},
	{"exit_reason", TRADE_EXIT_REASON}, {"sell_reason", TRADE_EXIT_REASON},
	{"enter_tag", TRADE_ENTER_TAG}, {"buy_tag", TRADE_ENTER_TAG}, {"data", TRADE_DATA},
};
const size_t trade_name_count = sizeof(trade_names) / sizeof(trade_names[0]);

/* Which of the names this is, and what it names; -1: none. */
int
trade_name(const char *name, trade_field *field)
{
	for (size_t i = 0; i < trade_name_count; i++)
	{
		if (tolower((unsigned char) name[0]) == trade_names[i].name[0] &&
			record_is_named(name, trade_names[i].name))
		{
			*field = (trade_field) trade_names[i].column;
			return (int) i;
		}
	}
	return -1;
}

void
text_put(text_buffer *buffer, const char *data, size_t length)
{
	if (buffer->size + length >= buffer->room && !buffer->failed)
	{
		size_t		room = 2 * (buffer->size + length) + 1024;
		char	   *grown = realloc(buffer->data, room);

		buffer->failed = grown == NULL;
		if (grown != NULL)
		{
			buffer->data = grown;
			buffer->room = room;
		}
	}
	if (buffer->failed || length == 0)
		return;
	memcpy(buffer->data + buffer->size, data, length);
	buffer->size += length;
	buffer->data[buffer->size] = '\0';
}

void
text_puts(text_buffer *buffer, const char *text)
{
	text_put(buffer, text, strlen(text));
}

/* Text as it goes between the quotes of a JSON string. */
void
text_put_escaped(text_buffer *buffer, const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++)
	{
		unsigned char c = (unsigned char) text[i];
		char		escape[8];

		if (c < ' ')
			text_put(buffer, escape, (size_t) snprintf(escape, sizeof(escape), "\\u%04x", c));
		else
		{
			if (c == '"' || c == '\\')
				text_put(buffer, "\\", 1);
			text_put(buffer, text + i, 1);
		}
	}
}

static void
put_inner(text_buffer *target, const trade_value *value)
{
	if (value->kind == VALUE_TEXT)
		text_put_escaped(target, value->text, value->length);
	else
		text_put(target, value->text, value->length);
}

static void
put_key(text_buffer *target, const char *key)
{
	if (target->failed)
		return;
	text_puts(target, target->data[target->size - 1] == '{' ? "\"" : ",\"");
	text_puts(target, key);
	text_puts(target, "\":");
}

static void
put_member(text_buffer *target, const char *key, const trade_value *value)
{
	bool		quoted = value->kind == VALUE_TEXT || value->kind == VALUE_STRING;

	if (value->kind == VALUE_NONE)
		return;
	put_key(target, key);
	text_puts(target, quoted ? "\"" : "");
	put_inner(target, value);
	text_puts(target, quoted ? "\"" : "");
}

static trade_value
plain_text(const char *text)
{
	return (trade_value)
	{
		text != NULL && text[0] != '\0' ? VALUE_TEXT : VALUE_NONE, 0, text,
			text != NULL ? strlen(text) : 0
	};
}

/* A short value as a string of C; "" stands for what is longer too. */
static void
copy_value(const trade_value *value, char text[64])
{
	text[0] = '\0';
	if (value->kind == VALUE_NONE || value->kind == VALUE_NESTED || value->length >= 64)
		return;
	memcpy(text, value->text, value->length);
	text[value->length] = '\0';
}

/* Turns a time into one in UTC, in 27 characters; "": it is not known. */
static bool
read_time(const trade_value *value, const char *what, char utc[32], row_fault *found)
{
	char		text[64];
	double		ms;
	int64_t		us;
	time_t		seconds;
	struct tm	tm;

	utc[0] = '\0';
	if (value->kind == VALUE_NONE)
		return true;
	copy_value(value, text);
	if (!rows_moment(text, &ms))
		return rows_fault(found, "TK004", "%s is not a time: \"%.*s\"", what,
						  (int) (value->length < 40 ? value->length : 40), value->text);
	if (!(ms >= FIRST_MS && ms < END_MS))
		return rows_fault(found, "TK004", "%s is not from 1900 to 2200: %s", what, text);
	us = llround(ms * 1000);
	seconds = (time_t) (us / 1000000 - (us % 1000000 < 0));
	gmtime_r(&seconds, &tm);
	strftime(utc, 32, "%Y-%m-%dT%H:%M:%S", &tm);
	us -= (int64_t) seconds * 1000000;
	if (us == 0)
		strcat(utc, "Z");
	else
		snprintf(utc + strlen(utc), 12, ".%06dZ", (int) us);
	return true;
}

static bool
read_truth(const trade_value *value, const char *what, bool *truth, row_fault *found)
{
	char		text[64];

	copy_value(value, text);
	if (value->kind == VALUE_NONE || rows_truth(text, truth))
		return true;
	return rows_fault(found, "TK006", "%s is true or false, not \"%.40s\"", what, text);
}

/* Who buys first is long; an old freqtrade, which does not say, only knows that. */
static bool
read_side(trade_value values[TRADE_FIELDS], row_fault *found)
{
	static const char *const words[][2] = {{"buy", "LONG"}, {"sell", "SHORT"},
	{"long", "LONG"}, {"short", "SHORT"}};
	trade_value *side = &values[TRADE_SIDE];
	const trade_value *entry = &values[TRADE_ENTRY_PRICE];
	bool		is_short = false;
	char		text[64];

	if (!read_truth(&values[TRADE_IS_SHORT], "is_short", &is_short, found))
		return false;
	copy_value(side, text);
	for (int i = 0; i < 4; i++)
	{
		if (strcasecmp(text, words[i][0]) == 0)
			*side = plain_text(words[i][1]);
	}
	if (side->kind == VALUE_NONE && (values[TRADE_IS_SHORT].kind != VALUE_NONE ||
									 (entry->kind != VALUE_NONE &&
									  strcmp(trade_names[entry->name].name, "open_rate") == 0)))
		*side = plain_text(is_short ? "SHORT" : "LONG");
	return true;
}

/* Only data may be nested; in CSV it is JSON in a field. */
static bool
check_kinds(trade_value values[TRADE_FIELDS], row_fault *found)
{
	trade_value *data = &values[TRADE_DATA];

	for (int field = 0; field < TRADE_FIELDS; field++)
	{
		if (values[field].kind == VALUE_NESTED && field != TRADE_DATA)
			return rows_fault(found, "TK006", "%s is neither text nor a number",
							  trade_names[values[field].name].name);
	}
	if (data->kind == VALUE_TEXT)
	{
		cJSON	   *json = cJSON_ParseWithOpts(data->text, NULL, 1);

		if (json == NULL)
			return rows_fault(found, "TK006", "data is not JSON: \"%.40s\"", data->text);
		cJSON_Delete(json);
		data->kind = VALUE_NESTED;
	}
	return true;
}

/* Where a trade has no id, what it is of, when it was opened and its side make one. */
static void
put_id(text_buffer *target, const trade_value values[TRADE_FIELDS], const char *opened_at)
{
	const trade_value *id = &values[TRADE_ID];

	if (id->kind != VALUE_NONE || opened_at[0] == '\0' || values[TRADE_SYMBOL].kind == VALUE_NONE)
	{
		put_member(target, "trade_id", id);
		return;
	}
	put_key(target, "trade_id");
	text_puts(target, "\"");
	if (values[TRADE_STRATEGY].kind != VALUE_NONE)
	{
		put_inner(target, &values[TRADE_STRATEGY]);
		text_puts(target, ":");
	}
	put_inner(target, &values[TRADE_SYMBOL]);
	text_puts(target, ":");
	text_puts(target, opened_at);
	text_puts(target, ":");
	put_inner(target, &values[TRADE_SIDE]);
	text_puts(target, "\"");
}

/* What an open trade would earn now is not what it earned. */
static void
put_closing(text_buffer *target, const trade_value values[TRADE_FIELDS], const char *closed_at)
{
	const trade_value closed = plain_text(closed_at);

	put_member(target, "closed_at", &closed);
	put_member(target, "exit_price", &values[TRADE_EXIT_PRICE]);
	put_member(target, "fee_close", &values[TRADE_FEE_CLOSE]);
	put_member(target, "pnl", &values[TRADE_PNL]);
	put_member(target, "pnl_ratio", &values[TRADE_PNL_RATIO]);
	put_member(target, "exit_reason", &values[TRADE_EXIT_REASON]);
}

static void
put_data(text_buffer *target, const trade_value values[TRADE_FIELDS])
{
	put_member(target, "data", &values[TRADE_DATA]);
	if (values[TRADE_DATA].kind != VALUE_NONE || values[TRADE_ENTER_TAG].kind == VALUE_NONE)
		return;
	put_key(target, "data");
	text_puts(target, "{");
	put_member(target, "enter_tag", &values[TRADE_ENTER_TAG]);
	text_puts(target, "}");
}

/* Writes a trade as an object behind what is in *target; nothing when it is none. */
static bool
put_trade(const trade_reader *reader, trade_value values[TRADE_FIELDS], text_buffer *target,
		  row_fault *found)
{
	const trade_value file_strategy = {VALUE_STRING, 0, reader->file_strategy,
	strlen(reader->file_strategy)};
	bool		is_open = false;
	char		opened_at[32];
	char		closed_at[32];
	trade_value opened;

	if (!check_kinds(values, found) || !read_side(values, found) ||
		!read_truth(&values[TRADE_IS_OPEN], "is_open", &is_open, found) ||
		!read_time(&values[TRADE_OPENED_AT], "opened_at", opened_at, found) ||
		!read_time(&values[TRADE_CLOSED_AT], "closed_at", closed_at, found))
		return false;
	if (values[TRADE_BOT].kind == VALUE_NONE)
		values[TRADE_BOT] = plain_text(reader->bot);
	if (values[TRADE_STRATEGY].kind == VALUE_NONE)
		values[TRADE_STRATEGY] = file_strategy.length > 0 ? file_strategy :
			plain_text(reader->strategy);
	opened = plain_text(opened_at);

	text_puts(target, "{");
	put_id(target, values, opened_at);
	put_member(target, "bot", &values[TRADE_BOT]);
	put_member(target, "strategy", &values[TRADE_STRATEGY]);
	put_member(target, "symbol", &values[TRADE_SYMBOL]);
	put_member(target, "side", &values[TRADE_SIDE]);
	put_member(target, "quantity", &values[TRADE_QUANTITY]);
	put_member(target, "amount", &values[TRADE_AMOUNT]);
	put_member(target, "entry_price", &values[TRADE_ENTRY_PRICE]);
	put_member(target, "leverage", &values[TRADE_LEVERAGE]);
	put_member(target, "fee", &values[TRADE_FEE]);
	put_member(target, "fee_open", &values[TRADE_FEE_OPEN]);
	put_member(target, "opened_at", &opened);
	if (!is_open)
		put_closing(target, values, closed_at);
	put_data(target, values);
	text_puts(target, "}");
	return true;
}

/* Reads the header of a CSV file. */
static bool
open_csv(row_reader *rows, row_problem *problem)
{
	row_fault	found = {.sqlstate = ""};
	char	   *fields[CSV_FIELDS];
	size_t		length;
	bool		mapped = false;
	row_status	status = record_find(rows, fields, &rows->fields, &length, &found);

	if (status == ROW_BROKEN)
		rows_fault(&found, "", "%s", rows->input.failure);
	else if (status == ROW_END)
		rows_fault(&found, "TK006", "the file is empty");
	else if (status == ROW_READ)
	{
		mapped = record_map(rows, fields, trade_names, trade_name_count, &found);
		if (mapped && rows->columns[TRADE_SYMBOL] < 0)
			mapped = rows_fault(&found, "TK006", "neither JSON nor CSV with a header:"
								" no column is named \"symbol\"");
		record_skip(&rows->input, length);
	}
	if (!mapped)
		rows_problem(problem, -1, rows->row_line, found.sqlstate, "%s", found.reason);
	return mapped;
}

/* Files that were put together may have a header each. */
static bool
is_header(const row_reader *rows, char **fields, int count)
{
	trade_field field;

	for (int column = 0; column < TRADE_FIELDS; column++)
	{
		if (rows->columns[column] >= 0 &&
			(count != rows->fields || trade_name(fields[rows->columns[column]], &field) < 0 ||
			 (int) field != column))
			return false;
	}
	return true;
}

static row_status
next_csv(row_reader *rows, trade_value values[TRADE_FIELDS], row_fault *found, size_t *length)
{
	char	   *fields[CSV_FIELDS];
	int			count;
	row_status	status;

	while ((status = record_find(rows, fields, &count, length, found)) == ROW_READ &&
		   is_header(rows, fields, count))
		record_skip(&rows->input, *length);
	if (status != ROW_READ)
		return status;
	if (count != rows->fields)
	{
		rows_fault(found, "TK006", "%d fields, not %d", count, rows->fields);
		return ROW_REJECTED;
	}
	for (int column = 0; column < TRADE_FIELDS; column++)
		values[column] = plain_text(record_field(rows, fields, column));
	return ROW_READ;
}

bool
trades_open(trade_reader *reader, const char *path, row_problem *problem)
{
	row_reader *rows = &reader->rows;
	bool		good = true;

	if (!rows_start(rows, path, problem))
		return false;
	reader->level = AT_START;
	reader->in_array = reader->after_member = reader->found = false;
	reader->file_strategy[0] = '\0';
	if (rows->csv)
		good = open_csv(rows, problem);
	else if (!input_ends_with(&rows->input, ']') && !input_ends_with(&rows->input, '}'))
		good = false;
	if (!good && !rows->csv)
		rows_problem(problem, -1, 0, "TK006", "the file does not end with a bracket or a brace:"
					 " it is truncated");
	if (!good)
		rows_close(rows);
	return good;
}

/*
 * Reads the next trade, and writes it behind what is in *target; or says in
 * *problem why there is none.
 */
row_status
trades_next(trade_reader *reader, text_buffer *target, row_problem *problem)
{
	row_reader *rows = &reader->rows;
	trade_value values[TRADE_FIELDS] = {{0}};
	row_fault	found = {.sqlstate = ""};
	size_t		length = 0;
	row_status	status;

	status = rows->csv ? next_csv(rows, values, &found, &length) :
		trade_json_next(reader, values, &found, problem);
	if (status == ROW_READ && !put_trade(reader, values, target, &found))
		status = ROW_REJECTED;
	if (rows->csv && status == ROW_READ)
		record_skip(&rows->input, length);
	else if (rows->csv && status == ROW_REJECTED)
		record_skip_line(&rows->input);
	if (status == ROW_REJECTED)
		rows_problem(problem, rows->csv ? -1 : rows->row, rows->row_line, found.sqlstate, "%s",
					 found.reason);
	else if (status == ROW_BROKEN && rows->csv)
		rows_problem(problem, -1, rows->row_line, "", "%s", rows->input.failure);
	return status;
}

void
trades_close(trade_reader *reader)
{
	rows_close(&reader->rows);
}
