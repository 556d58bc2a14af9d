/*
 * tiered.h
 *		Handles with tiers in front of PostgreSQL, and what the checks of them ask.
 */
#ifndef TRADEKEEP_TIERED_H
#define TRADEKEEP_TIERED_H

#include "check.h"
#include "redis_server.h"

#define HOUR 3600000

/* A handle that trusts what it knows for `recheck` ms; Redis may be null. */
extern tk_client *open_tiered(const redis_server *redis, int recheck);

/* The verdict on a key for an hour, and who gave it: "claimed by postgres". */
extern const char *claim(tk_client *client, const char *scope, const char *key);
extern const char *describe(tk_verdict verdict, const tk_answer *answer);

/* Claims until PostgreSQL grants; false when it does not, or something else than "duplicate" comes. */
extern bool await_claim(tk_client *client, const char *scope, const char *key);

/* From now on the handle hears of no release, as behind a pooler. */
extern void make_deaf(tk_client *client);

/* Ends the handle's session, and is back when the handle can notice. */
extern void end_session_of(tk_client *client);

#endif							/* TRADEKEEP_TIERED_H */
