/*
 * rollup.h
 *		Timeframes derived from finer ones.
 */
#ifndef TRADEKEEP_ROLLUP_H
#define TRADEKEEP_ROLLUP_H

#include "tradekeep.h"

#include "nodes/pg_list.h"

#include "candle.h"

/* A row of tradekeep.rollup. */
typedef struct Rollup
{
	Timeframe	source;
	Timeframe	target;
	int64		grace;			/* microseconds */
} Rollup;

/* The table tradekeep.candle. */
extern Oid	candle_relid(void);

/* All of them, by target: a source stands before what is derived from it. */
extern int	load_rollups(Rollup **rollups);

/* Refuses to make candles of a timeframe by other means than its rollup. */
extern void refuse_rollup(Timeframe target);

/*
 * Keeps other writers out when bars of several timeframes are to be written, which would meet
 * those that derivation writes in another order.
 */
extern void lock_mixed_batch(void);

/* A candle that a statement wrote or took away. */
typedef struct Change
{
	text	   *symbol;
	TimestampTz ts;
	bool		was_closed;		/* what was there is gone, and was closed */
	bool		is_closed;		/* what is there now came, and is closed */
	bool		arrived;
	bool		supplied;		/* and was not derived */
	bool		invites;		/* if it is of a target, derivation has to look at it itself */
	SubTransactionId subtransaction;	/* in which it happened */
	int32		given;			/* sources of a derived candle that came from elsewhere */
} Change;

/* From the start of a candle of the target to that of another. */
typedef struct Span
{
	TimestampTz from;
	TimestampTz to;
} Span;

/* What is to be derived of a symbol. */
typedef struct Series
{
	text	   *symbol;
	const Change *changes;		/* of its source candles, by time */
	int			nchanges;
	Span	   *spans;
	int			nspans;

	/* What derivation learns */
	TimestampTz first_closed;	/* that the statement closed */
	TimestampTz anchor;			/* a closed source candle before it, which was there */
	bool		newest_known;
	TimestampTz newest;			/* closed source candle */
	TimestampTz untouched;		/* the newest one that the statement did not touch */
} Series;

extern void add_span(Series *series, TimestampTz from, TimestampTz to);

/*
 * Derives the candles of a rollup in the spans of each series, and those that close or
 * reopen because of the changes.  The series are in the order of their symbols.
 */
extern void derive_changed(const Rollup *rollup, int nrollups, Series *series, int nseries,
						   List **late);

/* Counts what came too late, as derive_changed() has listed it. */
extern void count_late(List *late);

/*
 * Derives the candles of a symbol in a span.  Returns how many were written, and says of how many source
 * candles.
 */
extern int64 derive_again(const Rollup *rollup, text *symbol, const Span *span, int64 *sources);

/* In a trigger on tradekeep.candle: the statement is one of derivation itself. */
extern bool is_deriving(void);

/* Deleting candles is retention: what was derived from them stays. */
extern bool tradekeep_retention;

extern void rollup_define_settings(void);
extern void rollup_init(void);

#endif							/* TRADEKEEP_ROLLUP_H */
