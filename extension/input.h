/*
 * input.h
 *		Checks of arguments that several rooms take.
 *
 * Each gives back the value in the form the caller works with, or refuses it
 * with an error code of its own.
 */
#ifndef TRADEKEEP_INPUT_H
#define TRADEKEEP_INPUT_H

#include "tradekeep.h"

#include "datatype/timestamp.h"
#include "utils/jsonb.h"

#define MAX_SCOPE_BYTES 63
#define MAX_KEY_BYTES	512
#define MAX_PATTERN_BYTES (4 * MAX_KEY_BYTES)

/* The shortest lifetime: one that could not end before the call does. */
#define MIN_TTL			1000

/* The longest: a hundred years of 365.25 days, in microseconds. */
#define MAX_TTL			((int64) 36525 * USECS_PER_DAY)

/* Refuses to write where nothing can be written. */
extern void require_writable(const char *function);

extern text *scope_argument(FunctionCallInfo fcinfo, int argno);
extern void check_scope(const text *scope);
extern text *key_argument(FunctionCallInfo fcinfo, int argno, const char *what);
extern void check_key(const text *key, const char *what);

/* What check_key() accepts: batches name the culprit only when there is one. */
static inline bool
key_fits(const text *key)
{
	return VARSIZE_ANY_EXHDR(key) > 0 && VARSIZE_ANY_EXHDR(key) <= MAX_KEY_BYTES;
}

/* A flat array of keys without nulls; `what` is the singular. */
extern text **keys_argument(FunctionCallInfo fcinfo, int argno, const char *what, int *nkeys);

/* An interval in microseconds, with days of 24 hours and months of 30 days. */
extern int64 interval_to_usecs(const Interval *interval, const char *what);
extern int64 ttl_to_usecs(const Interval *interval, const char *what);

/* The other way round, without days and months. */
extern Interval *usecs_to_interval(int64 usecs);

/* 1900-01-01 and 2200-01-01, counted from 2000-01-01: infinities lie outside. */
#define MIN_TIME		(INT64CONST(-36524) * USECS_PER_DAY)
#define END_TIME		(INT64CONST(73049) * USECS_PER_DAY)

static inline bool
time_fits(TimestampTz at)
{
	return at >= MIN_TIME && at < END_TIME;
}

extern void check_time(TimestampTz at, const char *what);

/* The argument `at`: null is the clock. */
extern TimestampTz at_argument(FunctionCallInfo fcinfo, int argno);

/* The order of COLLATE "C". */
extern int	compare_text(const text *a, const text *b);

/*
 * A JSON number, or a string that holds one, as exchanges send it.  Errors say what
 * is wrong with which: "row 3: close".
 */
extern float8 json_number(const JsonbValue *value, const char *noun, int number,
						  const char *what);

/* The shortest text that is this number, for messages. */
extern char *float8_text(float8 number);

/* ISO 8601 in UTC, to the second, whatever the session's settings. */
#define UTC_TEXT_LENGTH 19
extern void utc_text(TimestampTz ts, char *buffer);

/* A glob pattern as in Redis (* ? [a-z] [^a] \x) as a regular expression. */
extern char *glob_to_regex(const text *glob);

#endif							/* TRADEKEEP_INPUT_H */
