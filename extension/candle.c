/*
 * candle.c
 *		Storing OHLCV bars: which bar wins, and how it gets into the table.
 *
 * A bar supersedes the stored one, is equal to it, or is older; that rule is
 * judge_candle(), and it is applied twice.  Before writing, against what a probe
 * finds, so that an unchanged bar costs no transaction id, no WAL and no lock.
 * And under the row lock, by the trigger keep_newest_candle, against the newest
 * version of the row: this decides races, and holds for UPDATE and ON CONFLICT DO
 * UPDATE by any client.
 *
 * A batch waits for others in one order only, that of the key, so that overlapping
 * batches cannot deadlock.  Bars that look new are inserted with ON CONFLICT DO NOTHING
 * and nothing else is touched, so that of several bots that store the same new bars only
 * one writes.  When that is not all there is to do, the attempt is undone, and one pass
 * in order upserts every bar that is new or supersedes what is stored.  What the trigger
 * dropped then is judged again: its row is locked, so that is final.  Bars of one batch
 * that have the same key are judged against each other in memory, and only the one that
 * is left at the end is written, so that no key is come back to.
 */
#include "candle.h"

#include <math.h>

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "input.h"
#include "owner.h"
#include "probe.h"
#include "rollup.h"
#include "statement.h"

PG_FUNCTION_INFO_V1(tradekeep_keep_newest_candle);

/* Columns of tradekeep.candle. */
enum
{
	COLUMN_SYMBOL = 1,
	COLUMN_TIMEFRAME,
	COLUMN_TS,
	COLUMN_OPEN,
	COLUMN_HIGH,
	COLUMN_LOW,
	COLUMN_CLOSE,
	COLUMN_VOLUME,
	COLUMN_CLOSED,
	COLUMN_SOURCES
};

#define MAX_ROUNDS 100

static ProbeTable candle_table = {.name = "candle",.nkeys = 3};

#define CANDLE_COLUMNS "symbol, timeframe, ts, open, high, low, close, volume, closed"
#define UNNEST_CANDLES \
	" SELECT * FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)," \
	" pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5)," \
	" pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8)," \
	" pg_catalog.unnest($9)"
#define INSERT_CANDLES \
	"INSERT INTO tradekeep.candle (" CANDLE_COLUMNS ")" UNNEST_CANDLES ")"
#define INSERT_DERIVED \
	"INSERT INTO tradekeep.candle (" CANDLE_COLUMNS ", sources)" UNNEST_CANDLES \
	", pg_catalog.unnest($10))"
#define ON_CONFLICT_UPDATE \
	" ON CONFLICT (symbol, timeframe, ts) DO UPDATE SET open = excluded.open," \
	" high = excluded.high, low = excluded.low, close = excluded.close," \
	" volume = excluded.volume, closed = excluded.closed, sources = excluded.sources"
#define RETURNING_KEY \
	" RETURNING symbol, timeframe, ts, xmax OPERATOR(pg_catalog.=) '0'::pg_catalog.xid"

static Statement insert_new = {
	.sql = INSERT_CANDLES " ON CONFLICT (symbol, timeframe, ts) DO NOTHING",
	.nargs = 9,
	.argtypes = {TEXTARRAYOID, TIMEFRAMEARRAYOID, TIMESTAMPTZARRAYOID, FLOAT8ARRAYOID, FLOAT8ARRAYOID,
	FLOAT8ARRAYOID, FLOAT8ARRAYOID, FLOAT8ARRAYOID, BOOLARRAYOID}
};
static Statement upsert_all = {
	.sql = INSERT_CANDLES ON_CONFLICT_UPDATE RETURNING_KEY,
	.nargs = 9,
	.argtypes = {TEXTARRAYOID, TIMEFRAMEARRAYOID, TIMESTAMPTZARRAYOID, FLOAT8ARRAYOID, FLOAT8ARRAYOID,
	FLOAT8ARRAYOID, FLOAT8ARRAYOID, FLOAT8ARRAYOID, BOOLARRAYOID}
};

