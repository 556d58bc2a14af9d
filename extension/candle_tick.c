/*
 * candle_tick.c
 *		Public trades into candles.
 *
 * Ticks are stored first, each once for a timeframe, and a candle is then made anew from all
 * ticks that are stored for it, in the order of time and id.  So it does not matter how a stream
 * was split, in which order it came, and what of it came twice: not a bit of the result
 * differs.  A candle is closed when a tick behind it is stored.
 *
 * A lock for each symbol and timeframe, held until the end of the transaction, keeps two
 * sessions from making a candle without each other's ticks; what is read behind it is read
 * with the latest snapshot.  It is taken before anything else, so that calls for one symbol
 * wait and never deadlock.
 *
 * Ticks stay until their candle is over, and for some grace after that (tick.sweep_after).
 * Then the sweeper takes them, and the candle is what is left.  It says of how many ticks
 * it was made (sources): a candle of which fewer are stored has lost some to the sweeper,
 * and is not made again; ticks that come for it are late, and left out.  So no tick is ever
 * added to those of such a candle, and the count goes on telling the truth; that ticks of another
 * timeframe could make up for it is why each has its own.
 */
#include "candle.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "input.h"
#include "lock.h"
#include "rollup.h"
#include "statement.h"

PG_FUNCTION_INFO_V1(tradekeep_upsert_ticks_json);
PG_FUNCTION_INFO_V1(tradekeep_upsert_ticks_arrays);

typedef struct Tick
{
	TimestampTz ts;
	text	   *id;
	float8		price;
	float8		amount;
} Tick;

/* The ticks of a call that belong to one candle; ticks is null when there are none. */
typedef struct TickGroup
{
	TimestampTz start;
	const Tick *ticks;
	int			nticks;
	bool		late;
	bool		derived;		/* it was made before, */
	int64		stored;			/* and so many of its ticks are there */
	int64		inserted;
} TickGroup;

/* A call. */
typedef struct TickBatch
{
	text	   *symbol;
	Timeframe	timeframe;
	int64		grace;
	Tick	   *ticks;			/* in order, each once */
	int			nticks;
	TickGroup  *groups;			/* in order; behind them one without ticks, perhaps */
	int			ngroups;
	int			nticks_groups;	/* those with ticks */
	int64		inserted;
	int64		known;
	int64		late;
	int64		candles;
	Candle		newest;			/* candle of ticks before this call; no symbol: none */
} TickBatch;

#define WHERE_SERIES(alias) \
	" WHERE " alias ".symbol OPERATOR(pg_catalog.=) $1" \
	" AND " alias ".timeframe OPERATOR(pg_catalog.=) $2"
#define WHERE_IN_CANDLE \
	WHERE_SERIES("t") " AND t.ts OPERATOR(pg_catalog.>=) $3 AND t.ts OPERATOR(pg_catalog.<) $4"

