/*
 * redis.c
 *		tradekeep import redis: what a bot without PostgreSQL had claimed in Redis.
 *
 * SCAN gives a page of keys, a script tells how long each still lives, and one
 * statement claims them in the order of their keys, so that imports that overlap,
 * and bots that run meanwhile, wait for each other and never die of it.
 */
#include "command.h"
#include "internal.h"

#include <getopt.h>
#include <hiredis/hiredis.h>
#include <stdlib.h>

/* Keys of a page, about: SCAN takes it as a hint, and may give some more. */
#define PAGE "500"
#define MAX_PAGE_KEYS 10000

/* An import has time. */
#define REDIS_TIMEOUT 10000

/* The longest ttl that the server takes, in ms: 100 years. */
#define MAX_TTL_MS (INT64_C(36525) * 86400000)

#define REPORTED_KEYS 10

const char *const import_redis_help =
"tradekeep import redis [--redis URL] [OPTION...]\n"
"\n"
"Claims what a bot has claimed in Redis, for as long as each key has still to live there:\n"
"\n"
"  candle:{instrument}:{timeframe}:{start}    scope candle, the key behind \"candle:\"\n"
"  signal:publish:{instrument}:{start}        scope publish, the key behind \"signal:publish:\"\n"
"\n"
"Redis is only read. Running it again changes nothing. Keys that tradekeep itself remembers\n"
"there are in PostgreSQL already, and skipped; claims that it granted while PostgreSQL was\n"
"away are taken.\n"
"\n"
"  --redis URL              redis://[user[:password]@]host[:port][/db] or unix:///path[?db=n];\n"
"                           else REDIS_URL, REDIS_PASSWORD and REDIS_DB of the environment\n"
"  --ttl INTERVAL           of keys that never expire there, such as \"1 day\"; else the scope's\n"
"  --on-error=stop|skip     stop (default): at a key that cannot be a claim, say which, and\n"
"                           claim nothing of its page; what was claimed before stays.\n"
"                           skip: leave these out, count them, show the first 10\n"
"  --dry-run                only count what would be done\n"
"  --json                   the summary as one JSON object\n"
"  --url URL                the database\n"
"\n"
"Claimed: is now in PostgreSQL. Duplicates: was there, or came twice. Skipped: tradekeep's own.\n"
"Expired: ran out meanwhile. Rejected: no string, or no key for a claim.\n"
"\n"
"Exit codes: 0 done; 1 a key is bad; 2 wrong usage; 3 Redis or the database not reachable;\n"
"4 done, but keys were left out; 130 interrupted, after the page under way was stored.";

/* What a command of Redis answers: of each key the first bytes of its value, and its ttl. */
static const char *const inspect_script =
"local found = {} "
"for i, key in ipairs(KEYS) do "
" local value = redis.pcall('GETRANGE', key, 0, 3) "
" found[2 * i - 1] = type(value) == 'table' and 'none' or value "
" found[2 * i] = redis.call('PTTL', key) "
"end "
"return found";

/* $1: the scope; $2: keys; $3: their ttls in ms, -1 for none; $4: the ttl of these. */
#define EACH_KEY \
	" FROM (SELECT u.key, coalesce(CASE WHEN u.ms OPERATOR(pg_catalog.>=) 0" \
	" THEN u.ms OPERATOR(pg_catalog.*) interval '1 ms' END, $4) AS ttl" \
	" FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3)) AS u(key, ms)" \
	" ORDER BY u.key COLLATE pg_catalog.\"C\" OFFSET 0) AS t OFFSET 0) AS r"

static const tki_statement claim_statement = {
	.id = TKI_IMPORT_CLAIMS,.access = TKI_WRITE,
	.name = "tradekeep_" TRADEKEEP_VERSION "_import_claims",
	.sql = "SELECT pg_catalog.count(*) FILTER (WHERE r.claimed)"
	" FROM (SELECT tradekeep.claim($1, t.key, t.ttl) AS claimed" EACH_KEY,
	.count = 4,.types = {OID_TEXT, OID_TEXT_ARRAY, OID_FLOAT8_ARRAY, OID_INTERVAL}
};

