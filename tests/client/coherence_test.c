/*
 * coherence_test.c
 *		Two handles with memory and Redis, and a session beside them, do whatever comes to
 *		mind with a few keys; each verdict is held against what can have been true.
 *
 * Everything happens in one thread, so the check knows between which two moments each
 * claim was made and each release committed.  A verdict is wrong when no moment during its
 * call explains it; a duplicate from memory or Redis may also be explained by the time up to
 * `cache_recheck` before, unless the handle itself released the claim.
 */
#include "tiered.h"

#include <stdio.h>
#include <stdlib.h>

#define HANDLES 2
#define KEYS	50
#define STEPS	12000
#define RECHECK 30

/* What is known of a key, in ms on the monotonic clock. */
typedef struct key_state
{
	int64_t		expires_after;	/* the last claim lives so long at least, */
	int64_t		expires_before; /* and at most; 0: there never was one */
	int64_t		released_at;	/* when a release of it had returned; 0: not released */
	int			releaser;		/* the handle that did it; -1: somebody else */
} key_state;

static key_state keys[KEYS];
static uint64_t seed;

static int
below(int limit)
{
	seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (int) ((seed >> 33) % (unsigned) limit);
}

static const char *
name(int key)
{
	static char text[32];

	snprintf(text, sizeof(text), "key %d", key);
	return text;
}

static bool
explained(const key_state *key, int handle, tk_verdict verdict, tk_tier tier, int64_t before,
		  int64_t after)
{
	int64_t		trust = tier == TK_TIER_POSTGRES ? 0 : RECHECK + 1;

	if (verdict == TK_CLAIMED)
		return tier == TK_TIER_POSTGRES &&
			(key->expires_before == 0 || key->released_at != 0 || key->expires_after <= after);
	if (verdict != TK_DUPLICATE || key->expires_before < before)
		return false;
	return key->released_at == 0 ||
		(key->releaser != handle && key->released_at >= before - trust);
}

static void
claim_one(tk_client *client, int handle, int *wrong)
{
	int			number = below(KEYS);
	key_state  *key = &keys[number];
	int			ttl = below(4) == 0 ? 1 + below(40) : HOUR;
	int64_t		before = now_ms();
	tk_answer	answer;
	tk_verdict	verdict = tk_claim(client, "coherence", name(number), ttl, &answer);
	int64_t		after = now_ms() + 1;

	if (!explained(key, handle, verdict, answer.tier, before, after) && (*wrong)++ < 5)
		printf("    %s by %s of %s: %lld .. %lld, expires %lld .. %lld, released %lld by %d\n",
			   tk_verdict_name(verdict), tk_tier_name(answer.tier), name(number),
			   (long long) before, (long long) after, (long long) key->expires_after,
			   (long long) key->expires_before, (long long) key->released_at, key->releaser);
	if (verdict == TK_CLAIMED)
		*key = (key_state)
	{
		.expires_after = before + ttl,.expires_before = after + ttl
	};
}

static void
mark_released(int number, int releaser)
{
	if (keys[number].released_at != 0 && keys[number].releaser != releaser)
		return;
	keys[number].released_at = now_ms();
	keys[number].releaser = releaser;
}

static void
release_one(tk_client *client, int handle)
{
	int			number = below(KEYS);
	bool		in_transaction = below(4) == 0;
	bool		commit = below(2) == 0;

	if (in_transaction)
		tk_begin(client);
	CHECK_INT(tk_release(client, "coherence", name(number), NULL), 0);
	if (in_transaction)
		CHECK_INT(commit ? tk_commit(client) : tk_rollback(client), 0);
	if (!in_transaction || commit)
		mark_released(number, handle);
}

static void
disturb(redis_server *redis, tk_client *client, int *wrong)
{
	int			number = below(KEYS);

	switch (below(8))
	{
		case 0:
			CHECK(admin_run("SELECT tradekeep.clear_claims('coherence')"));
			for (int i = 0; i < KEYS; i++)
				mark_released(i, -1);
			break;
		case 1:
			redis_value(redis, "FLUSHALL");
			break;
		case 2:
			end_session_of(client);
			break;
		case 3:
			/* Nothing of it is ever true. */
			tk_begin(client);
			*wrong += tk_claim(client, "coherence", name(number), HOUR, NULL) > TK_DUPLICATE;
			tk_rollback(client);
			break;
		case 4:
			make_deaf(client);
			break;
		default:
			CHECK(admin_run("SELECT tradekeep.release('coherence', '%s')", name(number)));
			mark_released(number, -1);
			break;
	}
}

void
test_coherence(void)
{
	redis_server redis = {0};
	tk_client  *handles[HANDLES];
	tk_metrics	metrics;
	int			wrong = 0;

	if (!redis_server_start(&redis, NULL))
		return;
	seed = (uint64_t) now_ms();
	printf("coherence: seed %llu\n", (unsigned long long) seed);
	for (int i = 0; i < HANDLES; i++)
		handles[i] = open_tiered(&redis, RECHECK);
	for (int step = 0; step < STEPS; step++)
	{
		int			handle = below(HANDLES);

		if (below(40) == 0)
			release_one(handles[handle], handle);
		else if (below(100) == 0)
			disturb(&redis, handles[handle], &wrong);
		else
			claim_one(handles[handle], handle, &wrong);
	}
	CHECK_INT(wrong, 0);

	/* It all means nothing when PostgreSQL had to answer everything. */
	for (int i = 0; i < HANDLES; i++)
	{
		tk_read_metrics(handles[i], &metrics);
		CHECK(metrics.memory.duplicates > STEPS / 20);
		CHECK(metrics.redis.duplicates > STEPS / 200);
		CHECK(metrics.postgres.claimed > 0 && metrics.invalidations > 0);
		CHECK_INT(metrics.unavailable, 0);
		tk_close(handles[i]);
	}
	redis_server_remove(&redis);
}
