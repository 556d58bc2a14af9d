/*
 * redis_test.c
 *		Redis goes away, stops answering, or is something else altogether.
 *
 * What is asked of Redis is no part of the interface: this looks inside the library.
 */
#include "check.h"
#include "internal.h"
#include "redis_peer.h"
#include "redis_server.h"

#include <hiredis/hiredis.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* Long enough for a loaded machine to answer within, and for a test to wait for. */
#define ENOUGH 5000
#define SHORT 100

/* A call that hangs is one that takes this long, in ms. */
#define FAR_TOO_LONG 15000

static int	warnings;
static char last_message[1280];

static void
keep_message(void *context, tk_log_level level, const char *message)
{
	(void) context;
	warnings += level >= TK_LOG_WARNING;
	snprintf(last_message, sizeof(last_message), "%s", message);
}

static tk_client *
open_redis(const char *url, int timeout)
{
	tk_options	options = {.database_url = "host=/nonexistent",.redis_url = url,
	.redis_timeout = timeout,.log = keep_message};
	tk_client  *client = tk_open(&options);

	warnings = 0;
	last_message[0] = '\0';
	CHECK_INT(client->connect_error, TK_OK);
	return client;
}

/* The reply of a command of up to three words: as text, or "none". */
static const char *
ask(tk_client *client, const char *first, const char *second, const char *third)
{
	static char text[256];
	const char *words[] = {first, second, third};
	int64_t		start = now_ms();
	redisReply *reply;

	reply = tki_redis_command(client, third != NULL ? 3 : second != NULL ? 2 : 1, words, NULL);
	CHECK(now_ms() - start < FAR_TOO_LONG);
	CHECK_INT(tk_error(client), TK_OK);
	if (reply == NULL)
		return "none";
	if (reply->type == REDIS_REPLY_INTEGER)
		snprintf(text, sizeof(text), "%lld", reply->integer);
	else
		snprintf(text, sizeof(text), "%s", reply->str != NULL ? reply->str : "nil");
	freeReplyObject(reply);
	return text;
}

static void
await_probe(tk_client *client)
{
	int64_t		deadline = now_ms() + FAR_TOO_LONG;

	while (!tki_redis_usable(client) && now_ms() < deadline)
		poll(NULL, 0, 1);
	CHECK_INT(tki_redis_breaker(client), TK_BREAKER_PROBING);
}

static void
test_commands(redis_server *server)
{
	tk_client  *client = open_redis(server->url, ENOUGH);
	const char *words[] = {"SET", "a\0b", "\r\n\0$-5"};
	const size_t lengths[] = {3, 3, 6};
	redisReply *reply;

	CHECK_INT(tki_redis_breaker(client), TK_BREAKER_CLOSED);
	CHECK_TEXT(ask(client, "SET", "k", "v"), "OK");
	CHECK_TEXT(ask(client, "GET", "k", NULL), "v");
	CHECK_TEXT(ask(client, "GET", "nobody", NULL), "nil");
	CHECK_TEXT(ask(client, "STRLEN", "k", NULL), "1");
	freeReplyObject(tki_redis_command(client, 3, words, lengths));
	CHECK_TEXT(redis_value(server, "STRLEN %b", "a\0b", (size_t) 3), "6");

	/* What is wrong with one command is no reason to leave Redis. */
	words[0] = "LPUSH";
	words[1] = "k";
	reply = tki_redis_command(client, 3, words, NULL);
	if (CHECK(reply != NULL))
		CHECK_INT(reply->type, REDIS_REPLY_ERROR);
	freeReplyObject(reply);
	CHECK_INT(tki_redis_breaker(client), TK_BREAKER_CLOSED);
	CHECK_INT(client->metrics.redis_failures, 0);
	CHECK_INT(warnings, 0);
	tk_close(client);

	client = open_redis(NULL, ENOUGH);
	CHECK_INT(tki_redis_breaker(client), TK_BREAKER_OFF);
	CHECK(!tki_redis_usable(client));
	CHECK_TEXT(ask(client, "GET", "k", NULL), "none");
	tk_close(client);
}

