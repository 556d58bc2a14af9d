/*
 * known.c
 *		What PostgreSQL last said of releases: how far a handle may trust what it,
 *		or Redis, remembers.
 *
 * Each scope, and all signals together, are a subject with a version that grows
 * with every release.  What is remembered is stamped with the version read before
 * the claim was seen; it holds while the subject's version is known to be the
 * same.  Such knowledge is `cache_recheck` old at most, counted from before the
 * question; a notification of a release ends it at once.  Where none can come,
 * behind a pooler in transaction mode, only age does.  Knowledge belongs to a
 * connection, and ends with it; in a new epoch nothing that is remembered counts,
 * but in the next outage.
 *
 * The server's clock is known between two bounds: what it last said, plus the time
 * that has passed since its answer came, or since it was asked.
 */
#include "internal.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* More scopes than a bot has; of others the version is asked for as they come. */
#define MAX_SUBJECTS 64

/*
 * So long, in ms, Redis is told of releases that were heard of together, while a call waits.  What
 * it then still holds of the others only an outage believes.
 */
#define TELLING 100

#define SQL_CACHE_STATE \
	"SELECT epoch, clock, versions, signal_version, ttls, backend, standby" \
	" FROM tradekeep.cache_state($1)"

static const tki_statement cache_state_statement = {
	.id = TKI_CACHE_STATE,.access = TKI_READ,
	.name = "tradekeep_" TRADEKEEP_VERSION "_cache_state",
	.sql = SQL_CACHE_STATE,
	.count = 1,.types = {OID_TEXT_ARRAY}
};

static const tki_statement listen = {
	.id = TKI_SIMPLE,.access = TKI_READ,.sql = "LISTEN tradekeep_release"
};

typedef struct known_subject
{
	char		scope[MAX_SCOPE_BYTES + 1]; /* "" for signals */
	int64_t		version;		/* -1: none was heard of */
	int64_t		settled;		/* the version when notifications were last taken */
	int64_t		trusted_until;	/* on the monotonic clock, in ms */
	int64_t		used_at;
	int64_t		ttl;			/* of the scope in ms; 0: none */
	bool		ttl_known;
} known_subject;

struct tki_known
{
	int64_t		introduced;		/* which of the handle's connections said it last, when asked */
	bool		listening;		/* that one is */
	bool		heard;			/* the server has spoken */
	int64_t		epoch;
	int64_t		clock_low;		/* the server's clock less the monotonic one, at least */
	int64_t		clock_high;		/* and at most */
	int64_t		looked_at;		/* when the socket was last looked into */
	int64_t		next_question;	/* not before, after one that led nowhere */
	int64_t		tell_until;		/* Redis, of releases that were heard of */
	bool		told;			/* why nothing is trusted, or heard at once */
	int			count;
	int			last;			/* the one used last */
	known_subject subjects[MAX_SUBJECTS];
};

tki_known *
tki_known_make(void)
{
	tki_known  *known = calloc(1, sizeof(tki_known));

	if (known != NULL)
	{
		known->count = 1;		/* signals, which always keep their place */
		known->subjects[0].version = -1;
	}
	return known;
}

static known_subject *
find_subject(tki_known *known, const char *scope)
{
	if (known->last < known->count && strcmp(known->subjects[known->last].scope, scope) == 0)
		return &known->subjects[known->last];
	for (int i = 0; i < known->count; i++)
	{
		if (strcmp(known->subjects[i].scope, scope) == 0)
		{
			known->last = i;
			return &known->subjects[i];
		}
	}
	return NULL;
}

/* Finds a subject, or makes room for it in the place of the one that was not used longest. */
static known_subject *
use_subject(tki_known *known, const char *scope, int64_t now)
{
	known_subject *used = find_subject(known, scope);

	if (used == NULL)
	{
		int			place = known->count;

		if (known->count < MAX_SUBJECTS)
			known->count++;
		else
		{
			place = 1;
			for (int i = 2; i < MAX_SUBJECTS; i++)
			{
				if (known->subjects[i].used_at < known->subjects[place].used_at)
					place = i;
			}
		}
		known->last = place;
		used = &known->subjects[place];
		memset(used, 0, sizeof(*used));
		used->version = used->settled = -1;
		strcpy(used->scope, scope);
	}
	used->used_at = now;
	return used;
}

