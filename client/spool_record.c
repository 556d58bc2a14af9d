/*
 * spool_record.c
 *		A record of the spool: a statement and its parameters as one line of JSON.
 *
 *		{"v":1,"seq":7,"at":1767608100000,"op":"claim","scope":"publish","key":"BTC/USDT:…",
 *		 "ttl":86400000,"crc":"0f1e2d3c"}
 *
 * The members behind "op" are the statement's parameters, by name, so that people
 * can read them, and later versions add to them; null ones are left out.  Times
 * and durations are milliseconds.  "unknown":true says that PostgreSQL was sent
 * the statement before, and its answer lost.  The checksum is CRC-32 of all that
 * stands before ,"crc".
 *
 * Doubles have 17 digits, which read back as the same bits; cJSON would print
 * some that do not.  What JSON has no number for, NaN and integers above 2^53, is
 * a string.
 */
#include "spool.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define VERSION		1

/* ,"crc":"xxxxxxxx"} */
#define CRC_LENGTH	18

/* The largest integer up to which a double has all. */
#define MAX_EXACT	(INT64_C(1) << 53)

/* $5 and $7: when it was granted. */
static const tki_statement claim_statement = {
	.id = TKI_REPLAY_CLAIM,.access = TKI_WRITE,
	.name = "tradekeep_" TRADEKEEP_VERSION "_replay_claim",
	.sql = "SELECT c.claimed, c.claimed_at FROM tradekeep.claim_or_get($1, $2, $3, $4, $5) AS c",
	.count = 5,
	.types = {OID_TEXT, OID_TEXT, OID_INTERVAL, OID_JSONB, OID_TIMESTAMPTZ}
};

static const tki_statement signal_statement = {
	.id = TKI_REPLAY_SIGNAL,.access = TKI_WRITE,
	.name = "tradekeep_" TRADEKEEP_VERSION "_replay_signal",
	.sql = "SELECT s.claimed, s.sent_at"
	" FROM tradekeep.claim_signal($1, $2, $3, $4, $5, $6, $7) AS s",
	.count = 7,
	.types = {OID_TEXT, OID_TEXT, OID_FLOAT8, OID_FLOAT8, OID_INTERVAL, OID_JSONB, OID_TIMESTAMPTZ}
};

/* The names stand in files: they never change their meaning. */
const tki_operation tki_operations[TKI_OPERATIONS] = {
	[TKI_OPERATION_CLAIM] = {"claim", &claim_statement, 4, {"scope", "key", "ttl", "data", "at"}},
	[TKI_OPERATION_SIGNAL] = {"signal", &signal_statement, 6,
	{"symbol", "direction", "price", "tolerance", "ttl", "data", "at"}},
	[TKI_OPERATION_CANDLES] = {"candles", &tki_upsert_candles_statement, -1,
	{"symbol", "timeframe", "count", "ts", "open", "high", "low", "close", "volume", "closed"}},
	[TKI_OPERATION_SYMBOLS] = {"symbols", &tki_upsert_symbols_statement, -1,
	{"symbols", "timeframe", "count", "ts", "open", "high", "low", "close", "volume", "closed"}},
	[TKI_OPERATION_KLINES] = {"klines", &tki_ingest_klines_statement, 3,
	{"messages", "symbol", "timeframe", "at"}},
	[TKI_OPERATION_TRADE] = {"trade", &tki_add_trade_statement, -1,
		{"bot", "trade_id", "strategy", "symbol", "side", "quantity", "entry_price", "exit_price",
			"leverage", "fee", "opened_at", "closed_at", "pnl", "pnl_ratio", "exit_reason", "data",
	"replace"}},
	[TKI_OPERATION_CLOSE_TRADE] = {"close_trade", &tki_close_trade_statement, 3,
	{"bot", "trade_id", "exit_price", "closed_at", "fee", "exit_reason"}},
};