/* A candle of ticks, and how many of its ticks are stored. */
static Statement select_sources = {
	.sql = "SELECT c.sources, (SELECT pg_catalog.count(*) FROM tradekeep.tick AS t" WHERE_IN_CANDLE ")"
	" FROM tradekeep.candle AS c" WHERE_SERIES("c")
	" AND c.ts OPERATOR(pg_catalog.=) $3 AND c.sources IS NOT NULL",
	.nargs = 4,
	.argtypes = {TEXTOID, TIMEFRAMEOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
};

/* The newest candle of ticks. */
static Statement select_newest_candle = {
	.sql = "SELECT c.ts, c.open, c.high, c.low, c.close, c.volume, c.closed, c.sources"
	" FROM tradekeep.candle AS c" WHERE_SERIES("c")
	" AND c.sources IS NOT NULL ORDER BY c.ts DESC LIMIT 1",
	.nargs = 2,
	.argtypes = {TEXTOID, TIMEFRAMEOID}
};
static Statement insert_ticks = {
	.sql = "INSERT INTO tradekeep.tick (symbol, timeframe, ts, id, price, amount, sweep_after)"
	" SELECT $1, $2, n.* FROM ROWS FROM (pg_catalog.unnest($3), pg_catalog.unnest($4),"
	" pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7)) AS n"
	" ON CONFLICT (symbol, timeframe, ts, id) DO NOTHING RETURNING ts",
	.nargs = 7,
	.argtypes = {TEXTOID, TIMEFRAMEOID, TIMESTAMPTZARRAYOID, TEXTARRAYOID, FLOAT8ARRAYOID,
	FLOAT8ARRAYOID, TIMESTAMPTZARRAYOID}
};
static Statement select_newest = {
	.sql = "SELECT t.ts FROM tradekeep.tick AS t" WHERE_SERIES("t") " ORDER BY t.ts DESC LIMIT 1",
	.nargs = 2,
	.argtypes = {TEXTOID, TIMEFRAMEOID}
};
static Statement select_ticks = {
	.sql = "SELECT t.ts, t.id, t.price, t.amount FROM tradekeep.tick AS t" WHERE_IN_CANDLE,
	.nargs = 4,
	.argtypes = {TEXTOID, TIMEFRAMEOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
};

static bool
is_number(const text *id)
{
	for (int i = 0; i < VARSIZE_ANY_EXHDR(id); i++)
		if (VARDATA_ANY(id)[i] < '0' || VARDATA_ANY(id)[i] > '9')
			return false;
	return true;
}

static int
leading_zeros(const text *id)
{
	int			zeros = 0;

	while (zeros < VARSIZE_ANY_EXHDR(id) && VARDATA_ANY(id)[zeros] == '0')
		zeros++;
	return zeros;
}

int
compare_ids(const text *a, const text *b)
{
	bool		a_number = is_number(a);
	bool		b_number = is_number(b);

	if (a_number != b_number)
		return a_number ? -1 : 1;
	if (a_number)
	{
		int			a_zeros = leading_zeros(a);
		int			b_zeros = leading_zeros(b);
		int			a_length = VARSIZE_ANY_EXHDR(a) - a_zeros;
		int			b_length = VARSIZE_ANY_EXHDR(b) - b_zeros;
		int			order = a_length != b_length ? a_length - b_length :
		memcmp(VARDATA_ANY(a) + a_zeros, VARDATA_ANY(b) + b_zeros, a_length);

		if (order != 0)
			return order;
	}
	return compare_text(a, b);
}

static int
compare_ticks(const void *left, const void *right)
{
	const Tick *a = left;
	const Tick *b = right;

	if (a->ts != b->ts)
		return a->ts < b->ts ? -1 : 1;
	return compare_ids(a->id, b->id);
}

static void
check_tick(const Tick *tick, int number)
{
	if (!key_fits(tick->id))
		check_key(tick->id, psprintf("tick %d: id", number));
	if (!time_fits(tick->ts))
		check_time(tick->ts, psprintf("tick %d: time", number));
	if (!isfinite(tick->price) || !isfinite(tick->amount) || tick->amount < 0)
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_CANDLE),
				 errmsg("tick %d: price %s, amount %s", number, float8_text(tick->price),
						float8_text(tick->amount)),
				 errhint("Both are finite numbers, the amount is not negative.")));
}

/* Checks the ticks, sorts them, and groups them by candle. */
static void
arrange_ticks(TickBatch *batch)
{
	int			kept = 0;

	for (int i = 0; i < batch->nticks; i++)
		check_tick(&batch->ticks[i], i + 1);
	qsort(batch->ticks, batch->nticks, sizeof(Tick), compare_ticks);
	batch->groups = palloc(sizeof(TickGroup) * (batch->nticks + 1));
	for (int i = 0; i < batch->nticks; i++)
	{
		const Tick *tick = &batch->ticks[i];
		TickGroup  *group = batch->ngroups > 0 ? &batch->groups[batch->ngroups - 1] : NULL;

		if (kept > 0 && compare_ticks(&batch->ticks[kept - 1], tick) == 0)
		{
			batch->known++;
			continue;
		}
		batch->ticks[kept] = *tick;
		if (group == NULL || tick->ts >= candle_end(batch->timeframe, group->start))
		{
			group = &batch->groups[batch->ngroups++];
			*group = (TickGroup)
			{
				.start = candle_start(batch->timeframe, tick->ts),.ticks = &batch->ticks[kept]
			};
		}
		group->nticks++;
		kept++;
	}
	batch->nticks = kept;
	batch->nticks_groups = batch->ngroups;
}

static void
lock_ticks(const text *symbol, Timeframe timeframe)
{
	uint64		hash = DatumGetUInt64(hash_any_extended((unsigned char *) VARDATA_ANY(symbol),
														VARSIZE_ANY_EXHDR(symbol), timeframe));

	lock_until_end(LOCK_TICKS, hash, ExclusiveLock);
}

static Datum
value_of(uint64 row, int column)
{
	bool		isnull;

	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, &isnull);
}

