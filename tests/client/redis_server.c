/*
 * redis_server.c
 *		A Redis of a test's own.
 */
#include "redis_server.h"

#include "check.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* How long a server may take to start, in ms. */
#define PATIENCE 20000

/* A port that was free just now. */
static int
free_port(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
	.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t	length = sizeof(address);
	int			fd = socket(AF_INET, SOCK_STREAM, 0);

	CHECK(bind(fd, (struct sockaddr *) &address, length) == 0);
	CHECK(getsockname(fd, (struct sockaddr *) &address, &length) == 0);
	close(fd);
	return ntohs(address.sin_port);
}

static void
run_server(const redis_server *server, pid_t parent)
{
	char		port[16];
	const char *arguments[16 + MAX_REDIS_SETTINGS] = {"redis-server", "--port", port,
		"--bind", "127.0.0.1", "--unixsocket", server->path, "--dir", server->folder,
	"--save", "", "--logfile", "log"};
	int			count = 0;
	int			null = open("/dev/null", O_RDWR);

	snprintf(port, sizeof(port), "%d", server->port);
	while (arguments[count] != NULL)
		count++;
	for (int i = 0; server->settings[i] != NULL; i++)
		arguments[count++] = server->settings[i];
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	execvp(arguments[0], (char *const *) arguments);
	_exit(127);
}

static void
hang_up(redis_server *server)
{
	if (server->context != NULL)
		redisFree(server->context);
	server->context = NULL;
}

/* Waits until it answers at all: perhaps that it wants a password. */
static bool
await_answer(redis_server *server)
{
	int64_t		deadline = now_ms() + PATIENCE;

	while (now_ms() < deadline)
	{
		const char *answer = redis_value(server, "PING");

		if (strcmp(answer, "PONG") == 0 || strncmp(answer, "NOAUTH", 6) == 0)
			return true;
		hang_up(server);
		if (waitpid(server->pid, NULL, WNOHANG) != 0)
		{
			server->pid = 0;
			break;
		}
		poll(NULL, 0, 5);
	}
	return CHECK(!"redis-server starts");
}

static bool
launch(redis_server *server)
{
	pid_t		self = getpid();

	unlink(server->path);
	server->pid = fork();
	if (server->pid == 0)
		run_server(server, self);
	return await_answer(server);
}

bool
redis_server_start(redis_server *server, const char *const *settings)
{
	memset(server, 0, sizeof(*server));
	strcpy(server->folder, "/tmp/tradekeep-redis-XXXXXX");
	if (!CHECK(mkdtemp(server->folder) != NULL))
		return false;
	snprintf(server->path, sizeof(server->path), "%s/socket", server->folder);
	snprintf(server->url, sizeof(server->url), "unix://%s", server->path);
	server->port = free_port();
	for (int i = 0; settings != NULL && settings[i] != NULL; i++)
		server->settings[i] = settings[i];
	return launch(server);
}

void
redis_server_pause(redis_server *server)
{
	int			status;

	kill(server->pid, SIGSTOP);
	waitpid(server->pid, &status, WUNTRACED);
}

void
redis_server_resume(redis_server *server)
{
	kill(server->pid, SIGCONT);
}

void
redis_server_kill(redis_server *server)
{
	hang_up(server);
	if (server->pid == 0)
		return;
	kill(server->pid, SIGKILL);
	waitpid(server->pid, NULL, 0);
	server->pid = 0;
}

bool
redis_server_restart(redis_server *server, bool empty)
{
	char		dump[96];

	redis_server_kill(server);
	snprintf(dump, sizeof(dump), "%s/dump.rdb", server->folder);
	if (empty)
		unlink(dump);
	return launch(server);
}

void
redis_server_remove(redis_server *server)
{
	static const char *const files[] = {"socket", "dump.rdb", "log"};
	char		path[96];

	redis_server_kill(server);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
	{
		snprintf(path, sizeof(path), "%s/%s", server->folder, files[i]);
		unlink(path);
	}
	CHECK_INT(rmdir(server->folder), 0);
}

static void
print_reply(const redisReply *reply, char *text, size_t size)
{
	size_t		used = strlen(text);

	if (reply->type == REDIS_REPLY_INTEGER)
		snprintf(text + used, size - used, "%lld", reply->integer);
	else if (reply->type != REDIS_REPLY_ARRAY)
		snprintf(text + used, size - used, "%s", reply->str != NULL ? reply->str : "nil");
	else
		for (size_t i = 0; i < reply->elements; i++)
		{
			if (i > 0)
				strncat(text, " ", size - strlen(text) - 1);
			print_reply(reply->element[i], text, size);
		}
}

const char *
redis_value(redis_server *server, const char *format,...)
{
	static char value[4096];
	va_list		arguments;
	redisReply *reply;

	if (server->context == NULL)
		server->context = redisConnectUnix(server->path);
	if (server->context == NULL || server->context->err != 0)
		return "could not connect";
	va_start(arguments, format);
	reply = redisvCommand(server->context, format, arguments);
	va_end(arguments);
	if (reply == NULL)
	{
		hang_up(server);
		return "no reply";
	}
	value[0] = '\0';
	print_reply(reply, value, sizeof(value));
	freeReplyObject(reply);
	return value;
}
