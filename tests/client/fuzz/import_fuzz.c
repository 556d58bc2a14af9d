/*
 * import_fuzz.c
 *		Any bytes at all, read as a file of candles, and as one of trades.
 *
 * Beside not dying of them, the readers must come to an end, give rows that are
 * what rows.h says, or objects of JSON, and read the same out of a file and of its
 * gzipped form.
 */
#include "command/trade_rows.h"
#include "fuzz.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

static void
add(uint64_t *digest, const void *data, size_t size)
{
	for (size_t i = 0; i < size; i++)
		*digest = (*digest ^ ((const uint8_t *) data)[i]) * UINT64_C(1099511628211);
}

static void
check_row(const file_row *row)
{
	const tk_candle *candle = &row->candle;

	ENSURE(isfinite(candle->open) && isfinite(candle->high) && isfinite(candle->low));
	ENSURE(isfinite(candle->close) && isfinite(candle->volume));
	ENSURE(fabs((double) candle->ts) <= MAX_MS);
	ENSURE(candle->closed >= -1 && candle->closed <= 1);
	ENSURE(strnlen(row->symbol, sizeof(row->symbol)) <= MAX_SYMBOL);
	ENSURE(strnlen(row->timeframe, sizeof(row->timeframe)) <= MAX_TIMEFRAME);
}

/* Reads all there is in a file; 0 when it could not be opened as one of candles. */
static uint64_t
read_all(int fd, size_t size)
{
	static row_reader reader;
	static file_row row;
	row_problem problem = {.row = 0};
	uint64_t	digest = UINT64_C(14695981039346656037);
	row_status	status;
	size_t		count = 0;
	char		path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (!rows_open(&reader, path, &problem))
	{
		ENSURE(problem.reason[0] != '\0');
		return 0;
	}
	do
	{
		status = rows_next(&reader, &row, &problem);
		if (status == ROW_READ)
		{
			check_row(&row);
			add(&digest, &row.candle.ts, sizeof(row.candle.ts));
			add(&digest, &row.candle.volume, sizeof(row.candle.volume));
			add(&digest, row.symbol, strlen(row.symbol));
		}
		else if (status != ROW_END)
			ENSURE(problem.reason[0] != '\0' && problem.line >= 0);
		add(&digest, &status, sizeof(status));
		add(&digest, &reader.row_line, sizeof(reader.row_line));
		ENSURE(count++ <= size);
	} while (status == ROW_READ || status == ROW_REJECTED);
	rows_close(&reader);
	return digest;
}

/* What a reader of trades wrote is one object, and has the members of a trade alone. */
static void
check_trade(const text_buffer *text)
{
	static const char *const names = " trade_id bot strategy symbol side quantity amount"
		" entry_price leverage fee fee_open opened_at closed_at exit_price fee_close pnl pnl_ratio"
		" exit_reason data ";
	cJSON	   *object = cJSON_ParseWithOpts(text->data, NULL, 1);
	const cJSON *member;

	ENSURE(cJSON_IsObject(object));
	cJSON_ArrayForEach(member, object)
	{
		char		name[64];

		snprintf(name, sizeof(name), " %.60s ", member->string);
		ENSURE(strstr(names, name) != NULL);
		ENSURE(strcmp(name, " data ") == 0 || !(cJSON_IsObject(member) || cJSON_IsArray(member)));
	}
	cJSON_Delete(object);
}

/* Reads all trades there are in a file; 0 when it could not be opened as one. */
static uint64_t
read_trades(int fd, size_t size)
{
	static trade_reader reader = {.bot = "b",.strategy = "\"s\\"};
	static text_buffer text;
	row_problem problem = {.row = 0};
	uint64_t	digest = UINT64_C(14695981039346656037);
	row_status	status;
	size_t		count = 0;
	char		path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (!trades_open(&reader, path, &problem))
	{
		ENSURE(problem.reason[0] != '\0');
		return 0;
	}
	do
	{
		text.size = 0;
		status = trades_next(&reader, &text, &problem);
		if (status == ROW_READ)
		{
			check_trade(&text);
			add(&digest, text.data, text.size);
		}
		else if (status != ROW_END)
			ENSURE(problem.reason[0] != '\0' && problem.line >= 0);
		ENSURE(status == ROW_READ || text.size == 0);
		add(&digest, &status, sizeof(status));
		add(&digest, &reader.rows.row_line, sizeof(reader.rows.row_line));
		ENSURE(count++ <= size);
	} while (status == ROW_READ || status == ROW_REJECTED);
	trades_close(&reader);
	return digest;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int			plain = memfd_create("plain", MFD_CLOEXEC);
	int			zipped = memfd_create("zipped", MFD_CLOEXEC);
	gzFile		zip = gzdopen(dup(zipped), "wb1");
	uint64_t	digest;
	uint64_t	trades;

	ENSURE(write(plain, data, size) == (ssize_t) size);
	ENSURE(size == 0 || gzwrite(zip, data, (unsigned) size) == (int) size);
	ENSURE(gzclose(zip) == Z_OK);
	digest = read_all(plain, size);
	trades = read_trades(plain, size);

	/* A gzipped file's end is not known before it is read; and zipped twice is not zipped. */
	if (digest != 0 && (size < 2 || memcmp(data, "\037\213", 2) != 0))
		ENSURE(read_all(zipped, size) == digest);
	if (trades != 0 && (size < 2 || memcmp(data, "\037\213", 2) != 0))
		ENSURE(read_trades(zipped, size) == trades);
	close(plain);
	close(zipped);
	return 0;
}
