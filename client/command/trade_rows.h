/*
 * trade_rows.h
 *		Trades read one by one from a JSON or CSV file of any length.
 */
#ifndef TRADEKEEP_TRADE_ROWS_H
#define TRADEKEEP_TRADE_ROWS_H

#include "rows.h"

/* What a file may say of a trade; what some exporters call otherwise has an alias. */
typedef enum trade_field
{
	TRADE_BOT, TRADE_ID, TRADE_STRATEGY, TRADE_SYMBOL, TRADE_SIDE, TRADE_IS_SHORT,
	TRADE_QUANTITY, TRADE_AMOUNT, TRADE_ENTRY_PRICE, TRADE_EXIT_PRICE, TRADE_LEVERAGE, TRADE_FEE,
	TRADE_FEE_OPEN, TRADE_FEE_CLOSE, TRADE_OPENED_AT, TRADE_CLOSED_AT, TRADE_IS_OPEN, TRADE_PNL,
	TRADE_PNL_RATIO, TRADE_EXIT_REASON, TRADE_ENTER_TAG, TRADE_DATA, TRADE_FIELDS
} trade_field;

typedef enum value_kind
{
	VALUE_NONE,					/* the file does not say, or says null */
	VALUE_TEXT,					/* as it is */
	VALUE_STRING,				/* what stands between the quotes of a JSON string */
	VALUE_BARE,					/* a number of JSON, or true or false */
	VALUE_NESTED				/* an object or an array of JSON */
} value_kind;

typedef struct trade_value
{
	value_kind	kind;
	int			name;			/* which of the names it goes by, the best is the lowest */
	const char *text;
	size_t		length;
} trade_value;

/* Text that grows. */
typedef struct text_buffer
{
	char	   *data;			/* always ends in a zero byte, once there is any */
	size_t		size;
	size_t		room;
	bool		failed;			/* there was no memory */
} text_buffer;

extern void text_put(text_buffer *buffer, const char *data, size_t length);
extern void text_puts(text_buffer *buffer, const char *text);
extern void text_put_escaped(text_buffer *buffer, const char *text, size_t length);

typedef struct trade_reader
{
	row_reader	rows;
	const char *bot;			/* of trades that do not tell theirs, or null */
	const char *strategy;		/* the same */
	enum
	{
		AT_START, IN_ROOT, IN_STRATEGIES, IN_STRATEGY, AT_END
	}			level;			/* of the JSON object around the array of trades */
	bool		in_array;
	bool		after_member;
	bool		found;			/* an array of trades */
	char		key[MAX_SYMBOL * 6 + 1];	/* name of the last member, as between its quotes */
	char		file_strategy[MAX_SYMBOL * 6 + 1];	/* the same of the strategy, or "" */
} trade_reader;

extern bool trades_open(trade_reader *reader, const char *path, row_problem *problem);
extern row_status trades_next(trade_reader *reader, text_buffer *target, row_problem *problem);
extern void trades_close(trade_reader *reader);

/* Between the files of the reader. */
extern row_status trade_json_next(trade_reader *reader, trade_value values[TRADE_FIELDS],
								  row_fault *found, row_problem *problem);
extern int	trade_name(const char *name, trade_field *field);
extern const record_name trade_names[];
extern const size_t trade_name_count;

#endif							/* TRADEKEEP_TRADE_ROWS_H */