/* The same for derived ones. */
static Statement insert_new_derived = {
	.sql = INSERT_DERIVED " ON CONFLICT (symbol, timeframe, ts) DO NOTHING",
	.nargs = 10,
	.argtypes = {TEXTARRAYOID, TIMEFRAMEARRAYOID, TIMESTAMPTZARRAYOID, FLOAT8ARRAYOID, FLOAT8ARRAYOID,
	FLOAT8ARRAYOID, FLOAT8ARRAYOID, FLOAT8ARRAYOID, BOOLARRAYOID, INT4ARRAYOID}
};
static Statement upsert_all_derived = {
	.sql = INSERT_DERIVED ON_CONFLICT_UPDATE RETURNING_KEY,
	.nargs = 10,
	.argtypes = {TEXTARRAYOID, TIMEFRAMEARRAYOID, TIMESTAMPTZARRAYOID, FLOAT8ARRAYOID, FLOAT8ARRAYOID,
	FLOAT8ARRAYOID, FLOAT8ARRAYOID, FLOAT8ARRAYOID, BOOLARRAYOID, INT4ARRAYOID}
};

static Statement update_by_tid = {
	.sql = "UPDATE ONLY tradekeep.candle AS c SET open = n.open, high = n.high, low = n.low,"
	" close = n.close, volume = n.volume, closed = n.closed, sources = n.sources"
	" FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3),"
	" pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7),"
	" pg_catalog.unnest($8)) AS n(open, high, low, close, volume, closed, sources, tid)"
	" WHERE c.ctid OPERATOR(pg_catalog.=) n.tid",
	.nargs = 8,
	.argtypes = {FLOAT8ARRAYOID, FLOAT8ARRAYOID, FLOAT8ARRAYOID, FLOAT8ARRAYOID, FLOAT8ARRAYOID,
	BOOLARRAYOID, INT4ARRAYOID, TIDARRAYOID}
};

static Statement delete_by_tid = {
	.sql = "DELETE FROM ONLY tradekeep.candle AS c WHERE c.ctid OPERATOR(pg_catalog.=) ANY ($1)",
	.nargs = 1,
	.argtypes = {TIDARRAYOID}
};

static Statement insert_correction = {
	.sql = "INSERT INTO tradekeep.candle_correction (symbol, timeframe, ts,"
	" old_open, old_high, old_low, old_close, old_volume,"
	" new_open, new_high, new_low, new_close, new_volume)"
	" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
	.nargs = 13,
	.argtypes = {TEXTOID, TIMEFRAMEOID, TIMESTAMPTZOID, FLOAT8OID, FLOAT8OID, FLOAT8OID, FLOAT8OID,
	FLOAT8OID, FLOAT8OID, FLOAT8OID, FLOAT8OID, FLOAT8OID, FLOAT8OID}
};

/* The order of the primary key. */
static int
compare_keys(const Candle *a, const Candle *b)
{
	int			order = a->symbol == b->symbol ? 0 : compare_text(a->symbol, b->symbol);

	if (order != 0)
		return order;
	if (a->timeframe != b->timeframe)
		return a->timeframe < b->timeframe ? -1 : 1;
	return (a->ts > b->ts) - (a->ts < b->ts);
}

bool
same_values(const Candle *a, const Candle *b)
{
	return a->open == b->open && a->high == b->high && a->low == b->low && a->close == b->close &&
		a->volume == b->volume && a->closed == b->closed && a->derived == b->derived &&
		(!a->derived || a->sources == b->sources);
}

/*
 * What an incoming bar does to the stored one of the same key.  CANDLE_UPDATED
 * means that it supersedes it.
 *
 * A final bar is corrected by another final bar, and by nothing else.  A partial
 * bar grows: volume and high only rise within a candle, the low only falls, so one
 * that is behind in any of them is older; equal in all three, the later call wins.
 * Supplied bars win over derived ones, except that a partial one does not reopen a
 * final one.  A derivation may do anything to its own bars, since it recomputes them.
 */
static CandleOutcome
judge_candle(const Candle *stored, const Candle *incoming)
{
	if (same_values(stored, incoming))
		return CANDLE_UNCHANGED;
	if (incoming->derived)
		return stored->derived ? CANDLE_UPDATED : CANDLE_IGNORED;
	if (incoming->closed)
		return CANDLE_UPDATED;
	if (stored->closed)
		return CANDLE_IGNORED;
	if (stored->derived)
		return CANDLE_UPDATED;
	if (incoming->volume < stored->volume || incoming->high < stored->high ||
		incoming->low > stored->low)
		return CANDLE_IGNORED;
	return CANDLE_UPDATED;
}