static void
check_answers(const char *url, const char *password, int db)
{
	tk_options	options = {.redis_url = url,.redis_password = password,.redis_db = db,
	.redis_timeout = ENOUGH,.log = keep_message};
	tk_client  *client = tk_open(&options);

	if (!CHECK(strcmp(ask(client, "SET", "where", url), "OK") == 0))
		printf("    %s: %s\n", url, last_message);
	tk_close(client);
}

static void
check_refuses(const char *url, const char *reason)
{
	tk_client  *client = open_redis(url, ENOUGH);

	CHECK_TEXT(ask(client, "GET", "k", NULL), "none");
	CHECK_INT(tki_redis_breaker(client), TK_BREAKER_OPEN);
	CHECK_INT(warnings, 1);
	if (!CHECK(strstr(last_message, reason) != NULL))
		printf("    %s\n", last_message);
	CHECK(strstr(last_message, "secret") == NULL);
	tk_close(client);
}

static void
test_addresses(void)
{
	const char *settings[] = {"--requirepass", "secret word", NULL};
	redis_server server;
	char		url[256];

	if (!redis_server_start(&server, settings))
		return;
	CHECK_TEXT(redis_value(&server, "AUTH %s", "secret word"), "OK");
	CHECK_TEXT(redis_value(&server, "ACL SETUSER bot on >secret ~* +@all"), "OK");
	snprintf(url, sizeof(url), "redis://:secret%%20word@127.0.0.1:%d/2", server.port);
	check_answers(url, NULL, 0);
	CHECK_TEXT(redis_value(&server, "SELECT 2"), "OK");
	CHECK_TEXT(redis_value(&server, "GET where"), url);
	check_answers(url, NULL, 5);
	CHECK_TEXT(redis_value(&server, "SELECT 5"), "OK");
	CHECK_TEXT(redis_value(&server, "GET where"), url);
	snprintf(url, sizeof(url), "redis://bot:secret@127.0.0.1:%d", server.port);
	check_answers(url, NULL, 0);
	snprintf(url, sizeof(url), "localhost:%d", server.port);
	check_answers(url, "secret word", 0);
	snprintf(url, sizeof(url), "unix://:secret%%20word@%s?db=3", server.path);
	check_answers(url, NULL, 0);

	snprintf(url, sizeof(url), "redis://:secrets@127.0.0.1:%d", server.port);
	check_refuses(url, "AUTH was refused: WRONGPASS");
	snprintf(url, sizeof(url), "redis://bot:secrets@127.0.0.1:%d", server.port);
	check_refuses(url, "AUTH was refused: WRONGPASS");
	check_refuses(server.url, "SELECT was refused: NOAUTH");
	snprintf(url, sizeof(url), "redis://:secret%%20word@127.0.0.1:%d/99", server.port);
	check_refuses(url, "SELECT was refused: ERR");
	check_refuses("unix:///nonexistent/socket", "could not connect");
	check_refuses("redis://no-such-host.invalid", "could not resolve");
	redis_server_remove(&server);
}

/* A server that stands still costs one timeout; one that is back is found again. */
static void
test_standstill(redis_server *server)
{
	tk_client  *client = open_redis(server->url, SHORT);
	const char *get[] = {"GET", "a"};
	int			calls = 0;

	CHECK_TEXT(ask(client, "SET", "a", "of a"), "OK");
	redis_server_pause(server);
	CHECK_TEXT(ask(client, "GET", "a", NULL), "none");
	CHECK_INT(warnings, 1);
	CHECK(strstr(last_message, "no answer within 100 ms") != NULL);
	CHECK_INT(client->metrics.redis_failures, 1);

	/* While the breaker is open nobody is asked, and nothing is said of the failing probes. */
	while (client->metrics.redis_failures < 4)
	{
		if (tki_redis_command(client, 2, get, NULL) != NULL)
			CHECK(!"a server that stands still answers");
		calls++;
	}
	CHECK(calls > 3);
	CHECK_INT(warnings, 1);
	redis_server_resume(server);
	tk_close(client);

	client = open_redis(server->url, ENOUGH);
	CHECK_TEXT(ask(client, "GET", "a", NULL), "of a");
	redis_server_kill(server);
	CHECK_TEXT(ask(client, "GET", "a", NULL), "none");
	await_probe(client);
	CHECK_TEXT(ask(client, "GET", "a", NULL), "none");
	CHECK_INT(warnings, 1);
	CHECK(redis_server_restart(server, true));
	await_probe(client);
	CHECK_TEXT(ask(client, "GET", "a", NULL), "nil");
	CHECK_TEXT(last_message, "Redis is back");
	CHECK_INT(tki_redis_breaker(client), TK_BREAKER_CLOSED);
	CHECK_INT(client->metrics.redis_failures, 2);

	/* One that came back while nobody asked was never away. */
	redis_server_kill(server);
	CHECK(redis_server_restart(server, true));
	CHECK_TEXT(ask(client, "GET", "a", NULL), "nil");
	CHECK_INT(client->metrics.redis_failures, 2);
	tk_close(client);
}

