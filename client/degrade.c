/*
 * degrade.c
 *		Who decides without PostgreSQL: nobody.
 */
#include "internal.h"

bool
tki_may_degrade(const tk_client *client, const char *scope)
{
	(void) scope;
	return client->spool != NULL && client->options.outage == TK_DEGRADE;
}

bool
tki_stays_degraded(tk_client *client, const tki_request *request)
{
	(void) client;
	(void) request;
	return false;
}

tk_verdict
tki_degrade(tk_client *client, const tki_request *request, tk_sent_signal *sent,
			tk_answer *answer)
{
	(void) request;
	(void) sent;
	(void) answer;
	return tki_verdict_of_failure(client);
}
