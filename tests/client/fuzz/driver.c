/*
 * driver.c
 *		Feeds a fuzzer where there is no libFuzzer: the seeds, and what becomes of
 *		them by small accidents, always the same ones.
 */
#include "fuzz.h"

#include <dirent.h>
#include <string.h>

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
	"\037\213", "PK\3\4", "true", "closed", " ", "\t", "99999999999999999999", "://", "@", "%41",
	"?db=", "&", "[::1]", "="};
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
