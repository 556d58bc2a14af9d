/*
 * timeframe.h
 *		The type timeframe and its calendar.
 */
#ifndef TRADEKEEP_TIMEFRAME_H
#define TRADEKEEP_TIMEFRAME_H

#include "tradekeep.h"

#include "datatype/timestamp.h"

/*
 * A timeframe is stored as its length in seconds, which orders timeframes by
 * length.  A month is stored as 30 days; no other timeframe has that length.
 */
typedef int32 Timeframe;

#define MAX_TIMEFRAMES 16

#define TIMEFRAME_MONTH ((Timeframe) 30 * SECS_PER_DAY)

#define DatumGetTimeframe(x)	((Timeframe) DatumGetInt32(x))
#define TimeframeGetDatum(x)	Int32GetDatum(x)
#define PG_GETARG_TIMEFRAME(n)	DatumGetTimeframe(PG_GETARG_DATUM(n))

extern const char *timeframe_name(Timeframe timeframe);

/* False when there is none of that name, or with a candle from start to end. */
extern bool timeframe_by_name(const char *name, Timeframe *timeframe);
extern bool timeframe_of_candle(TimestampTz start, TimestampTz end, Timeframe *timeframe);

/* The start of the candle that contains ts, and of the one after it, in UTC. */
extern TimestampTz candle_start(Timeframe timeframe, TimestampTz ts);
extern TimestampTz candle_end(Timeframe timeframe, TimestampTz ts);

/* The first start of a candle at ts or later. */
extern TimestampTz next_start(Timeframe timeframe, TimestampTz ts);

/* True when candles of one timeframe are made of whole candles of another, finer one. */
extern bool timeframe_divides(Timeframe source, Timeframe target);

/* How many candles start at `from` or later and before `to`, both starts of candles. */
extern int64 count_candles(Timeframe timeframe, TimestampTz from, TimestampTz to);

#endif							/* TRADEKEEP_TIMEFRAME_H */
