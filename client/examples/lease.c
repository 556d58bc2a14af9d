/*
 * lease.c
 *		Work that outlives a call and may fail, such as an order sent over HTTP: done by one
 *		bot at a time, taken over when that one dies, and never begun again once it is done.
 *
 *		cc lease.c $(pkg-config --cflags --libs tradekeep) -o lease
 *		DATABASE_URL=postgresql://... ./lease order-4711
 */
#include <stdio.h>
#include <string.h>

#include <tradekeep.h>

#define SCOPE	"orders"
#define LEASE	30000			/* ms: longer than a request takes, shorter than anybody waits */
#define DAY		(24 * 3600 * 1000)

/*
 * The request: yours. The token goes along as an idempotency key's version, so that an exchange
 * that knows it refuses whoever lost the lease meanwhile. 0 when it succeeded.
 */
static int
send_order(const char *order, long long token)
{
	printf("sending %s, attempt %lld\n", order, token);
	return 0;
}

int
main(int argc, char **argv)
{
	const char *order = argc > 1 ? argv[1] : "order-1";
	tk_client  *client = tk_open(NULL);
	int64_t		token;
	int			status = 1;

	switch (tk_claim_lease(client, SCOPE, order, LEASE, DAY, &token, NULL))
	{
		case TK_CLAIMED:
			if (send_order(order, token) != 0)
				tk_release_lease(client, SCOPE, order, token, NULL);
			else if (tk_complete(client, SCOPE, order, token, "{\"status\": \"sent\"}") == 0)
				status = 0;
			else if (strcmp(tk_sqlstate(client), "TK008") == 0)
				fprintf(stderr, "%s took too long: somebody else does it now\n", order);
			else
				fprintf(stderr, "%s was sent, but: %s\n", order, tk_message(client));
			break;
		case TK_DUPLICATE:
			printf("%s is done, or somebody does it\n", order);
			status = 0;
			break;
		default:
			fprintf(stderr, "%s\n", tk_message(client));
			break;
	}
	tk_close(client);
	return status;
}