static const tki_statement look_statement = {
	.id = TKI_IMPORT_CLAIMS,.access = TKI_READ,
	.name = "tradekeep_" TRADEKEEP_VERSION "_import_look",
	.sql = "SELECT pg_catalog.count(*) FILTER (WHERE NOT r.claimed)"
	" FROM (SELECT tradekeep.claimed($1, t.key) AS claimed, t.ttl" EACH_KEY,
	.count = 4,.types = {OID_TEXT, OID_TEXT_ARRAY, OID_FLOAT8_ARRAY, OID_INTERVAL}
};

static const struct
{
	const char *scope;
	const char *prefix;
	const char *pattern;
}			spaces[] =

{
	{"candle", "candle:", "candle:*"},
	{"publish", "signal:publish:", "signal:publish:*"},
};

typedef struct redis_import
{
	tk_client  *client;
	const char *ttl;			/* of keys that have none, or null */
	bool		skip;			/* bad keys, instead of stopping */
	bool		dry_run;
	bool		json;
	int64_t		keys;
	int64_t		claimed;
	int64_t		duplicates;
	int64_t		skipped;
	int64_t		expired;
	int64_t		rejected;
	struct timespec start;

	/* The claims of a page: keys without their prefix, which are the reply's. */
	size_t		count;
	const char *page_keys[MAX_PAGE_KEYS];
	double		page_ttls[MAX_PAGE_KEYS];
} redis_import;

static int
report_redis(const redis_import *import, const redisReply *reply)
{
	char		reason[256];

	snprintf(reason, sizeof(reason), "%s", reply != NULL && reply->type == REDIS_REPLY_ERROR ?
			 reply->str : reply != NULL ? "an unexpected answer" :
			 tki_redis_reason(import->client));
	hide_progress();
	fprintf(stderr, "%stradekeep: could not read from Redis: %s%s\n", paint(stderr, RED),
			defuse(reason), paint(stderr, PLAIN));
	return EXIT_UNREACHABLE;
}

/* Shows a key that is left out, or at which the import stops. */
static void
report_key(const redis_import *import, const redisReply *key, const char *reason)
{
	char		name[128];

	if (import->skip && import->rejected >= REPORTED_KEYS)
	{
		if (import->rejected == REPORTED_KEYS)
			fputs("tradekeep: more bad keys follow, which are only counted\n", stderr);
		return;
	}
	tki_copy_text(name, sizeof(name), key->str);
	hide_progress();
	fprintf(stderr, "%stradekeep: key \"%s%s\": %s%s\n", paint(stderr, RED), defuse(name),
			strlen(name) < key->len ? "..." : "", reason, paint(stderr, PLAIN));
}

/* What keeps a key from being a claim, or null. */
static const char *
problem_of_key(redis_import *import, const redisReply *key, size_t prefix, const redisReply *value,
			   int64_t ttl)
{
	if (strcmp(value->str, "none") == 0)
		return "it is not a string";
	if (strlen(key->str) != key->len)
		return "it has a zero byte";
	if (ttl > MAX_TTL_MS)
		return "it lives for more than 100 years";
	tki_clear_error(import->client);
	return tki_check_key(import->client, key->str + prefix, "key") ? NULL :
		tk_message(import->client);
}

/* Takes one key into the page's claims.  Returns an exit code. */
static int
take_key(redis_import *import, const redisReply *key, size_t prefix, const redisReply *value,
		 const redisReply *ttl)
{
	const char *problem;

	import->keys++;
	/* PTTL says -1 for a key that never expires, -2 for one that is not there. */
	if (ttl->integer == 0 || ttl->integer == -2)
		import->expired++;
	else if (strcmp(value->str, "tk1:") == 0)
		import->skipped++;
	else if ((problem = problem_of_key(import, key, prefix, value, ttl->integer)) != NULL)
	{
		report_key(import, key, problem);
		import->rejected++;
		if (!import->skip)
			return EXIT_FAILED;
	}
	else
	{
		import->page_keys[import->count] = key->str + prefix;
		import->page_ttls[import->count] = (double) ttl->integer;
		import->count++;
	}
	return EXIT_DONE;
}