/* Some of the ticks of these candles have gone already: they stay as they are. */
static void
find_late(TickBatch *batch)
{
	for (int i = 0; i < batch->ngroups; i++)
	{
		TickGroup  *group = &batch->groups[i];
		Datum		values[] = {PointerGetDatum(batch->symbol),
			TimeframeGetDatum(batch->timeframe), TimestampTzGetDatum(group->start),
		TimestampTzGetDatum(candle_end(batch->timeframe, group->start))};

		group->derived = execute_latest(&select_sources, values) > 0;
		if (group->derived)
		{
			group->stored = DatumGetInt64(value_of(0, 2));
			group->late = group->stored < DatumGetInt32(value_of(0, 1));
		}
		SPI_freetuptable(SPI_tuptable);
		if (group->late)
			batch->late += group->nticks;
	}
}

static void
find_newest_candle(TickBatch *batch)
{
	Datum		values[] = {PointerGetDatum(batch->symbol), TimeframeGetDatum(batch->timeframe)};

	if (execute_latest(&select_newest_candle, values) > 0)
		batch->newest = (Candle)
	{
		.symbol = batch->symbol,.timeframe = batch->timeframe,
			.ts = DatumGetTimestampTz(value_of(0, 1)),.open = DatumGetFloat8(value_of(0, 2)),
			.high = DatumGetFloat8(value_of(0, 3)),.low = DatumGetFloat8(value_of(0, 4)),
			.close = DatumGetFloat8(value_of(0, 5)),.volume = DatumGetFloat8(value_of(0, 6)),
			.closed = DatumGetBool(value_of(0, 7)),.derived = true,
			.sources = DatumGetInt32(value_of(0, 8))
	};
	SPI_freetuptable(SPI_tuptable);
}

/* The newest candle closes when the next one begins, whether it gets ticks or not. */
static void
add_open_candle(TickBatch *batch)
{
	bool		missing = batch->newest.symbol != NULL && !batch->newest.closed;

	for (int i = 0; missing && i < batch->ngroups; i++)
		missing = batch->groups[i].start != batch->newest.ts;
	if (missing)
		batch->groups[batch->ngroups++] = (TickGroup)
	{
		.start = batch->newest.ts
	};
}

/* Says of the groups how many of their ticks were new. */
static void
count_inserted(TickBatch *batch, uint64 nrows)
{
	for (uint64 i = 0; i < nrows; i++)
	{
		TimestampTz start = candle_start(batch->timeframe, DatumGetTimestampTz(value_of(i, 1)));
		int			low = 0;
		int			high = batch->nticks_groups - 1;

		while (low < high)
		{
			int			middle = (low + high) / 2;

			if (batch->groups[middle].start < start)
				low = middle + 1;
			else
				high = middle;
		}
		batch->groups[low].inserted++;
	}
}

static void
store_ticks(TickBatch *batch)
{
	TimestampTz now = GetCurrentTimestamp();
	Datum	   *values = palloc(sizeof(Datum) * 5 * (batch->nticks + 1));
	Datum	   *column[5];
	Datum		arguments[7];
	int			n = 0;

	for (int i = 0; i < lengthof(column); i++)
		column[i] = values + i * batch->nticks;
	for (int i = 0; i < batch->ngroups; i++)
	{
		const TickGroup *group = &batch->groups[i];
		TimestampTz end = candle_end(batch->timeframe, group->start);

		for (int j = 0; !group->late && j < group->nticks; j++, n++)
		{
			column[0][n] = TimestampTzGetDatum(group->ticks[j].ts);
			column[1][n] = PointerGetDatum(group->ticks[j].id);
			column[2][n] = Float8GetDatum(group->ticks[j].price);
			column[3][n] = Float8GetDatum(group->ticks[j].amount);
			column[4][n] = TimestampTzGetDatum(Max(end, now) + batch->grace);
		}
	}
	arguments[0] = PointerGetDatum(batch->symbol);
	arguments[1] = TimeframeGetDatum(batch->timeframe);
	arguments[2] = array_datum(column[0], n, TIMESTAMPTZOID);
	arguments[3] = array_datum(column[1], n, TEXTOID);
	arguments[4] = array_datum(column[2], n, FLOAT8OID);
	arguments[5] = array_datum(column[3], n, FLOAT8OID);
	arguments[6] = array_datum(column[4], n, TIMESTAMPTZOID);
	batch->inserted = execute_latest(&insert_ticks, arguments);
	batch->known += n - batch->inserted;
	count_inserted(batch, batch->inserted);
	SPI_freetuptable(SPI_tuptable);
}

