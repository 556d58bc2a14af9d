/*
 * tier.c
 *		Who answers a claim or a signal: memory, Redis, PostgreSQL, or in an outage
 *		degrade.c, in this order.
 *
 * Memory and Redis only ever answer "duplicate", of what was seen committed and
 * has not expired by the server's clock, and only while known.c says that nothing
 * of its scope was released since.  Inside a transaction neither is asked, nor
 * told anything, and nothing degrades: a claim that may be rolled back is nobody's.
 *
 * A duplicate from memory costs one reading of the clock, and no system call but
 * a look into the socket once in a millisecond.
 */
#include "internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Without a tk_answer to fill in, one of so many calls that memory answers is timed: a power of 2. */
#define SAMPLE 64

/* What PostgreSQL answers. */
typedef struct tier_ruling
{
	bool		claimed;
	bool		lasting;		/* it may be remembered */
	int64_t		epoch;
	int64_t		clock;
	tki_cached	cached;
} tier_ruling;

/* False when memory ran out. */
bool
tki_make_tiers(tk_client *client)
{
	client->known = tki_known_make();
	if (client->options.cache_entries > 0)
		client->cache = tki_cache_make(client->options.cache_entries);
	return client->known != NULL &&
		(client->cache != NULL || client->options.cache_entries <= 0);
}

/* The subject of a request in known.c. */
static const char *
subject_of(const tki_request *request)
{
	return request->is_signal ? "" : request->scope;
}

static void
set_name(tki_name *name, const tki_request *request)
{
	tki_set_name(name, subject_of(request), request->key, request->direction);
}

/* As the server reckons. */
bool
tki_near(const tki_request *request, double price)
{
	return !request->is_signal ||
		fabs(request->price - price) <= request->tolerance * price;
}

/* Whether memory has what the request asks for, trusted or not, live at `clock`. */
bool
tki_remembered(tk_client *client, const tki_request *request, int64_t clock, tki_cached *cached)
{
	tki_name	name;
	const tki_cached *found;

	if (client->cache == NULL || request->key == NULL)
		return false;
	set_name(&name, request);
	found = tki_cache_find(client->cache, &name, clock);
	if (found == NULL || !tki_near(request, found->price))
		return false;
	*cached = *found;
	return true;
}

/* All in memory is of one epoch, but asking about releases may end that. */
static bool
decide_in_memory(tk_client *client, const tki_request *request, int64_t *now, tki_cached *cached)
{
	const char *subject = subject_of(request);
	int64_t		epoch = tki_known_stamp(client, subject).epoch;
	tki_stamp	stamp;
	int64_t		low,
				high;

	tki_known_clock(client, *now, &low, &high);
	if (tki_remembered(client, request, high, cached) &&
		tki_known_fresh(client, subject, now, &stamp) &&
		epoch == stamp.epoch && cached->version == stamp.version)
	{
		/* The clock may have gone on while others were asked. */
		tki_known_clock(client, *now, &low, &high);
		if (cached->expires_at > high)
			return true;
	}
	client->metrics.memory.misses++;
	return false;
}

static bool
decide_in_redis(tk_client *client, const tki_request *request, int64_t *now, tki_cached *cached,
				bool *degraded)
{
	bool		decided = tki_redis_find(client, request, now, cached, degraded);

	if (!decided)
		client->metrics.redis.misses++;
	else if (!*degraded && client->cache != NULL)
	{
		tki_name	name;

		set_name(&name, request);
		tki_cache_put(client->cache, &name, cached);
	}
	return decided;
}

/*
 * Reads and frees what the ..._to_remember() functions answer, as one row value, which the server
 * makes faster than columns: claimed, of signals signal_id, price and sent_at, then expires_at,
 * version, epoch and clock.
 */