/* Errors that the next command would meet as well open the breaker. */
static void
test_sick_server(redis_server *server)
{
	tk_client  *client = open_redis(server->url, ENOUGH);

	CHECK_TEXT(redis_value(server, "CONFIG SET maxmemory 1"), "OK");
	CHECK_TEXT(ask(client, "SET", "k", "v"), "none");
	CHECK_INT(client->metrics.redis_failures, 1);
	CHECK(strstr(last_message, "OOM") != NULL);
	CHECK_TEXT(redis_value(server, "CONFIG SET maxmemory 0"), "OK");
	await_probe(client);
	CHECK_TEXT(ask(client, "SET", "k", "v"), "OK");

	CHECK_TEXT(redis_value(server, "REPLICAOF 127.0.0.1 1"), "OK");
	CHECK_TEXT(ask(client, "SET", "k", "w"), "none");
	CHECK(strstr(last_message, "READONLY") != NULL);
	CHECK_TEXT(redis_value(server, "REPLICAOF NO ONE"), "OK");
	await_probe(client);
	CHECK_TEXT(ask(client, "GET", "k", NULL), "v");
	CHECK_INT(client->metrics.redis_failures, 2);
	tk_close(client);
}

/* Each is said in answer to the first command after the greeting. */
static const redis_line nonsense[] = {
	LINE(SAY_AND_HANG_UP, ""),
	LINE(SAY_AND_HANG_UP, "\0\0\0\0"),
	LINE(SAY_AND_HANG_UP, "$-5\r\n"),
	LINE(SAY_AND_HANG_UP, "*-2\r\n"),
	LINE(SAY_AND_HANG_UP, "*1000000000\r\n"),
	LINE(SAY_AND_HANG_UP, "*99999999999999999999\r\n"),
	LINE(SAY_AND_HANG_UP, "*60000\r\n*60000\r\n*60000\r\n*60000\r\n*60000\r\n*60000\r\n:1\r\n"),
	LINE(SAY_AND_HANG_UP, "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n"),
	LINE(SAY_AND_HANG_UP, "$1000000000\r\nx"),
	LINE(SAY_AND_HANG_UP, "$10\r\nshort\r\n"),
	LINE(SAY_AND_HANG_UP, ":\r\n"),
	LINE(SAY_AND_HANG_UP, ":12x\r\n"),
	LINE(SAY_AND_HANG_UP, "+half a li"),
	LINE(SAY, "+two\r\n+replies\r\n"),
	LINE(SAY, "_\r\n"),
	LINE(SAY, ">1\r\n+pushed\r\n"),
	LINE(SAY, "(123\r\n"),
	LINE(SAY_AND_HANG_UP, "HTTP/1.1 400 Bad Request\r\n\r\n"),
	LINE(SAY, "-LOADING Redis is loading the dataset in memory\r\n"),
	LINE(SAY, "-MASTERDOWN Link with MASTER is down\r\n"),
	LINE(SAY, "-CLUSTERDOWN The cluster is down\r\n"),
	LINE(SAY, "-NOAUTH Authentication required.\r\n"),
	LINE(SAY, "-BUSY Redis is busy running a script.\r\n"),
	LINE(SAY, ""),
	LINE(SAY, "$5\r\nlate"),
	LINE(SAY_FOR_EVER, "+"),
	LINE(SAY_FOR_EVER, "*1\r\n"),
};

