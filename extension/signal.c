/*
 * signal.c
 *		Near-duplicate claims: same symbol and direction, price within tolerance.
 *
 * A signal of price p is a duplicate of a live one of price q when
 * |p - q| <= tolerance * q, computed in double precision.  The primary key (symbol,
 * direction, price, signal_id) finds the nearest, in a range slightly wider than the
 * tolerance, where the formula itself has the last word.  Few originals lie within
 * tolerance of each other, so one scan upwards usually passes all there are; where many
 * do, the nearest are found by a scan from p downwards and one from p upwards.
 *
 * No unique index can forbid two prices that are merely close, so a lock does:
 *
 *	1. Look with the latest snapshot.  A duplicate is found without any lock.
 *	2. What looks new takes the lock of its (symbol, direction) until the transaction
 *	   ends, and looks again: whoever held the lock has committed or rolled back, and
 *	   the latest snapshot shows it, whatever the isolation level.
 *	3. What is still new is inserted.
 *
 * The locks are advisory locks with a tag of their own, so they never meet those of
 * users.  Locks are taken in one order: first, in share mode, one that stands for all
 * signals; then those of the groups, by their hash.  A call that would need more than
 * MAX_GROUP_LOCKS takes the first one exclusively instead, and none of the others.
 */
#include "signal.h"

#include <float.h>
#include <math.h>

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "input.h"
#include "lock.h"
#include "metrics.h"
#include "probe.h"
#include "remember.h"
#include "statement.h"

PG_FUNCTION_INFO_V1(tradekeep_clear_signals);

/* Columns of tradekeep.signal. */
#define SIGNAL_PRICE		3
#define SIGNAL_ID			4
#define SIGNAL_SENT_AT		5
#define SIGNAL_EXPIRES_AT	6

static ProbeTable signal_table = {.name = "signal",.nkeys = 4};

