/*
 * redis.c
 *		One connection to Redis, and a breaker that keeps a sick Redis from costing
 *		every call its timeout.
 *
 * Redis is never needed: whatever is wrong with it, the answer here is "none", and
 * the handle's error stays as it was.  hiredis writes commands and reads replies;
 * the socket is ours, for each command has one deadline over all that it sends and
 * receives, however slowly the bytes dribble in.  A connection that failed is closed, so
 * that a reply which comes too late never answers the next command.
 *
 * After a failure the breaker is open for a pause drawn at random, whose longest
 * doubles each time; then the next command is the probe.  Only the resolution of a
 * host name has no deadline, which is left to the system.
 */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* The longest pause after a first failure, and the longest of all, in ms. */
#define FIRST_PAUSE 100
#define LONGEST_PAUSE 30000

/*
 * Who sends more than this as one reply is not answering us.  Elements have a limit of their
 * own: seven bytes announce an array of a million.
 */
#define MAX_REPLY_BYTES (1024 * 1024)
#define MAX_REPLY_ELEMENTS 65536

#if HIREDIS_MAJOR >= 1
typedef size_t element_count;
#else
typedef int element_count;
#endif

struct tki_redis
{
	tki_redis_address address;
	char	   *password;		/* wins over the address's, or null */
	int			timeout;		/* ms, to connect and for each command */

	int			fd;				/* -1: none */
	redisReader *reader;		/* of this connection, or null */
	redisReplyObjectFunctions functions;	/* hiredis's own, but for arrays */
	void	   *(*create_array) (const redisReadTask *, element_count);
	size_t		elements;		/* of arrays in the reply under way */

	int			failures;		/* in a row; the breaker is closed while there are none */
	int64_t		next_attempt;	/* on the monotonic clock, in ms */
	char		reason[192];	/* of the last failure */
};

/*
 * Null when there is no Redis to be used: with the reason, or with an empty one when
 * memory ran out.
 */
tki_redis *
tki_redis_make(const tk_options *options, char *reason, size_t size)
{
	tki_redis  *redis = calloc(1, sizeof(tki_redis));
	const char *password = options->redis_password;

	reason[0] = '\0';
	if (redis == NULL)
		return NULL;
	redis->fd = -1;
	redis->timeout = options->redis_timeout;
	if (!tki_redis_url(options->redis_url, &redis->address, reason, size) ||
		(password != NULL && (redis->password = strdup(password)) == NULL))
	{
		tki_redis_free(redis);
		return NULL;
	}
	if (options->redis_db > 0)
		redis->address.db = options->redis_db;
	return redis;
}

/* Says nothing to the server: after a fork its connection is still the parent's. */
static void
hang_up(tki_redis *redis)
{
	if (redis->fd >= 0)
		close(redis->fd);
	redis->fd = -1;
	if (redis->reader != NULL)
		redisReaderFree(redis->reader);
	redis->reader = NULL;
}

void
tki_redis_free(tki_redis *redis)
{
	if (redis == NULL)
		return;
	hang_up(redis);
	free(redis->address.text);
	free(redis->password);
	free(redis);
}

tk_breaker
tki_redis_breaker(const tk_client *client)
{
	const tki_redis *redis = client->redis;

	if (redis == NULL)
		return TK_BREAKER_OFF;
	if (redis->failures == 0)
		return TK_BREAKER_CLOSED;
	return tki_now_ms() < redis->next_attempt ? TK_BREAKER_OPEN : TK_BREAKER_PROBING;
}

/* Why Redis last failed. */
const char *
tki_redis_reason(const tk_client *client)
{
	return client->redis->reason;
}

bool
tki_redis_usable(const tk_client *client)
{
	tk_breaker	breaker = tki_redis_breaker(client);

	return breaker == TK_BREAKER_CLOSED || breaker == TK_BREAKER_PROBING;
}

static void *
create_array(const redisReadTask *task, element_count count)
{
	tki_redis  *redis = task->privdata;

	if ((size_t) count > MAX_REPLY_ELEMENTS - redis->elements)
		return NULL;
	redis->elements += (size_t) count;
	return redis->create_array(task, count);
}

static bool
make_reader(tki_redis *redis)
{
	redis->reader = redisReaderCreate();
	if (redis->reader == NULL)
		return false;
	redis->functions = *redis->reader->fn;
	redis->create_array = redis->functions.createArray;
	redis->functions.createArray = create_array;
	redis->reader->fn = &redis->functions;
	redis->reader->privdata = redis;
	return true;
}

/* tki_poll() finds a socket ready even after the deadline: bytes that dribble would never end. */
static bool
await(tki_redis *redis, short events, int64_t deadline)
{
	if (tki_now_ms() < deadline)
	{
		int			ready = tki_poll(redis->fd, events, deadline);

		if (ready > 0)
			return true;
		if (ready < 0)
		{
			snprintf(redis->reason, sizeof(redis->reason), "%s", strerror(errno));
			return false;
		}
	}
	snprintf(redis->reason, sizeof(redis->reason), "no answer within %d ms", redis->timeout);
	return false;
}

