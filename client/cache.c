/*
 * cache.c
 *		Process memory: the claims and signals that this handle saw committed last.
 *
 * A table of fixed size, in one allocation, whose entries hang in two lists: one
 * of their bucket, by hash, and one of all, by last use, which says who gives way
 * to a new one.  Lists link entries by number; number 0 is no entry but the ends
 * of the list of all.  The hash has a seed of its own in each table, since keys
 * may be made by strangers.
 *
 * What an entry is worth, tier.c decides: here it is only kept.
 */
#include "internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

typedef struct cache_entry
{
	uint32_t	next;			/* of the same bucket; of free ones the next free */
	uint32_t	newer;
	uint32_t	older;
	uint32_t	length;
	uint64_t	hash;
	tki_cached	cached;
	char		name[TKI_MAX_NAME];
} cache_entry;

struct tki_cache
{
	uint64_t	seed;
	uint32_t	mask;			/* of a hash, to the number of its bucket */
	uint32_t	count;
	uint32_t	free;
	int64_t		evictions;
	uint32_t   *buckets;
	cache_entry entries[];
};

typedef unsigned __int128 uint128;

/* Multiplies to 128 bits and folds them. */
static inline uint64_t
mix(uint64_t a, uint64_t b)
{
	uint128		product = (uint128) a * b;

	return (uint64_t) product ^ (uint64_t) (product >> 64);
}

static uint64_t
hash_name(const tki_cache *cache, const tki_name *name)
{
	uint64_t	hash = cache->seed ^ name->length;
	uint64_t	word;

	/* Behind its end a name has zeroes up to a whole word. */
	for (size_t i = 0; i < name->length; i += sizeof(word))
	{
		memcpy(&word, name->text + i, sizeof(word));
		hash = mix(hash ^ word, UINT64_C(0x9E3779B97F4A7C15));
	}
	return mix(hash, cache->seed | 1);
}

/* Two texts with a null byte between them: neither has one inside, so no two pairs are alike. */
void
tki_set_name(tki_name *name, const char *scope, const char *key, const char *direction)
{
	size_t		scope_length = strlen(scope) + 1;
	size_t		key_length = strlen(key);

	memcpy(name->text, scope, scope_length);
	memcpy(name->text + scope_length, key, key_length + 1);
	name->length = scope_length + key_length;
	if (direction != NULL)
	{
		strcpy(name->text + name->length + 1, direction);
		name->length += 1 + strlen(direction);
	}
	memset(name->text + name->length, 0, sizeof(uint64_t));
}

tki_cache *
tki_cache_make(int size)
{
	uint32_t	buckets = 16;
	tki_cache  *cache;

	while (buckets < (uint32_t) size)
		buckets *= 2;
	cache = calloc(1, sizeof(tki_cache) + sizeof(cache_entry) * ((size_t) size + 1) +
				   sizeof(uint32_t) * buckets);
	if (cache == NULL)
		return NULL;
	cache->mask = buckets - 1;
	cache->buckets = (uint32_t *) &cache->entries[size + 1];
	if (getentropy(&cache->seed, sizeof(cache->seed)) != 0)
		cache->seed = (uint64_t) tki_now_us() * (uintptr_t) cache;
	for (int i = 1; i <= size; i++)
		cache->entries[i].next = i < size ? (uint32_t) i + 1 : 0;
	cache->free = 1;
	return cache;
}

static void
unlink_use(tki_cache *cache, const cache_entry *used)
{
	cache->entries[used->newer].older = used->older;
	cache->entries[used->older].newer = used->newer;
}

static void
link_newest(tki_cache *cache, uint32_t number)
{
	cache_entry *ends = &cache->entries[0];

	cache->entries[number].newer = 0;
	cache->entries[number].older = ends->older;
	cache->entries[ends->older].newer = number;
	ends->older = number;
}

/* Where the number of the entry of that name stands, or of the end of its bucket. */
static uint32_t *
find_link(tki_cache *cache, const tki_name *name, uint64_t hash)
{
	uint32_t   *link = &cache->buckets[hash & cache->mask];

	while (*link != 0)
	{
		cache_entry *candidate = &cache->entries[*link];

		if (candidate->hash == hash && candidate->length == name->length &&
			memcmp(candidate->name, name->text, name->length) == 0)
			break;
		link = &candidate->next;
	}
	return link;
}

static void
drop_link(tki_cache *cache, uint32_t *link)
{
	uint32_t	number = *link;
	cache_entry *dropped = &cache->entries[number];

	*link = dropped->next;
	unlink_use(cache, dropped);
	dropped->next = cache->free;
	cache->free = number;
	cache->count--;
}

/* What is kept under a name and not expired at `clock`, valid until the next call; or null. */
const tki_cached *
tki_cache_find(tki_cache *cache, const tki_name *name, int64_t clock)
{
	uint32_t   *link = find_link(cache, name, hash_name(cache, name));
	cache_entry *found = &cache->entries[*link];

	if (*link == 0)
		return NULL;
	if (found->cached.expires_at <= clock)
	{
		drop_link(cache, link);
		return NULL;
	}
	if (found->newer != 0)
	{
		unlink_use(cache, found);
		link_newest(cache, *link);
	}
	return &found->cached;
}

static void
evict_oldest(tki_cache *cache)
{
	uint32_t	oldest = cache->entries[0].newer;
	uint32_t   *link = &cache->buckets[cache->entries[oldest].hash & cache->mask];

	while (*link != oldest)
		link = &cache->entries[*link].next;
	drop_link(cache, link);
	cache->evictions++;
}

void
tki_cache_put(tki_cache *cache, const tki_name *name, const tki_cached *cached)
{
	uint64_t	hash = hash_name(cache, name);
	uint32_t	number = *find_link(cache, name, hash);
	cache_entry *target;

	if (number != 0)
		unlink_use(cache, &cache->entries[number]);
	else
	{
		uint32_t   *bucket = &cache->buckets[hash & cache->mask];

		if (cache->free == 0)
			evict_oldest(cache);
		number = cache->free;
		target = &cache->entries[number];
		cache->free = target->next;
		cache->count++;
		target->hash = hash;
		target->length = (uint32_t) name->length;
		memcpy(target->name, name->text, name->length);
		target->next = *bucket;
		*bucket = number;
	}
	cache->entries[number].cached = *cached;
	link_newest(cache, number);
}

void
tki_cache_drop(tki_cache *cache, const tki_name *name)
{
	uint32_t   *link = find_link(cache, name, hash_name(cache, name));

	if (*link != 0)
		drop_link(cache, link);
}

void
tki_cache_clear(tki_cache *cache)
{
	for (uint32_t i = 0; i <= cache->mask; i++)
	{
		while (cache->buckets[i] != 0)
			drop_link(cache, &cache->buckets[i]);
	}
}

/* What is there stays for an outage, and answers nothing until then. */
void
tki_cache_distrust(tki_cache *cache)
{
	for (uint32_t i = 0; i <= cache->mask; i++)
	{
		for (uint32_t number = cache->buckets[i]; number != 0; number = cache->entries[number].next)
			cache->entries[number].cached.version = TKI_NEVER_TRUSTED;
	}
}

void
tki_cache_count(const tki_cache *cache, int64_t *entries, int64_t *evictions)
{
	*entries = cache->count;
	*evictions = cache->evictions;
}
