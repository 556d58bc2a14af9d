/*
 * check.c
 *		Arguments that are refused before anything is sent.
 *
 * Only what the server could not even be asked, or what an older server would
 * answer less clearly: it stays the judge of everything else.  The SQLSTATEs
 * are those that it would give.
 */
#include "internal.h"

#include <string.h>

/* The length of the well-formed UTF-8 character at `p`, or 0. */
static int
character_length(const unsigned char *p)
{
	static const struct
	{
		unsigned char first,
					last,
					second_low,
					second_high;
		int			length;
	}			forms[] =
	{
		{0x01, 0x7F, 0, 0, 1},
		{0xC2, 0xDF, 0x80, 0xBF, 2},
		{0xE0, 0xE0, 0xA0, 0xBF, 3},
		{0xE1, 0xEC, 0x80, 0xBF, 3},
		{0xED, 0xED, 0x80, 0x9F, 3},	/* no surrogates */
		{0xEE, 0xEF, 0x80, 0xBF, 3},
		{0xF0, 0xF0, 0x90, 0xBF, 4},
		{0xF1, 0xF3, 0x80, 0xBF, 4},
		{0xF4, 0xF4, 0x80, 0x8F, 4},	/* up to U+10FFFF */
	};

	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
	{
		if (p[0] < forms[i].first || p[0] > forms[i].last)
			continue;
		if (forms[i].length > 1 && (p[1] < forms[i].second_low || p[1] > forms[i].second_high))
			return 0;
		for (int byte = 2; byte < forms[i].length; byte++)
		{
			if ((p[byte] & 0xC0) != 0x80)
				return 0;
		}
		return forms[i].length;
	}
	return 0;
}

/* Whole words without a high bit are passed over: most keys have nothing else. */
bool
tki_is_utf8(const char *text, size_t length)
{
	const unsigned char *p = (const unsigned char *) text;
	const unsigned char *end = p + length;

	while (p < end)
	{
		uint64_t	word;
		int			character;

		if (end - p >= (ptrdiff_t) sizeof(word))
		{
			memcpy(&word, p, sizeof(word));
			if ((word & UINT64_C(0x8080808080808080)) == 0)
			{
				p += sizeof(word);
				continue;
			}
		}
		character = *p < 0x80 ? 1 : character_length(p);
		if (character == 0)
			return false;
		p += character;
	}
	return true;
}

static bool
check_text(tk_client *client, const char *text, const char *what, size_t limit,
		   const char *sqlstate)
{
	size_t		length;

	if (text == NULL)
	{
		tki_fail(client, TK_ERROR_ARGUMENT, sqlstate, "%s must not be null", what);
		return false;
	}
	length = strnlen(text, limit + 1);
	if (length == 0 || length > limit)
	{
		tki_fail(client, TK_ERROR_ARGUMENT, sqlstate,
				 length == 0 ? "%s is empty" : "%s is longer than %zu bytes", what, limit);
		tki_hint(client, "It has 1 to %zu bytes.", limit);
		return false;
	}
	if (!tki_is_utf8(text, length))
	{
		tki_fail(client, TK_ERROR_ARGUMENT, SQLSTATE_BAD_ENCODING, "%s is not valid UTF-8", what);
		return false;
	}
	return true;
}

bool
tki_check_scope(tk_client *client, const char *scope)
{
	return check_text(client, scope, "scope", MAX_SCOPE_BYTES, SQLSTATE_SCOPE);
}

bool
tki_check_key(tk_client *client, const char *key, const char *what)
{
	return check_text(client, key, what, MAX_KEY_BYTES, SQLSTATE_KEY);
}

/* The name of a timeframe: which ones exist, the server knows. */
bool
tki_check_name(tk_client *client, const char *name, const char *what)
{
	return check_text(client, name, what, MAX_SCOPE_BYTES, SQLSTATE_BAD_NAME);
}

bool
tki_check_ttl(tk_client *client, int64_t ttl, const char *what)
{
	if (ttl >= 0 && ttl <= MAX_TTL)
		return true;
	tki_fail(client, TK_ERROR_ARGUMENT, SQLSTATE_TTL, "%s is out of range: %lld ms", what,
			 (long long) ttl);
	return false;
}

bool
tki_check_time(tk_client *client, int64_t ms, const char *what)
{
	if (ms >= MIN_TIME && ms <= MAX_TIME)
		return true;
	tki_fail(client, TK_ERROR_ARGUMENT, SQLSTATE_TIME, "%s is out of range: %lld", what,
			 (long long) ms);
	tki_hint(client, "Times are milliseconds since 1970.");
	return false;
}

bool
tki_check_count(tk_client *client, size_t count, const char *what)
{
	if (count <= MAX_BATCH)
		return true;
	tki_fail(client, TK_ERROR_ARGUMENT, SQLSTATE_BATCH, "%zu %s are too many for one call",
			 count, what);
	tki_hint(client, "One call takes up to %d.", MAX_BATCH);
	return false;
}
