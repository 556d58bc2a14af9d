/*
 * metrics.c
 *		What the handle has counted: as numbers, as JSON, and as Prometheus's text.
 *
 * One list names every number but those of the tiers; all formats go by it.
 */
#include "internal.h"

#include <cjson/cJSON.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX	"tradekeep_client_"

typedef struct metric_field
{
	const char *name;
	const char *help;
	bool		is_gauge;
	size_t		offset;			/* of an int64_t, in tk_metrics or tk_tier_metrics */
} metric_field;

static const metric_field tier_metrics[] = {
	{"duplicates", "Calls answered duplicate, by tier", false,
	offsetof(tk_tier_metrics, duplicates)},
	{"claimed", "Calls granted, by tier", false, offsetof(tk_tier_metrics, claimed)},
	{"misses", "Calls passed on to the next tier", false, offsetof(tk_tier_metrics, misses)},
	{"errors", "Tiers that failed", false, offsetof(tk_tier_metrics, errors)},
};

static const metric_field metrics[] = {
	{"unavailable", "Calls without a verdict", false, offsetof(tk_metrics, unavailable)},
	{"degraded", "Verdicts without PostgreSQL", false, offsetof(tk_metrics, degraded)},
	{"cached_entries", "Claims and signals in memory", true,
	offsetof(tk_metrics, cached_entries)},
	{"evictions", "Entries that gave way to others", false, offsetof(tk_metrics, evictions)},
	{"invalidations", "Times that a release made entries useless", false,
	offsetof(tk_metrics, invalidations)},
	{"reconnects", "Connections made after the first", false, offsetof(tk_metrics, reconnects)},
	{"redis_failures", "Commands that Redis failed", false, offsetof(tk_metrics, redis_failures)},
	{"spool_records", "Records that wait for PostgreSQL", true,
	offsetof(tk_metrics, spool_records)},
	{"spool_bytes", "Size of the spool in bytes", true, offsetof(tk_metrics, spool_bytes)},
	{"spool_failures", "Writes that the spool could not take", false,
	offsetof(tk_metrics, spool_failures)},
	{"replayed", "Records taken over from spools", false, offsetof(tk_metrics, replayed)},
	{"collisions", "Replayed claims that others had got, too", false,
	offsetof(tk_metrics, collisions)},
	{"rejected", "Records that PostgreSQL refused", false, offsetof(tk_metrics, rejected)},
};

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* In the order of tk_breaker. */
static const char *const breaker_names[] = {"off", "closed", "open", "probing"};

static int64_t
value_of(const metric_field *metric, const void *from)
{
	return *(const int64_t *) ((const char *) from + metric->offset);
}

int
tk_read_metrics(const tk_client *client, tk_metrics *metrics)
{
	memset(metrics, 0, sizeof(*metrics));
	if (client == NULL)
		return -1;
	*metrics = client->metrics;
	if (client->cache != NULL)
		tki_cache_count(client->cache, &metrics->cached_entries, &metrics->evictions);
	metrics->reconnects = client->connections > 0 ? client->connections - 1 : 0;
	metrics->breaker = tki_redis_breaker(client);
	metrics->listening = tki_known_listening(client);
	return 0;
}

static bool
add_tier(cJSON *json, const char *name, const tk_tier_metrics *tier)
{
	cJSON	   *object = cJSON_AddObjectToObject(json, name);
	cJSON	   *buckets;

	for (size_t i = 0; i < LENGTH(tier_metrics); i++)
		cJSON_AddNumberToObject(object, tier_metrics[i].name,
								(double) value_of(&tier_metrics[i], tier));
	cJSON_AddNumberToObject(object, "latency_sum", (double) tier->latency_sum);
	buckets = cJSON_AddArrayToObject(object, "latency");
	for (int i = 0; i < TK_LATENCY_BUCKETS; i++)
		cJSON_AddItemToArray(buckets, cJSON_CreateNumber((double) tier->latency[i]));
	return cJSON_GetArraySize(buckets) == TK_LATENCY_BUCKETS;
}

/* Keeps a text for the caller. */
static const char *
keep(tk_client *client, char *text)
{
	free(client->text);
	client->text = text;
	return text;
}

