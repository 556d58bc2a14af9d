/*
 * store.c
 *		Chunks of candles on their way into the database.
 *
 * New candles go straight into the table with COPY in binary, one statement a
 * chunk and so one transaction.  If one of them exists, the whole COPY is undone
 * (23505) and the chunk goes through tradekeep.upsert_candles(), as do the
 * chunks that follow, until one was all new again.  What the table's own checks
 * refuse goes the same way, for upsert_candles() says better what is wrong.
 */
#include "store.h"

#include <endian.h>
#include <poll.h>
#include <stdlib.h>

/* 2000-01-01, from where the server counts, in milliseconds since 1970. */
#define SERVER_EPOCH INT64_C(946684800000)

/* Two bytes for the number of columns, four for the length of each, and their values. */
#define COPY_COLUMNS 9
#define COPY_ROW_BYTES (2 + COPY_COLUMNS * 4 + MAX_SYMBOL + 4 + 6 * 8 + 1)

/* The signature, no flags, no extension. */
static const char copy_header[19] = "PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0";
static const char copy_trailer[2] = {'\377', '\377'};

#define COPY_FRAME_BYTES (sizeof(copy_header) + sizeof(copy_trailer))

/* $1: the only timeframe there will be, or null. */
static const char *const open_query =
"SELECT name, name::tradekeep.timeframe, (1000 * extract(epoch FROM"
" tradekeep.candle_start(name::tradekeep.timeframe, statement_timestamp())))::bigint,"
" floor(1000 * extract(epoch FROM statement_timestamp()))::bigint"
" FROM unnest(CASE WHEN $1::text IS NULL THEN '{" STORE_TIMEFRAMES "}'::text[]"
" ELSE ARRAY[$1] END) AS given(name)";

static int64_t
int64_value(const PGresult *result, int row, int column)
{
	uint64_t	value;

	memcpy(&value, PQgetvalue(result, row, column), sizeof(value));
	return (int64_t) be64toh(value);
}

/*
 * Lets the server translate the timeframes and say which candle of each is under
 * way: that one and what comes after it cannot be final.  Returns an exit code.
 */
int
store_open(candle_store *store)
{
	const char *values[] = {store->timeframe};
	PGconn	   *connection;
	PGresult   *result;
	int			status = EXIT_DONE;

	/* Storing nothing checks the arguments, as far as the client can. */
	if (tk_connect(store->client) != 0 ||
		tk_upsert_candles(store->client, store->symbol != NULL ? store->symbol : "any",
						  store->timeframe != NULL ? store->timeframe : "1m", NULL, 0, NULL) != 0)
		return report_failure(store->client);
	connection = tk_connection(store->client);
	result = PQexecParams(connection, open_query, 1, NULL, values, NULL, NULL, 1);
	if (PQresultStatus(result) != PGRES_TUPLES_OK)
		status = report_result(connection, result);
	else
	{
		store->timeframe_count = PQntuples(result);
		store->clock = int64_value(result, 0, 3);
	}
	for (int i = 0; i < store->timeframe_count; i++)
	{
		store_timeframe *timeframe = &store->timeframes[i];

		snprintf(timeframe->name, sizeof(timeframe->name), "%s", PQgetvalue(result, i, 0));
		memcpy(timeframe->bytes, PQgetvalue(result, i, 1), sizeof(timeframe->bytes));
		timeframe->now = int64_value(result, i, 2);
	}
	PQclear(result);
	if (status != EXIT_DONE)
		return status;
	store->copying = store->may_copy = true;
	store->buffer = malloc(COPY_FRAME_BYTES + CHUNK_ROWS * COPY_ROW_BYTES);
	if (store->buffer != NULL)
		return EXIT_DONE;
	fputs("tradekeep: out of memory\n", stderr);
	return EXIT_FAILED;
}

/* Null for a name that no timeframe has. */
const store_timeframe *
store_find(const candle_store *store, const char *timeframe)
{
	if (store->timeframe != NULL)
		return &store->timeframes[0];
	for (int i = 0; i < store->timeframe_count; i++)
	{
		if (strcmp(store->timeframes[i].name, timeframe) == 0)
			return &store->timeframes[i];
	}
	return NULL;
}

void
store_close(candle_store *store)
{
	free(store->buffer);
	store->buffer = NULL;
}

static char *
put_uint32(char *target, uint32_t value)
{
	value = htobe32(value);
	return mempcpy(target, &value, sizeof(value));
}

static char *
put_field(char *target, const void *value, size_t length)
{
	return mempcpy(put_uint32(target, (uint32_t) length), value, length);
}

static char *
put_int64(char *target, int64_t value)
{
	uint64_t	bits = htobe64((uint64_t) value);

	return put_field(target, &bits, sizeof(bits));
}

