/*
 * input.c
 *		Checks of arguments that several rooms take.
 */
#include "input.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "common/int.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

void
require_writable(const char *function)
{
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot execute %s() on a standby", function),
				 errhint("Connect to the primary. Reading functions work here.")));
	if (XactReadOnly)
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot execute %s() in a read-only transaction", function)));
}

text *
scope_argument(FunctionCallInfo fcinfo, int argno)
{
	text	   *scope;

	if (PG_ARGISNULL(argno))
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_SCOPE),
				 errmsg("scope must not be null")));
	scope = PG_GETARG_TEXT_PP(argno);
	check_scope(scope);
	return scope;
}

void
check_scope(const text *scope)
{
	Size		length = VARSIZE_ANY_EXHDR(scope);

	if (length == 0 || length > MAX_SCOPE_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_SCOPE),
				 errmsg("scope has %zu bytes: \"%.*s\"", length,
						pg_mbcliplen(VARDATA_ANY(scope), length, 64), VARDATA_ANY(scope)),
				 errhint("A scope has 1 to %d bytes.", MAX_SCOPE_BYTES)));
}

text *
key_argument(FunctionCallInfo fcinfo, int argno, const char *what)
{
	text	   *key;

	if (PG_ARGISNULL(argno))
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_KEY),
				 errmsg("%s must not be null", what)));
	key = PG_GETARG_TEXT_PP(argno);
	check_key(key, what);
	return key;
}

void
check_key(const text *key, const char *what)
{
	Size		length = VARSIZE_ANY_EXHDR(key);

	if (!key_fits(key))
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_KEY),
				 errmsg("%s has %zu bytes: \"%.*s\"", what, length,
						pg_mbcliplen(VARDATA_ANY(key), length, 64), VARDATA_ANY(key)),
				 errhint("It has 1 to %d bytes. Hash what is longer.", MAX_KEY_BYTES)));
}

text	  **
keys_argument(FunctionCallInfo fcinfo, int argno, const char *what, int *nkeys)
{
	ArrayType  *array;
	Datum	   *values;
	bool	   *nulls;
	text	  **keys;

	if (PG_ARGISNULL(argno))
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_BATCH),
				 errmsg("%ss must not be null", what)));
	array = PG_GETARG_ARRAYTYPE_P(argno);
	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_BATCH),
				 errmsg("%ss must be a one-dimensional array", what)));
	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &values, &nulls, nkeys);
	keys = palloc(sizeof(text *) * *nkeys);
	for (int i = 0; i < *nkeys; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_TRADEKEEP_KEY),
					 errmsg("%s %d must not be null", what, i + 1)));
		keys[i] = DatumGetTextPP(values[i]);
		if (!key_fits(keys[i]))
			check_key(keys[i], psprintf("%s %d", what, i + 1));
	}
	return keys;
}

Interval *
usecs_to_interval(int64 usecs)
{
	Interval   *interval = palloc0(sizeof(Interval));

	interval->time = usecs;
	return interval;
}

int64
interval_to_usecs(const Interval *interval, const char *what)
{
	int64		days;
	int64		usecs;

	/* Neither sum can overflow: both fields have 32 bits. */
	days = (int64) interval->month * DAYS_PER_MONTH + interval->day;
	if (days < -2 * (MAX_TTL / USECS_PER_DAY) || days > 2 * (MAX_TTL / USECS_PER_DAY) ||
		pg_add_s64_overflow(days * USECS_PER_DAY, interval->time, &usecs) ||
		usecs < -MAX_TTL || usecs > MAX_TTL)
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_TTL),
				 errmsg("%s is out of range: %s", what,
						DatumGetCString(DirectFunctionCall1(interval_out,
															IntervalPGetDatum(interval)))),
				 errhint("The longest is 100 years.")));
	return usecs;
}

int64
ttl_to_usecs(const Interval *interval, const char *what)
{
	int64		ttl = interval_to_usecs(interval, what);

	if (ttl < MIN_TTL)
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_TTL),
				 errmsg("%s is too short: %s", what,
						DatumGetCString(DirectFunctionCall1(interval_out,
															IntervalPGetDatum(interval)))),
				 errhint("The shortest is a millisecond.")));
	return ttl;
}

void
check_time(TimestampTz at, const char *what)
{
	if (!time_fits(at))
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_TIME),
				 errmsg("%s is out of range: %s", what, timestamptz_to_str(at)),
				 errhint("Times lie between the years 1900 and 2200."
						 " Epochs are milliseconds.")));
}

TimestampTz
at_argument(FunctionCallInfo fcinfo, int argno)
{
	TimestampTz at;

	if (PG_ARGISNULL(argno))
		return GetCurrentTimestamp();
	at = PG_GETARG_TIMESTAMPTZ(argno);
	check_time(at, "at");
	return at;
}

