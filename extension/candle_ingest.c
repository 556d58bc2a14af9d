/*
 * candle_ingest.c
 *		Bars out of raw messages of exchanges, as they came.
 *
 * A message is recognised by its shape:
 *
 *	Binance websocket	{"e": "kline", "s": ..., "k": {"t": ms, "i": "1m", "o": "...", "x": closed}},
 *						also inside the envelope of a combined stream, {"stream": ..., "data": ...}
 *	Bybit websocket		{"topic": "kline.5.BTCUSDT", "data": [{"start": ms, "confirm": closed, ...}]}
 *	Bybit REST			{"result": {"symbol": ..., "list": [["ms", "o", "h", "l", "c", "v", "t"]]}}
 *	Binance REST		[[ms, "o", "h", "l", "c", "v", closing ms, ...12 in all]]
 *	ccxt				[[ms, o, h, l, c, v]]
 *
 * (Binance and Bybit API documentation, kline endpoints and streams; the ccxt manual,
 * OHLCV structure.)  A websocket message says whether a bar is closed.  A page of rows does
 * not: there a bar is closed once its period was over when the page was made, which
 * Bybit's page says and for others the caller or the clock.  Binance's closing time is the
 * last millisecond of the candle.
 */
#include "candle.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "input.h"

PG_FUNCTION_INFO_V1(tradekeep_ingest_kline);
PG_FUNCTION_INFO_V1(tradekeep_ingest_klines);

/* Epochs from here on are microseconds, as Binance sends them when asked to. */
#define FIRST_MICROSECONDS 1e14

/* The bars of a call, and what the caller said of them. */
typedef struct Ingest
{
	text	   *symbol;			/* null: as the message has it */
	Timeframe	timeframe;		/* 0: likewise */
	TimestampTz at;				/* when pages were made; DT_NOBEGIN: they say it, or now */
	Candle	   *candles;
	int			ncandles;
	int			room;
} Ingest;

/* The places of the numbers in a bar, and their names for messages. */
enum
{
	NUMBER_TIME, NUMBER_OPEN, NUMBER_HIGH, NUMBER_LOW, NUMBER_CLOSE, NUMBER_VOLUME, NUMBERS
};

static const char *const number_names[NUMBERS] =
{"time", "open", "high", "low", "close", "volume"};

static void
refuse_shape(int row, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_TRADEKEEP_BATCH),
			 errmsg("row %d: %s", row, what),
			 errhint("Messages are klines of Binance (websocket, also of combined streams, or REST rows),"
					 " of Bybit v5 (websocket or REST page), or ccxt's [[ms, open, high, low,"
					 " close, volume], ...].")));
}

static JsonbValue *
find_field(JsonbContainer *object, const char *name)
{
	return getKeyJsonValueFromContainer(object, name, strlen(name), NULL);
}

static JsonbContainer *
find_container(JsonbContainer *object, const char *name, bool array)
{
	JsonbValue *value = find_field(object, name);

	if (value == NULL || value->type != jbvBinary ||
		(array ? !JsonContainerIsArray(value->val.binary.data) :
		 !JsonContainerIsObject(value->val.binary.data)))
		return NULL;
	return value->val.binary.data;
}

/* Null when there is no such field, or it is no string. */
static char *
find_string(JsonbContainer *object, const char *name)
{
	JsonbValue *value = find_field(object, name);

	if (value == NULL || value->type != jbvString)
		return NULL;
	return pnstrdup(value->val.string.val, value->val.string.len);
}

static int
next_row(const Ingest *ingest)
{
	return ingest->ncandles + 1;
}

static bool
find_flag(const Ingest *ingest, JsonbContainer *object, const char *name)
{
	JsonbValue *value = find_field(object, name);

	if (value == NULL || value->type != jbvBool)
		refuse_shape(next_row(ingest), psprintf("\"%s\" is not true or false", name));
	return value->val.boolean;
}

static TimestampTz
read_time(float8 epoch, int row)
{
	if (epoch >= FIRST_MICROSECONDS)
		return epoch_ms_to_time(epoch / 1000, "row", row);
	return epoch_ms_to_time(epoch, "row", row);
}

/* The end of a candle whose last millisecond, or microsecond, this is. */
static TimestampTz
read_end(float8 epoch, int row)
{
	return read_time(epoch >= FIRST_MICROSECONDS ? epoch + 1 : epoch, row) +
		(epoch >= FIRST_MICROSECONDS ? 0 : 1000);
}

