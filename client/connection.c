/*
 * connection.c
 *		Keeps one connection, and never waits for it without a limit.
 *
 * Nothing here blocks but the resolution of a host name, which libpq leaves to
 * the system.  After a failed attempt the handle backs off: the longest pause
 * doubles each time, and the pause is drawn at random up to it, so that the bots
 * of one operator do not all come back in the same instant.  While it lasts,
 * calls fail at once and repeat why the last attempt failed.
 */
#include "internal.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

unsigned	tki_generation;

static void
count_fork(void)
{
	tki_generation++;
}

static void
register_count(void)
{
	pthread_atfork(NULL, NULL, count_fork);
}

/* Counting forks in the child is what a call of getpid() each time would cost too much for. */
void
tki_count_forks(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, register_count);
}

/*
 * The start of every call: forgets the last error, and refuses a handle that
 * came over a fork.  Two processes on one connection would read each other's
 * answers.
 */
bool
tki_enter(tk_client *client)
{
	if (client == NULL)
		return false;
	tki_clear_error(client);
	PQclear(client->answer);
	client->answer = NULL;
	client->spooled = false;
	if (client->generation == tki_generation)
		return true;
	tki_fail(client, TK_ERROR_ARGUMENT, "", "this handle belongs to the process that opened it");
	tki_hint(client, "Open a handle of its own after each fork.");
	return false;
}

/* Waits for the socket: 1 when it is ready, 0 when the deadline passed, -1 when it failed. */
int
tki_poll(int fd, short events, int64_t deadline)
{
	struct pollfd entry = {.fd = fd,.events = events};

	for (;;)
	{
		int64_t		left = deadline - tki_now_ms();
		int			ready = poll(&entry, 1, left > 0 ? (int) left : 0);

		if (ready >= 0 || errno != EINTR)
			return ready;
	}
}

/*
 * Notices go to the log.  One that is fatal came while the handle was idle: the
 * server is about to close the connection.
 */
static void
receive_notice(void *context, const PGresult *notice)
{
	tk_client  *client = context;
	const char *severity = PQresultErrorField(notice, PG_DIAG_SEVERITY_NONLOCALIZED);
	const char *message = PQresultErrorField(notice, PG_DIAG_MESSAGE_PRIMARY);

	if (severity != NULL && strcmp(severity, "FATAL") == 0)
		client->condemned = true;
	tki_log(client, TK_LOG_DEBUG, "%s", message != NULL ? message : "notice without a text");
}

/*
 * Takes libpq's account of a failed attempt apart: the SQLSTATE, if the server
 * gave one, the first line as message, the others as hint.  The connection is
 * in verbose mode, the only way libpq tells the SQLSTATE here:
 *
 *		connection to server … failed: FATAL:  28P01: password authentication failed
 *		LOCATION:  auth_failed, auth.c:334
 */
