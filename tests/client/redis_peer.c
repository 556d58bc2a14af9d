/*
 * redis_peer.c
 *		Something that is not Redis at the other end.
 */
#include "redis_peer.h"

#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* False when nobody listens any more. */
static bool
say(int connection, const redis_line *line)
{
	ssize_t		sent = 0;

	for (size_t i = 0; line->manner == DRIBBLE && sent >= 0; i = (i + 1) % line->length)
		sent = send(connection, line->text + i, 1, MSG_NOSIGNAL);
	do
	{
		for (size_t done = 0; done < line->length && sent >= 0; done += (size_t) sent)
			sent = send(connection, line->text + done, line->length - done, MSG_NOSIGNAL);
	} while (line->manner == SAY_FOR_EVER && sent >= 0);
	return sent >= 0;
}

/* Answers what comes, which is one command each time, until it is over with this connection. */
static void
converse(redis_peer *peer)
{
	char		buffer[4096];

	while (recv(peer->connection, buffer, sizeof(buffer), 0) > 0)
	{
		const redis_line *line = peer->script;

		if (line->manner == END)
			return;
		peer->script++;
		if (line->manner == HANG_UP_UNREAD || !say(peer->connection, line) ||
			line->manner == SAY_AND_HANG_UP)
			return;
	}
}

static void *
play(void *argument)
{
	redis_peer *peer = argument;

	while (peer->script->manner != END)
	{
		peer->connection = accept(peer->listener, NULL, NULL);
		if (peer->connection < 0)
			break;
		converse(peer);
		close(peer->connection);
		peer->connection = -1;
	}
	return NULL;
}

void
redis_peer_listen(redis_peer *peer)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	memset(peer, 0, sizeof(*peer));
	strcpy(peer->folder, "/tmp/tradekeep-peer-XXXXXX");
	CHECK(mkdtemp(peer->folder) != NULL);
	snprintf(peer->path, sizeof(peer->path), "%s/socket", peer->folder);
	snprintf(peer->url, sizeof(peer->url), "unix://%s", peer->path);
	strcpy(address.sun_path, peer->path);
	peer->connection = -1;
	peer->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(bind(peer->listener, (struct sockaddr *) &address, sizeof(address)) == 0);
	CHECK(listen(peer->listener, 8) == 0);
}

void
redis_peer_start(redis_peer *peer, const redis_line *script)
{
	redis_peer_listen(peer);
	peer->script = script;
	peer->has_thread = true;
	CHECK(pthread_create(&peer->thread, NULL, play, peer) == 0);
}

void
redis_peer_interject(redis_peer *peer, const char *text)
{
	int			connection = peer->connection;

	CHECK(send(connection, text, strlen(text), 0) == (ssize_t) strlen(text));
	peer->connection = connection;	/* so that its thread closes it later */
}

void
redis_peer_stop(redis_peer *peer)
{
	shutdown(peer->listener, SHUT_RDWR);
	if (peer->has_thread)
		pthread_join(peer->thread, NULL);
	close(peer->listener);
	unlink(peer->path);
	rmdir(peer->folder);
}