static Datum
column(TupleTableSlot *slot, int number)
{
	bool		isnull;

	return slot_getattr(slot, number, &isnull);
}

void
read_candle(TupleTableSlot *slot, Candle *candle)
{
	slot_getallattrs(slot);
	candle->symbol = DatumGetTextPP(column(slot, COLUMN_SYMBOL));
	candle->timeframe = DatumGetTimeframe(column(slot, COLUMN_TIMEFRAME));
	candle->ts = DatumGetTimestampTz(column(slot, COLUMN_TS));
	candle->open = DatumGetFloat8(column(slot, COLUMN_OPEN));
	candle->high = DatumGetFloat8(column(slot, COLUMN_HIGH));
	candle->low = DatumGetFloat8(column(slot, COLUMN_LOW));
	candle->close = DatumGetFloat8(column(slot, COLUMN_CLOSE));
	candle->volume = DatumGetFloat8(column(slot, COLUMN_VOLUME));
	candle->closed = DatumGetBool(column(slot, COLUMN_CLOSED));
	candle->derived = !slot_attisnull(slot, COLUMN_SOURCES);
	candle->sources = candle->derived ? DatumGetInt32(column(slot, COLUMN_SOURCES)) : 0;
	candle->tid = slot->tts_tid;
}

/*
 * Writes down that a final bar was corrected.  As the owner of the extension: who may
 * change bars need not be able to change what is said of it.
 */
static void
record_correction(const Candle *stored, const Candle *incoming)
{
	const Candle *bars[] = {stored, incoming};
	Datum		values[13];
	OwnerScope	scope;
	int			n = 0;

	/* What is replicated brings its record along, if that is published. */
	if (SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA)
		return;
	/* 0.1.0 has no such table. */
	if (!OidIsValid(get_relname_relid("candle_correction",
									  get_namespace_oid(TRADEKEEP_SCHEMA, false))))
		return;
	values[n++] = PointerGetDatum(stored->symbol);
	values[n++] = TimeframeGetDatum(stored->timeframe);
	values[n++] = TimestampTzGetDatum(stored->ts);
	for (int i = 0; i < lengthof(bars); i++)
	{
		values[n++] = Float8GetDatum(bars[i]->open);
		values[n++] = Float8GetDatum(bars[i]->high);
		values[n++] = Float8GetDatum(bars[i]->low);
		values[n++] = Float8GetDatum(bars[i]->close);
		values[n++] = Float8GetDatum(bars[i]->volume);
	}
	enter_extension(&scope);
	run_statement(&insert_correction, values, NULL);
	leave_owner(&scope);
}

/*
 * Drops an update that would not supersede the newest version of the row.  A row
 * whose key is changed is another candle, and free to go.
 */
Datum
tradekeep_keep_newest_candle(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	TupleTableSlot *new_row;
	Candle		stored;
	Candle		incoming;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ||
		!TRIGGER_FIRED_BEFORE(trigger->tg_event) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("keep_newest_candle must be fired before update for each row")));
	if (strcmp(RelationGetRelationName(trigger->tg_relation), candle_table.name) != 0 ||
		RelationGetNamespace(trigger->tg_relation) != get_namespace_oid(TRADEKEEP_SCHEMA, true))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("keep_newest_candle is for tradekeep.candle alone")));

	new_row = trigger->tg_newslot;
	for (int i = COLUMN_SYMBOL; i <= COLUMN_CLOSED; i++)
		if (slot_attisnull(new_row, i))
			PG_RETURN_POINTER(trigger->tg_newtuple);	/* the table's constraints refuse it */
	read_candle(trigger->tg_trigslot, &stored);
	read_candle(new_row, &incoming);
	if (compare_keys(&stored, &incoming) != 0)
		PG_RETURN_POINTER(trigger->tg_newtuple);
	if (judge_candle(&stored, &incoming) != CANDLE_UPDATED)
		PG_RETURN_POINTER(NULL);
	if (stored.closed && !stored.derived && incoming.closed && !incoming.derived)
		record_correction(&stored, &incoming);
	PG_RETURN_POINTER(trigger->tg_newtuple);
}

