/*
 * candle.c
 *		Candles on their way into the database, as columns: one round trip however
 *		many there are.
 *
 * Prices are not looked at here.  What a candle may be is the server's rule, and
 * it refuses the whole call.
 */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

enum
{
	TS, OPEN, HIGH, LOW, CLOSE, VOLUME, CLOSED, COLUMNS
};

#define COLUMN_TYPES OID_TIMESTAMPTZ_ARRAY, OID_FLOAT8_ARRAY, OID_FLOAT8_ARRAY, \
	OID_FLOAT8_ARRAY, OID_FLOAT8_ARRAY, OID_FLOAT8_ARRAY, OID_BOOL_ARRAY

/* $1 symbol, $2 timeframe, $3 how many, then the columns. */
const tki_statement tki_upsert_candles_statement = {
	.id = TKI_UPSERT_CANDLES,.access = TKI_WRITE,
	.name = "tradekeep_" TRADEKEEP_VERSION "_upsert_candles",
	.sql = "SELECT inserted, updated, unchanged, ignored FROM tradekeep.upsert_candles("
	"pg_catalog.array_fill($1, ARRAY[$3]),"
	" pg_catalog.array_fill($2::tradekeep.timeframe, ARRAY[$3]),"
	" $4, $5, $6, $7, $8, $9, $10)",
	.count = 3 + COLUMNS,
	.types = {OID_TEXT, OID_INFERRED, OID_INT4, COLUMN_TYPES}
};

/* The same with $1 a column too. */
const tki_statement tki_upsert_symbols_statement = {
	.id = TKI_UPSERT_SYMBOLS,.access = TKI_WRITE,
	.name = "tradekeep_" TRADEKEEP_VERSION "_upsert_symbols",
	.sql = "SELECT inserted, updated, unchanged, ignored FROM tradekeep.upsert_candles("
	"$1, pg_catalog.array_fill($2::tradekeep.timeframe, ARRAY[$3]),"
	" $4, $5, $6, $7, $8, $9, $10)",
	.count = 3 + COLUMNS,
	.types = {OID_TEXT_ARRAY, OID_INFERRED, OID_INT4, COLUMN_TYPES}
};

/* $1 messages, $2 symbol, $3 timeframe, $4 what is over at that time is final; null: now. */
const tki_statement tki_ingest_klines_statement = {
	.id = TKI_INGEST_KLINES,.access = TKI_WRITE,
	.name = "tradekeep_" TRADEKEEP_VERSION "_ingest_klines",
	.sql = "SELECT inserted, updated, unchanged, ignored FROM tradekeep.ingest_klines("
	"$1, $2, $3::tradekeep.timeframe, $4)",
	.count = 4,
	.types = {OID_JSONB_ARRAY, OID_TEXT, OID_INFERRED, OID_TIMESTAMPTZ}
};

static void
free_columns(tki_array columns[COLUMNS])
{
	for (int column = 0; column < COLUMNS; column++)
		free(columns[column].data);
}

/* Turns rows into columns; free_columns() frees them, also after a failure. */
static bool
fill_columns(tki_array columns[COLUMNS], const tk_candle *candles, size_t count)
{
	static const Oid types[COLUMNS] = {OID_TIMESTAMPTZ, OID_FLOAT8, OID_FLOAT8, OID_FLOAT8,
	OID_FLOAT8, OID_FLOAT8, OID_BOOL};

	memset(columns, 0, COLUMNS * sizeof(columns[0]));
	for (int column = 0; column < COLUMNS; column++)
	{
		if (!tki_array_start(&columns[column], types[column], count,
							 count * (column == CLOSED ? 1 : 8)))
			return false;
	}
	for (size_t i = 0; i < count; i++)
	{
		const tk_candle *candle = &candles[i];
		char		closed = candle->closed != 0;

		tki_array_add_timestamp(&columns[TS], candle->ts);
		tki_array_add_float8(&columns[OPEN], candle->open);
		tki_array_add_float8(&columns[HIGH], candle->high);
		tki_array_add_float8(&columns[LOW], candle->low);
		tki_array_add_float8(&columns[CLOSE], candle->close);
		tki_array_add_float8(&columns[VOLUME], candle->volume);
		tki_array_add(&columns[CLOSED], &closed, 1);
	}
	return true;
}

static int
read_counts(tk_client *client, PGresult *result, tk_upsert_counts *counts)
{
	tk_upsert_counts answer;

	if (result == NULL)
		return tk_spooled(client) ? 0 : -1;
	if (!tki_answer_int64(result, 0, &answer.inserted) ||
		!tki_answer_int64(result, 1, &answer.updated) ||
		!tki_answer_int64(result, 2, &answer.unchanged) ||
		!tki_answer_int64(result, 3, &answer.ignored))
	{
		tki_unexpected(client, result);
		return -1;
	}
	PQclear(result);
	if (counts != NULL)
		*counts = answer;
	return 0;
}