/* Reads the ticks that are stored for a candle, in order. */
static Tick *
read_ticks(const TickBatch *batch, TimestampTz start, int *nticks)
{
	Datum		values[] = {PointerGetDatum(batch->symbol), TimeframeGetDatum(batch->timeframe),
	TimestampTzGetDatum(start), TimestampTzGetDatum(candle_end(batch->timeframe, start))};
	Tick	   *ticks;

	*nticks = execute_latest(&select_ticks, values);
	ticks = palloc(sizeof(Tick) * Max(*nticks, 1));
	for (int i = 0; i < *nticks; i++)
	{
		ticks[i].ts = DatumGetTimestampTz(value_of(i, 1));
		ticks[i].id = DatumGetTextPP(value_of(i, 2));
		ticks[i].price = DatumGetFloat8(value_of(i, 3));
		ticks[i].amount = DatumGetFloat8(value_of(i, 4));
	}
	qsort(ticks, *nticks, sizeof(Tick), compare_ticks);
	return ticks;
}

static void
make_candle(const TickBatch *batch, TimestampTz start, TimestampTz newest, Candle *candle)
{
	int			nticks;
	Tick	   *ticks = read_ticks(batch, start, &nticks);

	memset(candle, 0, sizeof(Candle));
	candle->symbol = batch->symbol;
	candle->timeframe = batch->timeframe;
	candle->ts = start;
	candle->derived = true;
	candle->sources = nticks;
	candle->closed = newest >= candle_end(batch->timeframe, start);
	for (int i = 0; i < nticks; i++)
	{
		if (i == 0)
			candle->open = candle->high = candle->low = ticks[i].price;
		candle->high = Max(candle->high, ticks[i].price);
		candle->low = Min(candle->low, ticks[i].price);
		candle->close = ticks[i].price;
		candle->volume += ticks[i].amount;
	}
	if (nticks > 0)
		check_candle(candle, 0);
	pfree(ticks);
	SPI_freetuptable(SPI_tuptable);
}

static void
make_candles(TickBatch *batch)
{
	Datum		series[] = {PointerGetDatum(batch->symbol), TimeframeGetDatum(batch->timeframe)};
	Candle	   *candles = palloc(sizeof(Candle) * batch->ngroups);
	CandleOutcome *outcomes = palloc(sizeof(CandleOutcome) * batch->ngroups);
	TimestampTz newest = batch->newest.symbol != NULL ? batch->newest.ts : DT_NOBEGIN;
	int			ncandles = 0;

	/* Of later ticks that are gone, their candle is left. */
	if (execute_latest(&select_newest, series) > 0)
		newest = Max(newest, DatumGetTimestampTz(value_of(0, 1)));
	SPI_freetuptable(SPI_tuptable);
	for (int i = 0; i < batch->ngroups; i++)
	{
		const TickGroup *group = &batch->groups[i];
		Candle	   *candle = &candles[ncandles];

		if (!group->late)
		{
			make_candle(batch, group->start, newest, candle);
			/* The sweeper may have been there since they were counted. */
			if (group->derived && candle->sources != group->stored + group->inserted)
				ereport(ERROR,
						(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
						 errmsg("ticks of a candle were swept while others came"),
						 errhint("Retry.")));
		}
		else if (group->start == batch->newest.ts && !batch->newest.closed)
		{
			*candle = batch->newest;
			candle->closed = newest >= candle_end(batch->timeframe, group->start);
		}
		else
			continue;
		if (candle->sources > 0)
			ncandles++;
	}
	store_candles(candles, ncandles, outcomes);
	for (int i = 0; i < ncandles; i++)
		if (outcomes[i] == CANDLE_INSERTED || outcomes[i] == CANDLE_UPDATED)
			batch->candles++;
}

static Datum
upsert_ticks(FunctionCallInfo fcinfo, TickBatch *batch)
{
	TupleDesc	desc;
	Datum		values[4];
	bool		nulls[4] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	arrange_ticks(batch);
	lock_ticks(batch->symbol, batch->timeframe);
	SPI_connect();
	if (batch->nticks > 0)
	{
		find_newest_candle(batch);
		add_open_candle(batch);
		find_late(batch);
		store_ticks(batch);
		make_candles(batch);
	}
	SPI_finish();
	values[0] = Int64GetDatum(batch->inserted);
	values[1] = Int64GetDatum(batch->known);
	values[2] = Int64GetDatum(batch->late);
	values[3] = Int64GetDatum(batch->candles);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

static void
require_arguments(FunctionCallInfo fcinfo, int nargs)
{
	for (int i = 0; i < nargs; i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_TRADEKEEP_BATCH),
					 errmsg("argument %d of tradekeep.upsert_ticks() must not be null", i + 1)));
}

