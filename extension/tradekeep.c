/*
 * tradekeep.c
 *		The door of the library: magic block and start.
 *
 * Everything works without shared_preload_libraries; the flag below lets
 * doctor() say what is missed.
 */
#include "tradekeep.h"

#include "miscadmin.h"

#include "metrics.h"

TRADEKEEP_MODULE_MAGIC;

bool		tradekeep_preloaded = false;

PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	tradekeep_preloaded = process_shared_preload_libraries_in_progress;
	if (!tradekeep_preloaded)
		return;
	metrics_init();
}
