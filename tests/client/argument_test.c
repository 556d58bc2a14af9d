/*
 * argument_test.c
 *		What is refused before anything is sent, and by which SQLSTATE.
 */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>

#define HOUR 3600000

static void
check_claim(tk_client *client, const char *scope, const char *key, int64_t ttl,
			const char *sqlstate)
{
	tk_answer	answer = {.tier = TK_TIER_POSTGRES,.latency = 1};

	CHECK_INT(tk_claim(client, scope, key, ttl, &answer), TK_REFUSED);
	CHECK(failed_with(client, TK_ERROR_ARGUMENT, sqlstate));
	CHECK_INT(answer.tier, TK_TIER_NONE);
}

static void
test_lengths(tk_client *client)
{
	size_t		size = 10 << 20;
	char	   *text = malloc(size + 1);

	memset(text, 'x', size);
	text[size] = '\0';
	check_claim(client, "s", text, HOUR, "TK002");
	check_claim(client, text, "k", HOUR, "TK001");
	text[513] = '\0';
	check_claim(client, "s", text, HOUR, "TK002");
	text[512] = '\0';
	CHECK_INT(tk_claim(client, "s", text, HOUR, NULL), TK_CLAIMED);
	text[64] = '\0';
	check_claim(client, text, "k", HOUR, "TK001");
	text[63] = '\0';
	CHECK_INT(tk_claim(client, text, "k", HOUR, NULL), TK_CLAIMED);
	free(text);
	check_claim(client, NULL, "k", HOUR, "TK001");
	check_claim(client, "", "k", HOUR, "TK001");
	check_claim(client, "s", NULL, HOUR, "TK002");
	check_claim(client, "s", "", HOUR, "TK002");
}

static void
test_utf8(tk_client *client)
{
	static const char *const bad[] = {
		"\x80", "a\xff", "\xc0\xaf", "\xc1\x81", "\xe0\x80\xaf", "\xed\xa0\x80", "\xf0\x80\x80\x80",
		"\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xc3", "\xe2\x82", "\xf0\x9f\x98",
	};
	static const char *const good[] = {"\u00e9", "\xed\x9f\xbf", "\xee\x80\x80", "\U0001F600",
	"\xf4\x8f\xbf\xbf"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		check_claim(client, "s", bad[i], HOUR, "22021");
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		CHECK_INT(tk_claim(client, "utf8", good[i], HOUR, NULL), TK_CLAIMED);
	check_claim(client, "\xff", "k", HOUR, "22021");
}

static void
test_numbers(tk_client *client)
{
	check_claim(client, "s", "k", -1, "TK003");
	check_claim(client, "s", "k", INT64_MIN, "TK003");
	check_claim(client, "s", "k", INT64_MAX, "TK003");
	CHECK_INT(tk_claim(client, "s", "k", INT64_C(4000000000000), NULL), TK_REFUSED);
	CHECK(failed_with(client, TK_ERROR_SERVER, "TK003"));
	CHECK_INT(tk_claim_publish(client, "i", INT64_MAX, 0, NULL), TK_REFUSED);
	CHECK(failed_with(client, TK_ERROR_ARGUMENT, "TK004"));
	CHECK_INT(tk_claim_publish(client, "i", INT64_C(900000000000000), 0, NULL), TK_REFUSED);
	CHECK(failed_with(client, TK_ERROR_SERVER, "TK004"));
	CHECK_INT(tk_should_process_candle(client, "i", "1m", INT64_MIN, -1, 0, NULL), TK_REFUSED);
	CHECK(failed_with(client, TK_ERROR_ARGUMENT, "TK004"));
	CHECK_INT(tk_should_process_candle(client, "i", "1m", 0, INT64_MAX, 0, NULL), TK_REFUSED);
	CHECK(failed_with(client, TK_ERROR_ARGUMENT, "TK003"));
	CHECK_INT(tk_should_process_candle(client, "i", NULL, 0, -1, 0, NULL), TK_REFUSED);
	CHECK(failed_with(client, TK_ERROR_ARGUMENT, "22P02"));
}

static void
test_version(void)
{
	char		numbers[32];

	snprintf(numbers, sizeof(numbers), "%d.%d.%d", TRADEKEEP_VERSION_MAJOR,
			 TRADEKEEP_VERSION_MINOR, TRADEKEEP_VERSION_PATCH);
	CHECK_TEXT(numbers, TRADEKEEP_VERSION);
}

static void
test_null_handle(void)
{
	tk_verdict	verdict = TK_CLAIMED;
	const char *keys[] = {"k"};
	tk_health	health;

	CHECK_INT(tk_claim(NULL, "s", "k", HOUR, NULL), TK_REFUSED);
	CHECK_INT(tk_claim_many(NULL, "s", keys, 1, HOUR, &verdict), -1);
	CHECK_INT(verdict, TK_REFUSED);
	CHECK_INT(tk_begin(NULL), -1);
	CHECK_INT(tk_commit(NULL), -1);
	CHECK_INT(tk_rollback(NULL), -1);
	CHECK_INT(tk_connect(NULL), -1);
	CHECK_INT(tk_health_check(NULL, &health), -1);
	CHECK_INT(tk_error(NULL), TK_ERROR_ARGUMENT);
	CHECK(tk_message(NULL)[0] != '\0');
	CHECK(tk_connection(NULL) == NULL);
	tk_close(NULL);
}

void
test_arguments(void)
{
	tk_client  *client = open_named("arguments", 30000);

	test_lengths(client);
	test_utf8(client);
	test_numbers(client);
	test_version();
	test_null_handle();
	tk_close(client);
}
