/*
 * store.h
 *		Chunks of candles on their way into the database.
 */
#ifndef TRADEKEEP_STORE_H
#define TRADEKEEP_STORE_H

#include "rows.h"

/* A chunk is a transaction: large enough to make its commit cheap, small enough to repeat. */
#define CHUNK_ROWS 20000

/* As they may stand in a column of a file. */
#define STORE_TIMEFRAMES "1s,1m,3m,5m,15m,30m,1h,2h,4h,6h,8h,12h,1d,3d,1w,1M"
#define MAX_TIMEFRAMES 16

typedef struct store_timeframe
{
	char		name[64];
	char		bytes[4];		/* the server's binary form of it */
	int64_t		now;			/* start of the candle that is under way */
} store_timeframe;

/* Candles of one timeframe. */
typedef struct candle_chunk
{
	size_t		count;
	const store_timeframe *timeframe;
	tk_candle	candles[CHUNK_ROWS];
	const char *symbols[CHUNK_ROWS];
	int64_t		rows[CHUNK_ROWS];	/* where in the file they come from */
	int64_t		lines[CHUNK_ROWS];
	size_t		names_size;		/* of what symbols[] point to */
	char		names[CHUNK_ROWS * (MAX_SYMBOL + 1)];
} candle_chunk;

typedef struct candle_store
{
	tk_client  *client;
	const char *symbol;			/* of all candles; null: each has its own */
	const char *timeframe;		/* the same */
	bool		copying;		/* the last chunk was all new: try COPY on the next */
	bool		may_copy;		/* this role may COPY */
	int64_t		clock;			/* of the server, in ms */
	store_timeframe timeframes[MAX_TIMEFRAMES]; /* that may come: one if it is given */
	int			timeframe_count;
	char	   *buffer;			/* a chunk in the binary format of COPY */
	tk_upsert_counts counts;
} candle_store;

typedef enum store_status
{
	STORED,
	STORE_REFUSED,				/* a row is bad; the chunk was not stored */
	STORE_FAILED				/* the server is gone, or something else is wrong; see tk_error() */
} store_status;

extern int	store_open(candle_store *store);
extern const store_timeframe *store_find(const candle_store *store, const char *timeframe);
extern void store_close(candle_store *store);
extern store_status store_chunk(candle_store *store, const candle_chunk *chunk);
extern store_status store_range(candle_store *store, const candle_chunk *chunk, size_t start,
								size_t end, bool keep);
extern size_t first_bad_row(candle_store *store, const candle_chunk *chunk);

#endif							/* TRADEKEEP_STORE_H */
