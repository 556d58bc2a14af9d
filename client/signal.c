/*
 * signal.c
 *		Signals: no second one of the same symbol and direction near the same price.
 */
#include "internal.h"

#include <float.h>
#include <string.h>
#include <strings.h>

#define DEFAULT_TOLERANCE 0.0005

static const tki_statement claim_signal_statement = {
	.id = TKI_CLAIM_SIGNAL,.access = TKI_WRITE,
	.name = "tradekeep_" TRADEKEEP_VERSION "_claim_signal",
	.sql = "SELECT tradekeep.claim_signal_to_remember($1, $2, $3, $4, $5, $6)",
	.count = 6,
	.types = {OID_TEXT, OID_TEXT, OID_FLOAT8, OID_FLOAT8, OID_INTERVAL, OID_JSONB}
};

/* The direction in capitals, or null. */
static const char *
direction_of(const char *text)
{
	if (text != NULL && strcasecmp(text, "LONG") == 0)
		return "LONG";
	if (text != NULL && strcasecmp(text, "SHORT") == 0)
		return "SHORT";
	return NULL;
}

/* What the server would refuse with the same SQLSTATE, and memory must not answer. */
static bool
check_signal(tk_client *client, const tk_signal *signal, const tki_request *request)
{
	if (!tki_check_key(client, signal->symbol, "symbol") ||
		!tki_check_ttl(client, request->ttl, "ttl"))
		return false;
	if (request->direction == NULL)
	{
		tki_fail(client, TK_ERROR_ARGUMENT, SQLSTATE_SIGNAL, "invalid direction: \"%.64s\"",
				 signal->direction != NULL ? signal->direction : "");
		tki_hint(client, "Directions are LONG and SHORT.");
		return false;
	}
	if (!(request->price > 0 && request->price <= DBL_MAX))
	{
		tki_fail(client, TK_ERROR_ARGUMENT, SQLSTATE_SIGNAL,
				 "entry_price is not a positive number: %g", request->price);
		return false;
	}
	if (!(request->tolerance < 1))
	{
		tki_fail(client, TK_ERROR_ARGUMENT, SQLSTATE_SIGNAL, "tolerance is out of range: %g",
				 signal->tolerance);
		tki_hint(client, "It is a fraction of the price, below 1: 0.0005 is 0.05 %%.");
		return false;
	}
	return true;
}

tk_verdict
tk_claim_signal(tk_client *client, const tk_signal *signal, tk_sent_signal *sent,
				tk_answer *answer)
{
	tki_parameters parameters = {.count = 0};
	tki_request request = {
		.is_signal = true,.scope = "signal",.key = signal->symbol,
		.direction = direction_of(signal->direction),.price = signal->entry_price,
		.tolerance = signal->tolerance < 0 ? 0 : signal->tolerance,
		.data = signal->data,.statement = &claim_signal_statement,.parameters = &parameters
	};

	if (sent != NULL)
		memset(sent, 0, sizeof(*sent));
	if (!tki_enter(client))
		return tki_refuse(answer);
	if (signal->tolerance == 0)
		request.tolerance = DEFAULT_TOLERANCE;
	request.ttl = signal->ttl != 0 ? signal->ttl : client->options.signal_ttl;
	if (!check_signal(client, signal, &request))
		return tki_refuse(answer);
	tki_put_text(&parameters, signal->symbol);
	tki_put_text(&parameters, request.direction);
	tki_put_float8(&parameters, request.price);
	tki_put_float8(&parameters, request.tolerance);
	if (request.ttl == 0)
		tki_put_null(&parameters);
	else
		tki_put_interval(&parameters, request.ttl);
	tki_put_text(&parameters, signal->data);
	return tki_decide(client, &request, sent, answer);
}