static void
check_nonsense(const redis_line *line)
{
	const redis_line script[] = {LINE(SAY, "+OK\r\n"), *line, NO_MORE};
	redis_peer	peer;
	tk_client  *client;

	redis_peer_start(&peer, script);
	client = open_redis(peer.url, SHORT);
	if (!CHECK(strcmp(ask(client, "GET", "k", NULL), "none") == 0))
		printf("    after %s\n", line->text);
	CHECK_INT(client->metrics.redis_failures, 1);
	tk_close(client);
	redis_peer_stop(&peer);
}

static void
check_nothing_in_time(const char *url)
{
	tk_client  *client = open_redis(url, SHORT);

	CHECK_TEXT(ask(client, "GET", "k", NULL), "none");
	if (!CHECK(strstr(last_message, "no answer within 100 ms") != NULL))
		printf("    %s\n", last_message);
	tk_close(client);
}

/* Bytes of which nobody has thought: whatever becomes of them, it does soon. */
static void
check_random_bytes(void)
{
	static const char protocol[] = "+-:$*0123\r\n";
	char		bytes[64];
	const redis_line script[] = {LINE(SAY, "+OK\r\n"), {SAY_AND_HANG_UP, bytes, sizeof(bytes)}, NO_MORE};
	redis_peer	peer;
	tk_client  *client;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = random() % 4 > 0 ? protocol[random() % (long) (sizeof(protocol) - 1)] :
			(char) random();
	redis_peer_start(&peer, script);
	client = open_redis(peer.url, SHORT);
	ask(client, "GET", "k", NULL);
	tk_close(client);
	redis_peer_stop(&peer);
}

static void
test_nonsense(void)
{
	static const redis_line busy[] = {LINE(SAY_AND_HANG_UP, "-ERR max number of clients reached\r\n"), NO_MORE};
	static const redis_line no_auth[] = {LINE(SAY_AND_HANG_UP, "-ERR unknown command 'AUTH', with args beginning with: 'secret'\r\n"), NO_MORE};
	static const redis_line dribble[] = {LINE(DRIBBLE, "+"), NO_MORE};
	redis_peer	peer;
	char		url[160];

	for (size_t i = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++)
		check_nonsense(&nonsense[i]);
	srandom(1);
	for (int i = 0; i < 200; i++)
		check_random_bytes();

	redis_peer_start(&peer, busy);
	check_refuses(peer.url, "SELECT was refused: ERR");
	redis_peer_stop(&peer);

	redis_peer_start(&peer, no_auth);
	snprintf(url, sizeof(url), "unix://:secret@%s", peer.path);
	check_refuses(url, "AUTH was refused: ERR");
	redis_peer_stop(&peer);

	/* There is always a byte more: only the deadline ends that before the limit does. */
	redis_peer_start(&peer, dribble);
	check_nothing_in_time(peer.url);
	redis_peer_stop(&peer);

	/* It takes the connection, and nothing more. */
	redis_peer_listen(&peer);
	check_nothing_in_time(peer.url);
	redis_peer_stop(&peer);
}

/* What comes too late, or unasked, is nobody's answer. */
static void
test_late_replies(void)
{
	static const redis_line late[] = {LINE(SAY, "+OK\r\n"), LINE(SAY, ""), LINE(SAY, "+OK\r\n"),
	LINE(SAY, "+of b\r\n"), NO_MORE};
	static const redis_line unasked[] = {LINE(SAY, "+OK\r\n"), LINE(SAY, "+of a\r\n"), LINE(SAY, "+OK\r\n"),
	LINE(SAY, "+of b\r\n"), NO_MORE};
	redis_peer	peer;
	tk_client  *client;

	redis_peer_start(&peer, late);
	client = open_redis(peer.url, SHORT);
	CHECK_TEXT(ask(client, "GET", "a", NULL), "none");
	await_probe(client);
	CHECK_TEXT(ask(client, "GET", "b", NULL), "of b");
	tk_close(client);
	redis_peer_stop(&peer);

	redis_peer_start(&peer, unasked);
	client = open_redis(peer.url, ENOUGH);
	CHECK_TEXT(ask(client, "GET", "a", NULL), "of a");
	redis_peer_interject(&peer, "+of x\r\n");
	CHECK_TEXT(ask(client, "GET", "b", NULL), "of b");
	CHECK_INT(client->metrics.redis_failures, 0);
	tk_close(client);
	redis_peer_stop(&peer);
}

