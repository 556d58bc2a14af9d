/*
 * relay.h
 *		A line to the server that a test can cut, block, or make lose one answer.
 */
#ifndef TRADEKEEP_RELAY_H
#define TRADEKEEP_RELAY_H

typedef struct relay relay;

/* A thread that passes everything on; null, with a failed check, when it cannot be had. */
extern relay *relay_start(void);
extern void relay_stop(relay *line);

/* Where to connect to, for libpq. */
extern const char *relay_url(const relay *line);

/* Each is in effect when it returns. */
extern void relay_cut(relay *line); /* all connections break, and new ones, too */
extern void relay_block(relay *line);	/* nothing comes through any more */
extern void relay_restore(relay *line);

/*
 * Cuts once the server has answered to what contains this text: it did it, and nobody will know.
 */
extern void relay_lose_answer(relay *line, const char *text);

#endif							/* TRADEKEEP_RELAY_H */