static bool
send_all(tki_redis *redis, const char *data, size_t size, int64_t deadline)
{
	while (size > 0)
	{
		ssize_t		sent = send(redis->fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (sent >= 0)
		{
			data += sent;
			size -= (size_t) sent;
		}
		else if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
		{
			snprintf(redis->reason, sizeof(redis->reason), "%s", strerror(errno));
			return false;
		}
		else if (!await(redis, POLLOUT, deadline))
			return false;
	}
	return true;
}

/* One reply to one command, of the kinds that Redis has had from the start. */
static redisReply *
accept_reply(tki_redis *redis, redisReply *reply)
{
	if (redis->reader->pos == redis->reader->len && reply->type <= REDIS_REPLY_ERROR)
		return reply;
	snprintf(redis->reason, sizeof(redis->reason), "an answer to something else");
	freeReplyObject(reply);
	return NULL;
}

/*
 * The first look waits in recv(), which the socket's own timeout bounds: one system
 * call for the usual reply.  What is left of a longer one is waited for by the
 * deadline.
 */
static redisReply *
receive(tki_redis *redis, int64_t deadline)
{
	char		buffer[16384];
	size_t		total = 0;
	int			flags = 0;

	redis->elements = 0;
	for (;;)
	{
		ssize_t		count = recv(redis->fd, buffer, sizeof(buffer), flags);
		void	   *reply = NULL;

		flags = MSG_DONTWAIT;
		if (count > 0)
		{
			total += (size_t) count;
			if (total > MAX_REPLY_BYTES ||
				redisReaderFeed(redis->reader, buffer, (size_t) count) != REDIS_OK ||
				redisReaderGetReply(redis->reader, &reply) != REDIS_OK)
			{
				snprintf(redis->reason, sizeof(redis->reason), "an answer that is not Redis's");
				return NULL;
			}
			if (reply != NULL)
				return accept_reply(redis, reply);
		}
		else if (count == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR))
		{
			snprintf(redis->reason, sizeof(redis->reason), "%s",
					 count == 0 ? "the server closed the connection" : strerror(errno));
			return NULL;
		}
		if (!await(redis, POLLIN, deadline))
			return NULL;
	}
}

/* Sends a command and returns its reply; null, with the reason, when there is none. */
static redisReply *
exchange(tki_redis *redis, int argc, const char *const *argv, const size_t *lengths,
		 int64_t deadline)
{
	char	   *command;
	long long	size = redisFormatCommandArgv(&command, argc, (const char **) argv, lengths);
	bool		sent;

	if (size < 0)
	{
		snprintf(redis->reason, sizeof(redis->reason), "out of memory");
		return NULL;
	}
	sent = send_all(redis, command, (size_t) size, deadline);
	redisFreeCommand(command);
	return sent ? receive(redis, deadline) : NULL;
}

static bool
connect_to(tki_redis *redis, const struct sockaddr *address, socklen_t length, int64_t deadline)
{
	int			error = 0;
	socklen_t	size = sizeof(error);
	int			yes = 1;

	redis->fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (redis->fd < 0)
		error = errno;
	else
	{
		if (address->sa_family != AF_UNIX)
			setsockopt(redis->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
		if (connect(redis->fd, address, length) != 0)
		{
			if (errno != EINPROGRESS)
				error = errno;
			else if (!await(redis, POLLOUT, deadline))
				return false;
			else if (getsockopt(redis->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0)
				error = errno;
		}
	}
	if (error != 0)
		snprintf(redis->reason, sizeof(redis->reason), "could not connect: %s", strerror(error));
	return error == 0;
}

static bool
connect_to_path(tki_redis *redis, int64_t deadline)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	tki_copy_text(address.sun_path, sizeof(address.sun_path), redis->address.path);
	return connect_to(redis, (struct sockaddr *) &address, sizeof(address), deadline);
}

/* Tries all addresses of the host; one that is silent must leave time for the others. */
static bool
connect_to_host(tki_redis *redis, int64_t deadline)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,.ai_flags = AI_ADDRCONFIG};
	struct addrinfo *addresses;
	int64_t		count = 0;
	bool		connected = false;
	char		port[16];
	int			error;

	snprintf(port, sizeof(port), "%d", redis->address.port);
	error = getaddrinfo(redis->address.host, port, &hints, &addresses);
	if (error != 0)
	{
		snprintf(redis->reason, sizeof(redis->reason), "could not resolve the host name: %s",
				 gai_strerror(error));
		return false;
	}
	for (const struct addrinfo *each = addresses; each != NULL; each = each->ai_next)
		count++;
	for (const struct addrinfo *each = addresses; each != NULL && !connected; each = each->ai_next)
	{
		int64_t		now = tki_now_ms();

		hang_up(redis);
		connected = connect_to(redis, each->ai_addr, each->ai_addrlen,
							   now + (deadline - now) / count--);
	}
	freeaddrinfo(addresses);
	return connected;
}