/* A signal would end the bot: SIGPIPE is not ignored here. */
static void
test_broken_pipe(void)
{
	static const redis_line script[] = {LINE(SAY, "+OK\r\n"), LINE(HANG_UP_UNREAD, ""), NO_MORE};
	char	   *text = malloc(16000000);
	redis_peer	peer;
	tk_client  *client;

	memset(text, 'x', 16000000);
	text[15999999] = '\0';
	redis_peer_start(&peer, script);
	client = open_redis(peer.url, ENOUGH);
	CHECK_TEXT(ask(client, "SET", "k", text), "none");
	CHECK_INT(client->metrics.redis_failures, 1);
	tk_close(client);
	redis_peer_stop(&peer);
	free(text);
}

static void
test_sizes(redis_server *server)
{
	tk_client  *client = open_redis(server->url, ENOUGH);
	const char *get[] = {"GET", "long"};
	const char *range[] = {"LRANGE", "list", "0", "-1"};
	redisReply *reply;

	CHECK_TEXT(redis_value(server, "SETRANGE long 900000 x"), "900001");
	reply = tki_redis_command(client, 2, get, NULL);
	if (CHECK(reply != NULL))
		CHECK_INT(reply->len, 900001);
	freeReplyObject(reply);
	CHECK_TEXT(redis_value(server, "SETRANGE long 1100000 x"), "1100001");
	CHECK_TEXT(ask(client, "GET", "long", NULL), "none");
	await_probe(client);

	CHECK_TEXT(redis_value(server, "EVAL %s 0", "for i = 1, 65536 do redis.call('RPUSH', 'list', 1) end"),
			   "nil");
	reply = tki_redis_command(client, 4, range, NULL);
	if (CHECK(reply != NULL))
		CHECK_INT(reply->elements, 65536);
	freeReplyObject(reply);
	CHECK_TEXT(redis_value(server, "RPUSH list 1"), "65537");
	CHECK(tki_redis_command(client, 4, range, NULL) == NULL);
	tk_close(client);
}

/* A child's tk_close() says nothing to the server on the parent's connection. */
static void
test_redis_fork(redis_server *server)
{
	tk_client  *client = open_redis(server->url, ENOUGH);
	char		id[32];
	pid_t		child;
	int			status = -1;

	snprintf(id, sizeof(id), "%s", ask(client, "CLIENT", "ID", NULL));
	child = fork();
	if (child == 0)
	{
		tk_close(client);
		_exit(0);
	}
	waitpid(child, &status, 0);
	CHECK_INT(status, 0);
	CHECK_TEXT(ask(client, "CLIENT", "ID", NULL), id);
	tk_close(client);
}

/* The pause is drawn below a limit that doubles up to its longest. */
static void
test_backoff(void)
{
	static const int limits[] = {100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000};

	for (int failures = 0; failures < (int) (sizeof(limits) / sizeof(limits[0])); failures++)
	{
		int			longest = 0;

		for (int i = 0; i < 1000; i++)
		{
			int			pause = tki_backoff(failures, 100, 30000);

			if (pause > longest)
				longest = pause;
			if (pause < 1)
				CHECK_INT(pause, 1);
		}
		CHECK(longest <= limits[failures] && longest > limits[failures] * 9 / 10);
	}
	CHECK(tki_backoff(1000000, 1, INT32_MAX) > 0);
	CHECK(tki_backoff(5, 100, 1) == 1);
}

void
test_redis(void)
{
	redis_server server;

	test_backoff();
	test_addresses();
	test_nonsense();
	test_late_replies();
	test_broken_pipe();
	if (!redis_server_start(&server, NULL))
		return;
	test_commands(&server);
	test_standstill(&server);
	test_sick_server(&server);
	test_sizes(&server);
	test_redis_fork(&server);
	redis_server_remove(&server);
}
