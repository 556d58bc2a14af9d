/*
 * ask.c
 *		Claims each key that comes on standard input, a line each, in scope restore, and
 *		prints the verdict and who gave it.
 */
#include <stdio.h>
#include <string.h>

#include "tradekeep.h"

int
main(void)
{
	char		key[256];
	tk_options	options;
	tk_client  *client;

	tk_options_init(&options);
	options.backoff_max = 100;
	client = tk_open(&options);
	if (client == NULL)
		return 2;
	setlinebuf(stdout);
	while (fgets(key, sizeof(key), stdin) != NULL && key[0] != '\n')
	{
		tk_answer	answer;
		tk_verdict	verdict;

		key[strcspn(key, "\n")] = '\0';
		verdict = tk_claim(client, "restore", key, 3600000, &answer);
		printf("%s %s\n", tk_verdict_name(verdict), tk_tier_name(answer.tier));
	}
	tk_close(client);
	return 0;
}