static bool
is_well_formed(const Candle *candle)
{
	return key_fits(candle->symbol) && time_fits(candle->ts) &&
		candle->ts == candle_start(candle->timeframe, candle->ts) &&
		isfinite(candle->high) && isfinite(candle->low) && isfinite(candle->volume) &&
		candle->low <= candle->open && candle->low <= candle->close &&
		candle->open <= candle->high && candle->close <= candle->high && candle->volume >= 0;
}

void
check_candle(const Candle *candle, int row)
{
	const char *where;

	if (is_well_formed(candle))
		return;
	where = row > 0 ? psprintf("row %d: ", row) : "";
	check_key(candle->symbol, psprintf("%ssymbol", where));
	check_time(candle->ts, psprintf("%sts", where));
	if (candle->ts != candle_start(candle->timeframe, candle->ts))
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_TIME),
				 errmsg("%s%s is not the start of a %s candle", where,
						timestamptz_to_str(candle->ts), timeframe_name(candle->timeframe)),
				 errhint("The candle that contains it starts at %s.",
						 timestamptz_to_str(candle_start(candle->timeframe, candle->ts)))));
	if (!isfinite(candle->open) || !isfinite(candle->high) || !isfinite(candle->low) ||
		!isfinite(candle->close) || !isfinite(candle->volume))
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_CANDLE),
				 errmsg("%sopen %s, high %s, low %s, close %s, volume %s", where,
						float8_text(candle->open), float8_text(candle->high),
						float8_text(candle->low), float8_text(candle->close),
						float8_text(candle->volume)),
				 errhint("Prices and volume are finite numbers.")));
	if (candle->low > candle->open || candle->low > candle->close ||
		candle->high < candle->open || candle->high < candle->close)
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_CANDLE),
				 errmsg("%sopen %s, high %s, low %s, close %s", where,
						float8_text(candle->open), float8_text(candle->high),
						float8_text(candle->low), float8_text(candle->close)),
				 errhint("The low is the smallest of them and the high the largest.")));
	if (candle->volume < 0)
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_CANDLE),
				 errmsg("%svolume is negative: %s", where, float8_text(candle->volume))));
}

/* A bar of a batch, and where its outcome goes. */
typedef struct Bar
{
	const Candle *candle;
	CandleOutcome *outcome;
} Bar;

/* The bars of a batch that have one key, in the order given. */
typedef struct Row
{
	const Bar  *bars;
	int			nbars;
	const Candle *survivor;		/* what is to be written; null: nothing */
} Row;

static int
compare_bars(const void *left, const void *right)
{
	const Bar  *a = left;
	const Bar  *b = right;
	int			order = compare_keys(a->candle, b->candle);

	return order != 0 ? order : (a->candle > b->candle) - (a->candle < b->candle);
}

/*
 * Judges the bars of a row one after the other, beginning with what is stored, or with
 * nothing: says what comes of each, and which of them is left at the end.
 */
static void
judge_row(Row *row, const Candle *stored)
{
	const Candle *before = stored;

	row->survivor = NULL;
	for (int i = 0; i < row->nbars; i++)
	{
		const Bar  *bar = &row->bars[i];

		*bar->outcome = stored == NULL ? CANDLE_INSERTED : judge_candle(stored, bar->candle);
		if (*bar->outcome == CANDLE_INSERTED || *bar->outcome == CANDLE_UPDATED)
			stored = row->survivor = bar->candle;
	}
	/* What a batch changes and changes back is not written. */
	if (before != NULL && row->survivor != NULL &&
		judge_candle(before, row->survivor) != CANDLE_UPDATED)
		row->survivor = NULL;
}

/* Corrects what was said of a row by what the server did with its survivor. */
static void
note_written(Row *row, bool inserted)
{
	CandleOutcome first = inserted ? CANDLE_INSERTED : CANDLE_UPDATED;

	for (int i = 0; i < row->nbars; i++)
		if (*row->bars[i].outcome == CANDLE_INSERTED || *row->bars[i].outcome == CANDLE_UPDATED)
		{
			*row->bars[i].outcome = first;
			first = CANDLE_UPDATED;
		}
	row->survivor = NULL;
}

