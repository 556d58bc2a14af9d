/*
 * candlestick.c
 *		The aggregates candlestick(): ticks or candles into one bar.
 *
 * Rows may come in any order: a state remembers the times of its first and last row, and
 * two states make one in the same way as a row is added.  Of equal times the id decides, then
 * the price, so that the result is the same for every order, and for every
 * split among parallel workers; only the sums depend on the order, in their last digits.
 *
 * A frame of a window that moves on loses its oldest row, and a maximum cannot forget.  So
 * there the rows wait in two stacks: new ones go onto the back one, the oldest leave from the
 * front one, each of whose levels knows the bar of all that lie behind it.  When the
 * front is empty, the back is turned over.  Each row is turned over once, so that
 * a step of the frame has the same cost whatever its length.
 */
#include "candle.h"

#include "funcapi.h"
#include "libpq/pqformat.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(tradekeep_candlestick_tick);
PG_FUNCTION_INFO_V1(tradekeep_candlestick_candle);
PG_FUNCTION_INFO_V1(tradekeep_candlestick_combine);
PG_FUNCTION_INFO_V1(tradekeep_candlestick_serialize);
PG_FUNCTION_INFO_V1(tradekeep_candlestick_deserialize);
PG_FUNCTION_INFO_V1(tradekeep_candlestick_final);
PG_FUNCTION_INFO_V1(tradekeep_candlestick_tick_enter);
PG_FUNCTION_INFO_V1(tradekeep_candlestick_candle_enter);
PG_FUNCTION_INFO_V1(tradekeep_candlestick_tick_leave);
PG_FUNCTION_INFO_V1(tradekeep_candlestick_candle_leave);
PG_FUNCTION_INFO_V1(tradekeep_candlestick_window_final);

typedef struct Bar
{
	int64		count;
	TimestampTz first;
	TimestampTz last;
	float8		open;
	float8		high;
	float8		low;
	float8		close;
	float8		volume;
	float8		turnover;		/* sum of price times volume */
	text	   *first_id;		/* of ticks with ids */
	text	   *last_id;
} Bar;

/* The order of two prices at (ts, id). */
static int
compare_moments(TimestampTz a_ts, const text *a_id, float8 a_price,
				TimestampTz b_ts, const text *b_id, float8 b_price)
{
	if (a_ts != b_ts)
		return a_ts < b_ts ? -1 : 1;
	if (a_id != NULL && b_id != NULL)
	{
		int			order = compare_ids(a_id, b_id);

		if (order != 0)
			return order;
	}
	else if (a_id != b_id)
		return a_id == NULL ? -1 : 1;
	return float8_cmp_internal(a_price, b_price);
}

static text *
copy_id(const text *id, MemoryContext context)
{
	text	   *copy;

	if (id == NULL)
		return NULL;
	copy = MemoryContextAlloc(context, VARSIZE_ANY(id));
	memcpy(copy, id, VARSIZE_ANY(id));
	return copy;
}

static void
replace_id(text **id, const text *other, MemoryContext context)
{
	if (*id == NULL && other == NULL)
		return;
	if (*id != NULL && context != NULL)
		pfree(*id);
	*id = context != NULL ? copy_id(other, context) : unconstify(text *, other);
}

/*
 * Adds a bar to another.  Ids are copied into the context; without one they belong to
 * somebody else.
 */
static inline void
add_bar(Bar *bar, const Bar *other, MemoryContext context)
{
	if (other->count == 0)
		return;
	if (bar->count == 0)
	{
		*bar = *other;
		if (context != NULL)
		{
			bar->first_id = copy_id(other->first_id, context);
			bar->last_id = copy_id(other->last_id, context);
		}
		return;
	}
	if (other->first <= bar->first &&
		compare_moments(other->first, other->first_id, other->open,
						bar->first, bar->first_id, bar->open) < 0)
	{
		bar->first = other->first;
		bar->open = other->open;
		replace_id(&bar->first_id, other->first_id, context);
	}
	if (other->last >= bar->last &&
		compare_moments(other->last, other->last_id, other->close,
						bar->last, bar->last_id, bar->close) > 0)
	{
		bar->last = other->last;
		bar->close = other->close;
		replace_id(&bar->last_id, other->last_id, context);
	}
	if (float8_gt(other->high, bar->high))
		bar->high = other->high;
	if (float8_lt(other->low, bar->low))
		bar->low = other->low;
	bar->volume += other->volume;
	bar->turnover += other->turnover;
	bar->count += other->count;
}

/* Reads (ts, price, amount [, id]); false when the row does not count. */
static inline bool
tick_arguments(FunctionCallInfo fcinfo, Bar *bar)
{
	if (PG_ARGISNULL(1) || PG_ARGISNULL(2))
		return false;
	bar->count = 1;
	bar->first = bar->last = PG_GETARG_TIMESTAMPTZ(1);
	bar->open = bar->high = bar->low = bar->close = PG_GETARG_FLOAT8(2);
	bar->volume = PG_ARGISNULL(3) ? 0 : PG_GETARG_FLOAT8(3);
	bar->turnover = bar->open * bar->volume;
	bar->first_id = bar->last_id =
		PG_NARGS() > 4 && !PG_ARGISNULL(4) ? PG_GETARG_TEXT_PP(4) : NULL;
	return true;
}

