/*
 * ask.c
 *		A handle that does what it is told, a line each on standard input, and answers each
 *		with a line:
 *
 *		claim SCOPE KEY		"VERDICT by TIER SQLSTATE"
 *		release SCOPE KEY	0, or -1 when it failed
 *		resync				the same
 *		metrics				as JSON
 *		quit
 */
#include <stdio.h>
#include <string.h>

#include "tradekeep.h"

#define HOUR 3600000

int
main(void)
{
	char		line[256],
				scope[64],
				key[128];
	tk_client  *client = tk_open(NULL);

	if (client == NULL)
		return 2;
	setlinebuf(stdout);
	while (fgets(line, sizeof(line), stdin) != NULL && strcmp(line, "quit\n") != 0)
	{
		tk_answer	answer;

		if (sscanf(line, "claim %63s %127s", scope, key) == 2)
		{
			tk_verdict	verdict = tk_claim(client, scope, key, HOUR, &answer);

			printf("%s by %s%s%s\n", tk_verdict_name(verdict), tk_tier_name(answer.tier),
				   tk_sqlstate(client)[0] != '\0' ? " " : "", tk_sqlstate(client));
		}
		else if (sscanf(line, "release %63s %127s", scope, key) == 2)
			printf("%d\n", tk_release(client, scope, key, NULL));
		else if (strcmp(line, "resync\n") == 0)
			printf("%d\n", tk_resync(client));
		else
			printf("%s\n", tk_metrics_json(client));
	}
	tk_close(client);
	return 0;
}