static Statement insert_signals = {
	.sql = "INSERT INTO tradekeep.signal"
	" (symbol, direction, price, signal_id, data, sent_at, expires_at, sweep_after)"
	" SELECT *, $6, $7, $8 FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2),"
	" pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5))",
	.nargs = 8,
	.argtypes = {TEXTARRAYOID, TEXTARRAYOID, FLOAT8ARRAYOID, INT8ARRAYOID, JSONBARRAYOID,
	TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
};
static Statement insert_signal = {
	.sql = "INSERT INTO tradekeep.signal"
	" (symbol, direction, price, signal_id, data, sent_at, expires_at, sweep_after)"
	" VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
	.nargs = 8,
	.argtypes = {TEXTOID, TEXTOID, FLOAT8OID, INT8OID, JSONBOID,
	TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
};
static Statement delete_signals = {
	.sql = "WITH doomed AS MATERIALIZED (SELECT symbol, direction, price, signal_id"
	" FROM tradekeep.signal WHERE ($1 IS NULL OR symbol OPERATOR(pg_catalog.=) $1)"
	" ORDER BY symbol, direction, price, signal_id FOR UPDATE),"
	" gone AS (DELETE FROM tradekeep.signal AS s USING doomed AS d"
	" WHERE s.symbol OPERATOR(pg_catalog.=) d.symbol"
	" AND s.direction OPERATOR(pg_catalog.=) d.direction"
	" AND s.price OPERATOR(pg_catalog.=) d.price"
	" AND s.signal_id OPERATOR(pg_catalog.=) d.signal_id RETURNING s.expires_at)"
	" SELECT FROM gone WHERE expires_at OPERATOR(pg_catalog.>) pg_catalog.clock_timestamp()",
	.nargs = 1,
	.argtypes = {TEXTOID}
};

bool
signal_within_tolerance(float8 price, float8 original, float8 tolerance)
{
	return fabs(price - original) <= tolerance * original;
}

void
keep_nearer_signal(Sent *nearest, const Sent *other, float8 price)
{
	float8		distance = fabs(price - other->price);
	float8		nearest_distance = fabs(price - nearest->price);

	if (nearest->signal_id == 0 || distance < nearest_distance ||
		(distance == nearest_distance && other->signal_id < nearest->signal_id))
		*nearest = *other;
}

/* Reads a row; false unless it is live and within tolerance. */
static bool
read_original(TupleTableSlot *slot, float8 price, float8 tolerance, TimestampTz at, Sent *sent)
{
	bool		isnull;

	sent->price = DatumGetFloat8(slot_getattr(slot, SIGNAL_PRICE, &isnull));
	sent->expires_at = DatumGetTimestampTz(slot_getattr(slot, SIGNAL_EXPIRES_AT, &isnull));
	if (sent->expires_at <= at || !signal_within_tolerance(price, sent->price, tolerance))
		return false;
	sent->signal_id = DatumGetInt64(slot_getattr(slot, SIGNAL_ID, &isnull));
	sent->sent_at = DatumGetTimestampTz(slot_getattr(slot, SIGNAL_SENT_AT, &isnull));
	return true;
}

/*
 * Goes through the rows that probe_range() started on, up to the nearest originals that
 * lie at the price or beyond it; several may have the same price.  False: there are more
 * than `most` rows before it.
 */
static bool
scan_nearest(Probe *probe, ScanDirection direction, int most, float8 price, float8 tolerance,
			 TimestampTz at, Sent *nearest)
{
	TupleTableSlot *slot;
	bool		found = false;
	float8		found_price = 0;

	while ((slot = probe_next(probe, direction)) != NULL)
	{
		Sent		sent;
		bool		original = read_original(slot, price, tolerance, at, &sent);
		bool		before = direction == ForwardScanDirection ? sent.price < price :
		sent.price > price;

		if (found && sent.price != found_price)
			break;
		if (before && most-- == 0)
			return false;
		if (!original)
			continue;
		keep_nearer_signal(nearest, &sent, price);
		if (!before)
		{
			found = true;
			found_price = sent.price;
		}
	}
	return true;
}

/* More than these below a price, and a scan from there is worth a second descent. */
#define FEW_BELOW 16

/*
 * Finds the nearest live original.  The bounds solve |p - q| = tolerance * q for q;
 * `slack` is far more than rounding can move them, in the subnormal range too.
 */
static bool
find_original(Probe *probe, const Signal *signal, float8 tolerance, TimestampTz at, Sent *nearest)
{
	const float8 slack = 8 * DBL_EPSILON;
	float8		low = signal->price / (1 + tolerance + slack) - 8 * DBL_TRUE_MIN;
	float8		width = 1 - tolerance - slack;
	float8		high = width > 0 ? signal->price / width + 8 * DBL_TRUE_MIN : get_float8_infinity();
	Datum		keys[2] = {PointerGetDatum(signal->symbol), PointerGetDatum(signal->direction)};
	Datum		price = Float8GetDatum(signal->price);

	memset(nearest, 0, sizeof(Sent));
	probe_range(probe, keys, BTGreaterEqualStrategyNumber, Float8GetDatum(low),
				BTLessEqualStrategyNumber, Float8GetDatum(high));
	if (scan_nearest(probe, ForwardScanDirection, FEW_BELOW, signal->price, tolerance, at, nearest))
		return nearest->signal_id != 0;

	memset(nearest, 0, sizeof(Sent));
	probe_range(probe, keys, BTGreaterEqualStrategyNumber, Float8GetDatum(low),
				BTLessEqualStrategyNumber, price);
	scan_nearest(probe, BackwardScanDirection, 0, signal->price, tolerance, at, nearest);
	if (nearest->signal_id == 0 || nearest->price != signal->price)
	{
		probe_range(probe, keys, BTGreaterStrategyNumber, price,
					BTLessEqualStrategyNumber, Float8GetDatum(high));
		scan_nearest(probe, ForwardScanDirection, 0, signal->price, tolerance, at, nearest);
	}
	return nearest->signal_id != 0;
}

uint64
hash_signal_group(const Signal *signal)
{
	uint64		hash = DatumGetUInt64(hash_any_extended((unsigned char *) VARDATA_ANY(signal->symbol),
														VARSIZE_ANY_EXHDR(signal->symbol), 0));

	return hash_combine64(hash, VARDATA_ANY(signal->direction)[0]);
}

void
lock_all_signals(LOCKMODE mode)
{
	lock_until_end(LOCK_SIGNALS, 0, mode);
}

void
lock_signal_group(const Signal *signal)
{
	lock_until_end(LOCK_SIGNAL_GROUP, signal->group_hash, ExclusiveLock);
}

void
find_originals(Signal **signals, int nsignals, const SignalTerm *term)
{
	Probe		probe;

	probe_begin(&probe, &signal_table, PROBE_LATEST);
	require_probe(&probe);
	for (int i = 0; i < nsignals; i++)
		signals[i]->duplicate = find_original(&probe, signals[i], term->tolerance, term->at,
											  &signals[i]->sent);
	probe_end(&probe);
}

void
settle_signal_term(SignalTerm *term)
{
	if (!term->replayed)
		term->at = GetCurrentTimestamp();
	term->expires_at = term->at + term->ttl;
	term->sweep_after = Max(term->expires_at, GetCurrentTimestamp() + term->ttl);
}

void
grant_signal(Signal *signal, const SignalTerm *term)
{
	Oid			schema = get_namespace_oid(TRADEKEEP_SCHEMA, false);

	signal->sent.signal_id = nextval_internal(get_relname_relid("signal_id", schema), true);
	signal->sent.price = signal->price;
	signal->sent.sent_at = term->at;
	signal->sent.expires_at = term->expires_at;
}

/* One statement for one signal, and one with arrays for many. */
void
insert_granted(Signal **granted, int ngranted, const SignalTerm *term)
{
	Datum		values[8];
	char		nulls[9] = "        ";

	values[5] = TimestampTzGetDatum(term->at);
	values[6] = TimestampTzGetDatum(term->expires_at);
	values[7] = TimestampTzGetDatum(term->sweep_after);
	if (ngranted == 1)
	{
		values[0] = PointerGetDatum(granted[0]->symbol);
		values[1] = PointerGetDatum(granted[0]->direction);
		values[2] = Float8GetDatum(granted[0]->price);
		values[3] = Int64GetDatum(granted[0]->sent.signal_id);
		values[4] = PointerGetDatum(granted[0]->data);
		if (granted[0]->data == NULL)
			nulls[4] = 'n';
		run_statement(&insert_signal, values, nulls);
	}
	else if (ngranted > 1)
	{
		Datum	   *columns = palloc(sizeof(Datum) * ngranted * 5);
		bool	   *no_data = palloc(sizeof(bool) * ngranted);
		int			dims[1] = {ngranted};
		int			lbs[1] = {1};

		for (int i = 0; i < ngranted; i++)
		{
			columns[i] = PointerGetDatum(granted[i]->symbol);
			columns[ngranted + i] = PointerGetDatum(granted[i]->direction);
			columns[2 * ngranted + i] = Float8GetDatum(granted[i]->price);
			columns[3 * ngranted + i] = Int64GetDatum(granted[i]->sent.signal_id);
			columns[4 * ngranted + i] = PointerGetDatum(granted[i]->data);
			no_data[i] = granted[i]->data == NULL;
		}
		values[0] = PointerGetDatum(construct_array(columns, ngranted, TEXTOID, -1, false,
													TYPALIGN_INT));
		values[1] = PointerGetDatum(construct_array(columns + ngranted, ngranted, TEXTOID, -1,
													false, TYPALIGN_INT));
		values[2] = PointerGetDatum(construct_array(columns + 2 * ngranted, ngranted, FLOAT8OID,
													sizeof(float8), true, TYPALIGN_DOUBLE));
		values[3] = PointerGetDatum(construct_array(columns + 3 * ngranted, ngranted, INT8OID,
													sizeof(int64), true, TYPALIGN_DOUBLE));
		values[4] = PointerGetDatum(construct_md_array(columns + 4 * ngranted, no_data, 1, dims,
													   lbs, JSONBOID, -1, false, TYPALIGN_INT));
		run_statement(&insert_signals, values, nulls);
	}
}

Datum
tradekeep_clear_signals(PG_FUNCTION_ARGS)
{
	Datum		values[1] = {0};
	int64		cleared;

	require_writable("tradekeep.clear_signals");
	if (!PG_ARGISNULL(0))
		values[0] = PointerGetDatum(key_argument(fcinfo, 0, "symbol"));
	else if (!table_granted("signal", ACL_TRUNCATE))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to clear the signals of all symbols"),
				 errhint("Name a symbol, or ask for the level admin (tradekeep.grant_access).")));
	cleared = run_statement(&delete_signals, values, PG_ARGISNULL(0) ? "n" : " ");
	count_signals(COUNT_RELEASED, cleared);
	if (cleared > 0)
		note_signals_cleared();
	PG_RETURN_INT64(cleared);
}
