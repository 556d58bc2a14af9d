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

static void
check_refused(tk_client *client, const char *const *messages, const char *symbol,
			  const char *timeframe, tk_error_code code, const char *sqlstate)
{
	CHECK_INT(tk_ingest_klines(client, messages, 2, symbol, timeframe, NULL), -1);
	CHECK(failed_with(client, code, sqlstate));
	CHECK_TEXT(admin_value("SELECT count(*) FROM tradekeep.candle WHERE ts = '2023-11-14 23:59Z'"),
			   "0");
}

#define BINANCE(close, closed) \
	"{\"e\":\"kline\",\"E\":1,\"s\":\"WSBTC\",\"k\":{\"t\":1700000040000,\"T\":1700000099999," \
	"\"s\":\"WSBTC\",\"i\":\"1m\",\"o\":\"1\",\"c\":\"" close "\",\"h\":\"9\",\"l\":\"0.5\"," \
	"\"v\":\"10\",\"x\":" closed "}}"

/* The shapes of messages are tested with the server; here, that all bytes arrive. */
static void
test_klines(tk_client *client)
{
	static const char *const stream[] = {BINANCE("2", "false"), BINANCE("3", "true"),
	BINANCE("4", "false")};
	static const char *const arrays[] = {
		"[[1700000040000, \"1\", 9, 0.5, 2, 10]]",
	" \n[[1700000100000, 1, 9, 0.5, 2, 10], [1700000160000, 1, 9, 0.5, 2, 10]]\t"};
	static const char *const named[] = {"{\"stream\":\"gr\u00f6\u00dfe\",\"data\":"
	BINANCE("3", "true") "}", BINANCE("3", "true")};
	const char *good = "[[1700006340000, 1, 9, 0.5, 2, 10]]";
	const char *bad[2] = {good, NULL};
	char		long_name[600];
	tk_upsert_counts counts;

	CHECK_INT(tk_ingest_klines(client, stream, 3, NULL, NULL, &counts), 0);
	check_counts(&counts, 1, 1, 0, 1);
	CHECK_TEXT(admin_value("SELECT close || ' ' || closed FROM tradekeep.candle"
						   " WHERE symbol = 'WSBTC'"), "3 true");
	CHECK_INT(tk_ingest_klines(client, named, 2, NULL, NULL, &counts), 0);
	check_counts(&counts, 0, 0, 2, 0);
	CHECK_INT(tk_ingest_klines(client, arrays, 2, "ARRAY", "1m", &counts), 0);
	check_counts(&counts, 3, 0, 0, 0);
	CHECK_INT(tk_ingest_klines(client, arrays, 2, "gr\u00f6\u00dfe/2", "1m", NULL), 0);
	CHECK_TEXT(admin_value("SELECT count(*) FROM tradekeep.candle"
						   " WHERE symbol = 'gr\u00f6\u00dfe/2'"), "3");
	CHECK_INT(tk_ingest_klines(client, NULL, 0, NULL, NULL, &counts), 0);
	check_counts(&counts, 0, 0, 0, 0);

	memset(long_name, 'x', sizeof(long_name));
	long_name[sizeof(long_name) - 1] = '\0';
	check_refused(client, bad, "S", "1m", TK_ERROR_ARGUMENT, "TK006");
	bad[1] = "[[17";
	check_refused(client, bad, "S", "1m", TK_ERROR_SERVER, "22P02");
	bad[1] = "";
	check_refused(client, bad, "S", "1m", TK_ERROR_SERVER, "22P02");
	bad[1] = "\"\xff\"";
	check_refused(client, bad, "S", "1m", TK_ERROR_SERVER, "22021");
	bad[1] = "[[1700000040000, 1, 1, 9, 1, 1]]";
	check_refused(client, bad, "S", "1m", TK_ERROR_SERVER, "TK005");
	bad[1] = "{\"hello\": 1}";
	check_refused(client, bad, "S", "1m", TK_ERROR_SERVER, "TK006");
	bad[1] = good;
	check_refused(client, bad, "S", NULL, TK_ERROR_SERVER, "TK006");
	check_refused(client, bad, "S", "7m", TK_ERROR_SERVER, "22P02");
	check_refused(client, bad, "", "1m", TK_ERROR_ARGUMENT, "TK002");
	check_refused(client, bad, long_name, "1m", TK_ERROR_ARGUMENT, "TK002");
	check_refused(client, bad, "S", "", TK_ERROR_ARGUMENT, "22P02");
}

void
test_candles(void)
{
	tk_client  *client = open_named("candles", 30000);

	test_counts(client);
	test_symbols(client);
	test_bad_candles(client);
	test_klines(client);
	tk_close(client);
}
