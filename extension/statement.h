/*
 * statement.h
 *		SQL that C runs again and again: prepared once a session, kept.
 */
#ifndef TRADEKEEP_STATEMENT_H
#define TRADEKEEP_STATEMENT_H

#include "tradekeep.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "nodes/parsenodes.h"
#include "tcop/dest.h"
#include "utils/resowner.h"
#include "utils/snapshot.h"

#define STATEMENT_MAX_ARGUMENTS 26

/* Stand for timeframe[] and timeframe, whose Oids are known only when the statement is prepared. */
#define TIMEFRAMEARRAYOID InvalidOid
#define TIMEFRAMEOID	((Oid) ANYELEMENTOID)

/*
 * Static.  Names in the text are qualified, operators too: it is analyzed anew
 * under whatever search_path is in force then.
 */
typedef struct Statement
{
	const char *sql;
	int			nargs;
	Oid			argtypes[STATEMENT_MAX_ARGUMENTS];
	SPIPlanPtr	plan;			/* null: not yet prepared */
	Oid			timeframe;		/* the type that it was prepared with */
} Statement;

/*
 * Runs a statement inside SPI_connect() and SPI_finish(); what it gives is in
 * SPI_tuptable.  Returns the number of rows.
 */
extern uint64 execute_statement(Statement *statement, Datum *values, const char *nulls);

/*
 * The same with the latest snapshot, whatever the isolation level: for what is read or
 * written behind a lock of ours.
 */
extern uint64 execute_latest(Statement *statement, Datum *values);

/* The same with a snapshot of the caller's; our own changes so far count. */
extern uint64 execute_under(Statement *statement, Datum *values, const char *nulls,
							Snapshot snapshot);

/* The same with SPI_connect() and SPI_finish(), where only the number matters. */
extern uint64 run_statement(Statement *statement, Datum *values, const char *nulls);

/*
 * Runs a query under the snapshot of the caller's statement and hands its rows to dest one
 * by one, however many there are; with SPI_connect() and SPI_finish().
 */
extern void stream_statement(Statement *statement, Datum *values, DestReceiver *dest);
extern void stream_nullable(Statement *statement, Datum *values, const char *nulls,
							DestReceiver *dest);

/* An array without nulls, as an argument. */
extern Datum array_datum(Datum *values, int nvalues, Oid type);

/* Statements that can be taken back together, as behind a savepoint. */
typedef struct Attempt
{
	MemoryContext context;
	ResourceOwner owner;
} Attempt;

extern void begin_attempt(Attempt *attempt);
extern void keep_attempt(Attempt *attempt);
extern void undo_attempt(Attempt *attempt);

/* True when the user wants the statement to end: RAISE may have the same code. */
extern bool is_cancel(const ErrorData *error);

/* The Oid of the type timeframe, which another CREATE EXTENSION changes. */
extern Oid	timeframe_type(void);

/* True when the current user has this privilege on a table of ours. */
extern bool table_granted(const char *table, AclMode privilege);

#endif							/* TRADEKEEP_STATEMENT_H */
