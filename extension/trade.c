/*
 * trade.c
 *		The ledger: adding and closing trades, each once.
 *
 * A trade is open, or it is closed: then it has both closed_at and pnl, and belongs to the
 * statistics.  Adding one that is there already changes nothing when the figures are the same,
 * and is refused otherwise: one of the two is wrong.  What is there is first looked up, so that
 * a repetition costs no transaction id; a race is decided by the primary key.  A trade that was
 * added open and closed since is still the same to who adds it open again.
 */
#include "trade.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"

#include "input.h"
#include "probe.h"

PG_FUNCTION_INFO_V1(tradekeep_add_trade);
PG_FUNCTION_INFO_V1(tradekeep_add_trade_float8);
PG_FUNCTION_INFO_V1(tradekeep_close_trade);
PG_FUNCTION_INFO_V1(tradekeep_close_trade_float8);

/* Columns of tradekeep.trade. */
enum
{
	BOT, TRADE_ID, STRATEGY, SYMBOL, SIDE, QUANTITY, ENTRY_PRICE, EXIT_PRICE, LEVERAGE, FEE,
	OPENED_AT, CLOSED_AT, PNL, PNL_RATIO, EXIT_REASON, DATA, COLUMNS
};

/* Arguments of add_trade(), by column; behind them comes `replace`. */
static const int add_arguments[COLUMNS] = {15, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14};

#define ARG_REPLACE		16

static const char *const column_names[COLUMNS] = {
	"bot", "trade_id", "strategy", "symbol", "side", "quantity", "entry_price", "exit_price",
	"leverage", "fee", "opened_at", "closed_at", "pnl", "pnl_ratio", "exit_reason", "data"
};
static const Oid column_types[COLUMNS] = {
	TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, NUMERICOID, NUMERICOID, NUMERICOID, NUMERICOID,
	NUMERICOID, TIMESTAMPTZOID, TIMESTAMPTZOID, NUMERICOID, NUMERICOID, TEXTOID, JSONBOID
};

#define MAX_ROUNDS		100

/* Behind the point of a figure. */
#define FIGURE_DIGITS	100

typedef struct Trade
{
	Datum		values[COLUMNS];
	bool		nulls[COLUMNS];
} Trade;

static ProbeTable trade_table = {.name = "trade",.nkeys = 2};

#define TRADE_COLUMNS \
	"bot, trade_id, strategy, symbol, side, quantity, entry_price, exit_price, leverage, fee," \
	" opened_at, closed_at, pnl, pnl_ratio, exit_reason, data"
#define INSERT_TRADE \
	"INSERT INTO tradekeep.trade (" TRADE_COLUMNS ") VALUES" \
	" ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)" \
	" ON CONFLICT (bot, trade_id)"
#define TRADE_TYPES \
	{TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, NUMERICOID, NUMERICOID, NUMERICOID, NUMERICOID, \
	NUMERICOID, TIMESTAMPTZOID, TIMESTAMPTZOID, NUMERICOID, NUMERICOID, TEXTOID, JSONBOID}

static Statement insert_trade = {
	.sql = INSERT_TRADE " DO NOTHING",.nargs = COLUMNS,.argtypes = TRADE_TYPES
};
static Statement replace_trade = {
	.sql = INSERT_TRADE " DO UPDATE SET strategy = excluded.strategy, symbol = excluded.symbol,"
	" side = excluded.side, quantity = excluded.quantity, entry_price = excluded.entry_price,"
	" exit_price = excluded.exit_price, leverage = excluded.leverage, fee = excluded.fee,"
	" opened_at = excluded.opened_at, closed_at = excluded.closed_at, pnl = excluded.pnl,"
	" pnl_ratio = excluded.pnl_ratio, exit_reason = excluded.exit_reason, data = excluded.data",
	.nargs = COLUMNS,.argtypes = TRADE_TYPES
};
static Statement select_trade = {
	.sql = "SELECT " TRADE_COLUMNS " FROM tradekeep.trade AS t"
	" WHERE t.bot OPERATOR(pg_catalog.=) $1 AND t.trade_id OPERATOR(pg_catalog.=) $2",
	.nargs = 2,
	.argtypes = {TEXTOID, TEXTOID}
};

