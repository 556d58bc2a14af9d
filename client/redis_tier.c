/*
 * redis_tier.c
 *		What Redis remembers for all processes, and how it is written down there.
 *
 * A claim is a string, a signal a member of the sorted set of its symbol and
 * direction, by price:
 *
 *	tk1:EPOCH:VERSION:EXPIRES			confirmed by PostgreSQL
 *	tkd:SPOOL:NUMBER:EXPIRES			granted in an outage, see degrade.c
 *	...:SIGNAL_ID:SENT_AT				follow in the sorted sets
 *
 * with the epoch as 16 hexadecimal digits, and times in ms by the server's clock.
 * Whatever has another form, such as what other bots keep under the same names, is
 * passed over.  A confirmed one is trusted only as far as known.c allows, so that a
 * Redis that was emptied, or came back from an old dump, does no harm.
 */
#include "internal.h"

#include <ctype.h>
#include <errno.h>
#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_MARK 160

/* More signals near one price than that, and PostgreSQL is asked. */
#define MOST_MEMBERS "100"

/*
 * Adds ARGV[1] with the price ARGV[2] for ARGV[3] ms; drops what expired before ARGV[4], and what
 * else there is of the signal ARGV[5].
 */
static const char add_signal[] =
"for _, m in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do"
" local expires, id = string.match(m, '^tk%w:[^:]*:[^:]*:(%d+):(%d+):')"
" if expires and (tonumber(expires) <= tonumber(ARGV[4]) or id == ARGV[5]) then"
" redis.call('ZREM', KEYS[1], m) end end "
"redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1]) "
"if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[3]) then"
" redis.call('PEXPIRE', KEYS[1], ARGV[3]) end "
"return 1";

/*
 * Deletes what is confirmed in the epoch ARGV[1] by a version up to ARGV[2]; without an epoch
 * whatever is ours.
 */
static const char forget_claim[] =
"local mark = redis.call('GET', KEYS[1]) or '' "
"local epoch, version = string.match(mark, '^tk1:(%x+):(%d+):%d+$') "
"if ARGV[1] == '' and string.match(mark, '^tk[1d]:')"
" or epoch == ARGV[1] and tonumber(version) <= tonumber(ARGV[2]) then"
" return redis.call('DEL', KEYS[1]) end "
"return 0";

typedef struct redis_mark
{
	bool		degraded;
	tki_stamp	stamp;			/* of a confirmed one */
	tki_cached	cached;
} redis_mark;

/* A scope may hold colons; written as %3A they cannot make two claims into one. */
static char *
put_scope(char *target, const char *scope)
{
	for (; *scope != '\0'; scope++)
	{
		if (*scope == ':' || *scope == '%')
			target += sprintf(target, "%%%02X", *scope);
		else
			*target++ = *scope;
	}
	*target++ = ':';
	return target;
}

/* The key of Redis, into TKI_REDIS_KEY bytes; candles and publications as bots spell them. */
void
tki_redis_key(char *target, const tki_request *request)
{
	if (request->is_signal)
	{
		sprintf(target, "tradekeep:signal:%s:%s", request->key, request->direction);
		return;
	}
	if (strcmp(request->scope, "candle") == 0)
		target = stpcpy(target, "candle:");
	else if (strcmp(request->scope, "publish") == 0)
		target = stpcpy(target, "signal:publish:");
	else
		target = put_scope(stpcpy(target, "tradekeep:claim:"), request->scope);
	strcpy(target, request->key);
}

/* Reads digits up to `end`, one of those in `ends`. */
static bool
read_number(const char **p, int base, char end, uint64_t *value)
{
	char	   *stop;

	if (!isxdigit((unsigned char) **p))
		return false;
	errno = 0;
	*value = strtoull(*p, &stop, base);
	if (errno != 0 || *stop != end)
		return false;
	*p = stop + (end != '\0');
	return true;
}

static bool
read_time(const char **p, char end, int64_t *value)
{
	uint64_t	number;

	if (!read_number(p, 10, end, &number) || number > INT64_MAX)
		return false;
	*value = (int64_t) number;
	return true;
}

/* False when it is not one of ours. */
static bool
read_mark(const redisReply *reply, bool is_signal, redis_mark *mark)
{
	const char *p = reply->str;
	uint64_t	epoch = 0;

	memset(mark, 0, sizeof(*mark));
	if (reply->type != REDIS_REPLY_STRING || reply->len > MAX_MARK ||
		strlen(p) != (size_t) reply->len)
		return false;
	mark->degraded = strncmp(p, "tkd:", 4) == 0;
	if (!mark->degraded && strncmp(p, "tk1:", 4) != 0)
		return false;
	p += 4;
	if (mark->degraded)
	{
		size_t		spool = strcspn(p, ":");

		p += spool + (p[spool] == ':');
	}
	else if (!read_number(&p, 16, ':', &epoch))
		return false;
	mark->stamp.epoch = (int64_t) epoch;
	if (!read_time(&p, ':', &mark->stamp.version) ||
		!read_time(&p, is_signal ? ':' : '\0', &mark->cached.expires_at))
		return false;
	mark->cached.version = mark->stamp.version;
	return !is_signal || (read_time(&p, ':', &mark->cached.signal_id) &&
						  read_time(&p, '\0', &mark->cached.sent_at));
}

/* A price as Redis writes it, whatever the language of the process. */
static void
put_price(char *target, size_t size, double price)
{
	size_t		whole,
				point;

	snprintf(target, size, "%.17g", price);
	whole = strspn(target, "0123456789");
	point = strcspn(target + whole, "0123456789e");
	if (point > 0)
	{
		target[whole] = '.';
		memmove(target + whole + 1, target + whole + point, strlen(target + whole + point) + 1);
	}
}