/* Null for a statement that no record stands for. */
const tki_operation *
tki_operation_of(const tki_statement *statement)
{
	for (int i = 0; i < TKI_OPERATIONS; i++)
	{
		if (tki_operations[i].statement == statement)
			return &tki_operations[i];
	}
	return NULL;
}

/* Elements of an array in binary format, one after the other. */
typedef struct element_reader
{
	const char *next;
	uint32_t	left;
	Oid			type;
} element_reader;

static element_reader
read_elements(const char *array)
{
	element_reader reader = {
		.next = array + 20,.left = tki_read_uint32(array + 12),.type = tki_read_uint32(array + 8)
	};

	return reader;
}

static const char *
next_element(element_reader *reader, size_t *length)
{
	const char *element = reader->next + 4;

	*length = tki_read_uint32(reader->next);
	reader->next = element + *length;
	reader->left--;
	return element;
}

/* Goes past a number; null when PostgreSQL would not read it, or it is out of all bounds. */
static const char *
skip_number(const char *p)
{
	size_t		digits;

	p += *p == '-';
	digits = strspn(p, "0123456789");
	if (digits == 0 || (digits > 1 && *p == '0'))
		return NULL;
	p += digits;
	if (*p == '.')
	{
		digits = strspn(p + 1, "0123456789");
		if (digits == 0)
			return NULL;
		p += 1 + digits;
	}
	if (*p == 'e' || *p == 'E')
	{
		p += p[1] == '-' || p[1] == '+' ? 2 : 1;
		digits = strspn(p, "0123456789");
		if (digits == 0 || digits > 4)
			return NULL;
		p += digits;
	}
	return p;
}

/*
 * Whether JSON that cJSON reads is strict enough for PostgreSQL: cJSON also takes control
 * characters, "\u0000", a byte order mark, and numbers like 01 or 1. for good.
 */
static bool
is_strict(const char *p)
{
	bool		quoted = false;

	while (*p != '\0')
	{
		unsigned char c = (unsigned char) *p;

		if (c < ' ' ? quoted || strchr("\t\n\r", c) == NULL : !quoted && c >= 127)
			return false;
		if (!quoted && (c == '-' || (c >= '0' && c <= '9')))
		{
			p = skip_number(p);
			if (p == NULL)
				return false;
			continue;
		}
		if (c == '\\' && strncmp(p, "\\u0000", 6) == 0)
			return false;
		if (c == '"')
			quoted = !quoted;
		p += c == '\\' ? 2 : 1;
	}
	return true;
}

static bool
check_text(tk_client *client, const char *name, const char *text, bool is_json)
{
	cJSON	   *json;

	if (!tki_is_utf8(text, strlen(text)))
	{
		tki_fail(client, TK_ERROR_ARGUMENT, SQLSTATE_BAD_ENCODING, "%s is not valid UTF-8", name);
		return false;
	}
	if (!is_json)
		return true;
	json = cJSON_ParseWithOpts(text, NULL, true);
	cJSON_Delete(json);
	if (json != NULL && is_strict(text))
		return true;
	tki_fail(client, TK_ERROR_ARGUMENT, SQLSTATE_BAD_NAME, "%s: not valid JSON", name);
	return false;
}

static bool
check_messages(tk_client *client, const char *name, const char *array)
{
	element_reader reader = read_elements(array);
	bool		valid = true;

	while (valid && reader.left > 0)
	{
		size_t		length;
		const char *element = next_element(&reader, &length);
		char	   *message = strndup(element + 1, length - 1);

		if (message == NULL)
			tki_fail(client, TK_ERROR_MEMORY, "", "out of memory");
		valid = message != NULL && check_text(client, name, message, true);
		free(message);
	}
	return valid;
}

/*
 * Refuses now what PostgreSQL would refuse when it is too late to tell the caller: text that is
 * no UTF-8, and JSON that is none.  The rest it judges when the record is replayed.
 */