/* What it earns is reckoned from the row that is locked. */
#define STORED_PNL \
	"tradekeep.calculate_pnl(t.side, t.entry_price, $3, t.quantity, t.leverage," \
	" coalesce($5, t.fee))"

/* The test of closed_at is written so that no plan goes by its index, to all that is open. */
static Statement close_open_trade = {
	.sql = "UPDATE tradekeep.trade AS t SET exit_price = $3, closed_at = $4,"
	" fee = coalesce($5, t.fee), exit_reason = $6, pnl = " STORED_PNL ","
	" pnl_ratio = pg_catalog.trim_scale(pg_catalog.round(" STORED_PNL " OPERATOR(pg_catalog./) CASE WHEN"
	" t.entry_price OPERATOR(pg_catalog.<>) 0 THEN t.entry_price OPERATOR(pg_catalog.*) t.quantity"
	" END, 100))"
	" WHERE t.bot OPERATOR(pg_catalog.=) $1 AND t.trade_id OPERATOR(pg_catalog.=) $2"
	" AND (t.closed_at IS NULL) IS TRUE AND t.quantity IS NOT NULL AND t.entry_price IS NOT NULL"
	" AND (t.opened_at OPERATOR(pg_catalog.<=) $4) IS NOT FALSE",
	.nargs = 6,
	.argtypes = {TEXTOID, TEXTOID, NUMERICOID, TIMESTAMPTZOID, NUMERICOID, TEXTOID}
};

static void
check_label(const Trade *trade, int column)
{
	const text *label = DatumGetTextPP(trade->values[column]);

	if (VARSIZE_ANY_EXHDR(label) > MAX_KEY_BYTES)
		check_key(label, column_names[column]);
}

static void
refuse_missing(const char *what, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_TRADEKEEP_TRADE),
			 errmsg("%s is missing", what),
			 errhint("%s", hint)));
}

static void
check_trade_times(const Trade *trade)
{
	TimestampTz opened_at = DatumGetTimestampTz(trade->values[OPENED_AT]);
	TimestampTz closed_at = DatumGetTimestampTz(trade->values[CLOSED_AT]);

	if (!trade->nulls[OPENED_AT])
		check_time(opened_at, "opened_at");
	if (!trade->nulls[CLOSED_AT])
		check_time(closed_at, "closed_at");
	if (!trade->nulls[OPENED_AT] && !trade->nulls[CLOSED_AT] && closed_at < opened_at)
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_TRADE),
				 errmsg("closed_at %s is before opened_at",
						pstrdup(timestamptz_to_str(closed_at)))));
}

/* Fills in what can be reckoned, once all that is given is sound. */
static void
complete_trade(Trade *trade)
{
	Datum	   *values = trade->values;
	bool	   *nulls = trade->nulls;
	bool		known = !nulls[QUANTITY] && !nulls[ENTRY_PRICE];

	if (nulls[CLOSED_AT])
	{
		if (!nulls[EXIT_PRICE] || !nulls[PNL] || !nulls[PNL_RATIO] || !nulls[EXIT_REASON])
			refuse_missing("closed_at", "Without it a trade is open, and has no exit_price, pnl,"
						   " pnl_ratio or exit_reason.");
		return;
	}
	if (!nulls[PNL])
		return;
	if (!known || nulls[EXIT_PRICE])
		refuse_missing("pnl", "It is reckoned where quantity, entry_price and exit_price are"
					   " known.");
	values[PNL] = NumericGetDatum(calculate_pnl(is_long_side(DatumGetTextPP(values[SIDE])),
												values[ENTRY_PRICE], values[EXIT_PRICE],
												values[QUANTITY], values[LEVERAGE], values[FEE]));
	nulls[PNL] = false;
	check_figure(values[PNL], "pnl", false);
	if (nulls[PNL_RATIO])
	{
		Numeric		stake = numeric_mul_opt_error(DatumGetNumeric(values[ENTRY_PRICE]),
												  DatumGetNumeric(values[QUANTITY]), NULL);

		nulls[PNL_RATIO] = compare_figures(NumericGetDatum(stake),
										   NumericGetDatum(int64_to_numeric(0))) == 0;
		if (!nulls[PNL_RATIO])
		{
			Datum		ratio = DirectFunctionCall2(numeric_div, values[PNL], NumericGetDatum(stake));

			ratio = DirectFunctionCall2(numeric_round, ratio, Int32GetDatum(FIGURE_DIGITS));
			values[PNL_RATIO] = DirectFunctionCall1(numeric_trim_scale, ratio);
		}
	}
}

