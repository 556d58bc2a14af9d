/*
 * trade_row.c
 *		Rows of trades and of their summaries, as reading and settling take them.
 */
#include "trade.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/datetime.h"

const char *const dimension_names[GROUPINGS] = {
	"", "symbol", "strategy", "bot", "side", "exit_reason", "weekday", "hour"
};

Statement	select_trades = {
	.sql = "SELECT t.closed_at, t.pnl, t.opened_at, t.symbol, t.strategy, t.bot, t.side,"
	" t.exit_reason FROM tradekeep.trade AS t"
	" WHERE t.closed_at OPERATOR(pg_catalog.>=) $1 AND t.closed_at OPERATOR(pg_catalog.<) $2"
	" AND ($3 IS NULL OR t.symbol OPERATOR(pg_catalog.=) $3)"
	" AND ($4 IS NULL OR t.strategy OPERATOR(pg_catalog.=) $4)"
	" AND ($5 IS NULL OR t.bot OPERATOR(pg_catalog.=) $5)"
	" ORDER BY t.closed_at, t.bot, t.trade_id",
	.nargs = 5,
	.argtypes = {TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID, TEXTOID, TEXTOID}
};

static bool
receive_row(TupleTableSlot *slot, DestReceiver *self)
{
	RowSink    *sink = (RowSink *) self;

	slot_getallattrs(slot);
	sink->take(slot, sink->argument);
	return true;
}

static void
receive_startup(DestReceiver *self, int operation, TupleDesc desc)
{
}

static void
receive_end(DestReceiver *self)
{
}

void
read_rows(Statement *statement, Datum *values, const char *nulls,
		  void (*take) (TupleTableSlot *, void *), void *argument)
{
	RowSink		sink = {
		.receiver = {
			.receiveSlot = receive_row,.rStartup = receive_startup,.rShutdown = receive_end,
			.rDestroy = receive_end,.mydest = DestNone
		},
		.take = take,.argument = argument
	};

	stream_nullable(statement, values, nulls, &sink.receiver);
}

/* Points into the slot, or into the current context. */
void
trade_from_slot(ClosedTrade *trade, TupleTableSlot *slot)
{
	trade->closed_at = DatumGetTimestampTz(slot->tts_values[TRADE_CLOSED_AT]);
	trade->opened = !slot->tts_isnull[TRADE_OPENED_AT];
	trade->opened_at = trade->opened ? DatumGetTimestampTz(slot->tts_values[TRADE_OPENED_AT]) : 0;
	trade->pnl = DatumGetNumeric(slot->tts_values[TRADE_PNL]);
	trade->symbol = DatumGetTextPP(slot->tts_values[TRADE_SYMBOL]);
}

/* Months, by days since 2000. */

static DateADT
month_shifted(DateADT day, int months)
{
	int			year;
	int			month;
	int			mday;

	j2date(day + POSTGRES_EPOCH_JDATE, &year, &month, &mday);
	month += months;
	return date2j(year + (month - 1) / MONTHS_PER_YEAR, (month - 1) % MONTHS_PER_YEAR + 1, 1) -
		POSTGRES_EPOCH_JDATE;
}

DateADT
month_start(DateADT day)
{
	return month_shifted(day, 0);
}

DateADT
next_month(DateADT day)
{
	return month_shifted(day, 1);
}
