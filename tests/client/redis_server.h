/*
 * redis_server.h
 *		A Redis of a test's own, on a socket and a port, that dies with the test.
 */
#ifndef TRADEKEEP_REDIS_SERVER_H
#define TRADEKEEP_REDIS_SERVER_H

#include <stdbool.h>
#include <sys/types.h>

#define MAX_REDIS_SETTINGS 16

typedef struct redis_server
{
	pid_t		pid;			/* 0: not running */
	int			port;			/* on 127.0.0.1 */
	char		folder[64];
	char		path[96];		/* of the socket */
	char		url[112];		/* unix://... */
	const char *settings[MAX_REDIS_SETTINGS];	/* the caller's, for restarts */
	struct redisContext *context;	/* of redis_value() */
} redis_server;

/*
 * Starts a server that persists nothing by itself, and waits until it answers.  The
 * settings are words of its command line, null at the end, or null: {"--requirepass", "x", NULL}.
 * They must live as long as the server.  Fails the check, and returns false, when there is none.
 */
extern bool redis_server_start(redis_server *server, const char *const *settings);

/* Stops answering, with the connections open; and goes on. */
extern void redis_server_pause(redis_server *server);
extern void redis_server_resume(redis_server *server);

extern void redis_server_kill(redis_server *server);	/* kill -9, where it runs */

/* Again at the same place: empty, or with what redis_value(server, "SAVE") last kept. */
extern bool redis_server_restart(redis_server *server, bool empty);

/* Kills it, and removes its folder. */
extern void redis_server_remove(redis_server *server);

/*
 * What Redis replies to a command, as text, valid until the next call: "nil" for nothing,
 * elements of an array separated by blanks, an error as its message.
 */
extern const char *redis_value(redis_server *server, const char *format,...);

#endif							/* TRADEKEEP_REDIS_SERVER_H */