/* Adds a bar whose numbers are these; the rest is for the caller to fill in. */
static Candle *
add_candle(Ingest *ingest, JsonbValue **values)
{
	float8		numbers[NUMBERS];
	Candle	   *candle;
	int			row = next_row(ingest);

	for (int i = 0; i < NUMBERS; i++)
	{
		if (values[i] == NULL)
			refuse_shape(row, psprintf("%s is missing", number_names[i]));
		numbers[i] = json_number(values[i], "row", row, number_names[i]);
	}
	if (ingest->ncandles == ingest->room)
	{
		ingest->room = Max(16, ingest->room * 2);
		ingest->candles = ingest->candles == NULL ? palloc(ingest->room * sizeof(Candle)) :
			repalloc(ingest->candles, ingest->room * sizeof(Candle));
	}
	candle = &ingest->candles[ingest->ncandles++];
	memset(candle, 0, sizeof(Candle));
	candle->symbol = ingest->symbol;
	candle->timeframe = ingest->timeframe;
	candle->ts = read_time(numbers[NUMBER_TIME], row);
	candle->open = numbers[NUMBER_OPEN];
	candle->high = numbers[NUMBER_HIGH];
	candle->low = numbers[NUMBER_LOW];
	candle->close = numbers[NUMBER_CLOSE];
	candle->volume = numbers[NUMBER_VOLUME];
	return candle;
}

/* What the message says, unless the caller said it. */
static void
set_symbol(Candle *candle, const char *symbol, int row)
{
	if (candle->symbol == NULL && symbol == NULL)
		refuse_shape(row, "the message has no symbol, and none was given");
	if (candle->symbol == NULL)
		candle->symbol = cstring_to_text(symbol);
}

/* The caller's timeframe must be the message's, if that has one. */
static void
set_timeframe(Candle *candle, const char *name, int row)
{
	Timeframe	timeframe;

	if (name == NULL && candle->timeframe == 0)
		refuse_shape(row, "the message has no timeframe, and none was given");
	if (name == NULL)
		return;
	if (!timeframe_by_name(name, &timeframe))
		refuse_shape(row, psprintf("unknown interval \"%s\"", name));
	if (candle->timeframe != 0 && candle->timeframe != timeframe)
		refuse_shape(row, psprintf("the interval is \"%s\", not %s", name,
								   timeframe_name(candle->timeframe)));
	candle->timeframe = timeframe;
}

/* Of a bar in a page. */
static bool
is_over(const Candle *candle, TimestampTz at)
{
	return time_fits(candle->ts) && candle_end(candle->timeframe, candle->ts) <= at;
}

static void
read_binance(Ingest *ingest, JsonbContainer *message, JsonbContainer *kline)
{
	JsonbValue *values[NUMBERS] = {find_field(kline, "t"), find_field(kline, "o"),
		find_field(kline, "h"), find_field(kline, "l"), find_field(kline, "c"),
	find_field(kline, "v")};
	int			row = next_row(ingest);
	bool		closed = find_flag(ingest, kline, "x");
	char	   *symbol = find_string(kline, "s");
	char	   *interval = find_string(kline, "i");
	Candle	   *candle;

	if (interval == NULL)
		refuse_shape(row, "interval is missing");
	candle = add_candle(ingest, values);
	/* Streams of continuous contracts name the pair outside. */
	set_symbol(candle, symbol != NULL ? symbol : find_string(message, "ps"), row);
	set_timeframe(candle, interval, row);
	candle->closed = closed;
}

/* Bybit counts minutes, up to a day. */
static const char *
bybit_interval(const char *interval)
{
	static const char *const names[][2] = {
		{"1", "1m"}, {"3", "3m"}, {"5", "5m"}, {"15", "15m"}, {"30", "30m"}, {"60", "1h"},
		{"120", "2h"}, {"240", "4h"}, {"360", "6h"}, {"720", "12h"}, {"D", "1d"}, {"W", "1w"},
		{"M", "1M"},
	};

	for (int i = 0; i < lengthof(names); i++)
		if (strcmp(names[i][0], interval) == 0)
			return names[i][1];
	return interval;
}

static void
read_bybit(Ingest *ingest, const char *topic, JsonbContainer *data)
{
	static const char *const names[NUMBERS] =
	{"start", "open", "high", "low", "close", "volume"};
	char	   *interval = pstrdup(topic + strlen("kline."));
	char	   *symbol = strchr(interval, '.');

	if (symbol == NULL)
		refuse_shape(next_row(ingest), psprintf("unknown topic \"%s\"", topic));
	*symbol++ = '\0';
	for (int i = 0; i < JsonContainerSize(data); i++)
	{
		JsonbValue *element = getIthJsonbValueFromContainer(data, i);
		JsonbContainer *bar = element->val.binary.data;
		int			row = next_row(ingest);
		JsonbValue *values[NUMBERS];
		Candle	   *candle;
		bool		closed;

		if (element->type != jbvBinary || !JsonContainerIsObject(bar))
			refuse_shape(row, "\"data\" is not an array of objects");
		for (int j = 0; j < NUMBERS; j++)
			values[j] = find_field(bar, names[j]);
		closed = find_flag(ingest, bar, "confirm");
		candle = add_candle(ingest, values);
		set_symbol(candle, symbol, row);
		set_timeframe(candle, bybit_interval(interval), row);
		candle->closed = closed;
	}
}

