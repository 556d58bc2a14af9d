/*
 * candle.h
 *		OHLCV bars.
 */
#ifndef TRADEKEEP_CANDLE_H
#define TRADEKEEP_CANDLE_H

#include "tradekeep.h"

#include "executor/tuptable.h"

#include "timeframe.h"

typedef struct Candle
{
	text	   *symbol;
	Timeframe	timeframe;
	TimestampTz ts;
	float8		open;
	float8		high;
	float8		low;
	float8		close;
	float8		volume;
	bool		closed;
	bool		derived;		/* made from finer candles */
	int32		sources;		/* how many, when derived */
	ItemPointerData tid;		/* of the row that it was read from, or is to replace */
} Candle;

/* What storing a candle came to. */
typedef enum CandleOutcome
{
	CANDLE_INSERTED,
	CANDLE_UPDATED,
	CANDLE_UNCHANGED,
	CANDLE_IGNORED
} CandleOutcome;

#define CANDLE_OUTCOMES 4

/* Refuses a bar that cannot be; row counts from 1, 0 when there is only one. */
extern void check_candle(const Candle *candle, int row);

/*
 * Stores bars, all of them supplied or all derived, and says what came of each.  They
 * are put in the order of the key; outcomes[i] belongs to candles[i] as they were given.
 */
extern void store_candles(const Candle *candles, int ncandles, CandleOutcome *outcomes);

/*
 * The end of a function that takes bars: checks and stores them, and returns the row
 * (inserted, updated, unchanged, ignored).
 */
extern Datum store_batch(FunctionCallInfo fcinfo, const Candle *candles, int ncandles);

/* Reads a row of tradekeep.candle; the symbol points into it. */
extern void read_candle(TupleTableSlot *slot, Candle *candle);

/* Equal in everything but the key. */
extern bool same_values(const Candle *a, const Candle *b);

/*
 * Write derived bars of different keys, in the order of these: new ones where there is none,
 * others over the row that `tid` says, or delete that, unless somebody has changed it.
 * Inside SPI_connect(), with the latest snapshot.
 */
extern void insert_derived(const Candle **candles, int ncandles);
extern void update_derived(const Candle **candles, int ncandles);
extern void delete_derived(const Candle **candles, int ncandles);

/* Ids of ticks: all-digit ones by their value, however long; others, behind them, by their bytes. */
extern int	compare_ids(const text *a, const text *b);

/* Takes an array argument apart and refuses nulls in it. */
extern Datum *column_argument(FunctionCallInfo fcinfo, int argno, const char *name, int *length);

/* An epoch as a time; noun and number say whose it is: "row 3". */
extern TimestampTz epoch_ms_to_time(float8 ms, const char *noun, int number);

#endif							/* TRADEKEEP_CANDLE_H */
