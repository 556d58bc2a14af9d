/*
 * degrade.c
 *		Decides and keeps while PostgreSQL is away, where the policy is TK_DEGRADE.
 *
 * Redis is the arbiter between processes: SET NX for a key, a script over a sorted
 * set for a signal.  Without Redis each process decides for itself.  What is granted
 * is a record of the spool before the caller is told so; replay.c takes it into
 * PostgreSQL.  While the spool holds records, this handle stays in degraded mode:
 * nothing overtakes what was kept before, and no own grant is granted again.
 *
 * A mark in Redis is tkd:SPOOL:NUMBER:EXPIRES, of a signal :0:SENT behind it, and
 * the number that of the record.  Whatever else is there counts as a duplicate,
 * for nobody can ask what it is worth.
 */
#include "spool.h"

#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOUR		INT64_C(3600000)

/* Removes a mark that is still this one. */
static const char *const unmark_script =
"if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";

/*
 * ARGV: now, price, tolerance, member, ms it lives.  Returns a live member within tolerance and
 * its price, or adds this one.  A member that does not say when it expires never does.
 */
static const char *const signal_script =
"local now, p, tolerance = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]) "
"local members = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES') "
"for i = 1, #members, 2 do "
"local q = tonumber(members[i + 1]) "
"local expires = tonumber(string.match(members[i], '^tk[1d]:[^:]*:[^:]*:(%d+)')) "
"if expires and expires <= now then redis.call('ZREM', KEYS[1], members[i]) "
"elseif math.abs(p - q) <= tolerance * q then return {members[i], members[i + 1]} end end "
"redis.call('ZADD', KEYS[1], ARGV[2], ARGV[4]) "
"if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[5]) then "
"redis.call('PEXPIRE', KEYS[1], ARGV[5]) end "
"return false";

struct tki_policy
{
	tki_policy *next;
	tk_outage_policy policy;
	char		scope[];
};

/* Whether the policy of a scope is TK_DEGRADE. */
bool
tki_may_degrade(const tk_client *client, const char *scope)
{
	for (const tki_policy *policy = client->policies; policy != NULL; policy = policy->next)
	{
		if (strcmp(policy->scope, scope) == 0)
			return policy->policy == TK_DEGRADE;
	}
	return client->options.outage == TK_DEGRADE;
}

int
tk_set_outage_policy(tk_client *client, const char *scope, tk_outage_policy policy)
{
	tki_policy *entry;

	if (!tki_enter(client) || !tki_check_scope(client, scope))
		return -1;
	if (policy != TK_REFUSE && (policy != TK_DEGRADE || client->spool == NULL))
	{
		tki_fail(client, TK_ERROR_ARGUMENT, "", policy == TK_DEGRADE ?
				 "there is no directory for a spool" : "there is no such policy");
		tki_hint(client, "Set the option spool_directory, or TRADEKEEP_SPOOL.");
		return -1;
	}
	for (entry = client->policies; entry != NULL; entry = entry->next)
	{
		if (strcmp(entry->scope, scope) == 0)
			break;
	}
	if (entry == NULL)
	{
		entry = malloc(sizeof(*entry) + strlen(scope) + 1);
		if (entry == NULL)
		{
			tki_fail(client, TK_ERROR_MEMORY, "", "out of memory");
			return -1;
		}
		strcpy(entry->scope, scope);
		entry->next = client->policies;
		client->policies = entry;
	}
	entry->policy = policy;
	return 0;
}

void
tki_policies_free(tk_client *client)
{
	while (client->policies != NULL)
	{
		tki_policy *policy = client->policies;

		client->policies = policy->next;
		free(policy);
	}
}

int
tk_spooled(const tk_client *client)
{
	return client != NULL && client->spooled;
}

/* The server's clock, or this machine's when the server never told it. */
static int64_t
clock_in_use(const tk_client *client)
{
	int64_t		low,
				high;

	tki_known_clock(client, tki_now_ms(), &low, &high);
	return high;
}

/* Whether this handle may go on where PostgreSQL failed it, or was not asked at all. */
static bool
may_go_on(const tk_client *client)
{
	return client->spool != NULL && !client->transaction_lost && !tki_in_transaction(client) &&
		(client->error == TK_OK || client->error == TK_ERROR_CONNECTION ||
		 client->error == TK_ERROR_UNKNOWN_OUTCOME);
}