/* A row of a page: ccxt's has 6 elements, Bybit's 7, Binance's 12. */
static void
read_row(Ingest *ingest, JsonbContainer *array, const char *symbol, TimestampTz at)
{
	JsonbValue *values[NUMBERS];
	int			size = JsonContainerSize(array);
	int			row = next_row(ingest);
	Candle	   *candle;

	if (size != 6 && size != 7 && size != 12)
		refuse_shape(row, psprintf("%d elements", size));
	for (int i = 0; i < NUMBERS; i++)
		values[i] = getIthJsonbValueFromContainer(array, i);
	candle = add_candle(ingest, values);
	set_symbol(candle, symbol, row);
	if (size == 12)
	{
		Timeframe	timeframe = 0;
		TimestampTz end = read_end(json_number(getIthJsonbValueFromContainer(array, 6), "row", row,
											   "closing time"), row);

		if (!time_fits(candle->ts) ||
			!timeframe_of_candle(candle->ts, end, &timeframe))
			refuse_shape(row, "no timeframe has a candle from its opening to its closing time");
		set_timeframe(candle, timeframe_name(timeframe), row);
	}
	else
		set_timeframe(candle, NULL, row);
	candle->closed = is_over(candle, at);
}

static bool
is_array(const JsonbValue *value)
{
	return value->type == jbvBinary && JsonContainerIsArray(value->val.binary.data);
}

/* Rows, or a single one. */
static void
read_page(Ingest *ingest, JsonbContainer *page, const char *symbol, TimestampTz at)
{
	if (JsonContainerSize(page) > 0 && !is_array(getIthJsonbValueFromContainer(page, 0)))
	{
		read_row(ingest, page, symbol, at);
		return;
	}
	for (int i = 0; i < JsonContainerSize(page); i++)
	{
		JsonbValue *row = getIthJsonbValueFromContainer(page, i);

		if (!is_array(row))
			refuse_shape(next_row(ingest), "not an array");
		read_row(ingest, row->val.binary.data, symbol, at);
	}
}

static void
read_bybit_page(Ingest *ingest, JsonbContainer *message, JsonbContainer *result,
				JsonbContainer *list)
{
	JsonbValue *made = find_field(message, "time");
	TimestampTz at = ingest->at;

	if (at == DT_NOBEGIN && made != NULL)
		at = read_time(json_number(made, "row", next_row(ingest), "\"time\""), next_row(ingest));
	read_page(ingest, list, find_string(result, "symbol"), at != DT_NOBEGIN ? at : GetCurrentTimestamp());
}

static void
read_object(Ingest *ingest, JsonbContainer *message)
{
	JsonbContainer *inner;
	JsonbContainer *list;
	char	   *topic;

	if (find_field(message, "stream") != NULL &&
		(inner = find_container(message, "data", false)) != NULL)
		message = inner;
	topic = find_string(message, "topic");
	if ((inner = find_container(message, "k", false)) != NULL)
		read_binance(ingest, message, inner);
	else if (topic != NULL && strncmp(topic, "kline.", strlen("kline.")) == 0 &&
			 (inner = find_container(message, "data", true)) != NULL)
		read_bybit(ingest, topic, inner);
	else if ((inner = find_container(message, "result", false)) != NULL &&
			 (list = find_container(inner, "list", true)) != NULL)
		read_bybit_page(ingest, message, inner, list);
	else
		refuse_shape(next_row(ingest), "not a kline message");
}

static void
read_message(Ingest *ingest, Jsonb *message)
{
	if (JB_ROOT_IS_SCALAR(message))
		refuse_shape(next_row(ingest), "neither an object nor an array");
	if (JB_ROOT_IS_ARRAY(message))
		read_page(ingest, &message->root, NULL,
				  ingest->at != DT_NOBEGIN ? ingest->at : GetCurrentTimestamp());
	else
		read_object(ingest, &message->root);
}

static void
common_arguments(FunctionCallInfo fcinfo, Ingest *ingest, const char *what)
{
	require_writable("tradekeep.ingest_kline");
	memset(ingest, 0, sizeof(Ingest));
	ingest->at = DT_NOBEGIN;
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_BATCH),
				 errmsg("%s must not be null", what)));
	if (!PG_ARGISNULL(1))
		ingest->symbol = key_argument(fcinfo, 1, "symbol");
	if (!PG_ARGISNULL(2))
		ingest->timeframe = PG_GETARG_TIMEFRAME(2);
	if (!PG_ARGISNULL(3))
		ingest->at = at_argument(fcinfo, 3);
}

Datum
tradekeep_ingest_kline(PG_FUNCTION_ARGS)
{
	Ingest		ingest;

	common_arguments(fcinfo, &ingest, "message");
	read_message(&ingest, PG_GETARG_JSONB_P(0));
	return store_batch(fcinfo, ingest.candles, ingest.ncandles);
}

Datum
tradekeep_ingest_klines(PG_FUNCTION_ARGS)
{
	Ingest		ingest;
	Datum	   *messages;
	bool	   *nulls;
	int			nmessages;

	common_arguments(fcinfo, &ingest, "messages");
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), JSONBOID, -1, false, TYPALIGN_INT, &messages, &nulls,
					  &nmessages);
	for (int i = 0; i < nmessages; i++)
	{
		if (nulls[i])
			refuse_shape(next_row(&ingest), "the message is null");
		read_message(&ingest, DatumGetJsonbP(messages[i]));
	}
	return store_batch(fcinfo, ingest.candles, ingest.ncandles);
}