static void
check_trade(Trade *trade)
{
	static const int labels[] = {BOT, STRATEGY, EXIT_REASON};

	if (trade->nulls[SIDE])
		refuse_missing("side", "It is LONG or SHORT.");
	trade->values[SIDE] = CStringGetTextDatum(is_long_side(DatumGetTextPP(trade->values[SIDE])) ?
											  "LONG" : "SHORT");
	for (int i = 0; i < lengthof(labels); i++)
		if (!trade->nulls[labels[i]])
			check_label(trade, labels[i]);
	for (int i = 0; i < COLUMNS; i++)
		if (column_types[i] == NUMERICOID && !trade->nulls[i])
			check_figure(trade->values[i], column_names[i], i == QUANTITY || i == LEVERAGE);
	check_trade_times(trade);
	complete_trade(trade);
}

/* Reads the arguments; where floats come they become numbers of 15 digits. */
static void
trade_arguments(FunctionCallInfo fcinfo, bool floats, Trade *trade)
{
	for (int i = 0; i < COLUMNS; i++)
	{
		int			argno = add_arguments[i];

		trade->nulls[i] = PG_ARGISNULL(argno);
		trade->values[i] = 0;
		if (trade->nulls[i])
			continue;
		trade->values[i] = floats && column_types[i] == NUMERICOID ?
			DirectFunctionCall1(float8_numeric, PG_GETARG_DATUM(argno)) : PG_GETARG_DATUM(argno);
		if (column_types[i] != TIMESTAMPTZOID)
			trade->values[i] = PointerGetDatum(PG_DETOAST_DATUM(trade->values[i]));
	}
	trade->values[TRADE_ID] = PointerGetDatum(key_argument(fcinfo, add_arguments[TRADE_ID],
														   "trade_id"));
	trade->values[SYMBOL] = PointerGetDatum(key_argument(fcinfo, add_arguments[SYMBOL], "symbol"));
	if (trade->nulls[BOT])
		trade->values[BOT] = CStringGetTextDatum("");
	if (trade->nulls[LEVERAGE])
		trade->values[LEVERAGE] = NumericGetDatum(int64_to_numeric(1));
	if (trade->nulls[FEE])
		trade->values[FEE] = NumericGetDatum(int64_to_numeric(0));
	trade->nulls[BOT] = trade->nulls[LEVERAGE] = trade->nulls[FEE] = false;
	check_trade(trade);
}

static bool
same_value(int column, Datum a, Datum b)
{
	switch (column_types[column])
	{
		case NUMERICOID:
			return compare_figures(a, b) == 0;
		case TIMESTAMPTZOID:
			return DatumGetTimestampTz(a) == DatumGetTimestampTz(b);
		case JSONBOID:
			return DatumGetBool(DirectFunctionCall2(jsonb_eq, a, b));
		default:
			return compare_text(DatumGetTextPP(a), DatumGetTextPP(b)) == 0;
	}
}

/* A stored trade may have been closed since it was added open, unless that is to be taken back. */
static bool
same_trade(const Trade *stored, const Trade *incoming, bool strictly)
{
	bool		closed_since = !strictly && incoming->nulls[CLOSED_AT] && !stored->nulls[CLOSED_AT];

	for (int i = 0; i < COLUMNS; i++)
	{
		bool		of_closing = i == EXIT_PRICE || i == FEE || i == CLOSED_AT || i == PNL ||
		i == PNL_RATIO || i == EXIT_REASON;

		if (of_closing && closed_since)
			continue;
		if (stored->nulls[i] != incoming->nulls[i] ||
			(!stored->nulls[i] && !same_value(i, stored->values[i], incoming->values[i])))
			return false;
	}
	return true;
}

