/*
 * timeframe.c
 *		The type timeframe and its calendar.
 *
 * The grid of every timeframe is fixed in UTC.  Timeframes of a day or less
 * begin at midnight; weeks begin on Monday, months on the 1st; three-day candles
 * are counted from 1970-01-01, as ccxt counts them.  No time zone, no daylight
 * saving and no setting of the session has any influence.
 *
 * Comparison, hashing and sorting are those of int4: see timeframe.sql.
 */
#include "timeframe.h"

#include "libpq/pqformat.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

#include "input.h"

static const struct
{
	const char *name;
	Timeframe	timeframe;
}			timeframes[MAX_TIMEFRAMES] =

{
	{"1s", 1},
	{"1m", SECS_PER_MINUTE},
	{"3m", 3 * SECS_PER_MINUTE},
	{"5m", 5 * SECS_PER_MINUTE},
	{"15m", 15 * SECS_PER_MINUTE},
	{"30m", 30 * SECS_PER_MINUTE},
	{"1h", SECS_PER_HOUR},
	{"2h", 2 * SECS_PER_HOUR},
	{"4h", 4 * SECS_PER_HOUR},
	{"6h", 6 * SECS_PER_HOUR},
	{"8h", 8 * SECS_PER_HOUR},
	{"12h", 12 * SECS_PER_HOUR},
	{"1d", SECS_PER_DAY},
	{"3d", 3 * SECS_PER_DAY},
	{"1w", 7 * SECS_PER_DAY},
	{"1M", TIMEFRAME_MONTH},
};

PG_FUNCTION_INFO_V1(tradekeep_timeframe_in);
PG_FUNCTION_INFO_V1(tradekeep_timeframe_out);
PG_FUNCTION_INFO_V1(tradekeep_timeframe_recv);
PG_FUNCTION_INFO_V1(tradekeep_timeframe_send);
PG_FUNCTION_INFO_V1(tradekeep_timeframe_interval);
PG_FUNCTION_INFO_V1(tradekeep_candle_start);
PG_FUNCTION_INFO_V1(tradekeep_candle_end);
PG_FUNCTION_INFO_V1(tradekeep_count_candles);

/* The name of a timeframe, or null when there is none of that length. */
const char *
timeframe_name(Timeframe timeframe)
{
	for (int i = 0; i < lengthof(timeframes); i++)
		if (timeframes[i].timeframe == timeframe)
			return timeframes[i].name;
	return NULL;
}

/* Case matters: 1m is a minute and 1M a month. */
bool
timeframe_by_name(const char *name, Timeframe *timeframe)
{
	for (int i = 0; i < lengthof(timeframes); i++)
		if (strcmp(timeframes[i].name, name) == 0)
		{
			*timeframe = timeframes[i].timeframe;
			return true;
		}
	return false;
}

bool
timeframe_of_candle(TimestampTz start, TimestampTz end, Timeframe *timeframe)
{
	for (int i = 0; i < lengthof(timeframes); i++)
		if (candle_start(timeframes[i].timeframe, start) == start &&
			candle_end(timeframes[i].timeframe, start) == end)
		{
			*timeframe = timeframes[i].timeframe;
			return true;
		}
	return false;
}

Datum
tradekeep_timeframe_in(PG_FUNCTION_ARGS)
{
	char	   *name = PG_GETARG_CSTRING(0);
	Timeframe	timeframe;

	if (timeframe_by_name(name, &timeframe))
		PG_RETURN_DATUM(TimeframeGetDatum(timeframe));

	ereport_soft(fcinfo->context,
				 (errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				  errmsg("invalid input syntax for type timeframe: \"%s\"", name),
				  errhint("Timeframes are 1s, 1m, 3m, 5m, 15m, 30m, 1h, 2h, 4h, 6h, 8h, 12h,"
						  " 1d, 3d, 1w and 1M (a month).")));
	PG_RETURN_NULL();
}

Datum
tradekeep_timeframe_out(PG_FUNCTION_ARGS)
{
	const char *name = timeframe_name(PG_GETARG_TIMEFRAME(0));

	if (name == NULL)
		elog(ERROR, "invalid timeframe %d", PG_GETARG_TIMEFRAME(0));
	PG_RETURN_CSTRING(pstrdup(name));
}

/* Binary form: the length in seconds as int4, a month as 2592000. */
Datum
tradekeep_timeframe_recv(PG_FUNCTION_ARGS)
{
	StringInfo	buf = (StringInfo) PG_GETARG_POINTER(0);
	Timeframe	timeframe = pq_getmsgint(buf, 4);

	if (timeframe_name(timeframe) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("invalid length of a timeframe in seconds: %d", timeframe)));
	PG_RETURN_DATUM(TimeframeGetDatum(timeframe));
}

Datum
tradekeep_timeframe_send(PG_FUNCTION_ARGS)
{
	StringInfoData buf;

	pq_begintypsend(&buf);
	pq_sendint32(&buf, PG_GETARG_TIMEFRAME(0));
	PG_RETURN_BYTEA_P(pq_endtypsend(&buf));
}

