/*
 * metrics.c
 *		What the library knows of itself.
 */
#include "tradekeep.h"

#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(tradekeep_library_version);
PG_FUNCTION_INFO_V1(tradekeep_preloaded_now);

Datum
tradekeep_library_version(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(TRADEKEEP_VERSION));
}

Datum
tradekeep_preloaded_now(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(tradekeep_preloaded);
}