static double
read_price(const char *text)
{
	char		local[64];
	int			whole = (int) strcspn(text, ".");

	snprintf(local, sizeof(local), "%.*s%s%s", whole, text,
			 text[whole] != '\0' ? localeconv()->decimal_point : "",
			 text[whole] != '\0' ? text + whole + 1 : "");
	return strtod(local, NULL);
}

/* Whether a mark answers "duplicate". */
static bool
is_trusted(tk_client *client, const tki_request *request, int64_t *now, const redis_mark *mark)
{
	const char *subject = request->is_signal ? "" : request->scope;
	tki_stamp	stamp;
	int64_t		low,
				high;

	if (mark->degraded ? !tki_may_degrade(client, request->scope) :
		!tki_known_fresh(client, subject, now, &stamp) || stamp.epoch != mark->stamp.epoch ||
		stamp.version != mark->stamp.version)
		return false;
	tki_known_clock(client, *now, &low, &high);
	return mark->cached.expires_at > high;
}

static redisReply *
ask(tk_client *client, const tki_request *request)
{
	char		key[TKI_REDIS_KEY];
	char		low[32],
				high[32];
	const char *get[] = {"GET", key};
	const char *range[] = {"ZRANGEBYSCORE", key, low, high, "WITHSCORES", "LIMIT", "0",
	MOST_MEMBERS};

	tki_redis_key(key, request);
	if (!request->is_signal)
		return tki_redis_command(client, 2, get, NULL);

	/* A little more than the tolerance, since this is rounded: tki_near() decides. */
	put_price(low, sizeof(low), request->price / (1 + request->tolerance) * 0.999999999);
	put_price(high, sizeof(high), request->price / (1 - request->tolerance) * 1.000000001);
	return tki_redis_command(client, 8, range, NULL);
}

/*
 * Finds what makes the request a duplicate.  *degraded: by a grant in an outage.  False: Redis has
 * nothing to say; with an error set, PostgreSQL was asked of releases, and cannot be reached.
 */
bool
tki_redis_find(tk_client *client, const tki_request *request, int64_t *now, tki_cached *cached,
			   bool *degraded)
{
	redisReply *reply;
	bool		found = false;
	redis_mark	mark = {0};

	if (!tki_redis_usable(client))
		return false;
	reply = ask(client, request);
	if (reply == NULL || reply->type == REDIS_REPLY_ERROR)
		client->metrics.redis.errors++;
	else if (!request->is_signal)
		found = read_mark(reply, false, &mark) && is_trusted(client, request, now, &mark);
	else if (reply->type == REDIS_REPLY_ARRAY)
	{
		for (size_t i = 0; i + 1 < reply->elements && !found && client->error == TK_OK; i += 2)
		{
			const redisReply *score = reply->element[i + 1];

			if (score->type != REDIS_REPLY_STRING || !read_mark(reply->element[i], true, &mark))
				continue;
			mark.cached.price = read_price(score->str);
			found = tki_near(request, mark.cached.price) &&
				is_trusted(client, request, now, &mark);
		}
	}
	freeReplyObject(reply);
	*cached = mark.cached;
	*degraded = found && mark.degraded;
	return found;
}

/* Tells Redis what PostgreSQL confirmed. */
void
tki_redis_remember(tk_client *client, const tki_request *request, tki_stamp stamp,
				   const tki_cached *cached)
{
	char		key[TKI_REDIS_KEY];
	char		text[MAX_MARK],
				price[32],
				left[24],
				clock[24],
				id[24];
	const char *set[] = {"SET", key, text, "PX", left};
	const char *add[] = {"EVAL", add_signal, "1", key, text, price, left, clock, id};
	int64_t		low,
				high;
	int			length;

	tki_known_clock(client, tki_now_ms(), &low, &high);
	if (cached->expires_at <= high || !tki_redis_usable(client))
		return;
	tki_redis_key(key, request);
	length = snprintf(text, sizeof(text), "tk1:%016" PRIx64 ":%" PRId64 ":%" PRId64,
					  (uint64_t) stamp.epoch, stamp.version, cached->expires_at);
	snprintf(left, sizeof(left), "%" PRId64, cached->expires_at - high);
	if (!request->is_signal)
	{
		freeReplyObject(tki_redis_command(client, 5, set, NULL));
		return;
	}
	snprintf(text + length, sizeof(text) - (size_t) length, ":%" PRId64 ":%" PRId64,
			 cached->signal_id, cached->sent_at);
	put_price(price, sizeof(price), cached->price);
	snprintf(clock, sizeof(clock), "%" PRId64, low);
	snprintf(id, sizeof(id), "%" PRId64, cached->signal_id);
	freeReplyObject(tki_redis_command(client, 9, add, NULL));
}

/*
 * A claim was released.  By somebody else, perhaps long ago: then what is stamped later than
 * `newest` stays, and so does what an outage granted.  Null: by this handle, just now.
 */
void
tki_redis_forget(tk_client *client, const char *scope, const char *key, const tki_stamp *newest)
{
	const tki_request request = {.scope = scope,.key = key};
	char		name[TKI_REDIS_KEY];
	char		epoch[24] = "",
				version[24] = "";
	const char *forget[] = {"EVAL", forget_claim, "1", name, epoch, version};

	if (strlen(key) > MAX_KEY_BYTES)
		return;
	tki_redis_key(name, &request);
	if (newest != NULL)
	{
		snprintf(epoch, sizeof(epoch), "%016" PRIx64, (uint64_t) newest->epoch);
		snprintf(version, sizeof(version), "%" PRId64, newest->version);
	}
	freeReplyObject(tki_redis_command(client, 6, forget, NULL));
}