const char *
tk_metrics_json(tk_client *client)
{
	tk_metrics	now;
	cJSON	   *json;
	char	   *text = NULL;

	if (tk_read_metrics(client, &now) != 0)
		return NULL;
	json = cJSON_CreateObject();
	if (add_tier(json, "memory", &now.memory) && add_tier(json, "redis", &now.redis) &&
		add_tier(json, "postgres", &now.postgres))
	{
		for (size_t i = 0; i < LENGTH(metrics); i++)
			cJSON_AddNumberToObject(json, metrics[i].name, (double) value_of(&metrics[i], &now));
		cJSON_AddStringToObject(json, "breaker", breaker_names[now.breaker]);
		if (cJSON_AddBoolToObject(json, "listening", now.listening) != NULL)
			text = cJSON_PrintUnformatted(json);
	}
	cJSON_Delete(json);
	return keep(client, text);
}

static void
print_head(FILE *out, const metric_field *metric)
{
	fprintf(out, "# HELP " PREFIX "%s%s %s\n# TYPE " PREFIX "%s%s %s\n", metric->name,
			metric->is_gauge ? "" : "_total", metric->help, metric->name,
			metric->is_gauge ? "" : "_total", metric->is_gauge ? "gauge" : "counter");
}

/*
 * Bucket i holds whole microseconds below 2^i, so it ends at 2^i - 1.  Seconds are printed from
 * integers: a language's decimal point is none of Prometheus's.
 */
static void
print_latency(FILE *out, const char *tier, const tk_tier_metrics *metrics)
{
	int64_t		count = 0;

	for (int i = 0; i < TK_LATENCY_BUCKETS; i++)
	{
		long long	bound = i < TK_LATENCY_BUCKETS - 1 ? (1LL << i) - 1 : -1;

		count += metrics->latency[i];
		if (bound >= 0)
			fprintf(out, PREFIX "latency_seconds_bucket{tier=\"%s\",le=\"%lld.%06lld\"} %lld\n",
					tier, bound / 1000000, bound % 1000000, (long long) count);
	}
	fprintf(out, PREFIX "latency_seconds_bucket{tier=\"%s\",le=\"+Inf\"} %lld\n"
			PREFIX "latency_seconds_sum{tier=\"%s\"} %lld.%06lld\n"
			PREFIX "latency_seconds_count{tier=\"%s\"} %lld\n", tier, (long long) count, tier,
			(long long) metrics->latency_sum / 1000000,
			(long long) metrics->latency_sum % 1000000, tier, (long long) count);
}

static void
print_metrics(FILE *out, const tk_metrics *now)
{
	static const char *const names[] = {"memory", "redis", "postgres"};
	const tk_tier_metrics *const tiers[] = {&now->memory, &now->redis, &now->postgres};

	for (size_t i = 0; i < LENGTH(tier_metrics); i++)
	{
		print_head(out, &tier_metrics[i]);
		for (size_t j = 0; j < LENGTH(tiers); j++)
			fprintf(out, PREFIX "%s_total{tier=\"%s\"} %lld\n", tier_metrics[i].name, names[j],
					(long long) value_of(&tier_metrics[i], tiers[j]));
	}
	fputs("# HELP " PREFIX "latency_seconds How long the caller waited, by the tier that answered\n"
		  "# TYPE " PREFIX "latency_seconds histogram\n", out);
	for (size_t j = 0; j < LENGTH(tiers); j++)
		print_latency(out, names[j], tiers[j]);
	for (size_t i = 0; i < LENGTH(metrics); i++)
	{
		print_head(out, &metrics[i]);
		fprintf(out, PREFIX "%s%s %lld\n", metrics[i].name, metrics[i].is_gauge ? "" : "_total",
				(long long) value_of(&metrics[i], now));
	}
	fputs("# HELP " PREFIX "breaker The state of Redis, 1 for the one that is\n"
		  "# TYPE " PREFIX "breaker gauge\n", out);
	for (size_t i = 0; i < LENGTH(breaker_names); i++)
		fprintf(out, PREFIX "breaker{state=\"%s\"} %d\n", breaker_names[i], i == now->breaker);
	fprintf(out, "# HELP " PREFIX "listening Whether releases are heard of at once\n"
			"# TYPE " PREFIX "listening gauge\n" PREFIX "listening %d\n", now->listening != 0);
}

const char *
tk_metrics_prometheus(tk_client *client)
{
	tk_metrics	now;
	char	   *text = NULL;
	size_t		size;
	FILE	   *out;
	bool		complete;

	if (tk_read_metrics(client, &now) != 0 || (out = open_memstream(&text, &size)) == NULL)
		return NULL;
	print_metrics(out, &now);
	complete = ferror(out) == 0;
	if (fclose(out) != 0 || !complete)
	{
		free(text);
		text = NULL;
	}
	return keep(client, text);
}
