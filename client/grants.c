/*
 * grants.c
 *		What this handle's spools grant: claims and signals of which PostgreSQL does not
 *		know yet, and which must not be granted again.
 *
 * A hash table that grows, with a seed of its own, since keys may be made by
 * strangers.  Nothing in it is forgotten before it expires: it holds no more than
 * the spools do, and those are bounded.
 */
#include "spool.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define FIRST_BUCKETS 64

struct tki_grants
{
	uint64_t	seed;
	size_t		count;
	size_t		mask;			/* of a hash, to the number of its bucket */
	tki_grant **buckets;
};

/* What is looked for, and what is kept: scope and key, or symbol and direction. */
typedef struct grant_subject
{
	const char *first;
	const char *second;
	bool		is_signal;
	double		price;
} grant_subject;

static grant_subject
subject_of_request(const tki_request *request)
{
	grant_subject subject = {
		.first = request->is_signal ? request->key : request->scope,
		.second = request->is_signal ? request->direction : request->key,
		.is_signal = request->is_signal,.price = request->is_signal ? request->price : 0
	};

	return subject;
}

/* Multiplies to 128 bits and folds them. */
static uint64_t
mix(uint64_t a, uint64_t b)
{
	unsigned	__int128 product = (unsigned __int128) a * b;

	return (uint64_t) product ^ (uint64_t) (product >> 64);
}

static uint64_t
hash_subject(const tki_grants *grants, const grant_subject *wanted)
{
	uint64_t	hash = grants->seed ^ wanted->is_signal;

	for (const char *p = wanted->first; *p != '\0'; p++)
		hash = mix(hash ^ (unsigned char) *p, UINT64_C(0x9E3779B97F4A7C15));
	hash = mix(hash, grants->seed | 1);
	for (const char *p = wanted->second; *p != '\0'; p++)
		hash = mix(hash ^ (unsigned char) *p, UINT64_C(0x9E3779B97F4A7C15));
	return hash;
}

/* Makes room for more, in twice as many buckets if what expired leaves too little. */
static bool
make_room(tki_grants *grants, int64_t now)
{
	size_t		size = grants->mask + 1;
	tki_grant **buckets;

	if (grants->buckets != NULL && grants->count < size)
		return true;
	for (size_t i = 0; grants->buckets != NULL && i < size; i++)
	{
		for (tki_grant **link = &grants->buckets[i]; *link != NULL;)
		{
			tki_grant  *grant = *link;

			if (grant->expires_at > now)
			{
				link = &grant->next;
				continue;
			}
			*link = grant->next;
			free(grant);
			grants->count--;
		}
	}
	if (grants->buckets != NULL && grants->count < size / 2)
		return true;
	size = grants->buckets != NULL ? 2 * size : FIRST_BUCKETS;
	buckets = calloc(size, sizeof(*buckets));
	if (buckets == NULL)
		return false;
	for (size_t i = 0; grants->buckets != NULL && i <= grants->mask; i++)
	{
		for (tki_grant *grant = grants->buckets[i], *next; grant != NULL; grant = next)
		{
			next = grant->next;
			grant->next = buckets[grant->hash & (size - 1)];
			buckets[grant->hash & (size - 1)] = grant;
		}
	}
	free(grants->buckets);
	grants->buckets = buckets;
	grants->mask = size - 1;
	return true;
}

/* Null when there is no memory.  Whoever takes it back sets expires_at to 0. */
tki_grant *
tki_grant_add(tk_client *client, const tki_request *request, int64_t at, int64_t expires_at)
{
	grant_subject added = subject_of_request(request);
	tki_grants *grants = client->grants;
	size_t		first_size = strlen(added.first) + 1;
	size_t		second_size = strlen(added.second) + 1;
	tki_grant  *grant;

	if (grants == NULL)
	{
		grants = client->grants = calloc(1, sizeof(*grants));
		if (grants == NULL)
			return NULL;
		if (getentropy(&grants->seed, sizeof(grants->seed)) != 0)
			grants->seed = (uint64_t) tki_now_us();
	}
	if (!make_room(grants, at) ||
		(grant = malloc(sizeof(*grant) + first_size + second_size)) == NULL)
		return NULL;
	grant->hash = hash_subject(grants, &added);
	grant->at = at;
	grant->expires_at = expires_at;
	grant->is_signal = added.is_signal;
	grant->price = added.price;
	memcpy(grant->name, added.first, first_size);
	memcpy(grant->name + first_size, added.second, second_size);
	grant->next = grants->buckets[grant->hash & grants->mask];
	grants->buckets[grant->hash & grants->mask] = grant;
	grants->count++;
	return grant;
}

/* Adds what a record grants, if anything; false when there is no memory. */
bool
tki_grant_record(tk_client *client, const tki_record *record)
{
	tki_request request;

	return !tki_record_request(record, &request) ||
		tki_grant_add(client, &request, record->at, tki_record_expiry(record)) != NULL;
}

/* A live grant of what is requested, of signals one within tolerance; or null. */
const tki_grant *
tki_grant_find(const tk_client *client, const tki_request *request, int64_t now)
{
	const tki_grants *grants = client->grants;
	grant_subject wanted = subject_of_request(request);
	uint64_t	hash;

	if (grants == NULL)
		return NULL;
	hash = hash_subject(grants, &wanted);
	for (const tki_grant *grant = grants->buckets[hash & grants->mask]; grant != NULL;
		 grant = grant->next)
	{
		if (grant->hash == hash && grant->is_signal == wanted.is_signal &&
			grant->expires_at > now && strcmp(grant->name, wanted.first) == 0 &&
			strcmp(grant->name + strlen(grant->name) + 1, wanted.second) == 0 &&
			tki_near(request, grant->price))
			return grant;
	}
	return NULL;
}

/* Memory keeps it for the next outage; until then PostgreSQL is asked. */
static void
remember(tk_client *client, const tki_grant *grant)
{
	const char *second = grant->name + strlen(grant->name) + 1;
	tki_cached	cached = {
		.version = TKI_NEVER_TRUSTED,.expires_at = grant->expires_at,.price = grant->price,
		.sent_at = grant->at
	};
	tki_name	name;

	if (client->cache == NULL || grant->expires_at == 0)
		return;
	if (grant->is_signal)
		tki_set_name(&name, "", grant->name, second);
	else
		tki_set_name(&name, grant->name, second, NULL);
	tki_cache_put(client->cache, &name, &cached);
}

/* PostgreSQL knows them all. */
void
tki_grants_clear(tk_client *client)
{
	tki_grants *grants = client->grants;

	if (grants == NULL)
		return;
	for (size_t i = 0; grants->buckets != NULL && i <= grants->mask; i++)
	{
		for (tki_grant *grant = grants->buckets[i], *next; grant != NULL; grant = next)
		{
			next = grant->next;
			remember(client, grant);
			free(grant);
		}
	}
	free(grants->buckets);
	free(grants);
	client->grants = NULL;
}
