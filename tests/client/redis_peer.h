/*
 * redis_peer.h
 *		Something that is not Redis at the other end: it says what it was told to say.
 */
#ifndef TRADEKEEP_REDIS_PEER_H
#define TRADEKEEP_REDIS_PEER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/* What it does with a command, whatever that is. */
typedef struct redis_line
{
	enum
	{
		END,					/* of the script: accept no more connections */
		SAY,
		SAY_AND_HANG_UP,
		SAY_FOR_EVER,
		DRIBBLE,				/* say it for ever, a byte at a time */
		HANG_UP_UNREAD			/* in the middle of a long command */
	}			manner;
	const char *text;
	size_t		length;
} redis_line;

#define LINE(manner, text) {manner, text, sizeof(text) - 1}
#define NO_MORE {END, "", 0}

typedef struct redis_peer
{
	int			listener;
	atomic_int	connection;		/* the current one, or -1 */
	char		folder[64];
	char		path[96];
	char		url[112];
	const redis_line *script;	/* goes on from one connection to the next */
	pthread_t	thread;
	bool		has_thread;
} redis_peer;

extern void redis_peer_start(redis_peer *peer, const redis_line *script);

/* The same without a thread: connections wait to be accepted, for ever. */
extern void redis_peer_listen(redis_peer *peer);

/* Says something that nobody asked for, on the current connection. */
extern void redis_peer_interject(redis_peer *peer, const char *text);

/* Ends it.  The script has come to its end, or the client has closed. */
extern void redis_peer_stop(redis_peer *peer);

#endif							/* TRADEKEEP_REDIS_PEER_H */
