/*
 * process_test.c
 *		Handles in many threads, and across a fork.
 */
#include "check.h"

#include <pthread.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#define HOUR 3600000
#define THREADS 8
#define KEYS 300

static int	grants[THREADS][KEYS];
static int	failures[THREADS];

static void *
claim_all(void *argument)
{
	int			number = *(int *) argument;
	tk_client  *client = open_named("thread", 30000);

	for (int i = 0; i < KEYS; i++)
	{
		char		key[16];
		tk_verdict	verdict;

		/* Half of them from the other end. */
		int			k = number % 2 == 0 ? i : KEYS - 1 - i;

		snprintf(key, sizeof(key), "k%d", k);
		verdict = tk_claim(client, "threads", key, HOUR, NULL);
		grants[number][k] = verdict == TK_CLAIMED;
		failures[number] += verdict != TK_CLAIMED && verdict != TK_DUPLICATE;
	}
	tk_close(client);
	return NULL;
}

static void
test_threads(void)
{
	pthread_t	threads[THREADS];
	int			numbers[THREADS];
	int			once = 0;
	int			failed = 0;

	for (int i = 0; i < THREADS; i++)
	{
		numbers[i] = i;
		pthread_create(&threads[i], NULL, claim_all, &numbers[i]);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (int k = 0; k < KEYS; k++)
	{
		int			granted = 0;

		for (int i = 0; i < THREADS; i++)
			granted += grants[i][k];
		once += granted == 1;
	}
	for (int i = 0; i < THREADS; i++)
		failed += failures[i];
	CHECK_INT(once, KEYS);
	CHECK_INT(failed, 0);
}

/* What a child may do with its parent's handle: close it. */
static int
use_in_child(tk_client *client)
{
	tk_health	health;
	tk_client  *own;
	bool		refused;
	bool		claimed;

	refused = tk_claim(client, "fork", "b", HOUR, NULL) == TK_REFUSED &&
		tk_error(client) == TK_ERROR_ARGUMENT && tk_begin(client) == -1 &&
		tk_rollback(client) == -1 && tk_connect(client) == -1 &&
		tk_health_check(client, &health) == -1 && tk_connection(client) == NULL;
	tk_close(client);
	own = open_named("child", 30000);
	claimed = tk_claim(own, "fork", "child", HOUR, NULL) == TK_CLAIMED;
	tk_close(own);
	return refused && claimed ? 0 : 1;
}

static void
test_fork(void)
{
	tk_client  *client = open_named("parent", 30000);
	pid_t		session = server_process(client);
	pid_t		child;
	int			status = -1;

	CHECK_INT(tk_begin(client), 0);
	CHECK_INT(tk_claim(client, "fork", "a", HOUR, NULL), TK_CLAIMED);
	fflush(stdout);
	child = fork();
	if (child == 0)
		_exit(use_in_child(client));
	waitpid(child, &status, 0);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);

	/* The parent's connection and its transaction live on. */
	CHECK_INT(tk_commit(client), 0);
	CHECK_INT(server_process(client), session);
	CHECK_INT(tk_claim(client, "fork", "a", HOUR, NULL), TK_DUPLICATE);
	tk_close(client);
}

void
test_processes(void)
{
	test_threads();
	test_fork();
}