/*
 * Says a command of the greeting, which must succeed.  Of a refusal only the first word
 * is repeated: a server that does not know AUTH quotes the password.
 */
static bool
greet(tki_redis *redis, int argc, const char *const *argv, int64_t deadline)
{
	redisReply *reply = exchange(redis, argc, argv, NULL, deadline);
	bool		accepted = reply != NULL && reply->type == REDIS_REPLY_STATUS;

	if (reply != NULL && !accepted)
		snprintf(redis->reason, sizeof(redis->reason), "%s was refused: %.*s", argv[0],
				 reply->str != NULL ? (int) strcspn(reply->str, " ") : 0,
				 reply->str != NULL ? reply->str : "");
	freeReplyObject(reply);
	return accepted;
}

/*
 * Connects, and shows who we are.  SELECT goes to database 0 as well: it finds out
 * whether this is a Redis that works.
 */
static bool
connect_and_greet(tki_redis *redis)
{
	int64_t		deadline = tki_now_ms() + redis->timeout;
	const char *password = redis->password != NULL ? redis->password : redis->address.password;
	const char *user = redis->address.user;
	const char *authenticate[] = {"AUTH", user, password != NULL ? password : ""};
	const char *authenticate_default[] = {"AUTH", password};
	char		number[16];
	const char *select[] = {"SELECT", number};
	struct timeval timeout = {redis->timeout / 1000, redis->timeout % 1000 * 1000};

	snprintf(number, sizeof(number), "%d", redis->address.db);
	if (!(redis->address.path != NULL ? connect_to_path(redis, deadline) :
		  connect_to_host(redis, deadline)))
		return false;
	if (!make_reader(redis))
	{
		snprintf(redis->reason, sizeof(redis->reason), "out of memory");
		return false;
	}
	if (user != NULL ? !greet(redis, 3, authenticate, deadline) :
		password != NULL && !greet(redis, 2, authenticate_default, deadline))
		return false;
	if (!greet(redis, 2, select, deadline))
		return false;

	/* From here on the first recv() of a command waits by itself. */
	setsockopt(redis->fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	fcntl(redis->fd, F_SETFL, fcntl(redis->fd, F_GETFL) & ~O_NONBLOCK);
	return true;
}

/* Whoever has something to say before he was asked, or has hung up, cannot be asked now. */
static bool
is_stale(const tki_redis *redis)
{
	char		byte;

	return recv(redis->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 ||
		(errno != EAGAIN && errno != EWOULDBLOCK);
}

/* Errors that the next command would meet as well. */
static bool
concerns_the_server(const char *error)
{
	static const char *const words[] = {"LOADING", "NOAUTH", "READONLY", "MASTERDOWN",
	"CLUSTERDOWN", "OOM", "MISCONF", "NOREPLICAS", "BUSY"};
	size_t		length = strcspn(error, " ");

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
	{
		if (strlen(words[i]) == length && strncmp(error, words[i], length) == 0)
			return true;
	}
	return false;
}

static void
open_breaker(tk_client *client)
{
	tki_redis  *redis = client->redis;

	hang_up(redis);
	redis->next_attempt = tki_now_ms() + tki_backoff(redis->failures, FIRST_PAUSE, LONGEST_PAUSE);
	if (redis->failures++ == 0)
		tki_log(client, TK_LOG_WARNING, "going on without Redis: %s", redis->reason);
	client->metrics.redis_failures++;
}

static void
close_breaker(tk_client *client)
{
	client->redis->failures = 0;
	tki_log(client, TK_LOG_INFO, "Redis is back");
}

/*
 * Asks Redis, and returns its reply, which freeReplyObject() frees: also an error that concerns
 * this command alone.  Null when Redis is not usable, or was and failed; whether it executed the
 * command is then unknown.  Lengths may be null: the arguments end at their zeros.
 */
redisReply *
tki_redis_command(tk_client *client, int argc, const char *const *argv, const size_t *lengths)
{
	tki_redis  *redis = client->redis;
	redisReply *reply = NULL;

	if (!tki_redis_usable(client))
		return NULL;
	if (redis->fd >= 0 && is_stale(redis))
		hang_up(redis);
	if (redis->fd >= 0 || connect_and_greet(redis))
		reply = exchange(redis, argc, argv, lengths, tki_now_ms() + redis->timeout);
	if (reply != NULL && reply->type == REDIS_REPLY_ERROR && concerns_the_server(reply->str))
	{
		snprintf(redis->reason, sizeof(redis->reason), "%.*s", (int) sizeof(redis->reason) - 1,
				 reply->str);
		freeReplyObject(reply);
		reply = NULL;
	}
	if (reply == NULL)
		open_breaker(client);
	else if (redis->failures > 0)
		close_breaker(client);
	return reply;
}