/* Looks a trade up by bot and trade_id without the executor; false says nothing. */
static bool
probe_trade(const Trade *key, Trade *stored)
{
	Probe		probe;
	TupleTableSlot *slot;

	/* It would find what policies hide. */
	if (check_enable_rls(get_relname_relid("trade", get_namespace_oid(TRADEKEEP_SCHEMA, false)),
						 InvalidOid, true) == RLS_ENABLED)
		return false;
	probe_begin(&probe, &trade_table, PROBE_LATEST);
	slot = probe_find(&probe, key->values);
	if (slot != NULL)
	{
		slot_getallattrs(slot);
		for (int i = 0; i < COLUMNS; i++)
		{
			bool		fixed = column_types[i] == TIMESTAMPTZOID;

			stored->nulls[i] = slot->tts_isnull[i];
			stored->values[i] = stored->nulls[i] || fixed ? slot->tts_values[i] :
				PointerGetDatum(PG_DETOAST_DATUM_COPY(slot->tts_values[i]));
		}
	}
	probe_end(&probe);
	return slot != NULL;
}

/* The same by a query, which knows; within SPI. */
static bool
select_stored(const Trade *key, Trade *stored)
{
	Datum		values[] = {key->values[BOT], key->values[TRADE_ID]};

	if (execute_latest(&select_trade, values) == 0)
		return false;
	heap_deform_tuple(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, stored->values, stored->nulls);
	return true;
}

static void
refuse_conflict(const Trade *trade, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_TRADEKEEP_CONFLICT),
			 errmsg("trade \"%s\" of bot \"%s\" is stored with other figures",
					TextDatumGetCString(trade->values[TRADE_ID]),
					TextDatumGetCString(trade->values[BOT])),
			 errhint("%s", hint)));
}

static void
refuse_rounds(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("could not store a trade that others change at the same time"),
			 errhint("Retry.")));
}

static bool
store_trade(const Trade *trade, bool replace)
{
	static const char *const hint = "A trade is added once. close_trade() closes an open one,"
	" and replace => true corrects one.";
	Trade		copy = *trade;
	char		nulls[COLUMNS];
	Trade		stored;
	bool		known = probe_trade(trade, &stored);
	bool		written = false;

	for (int i = 0; i < COLUMNS; i++)
		nulls[i] = trade->nulls[i] ? 'n' : ' ';
	if (known && same_trade(&stored, trade, replace))
		return false;
	if (known && !replace)
		refuse_conflict(trade, hint);
	SPI_connect();
	for (int round = 1; !written; round++)
	{
		written = execute_statement(replace ? &replace_trade : &insert_trade, copy.values,
									nulls) > 0;
		if (written)
			break;
		/* Somebody else has it. */
		if (select_stored(trade, &stored))
		{
			if (same_trade(&stored, trade, replace))
				break;
			refuse_conflict(trade, hint);
		}
		if (round == MAX_ROUNDS)
			refuse_rounds();
	}
	SPI_finish();
	return written;
}

static Datum
add_trade(FunctionCallInfo fcinfo, bool floats)
{
	Trade		trade;

	require_writable("tradekeep.add_trade");
	trade_arguments(fcinfo, floats, &trade);
	PG_RETURN_BOOL(store_trade(&trade, !PG_ARGISNULL(ARG_REPLACE) && PG_GETARG_BOOL(ARG_REPLACE)));
}

Datum
tradekeep_add_trade(PG_FUNCTION_ARGS)
{
	return add_trade(fcinfo, false);
}

Datum
tradekeep_add_trade_float8(PG_FUNCTION_ARGS)
{
	return add_trade(fcinfo, true);
}

/* What close_trade() is told; null: not told. */
typedef struct Closing
{
	Trade		trade;			/* the columns that it sets, and the key */
	bool		now;			/* closed_at was not told */
} Closing;

static bool
closed_the_same(const Trade *stored, const Closing *closing)
{
	static const int columns[] = {EXIT_PRICE, CLOSED_AT, FEE, EXIT_REASON};

	for (int i = 0; i < lengthof(columns); i++)
	{
		int			column = columns[i];

		if (closing->trade.nulls[column] || (column == CLOSED_AT && closing->now))
			continue;
		if (stored->nulls[column] ||
			!same_value(column, stored->values[column], closing->trade.values[column]))
			return false;
	}
	return true;
}