static bool
read_ruling(tk_client *client, PGresult *result, bool is_signal, tier_ruling *ruling)
{
	tki_cached *cached = &ruling->cached;
	int			count = is_signal ? 8 : 5;
	tki_field	fields[8];
	const tki_field *stamp = fields + count - 4;
	bool		readable = tki_answer_row(result, count, fields) && fields[0].length == 1;

	for (int i = 1; i < count && readable; i++)
		readable = fields[i].length == 8 || &fields[i] == stamp;
	if (!readable)
		return tki_unexpected(client, result);
	memset(ruling, 0, sizeof(*ruling));
	ruling->claimed = fields[0].data[0] != 0;
	if (is_signal)
	{
		uint64_t	bits = tki_read_uint64(fields[2].data);

		cached->signal_id = (int64_t) tki_read_uint64(fields[1].data);
		memcpy(&cached->price, &bits, sizeof(bits));
		cached->sent_at = tki_read_time(fields[3].data);
	}
	ruling->lasting = stamp[0].length == 8;
	if (ruling->lasting)
		cached->expires_at = tki_read_time(stamp[0].data);
	cached->version = (int64_t) tki_read_uint64(stamp[1].data);
	ruling->epoch = (int64_t) tki_read_uint64(stamp[2].data);
	ruling->clock = tki_read_time(stamp[3].data);
	PQclear(result);
	return true;
}

/*
 * PostgreSQL decided, asked after `sent_at`.  When it went by its own clock, the key is certain
 * only if it was the same throughout the call.
 */
static void
remember(tk_client *client, const tki_request *request, const tier_ruling *ruling, int64_t sent_at)
{
	int64_t		received_at = tki_now_ms();
	int64_t		took = received_at - sent_at + 1;
	tki_stamp	stamp = {.epoch = ruling->epoch,.version = ruling->cached.version};
	tki_name	name;

	tki_known_learn(client, subject_of(request), stamp, ruling->clock, sent_at, received_at);
	if (!ruling->lasting || request->key == NULL ||
		(request->valid_until != 0 && (ruling->clock - took < request->valid_from ||
									   ruling->clock + took >= request->valid_until)))
		return;
	if (client->cache != NULL)
	{
		set_name(&name, request);
		tki_cache_put(client->cache, &name, &ruling->cached);
	}
	if (client->redis != NULL)
		tki_redis_remember(client, request, stamp, &ruling->cached);
}

/* An outage wants to know how long claims last. */
static void
learn_ttl(tk_client *client, const tki_request *request)
{
	if (client->spool != NULL && request->ttl == 0 && !request->is_signal &&
		tki_known_needs_ttl(client, request->scope) && !tki_known_ask(client))
		tki_clear_error(client);
}

static bool
decide_in_postgres(tk_client *client, const tki_request *request, int64_t sent_at, bool alone,
				   tk_verdict *verdict, tki_cached *cached)
{
	PGresult   *result = tki_execute(client, request->statement, request->parameters);
	tier_ruling ruling;

	if (result == NULL || !read_ruling(client, result, request->is_signal, &ruling))
	{
		client->metrics.postgres.errors++;
		return false;
	}
	if (alone)
	{
		remember(client, request, &ruling, sent_at);
		learn_ttl(client, request);
	}
	*verdict = ruling.claimed ? TK_CLAIMED : TK_DUPLICATE;
	*cached = ruling.cached;
	return true;
}

static void
count_latency(tk_tier_metrics *metrics, int64_t us)
{
	int			bucket = us < 1 ? 0 : 64 - __builtin_clzll((unsigned long long) us);

	metrics->latency_sum += us;
	metrics->latency[bucket < TK_LATENCY_BUCKETS ? bucket : TK_LATENCY_BUCKETS - 1]++;
}

/* Counts a verdict, and says in *answer (may be null) who gave it. */
static tk_verdict
account(tk_client *client, tk_verdict verdict, tk_tier tier, bool degraded, int64_t start,
		tk_answer *answer)
{
	tk_metrics *metrics = &client->metrics;
	tk_tier_metrics *counters = tier == TK_TIER_MEMORY ? &metrics->memory :
	tier == TK_TIER_REDIS ? &metrics->redis : &metrics->postgres;
	int64_t		latency = 0;

	if (tier != TK_TIER_NONE)
	{
		counters->duplicates += verdict == TK_DUPLICATE;
		counters->claimed += verdict == TK_CLAIMED;
		metrics->degraded += degraded;
	}
	metrics->unavailable += verdict == TK_UNAVAILABLE;
	if (answer != NULL || tier != TK_TIER_MEMORY || counters->duplicates % SAMPLE == 0)
	{
		latency = tki_now_us() - start;
		if (tier != TK_TIER_NONE)
			count_latency(counters, latency);
	}
	if (answer != NULL)
		*answer = (tk_answer)
	{
		.tier = tier,.latency = latency,.degraded = degraded
	};
	return verdict;
}

