/*
 * rows.h
 *		Candles read one by one from a ccxt JSON file of any length.
 */
#ifndef TRADEKEEP_ROWS_H
#define TRADEKEEP_ROWS_H

#include "command.h"

/* A row has a tenth of this at most, an element longer than that is no row. */
#define ROWS_BUFFER 65536

typedef enum row_status
{
	ROW_READ,
	ROW_REJECTED,				/* this row is no candle; the next one may be */
	ROW_END,					/* the array was closed, and nothing follows */
	ROW_BROKEN					/* the file is not, or no longer, an array of rows */
} row_status;

typedef struct row_problem
{
	int64_t		row;			/* counted from 0, as in the array; -1: not about a row */
	int64_t		line;			/* counted from 1 */
	char		sqlstate[6];
	char		reason[256];
} row_problem;

typedef struct row_reader
{
	int			fd;
	int64_t		size;			/* of the file in bytes; -1 when it has none */
	int64_t		consumed;		/* bytes that went through the buffer */
	int64_t		row;			/* of the element last found */
	int64_t		line;			/* where the buffer starts */
	int64_t		row_line;		/* where the element last found starts */
	size_t		start;			/* what is unread lies in buffer[start, end) */
	size_t		end;
	enum
	{
		BEFORE_ARRAY, AT_FIRST_ROW, AT_NEXT_ROW, AFTER_ROW, AFTER_ARRAY
	}			place;
	char		buffer[ROWS_BUFFER];
} row_reader;

extern bool rows_open(row_reader *reader, const char *path, row_problem *problem);
extern row_status rows_next(row_reader *reader, tk_candle *candle, row_problem *problem);
extern void rows_close(row_reader *reader);

#endif							/* TRADEKEEP_ROWS_H */