bool
tki_record_check(tk_client *client, const tki_operation *operation,
				 const tki_parameters *parameters)
{
	for (int i = 0; i < parameters->count; i++)
	{
		const char *value = parameters->values[i];
		Oid			type = operation->statement->types[i];

		if (value == NULL)
			continue;
		if (type == OID_JSONB_ARRAY ? !check_messages(client, operation->names[i], value) :
			parameters->formats[i] == 0 &&
			!check_text(client, operation->names[i], value, type == OID_JSONB))
			return false;
	}
	return true;
}

static cJSON *
write_integer(int64_t value)
{
	char		text[24];

	snprintf(text, sizeof(text), "%" PRId64, value);
	return value > MAX_EXACT || value < -MAX_EXACT ? cJSON_CreateString(text) : cJSON_CreateRaw(text);
}

static cJSON *
write_double(double value)
{
	char		text[32];

	snprintf(text, sizeof(text), "%.17g", value);
	return isfinite(value) ? cJSON_CreateRaw(text) : cJSON_CreateString(text);
}

static cJSON *
write_text(const char *text, size_t length)
{
	char	   *copy = strndup(text, length);
	cJSON	   *json = copy != NULL ? cJSON_CreateString(copy) : NULL;

	free(copy);
	return json;
}

/* A value in binary format; null when there is no memory. */
static cJSON *
write_value(const char *value, size_t length, Oid type)
{
	uint64_t	bits;
	double		number;

	switch (type)
	{
		case OID_BOOL:
			return cJSON_CreateBool(value[0] != 0);
		case OID_INT4:
			return write_integer((int32_t) tki_read_uint32(value));
		case OID_INTERVAL:
			return write_integer((int64_t) tki_read_uint64(value) / 1000);
		case OID_TIMESTAMPTZ:
			return write_integer(tki_read_time(value));
		case OID_FLOAT8:
			bits = tki_read_uint64(value);
			memcpy(&number, &bits, sizeof(number));
			return write_double(number);
		case OID_JSONB:
			return write_text(value + 1, length - 1);
		default:
			return write_text(value, length);
	}
}

static cJSON *
write_array(const char *value)
{
	element_reader reader = read_elements(value);
	cJSON	   *array = cJSON_CreateArray();

	while (array != NULL && reader.left > 0)
	{
		size_t		length;
		const char *element = next_element(&reader, &length);

		if (!cJSON_AddItemToArray(array, write_value(element, length, reader.type)))
		{
			cJSON_Delete(array);
			return NULL;
		}
	}
	return array;
}

static bool
is_array(Oid type)
{
	return type == OID_TEXT_ARRAY || type == OID_FLOAT8_ARRAY || type == OID_BOOL_ARRAY ||
		type == OID_TIMESTAMPTZ_ARRAY || type == OID_JSONB_ARRAY;
}

static cJSON *
write_parameter(const tki_parameters *parameters, int i, Oid type)
{
	const char *value = parameters->values[i];

	if (parameters->formats[i] == 0)
		return cJSON_CreateString(value);
	return is_array(type) ? write_array(value) :
		write_value(value, (size_t) parameters->lengths[i], type);
}

static cJSON *
write_record(const tki_operation *operation, const tki_parameters *parameters, int64_t number,
			 int64_t at, bool unknown)
{
	cJSON	   *json = cJSON_CreateObject();
	bool		complete;

	complete = cJSON_AddItemToObject(json, "v", write_integer(VERSION)) &&
		cJSON_AddItemToObject(json, "seq", write_integer(number)) &&
		cJSON_AddItemToObject(json, "at", write_integer(at)) &&
		cJSON_AddItemToObject(json, "op", cJSON_CreateString(operation->name)) &&
		(!unknown || cJSON_AddItemToObject(json, "unknown", cJSON_CreateTrue()));
	for (int i = 0; complete && i < parameters->count; i++)
	{
		if (parameters->values[i] != NULL)
			complete = cJSON_AddItemToObject(json, operation->names[i],
											 write_parameter(parameters, i,
															 operation->statement->types[i]));
	}
	if (complete)
		return json;
	cJSON_Delete(json);
	return NULL;
}