/* Reads (ts, open, high, low, close, volume). */
static inline bool
candle_arguments(FunctionCallInfo fcinfo, Bar *bar)
{
	if (PG_ARGISNULL(1) || PG_ARGISNULL(2) || PG_ARGISNULL(3) || PG_ARGISNULL(4) || PG_ARGISNULL(5))
		return false;
	bar->count = 1;
	bar->first = bar->last = PG_GETARG_TIMESTAMPTZ(1);
	bar->open = PG_GETARG_FLOAT8(2);
	bar->high = PG_GETARG_FLOAT8(3);
	bar->low = PG_GETARG_FLOAT8(4);
	bar->close = PG_GETARG_FLOAT8(5);
	bar->volume = PG_ARGISNULL(6) ? 0 : PG_GETARG_FLOAT8(6);
	bar->turnover = (bar->high + bar->low + bar->close) / 3 * bar->volume;
	bar->first_id = bar->last_id = NULL;
	return true;
}

/* Where what an aggregate keeps is to live. */
static MemoryContext
aggregate_context(FunctionCallInfo fcinfo)
{
	MemoryContext context;

	if (!AggCheckCallContext(fcinfo, &context))
		elog(ERROR, "candlestick() was not called as an aggregate");
	return context;
}

static Bar *
state_argument(FunctionCallInfo fcinfo)
{
	if (!PG_ARGISNULL(0))
		return (Bar *) PG_GETARG_POINTER(0);
	return MemoryContextAllocZero(aggregate_context(fcinfo), sizeof(Bar));
}

Datum
tradekeep_candlestick_tick(PG_FUNCTION_ARGS)
{
	Bar		   *state = state_argument(fcinfo);
	Bar			tick;

	if (tick_arguments(fcinfo, &tick))
		add_bar(state, &tick, tick.first_id != NULL || state->first_id != NULL ?
				aggregate_context(fcinfo) : NULL);
	PG_RETURN_POINTER(state);
}

Datum
tradekeep_candlestick_candle(PG_FUNCTION_ARGS)
{
	Bar		   *state = state_argument(fcinfo);
	Bar			candle;

	if (candle_arguments(fcinfo, &candle))
		add_bar(state, &candle, NULL);
	PG_RETURN_POINTER(state);
}

Datum
tradekeep_candlestick_combine(PG_FUNCTION_ARGS)
{
	Bar		   *state = state_argument(fcinfo);

	if (!PG_ARGISNULL(1))
		add_bar(state, (Bar *) PG_GETARG_POINTER(1), aggregate_context(fcinfo));
	PG_RETURN_POINTER(state);
}

/* For another process of the same server: as it lies in memory, and the ids behind it. */
Datum
tradekeep_candlestick_serialize(PG_FUNCTION_ARGS)
{
	const Bar  *state = (Bar *) PG_GETARG_POINTER(0);
	const text *ids[] = {state->first_id, state->last_id};
	StringInfoData buffer;

	pq_begintypsend(&buffer);
	pq_sendbytes(&buffer, (const char *) state, sizeof(Bar));
	for (int i = 0; i < lengthof(ids); i++)
		if (ids[i] != NULL)
		{
			pq_sendint32(&buffer, VARSIZE_ANY_EXHDR(ids[i]));
			pq_sendbytes(&buffer, VARDATA_ANY(ids[i]), VARSIZE_ANY_EXHDR(ids[i]));
		}
	PG_RETURN_BYTEA_P(pq_endtypsend(&buffer));
}

Datum
tradekeep_candlestick_deserialize(PG_FUNCTION_ARGS)
{
	bytea	   *serialized = PG_GETARG_BYTEA_PP(0);
	Bar		   *state = palloc(sizeof(Bar));
	text	  **ids[] = {&state->first_id, &state->last_id};
	StringInfoData buffer;

	initStringInfo(&buffer);
	appendBinaryStringInfo(&buffer, VARDATA_ANY(serialized), VARSIZE_ANY_EXHDR(serialized));
	pq_copymsgbytes(&buffer, (char *) state, sizeof(Bar));
	for (int i = 0; i < lengthof(ids); i++)
		if (*ids[i] != NULL)
		{
			int			length = pq_getmsgint(&buffer, 4);

			*ids[i] = cstring_to_text_with_len(pq_getmsgbytes(&buffer, length), length);
		}
	pq_getmsgend(&buffer);
	PG_RETURN_POINTER(state);
}