static void
distrust_all(tki_known *known)
{
	for (int i = 0; i < known->count; i++)
		known->subjects[i].trusted_until = 0;
}

/* Forgets the versions, but not the clock. */
static void
unlearn(tk_client *client)
{
	tki_known  *known = client->known;

	client->metrics.invalidations++;
	for (int i = 0; i < known->count; i++)
		known->subjects[i].version = -1;
	distrust_all(known);
	known->heard = false;
}

/* The server spoke, between two moments on the monotonic clock. */
static void
learn_clock(tk_client *client, int64_t epoch, int64_t clock, int64_t sent_at, int64_t received_at)
{
	tki_known  *known = client->known;

	if (known->heard && known->epoch != epoch)
	{
		tki_log(client, TK_LOG_INFO, "the server was restarted or replaced: nothing remembered counts");
		if (client->cache != NULL)
			tki_cache_distrust(client->cache);
		unlearn(client);
	}
	known->heard = true;
	known->epoch = epoch;
	known->clock_low = clock - 1 - received_at;
	known->clock_high = clock + 2 - sent_at;
}

static void
learn_version(tk_client *client, known_subject *learned, int64_t version, int64_t sent_at)
{
	if (learned->version != version && learned->version >= 0)
		client->metrics.invalidations++;
	learned->version = version;
	learned->trusted_until = sent_at + client->options.cache_recheck;
}

/*
 * What came with an answer, asked for and received at these moments on the monotonic clock: the
 * stamp was read before the claim was seen; `clock` is the server's.
 */
void
tki_known_learn(tk_client *client, const char *scope, tki_stamp stamp, int64_t clock,
				int64_t sent_at, int64_t received_at)
{
	learn_clock(client, stamp.epoch, clock, sent_at, received_at);
	learn_version(client, use_subject(client->known, scope, sent_at), stamp.version, sent_at);
}

/* Forgets everything that is remembered, also for outages. */
void
tki_forget_all(tk_client *client)
{
	if (client->cache != NULL)
		tki_cache_clear(client->cache);
	unlearn(client);
}

/* Something of the scope was released: its version is asked for before it is trusted again. */
void
tki_known_distrust(tk_client *client, const char *scope)
{
	known_subject *released = find_subject(client->known, scope);

	if (released != NULL)
		released->trusted_until = 0;
}

/* The version that was last heard of, of whatever age. */
tki_stamp
tki_known_stamp(const tk_client *client, const char *scope)
{
	known_subject *known = find_subject(client->known, scope);

	return (tki_stamp)
	{
		.epoch = client->known->epoch,.version = known != NULL ? known->version : -1
	};
}

/*
 * A key that is named goes from memory, and from Redis.  The notification may be old: what was
 * confirmed by a later version than that known before it came is another claim.
 */
static void
forget_released(tk_client *client, const known_subject *subject, const char *key)
{
	tki_stamp	newest = {.epoch = client->known->epoch,.version = subject->settled};

	tki_forget_claim(client, subject->scope, key);
	if (tki_now_ms() < client->known->tell_until)
		tki_redis_forget(client, subject->scope, key, &newest);
}

/* "claim:SCOPE" or "claim:SCOPE\nKEY"; a scope may hold line feeds, too: any that fits is meant. */
static void
receive_release(tk_client *client, const char *released)
{
	tki_known  *known = client->known;

	for (int i = 1; i < known->count; i++)
	{
		known_subject *candidate = &known->subjects[i];
		size_t		length = strlen(candidate->scope);

		if (strncmp(released, candidate->scope, length) != 0)
			continue;
		if (released[length] == '\n')
			forget_released(client, candidate, released + length + 1);
		if (released[length] == '\n' || released[length] == '\0')
			candidate->trusted_until = 0;
	}
}

static void
receive(tk_client *client, const PGnotify *notification)
{
	const char *subject = notification->extra;

	if (strcmp(notification->relname, "tradekeep_release") != 0)
		tki_log(client, TK_LOG_DEBUG, "dropped a notification on channel %s: "
				"the connection of a handle is not for listening", notification->relname);
	else if (strncmp(subject, "claim:", 6) == 0)
		receive_release(client, subject + 6);
	else if (strcmp(subject, "signal") == 0)
		tki_known_distrust(client, "");
	else
		distrust_all(client->known);
}

