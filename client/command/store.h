/*
 * store.h
 *		Chunks of candles on their way into the database.
 */
#ifndef TRADEKEEP_STORE_H
#define TRADEKEEP_STORE_H

#include "rows.h"

/* A chunk is a transaction: large enough to make its commit cheap, small enough to repeat. */
#define CHUNK_ROWS 20000

typedef struct candle_chunk
{
	size_t		count;
	tk_candle	candles[CHUNK_ROWS];
	int64_t		rows[CHUNK_ROWS];	/* where in the file they come from */
	int64_t		lines[CHUNK_ROWS];
} candle_chunk;

typedef struct candle_store
{
	tk_client  *client;
	const char *symbol;
	const char *timeframe;
	bool		copying;		/* the last chunk was all new: try COPY on the next */
	bool		may_copy;		/* this role may COPY */
	char		timeframe_bytes[4]; /* the server's binary form of timeframe */
	int64_t		now;			/* start of the candle that is under way */
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
extern void store_close(candle_store *store);
extern store_status store_chunk(candle_store *store, const candle_chunk *chunk);
extern store_status store_range(candle_store *store, const candle_chunk *chunk, size_t start,
								size_t end, bool keep);
extern size_t first_bad_row(candle_store *store, const candle_chunk *chunk);

#endif							/* TRADEKEEP_STORE_H */