/* True when it has to be closed, false when it was, the same way. */
static bool
check_closing(const Trade *stored, Closing *closing)
{
	Trade	   *trade = &closing->trade;

	if (!stored->nulls[CLOSED_AT])
	{
		if (!closed_the_same(stored, closing))
			refuse_conflict(trade, "It was closed. add_trade() with replace => true corrects it.");
		return false;
	}
	if (stored->nulls[QUANTITY] || stored->nulls[ENTRY_PRICE])
		refuse_missing("quantity or entry_price", "What the trade earned cannot be reckoned: add it"
					   " with its pnl and replace => true.");
	trade->nulls[OPENED_AT] = stored->nulls[OPENED_AT];
	trade->values[OPENED_AT] = stored->values[OPENED_AT];
	check_trade_times(trade);
	return true;
}

static bool
close_stored(Closing *closing)
{
	Trade	   *trade = &closing->trade;
	Datum		values[] = {trade->values[BOT], trade->values[TRADE_ID], trade->values[EXIT_PRICE],
	trade->values[CLOSED_AT], trade->values[FEE], trade->values[EXIT_REASON]};
	char		nulls[] = {' ', ' ', ' ', ' ', trade->nulls[FEE] ? 'n' : ' ',
	trade->nulls[EXIT_REASON] ? 'n' : ' '};
	Trade		stored;
	bool		closed = false;

	if (probe_trade(trade, &stored) && !check_closing(&stored, closing))
		return false;
	SPI_connect();
	for (int round = 1; !closed; round++)
	{
		if (!select_stored(trade, &stored))
			ereport(ERROR,
					(errcode(ERRCODE_NO_DATA_FOUND),
					 errmsg("bot \"%s\" has no trade \"%s\"",
							TextDatumGetCString(trade->values[BOT]),
							TextDatumGetCString(trade->values[TRADE_ID]))));
		if (!check_closing(&stored, closing))
			break;
		closed = execute_statement(&close_open_trade, values, nulls) > 0;
		if (!closed && (IsolationUsesXactSnapshot() || round == MAX_ROUNDS))
			refuse_rounds();
	}
	SPI_finish();
	return closed;
}

static Datum
close_trade(FunctionCallInfo fcinfo, bool floats)
{
	static const int columns[] = {TRADE_ID, EXIT_PRICE, CLOSED_AT, FEE, EXIT_REASON, BOT};
	Closing		closing;
	Trade	   *trade = &closing.trade;

	require_writable("tradekeep.close_trade");
	memset(trade->nulls, true, sizeof(trade->nulls));
	for (int i = 0; i < lengthof(columns); i++)
	{
		int			column = columns[i];

		trade->nulls[column] = PG_ARGISNULL(i);
		trade->values[column] = PG_GETARG_DATUM(i);
		if (floats && column_types[column] == NUMERICOID && !PG_ARGISNULL(i))
			trade->values[column] = DirectFunctionCall1(float8_numeric, PG_GETARG_DATUM(i));
	}
	trade->values[TRADE_ID] = PointerGetDatum(key_argument(fcinfo, 0, "trade_id"));
	if (trade->nulls[BOT])
		trade->values[BOT] = CStringGetTextDatum("");
	if (trade->nulls[EXIT_PRICE])
		refuse_missing("exit_price", "What the trade earned is reckoned from it.");
	check_figure(trade->values[EXIT_PRICE], "exit_price", false);
	if (!trade->nulls[FEE])
		check_figure(trade->values[FEE], "fee", false);
	if (!trade->nulls[EXIT_REASON])
		check_label(trade, EXIT_REASON);
	closing.now = trade->nulls[CLOSED_AT];
	if (closing.now)
		trade->values[CLOSED_AT] = TimestampTzGetDatum(GetCurrentTimestamp());
	trade->nulls[CLOSED_AT] = false;
	PG_RETURN_BOOL(close_stored(&closing));
}

Datum
tradekeep_close_trade(PG_FUNCTION_ARGS)
{
	return close_trade(fcinfo, false);
}

Datum
tradekeep_close_trade_float8(PG_FUNCTION_ARGS)
{
	return close_trade(fcinfo, true);
}