/* The decimal point of the bot's own locale has no place in a file. */
locale_t
tki_enter_c_locale(locale_t *before)
{
	locale_t	c = newlocale(LC_NUMERIC_MASK, "C", (locale_t) 0);

	*before = c != (locale_t) 0 ? uselocale(c) : (locale_t) 0;
	return c;
}

void
tki_leave_c_locale(locale_t c, locale_t before)
{
	if (c == (locale_t) 0)
		return;
	uselocale(before);
	freelocale(c);
}

/* The line with its newline, for free(); null when there is no memory. */
char *
tki_record_line(const tki_operation *operation, const tki_parameters *parameters, int64_t number,
				int64_t at, bool unknown, size_t *length)
{
	locale_t	before;
	locale_t	c = tki_enter_c_locale(&before);
	cJSON	   *json = c != (locale_t) 0 ?
	write_record(operation, parameters, number, at, unknown) : NULL;
	char	   *text = json != NULL ? cJSON_PrintUnformatted(json) : NULL;
	char	   *line = NULL;

	tki_leave_c_locale(c, before);
	cJSON_Delete(json);
	if (text != NULL)
	{
		size_t		checked = strlen(text) - 1;

		line = malloc(checked + CRC_LENGTH + 2);
		if (line != NULL)
		{
			memcpy(line, text, checked);
			snprintf(line + checked, CRC_LENGTH + 2, ",\"crc\":\"%08lx\"}\n",
					 crc32_z(0, (const unsigned char *) text, checked));
			*length = checked + CRC_LENGTH + 1;
		}
		cJSON_free(text);
	}
	return line;
}

static bool
checksum_fits(const char *line, size_t length)
{
	char		crc[CRC_LENGTH + 1];

	if (length <= CRC_LENGTH)
		return false;
	snprintf(crc, sizeof(crc), ",\"crc\":\"%08lx\"}",
			 crc32_z(0, (const unsigned char *) line, length - CRC_LENGTH));
	return memcmp(line + length - CRC_LENGTH, crc, CRC_LENGTH) == 0;
}

static bool
read_integer(const cJSON *json, int64_t low, int64_t high, int64_t *value)
{
	if (cJSON_IsString(json))
	{
		char	   *end;

		*value = strtoll(json->valuestring, &end, 10);
		if (end == json->valuestring || *end != '\0')
			return false;
	}
	else if (cJSON_IsNumber(json) && fabs(json->valuedouble) <= (double) MAX_EXACT)
		*value = (int64_t) json->valuedouble;
	else
		return false;
	return *value >= low && *value <= high;
}

static bool
read_double(const cJSON *json, double *value)
{
	char	   *end;

	if (!cJSON_IsString(json))
	{
		*value = cJSON_IsNumber(json) ? json->valuedouble : 0;
		return cJSON_IsNumber(json);
	}
	*value = strtod(json->valuestring, &end);
	return end != json->valuestring && *end == '\0';
}

/* Adds an element to an array; false when it is of another type. */
static bool
read_element(tki_array *array, Oid type, const cJSON *json)
{
	int64_t		integer;
	double		number;
	char		flag;

	switch (type)
	{
		case OID_TEXT_ARRAY:
		case OID_JSONB_ARRAY:
			if (!cJSON_IsString(json))
				return false;
			if (type == OID_TEXT_ARRAY)
				tki_array_add(array, json->valuestring, strlen(json->valuestring));
			else
				tki_array_add_json(array, json->valuestring, strlen(json->valuestring));
			return true;
		case OID_TIMESTAMPTZ_ARRAY:
			if (!read_integer(json, MIN_TIME, MAX_TIME, &integer))
				return false;
			tki_array_add_timestamp(array, integer);
			return true;
		case OID_FLOAT8_ARRAY:
			if (!read_double(json, &number))
				return false;
			tki_array_add_float8(array, number);
			return true;
		default:
			flag = cJSON_IsTrue(json) != 0;
			tki_array_add(array, &flag, 1);
			return cJSON_IsBool(json);
	}
}