/* Runs a statement whose first parameter, the symbols, is set. */
static int
upsert(tk_client *client, const tki_statement *statement, tki_parameters *parameters,
	   const char *timeframe, const tk_candle *candles, size_t count, tk_upsert_counts *counts)
{
	tki_array	columns[COLUMNS];
	PGresult   *result;

	if (!fill_columns(columns, candles, count))
	{
		free_columns(columns);
		tki_fail(client, TK_ERROR_MEMORY, "", "out of memory");
		return -1;
	}
	tki_put_text(parameters, timeframe);
	tki_put_int4(parameters, (int32_t) count);
	for (int column = 0; column < COLUMNS; column++)
		tki_put_array(parameters, &columns[column]);
	result = tki_write(client, statement, parameters);
	free_columns(columns);
	return read_counts(client, result, counts);
}

static bool
check_candles(tk_client *client, const char *timeframe, const tk_candle *candles, size_t count)
{
	if (!tki_check_name(client, timeframe, "timeframe") ||
		!tki_check_count(client, count, "candles"))
		return false;
	for (size_t i = 0; i < count; i++)
	{
		if (!tki_check_time(client, candles[i].ts, "start of a candle"))
			return false;
	}
	return true;
}

int
tk_upsert_candles(tk_client *client, const char *symbol, const char *timeframe,
				  const tk_candle *candles, size_t count, tk_upsert_counts *counts)
{
	tki_parameters parameters = {.count = 0};

	if (!tki_enter(client) || !tki_check_key(client, symbol, "symbol") ||
		!check_candles(client, timeframe, candles, count))
		return -1;
	if (counts != NULL)
		memset(counts, 0, sizeof(*counts));
	if (count == 0)
		return 0;
	tki_put_text(&parameters, symbol);
	return upsert(client, &tki_upsert_candles_statement, &parameters, timeframe, candles, count,
				  counts);
}

int
tk_upsert_symbols(tk_client *client, const char *const *symbols, const char *timeframe,
				  const tk_candle *candles, size_t count, tk_upsert_counts *counts)
{
	tki_parameters parameters = {.count = 0};
	tki_array	array;
	size_t		bytes = 0;
	int			status;

	if (!tki_enter(client) || !check_candles(client, timeframe, candles, count))
		return -1;
	for (size_t i = 0; i < count; i++)
	{
		if (!tki_check_key(client, symbols[i], "symbol"))
			return -1;
		bytes += strlen(symbols[i]);
	}
	if (counts != NULL)
		memset(counts, 0, sizeof(*counts));
	if (count == 0)
		return 0;
	if (!tki_array_start(&array, OID_TEXT, count, bytes))
	{
		tki_fail(client, TK_ERROR_MEMORY, "", "out of memory");
		return -1;
	}
	for (size_t i = 0; i < count; i++)
		tki_array_add(&array, symbols[i], strlen(symbols[i]));
	tki_put_array(&parameters, &array);
	status = upsert(client, &tki_upsert_symbols_statement, &parameters, timeframe, candles, count,
					counts);
	free(array.data);
	return status;
}

static bool
check_messages(tk_client *client, const char *const *messages, size_t count, size_t *bytes)
{
	if (!tki_check_count(client, count, "messages"))
		return false;
	*bytes = 0;
	for (size_t i = 0; i < count; i++)
	{
		if (messages[i] == NULL)
		{
			tki_fail(client, TK_ERROR_ARGUMENT, SQLSTATE_BATCH, "message %zu is null", i);
			return false;
		}
		*bytes += 1 + strlen(messages[i]);
		if (*bytes > MAX_MESSAGE_BYTES)
		{
			tki_fail(client, TK_ERROR_ARGUMENT, SQLSTATE_BATCH,
					 "the messages are longer than %d bytes together", MAX_MESSAGE_BYTES);
			tki_hint(client, "Send them in several calls.");
			return false;
		}
	}
	return true;
}

int
tk_ingest_klines(tk_client *client, const char *const *messages, size_t count,
				 const char *symbol, const char *timeframe, tk_upsert_counts *counts)
{
	tki_parameters parameters = {.count = 0};
	tki_array	array;
	size_t		bytes;
	PGresult   *result;

	if (!tki_enter(client) || !check_messages(client, messages, count, &bytes) ||
		(symbol != NULL && !tki_check_key(client, symbol, "symbol")) ||
		(timeframe != NULL && !tki_check_name(client, timeframe, "timeframe")))
		return -1;
	if (counts != NULL)
		memset(counts, 0, sizeof(*counts));
	if (count == 0)
		return 0;
	if (!tki_array_start(&array, OID_JSONB, count, bytes))
	{
		tki_fail(client, TK_ERROR_MEMORY, "", "out of memory");
		return -1;
	}
	for (size_t i = 0; i < count; i++)
		tki_array_add_json(&array, messages[i], strlen(messages[i]));
	tki_put_array(&parameters, &array);
	tki_put_text(&parameters, symbol);
	tki_put_text(&parameters, timeframe);
	tki_put_null(&parameters);
	result = tki_write(client, &tki_ingest_klines_statement, &parameters);
	free(array.data);
	return read_counts(client, result, counts);
}