/* Whether the spool holds records, after some of them were replayed if that can be done. */
static bool
spool_is_busy(tk_client *client)
{
	if (client->spool == NULL || client->metrics.spool_records == 0)
		return false;
	tki_replay_some(client);
	return client->metrics.spool_records > 0;
}

bool
tki_stays_degraded(tk_client *client, const tki_request *request)
{
	bool		busy;

	if (client->spool == NULL || client->metrics.spool_records == 0 ||
		!tki_may_degrade(client, request->scope) || !may_go_on(client))
		return false;
	busy = spool_is_busy(client);
	tki_clear_error(client);
	return busy;
}

/*
 * For what is never kept in the spool, and must not overtake it: claims of many,
 * releases, leases, and whole transactions, of which the scope is null.  False, with
 * the error set, when records are left.
 */
bool
tki_follows_spool(tk_client *client, const char *scope)
{
	if (client->spool == NULL || client->metrics.spool_records == 0 ||
		client->transaction_lost || tki_in_transaction(client) ||
		(scope != NULL && !tki_may_degrade(client, scope)))
		return true;
	if (!spool_is_busy(client))
	{
		tki_clear_error(client);
		return true;
	}
	if (client->error == TK_OK)
	{
		tki_fail(client, TK_ERROR_CONNECTION, SQLSTATE_CANNOT_NOW,
				 "%" PRId64 " records of the spool come first", client->metrics.spool_records);
		tki_hint(client, "Each call replays some; tk_replay() replays all.");
	}
	return false;
}

static void
announce(tk_client *client)
{
	if (client->spool->announced != client->connections + 1)
		tki_log(client, TK_LOG_WARNING, "going on without PostgreSQL: %s",
				client->message[0] != '\0' ? client->message : "there are records to be replayed");
	client->spool->announced = client->connections + 1;
}

/* The claim or signal that is being decided. */
typedef struct pending_request
{
	const tki_request *request;
	int64_t		now;
	int64_t		expires_at;
	const tki_spool_file *file; /* its mark is of the next record there */
} pending_request;

#define MARK_SIZE 128

static void
print_mark(char mark[MARK_SIZE], const tki_spool_file *file, int64_t number, bool is_signal,
		   int64_t at, int64_t expires_at)
{
	int			length;

	length = snprintf(mark, MARK_SIZE, "tkd:%s:%" PRId64 ":%" PRId64, file->id, number, expires_at);
	if (is_signal)
		snprintf(mark + length, (size_t) (MARK_SIZE - length), ":0:%" PRId64, at);
}

static void
remove_mark(tk_client *client, const tki_request *request, const char *mark)
{
	char		key[TKI_REDIS_KEY];
	const char *zrem[] = {"ZREM", key, mark};
	const char *eval[] = {"EVAL", unmark_script, "1", key, mark};

	if (!tki_redis_usable(client))
		return;
	tki_redis_key(key, request);
	freeReplyObject(request->is_signal ? tki_redis_command(client, 3, zrem, NULL) :
					tki_redis_command(client, 5, eval, NULL));
}

/* What Redis still says of a record that PostgreSQL has by now. */
void
tki_unmark(tk_client *client, const tki_spool_file *file, const tki_record *record)
{
	int64_t		expires_at = tki_record_expiry(record);
	tki_request request;
	char		mark[MARK_SIZE];

	if (!tki_record_request(record, &request))
		return;
	print_mark(mark, file, record->number, request.is_signal, record->at, expires_at);
	remove_mark(client, &request, mark);
}

static redisReply *
ask_redis(tk_client *client, const pending_request *pending, const char *mark)
{
	const tki_request *request = pending->request;
	char		key[TKI_REDIS_KEY];
	char		now[24];
	char		left[24];
	char		price[32];
	char		tolerance[32];
	const char *set[] = {"SET", key, mark, "NX", "PX", left};
	const char *eval[] = {"EVAL", signal_script, "1", key, now, price, tolerance, mark, left};

	snprintf(left, sizeof(left), "%" PRId64, pending->expires_at - pending->now);
	tki_redis_key(key, request);
	if (!request->is_signal)
		return tki_redis_command(client, 6, set, NULL);
	snprintf(now, sizeof(now), "%" PRId64, pending->now);
	snprintf(price, sizeof(price), "%.17g", request->price);
	snprintf(tolerance, sizeof(tolerance), "%.17g", request->tolerance);
	return tki_redis_command(client, 9, eval, NULL);
}

