/*
 * metrics.h
 *		Counters of claims, per scope, in shared memory.
 */
#ifndef TRADEKEEP_METRICS_H
#define TRADEKEEP_METRICS_H

#include "tradekeep.h"

typedef enum Counter
{
	COUNT_CLAIMED,				/* when the transaction commits */
	COUNT_RELEASED,				/* likewise */
	COUNT_DUPLICATE,			/* at the call */
	COUNT_ERROR					/* likewise */
} Counter;

#define COUNTERS 4

/* Installs the hooks; only while preloading. */
extern void metrics_init(void);

/* Adds to a counter of a scope, or of the signals.  Not preloaded, it does nothing. */
extern void count_claims(const text *scope, Counter counter, int64 number);
extern void count_signals(Counter counter, int64 number);

/* Where the errors of a function are counted, unless it is a scope. */
#define ARGUMENT_SCOPE	NULL	/* the scope in its first argument */
#define SIGNALS			""		/* the signals */

/* Calls a function of ours and, if it raises an error, counts that. */
extern Datum counted_call(FunctionCallInfo fcinfo, PGFunction function, const char *scope);

/* Defines the SQL function `name`, whose errors are counted, on top of a static one. */
#define COUNTED_FUNCTION(name, function, scope) \
PG_FUNCTION_INFO_V1(name); \
Datum \
name(PG_FUNCTION_ARGS) \
{ \
	return counted_call(fcinfo, function, scope); \
}

#endif							/* TRADEKEEP_METRICS_H */
