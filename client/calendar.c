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

/* Days before each month of a year that is no leap year. */
static const int days_before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};

typedef struct civil_date
{
	int			year;
	int			month;			/* from 0 */
	int			day;			/* from 0 */
} civil_date;

static bool
is_leap(int year)
{
	return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

/* Days from 1900-01-01 to the first day of a year. */
static int
days_before_year(int year)
{
	int			before = year - 1;

	return (year - 1900) * 365 + before / 4 - before / 100 + before / 400 - 460;
}

static int
days_before_month(int year, int month)
{
	return days_before[month] + (month > 1 && is_leap(year));
}

/* The date of a time in range. */
static civil_date
date_of(int64_t ms)
{
	int			days = (int) ((ms - MIN_CANDLE_TIME) / DAY);
	civil_date	result = {.year = 1900 + days / 366};

	while (days_before_year(result.year + 1) <= days)
		result.year++;
	days -= days_before_year(result.year);
	result.month = days / 32;
	while (result.month < 11 && days_before_month(result.year, result.month + 1) <= days)
		result.month++;
	result.day = days - days_before_month(result.year, result.month);
	return result;
}

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

/* The start of the candle that a time in range belongs to. */
int64_t
tki_candle_start(int timeframe, int64_t ms)
{
	int64_t		length = timeframe * SECOND;
	int64_t		into;

	if (timeframe == MONTH)
	{
		int64_t		today = ms - MIN_CANDLE_TIME;

		return MIN_CANDLE_TIME + (today / DAY - date_of(ms).day) * DAY;
	}

	/* 1970-01-05 was a Monday. */
	into = (ms - (timeframe == 604800 ? 4 * DAY : 0)) % length;
	return ms - into - (into < 0 ? length : 0);
}

int64_t
tki_candle_end(int timeframe, int64_t start)
{
	if (timeframe == MONTH)
	{
		civil_date	first = date_of(start);
		int			next = first.month + 1;

		return start + DAY * ((next < 12 ? days_before_month(first.year, next) :
							   365 + is_leap(first.year)) -
							  days_before_month(first.year, first.month));
	}
	return start + timeframe * SECOND;
}

static char *
put_digits(char *target, int value, int digits)
{
	for (int i = digits - 1; i >= 0; i--)
	{
		target[i] = (char) ('0' + value % 10);
		value /= 10;
	}
	return target + digits;
}

/* A time in range as YYYY-MM-DDTHH:MM:SS; `text` has room for 20 bytes. */
void
tki_utc_text(int64_t ms, char *text)
{
	civil_date	day = date_of(ms);
	int			second = (int) ((ms - MIN_CANDLE_TIME) % DAY / SECOND);
	char	   *p = text;

	p = put_digits(p, day.year, 4);
	*p++ = '-';
	p = put_digits(p, day.month + 1, 2);
	*p++ = '-';
	p = put_digits(p, day.day + 1, 2);
	*p++ = 'T';
	p = put_digits(p, second / 3600, 2);
	*p++ = ':';
	p = put_digits(p, second / 60 % 60, 2);
	*p++ = ':';
	p = put_digits(p, second % 60, 2);
	*p = '\0';
}