/* The verdict on a call that was refused before any tier was asked. */
tk_verdict
tki_refuse(tk_answer *answer)
{
	if (answer != NULL)
		*answer = (tk_answer)
	{
		.tier = TK_TIER_NONE
	};
	return TK_REFUSED;
}

/* PostgreSQL is away, or must not be asked yet. */
static tk_verdict
degrade(tk_client *client, const tki_request *request, int64_t start, tk_sent_signal *sent,
		tk_answer *answer)
{
	tk_answer	given = {.tier = TK_TIER_NONE};
	tk_verdict	verdict;

	if (request->too_late && tki_may_degrade(client, request->scope))
	{
		tki_clear_error(client);
		return account(client, TK_DUPLICATE, TK_TIER_MEMORY, true, start, answer);
	}
	verdict = tki_degrade(client, request, sent, &given);
	return account(client, verdict, given.tier, given.degraded, start, answer);
}

/* Whether memory and Redis may be asked for the key: PostgreSQL would claim the same. */
static bool
key_is_certain(const tk_client *client, const tki_request *request, int64_t now)
{
	int64_t		low,
				high;

	if (request->key == NULL)
		return false;
	if (request->valid_until == 0)
		return true;
	return tki_known_clock(client, now, &low, &high) && low >= request->valid_from &&
		high < request->valid_until;
}

/*
 * Decides a request.  `sent` and `answer` may be null.  The caller has checked the arguments,
 * and entered.
 */
tk_verdict
tki_decide(tk_client *client, const tki_request *request, tk_sent_signal *sent, tk_answer *answer)
{
	int64_t		start = tki_now_us();
	int64_t		now = start / 1000;
	bool		alone = !client->transaction_lost && !tki_in_transaction(client);
	bool		degraded = false;
	tk_tier		tier = TK_TIER_NONE;
	tk_verdict	verdict = TK_DUPLICATE;
	tki_cached	cached;

	if (alone && client->spool != NULL && tki_stays_degraded(client, request))
		return degrade(client, request, start, sent, answer);
	if (alone && key_is_certain(client, request, now))
	{
		if (client->cache != NULL && decide_in_memory(client, request, &now, &cached))
			tier = TK_TIER_MEMORY;
		else if (client->redis != NULL && client->error == TK_OK &&
				 decide_in_redis(client, request, &now, &cached, &degraded))
			tier = TK_TIER_REDIS;
	}
	if (tier == TK_TIER_NONE && client->error == TK_OK &&
		decide_in_postgres(client, request, start / 1000, alone, &verdict, &cached))
		tier = TK_TIER_POSTGRES;
	if (tier == TK_TIER_NONE)
	{
		if (alone && (client->error == TK_ERROR_CONNECTION ||
					  client->error == TK_ERROR_UNKNOWN_OUTCOME))
			return degrade(client, request, start, sent, answer);
		return account(client, tki_verdict_of_failure(client), TK_TIER_NONE, false, start, answer);
	}
	if (sent != NULL && request->is_signal)
		*sent = (tk_sent_signal)
	{
		.signal_id = cached.signal_id,.price = cached.price,.sent_at = cached.sent_at,
			.expires_at = cached.expires_at
	};
	return account(client, verdict, tier, degraded, start, answer);
}

/* A claim was released.  Redis is told by tki_redis_forget(). */
void
tki_forget_claim(tk_client *client, const char *scope, const char *key)
{
	tki_name	name;

	if (client->cache != NULL && strlen(key) <= MAX_KEY_BYTES)
	{
		tki_set_name(&name, scope, key, NULL);
		tki_cache_drop(client->cache, &name);
	}
	tki_known_distrust(client, scope);
}

int
tk_resync(tk_client *client)
{
	if (!tki_enter(client))
		return -1;
	tki_forget_all(client);

	/* Inside a transaction the answer may be an old one: the next call outside asks. */
	if (!client->transaction_lost && !tki_in_transaction(client))
		tki_known_ask(client);
	return client->error == TK_OK ? 0 : -1;
}
