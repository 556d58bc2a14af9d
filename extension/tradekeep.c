/*
 * tradekeep.c
 *		The door of the library: magic block, settings and start.
 *
 * Everything works without shared_preload_libraries; the flag below lets
 * doctor() say what is missed.
 */
#include "tradekeep.h"

#include "miscadmin.h"

#include "utils/guc.h"

#include "metrics.h"
#include "rollup.h"
#include "sweep.h"

TRADEKEEP_MODULE_MAGIC;

bool		tradekeep_preloaded = false;

PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	sweep_define_settings();
	rollup_define_settings();
	rollup_init();
	tradekeep_preloaded = process_shared_preload_libraries_in_progress;
	if (!tradekeep_preloaded)
		return;

	/* Done by every LOAD, this would delete settings that a later version knows. */
	MarkGUCPrefixReserved("tradekeep");
	metrics_init();
	sweep_init();
}