/* The bars as the ten arrays that the statements take, as far as they take them. */
static void
make_columns(const Candle **candles, int ncandles, Datum *columns, int ncolumns)
{
	const Oid	types[] = {
		TEXTOID, timeframe_type(), TIMESTAMPTZOID, FLOAT8OID, FLOAT8OID, FLOAT8OID, FLOAT8OID,
		FLOAT8OID, BOOLOID, INT4OID
	};
	Datum	   *values = palloc(sizeof(Datum) * ncandles * lengthof(types));

	for (int i = 0; i < ncandles; i++)
	{
		const Candle *candle = candles[i];

		values[i] = PointerGetDatum(candle->symbol);
		values[ncandles + i] = TimeframeGetDatum(candle->timeframe);
		values[2 * ncandles + i] = TimestampTzGetDatum(candle->ts);
		values[3 * ncandles + i] = Float8GetDatum(candle->open);
		values[4 * ncandles + i] = Float8GetDatum(candle->high);
		values[5 * ncandles + i] = Float8GetDatum(candle->low);
		values[6 * ncandles + i] = Float8GetDatum(candle->close);
		values[7 * ncandles + i] = Float8GetDatum(candle->volume);
		values[8 * ncandles + i] = BoolGetDatum(candle->closed);
		values[9 * ncandles + i] = Int32GetDatum(candle->sources);
	}
	for (int i = 0; i < ncolumns; i++)
		columns[i] = array_datum(values + i * ncandles, ncandles, types[i]);
}

/* What is to be written of rows. */
static const Candle **
survivors(Row **rows, int nrows)
{
	const Candle **candles = palloc(sizeof(Candle *) * nrows);

	for (int i = 0; i < nrows; i++)
		candles[i] = rows[i]->survivor;
	return candles;
}

/* The bars of a batch are all derived, or all supplied. */
static bool
is_derived(Row **rows)
{
	return rows[0]->bars->candle->derived;
}

/*
 * Upserts the survivors of the rows, and notes which were written.  The statement gives
 * their keys back in the order in which it got them; a row that was inserted has no xmax.
 */
static void
upsert_rows(Row **rows, int nrows)
{
	Statement  *statement = is_derived(rows) ? &upsert_all_derived : &upsert_all;
	Datum		columns[10];
	int			next = 0;

	make_columns(survivors(rows, nrows), nrows, columns, statement->nargs);
	SPI_connect();
	execute_statement(statement, columns, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;
		Candle		key;

		key.symbol = DatumGetTextPP(SPI_getbinval(tuple, desc, COLUMN_SYMBOL, &isnull));
		key.timeframe = DatumGetTimeframe(SPI_getbinval(tuple, desc, COLUMN_TIMEFRAME, &isnull));
		key.ts = DatumGetTimestampTz(SPI_getbinval(tuple, desc, COLUMN_TS, &isnull));
		while (next < nrows && compare_keys(rows[next]->bars->candle, &key) != 0)
			next++;
		if (next == nrows)
			elog(ERROR, "candles were stored out of order");
		note_written(rows[next],
					 DatumGetBool(SPI_getbinval(tuple, desc, COLUMN_TS + 1, &isnull)));
	}
	SPI_finish();
}

/*
 * Judges the rows against what is stored, and keeps those of which something is to be
 * written.  Returns how many; *known (unless null) says whether any was stored.
 */
static int
keep_writable(Row **rows, int nrows, bool *known)
{
	Probe		probe;
	int			kept = 0;

	if (known != NULL)
		*known = false;
	probe_begin(&probe, &candle_table, PROBE_LATEST);
	for (int i = 0; i < nrows; i++)
	{
		const Candle *key = rows[i]->bars->candle;
		Datum		keys[3] = {
			PointerGetDatum(key->symbol),
			TimeframeGetDatum(key->timeframe),
			TimestampTzGetDatum(key->ts)
		};
		TupleTableSlot *slot = probe_find_next(&probe, keys);
		Candle		stored;

		if (slot != NULL)
		{
			read_candle(slot, &stored);
			if (known != NULL)
				*known = true;
		}
		judge_row(rows[i], slot != NULL ? &stored : NULL);
		if (rows[i]->survivor != NULL)
			rows[kept++] = rows[i];
	}
	probe_end(&probe);
	return kept;
}

/* Batches are mostly all new or all known: a few of their rows tell which. */
static bool
look_new(Row **rows, int nrows)
{
	Row		   *sample[3];
	int			nsample = Min(nrows, lengthof(sample));
	bool		known;

	for (int i = 0; i < nsample; i++)
		sample[i] = rows[i == 0 ? 0 : (nrows - 1) * i / (nsample - 1)];
	keep_writable(sample, nsample, &known);
	return !known;
}

