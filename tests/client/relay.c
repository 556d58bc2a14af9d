/*
 * relay.c
 *		A line to the server that a test can cut, block, or make lose one answer.
 */
#include "check.h"
#include "relay.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MAX_PAIRS 32

typedef enum relay_mode
{
	PASSING, CUT, BLOCKED, STOPPED
} relay_mode;

struct relay
{
	pthread_t	thread;
	pthread_mutex_t lock;		/* of what follows, held while anything is passed on */
	relay_mode	mode;
	char		lost[64];		/* the answer to this gets lost; "": to nothing */
	bool		armed;			/* it was asked */
	int			wake[2];
	int			listener;
	int			pairs[MAX_PAIRS][2];	/* client and server; -1: none */
	struct sockaddr_un server;
	char		folder[32];
	char		url[128];
	char		data[65536];
};

static void
hang_up(relay *line, int pair)
{
	for (int side = 0; side < 2; side++)
	{
		if (line->pairs[pair][side] >= 0)
			close(line->pairs[pair][side]);
		line->pairs[pair][side] = -1;
	}
}

static void
hang_up_all(relay *line)
{
	for (int pair = 0; pair < MAX_PAIRS; pair++)
		hang_up(line, pair);
}

static void
take_call(relay *line)
{
	int			client = accept(line->listener, NULL, NULL);
	int			server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int			pair = 0;

	while (pair < MAX_PAIRS - 1 && line->pairs[pair][0] >= 0)
		pair++;
	hang_up(line, pair);
	line->pairs[pair][0] = client;
	line->pairs[pair][1] = server;
	if (line->mode == CUT ||
		connect(server, (struct sockaddr *) &line->server, sizeof(line->server)) != 0)
		hang_up(line, pair);
}

/* Passes on what there is; false when the connection is to end. */
static bool
pass(relay *line, int pair, int side)
{
	ssize_t		got = recv(line->pairs[pair][side], line->data, sizeof(line->data), MSG_DONTWAIT);

	if (got <= 0)
		return false;
	if (side == 0 && line->lost[0] != '\0')
		line->armed |= memmem(line->data, (size_t) got, line->lost, strlen(line->lost)) != NULL;
	else if (side == 1 && line->armed)
	{
		line->armed = false;
		line->lost[0] = '\0';
		line->mode = CUT;
		return false;
	}
	return send(line->pairs[pair][1 - side], line->data, (size_t) got, MSG_NOSIGNAL) == got;
}

static void *
run(void *argument)
{
	relay	   *line = argument;
	struct pollfd polled[2 + 2 * MAX_PAIRS];
	char		byte;

	for (;;)
	{
		pthread_mutex_lock(&line->lock);
		if (line->mode == STOPPED)
			break;
		if (line->mode == CUT)
			hang_up_all(line);
		polled[0] = (struct pollfd) {.fd = line->wake[0],.events = POLLIN};
		polled[1] = (struct pollfd) {.fd = line->listener,.events = POLLIN};
		for (int i = 0; i < 2 * MAX_PAIRS; i++)
			polled[2 + i] = (struct pollfd) {
				.fd = line->mode == BLOCKED ? -1 : line->pairs[i / 2][i % 2],.events = POLLIN
			};
		pthread_mutex_unlock(&line->lock);
		poll(polled, 2 + 2 * MAX_PAIRS, -1);
		pthread_mutex_lock(&line->lock);
		if (polled[0].revents != 0 && read(line->wake[0], &byte, 1) < 0)
			line->mode = STOPPED;
		for (int i = 0; i < 2 * MAX_PAIRS && line->mode == PASSING; i++)
		{
			if (polled[2 + i].revents != 0 && line->pairs[i / 2][i % 2] == polled[2 + i].fd &&
				!pass(line, i / 2, i % 2))
				hang_up(line, i / 2);
		}
		if (polled[1].revents != 0)
			take_call(line);
		pthread_mutex_unlock(&line->lock);
	}
	pthread_mutex_unlock(&line->lock);
	return NULL;
}

static void
set_mode(relay *line, relay_mode mode, const char *lost)
{
	pthread_mutex_lock(&line->lock);
	line->mode = mode;
	line->armed = false;
	snprintf(line->lost, sizeof(line->lost), "%s", lost);
	if (mode == CUT)
		hang_up_all(line);
	pthread_mutex_unlock(&line->lock);
	CHECK(write(line->wake[1], "", 1) == 1);
}

void
relay_cut(relay *line)
{
	set_mode(line, CUT, "");
}

void
relay_block(relay *line)
{
	set_mode(line, BLOCKED, "");
}

void
relay_restore(relay *line)
{
	set_mode(line, PASSING, "");
}

void
relay_lose_answer(relay *line, const char *text)
{
	set_mode(line, PASSING, text);
}

const char *
relay_url(const relay *line)
{
	return line->url;
}

relay *
relay_start(void)
{
	relay	   *line = calloc(1, sizeof(*line));
	struct sockaddr_un own = {.sun_family = AF_UNIX};

	memset(line->pairs, -1, sizeof(line->pairs));
	pthread_mutex_init(&line->lock, NULL);
	strcpy(line->folder, "/tmp/tradekeep-relay-XXXXXX");
	line->server.sun_family = AF_UNIX;
	snprintf(line->server.sun_path, sizeof(line->server.sun_path), "%s",
			 admin_value("SELECT split_part(current_setting('unix_socket_directories'), ',', 1)"
						 " || '/.s.PGSQL.' || current_setting('port')"));
	line->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (!CHECK(pipe2(line->wake, O_CLOEXEC) == 0 && mkdtemp(line->folder) != NULL))
		exit(1);
	snprintf(own.sun_path, sizeof(own.sun_path), "%s/.s.PGSQL.5432", line->folder);
	snprintf(line->url, sizeof(line->url), "host=%s port=5432 dbname=%s user=%s", line->folder,
			 admin_value("SELECT current_database()"), "");
	strcat(line->url, admin_value("SELECT current_user"));
	if (!CHECK(bind(line->listener, (struct sockaddr *) &own, sizeof(own)) == 0 &&
			   listen(line->listener, MAX_PAIRS) == 0 &&
			   pthread_create(&line->thread, NULL, run, line) == 0))
		exit(1);
	return line;
}

void
relay_stop(relay *line)
{
	char		path[64];

	set_mode(line, STOPPED, "");
	pthread_join(line->thread, NULL);
	hang_up_all(line);
	close(line->listener);
	close(line->wake[0]);
	close(line->wake[1]);
	snprintf(path, sizeof(path), "%s/.s.PGSQL.5432", line->folder);
	unlink(path);
	rmdir(line->folder);
	free(line);
}