static void
describe_connect_failure(const char *text, char *sqlstate, char *message, size_t message_size,
						 char *hint, size_t hint_size)
{
	const char *line = text;
	char	   *code;

	sqlstate[0] = message[0] = hint[0] = '\0';
	while (*line != '\0')
	{
		size_t		length = strcspn(line, "\n");
		const char *location = strstr(line, ".c:");
		size_t		blanks = strspn(line, "\t ");

		if ((location == NULL || location > line + length) && length > blanks)
		{
			char	   *target = message[0] == '\0' ? message : hint;
			size_t		size = target == message ? message_size : hint_size;
			size_t		used = strlen(target);

			snprintf(target + used, size - used, "%s%.*s", used > 0 ? " " : "",
					 (int) (length - blanks), line + blanks);
		}
		line += length;
		line += *line == '\n';
	}

	for (code = message; (code = strstr(code, ":  ")) != NULL; code += 3)
	{
		char	   *state = code + 3;

		if (strspn(state, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") != 5 ||
			strncmp(state + 5, ": ", 2) != 0)
			continue;
		memcpy(sqlstate, state, 5);
		sqlstate[5] = '\0';
		memmove(state, state + 7, strlen(state + 7) + 1);
		break;
	}
}

/* Opens the connection, or sets the error. */
static bool
attempt(tk_client *client)
{
	const char *keywords[] = {"fallback_application_name", "dbname", "client_encoding",
	"application_name", NULL};
	const char *values[] = {"tradekeep", client->conninfo, "UTF8", client->application_name, NULL};
	int64_t		deadline = tki_now_ms() + client->options.connect_timeout;
	PostgresPollingStatusType status = PGRES_POLLING_WRITING;
	PGconn	   *connection = PQconnectStartParams(keywords, values, 1);
	int			ready = 1;

	if (connection == NULL)
	{
		tki_fail(client, TK_ERROR_MEMORY, "", "out of memory");
		return false;
	}
	PQsetErrorVerbosity(connection, PQERRORS_VERBOSE);
	PQsetNoticeReceiver(connection, receive_notice, client);
	if (PQstatus(connection) == CONNECTION_BAD)
		status = PGRES_POLLING_FAILED;
	while (status == PGRES_POLLING_READING || status == PGRES_POLLING_WRITING)
	{
		ready = tki_poll(PQsocket(connection),
						 status == PGRES_POLLING_READING ? POLLIN : POLLOUT, deadline);
		if (ready <= 0)
			break;
		status = PQconnectPoll(connection);
	}

	if (status == PGRES_POLLING_OK)
	{
		PQsetErrorVerbosity(connection, PQERRORS_DEFAULT);
		PQsetnonblocking(connection, 1);
		client->connection = connection;
		return true;
	}
	if (ready == 0)
		tki_fail(client, TK_ERROR_CONNECTION, SQLSTATE_CANNOT_CONNECT,
				 "could not connect to the server within %d ms", client->options.connect_timeout);
	else
	{
		char		sqlstate[6];
		char		message[sizeof(client->message)];
		char		hint[sizeof(client->hint)];
		bool		rejected;

		describe_connect_failure(PQerrorMessage(connection), sqlstate, message, sizeof(message),
								 hint, sizeof(hint));
		rejected = strncmp(sqlstate, "28", 2) == 0 || strcmp(sqlstate, "3D000") == 0 ||
			PQconnectionNeedsPassword(connection);
		tki_fail(client, rejected ? TK_ERROR_AUTHENTICATION : TK_ERROR_CONNECTION,
				 sqlstate[0] != '\0' ? sqlstate : SQLSTATE_CANNOT_CONNECT, "%s", message);
		tki_hint(client, "%s", hint);
	}
	PQfinish(connection);
	return false;
}

/* A number between 0 and limit - 1; any will do when the system has none to give. */
static int
random_below(int limit)
{
	uint32_t	value = 0;

	if (getentropy(&value, sizeof(value)) != 0)
		value = (uint32_t) tki_now_us();
	return (int) (value % (uint32_t) limit);
}

/* The pause, in ms, after an attempt that failed, and so many in a row before it. */
int
tki_backoff(int failures, int first, int longest)
{
	int			limit = first;

	for (int i = 0; i < failures && limit < longest; i++)
		limit = limit <= longest / 2 ? limit * 2 : longest;
	return 1 + random_below(limit < longest ? limit : longest);
}

/* Starts the pause after a failed attempt, and remembers why it failed. */
static void
back_off(tk_client *client)
{
	int			pause = tki_backoff(client->failures, client->options.backoff_min,
									client->options.backoff_max);

	client->failures++;
	client->next_attempt = tki_now_ms() + pause;

	client->connect_error = client->error;
	memcpy(client->connect_sqlstate, client->sqlstate, sizeof(client->sqlstate));
	memcpy(client->connect_message, client->message, sizeof(client->message));
	memcpy(client->connect_hint, client->hint, sizeof(client->hint));
	tki_log(client, client->error == TK_ERROR_AUTHENTICATION ? TK_LOG_ERROR : TK_LOG_WARNING,
			"%s; next attempt in %d ms", client->message, pause);
}

/* Makes a new connection; false, with the error set, when there is none to be had now. */
bool
tki_connect(tk_client *client, bool despite_backoff)
{
	bool		useless = client->connect_error == TK_ERROR_ARGUMENT;

	if (useless || (!despite_backoff && tki_now_ms() < client->next_attempt))
	{
		tki_fail(client, client->connect_error, client->connect_sqlstate, "%s",
				 client->connect_message);
		tki_hint(client, "%s", client->connect_hint);
		return false;
	}
	if (!attempt(client))
	{
		back_off(client);
		return false;
	}
	client->failures = 0;
	client->next_attempt = 0;
	client->connections++;
	tki_log(client, TK_LOG_INFO, "connected to server %d, connection %lld of this handle",
			PQserverVersion(client->connection), (long long) client->connections);
	return true;
}

/*
 * Looks whether the server ended the connection while it was idle.  The look
 * decides whether a write was never sent, which may be tried again, or perhaps
 * executed, which may not.
 */
bool
tki_connection_is_dead(tk_client *client)
{
	PGconn	   *connection = client->connection;
	char		byte;

	for (;;)
	{
		ssize_t		pending = recv(PQsocket(connection), &byte, 1, MSG_PEEK | MSG_DONTWAIT);

		if (pending < 0 && errno == EINTR)
			continue;
		if (pending < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return client->condemned || PQstatus(connection) == CONNECTION_BAD;
		if (pending <= 0)
			return true;
		if (!PQconsumeInput(connection))
			return true;
		/* Parses what came; a notice goes to receive_notice() on the way. */
		PQisBusy(connection);
	}
}

void
tki_drop_connection(tk_client *client)
{
	PQfinish(client->connection);
	client->connection = NULL;
	client->prepared = 0;
	client->condemned = false;
	client->in_transaction = false;
	client->last_use = 0;
}

static void *
send_cancel(void *argument)
{
	char		error[256];

	PQcancel(argument, error, sizeof(error));
	PQfreeCancel(argument);
	return NULL;
}

/*
 * Asks the server to give up what it does for this connection.  PQcancel()
 * waits for a server that may not answer any more, so a thread of its own does:
 * at most one for each connection that was made.  If it fails, nothing is lost
 * but the server's time.
 */
void
tki_cancel(tk_client *client)
{
	PGcancel   *cancel = PQgetCancel(client->connection);
	pthread_attr_t attributes;
	pthread_t	thread;
	sigset_t	all,
				before;

	if (cancel == NULL)
		return;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	if (pthread_create(&thread, &attributes, send_cancel, cancel) != 0)
		PQfreeCancel(cancel);
	pthread_attr_destroy(&attributes);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

int
tk_connect(tk_client *client)
{
	if (!tki_enter(client))
		return -1;
	if (client->connection != NULL)
	{
		bool		in_transaction = tki_in_transaction(client);

		if (!tki_connection_is_dead(client))
			return 0;
		client->transaction_lost |= in_transaction;
		tki_drop_connection(client);
	}
	return tki_connect(client, true) ? 0 : -1;
}
