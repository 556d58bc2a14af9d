/*
 * trade_pnl.c
 *		What a trade earns, and which figures there are.
 */
#include "trade.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(tradekeep_calculate_pnl);
PG_FUNCTION_INFO_V1(tradekeep_calculate_pnl_float8);

/* As in the domain tradekeep.figure. */
#define MAX_FIGURE_DIGITS 100

static char *
numeric_text(Datum value)
{
	return DatumGetCString(DirectFunctionCall1(numeric_out, value));
}

int
compare_figures(Datum a, Datum b)
{
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp, a, b));
}

/* At most 100 digits before and behind the point. */
static bool
figure_fits(Datum value)
{
	static Numeric limit = NULL;

	if (limit == NULL)
	{
		char	   *digits = psprintf("1e%d", MAX_FIGURE_DIGITS);
		MemoryContext context = MemoryContextSwitchTo(TopMemoryContext);

		limit = DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(digits),
													ObjectIdGetDatum(InvalidOid),
													Int32GetDatum(-1)));
		MemoryContextSwitchTo(context);
	}
	if (numeric_is_nan(DatumGetNumeric(value)) || numeric_is_inf(DatumGetNumeric(value)))
		return false;
	return DatumGetInt32(DirectFunctionCall1(numeric_scale, value)) <= MAX_FIGURE_DIGITS &&
		compare_figures(DirectFunctionCall1(numeric_abs, value), NumericGetDatum(limit)) < 0;
}

void
check_figure(Datum value, const char *what, bool positive)
{
	if (!figure_fits(value))
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_TRADE),
				 errmsg("%s is out of range: %.128s", what, numeric_text(value)),
				 errhint("It is finite, with up to %d digits before and behind the point.",
						 MAX_FIGURE_DIGITS)));
	if (positive && compare_figures(value, NumericGetDatum(int64_to_numeric(0))) <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_TRADE),
				 errmsg("%s is not above 0: %.128s", what, numeric_text(value))));
}

/* LONG or SHORT, in any case: true for LONG. */
bool
is_long_side(const text *side)
{
	char	   *name = text_to_cstring(side);

	if (pg_strcasecmp(name, "LONG") == 0)
		return true;
	if (pg_strcasecmp(name, "SHORT") == 0)
		return false;
	ereport(ERROR,
			(errcode(ERRCODE_TRADEKEEP_TRADE),
			 errmsg("side is neither LONG nor SHORT: \"%.*s\"",
					pg_mbcliplen(name, strlen(name), 64), name)));
}

/* (exit - entry) * quantity * leverage - fee for LONG, (entry - exit) * ... for SHORT. */
Numeric
calculate_pnl(bool rising, Datum entry, Datum exit, Datum quantity, Datum leverage, Datum fee)
{
	Numeric		difference = numeric_sub_opt_error(DatumGetNumeric(rising ? exit : entry),
												   DatumGetNumeric(rising ? entry : exit), NULL);
	Numeric		size = numeric_mul_opt_error(DatumGetNumeric(quantity), DatumGetNumeric(leverage),
											 NULL);

	return numeric_sub_opt_error(numeric_mul_opt_error(difference, size, NULL),
								 DatumGetNumeric(fee), NULL);
}

Datum
tradekeep_calculate_pnl(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {
		"side", "entry_price", "exit_price", "quantity", "leverage", "fee"
	};

	for (int i = 1; i < lengthof(names); i++)
		check_figure(PG_GETARG_DATUM(i), names[i], i == 3 || i == 4);
	PG_RETURN_NUMERIC(calculate_pnl(is_long_side(PG_GETARG_TEXT_PP(0)), PG_GETARG_DATUM(1),
									PG_GETARG_DATUM(2), PG_GETARG_DATUM(3), PG_GETARG_DATUM(4),
									PG_GETARG_DATUM(5)));
}

/* In decimal digits, as a double has 15: 1.1 - 1 is 0.1. */
Datum
tradekeep_calculate_pnl_float8(PG_FUNCTION_ARGS)
{
	LOCAL_FCINFO(call, 6);
	Datum		pnl;

	InitFunctionCallInfoData(*call, NULL, 6, InvalidOid, NULL, NULL);
	for (int i = 0; i < 6; i++)
	{
		call->args[i].value = i == 0 ? PG_GETARG_DATUM(0) :
			DirectFunctionCall1(float8_numeric, PG_GETARG_DATUM(i));
		call->args[i].isnull = false;
	}
	pnl = tradekeep_calculate_pnl(call);
	PG_RETURN_DATUM(DirectFunctionCall1(numeric_float8, pnl));
}
