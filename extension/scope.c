/*
 * scope.c
 *		How long the claims of a scope live: what is built in, and what was set.
 */
#include "claim.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "input.h"
#include "probe.h"
#include "remember.h"
#include "statement.h"

PG_FUNCTION_INFO_V1(tradekeep_set_scope);

/* Columns of tradekeep.scope. */
#define SCOPE_TTL		2
#define SCOPE_EXPIRY	3
#define SCOPE_TIMEFRAME	4

static ProbeTable scope_table = {.name = "scope",.nkeys = 1};

static const char *const expiry_names[] = {
	[EXPIRY_FIXED] = "fixed",
	[EXPIRY_SLIDING] = "sliding",
	[EXPIRY_CANDLE] = "candle",
};

static const struct
{
	const char *scope;
	int64		ttl;
}			built_in[] =

{
	{"candle", USECS_PER_HOUR},
	{"publish", USECS_PER_DAY},
	{"signal", USECS_PER_DAY},
};

static Statement store_scope = {
	.sql = "INSERT INTO tradekeep.scope (scope, ttl, expiry, timeframe)"
	" VALUES ($1, $2, $3, $4::pg_catalog.text::tradekeep.timeframe)"
	" ON CONFLICT (scope) DO UPDATE SET ttl = excluded.ttl, expiry = excluded.expiry,"
	" timeframe = excluded.timeframe",
	.nargs = 4,
	.argtypes = {TEXTOID, INTERVALOID, TEXTOID, TEXTOID}
};
static Statement delete_scope = {
	.sql = "DELETE FROM tradekeep.scope WHERE scope OPERATOR(pg_catalog.=) $1",
	.nargs = 1,
	.argtypes = {TEXTOID}
};

static bool
text_equals(const text *value, const char *string)
{
	return VARSIZE_ANY_EXHDR(value) == strlen(string) &&
		memcmp(VARDATA_ANY(value), string, strlen(string)) == 0;
}

static Expiry
expiry_from_text(const text *value)
{
	for (int i = 0; i < lengthof(expiry_names); i++)
		if (text_equals(value, expiry_names[i]))
			return (Expiry) i;
	ereport(ERROR,
			(errcode(ERRCODE_TRADEKEEP_TTL),
			 errmsg("invalid expiry: \"%s\"", text_to_cstring(value)),
			 errhint("Claims expire fixed, sliding or candle.")));
}

ScopeSettings
scope_settings(text *scope)
{
	ScopeSettings settings = {0};
	Probe		probe;
	Datum		keys[1] = {PointerGetDatum(scope)};
	TupleTableSlot *slot;

	for (int i = 0; i < lengthof(built_in); i++)
		if (text_equals(scope, built_in[i].scope))
			settings.ttl = built_in[i].ttl;

	probe_begin(&probe, &scope_table, PROBE_LATEST);
	require_probe(&probe);
	slot = probe_find(&probe, keys);
	if (slot != NULL)
	{
		bool		isnull;
		Datum		value = slot_getattr(slot, SCOPE_TTL, &isnull);

		settings.ttl = isnull ? 0 : ttl_to_usecs(DatumGetIntervalP(value), "ttl");
		value = slot_getattr(slot, SCOPE_EXPIRY, &isnull);
		settings.expiry = expiry_from_text(DatumGetTextPP(value));
		value = slot_getattr(slot, SCOPE_TIMEFRAME, &isnull);
		settings.timeframe = isnull ? 0 : DatumGetTimeframe(value);
	}
	probe_end(&probe);
	return settings;
}

int64
require_ttl(text *scope, const ScopeSettings *settings)
{
	if (settings->ttl == 0)
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_TTL),
				 errmsg("scope \"%s\" has no ttl", text_to_cstring(scope)),
				 errhint("Pass a ttl, or give the scope one with tradekeep.set_scope().")));
	return settings->ttl;
}

/* set_scope(scope, ttl, expiry, timeframe) */
Datum
tradekeep_set_scope(PG_FUNCTION_ARGS)
{
	text	   *scope = scope_argument(fcinfo, 0);
	Expiry		expiry;
	Datum		values[4] = {PointerGetDatum(scope)};
	char		nulls[5] = " n n";

	require_writable("tradekeep.set_scope");
	expiry = PG_ARGISNULL(2) ? EXPIRY_FIXED : expiry_from_text(PG_GETARG_TEXT_PP(2));
	if (PG_ARGISNULL(1) && PG_ARGISNULL(3) && expiry == EXPIRY_FIXED)
	{
		if (run_statement(&delete_scope, values, NULL) > 0)
			note_release(scope, NULL);
		PG_RETURN_VOID();
	}
	/* A candle has an end, the other kinds need a ttl: one of the two, never both. */
	if (PG_ARGISNULL(1) != (expiry == EXPIRY_CANDLE) ||
		PG_ARGISNULL(3) != (expiry != EXPIRY_CANDLE))
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_TTL),
				 errmsg("expiry %s does not go with this ttl and timeframe",
						expiry_names[expiry]),
				 errhint("fixed and sliding take a ttl, candle takes a timeframe and no ttl.")));
	if (!PG_ARGISNULL(1))
	{
		ttl_to_usecs(PG_GETARG_INTERVAL_P(1), "ttl");
		values[1] = PG_GETARG_DATUM(1);
		nulls[1] = ' ';
	}
	values[2] = CStringGetTextDatum(expiry_names[expiry]);
	if (!PG_ARGISNULL(3))
	{
		values[3] = CStringGetTextDatum(timeframe_name(PG_GETARG_TIMEFRAME(3)));
		nulls[3] = ' ';
	}
	run_statement(&store_scope, values, nulls);
	note_release(scope, NULL);
	PG_RETURN_VOID();
}