/* Asks Redis for values and ttls of a page of keys.  The reply has two elements for each. */
static redisReply *
inspect(redis_import *import, const redisReply *keys)
{
	static const char *argv[MAX_PAGE_KEYS + 3];
	static size_t lengths[MAX_PAGE_KEYS + 3];
	char		count[24];
	const char *const head[] = {"EVAL", inspect_script, count};

	snprintf(count, sizeof(count), "%zu", keys->elements);
	for (size_t i = 0; i < keys->elements + 3; i++)
	{
		argv[i] = i < 3 ? head[i] : keys->element[i - 3]->str;
		lengths[i] = i < 3 ? strlen(head[i]) : keys->element[i - 3]->len;
	}
	return tki_redis_command(import->client, (int) keys->elements + 3, argv, lengths);
}

/* Whether a reply has the form of "key, then value and ttl for each". */
static bool
is_page(const redisReply *keys, const redisReply *found)
{
	if (found == NULL || found->type != REDIS_REPLY_ARRAY ||
		found->elements != 2 * keys->elements)
		return false;
	for (size_t i = 0; i < keys->elements; i++)
	{
		if (keys->element[i]->type != REDIS_REPLY_STRING ||
			found->element[2 * i]->type != REDIS_REPLY_STRING ||
			found->element[2 * i + 1]->type != REDIS_REPLY_INTEGER)
			return false;
	}
	return true;
}

/* Claims what the page has.  Returns an exit code. */
static int
store_page(redis_import *import, const char *scope)
{
	tki_parameters parameters = {.count = 0};
	tki_array	keys = {.data = NULL};
	tki_array	ttls = {.data = NULL};
	size_t		bytes = 0;
	PGresult   *result = NULL;
	int64_t		claimed;

	for (size_t i = 0; i < import->count; i++)
		bytes += strlen(import->page_keys[i]);
	tki_clear_error(import->client);
	if (tki_array_start(&keys, OID_TEXT, import->count, bytes) &&
		tki_array_start(&ttls, OID_FLOAT8, import->count, 8 * import->count))
	{
		for (size_t i = 0; i < import->count; i++)
		{
			tki_array_add(&keys, import->page_keys[i], strlen(import->page_keys[i]));
			tki_array_add_float8(&ttls, import->page_ttls[i]);
		}
		tki_put_text(&parameters, scope);
		tki_put_array(&parameters, &keys);
		tki_put_array(&parameters, &ttls);
		tki_put_text(&parameters, import->ttl);
		result = tki_execute(import->client,
							 import->dry_run ? &look_statement : &claim_statement, &parameters);
	}
	else
		tki_fail(import->client, TK_ERROR_MEMORY, "", "out of memory");
	free(keys.data);
	free(ttls.data);
	if (result == NULL)
		return report_failure(import->client);
	if (!tki_answer_int64(result, 0, &claimed))
	{
		tki_unexpected(import->client, result);
		return report_failure(import->client);
	}
	PQclear(result);
	import->claimed += claimed;
	import->duplicates += (int64_t) import->count - claimed;
	return EXIT_DONE;
}

/* Returns an exit code. */
static int
import_page(redis_import *import, size_t space, const redisReply *keys)
{
	redisReply *found = inspect(import, keys);
	int			status = EXIT_DONE;

	import->count = 0;
	if (!is_page(keys, found))
		status = report_redis(import, found);
	for (size_t i = 0; i < keys->elements && status == EXIT_DONE; i++)
		status = take_key(import, keys->element[i], strlen(spaces[space].prefix),
						  found->element[2 * i], found->element[2 * i + 1]);
	if (status == EXIT_DONE && import->count > 0)
		status = store_page(import, spaces[space].scope);
	freeReplyObject(found);
	return status;
}