/* Inserts the survivors of the rows where there is nothing yet; returns how many. */
static uint64
insert_rows(Row **rows, int nrows)
{
	Statement  *statement = is_derived(rows) ? &insert_new_derived : &insert_new;
	Datum		columns[10];

	make_columns(survivors(rows, nrows), nrows, columns, statement->nargs);
	return run_statement(statement, columns, NULL);
}

/*
 * The first attempt: inserts the rows as new, and nothing else.  True when that was right
 * for all of them; otherwise it is undone.
 */
static bool
insert_new_rows(Row **rows, int nrows)
{
	Attempt		attempt;
	bool		all;

	for (int i = 0; i < nrows; i++)
		judge_row(rows[i], NULL);
	begin_attempt(&attempt);
	PG_TRY();
	{
		all = insert_rows(rows, nrows) == nrows;
	}
	PG_CATCH();
	{
		undo_attempt(&attempt);
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (all)
		keep_attempt(&attempt);
	else
		undo_attempt(&attempt);
	return all;
}

/* Stores rows in the order of their keys. */
static void
store_rows(Row **rows, int nrows)
{
	if (look_new(rows, nrows) && insert_new_rows(rows, nrows))
		return;
	for (int round = 1; (nrows = keep_writable(rows, nrows, NULL)) > 0; round++)
	{
		int			left = 0;

		CHECK_FOR_INTERRUPTS();
		if (round > MAX_ROUNDS)
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("could not store candles after %d rounds", MAX_ROUNDS),
					 errhint("Retry. If it never works, look for triggers on"
							 " tradekeep.candle.")));
		upsert_rows(rows, nrows);
		for (int i = 0; i < nrows; i++)
			if (rows[i]->survivor != NULL)
				rows[left++] = rows[i];
		nrows = left;
	}
}

void
store_candles(const Candle *candles, int ncandles, CandleOutcome *outcomes)
{
	Bar		   *bars = palloc(sizeof(Bar) * ncandles);
	Row		   *rows = palloc(sizeof(Row) * ncandles);
	Row		  **sorted = palloc(sizeof(Row *) * ncandles);
	int			nrows = 0;
	bool		mixed = false;

	if (ncandles == 0)
		return;
	for (int i = 0; i < ncandles; i++)
	{
		bars[i].candle = &candles[i];
		bars[i].outcome = &outcomes[i];
	}
	qsort(bars, ncandles, sizeof(Bar), compare_bars);
	for (int i = 0; i < ncandles; i++)
	{
		if (i > 0 && compare_keys(bars[i].candle, bars[i - 1].candle) == 0)
			rows[nrows - 1].nbars++;
		else
		{
			mixed |= bars[i].candle->timeframe != bars[0].candle->timeframe;
			rows[nrows] = (Row)
			{
				.bars = &bars[i],.nbars = 1
			};
			sorted[nrows] = &rows[nrows];
			nrows++;
		}
	}
	if (mixed)
		lock_mixed_batch();
	store_rows(sorted, nrows);
}

void
insert_derived(const Candle **candles, int ncandles)
{
	Datum		columns[10];

	make_columns(candles, ncandles, columns, lengthof(columns));
	(void) execute_latest(&insert_new_derived, columns);
}

static Datum
tid_array(const Candle **candles, int ncandles)
{
	Datum	   *tids = palloc(sizeof(Datum) * ncandles);

	for (int i = 0; i < ncandles; i++)
		tids[i] = PointerGetDatum(&candles[i]->tid);
	return array_datum(tids, ncandles, TIDOID);
}

void
update_derived(const Candle **candles, int ncandles)
{
	Datum		columns[11];

	make_columns(candles, ncandles, columns, COLUMN_SOURCES);
	columns[COLUMN_SOURCES] = tid_array(candles, ncandles);
	/* Without the key. */
	(void) execute_latest(&update_by_tid, columns + COLUMN_TS);
}

void
delete_derived(const Candle **candles, int ncandles)
{
	Datum		values[] = {tid_array(candles, ncandles)};

	(void) execute_latest(&delete_by_tid, values);
}
