/*
 * moment.c
 *		Numbers, times and truth as people and exchanges write them.
 */
#include "rows.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <strings.h>

/* A number through and through: no blanks, no hexadecimal; perhaps not finite. */
bool
rows_number(const char *text, double *value)
{
	char	   *end;

	if (text[0] == '\0' || strpbrk(text, "xX \t\r\n\v\f") != NULL)
		return false;
	*value = strtod(text, &end);
	return *end == '\0';
}

/* strptime() takes blanks and single digits; these dates and times have two each. */
static const char *
parse_part(const char *text, const char *shape, const char *format, struct tm *tm)
{
	const char *p = text;

	for (; *shape != '\0'; shape++, p++)
	{
		if (*shape == '0' ? !isdigit((unsigned char) *p) : *p != *shape)
			return NULL;
	}
	return strptime(text, format, tm) == p ? p : NULL;
}

/* "Z", "UTC", an offset, or nothing; seconds east of Greenwich. */
static bool
parse_zone(const char *text, long *offset)
{
	struct tm	tm = {0};
	const char *end;

	*offset = 0;
	if (*text == ' ')
		text++;
	if (*text == '\0' || strcmp(text, "Z") == 0 || strcmp(text, "z") == 0 ||
		strcmp(text, "UTC") == 0)
		return true;
	if (*text != '+' && *text != '-')
		return false;
	end = strptime(text, "%z", &tm);
	*offset = tm.tm_gmtoff;
	return end != NULL && *end == '\0';
}

/*
 * ISO 8601: a date, perhaps a time, perhaps a zone; UTC without one.  timegm()
 * would make February 30 a day of March: what it changes was no date.
 */
static bool
parse_iso(const char *text, double *ms)
{
	struct tm	tm = {0};
	struct tm	again;
	double		fraction = 0;
	long		offset;
	const char *p = parse_part(text, "0000-00-00", "%Y-%m-%d", &tm);

	if (p == NULL)
		p = parse_part(text, "00000000", "%Y%m%d", &tm);
	if (p != NULL && (*p == 'T' || *p == ' ' || *p == 't') && isdigit((unsigned char) p[1]))
	{
		p = parse_part(p + 1, "00:00", "%H:%M", &tm);
		if (p != NULL && *p == ':')
			p = parse_part(p, ":00", ":%S", &tm);
		if (p != NULL && *p == '.' && isdigit((unsigned char) p[1]))
		{
			size_t		length = 1 + strspn(p + 1, "0123456789");
			char		digits[16];

			snprintf(digits, sizeof(digits), "0%.*s", (int) length, p);
			fraction = strtod(digits, NULL);
			p += length;
		}
	}
	if (p == NULL || !parse_zone(p, &offset))
		return false;
	again = tm;
	*ms = ((double) timegm(&again) - (double) offset + fraction) * 1000;
	return again.tm_mday == tm.tm_mday && again.tm_hour == tm.tm_hour &&
		again.tm_sec == tm.tm_sec;
}

/*
 * A moment in milliseconds since 1970, from ISO 8601 or from a number since 1970
 * whose magnitude tells the unit: seconds, ms, us or ns each for moments between
 * April 1970 and 2286.  Eight digits are a date if they can be one.
 */
bool
rows_moment(const char *text, double *ms)
{
	double		value;
	double		size;

	if (parse_iso(text, ms))
		return true;
	if (!rows_number(text, &value) || !isfinite(value))
		return false;
	size = fabs(value);
	if (size < 1e10)
		*ms = value * 1e3;
	else if (size < 1e13)
		*ms = value;
	else
		*ms = value / (size < 1e16 ? 1e3 : 1e6);
	return true;
}

/* True and false in the words of several languages. */
bool
rows_truth(const char *text, bool *truth)
{
	static const char *const words[][4] = {{"false", "f", "0", "no"}, {"true", "t", "1", "yes"}};

	for (int value = 0; value <= 1; value++)
	{
		for (int i = 0; i < 4; i++)
		{
			if (strcasecmp(text, words[value][i]) == 0)
			{
				*truth = value;
				return true;
			}
		}
	}
	return false;
}