/*
 * Hours, not days: added to a timestamptz, a day has 23 or 25 hours when the
 * session's time zone says so, and leaves the grid.  Only a month is a month.
 */
Datum
tradekeep_timeframe_interval(PG_FUNCTION_ARGS)
{
	Timeframe	timeframe = PG_GETARG_TIMEFRAME(0);
	Interval   *result = palloc0(sizeof(Interval));

	if (timeframe == TIMEFRAME_MONTH)
		result->month = 1;
	else
		result->time = timeframe * USECS_PER_SEC;
	PG_RETURN_INTERVAL_P(result);
}

/* The first midnight of a month, counted in months from January of the year 0. */
static TimestampTz
month_start(int month)
{
	return (TimestampTz) (date2j(month / MONTHS_PER_YEAR, month % MONTHS_PER_YEAR + 1, 1) -
						  POSTGRES_EPOCH_JDATE) * USECS_PER_DAY;
}

static int
month_of(TimestampTz ts)
{
	int			year,
				month,
				day;
	int64		days = ts / USECS_PER_DAY - (ts % USECS_PER_DAY < 0 ? 1 : 0);

	j2date((int) days + POSTGRES_EPOCH_JDATE, &year, &month, &day);
	return year * MONTHS_PER_YEAR + month - 1;
}

/*
 * Where the grid is anchored, in seconds from 2000-01-01, a Saturday: weeks on
 * the Monday after it, three-day candles on 1970-01-01, the rest on midnight.
 */
static int64
anchor(Timeframe timeframe)
{
	switch (timeframe)
	{
		case 7 * SECS_PER_DAY:
			return 2 * SECS_PER_DAY;
		case 3 * SECS_PER_DAY:
			return (int64) (UNIX_EPOCH_JDATE - POSTGRES_EPOCH_JDATE) * SECS_PER_DAY;
		default:
			return 0;
	}
}

TimestampTz
candle_start(Timeframe timeframe, TimestampTz ts)
{
	int64		length = timeframe * USECS_PER_SEC;
	int64		into;

	if (timeframe == TIMEFRAME_MONTH)
		return month_start(month_of(ts));
	into = (ts - anchor(timeframe) * USECS_PER_SEC) % length;
	return ts - into - (into < 0 ? length : 0);
}

TimestampTz
candle_end(Timeframe timeframe, TimestampTz ts)
{
	if (timeframe == TIMEFRAME_MONTH)
		return month_start(month_of(ts) + 1);
	return candle_start(timeframe, ts) + timeframe * USECS_PER_SEC;
}

TimestampTz
next_start(Timeframe timeframe, TimestampTz ts)
{
	return candle_start(timeframe, ts) == ts ? ts : candle_end(timeframe, ts);
}

/* Every timeframe up to a day divides a day, and what begins at midnight begins with all of them. */
bool
timeframe_divides(Timeframe source, Timeframe target)
{
	if (source >= target)
		return false;
	if (target == TIMEFRAME_MONTH)
		return source <= SECS_PER_DAY;
	return target % source == 0;
}

static int64
month_number(TimestampTz ts)
{
	struct pg_tm tm;
	fsec_t		fsec;

	if (timestamp2tm(ts, NULL, &tm, &fsec, NULL, NULL) != 0)
		elog(ERROR, "timestamp out of range");
	return (int64) tm.tm_year * MONTHS_PER_YEAR + tm.tm_mon;
}

int64
count_candles(Timeframe timeframe, TimestampTz from, TimestampTz to)
{
	if (timeframe == TIMEFRAME_MONTH)
		return month_number(to) - month_number(from);
	return (to - from) / ((int64) timeframe * USECS_PER_SEC);
}

Datum
tradekeep_candle_start(PG_FUNCTION_ARGS)
{
	TimestampTz ts = PG_GETARG_TIMESTAMPTZ(1);

	check_time(ts, "time");
	PG_RETURN_TIMESTAMPTZ(candle_start(PG_GETARG_TIMEFRAME(0), ts));
}

Datum
tradekeep_candle_end(PG_FUNCTION_ARGS)
{
	TimestampTz ts = PG_GETARG_TIMESTAMPTZ(1);

	check_time(ts, "time");
	PG_RETURN_TIMESTAMPTZ(candle_end(PG_GETARG_TIMEFRAME(0), ts));
}

Datum
tradekeep_count_candles(PG_FUNCTION_ARGS)
{
	Timeframe	timeframe = PG_GETARG_TIMEFRAME(0);
	TimestampTz from = PG_GETARG_TIMESTAMPTZ(1);
	TimestampTz to = PG_GETARG_TIMESTAMPTZ(2);

	check_time(from, "since");
	/* The last candles end behind the last time. */
	if (to < END_TIME || to > END_TIME + 31 * USECS_PER_DAY)
		check_time(to, "until");
	if (to <= from)
		PG_RETURN_INT64(0);
	PG_RETURN_INT64(count_candles(timeframe, next_start(timeframe, from),
								  next_start(timeframe, to)));
}
