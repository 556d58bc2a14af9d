/*
 * degrading.h
 *		What the tests of degraded mode share: a line to the server that they can cut, a
 *		folder for spools, and handles that go on.
 */
#ifndef TRADEKEEP_DEGRADING_H
#define TRADEKEEP_DEGRADING_H

#include "check.h"
#include "redis_server.h"
#include "relay.h"

#define HOUR INT64_C(3600000)

/* A day of the past, on the grid of all timeframes up to a day. */
#define DAY_START INT64_C(1767571200000)

extern relay *line;
extern char folder[64];
extern char collision[1024];	/* the last one that was logged */
extern const tk_candle outage_candle;

extern void make_folder(void);
extern void remove_folder(void);	/* which must be empty */
extern int	count_files(const char *suffix);

extern tk_client *open_degrading(const char *spool, const redis_server *redis);
extern void warm_up(tk_client *client);
extern void restore(tk_client *client);
extern tk_metrics metrics_of(const tk_client *client);
extern tk_verdict claim_hour(tk_client *client, const char *scope, const char *key,
							 tk_answer *answer);
extern int	claim_rows(const char *scope);

#endif							/* TRADEKEEP_DEGRADING_H */