static Datum
bar_row(FunctionCallInfo fcinfo, const Bar *bar)
{
	TupleDesc	desc;
	Datum		values[7];
	bool		nulls[7] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = Float8GetDatum(bar->open);
	values[1] = Float8GetDatum(bar->high);
	values[2] = Float8GetDatum(bar->low);
	values[3] = Float8GetDatum(bar->close);
	values[4] = Float8GetDatum(bar->volume);
	nulls[5] = bar->volume == 0;
	values[5] = nulls[5] ? (Datum) 0 : Float8GetDatum(bar->turnover / bar->volume);
	values[6] = Int64GetDatum(bar->count);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

Datum
tradekeep_candlestick_final(PG_FUNCTION_ARGS)
{
	const Bar  *state = PG_ARGISNULL(0) ? NULL : (Bar *) PG_GETARG_POINTER(0);

	if (state == NULL || state->count == 0)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(bar_row(fcinfo, state));
}

/* Bars of single rows, the oldest first, and their ids. */
typedef struct Rows
{
	Bar		   *bars;
	int			length;
	int			space;
	MemoryContext ids;
} Rows;

typedef struct Window
{
	MemoryContext context;
	Rows		front;			/* each the bar of itself and all behind it; */
	int			gone;			/* so many of them have left */
	Rows		back;			/* new rows */
	Bar			back_bar;		/* and their bar */
} Window;

static void
append_row(Rows *rows, const Bar *bar, MemoryContext context)
{
	if (rows->length == rows->space)
	{
		int			space = Max(2 * rows->space, 64);
		Bar		   *bars = MemoryContextAllocHuge(context, sizeof(Bar) * space);

		if (rows->bars != NULL)
		{
			memcpy(bars, rows->bars, sizeof(Bar) * rows->length);
			pfree(rows->bars);
		}
		rows->bars = bars;
		rows->space = space;
	}
	rows->bars[rows->length++] = *bar;
}

static Window *
window_argument(FunctionCallInfo fcinfo)
{
	MemoryContext context;
	Window	   *window;

	if (!PG_ARGISNULL(0))
		return (Window *) PG_GETARG_POINTER(0);
	context = aggregate_context(fcinfo);
	window = MemoryContextAllocZero(context, sizeof(Window));
	window->context = context;
	window->front.ids = AllocSetContextCreate(context, "candlestick ids", ALLOCSET_SMALL_SIZES);
	window->back.ids = AllocSetContextCreate(context, "candlestick ids", ALLOCSET_SMALL_SIZES);
	return window;
}

static Datum
enter_window(Window *window, Bar *row)
{
	row->first_id = row->last_id = copy_id(row->first_id, window->back.ids);
	append_row(&window->back, row, window->context);
	add_bar(&window->back_bar, row, NULL);
	PG_RETURN_POINTER(window);
}

/* Turns the back over: from the newest row to the oldest, each takes up what lies behind it. */
static void
turn_over(Window *window)
{
	Rows		emptied = window->front;

	window->front = window->back;
	window->gone = 0;
	for (int i = window->front.length - 2; i >= 0; i--)
		add_bar(&window->front.bars[i], &window->front.bars[i + 1], NULL);
	emptied.length = 0;
	MemoryContextReset(emptied.ids);
	window->back = emptied;
	memset(&window->back_bar, 0, sizeof(Bar));
}

static Datum
leave_window(Window *window)
{
	if (window->gone == window->front.length)
		turn_over(window);
	window->gone++;
	PG_RETURN_POINTER(window);
}

Datum
tradekeep_candlestick_tick_enter(PG_FUNCTION_ARGS)
{
	Window	   *window = window_argument(fcinfo);
	Bar			row;

	if (tick_arguments(fcinfo, &row))
		return enter_window(window, &row);
	PG_RETURN_POINTER(window);
}

Datum
tradekeep_candlestick_candle_enter(PG_FUNCTION_ARGS)
{
	Window	   *window = window_argument(fcinfo);
	Bar			row;

	if (candle_arguments(fcinfo, &row))
		return enter_window(window, &row);
	PG_RETURN_POINTER(window);
}

Datum
tradekeep_candlestick_tick_leave(PG_FUNCTION_ARGS)
{
	Window	   *window = window_argument(fcinfo);
	Bar			row;

	if (tick_arguments(fcinfo, &row))
		return leave_window(window);
	PG_RETURN_POINTER(window);
}

Datum
tradekeep_candlestick_candle_leave(PG_FUNCTION_ARGS)
{
	Window	   *window = window_argument(fcinfo);
	Bar			row;

	if (candle_arguments(fcinfo, &row))
		return leave_window(window);
	PG_RETURN_POINTER(window);
}

Datum
tradekeep_candlestick_window_final(PG_FUNCTION_ARGS)
{
	const Window *window = PG_ARGISNULL(0) ? NULL : (Window *) PG_GETARG_POINTER(0);
	Bar			bar = {0};

	if (window == NULL)
		PG_RETURN_NULL();
	if (window->gone < window->front.length)
		bar = window->front.bars[window->gone];
	add_bar(&bar, &window->back_bar, NULL);
	if (bar.count == 0)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(bar_row(fcinfo, &bar));
}