static bool
read_array(tki_array *array, Oid type, const cJSON *json)
{
	static const struct
	{
		Oid			array,
					element;
	}			types[] =
	{
		{OID_TEXT_ARRAY, OID_TEXT}, {OID_JSONB_ARRAY, OID_JSONB}, {OID_BOOL_ARRAY, OID_BOOL},
		{OID_FLOAT8_ARRAY, OID_FLOAT8}, {OID_TIMESTAMPTZ_ARRAY, OID_TIMESTAMPTZ}
	};
	const cJSON *element;
	size_t		count = 0;
	size_t		bytes = 0;
	int			i = 0;

	if (!cJSON_IsArray(json))
		return false;
	cJSON_ArrayForEach(element, json)
	{
		count++;
		bytes += cJSON_IsString(element) ? strlen(element->valuestring) + 1 : 0;
	}
	while (types[i].array != type)
		i++;
	if (count > MAX_BATCH || !tki_array_start(array, types[i].element, count, bytes + 8 * count))
		return false;
	cJSON_ArrayForEach(element, json)
	{
		if (!read_element(array, type, element))
			return false;
	}
	return true;
}

/* Puts the next parameter; false when the member is of another type. */
static bool
read_parameter(tki_record *record, const cJSON *json, Oid type)
{
	tki_parameters *parameters = &record->parameters;
	tki_array  *array = &record->arrays[parameters->count];
	int64_t		integer;
	double		number;

	if (json == NULL)
	{
		tki_put_null(parameters);
		return true;
	}
	if (is_array(type))
	{
		if (!read_array(array, type, json))
			return false;
		tki_put_array(parameters, array);
		return true;
	}
	switch (type)
	{
		case OID_INT4:
			if (!read_integer(json, 0, INT32_MAX, &integer))
				return false;
			tki_put_int4(parameters, (int32_t) integer);
			return true;
		case OID_INTERVAL:
			if (!read_integer(json, 0, MAX_TTL, &integer))
				return false;
			tki_put_interval(parameters, integer);
			return true;
		case OID_TIMESTAMPTZ:
			if (!read_integer(json, MIN_TIME, MAX_TIME, &integer))
				return false;
			tki_put_timestamp(parameters, integer);
			return true;
		case OID_FLOAT8:
			if (!read_double(json, &number))
				return false;
			tki_put_float8(parameters, number);
			return true;
		default:
			if (!cJSON_IsString(json))
				return false;
			tki_put_text(parameters, json->valuestring);
			return true;
	}
}

/*
 * Whether messages say nothing of when they were made: the server would take what was still
 * growing then for final now. Only pages of a REST interface are arrays.
 */
static bool
hides_its_time(const tki_operation *operation, const cJSON *json)
{
	const cJSON *message;

	if (operation->statement != &tki_ingest_klines_statement)
		return true;
	cJSON_ArrayForEach(message, cJSON_GetObjectItemCaseSensitive(json, operation->names[0]))
	{
		const char *text = cJSON_IsString(message) ? message->valuestring : "";

		if (text[strspn(text, " \t\r\n")] == '[')
			return true;
	}
	return false;
}

static bool
read_parameters(tki_record *record)
{
	const tki_operation *operation = record->operation;

	for (int i = 0; i < operation->statement->count; i++)
	{
		const cJSON *member = NULL;

		/* A claim's own "at" is the record's. */
		if (strcmp(operation->names[i], "at") != 0)
			member = cJSON_GetObjectItemCaseSensitive(record->json, operation->names[i]);
		if (member == NULL && i == operation->moment && hides_its_time(operation, record->json))
			tki_put_timestamp(&record->parameters, record->at);
		else if (!read_parameter(record, member, operation->statement->types[i]))
			return false;
	}
	return true;
}