/* Takes the notifications that libpq has read; it keeps them without a limit. */
void
tki_known_drain(tk_client *client)
{
	PGnotify   *notification;

	client->known->tell_until = tki_now_ms() + TELLING;
	while (client->connection != NULL && (notification = PQnotifies(client->connection)) != NULL)
	{
		receive(client, notification);
		PQfreemem(notification);
	}
	for (int i = 1; i < client->known->count; i++)
		client->known->subjects[i].settled = client->known->subjects[i].version;
}

/* Looks for notifications, into the socket once in a millisecond at most. */
static void
look(tk_client *client, int64_t now)
{
	tki_known  *known = client->known;

	if (known->looked_at == now)
		return;
	known->looked_at = now;
	if (tki_connection_is_dead(client))
	{
		tki_log(client, TK_LOG_WARNING, "the server closed the idle connection");
		tki_drop_connection(client);
	}
	tki_known_drain(client);
}

/* Reads an array of bigint that has `count` elements at most; null becomes 0. */
static bool
read_int64_array(const PGresult *result, int column, int count, int64_t *values)
{
	const char *data = PQgetvalue(result, 0, column);
	const char *end = data + PQgetlength(result, 0, column);

	if (count == 0)
		return true;
	if (end - data < 20 || tki_read_uint32(data) != 1 ||
		tki_read_uint32(data + 12) != (uint32_t) count)
		return false;
	data += 20;
	for (int i = 0; i < count; i++)
	{
		bool		null;

		if (end - data < 4)
			return false;
		null = tki_read_uint32(data) == UINT32_MAX;
		data += 4;
		if (!null && end - data < 8)
			return false;
		values[i] = null ? 0 : (int64_t) tki_read_uint64(data);
		data += null ? 0 : 8;
	}
	return true;
}

/* What cache_state() says beside versions. */
typedef struct server_state
{
	int			backend;
	bool		standby;
} server_state;

static bool
read_state(tk_client *client, const PGresult *result, known_subject *const *asked, int count,
		   int64_t sent_at, server_state *answer)
{
	int64_t		epoch,
				clock,
				signal_version,
				versions[MAX_SUBJECTS],
				ttls[MAX_SUBJECTS];

	if (!tki_answer_int64(result, 0, &epoch) || !tki_answer_int64(result, 1, &clock) ||
		!read_int64_array(result, 2, count, versions) ||
		!tki_answer_int64(result, 3, &signal_version) ||
		!read_int64_array(result, 4, count, ttls) || PQgetlength(result, 0, 5) != 4 ||
		PQgetlength(result, 0, 6) != 1)
		return false;
	answer->backend = (int) tki_read_uint32(PQgetvalue(result, 0, 5));
	answer->standby = PQgetvalue(result, 0, 6)[0] != 0;
	clock = tki_read_time(PQgetvalue(result, 0, 1));
	learn_clock(client, epoch, clock, sent_at, tki_now_ms());
	learn_version(client, &client->known->subjects[0], signal_version, sent_at);
	for (int i = 0; i < count; i++)
	{
		learn_version(client, asked[i], versions[i], sent_at);
		asked[i]->ttl = ttls[i];
		asked[i]->ttl_known = true;
	}
	return true;
}

/* Asks for the versions of all subjects; false, with the error set, when there is no answer. */
static bool
ask(tk_client *client, server_state *answer)
{
	tki_known  *known = client->known;
	tki_parameters parameters = {.count = 0};
	known_subject *asked[MAX_SUBJECTS];
	int64_t		sent_at = tki_now_ms();
	tki_array	array;
	PGresult   *result;
	int			count = 0;

	if (!tki_array_start(&array, OID_TEXT, MAX_SUBJECTS, MAX_SUBJECTS * MAX_SCOPE_BYTES))
	{
		tki_fail(client, TK_ERROR_MEMORY, "", "out of memory");
		return false;
	}
	for (int i = 1; i < known->count; i++)
	{
		asked[count++] = &known->subjects[i];
		tki_array_add(&array, known->subjects[i].scope, strlen(known->subjects[i].scope));
	}
	tki_array_set_count(&array, (uint32_t) count);
	tki_put_array(&parameters, &array);
	result = tki_execute(client, &cache_state_statement, &parameters);
	free(array.data);
	if (result == NULL)
		return false;
	if (!read_state(client, result, asked, count, sent_at, answer))
		return tki_unexpected(client, result);
	PQclear(result);
	return true;
}

