/*
 * calendar.c
 *		The calendar of candles, as the server's type timeframe has it: all in UTC,
 *		weeks from Monday, three-day candles from 1970-01-01, months from the 1st.
 *
 * It names the key of a candle without asking.  Where it does not know better, the
 * server decides.
 */
#include "internal.h"

#include <string.h>
#include <time.h>

#define SECOND	INT64_C(1000)
#define DAY		(86400 * SECOND)

/* 1900-01-01 and 2200-01-01, as on the server. */
#define MIN_CANDLE_TIME (-25567 * DAY)
#define END_CANDLE_TIME (84006 * DAY)

/* In seconds; a month is a name of its own. */
#define MONTH 2592000

static const struct
{
	const char *name;
	int			seconds;
}			timeframes[] =

{
	{"1s", 1}, {"1m", 60}, {"3m", 180}, {"5m", 300}, {"15m", 900}, {"30m", 1800}, {"1h", 3600},
	{"2h", 7200}, {"4h", 14400}, {"6h", 21600}, {"8h", 28800}, {"12h", 43200}, {"1d", 86400},
	{"3d", 259200}, {"1w", 604800}, {"1M", MONTH},
};

/* The length of a timeframe in seconds, or 0 when there is none of that name. */
int
tki_timeframe(const char *name)
{
	for (size_t i = 0; i < sizeof(timeframes) / sizeof(timeframes[0]); i++)
	{
		if (strcmp(timeframes[i].name, name) == 0)
			return timeframes[i].seconds;
	}
	return 0;
}

bool
tki_candle_time(int64_t ms)
{
	return ms >= MIN_CANDLE_TIME && ms < END_CANDLE_TIME;
}

/* Midnight of the first day of the month of `ms`, or of one later. */
static int64_t
month_start(int64_t ms, int later)
{
	time_t		second = (ms - MIN_CANDLE_TIME) / SECOND + MIN_CANDLE_TIME / SECOND;
	struct tm	date;

	gmtime_r(&second, &date);
	date = (struct tm)
	{
		.tm_year = date.tm_year,.tm_mon = date.tm_mon + later,.tm_mday = 1
	};
	return timegm(&date) * SECOND;
}

/* The start of the candle that a time in range belongs to. */
int64_t
tki_candle_start(int timeframe, int64_t ms)
{
	int64_t		length = timeframe * SECOND;
	int64_t		into;

	if (timeframe == MONTH)
		return month_start(ms, 0);

	/* 1970-01-05 was a Monday. */
	into = (ms - (timeframe == 604800 ? 4 * DAY : 0)) % length;
	return ms - into - (into < 0 ? length : 0);
}

int64_t
tki_candle_end(int timeframe, int64_t start)
{
	return timeframe == MONTH ? month_start(start, 1) : start + timeframe * SECOND;
}

/* A candle's start in range as YYYY-MM-DDTHH:MM:SS, into TKI_UTC_TEXT bytes. */
void
tki_utc_text(int64_t ms, char *text)
{
	time_t		second = ms / SECOND;
	struct tm	date;

	gmtime_r(&second, &date);
	strftime(text, TKI_UTC_TEXT, "%Y-%m-%dT%H:%M:%S", &date);
}
