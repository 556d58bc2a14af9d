/*
 * candle_test.c
 *		Candles through the client: counted, all or none, and as they were given.
 */
#include "check.h"

#include <math.h>

#define T0 INT64_C(1700000040000)
#define MINUTE 60000
#define T1 (T0 + MINUTE)

static void
check_counts(const tk_upsert_counts *counts, int inserted, int updated, int unchanged, int ignored)
{
	CHECK_INT(counts->inserted, inserted);
	CHECK_INT(counts->updated, updated);
	CHECK_INT(counts->unchanged, unchanged);
	CHECK_INT(counts->ignored, ignored);
}

static void
test_counts(tk_client *client)
{
	tk_candle	candles[] = {
		{T0, 1, 4, 0.5, 2, 10, 1},
		{T0 + MINUTE, 2, 3, 1, 2.5, 11, 1},
		{T0 + 2 * MINUTE, 0.1, 0.30000000000000004, 1e-300, 0.2, 0, 0},
	};
	tk_upsert_counts counts;

	CHECK_INT(tk_upsert_candles(client, "A", "1m", candles, 3, &counts), 0);
	check_counts(&counts, 3, 0, 0, 0);
	CHECK_TEXT(admin_value("SELECT string_agg(format('%%s %%s %%s %%s %%s %%s %%s',"
						   " extract(epoch FROM ts)::int, open, high, low, close, volume, closed),"
						   " ', ' ORDER BY ts) FROM tradekeep.candle WHERE symbol = 'A'"),
			   "1700000040 1 4 0.5 2 10 t, 1700000100 2 3 1 2.5 11 t,"
			   " 1700000160 0.1 0.30000000000000004 1e-300 0.2 0 f");
	candles[1].close = 2.75;
	candles[2].volume = 5;
	CHECK_INT(tk_upsert_candles(client, "A", "1m", candles, 3, &counts), 0);
	check_counts(&counts, 0, 2, 1, 0);
	candles[0].closed = 0;
	CHECK_INT(tk_upsert_candles(client, "A", "1m", candles, 3, &counts), 0);
	check_counts(&counts, 0, 0, 2, 1);
	CHECK_INT(tk_upsert_candles(client, "A", "1m", candles, 0, &counts), 0);
	check_counts(&counts, 0, 0, 0, 0);
	CHECK_INT(tk_upsert_candles(client, "A", "1m", candles, 1, NULL), 0);
}

static void
test_symbols(tk_client *client)
{
	const char *symbols[] = {"B/USDT", "C/USDT", "gr\u00f6\u00dfe"};
	tk_candle	candles[] = {
		{T0, 1, 1, 1, 1, 1, 1}, {T0, 2, 2, 2, 2, 2, 1}, {T0 + MINUTE, 3, 3, 3, 3, 3, 1},
	};
	tk_upsert_counts counts;

	CHECK_INT(tk_upsert_symbols(client, symbols, "1m", candles, 3, &counts), 0);
	check_counts(&counts, 3, 0, 0, 0);
	CHECK_TEXT(admin_value("SELECT string_agg(symbol || close, ' ' ORDER BY symbol)"
						   " FROM tradekeep.candle WHERE symbol ~ 'USDT|gr\u00f6\u00dfe'"),
			   "B/USDT1 C/USDT2 gr\u00f6\u00dfe3");
	symbols[1] = NULL;
	CHECK_INT(tk_upsert_symbols(client, symbols, "1m", candles, 3, &counts), -1);
	CHECK(failed_with(client, TK_ERROR_ARGUMENT, "TK002"));
}

/* One bad candle of two: neither is stored. */
static void
test_bad_candles(tk_client *client)
{
	static const struct
	{
		const char *timeframe;
		tk_candle	candle;
		tk_error_code code;
		const char *sqlstate;
	}			bad[] =
	{
		{"1m", {T1, NAN, 1, 1, 1, 1, 1}, TK_ERROR_SERVER, "TK005"},
		{"1m", {T1, 1, INFINITY, 1, 1, 1, 1}, TK_ERROR_SERVER, "TK005"},
		{"1m", {T1, 1, 1, 2, 1, 1, 1}, TK_ERROR_SERVER, "TK005"},
		{"1m", {T1, 1, 1, 1, 5, 1, 1}, TK_ERROR_SERVER, "TK005"},
		{"1m", {T1, 1, 1, 1, 1, -1, 1}, TK_ERROR_SERVER, "TK005"},
		{"1m", {T1 + 1, 1, 1, 1, 1, 1, 1}, TK_ERROR_SERVER, "TK004"},
		{"1m", {INT64_C(900000000000000), 1, 1, 1, 1, 1, 1}, TK_ERROR_SERVER, "TK004"},
		{"1m", {INT64_MAX, 1, 1, 1, 1, 1, 1}, TK_ERROR_ARGUMENT, "TK004"},
		{"7m", {T1, 1, 1, 1, 1, 1, 1}, TK_ERROR_SERVER, "22P02"},
		{"", {T1, 1, 1, 1, 1, 1, 1}, TK_ERROR_ARGUMENT, "22P02"},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		tk_candle	candles[] = {{T0, 1, 1, 1, 1, 1, 1}, bad[i].candle};

		CHECK_INT(tk_upsert_candles(client, "BAD", bad[i].timeframe, candles, 2, NULL), -1);
		CHECK(failed_with(client, bad[i].code, bad[i].sqlstate));
		CHECK_TEXT(admin_value("SELECT count(*) FROM tradekeep.candle WHERE symbol = 'BAD'"), "0");
	}
}

void
test_candles(void)
{
	tk_client  *client = open_named("candles", 30000);

	test_counts(client);
	test_symbols(client);
	test_bad_candles(client);
	tk_close(client);
}