static char *
put_float8(char *target, double value)
{
	int64_t		bits;

	memcpy(&bits, &value, sizeof(bits));
	return put_int64(target, bits);
}

static size_t
encode(candle_store *store, const candle_chunk *chunk)
{
	static const char columns[2] = {0, COPY_COLUMNS};
	char	   *p = mempcpy(store->buffer, copy_header, sizeof(copy_header));

	for (size_t i = 0; i < chunk->count; i++)
	{
		const tk_candle *candle = &chunk->candles[i];
		char		closed = candle->closed != 0;

		p = mempcpy(p, columns, sizeof(columns));
		p = put_field(p, chunk->symbols[i], strlen(chunk->symbols[i]));
		p = put_field(p, chunk->timeframe->bytes, sizeof(chunk->timeframe->bytes));
		p = put_int64(p, (candle->ts - SERVER_EPOCH) * 1000);
		p = put_float8(p, candle->open);
		p = put_float8(p, candle->high);
		p = put_float8(p, candle->low);
		p = put_float8(p, candle->close);
		p = put_float8(p, candle->volume);
		p = put_field(p, &closed, 1);
	}
	p = mempcpy(p, copy_trailer, sizeof(copy_trailer));
	return (size_t) (p - store->buffer);
}

/* True when the chunk was stored; false, whatever the reason, when nothing of it was. */
static bool
copy_chunk(candle_store *store, const candle_chunk *chunk)
{
	PGconn	   *connection = tk_connection(store->client);
	PGresult   *result;
	bool		started;
	bool		stored = true;
	const char *sqlstate;

	if (connection == NULL)
		return false;
	result = PQexec(connection, "COPY tradekeep.candle (symbol, timeframe, ts, open, high, low,"
					" close, volume, closed) FROM STDIN (FORMAT binary)");
	started = PQresultStatus(result) == PGRES_COPY_IN;
	sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	if (sqlstate != NULL && strcmp(sqlstate, "42501") == 0)
		store->may_copy = false;
	PQclear(result);
	if (!started)
		return false;
	if (PQputCopyData(connection, store->buffer, (int) encode(store, chunk)) != 1 ||
		PQputCopyEnd(connection, NULL) != 1)
		stored = false;
	while ((result = PQgetResult(connection)) != NULL)
	{
		stored &= PQresultStatus(result) == PGRES_COMMAND_OK;
		PQclear(result);
		if (PQstatus(connection) == CONNECTION_BAD)
			break;
	}
	return stored;
}

/* Stores rows [start, end) of a chunk; or, when they are not to be kept, only tries. */
store_status
store_range(candle_store *store, const candle_chunk *chunk, size_t start, size_t end, bool keep)
{
	tk_upsert_counts counts;
	int			failed;
	bool		refused;

	if (!keep && tk_begin(store->client) != 0)
		return STORE_FAILED;
	failed = tk_upsert_symbols(store->client, chunk->symbols + start, chunk->timeframe->name,
							   chunk->candles + start, end - start, &counts);
	refused = strncmp(tk_sqlstate(store->client), "TK", 2) == 0 ||
		strncmp(tk_sqlstate(store->client), "22", 2) == 0 ||
		strncmp(tk_sqlstate(store->client), "23", 2) == 0;
	if (!keep)
		tk_rollback(store->client);
	if (failed)
		return refused ? STORE_REFUSED : STORE_FAILED;
	if (keep)
	{
		store->counts.inserted += counts.inserted;
		store->counts.updated += counts.updated;
		store->counts.unchanged += counts.unchanged;
		store->counts.ignored += counts.ignored;
		store->copying = counts.inserted == (int64_t) (end - start);
	}
	return STORED;
}

/* Stores a chunk whole, or nothing of it. */
store_status
store_chunk(candle_store *store, const candle_chunk *chunk)
{
	if (chunk->count == 0)
		return STORED;
	if (store->copying && store->may_copy && copy_chunk(store, chunk))
	{
		store->counts.inserted += (int64_t) chunk->count;
		return STORED;
	}
	return store_range(store, chunk, 0, chunk->count, true);
}

/*
 * Finds the first row that makes a refused chunk refused, by halves and without
 * storing any.  Asking for it alone in the end leaves the reason in the handle.
 * Returns the number of rows when the server went away or changed its mind.
 */
size_t
first_bad_row(candle_store *store, const candle_chunk *chunk)
{
	size_t		good = 0;
	size_t		bad = chunk->count;

	while (bad - good > 1)
	{
		size_t		middle = good + (bad - good) / 2;

		switch (store_range(store, chunk, good, middle, false))
		{
			case STORED:
				good = middle;
				break;
			case STORE_REFUSED:
				bad = middle;
				break;
			case STORE_FAILED:
				return chunk->count;
		}
	}
	return store_range(store, chunk, good, bad, true) == STORE_REFUSED ? good : chunk->count;
}