/* What keeps this connection from being trusted, or from hearing of releases, is said once. */
static void
tell_once(tk_client *client, const char *why)
{
	if (!client->known->told)
		tki_log(client, TK_LOG_WARNING, "%s", why);
	client->known->told = true;
}

/*
 * Listens, if the session that answers is the one that libpq knows; a pooler gives each
 * statement another.  What happened until then, the next answer of ask() will tell.
 */
static bool
introduce(tk_client *client, const server_state *state)
{
	tki_known  *known = client->known;
	int64_t		connection = client->connections;

	known->listening = false;
	if (state->backend != PQbackendPID(client->connection))
		tell_once(client, "a pooler is in between: releases by others are noticed with a delay");
	else if (tki_command(client, &listen) != 0)
		return false;
	else
		known->listening = true;
	known->introduced = connection;
	return true;
}

/*
 * Asks PostgreSQL what was released.  The first time on a connection it listens, and asks again.
 * False: there is no answer, and the error is set; or it is of no use.
 */
bool
tki_known_ask(tk_client *client)
{
	server_state state;
	bool		introduced;

	do
	{
		if (!ask(client, &state))
			return false;
		if (state.standby)
		{
			tell_once(client, "the server is a standby: nothing remembered is trusted");
			distrust_all(client->known);
			return false;
		}
		introduced = client->known->introduced == client->connections;
		if (!introduced && !introduce(client, &state))
			return false;
	} while (!introduced);
	return true;
}

/* The question about releases led nowhere: without an error, if PostgreSQL can be reached. */
static bool
give_up(tk_client *client, int64_t now)
{
	client->known->next_question = now + client->options.cache_recheck;
	if (client->error == TK_ERROR_SERVER)
	{
		tell_once(client, "nothing remembered is trusted: cache_state() failed");
		tki_clear_error(client);
	}
	return false;
}

/*
 * Whether it is known what was released of a scope ("" for signals), and then its stamp.  False:
 * PostgreSQL must be asked about the claim itself; with an error set, it cannot be reached.
 * *now is the time in ms, and moves on when asking took any.
 */
bool
tki_known_fresh(tk_client *client, const char *scope, int64_t *now, tki_stamp *stamp)
{
	tki_known  *known = client->known;
	known_subject *asked;

	if (client->connection != NULL)
		look(client, *now);
	if (client->connection == NULL)
		return false;
	asked = use_subject(known, scope, *now);
	if (*now >= asked->trusted_until || known->introduced != client->connections)
	{
		if (*now < known->next_question)
			return false;
		if (!tki_known_ask(client))
			return give_up(client, *now);
		*now = tki_now_ms();
	}
	*stamp = (tki_stamp)
	{
		.epoch = known->epoch,.version = asked->version
	};
	return *now < asked->trusted_until;
}

/*
 * The server's clock at `now`, at least and at most; the machine's own clock, and false, when
 * the server has never said.
 */
bool
tki_known_clock(const tk_client *client, int64_t now, int64_t *low, int64_t *high)
{
	const tki_known *known = client->known;
	struct timespec clock;

	if (known->clock_high != 0)
	{
		*low = known->clock_low + now;
		*high = known->clock_high + now;
		return true;
	}
	clock_gettime(CLOCK_REALTIME, &clock);
	*low = *high = (int64_t) clock.tv_sec * 1000 + clock.tv_nsec / 1000000;
	return false;
}

/* The ttl of a scope in ms as the server said; 0: it has none, or was not asked yet. */
int64_t
tki_known_ttl(const tk_client *client, const char *scope)
{
	known_subject *known = find_subject(client->known, scope);

	return known != NULL ? known->ttl : 0;
}

/* Not so when there are more scopes than have room: who comes and goes would be asked each time. */
bool
tki_known_needs_ttl(const tk_client *client, const char *scope)
{
	known_subject *known = find_subject(client->known, scope);

	return known != NULL && !known->ttl_known && client->known->count < MAX_SUBJECTS;
}

bool
tki_known_listening(const tk_client *client)
{
	return client->known->listening && client->connection != NULL &&
		client->known->introduced == client->connections;
}