/* Reads what the script found: "tk1:EPOCH:VERSION:EXPIRES:ID:SENT" or a mark, and its price. */
static void
read_sent(const redisReply *reply, tk_sent_signal *sent)
{
	if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
		reply->element[0]->type != REDIS_REPLY_STRING ||
		reply->element[1]->type != REDIS_REPLY_STRING)
		return;
	sscanf(reply->element[0]->str, "%*[^:]:%*[^:]:%*[^:]:%" SCNd64 ":%" SCNd64 ":%" SCNd64,
		   &sent->expires_at, &sent->signal_id, &sent->sent_at);
	sent->price = strtod(reply->element[1]->str, NULL);
}

typedef enum redis_verdict
{
	GRANTED, TAKEN, SILENT
} redis_verdict;

static redis_verdict
let_redis_decide(tk_client *client, const pending_request *pending, const char *mark,
				 tk_sent_signal *sent)
{
	locale_t	before;
	locale_t	c = tki_enter_c_locale(&before);
	redisReply *reply = ask_redis(client, pending, mark);
	redis_verdict verdict = TAKEN;

	if (reply == NULL || reply->type == REDIS_REPLY_ERROR)
		verdict = SILENT;
	else if (pending->request->is_signal)
	{
		if (reply->type == REDIS_REPLY_NIL)
			verdict = GRANTED;
		else
			read_sent(reply, sent);
	}
	else if (reply->type == REDIS_REPLY_STATUS)
		verdict = GRANTED;
	freeReplyObject(reply);
	tki_leave_c_locale(c, before);
	return verdict;
}

/* How long the claim lives, in ms; 0 when nobody said so, negative when it is over. */
static int64_t
ttl_of(const tk_client *client, const tki_request *request, int64_t now)
{
	int64_t		known = request->is_signal ? 0 : tki_known_ttl(client, request->scope);

	if (request->expires_at != 0)
		return request->expires_at > now ? request->expires_at - now : -1;
	if (request->ttl != 0 || known != 0)
		return request->ttl != 0 ? request->ttl : known;
	if (strcmp(request->scope, "candle") == 0)
		return HOUR;
	if (request->is_signal || strcmp(request->scope, "publish") == 0)
		return 24 * HOUR;
	return 0;
}

/* The parameters of the record; `text` keeps what they point to. */
static const tki_operation *
fill_record(const pending_request *pending, tki_parameters *parameters, char text[MARK_SIZE])
{
	const tki_request *request = pending->request;

	snprintf(text, MARK_SIZE, "{\"degraded\": \"%s:%" PRId64 "\"}", pending->file->id,
			 pending->file->last + 1);
	tki_put_text(parameters, request->is_signal ? request->key : request->scope);
	tki_put_text(parameters, request->is_signal ? request->direction : request->key);
	if (request->is_signal)
	{
		tki_put_float8(parameters, request->price);
		tki_put_float8(parameters, request->tolerance);
	}
	tki_put_interval(parameters, pending->expires_at - pending->now);
	tki_put_text(parameters, request->data != NULL ? request->data : text);
	return &tki_operations[request->is_signal ? TKI_OPERATION_SIGNAL : TKI_OPERATION_CLAIM];
}

/*
 * Lets Redis decide, and keeps the grant; false, with the error set, when it cannot be
 * kept.  Nothing of it is left then.
 */
static bool
grant(tk_client *client, const pending_request *pending, tk_sent_signal *sent, tk_verdict *verdict,
	  tk_tier *tier)
{
	const tki_request *request = pending->request;
	bool		unknown = client->error == TK_ERROR_UNKNOWN_OUTCOME;
	tki_parameters parameters = {.count = 0};
	const tki_operation *operation;
	char		text[MARK_SIZE];
	char		mark[MARK_SIZE];
	tki_grant  *kept;
	redis_verdict said;

	operation = fill_record(pending, &parameters, text);
	print_mark(mark, pending->file, pending->file->last + 1, request->is_signal, pending->now,
			   pending->expires_at);
	if (!tki_record_check(client, operation, &parameters))
		return false;
	kept = tki_grant_add(client, request, pending->now, pending->expires_at);
	if (kept == NULL)
	{
		tki_fail(client, TK_ERROR_MEMORY, "", "out of memory");
		return false;
	}
	said = let_redis_decide(client, pending, mark, sent);
	*tier = said == SILENT ? TK_TIER_MEMORY : TK_TIER_REDIS;
	*verdict = said == TAKEN ? TK_DUPLICATE : TK_CLAIMED;
	if (said != TAKEN &&
		tki_spool_append(client, operation, &parameters, pending->now, unknown))
		return true;
	kept->expires_at = 0;		/* as if it never was */
	if (said != TAKEN)
		remove_mark(client, request, mark);

	/*
	 * After an unknown outcome it may be this very call that PostgreSQL granted, and whoever asked
	 * it next that told Redis so: nobody may have acted yet.
	 */
	return said == TAKEN && !unknown;
}

