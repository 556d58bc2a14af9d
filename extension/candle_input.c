/*
 * candle_input.c
 *		The functions that take bars: one at a time, as JSON, as columns.
 */
#include "candle.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "input.h"
#include "statement.h"

PG_FUNCTION_INFO_V1(tradekeep_upsert_candle);
PG_FUNCTION_INFO_V1(tradekeep_upsert_candles_json);
PG_FUNCTION_INFO_V1(tradekeep_upsert_candles_arrays);
PG_FUNCTION_INFO_V1(tradekeep_check_keep);

/* Milliseconds from 1970-01-01 to 2000-01-01. */
#define EPOCH_MS \
	((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * 1000)

/* Far beyond any time we take, and far from overflow. */
#define MAX_MS 1e14

static const char *const outcome_names[CANDLE_OUTCOMES] =
{
	[CANDLE_INSERTED] = "inserted",
	[CANDLE_UPDATED] = "updated",
	[CANDLE_UNCHANGED] = "unchanged",
	[CANDLE_IGNORED] = "ignored",
};

static void
refuse_null(FunctionCallInfo fcinfo, int nargs)
{
	static const char *const names[] = {
		"symbol", "timeframe", "ts", "open", "high", "low", "close", "volume"
	};

	for (int i = 0; i < nargs; i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_TRADEKEEP_BATCH),
					 errmsg("%s must not be null", names[i])));
}

Datum
tradekeep_upsert_candle(PG_FUNCTION_ARGS)
{
	Candle		candle = {0};
	CandleOutcome outcome;

	require_writable("tradekeep.upsert_candle");
	refuse_null(fcinfo, 8);
	candle.symbol = PG_GETARG_TEXT_PP(0);
	candle.timeframe = PG_GETARG_TIMEFRAME(1);
	candle.ts = PG_GETARG_TIMESTAMPTZ(2);
	candle.open = PG_GETARG_FLOAT8(3);
	candle.high = PG_GETARG_FLOAT8(4);
	candle.low = PG_GETARG_FLOAT8(5);
	candle.close = PG_GETARG_FLOAT8(6);
	candle.volume = PG_GETARG_FLOAT8(7);
	candle.closed = PG_ARGISNULL(8) || PG_GETARG_BOOL(8);
	check_candle(&candle, 0);
	store_candles(&candle, 1, &outcome);
	PG_RETURN_TEXT_P(cstring_to_text(outcome_names[outcome]));
}

Datum
store_batch(FunctionCallInfo fcinfo, const Candle *candles, int ncandles)
{
	CandleOutcome *outcomes = palloc(sizeof(CandleOutcome) * ncandles);
	int64		counts[CANDLE_OUTCOMES] = {0};
	TupleDesc	desc;
	Datum		values[4];
	bool		nulls[4] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	for (int i = 0; i < ncandles; i++)
		check_candle(&candles[i], i + 1);
	store_candles(candles, ncandles, outcomes);
	for (int i = 0; i < ncandles; i++)
		counts[outcomes[i]]++;
	values[0] = Int64GetDatum(counts[CANDLE_INSERTED]);
	values[1] = Int64GetDatum(counts[CANDLE_UPDATED]);
	values[2] = Int64GetDatum(counts[CANDLE_UNCHANGED]);
	values[3] = Int64GetDatum(counts[CANDLE_IGNORED]);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

TimestampTz
epoch_ms_to_time(float8 ms, const char *noun, int number)
{
	if (!(fabs(ms) < MAX_MS) || ms != floor(ms))
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_TIME),
				 errmsg("%s %d: time is out of range: %s", noun, number, float8_text(ms)),
				 errhint("Times are whole milliseconds since 1970.")));
	return ((int64) ms - EPOCH_MS) * 1000;
}

/* Reads [ms, open, high, low, close, volume]. */
static void
json_candle(JsonbContainer *array, int row, Candle *candle)
{
	static const char *const names[] = {"ms", "open", "high", "low", "close", "volume"};
	float8		numbers[lengthof(names)];

	if (JsonContainerSize(array) != lengthof(names))
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_BATCH),
				 errmsg("row %d has %u elements", row, JsonContainerSize(array)),
				 errhint("A row is [ms, open, high, low, close, volume].")));
	for (int i = 0; i < lengthof(names); i++)
		numbers[i] = json_number(getIthJsonbValueFromContainer(array, i), "row", row, names[i]);
	candle->ts = epoch_ms_to_time(numbers[0], "row", row);
	candle->open = numbers[1];
	candle->high = numbers[2];
	candle->low = numbers[3];
	candle->close = numbers[4];
	candle->volume = numbers[5];
}