static const tki_operation *
find_operation(const cJSON *name)
{
	for (int i = 0; cJSON_IsString(name) && i < TKI_OPERATIONS; i++)
	{
		if (strcmp(name->valuestring, tki_operations[i].name) == 0)
			return &tki_operations[i];
	}
	return NULL;
}

static tki_record_status
read_record(tki_record *record, const char *line, size_t length)
{
	const cJSON *json;
	int64_t		version;

	json = record->json = cJSON_ParseWithLength(line, length);
	if (!cJSON_IsObject(json) ||
		!read_integer(cJSON_GetObjectItemCaseSensitive(json, "v"), 1, INT32_MAX, &version))
		return TKI_RECORD_DAMAGED;
	record->operation = find_operation(cJSON_GetObjectItemCaseSensitive(json, "op"));
	if (version != VERSION || record->operation == NULL)
		return TKI_RECORD_FOREIGN;
	if (!read_integer(cJSON_GetObjectItemCaseSensitive(json, "seq"), 1, INT64_MAX,
					  &record->number) ||
		!read_integer(cJSON_GetObjectItemCaseSensitive(json, "at"), MIN_TIME, MAX_TIME,
					  &record->at))
		return TKI_RECORD_DAMAGED;
	record->unknown = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(json, "unknown"));
	return read_parameters(record) ? TKI_RECORD : TKI_RECORD_DAMAGED;
}

/* Reads a line without its newline.  Whatever it gives, tki_record_free() frees it. */
tki_record_status
tki_record_read(const char *line, size_t length, tki_record *record)
{
	locale_t	before;
	locale_t	c;
	tki_record_status status;

	memset(record, 0, sizeof(*record));
	if (!checksum_fits(line, length))
		return TKI_RECORD_DAMAGED;
	c = tki_enter_c_locale(&before);
	status = read_record(record, line, length);
	tki_leave_c_locale(c, before);
	return status;
}

void
tki_record_free(tki_record *record)
{
	for (int i = 0; i < MAX_PARAMETERS; i++)
		free(record->arrays[i].data);
	cJSON_Delete(record->json);
}

/* When what a record grants ends; 0 for what is no grant. */
int64_t
tki_record_expiry(const tki_record *record)
{
	int			ttl = record->operation == &tki_operations[TKI_OPERATION_CLAIM] ? CLAIM_TTL :
	record->operation == &tki_operations[TKI_OPERATION_SIGNAL] ? SIGNAL_TTL : -1;

	if (ttl < 0 || record->parameters.values[ttl] == NULL)
		return 0;
	return record->at + (int64_t) tki_read_uint64(record->parameters.values[ttl]) / 1000;
}

/* The claim or signal that a record grants; false for what is no grant. */
bool
tki_record_request(const tki_record *record, tki_request *request)
{
	const char *const *values = record->parameters.values;
	uint64_t	bits;

	if (tki_record_expiry(record) == 0 || values[0] == NULL || values[1] == NULL)
		return false;
	memset(request, 0, sizeof(*request));
	request->is_signal = record->operation == &tki_operations[TKI_OPERATION_SIGNAL];
	request->scope = request->is_signal ? "signal" : values[CLAIM_SCOPE];
	request->key = request->is_signal ? values[SIGNAL_SYMBOL] : values[CLAIM_KEY];
	if (!request->is_signal)
		return true;
	request->direction = values[SIGNAL_DIRECTION];
	if (values[SIGNAL_PRICE] == NULL)
		return false;
	bits = tki_read_uint64(values[SIGNAL_PRICE]);
	memcpy(&request->price, &bits, sizeof(bits));
	return true;
}
