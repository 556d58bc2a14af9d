/*
 * metrics.c
 *		What the handle has counted, as numbers, JSON and Prometheus's text format.
 */
#include "internal.h"

int
tk_read_metrics(const tk_client *client, tk_metrics *metrics)
{
	*metrics = client->metrics;
	return 0;
}
