/*
 * wire.c
 *		Values in the server's binary format: no session setting changes their
 *		meaning, and nothing is printed or parsed.
 */
#include "internal.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

/* 2000-01-01, from where the server counts, in milliseconds since 1970. */
#define SERVER_EPOCH INT64_C(946684800000)

static void
write_uint32(char *target, uint32_t value)
{
	value = htobe32(value);
	memcpy(target, &value, sizeof(value));
}

static void
write_uint64(char *target, uint64_t value)
{
	value = htobe64(value);
	memcpy(target, &value, sizeof(value));
}

uint32_t
tki_read_uint32(const char *data)
{
	uint32_t	value;

	memcpy(&value, data, sizeof(value));
	return be32toh(value);
}

uint64_t
tki_read_uint64(const char *data)
{
	uint64_t	value;

	memcpy(&value, data, sizeof(value));
	return be64toh(value);
}

/* A time of the server's in ms since 1970, rounded down. */
int64_t
tki_read_time(const char *data)
{
	int64_t		us = (int64_t) tki_read_uint64(data);

	return us / 1000 - (us % 1000 < 0) + SERVER_EPOCH;
}

static uint64_t
server_time(int64_t ms)
{
	return (uint64_t) ((ms - SERVER_EPOCH) * 1000);
}

static void
put(tki_parameters *parameters, const char *value, int length, int format)
{
	parameters->values[parameters->count] = value;
	parameters->lengths[parameters->count] = length;
	parameters->formats[parameters->count] = format;
	parameters->count++;
}

void
tki_put_null(tki_parameters *parameters)
{
	put(parameters, NULL, 0, 0);
}

void
tki_put_text(tki_parameters *parameters, const char *value)
{
	put(parameters, value, 0, 0);
}

void
tki_put_int4(tki_parameters *parameters, int32_t value)
{
	char	   *scratch = parameters->scratch[parameters->count];

	write_uint32(scratch, (uint32_t) value);
	put(parameters, scratch, 4, 1);
}

void
tki_put_int8(tki_parameters *parameters, int64_t value)
{
	char	   *scratch = parameters->scratch[parameters->count];

	write_uint64(scratch, (uint64_t) value);
	put(parameters, scratch, 8, 1);
}

void
tki_put_timestamp(tki_parameters *parameters, int64_t ms)
{
	char	   *scratch = parameters->scratch[parameters->count];

	write_uint64(scratch, server_time(ms));
	put(parameters, scratch, 8, 1);
}

void
tki_put_float8(tki_parameters *parameters, double value)
{
	char	   *scratch = parameters->scratch[parameters->count];
	uint64_t	bits;

	memcpy(&bits, &value, sizeof(bits));
	write_uint64(scratch, bits);
	put(parameters, scratch, 8, 1);
}

/* An interval is microseconds, days and months. */
void
tki_put_interval(tki_parameters *parameters, int64_t ms)
{
	char	   *scratch = parameters->scratch[parameters->count];

	write_uint64(scratch, (uint64_t) (ms * 1000));
	memset(scratch + 8, 0, 8);
	put(parameters, scratch, 16, 1);
}

void
tki_put_array(tki_parameters *parameters, const tki_array *array)
{
	put(parameters, array->data, (int) array->size, 1);
}

/*
 * Makes room for `count` elements of together `payload` bytes, with the
 * header: dimensions, has nulls, element type, length, lower bound.
 */
bool
tki_array_start(tki_array *array, Oid type, size_t count, size_t payload)
{
	const uint32_t header[] = {1, 0, type, (uint32_t) count, 1};

	array->size = 0;
	array->data = malloc(sizeof(header) + 4 * count + payload);
	if (array->data == NULL)
		return false;
	for (size_t i = 0; i < sizeof(header) / sizeof(header[0]); i++)
		write_uint32(array->data + 4 * i, header[i]);
	array->size = sizeof(header);
	return true;
}

/* Fewer elements than there was room for. */
void
tki_array_set_count(tki_array *array, uint32_t count)
{
	write_uint32(array->data + 12, count);
}

void
tki_array_add(tki_array *array, const void *value, size_t length)
{
	write_uint32(array->data + array->size, (uint32_t) length);
	memcpy(array->data + array->size + 4, value, length);
	array->size += 4 + length;
}

static void
array_add_uint64(tki_array *array, uint64_t value)
{
	value = htobe64(value);
	tki_array_add(array, &value, sizeof(value));
}

void
tki_array_add_timestamp(tki_array *array, int64_t ms)
{
	array_add_uint64(array, server_time(ms));
}

void
tki_array_add_float8(tki_array *array, double value)
{
	uint64_t	bits;

	memcpy(&bits, &value, sizeof(bits));
	array_add_uint64(array, bits);
}

/* A jsonb travels as text, behind a byte for the version of that. */
void
tki_array_add_json(tki_array *array, const char *json, size_t length)
{
	char	   *element = array->data + array->size;

	write_uint32(element, (uint32_t) length + 1);
	element[4] = 1;
	memcpy(element + 5, json, length);
	array->size += 5 + length;
}
