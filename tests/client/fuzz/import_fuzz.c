/*
 * import_fuzz.c
 *		Any bytes at all, read as a file of candles, and as one of trades.
 *
 * Beside not dying of them, the readers must come to an end, give rows that are
 * what rows.h says, or objects of JSON, and read the same out of a file and of its
 * gzipped form.
 * Built for libFuzzer, or with a small driver of its own.
 */
#include "command/trade_rows.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

#define ENSURE(condition) \
	((condition) ? (void) 0 : (fprintf(stderr, "not so: %s\n", #condition), abort()))

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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

#ifndef LIBFUZZER

#include <dirent.h>

#define MAX_SEEDS 16
#define MAX_SIZE 4096

typedef struct sample
{
	size_t		size;
	uint8_t		data[MAX_SIZE];
} sample;

static sample seeds[MAX_SEEDS];
static size_t seed_count;
static uint64_t state = 1;

static size_t
below(size_t limit)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return limit == 0 ? 0 : (size_t) (state % limit);
}

/* Puts `size` bytes in the place of `removed` ones. */
static void
splice(sample *input, size_t at, size_t removed, const void *data, size_t size)
{
	size_t		rest = input->size - at - removed;

	if (at + size + rest > MAX_SIZE)
		return;
	memmove(input->data + at + size, input->data + at + removed, rest);
	memcpy(input->data + at, data, size);
	input->size = at + size + rest;
}

static void
mutate(sample *input)
{
	static const char *const tokens[] = {"\"", "\"\"", ",", "\n", "\r\n", "[", "]", "{", "\\",
		"-", ".", "e999", "nan", "0x", "ts", "Z", "+01:30", "T24:00", "1700000040", "trades", "strategy", "\":", "null", "\357\273\277",
	"\037\213", "PK\3\4", "true", "closed", " ", "\t", "99999999999999999999"};
	const sample *other = &seeds[below(seed_count)];
	const char *token = tokens[below(sizeof(tokens) / sizeof(tokens[0]))];
	size_t		at = below(input->size + 1);
	size_t		rest = input->size - at;
	size_t		from = below(other->size);
	uint8_t		byte = (uint8_t) below(256);

	switch (below(4))
	{
		case 0:
			splice(input, at, rest > 0, &byte, 1);
			break;
		case 1:
			splice(input, at, 0, token, strlen(token));
			break;
		case 2:
			splice(input, at, below(rest < 64 ? rest + 1 : 64), "", 0);
			break;
		case 3:
			splice(input, at, 0, other->data + from, below(other->size - from + 1));
			break;
	}
}

static void
read_seeds(const char *folder)
{
	struct dirent **entries;
	int			count = scandir(folder, &entries, NULL, alphasort);

	for (int i = 0; i < count && seed_count < MAX_SEEDS; i++)
	{
		char		path[4096];
		FILE	   *file;

		snprintf(path, sizeof(path), "%s/%s", folder, entries[i]->d_name);
		free(entries[i]);
		if (path[strlen(path) - 1] == '.' || (file = fopen(path, "rb")) == NULL)
			continue;
		seeds[seed_count].size = fread(seeds[seed_count].data, 1, MAX_SIZE, file);
		seed_count++;
		fclose(file);
	}
	ENSURE(seed_count > 0);
	free(entries);
}

/* Takes libFuzzer's arguments: of the options -runs, of the folders the last. */
int
main(int argc, char **argv)
{
	static sample input;
	int			runs = 0;

	for (int i = 1; i < argc; i++)
		sscanf(argv[i], "-runs=%d", &runs);
	read_seeds(argv[argc - 1]);
	for (int run = 0; run < runs; run++)
	{
		input = seeds[run % (int) seed_count];
		for (size_t left = run < (int) seed_count ? 0 : 1 + below(6); left > 0; left--)
			mutate(&input);
		LLVMFuzzerTestOneInput(input.data, input.size);
	}
	return 0;
}

#endif
