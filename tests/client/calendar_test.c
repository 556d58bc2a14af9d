/*
 * calendar_test.c
 *		The client's calendar of candles, compared with the server's.
 */
#include "check.h"

#include "internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/*
 * Days and more at the start and the end of every day of the range, the others on every 41st day,
 * there also at an odd moment.
 */
static const char *const moments =
"SELECT t.name, (extract(epoch FROM at) * 1000)::int8,"
" (extract(epoch FROM tradekeep.candle_start(t.name::tradekeep.timeframe, at)) * 1000)::int8,"
" (extract(epoch FROM tradekeep.candle_end(t.name::tradekeep.timeframe, at)) * 1000)::int8,"
" to_char(tradekeep.candle_start(t.name::tradekeep.timeframe, at), 'YYYY-MM-DD\"T\"HH24:MI:SS')"
" FROM (VALUES ('1s', 41), ('1m', 41), ('3m', 41), ('5m', 41), ('15m', 41), ('30m', 41),"
" ('1h', 41), ('2h', 41), ('4h', 41), ('6h', 41), ('8h', 41), ('12h', 41), ('1d', 1), ('3d', 1),"
" ('1w', 1), ('1M', 1)) AS t (name, step), generate_series(0, 109572) AS n,"
" (VALUES (interval '0'), ('23:59:59.999'), ('07:13:11.877')) AS o (odd),"
" LATERAL (SELECT '1900-01-01Z'::timestamptz + n * interval '24 hours' + odd) AS m (at)"
" WHERE n % step = 0";

void
test_calendar(void)
{
	PGconn	   *connection;
	PGresult   *result;
	int			rows = 0;
	int			wrong = 0;

	CHECK_INT(tki_timeframe("7m"), 0);
	CHECK_INT(tki_timeframe(""), 0);
	CHECK(tki_timeframe("1m") != tki_timeframe("1M"));
	CHECK(!tki_candle_time(INT64_C(-2208988800001)) && tki_candle_time(INT64_C(-2208988800000)));
	CHECK(tki_candle_time(INT64_C(7258118399999)) && !tki_candle_time(INT64_C(7258118400000)));

	connection = admin_connect();
	PQclear(PQexec(connection, "SET TimeZone = 'UTC'"));
	PQsendQuery(connection, moments);
	PQsetSingleRowMode(connection);
	while ((result = PQgetResult(connection)) != NULL)
	{
		if (PQntuples(result) == 1)
		{
			int			timeframe = tki_timeframe(PQgetvalue(result, 0, 0));
			int64_t		at = strtoll(PQgetvalue(result, 0, 1), NULL, 10);
			int64_t		start = strtoll(PQgetvalue(result, 0, 2), NULL, 10);
			int64_t		end = strtoll(PQgetvalue(result, 0, 3), NULL, 10);
			char		text[TKI_UTC_TEXT];

			/* The first candle of three days began before the range. */
			tki_utc_text(tki_candle_time(start) ? start : at, text);
			if (timeframe == 0 || tki_candle_start(timeframe, at) != start ||
				tki_candle_end(timeframe, start) != end ||
				(tki_candle_time(start) && strcmp(text, PQgetvalue(result, 0, 4)) != 0))
			{
				if (wrong++ < 5)
					printf("    %s of %" PRId64 ": %s\n", PQgetvalue(result, 0, 0), at, text);
			}
			rows++;
		}
		else if (PQresultStatus(result) != PGRES_TUPLES_OK)
			printf("%s", PQerrorMessage(connection));
		PQclear(result);
	}
	CHECK_INT(rows, 3 * (4 * 109573 + 12 * 2673));
	CHECK_INT(wrong, 0);
	PQfinish(connection);
}