Datum
tradekeep_upsert_candles_json(PG_FUNCTION_ARGS)
{
	Jsonb	   *rows;
	Candle	   *candles;
	int			ncandles;

	require_writable("tradekeep.upsert_candles");
	refuse_null(fcinfo, 2);
	if (PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_BATCH),
				 errmsg("ohlcv must not be null")));
	rows = PG_GETARG_JSONB_P(2);
	if (!JB_ROOT_IS_ARRAY(rows) || JB_ROOT_IS_SCALAR(rows))
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_BATCH),
				 errmsg("ohlcv is not a JSON array"),
				 errhint("It is [[ms, open, high, low, close, volume], ...].")));
	check_key(PG_GETARG_TEXT_PP(0), "symbol");

	ncandles = JB_ROOT_COUNT(rows);
	candles = palloc0(sizeof(Candle) * ncandles);
	for (int i = 0; i < ncandles; i++)
	{
		JsonbValue *row = getIthJsonbValueFromContainer(&rows->root, i);

		if (row->type != jbvBinary || !JsonContainerIsArray(row->val.binary.data) ||
			JsonContainerIsScalar(row->val.binary.data))
			ereport(ERROR,
					(errcode(ERRCODE_TRADEKEEP_BATCH),
					 errmsg("row %d is not an array", i + 1),
					 errhint("A row is [ms, open, high, low, close, volume].")));
		candles[i].symbol = PG_GETARG_TEXT_PP(0);
		candles[i].timeframe = PG_GETARG_TIMEFRAME(1);
		candles[i].closed = PG_ARGISNULL(3) || PG_GETARG_BOOL(3);
		json_candle(row->val.binary.data, i + 1, &candles[i]);
	}
	return store_batch(fcinfo, candles, ncandles);
}

Datum *
column_argument(FunctionCallInfo fcinfo, int argno, const char *name, int *length)
{
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(argno);
	int16		typlen;
	bool		typbyval;
	char		typalign;
	Datum	   *values;
	bool	   *nulls;

	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_BATCH),
				 errmsg("%s must be a one-dimensional array", name)));
	get_typlenbyvalalign(ARR_ELEMTYPE(array), &typlen, &typbyval, &typalign);
	deconstruct_array(array, ARR_ELEMTYPE(array), typlen, typbyval, typalign,
					  &values, &nulls, length);
	for (int i = 0; i < *length; i++)
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_TRADEKEEP_BATCH),
					 errmsg("row %d: %s must not be null", i + 1, name)));
	return values;
}

Datum
tradekeep_upsert_candles_arrays(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {
		"symbol", "timeframe", "ts", "open", "high", "low", "close", "volume", "closed"
	};
	Datum	   *columns[lengthof(names)] = {NULL};
	int			ncandles = 0;
	Candle	   *candles;

	require_writable("tradekeep.upsert_candles");
	refuse_null(fcinfo, 8);
	for (int i = 0; i < lengthof(names); i++)
	{
		int			length;

		if (PG_ARGISNULL(i))
			continue;			/* closed: all of them are */
		columns[i] = column_argument(fcinfo, i, names[i], &length);
		if (i == 0)
			ncandles = length;
		if (length != ncandles)
			ereport(ERROR,
					(errcode(ERRCODE_TRADEKEEP_BATCH),
					 errmsg("%s has %d elements, %s has %d", names[0], ncandles,
							names[i], length),
					 errhint("All arrays have one element for each candle.")));
	}

	candles = palloc0(sizeof(Candle) * ncandles);
	for (int i = 0; i < ncandles; i++)
	{
		candles[i].symbol = DatumGetTextPP(columns[0][i]);
		candles[i].timeframe = DatumGetTimeframe(columns[1][i]);
		candles[i].ts = DatumGetTimestampTz(columns[2][i]);
		candles[i].open = DatumGetFloat8(columns[3][i]);
		candles[i].high = DatumGetFloat8(columns[4][i]);
		candles[i].low = DatumGetFloat8(columns[5][i]);
		candles[i].close = DatumGetFloat8(columns[6][i]);
		candles[i].volume = DatumGetFloat8(columns[7][i]);
		candles[i].closed = columns[8] == NULL || DatumGetBool(columns[8][i]);
	}
	return store_batch(fcinfo, candles, ncandles);
}

/* For functions in SQL. */
Datum
tradekeep_check_keep(PG_FUNCTION_ARGS)
{
	Interval   *keep;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_TTL),
				 errmsg("keep must not be null")));
	keep = PG_GETARG_INTERVAL_P(0);
	/* Months and days that cancel out do so only by the calendar. */
	if (keep->month < 0 || keep->day < 0 || keep->time < 0)
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_TTL),
				 errmsg("keep must not be negative")));
	(void) ttl_to_usecs(keep, "keep");
	PG_RETURN_VOID();
}