static tk_sent_signal
sent_signal(int64_t signal_id, double price, int64_t sent_at, int64_t expires_at)
{
	tk_sent_signal sent = {
		.signal_id = signal_id,.price = price,.sent_at = sent_at,.expires_at = expires_at
	};

	return sent;
}

/*
 * Decides without PostgreSQL, if the policy lets it: as an answer, or as the failure that it was
 * called with or met.
 */
tk_verdict
tki_degrade(tk_client *client, const tki_request *request, tk_sent_signal *sent,
			tk_answer *answer)
{
	pending_request pending = {.request = request,.now = clock_in_use(client)};
	tk_sent_signal found = {0};
	const tki_grant *own;
	tki_cached	cached;
	tk_verdict	verdict = TK_DUPLICATE;
	tk_tier		tier = TK_TIER_MEMORY;
	int64_t		ttl;

	if (!tki_may_degrade(client, request->scope) || !may_go_on(client))
		return tki_verdict_of_failure(client);
	announce(client);
	ttl = ttl_of(client, request, pending.now);
	if (request->key == NULL || ttl <= 0)
	{
		tki_fail(client, client->error != TK_OK ? client->error : TK_ERROR_CONNECTION,
				 SQLSTATE_CANNOT_NOW, request->key == NULL ? "only PostgreSQL knows this key" :
				 ttl < 0 ? "this claim would have expired" : "only PostgreSQL knows the ttl");
		if (ttl == 0)
			tki_hint(client, "In an outage, claims in scopes of your own need a ttl.");
		return TK_UNAVAILABLE;
	}
	pending.expires_at = pending.now + ttl;
	own = tki_grant_find(client, request, pending.now);
	if (own != NULL)
		found = sent_signal(0, own->price, own->at, own->expires_at);
	else if (tki_remembered(client, request, pending.now, &cached))
		found = sent_signal(cached.signal_id, cached.price, cached.sent_at, cached.expires_at);
	else if ((pending.file = tki_spool_own(client)) == NULL ||
			 !grant(client, &pending, &found, &verdict, &tier))
		return tki_verdict_of_failure(client);
	if (verdict == TK_CLAIMED)
		found = sent_signal(0, request->price, pending.now, pending.expires_at);
	if (sent != NULL)
		*sent = found;
	if (answer != NULL)
	{
		answer->tier = tier;
		answer->degraded = 1;
	}
	tki_clear_error(client);
	return verdict;
}

/* After an unknown outcome: what may be done a second time without harm. */
static bool
is_repeatable(const tki_statement *statement, const tki_parameters *parameters)
{
	if (statement == &tki_add_trade_statement)
		return strcmp(parameters->values[parameters->count - 1], "f") == 0; /* replace */

	/* Closed now, and again at another time, is a conflict. */
	return statement != &tki_close_trade_statement || parameters->values[3] != NULL;
}

/*
 * Runs a write of candles or trades, or keeps it in the spool.  Null when it failed, and when it
 * is kept: then there is no error, and tk_spooled() says so.
 */
PGresult *
tki_write(tk_client *client, const tki_statement *statement, const tki_parameters *parameters)
{
	const tki_operation *operation;
	PGresult   *result;
	bool		unknown = false;

	if (client->options.outage != TK_DEGRADE || !may_go_on(client))
		return tki_execute(client, statement, parameters);
	if (!spool_is_busy(client))
	{
		tki_clear_error(client);
		result = tki_execute(client, statement, parameters);
		if (result != NULL || !may_go_on(client) ||
			(client->error == TK_ERROR_UNKNOWN_OUTCOME && !is_repeatable(statement, parameters)))
			return result;
		unknown = client->error == TK_ERROR_UNKNOWN_OUTCOME;
	}
	announce(client);
	operation = tki_operation_of(statement);
	if (tki_record_check(client, operation, parameters) &&
		tki_spool_append(client, operation, parameters, clock_in_use(client), unknown))
		tki_clear_error(client);
	return NULL;
}
