/*
 * trade.h
 *		Trades, and what is known of a run of them.
 */
#ifndef TRADEKEEP_TRADE_H
#define TRADEKEEP_TRADE_H

#include "tradekeep.h"

#include "datatype/timestamp.h"
#include "executor/tuptable.h"
#include "funcapi.h"
#include "tcop/dest.h"
#include "utils/date.h"
#include "utils/hsearch.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "statement.h"

/* What of a run is a number without an end to its digits. */
typedef enum Figure
{
	TOTAL,
	PROFIT,
	LOSS,
	SQUARES,
	BEST,
	WORST,
	PEAK,						/* highest running sum, or 0 at the start */
	LOW,						/* lowest running sum, or 0 at the start */
	DRAWDOWN,
	DRAWDOWN_PEAK,				/* running sum that it fell from */
	HOLDING,					/* microseconds, of those trades that tell */
	DAY_SQUARES,				/* squares of the sums of days, but for the day that is open */
	DAY_LOSS_SQUARES,			/* the same of those below zero */
	DAY_TOTAL,					/* the sum of the day that is open; not stored */
	FIGURES
} Figure;

#define STORED_FIGURES DAY_TOTAL

/*
 * Trades in the order of (closed_at, bot, trade_id), summed up.  Runs that follow each other
 * merge exactly.
 */
typedef struct Run
{
	int64		trades;
	int64		wins;
	int64		losses;
	int64		held;			/* trades of which the beginning is known */
	TimestampTz first;			/* closed_at */
	TimestampTz last;
	Numeric		figures[FIGURES];
	bool		day_open;
	DateADT		day;			/* the one that is open, in UTC */
	HTAB	   *symbols;		/* pnl by symbol; null: not kept */
	Datum	   *stored_symbols; /* the same of a row */
	Datum	   *stored_pnl;
	int			nstored;
	MemoryContext context;
} Run;

/* A trade as far as the statistics go. */
typedef struct ClosedTrade
{
	TimestampTz closed_at;
	TimestampTz opened_at;
	bool		opened;			/* opened_at is known */
	Numeric		pnl;
	const text *symbol;			/* null: not told */
} ClosedTrade;

/* By what runs are told apart.  The first four are materialized. */
typedef enum Dimension
{
	ALL_TRADES,
	BY_SYMBOL,
	BY_STRATEGY,
	BY_BOT,
	DIMENSIONS,
	BY_SIDE = DIMENSIONS,
	BY_EXIT_REASON,
	BY_WEEKDAY,
	BY_HOUR,
	GROUPINGS
} Dimension;

extern const char *const dimension_names[GROUPINGS];

/* Runs by dimension and value. */
typedef struct GroupKey
{
	int			dimension;
	const text *value;			/* null is a value, too */
} GroupKey;

typedef struct RunGroup
{
	GroupKey	key;
	Run			run;
	bool		changed;		/* since it was read */
} RunGroup;

extern HTAB *create_groups(const char *name, Size entry_size);
extern RunGroup *find_group(HTAB *groups, Dimension dimension, const text *value);

/* trade_pnl.c */
extern int	compare_figures(Datum a, Datum b);

/* Raises an error unless a numeric is what tradekeep.figure takes; `positive`: and above 0. */
extern void check_figure(Datum value, const char *what, bool positive);

/* LONG or SHORT, in any case: true for LONG. */
extern bool is_long_side(const text *side);

/* (exit - entry) * quantity * leverage - fee for LONG, (entry - exit) * ... for SHORT. */
extern Numeric calculate_pnl(bool rising, Datum entry, Datum exit, Datum quantity, Datum leverage,
							 Datum fee);

/* trade_run.c */
extern void begin_run(Run *run, bool symbols);
extern void append_trade(Run *run, const ClosedTrade *trade);
extern void close_day(Run *run);

/* Appends a run of whole days, or one of a day or of a part of it, which stays open then. */
extern void append_run(Run *run, const Run *next, bool in_day);

