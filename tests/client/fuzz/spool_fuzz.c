/*
 * spool_fuzz.c
 *		Any bytes at all, read as lines of a spool, with checksums that fit and without.
 *
 * Beside not dying of them, the reader must give parameters that the server can be
 * sent, and which make the same line again.
 */
#include "fuzz.h"
#include "spool.h"

#include <string.h>
#include <zlib.h>

static void
check_parameters(const tki_record *record)
{
	const tki_parameters *parameters = &record->parameters;
	const Oid  *types = record->operation->statement->types;

	ENSURE(parameters->count == record->operation->statement->count);
	for (int i = 0; i < parameters->count; i++)
	{
		const char *value = parameters->values[i];

		if (value == NULL)
			continue;
		if (parameters->formats[i] == 0)
			ENSURE(types[i] != OID_FLOAT8 && types[i] != OID_INTERVAL);
		else if (types[i] == OID_INT4)
			ENSURE(parameters->lengths[i] == 4);
		else if (types[i] == OID_TIMESTAMPTZ || types[i] == OID_FLOAT8)
			ENSURE(parameters->lengths[i] == 8);
		else if (types[i] == OID_INTERVAL)
			ENSURE(parameters->lengths[i] == 16);
		else
			ENSURE(parameters->lengths[i] >= 20 && tki_read_uint32(value) == 1 &&
				   tki_read_uint32(value + 12) <= MAX_BATCH);
	}
}

static char *
write_again(tki_record *record, size_t *length)
{
	return tki_record_line(record->operation, &record->parameters, record->number, record->at,
						   record->unknown, length);
}

/* What was read and written once reads and writes the same for ever. */
static void
check_record(tki_record *record)
{
	tki_record	again;
	tki_request request;
	size_t		first_length,
				second_length;
	char	   *first = write_again(record, &first_length);
	char	   *second;

	check_parameters(record);
	tki_record_request(record, &request);
	ENSURE(first != NULL && first[first_length - 1] == '\n');
	ENSURE(memchr(first, '\n', first_length - 1) == NULL);
	ENSURE(tki_record_read(first, first_length - 1, &again) == TKI_RECORD);
	ENSURE(again.operation == record->operation && again.number == record->number);
	ENSURE(again.at == record->at && again.unknown == record->unknown);
	second = write_again(&again, &second_length);
	ENSURE(second_length == first_length && memcmp(first, second, first_length) == 0);
	free(first);
	free(second);
	tki_record_free(&again);
}

static void
check_line(const char *line, size_t length)
{
	tki_record	record;

	if (tki_record_read(line, length, &record) == TKI_RECORD)
		check_record(&record);
	tki_record_free(&record);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char	   *line = malloc(size + 32);
	size_t		checked = size;

	memcpy(line, data, size);
	check_line(line, size);

	/* In the place of the end of the object: a checksum that fits. */
	while (checked > 0 && strchr("} \n", line[checked - 1]) != NULL)
		checked--;
	snprintf(line + checked, 32, ",\"crc\":\"%08lx\"}",
			 crc32_z(0, (const unsigned char *) line, checked));
	check_line(line, checked + strlen(line + checked));
	free(line);
	return 0;
}