static void
common_arguments(FunctionCallInfo fcinfo, TickBatch *batch, int nargs)
{
	require_writable("tradekeep.upsert_ticks");
	memset(batch, 0, sizeof(TickBatch));
	require_arguments(fcinfo, nargs);
	batch->symbol = key_argument(fcinfo, 0, "symbol");
	batch->timeframe = PG_GETARG_TIMEFRAME(1);
	refuse_rollup(batch->timeframe);
	batch->grace = ttl_to_usecs(PG_GETARG_INTERVAL_P(nargs - 1), "grace");
}

static void
refuse_tick(int number)
{
	ereport(ERROR,
			(errcode(ERRCODE_TRADEKEEP_BATCH),
			 errmsg("tick %d is neither [ms, id, price, amount] nor a trade object", number),
			 errhint("A trade object, as of ccxt, has timestamp, id, price and amount.")));
}

static text *
json_id(const JsonbValue *value, int number)
{
	if (value->type == jbvString)
		return cstring_to_text_with_len(value->val.string.val, value->val.string.len);
	if (value->type != jbvNumeric)
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_BATCH),
				 errmsg("tick %d: id is neither a string nor a number", number),
				 errhint("Without an id a tick that is sent again cannot be told from another.")));
	return cstring_to_text(numeric_normalize(value->val.numeric));
}

static void
json_tick(const JsonbValue *value, int number, Tick *tick)
{
	static const char *const names[] = {"timestamp", "id", "price", "amount"};
	JsonbValue *fields[lengthof(names)];
	JsonbContainer *container = value->val.binary.data;

	if (value->type != jbvBinary ||
		(JsonContainerIsArray(container) && JsonContainerSize(container) != lengthof(names)))
		refuse_tick(number);
	for (int i = 0; i < lengthof(names); i++)
	{
		fields[i] = JsonContainerIsArray(container) ? getIthJsonbValueFromContainer(container, i) :
			getKeyJsonValueFromContainer(container, names[i], strlen(names[i]), NULL);
		if (fields[i] == NULL)
			refuse_tick(number);
	}
	tick->ts = epoch_ms_to_time(json_number(fields[0], "tick", number, names[0]), "tick",
								number);
	tick->id = json_id(fields[1], number);
	tick->price = json_number(fields[2], "tick", number, names[2]);
	tick->amount = json_number(fields[3], "tick", number, names[3]);
}

Datum
tradekeep_upsert_ticks_json(PG_FUNCTION_ARGS)
{
	TickBatch	batch;
	Jsonb	   *ticks;

	common_arguments(fcinfo, &batch, 4);
	ticks = PG_GETARG_JSONB_P(2);
	if (!JB_ROOT_IS_ARRAY(ticks) || JB_ROOT_IS_SCALAR(ticks))
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_BATCH),
				 errmsg("ticks is not a JSON array"),
				 errhint("It is [[ms, id, price, amount], ...] or an array of trade objects.")));
	batch.nticks = JB_ROOT_COUNT(ticks);
	batch.ticks = palloc(sizeof(Tick) * Max(batch.nticks, 1));
	for (int i = 0; i < batch.nticks; i++)
		json_tick(getIthJsonbValueFromContainer(&ticks->root, i), i + 1, &batch.ticks[i]);
	return upsert_ticks(fcinfo, &batch);
}

Datum
tradekeep_upsert_ticks_arrays(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {"symbol", "timeframe", "ts", "id", "price", "amount"};
	TickBatch	batch;
	Datum	   *columns[lengthof(names)];

	common_arguments(fcinfo, &batch, 7);
	for (int i = 2; i < lengthof(names); i++)
	{
		int			length;

		columns[i] = column_argument(fcinfo, i, names[i], &length);
		if (i == 2)
			batch.nticks = length;
		if (length != batch.nticks)
			ereport(ERROR,
					(errcode(ERRCODE_TRADEKEEP_BATCH),
					 errmsg("%s has %d elements, %s has %d", names[2], batch.nticks, names[i],
							length)));
	}
	batch.ticks = palloc(sizeof(Tick) * Max(batch.nticks, 1));
	for (int i = 0; i < batch.nticks; i++)
	{
		batch.ticks[i].ts = DatumGetTimestampTz(columns[2][i]);
		batch.ticks[i].id = DatumGetTextPP(columns[3][i]);
		batch.ticks[i].price = DatumGetFloat8(columns[4][i]);
		batch.ticks[i].amount = DatumGetFloat8(columns[5][i]);
	}
	return upsert_ticks(fcinfo, &batch);
}