/* Columns of tradekeep.trade_span, all of them, and those before the run's. */
#define SPAN_KEY_COLUMNS 4
#define SPAN_COLUMNS	(SPAN_KEY_COLUMNS + 6 + STORED_FIGURES + 2)
#define SPAN_COLUMN_LIST \
	"dimension, value, span, start, trades, wins, losses, held, first_at, last_at, total, profit," \
	" loss, squares, best, worst, peak, low, drawdown, drawdown_peak, holding, day_squares," \
	" day_loss_squares, symbols, symbol_pnl"

#define SPAN_PART		'p'		/* of a day, of all trades */
#define SPAN_DAY		'd'
#define SPAN_MONTH		'm'

extern void run_to_columns(const Run *run, Datum *values, char *nulls);
extern void run_from_slot(Run *run, TupleTableSlot *slot);

/* trade_metrics.c: the columns of trade_metrics, all but the last */
#define METRIC_COLUMNS	24
#define METRIC_TOP_SYMBOLS (METRIC_COLUMNS - 1)

extern void run_metrics(const Run *run, int64 days, Numeric starting_balance, Datum *values,
						bool *nulls);

/* Of trades of one symbol, which is it. */
extern Datum top_symbols(const Run *run, const text *only);

/* trade_mark.c: days of which the summaries are not the whole truth */
typedef struct Mark
{
	DateADT		day;
	TimestampTz first;			/* closed_at of the first trade touched */
} Mark;

typedef struct Marks
{
	Mark	   *marks;			/* one a day, by day */
	int			nmarks;
	int			allocated;
} Marks;

extern void note_mark(Marks *marks, TimestampTz closed_at);
extern void write_marks(const Marks *marks);

/* Marks were deleted: the next change leaves one again. */
extern void forget_left_marks(void);
extern void read_marks(Marks *marks);
extern const Mark *find_mark(const Marks *marks, DateADT day);

/* A statement of ours is changing trades, and has not left its marks yet. */
extern bool trades_are_unfinished(void);

/* Before anything of the statistics is read; returns the table. */
extern Oid	lock_trades(void);

static inline DateADT
day_of(TimestampTz at)
{
	return (DateADT) (at >= 0 ? at / USECS_PER_DAY : -((USECS_PER_DAY - 1 - at) / USECS_PER_DAY));
}

static inline TimestampTz
day_start(DateADT day)
{
	return (TimestampTz) day * USECS_PER_DAY;
}

extern DateADT month_start(DateADT day);
extern DateADT next_month(DateADT day);

/* trade_settle.c */

/*
 * Settles the first month with marks from a day on in the current transaction, and adds up the
 * marks that are gone; DATEVAL_NOEND when there is none.  Waits while somebody else is settling.
 */
extern DateADT settle_step(DateADT from, int64 *marks);

/* All that a step waits for, if nobody else has it. */
extern bool try_lock_settling(void);

/* trade_worker.c */

/* Outside of a transaction: settles what is marked, until a time; false: nothing was. */
extern bool settle_in_worker(TimestampTz end);

/* At the end of its turn; false when something was in the way, and better times must come. */
extern bool end_settling_in_worker(void);

/* trade_row.c */

/* A destination for rows that calls a function. */
typedef struct RowSink
{
	DestReceiver receiver;
	void		(*take) (TupleTableSlot *slot, void *argument);
	void	   *argument;
} RowSink;

/* Runs a query under the active snapshot. */
extern void read_rows(Statement *statement, Datum *values, const char *nulls,
					  void (*take) (TupleTableSlot *, void *), void *argument);

/* Columns of what select_trades gives. */
enum
{
	TRADE_CLOSED_AT, TRADE_PNL, TRADE_OPENED_AT, TRADE_SYMBOL, TRADE_STRATEGY, TRADE_BOT,
	TRADE_SIDE, TRADE_EXIT_REASON
};

/* Closed trades from $1 on and before $2 in order, of symbol $3, strategy $4, bot $5. */
extern Statement select_trades;
extern void trade_from_slot(ClosedTrade *trade, TupleTableSlot *slot);

#endif							/* TRADEKEEP_TRADE_H */