int
compare_text(const text *a, const text *b)
{
	int			a_length = VARSIZE_ANY_EXHDR(a);
	int			b_length = VARSIZE_ANY_EXHDR(b);
	int			order = memcmp(VARDATA_ANY(a), VARDATA_ANY(b), Min(a_length, b_length));

	return order != 0 ? order : a_length - b_length;
}

float8
json_number(const JsonbValue *value, const char *noun, int number, const char *what)
{
	if (value->type == jbvNumeric)
		return DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow,
												  NumericGetDatum(value->val.numeric)));
	if (value->type == jbvString)
	{
		char	   *string = pnstrdup(value->val.string.val, value->val.string.len);
		char	   *end;
		float8		result = strtod(string, &end);

		/* strtod() alone would also take hexadecimal, spaces and names. */
		if (value->val.string.len > 0 && *end == '\0' &&
			strspn(string, "0123456789+-.eE") == value->val.string.len)
			return result;
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_BATCH),
				 errmsg("%s %d: %s is not a number: \"%.*s\"", noun, number, what,
						pg_mbcliplen(string, strlen(string), 64), string)));
	}
	ereport(ERROR,
			(errcode(ERRCODE_TRADEKEEP_BATCH),
			 errmsg("%s %d: %s is not a number", noun, number, what)));
}

char *
float8_text(float8 number)
{
	return DatumGetCString(DirectFunctionCall1(float8out, Float8GetDatum(number)));
}

void
utc_text(TimestampTz ts, char *buffer)
{
	struct pg_tm tm;
	fsec_t		fsec;

	if (timestamp2tm(ts, NULL, &tm, &fsec, NULL, NULL) != 0)
		elog(ERROR, "timestamp out of range");
	snprintf(buffer, UTC_TEXT_LENGTH + 1, "%04d-%02d-%02dT%02d:%02d:%02d",
			 tm.tm_year, tm.tm_mon, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

/* Appends one literal character, escaped where the regular expression needs it. */
static const char *
append_literal(StringInfo regex, const char *p)
{
	int			length = pg_mblen(p);

	if (length == 1 && strchr("\\^$.[]|()?*+{}-", *p) != NULL)
		appendStringInfoChar(regex, '\\');
	appendBinaryStringInfo(regex, p, length);
	return p + length;
}

/*
 * Translates a character class; p points behind its '['.  As in Redis, a class
 * that is never closed reaches to the end of the pattern, and a range may be given
 * backwards.
 */
static const char *
append_class(StringInfo regex, const char *p, const char *end)
{
	bool		negated = p < end && *p == '^';
	int			start = regex->len;

	if (negated)
		p++;
	appendStringInfoString(regex, negated ? "[^" : "[");
	while (p < end && *p != ']')
	{
		const char *from;
		const char *to;
		bool		backwards;

		if (*p == '\\' && p + 1 < end)
			p++;
		from = to = p;
		p += pg_mblen(p);
		if (p + 1 < end && p[0] == '-' && p[1] != ']')
		{
			to = p[1] == '\\' && p + 2 < end ? p + 2 : p + 1;
			p = to + pg_mblen(to);
		}
		/* Characters compare as their bytes do, in UTF-8 at least. */
		backwards = strcmp(from, to) > 0;
		append_literal(regex, backwards ? to : from);
		if (from != to)
		{
			appendStringInfoChar(regex, '-');
			append_literal(regex, backwards ? from : to);
		}
	}
	if (regex->len == start + (negated ? 2 : 1))
	{
		/* An empty class matches nothing, its negation anything. */
		regex->len = start;
		regex->data[start] = '\0';
		appendStringInfoString(regex, negated ? "." : "(?!)");
	}
	else
		appendStringInfoChar(regex, ']');
	return p < end ? p + 1 : p;
}

char *
glob_to_regex(const text *glob)
{
	char	   *copy = text_to_cstring(glob);
	const char *p = copy;
	const char *end = copy + strlen(copy);
	StringInfoData regex;

	if (end - copy > MAX_PATTERN_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_KEY),
				 errmsg("pattern has %zu bytes", (Size) (end - copy)),
				 errhint("A pattern has up to %d bytes.", MAX_PATTERN_BYTES)));
	initStringInfo(&regex);
	appendStringInfoChar(&regex, '^');
	while (p < end)
	{
		switch (*p)
		{
			case '*':
				appendStringInfoString(&regex, ".*");
				p++;
				break;
			case '?':
				appendStringInfoChar(&regex, '.');
				p++;
				break;
			case '[':
				p = append_class(&regex, p + 1, end);
				break;
			case '\\':
				if (p + 1 < end)
					p++;
				/* FALLTHROUGH */
			default:
				p = append_literal(&regex, p);
		}
	}
	appendStringInfoChar(&regex, '$');
	return regex.data;
}
