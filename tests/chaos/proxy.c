/*
 * proxy.c
 *		A network that can be cut, stopped and slowed: passes connections to a port of
 *		127.0.0.1 on to a unix socket.
 *
 *		proxy PORT SOCKET
 *
 * Commands come on standard input, a line each, and are answered with a line when they
 * are done:
 *
 *		open	passes bytes on
 *		cut		breaks every connection, and refuses new ones
 *		stall	takes connections and bytes, and passes nothing on
 *		slow	passes a few bytes at a time, after a pause
 *
 * It ends with its standard input.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define MAX_PAIRS	64
#define SLOW_PAUSE	20			/* ms before what came is passed on */
#define SLOW_BYTES	64

typedef enum mode
{
	OPEN, CUT, STALL, SLOW
} mode;

/* Bytes on their way from one socket to another. */
typedef struct pipe_way
{
	char		bytes[65536];
	size_t		count;
	long		due;			/* ms, when they may go on */
	bool		ended;			/* no more will come */
} pipe_way;

typedef struct pair
{
	int			client;
	int			server;			/* -1: not connected yet */
	pipe_way	up;
	pipe_way	down;
} pair;

static pair *pairs[MAX_PAIRS];
static int	npairs;
static int	listener = -1;
static mode now = OPEN;
static struct sockaddr_in address;
static struct sockaddr_un target;

static void
die(const char *what)
{
	perror(what);
	exit(1);
}

static long
clock_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000L + t.tv_nsec / 1000000;
}

static void
start_listening(void)
{
	int			on = 1;

	listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(listener, (struct sockaddr *) &address, sizeof(address)) != 0 ||
		listen(listener, MAX_PAIRS) != 0)
		die("proxy: listen");
}

/* With a reset, as a network that broke would. */
static void
close_hard(int fd)
{
	struct linger at_once = {1, 0};

	if (fd < 0)
		return;
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	close(fd);
}

static void
drop_pair(int i)
{
	close_hard(pairs[i]->client);
	close_hard(pairs[i]->server);
	free(pairs[i]);
	pairs[i] = pairs[--npairs];
}

static void
change_mode(mode new_mode)
{
	if (new_mode == CUT)
	{
		while (npairs > 0)
			drop_pair(0);
		close(listener);
		listener = -1;
	}
	else if (listener < 0)
		start_listening();
	now = new_mode;
}

static bool
obey(void)
{
	static const char *const names[] = {"open\n", "cut\n", "stall\n", "slow\n"};
	char		line[64];

	if (fgets(line, sizeof(line), stdin) == NULL)
		return false;
	for (int i = 0; i < 4; i++)
	{
		if (strcmp(line, names[i]) == 0)
		{
			change_mode((mode) i);
			printf("done\n");
			return true;
		}
	}
	fprintf(stderr, "proxy: unknown command: %s", line);
	return false;
}

static void
accept_one(void)
{
	int			client = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	pair	   *new_pair;

	if (client < 0)
		return;
	if (npairs == MAX_PAIRS || (new_pair = calloc(1, sizeof(pair))) == NULL)
	{
		close(client);
		return;
	}
	new_pair->client = client;
	new_pair->server = -1;
	pairs[npairs++] = new_pair;
}

/* Connects to the server once bytes may pass; false when nobody is there. */
static bool
reach_server(pair *p)
{
	if (p->server >= 0)
		return true;
	p->server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connect(p->server, (struct sockaddr *) &target, sizeof(target)) != 0)
		return false;
	fcntl(p->server, F_SETFL, O_NONBLOCK);
	return true;
}

/* Moves bytes one way; false when that way has broken, or ended. */
static bool
move_bytes(pipe_way *way, int from, int to)
{
	ssize_t		moved;

	if (way->count < sizeof(way->bytes) && !way->ended)
	{
		moved = recv(from, way->bytes + way->count, sizeof(way->bytes) - way->count, 0);
		if (moved < 0 && errno != EAGAIN)
			return false;
		if (moved == 0)
			way->ended = true;
		if (moved > 0)
		{
			if (way->count == 0 && now == SLOW)
				way->due = clock_ms() + SLOW_PAUSE;
			way->count += (size_t) moved;
		}
	}
	if (way->count > 0 && (now != SLOW || clock_ms() >= way->due))
	{
		size_t		most = now == SLOW && way->count > SLOW_BYTES ? SLOW_BYTES : way->count;

		moved = send(to, way->bytes, most, MSG_NOSIGNAL);
		if (moved < 0 && errno != EAGAIN)
			return false;
		if (moved > 0)
		{
			way->count -= (size_t) moved;
			memmove(way->bytes, way->bytes + moved, way->count);
			way->due = clock_ms() + SLOW_PAUSE;
		}
	}
	return !(way->ended && way->count == 0);
}

static void
serve(void)
{
	if (listener >= 0)
		accept_one();
	if (now == STALL)
		return;
	for (int i = npairs - 1; i >= 0; i--)
	{
		pair	   *p = pairs[i];

		if (!reach_server(p) || !move_bytes(&p->up, p->client, p->server) ||
			!move_bytes(&p->down, p->server, p->client))
			drop_pair(i);
	}
}

int
main(int argc, char **argv)
{
	if (argc != 3 || strlen(argv[2]) >= sizeof(target.sun_path))
	{
		fprintf(stderr, "usage: proxy PORT SOCKET\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	setlinebuf(stdout);
	address.sin_family = AF_INET;
	address.sin_port = htons((uint16_t) atoi(argv[1]));
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	target.sun_family = AF_UNIX;
	strcpy(target.sun_path, argv[2]);
	start_listening();
	printf("ready\n");

	for (;;)
	{
		struct pollfd fds[2 + 2 * MAX_PAIRS] = {{.fd = STDIN_FILENO,.events = POLLIN}};
		nfds_t		count = 1;
		bool		waiting = false;

		if (listener >= 0)
			fds[count++] = (struct pollfd) {.fd = listener,.events = POLLIN};
		for (int i = 0; i < npairs && now != STALL; i++)
		{
			pair	   *p = pairs[i];

			/* A negative descriptor is passed over; bytes held back come with the timeout. */
			fds[count++] = (struct pollfd) {.fd = p->up.ended ? -1 : p->client,.events = POLLIN};
			fds[count++] = (struct pollfd) {.fd = p->down.ended ? -1 : p->server,.events = POLLIN};
			waiting |= p->up.count > 0 || p->down.count > 0 || p->server < 0;
		}
		if (poll(fds, count, waiting ? 2 : -1) < 0 && errno != EINTR)
			die("proxy: poll");
		if ((fds[0].revents & (POLLIN | POLLHUP)) != 0 && !obey())
			return 0;
		serve();
	}
}