/* Goes through the keys of one scope.  Returns an exit code. */
static int
import_space(redis_import *import, size_t space)
{
	char		cursor[32] = "0";
	int			status = EXIT_DONE;

	do
	{
		const char *scan[] = {"SCAN", cursor, "MATCH", spaces[space].pattern, "COUNT", PAGE};
		redisReply *reply = tki_redis_command(import->client, 6, scan, NULL);
		const redisReply *keys = reply != NULL && reply->type == REDIS_REPLY_ARRAY &&
		reply->elements == 2 ? reply->element[1] : NULL;

		if (keys == NULL || keys->type != REDIS_REPLY_ARRAY || keys->elements > MAX_PAGE_KEYS ||
			reply->element[0]->type != REDIS_REPLY_STRING ||
			reply->element[0]->len >= sizeof(cursor))
			status = report_redis(import, reply);
		else
		{
			strcpy(cursor, reply->element[0]->str);
			if (keys->elements > 0)
				status = import_page(import, space, keys);
		}
		freeReplyObject(reply);
		show_progress("keys", -1, import->keys, seconds_since(&import->start));
		if (interrupted && status == EXIT_DONE)
			status = EXIT_INTERRUPTED;
	} while (status == EXIT_DONE && strcmp(cursor, "0") != 0);
	return status;
}

static void
summarize(const redis_import *import, int status)
{
	const summary_line lines[] =
	{
		{"keys", import->keys}, {"claimed", import->claimed}, {"duplicates", import->duplicates},
		{"skipped", import->skipped}, {"expired", import->expired}, {"rejected", import->rejected},
	};

	print_summary(lines, 6, seconds_since(&import->start), import->json, status);
	if (import->dry_run && !import->json)
		printf("Nothing was written: \"claimed\" is what would be.\n");
}

static int
import_redis(redis_import *import)
{
	int			status = EXIT_DONE;

	clock_gettime(CLOCK_MONOTONIC, &import->start);
	if (tk_connect(import->client) != 0)
		return report_failure(import->client);
	catch_interrupts();
	for (size_t space = 0; space < sizeof(spaces) / sizeof(spaces[0]) && status == EXIT_DONE;
		 space++)
		status = import_space(import, space);
	if (status == EXIT_DONE && import->rejected > 0)
		status = EXIT_SKIPPED;
	summarize(import, status);
	return status;
}

int
import_redis_main(int argc, char **argv)
{
	static const struct option options[] = {
		{"redis", required_argument, NULL, 'r'},
		{"ttl", required_argument, NULL, 't'},
		{"on-error", required_argument, NULL, 'e'},
		{"dry-run", no_argument, NULL, 'd'},
		{"json", no_argument, NULL, 'j'},
		{"url", required_argument, NULL, 'u'},
		{0}
	};
	static redis_import import;
	tk_options	chosen;
	int			option;
	int			status;

	tk_options_init(&chosen);
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
	{
		switch (option)
		{
			case 'r':
				chosen.redis_url = optarg;
				break;
			case 't':
				import.ttl = optarg;
				break;
			case 'e':
				import.skip = strcmp(optarg, "skip") == 0;
				if (!import.skip && strcmp(optarg, "stop") != 0)
					return wrong_usage("import redis", "--on-error is stop or skip");
				break;
			case 'd':
				import.dry_run = true;
				break;
			case 'j':
				import.json = true;
				break;
			case 'u':
				chosen.database_url = optarg;
				break;
			default:
				return wrong_usage("import redis", "an option is wrong");
		}
	}
	if (argc - optind != 1)
		return wrong_usage("import redis", "it takes options only");
	if (chosen.redis_url == NULL)
		return wrong_usage("import redis", "which Redis? --redis URL");
	chosen.redis_timeout = REDIS_TIMEOUT;
	import.client = open_with(&chosen, "tradekeep import");
	status = import_redis(&import);
	tk_close(import.client);
	return status;
}
