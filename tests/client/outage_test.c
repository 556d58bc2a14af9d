/*
 * outage_test.c
 *		The server goes away, or stops answering, at every moment there is.
 */
#include "check.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>

#define HOUR 3600000

/* Short enough for a test that waits for it, long enough for a loaded machine. */
#define TIMEOUT 300

/* A call that hangs is one that takes this long, in ms. */
#define FAR_TOO_LONG 15000

static void
end_session(tk_client *client)
{
	pid_t		pid = server_process(client);

	CHECK(admin_run("SELECT pg_terminate_backend(%d)", pid));
	CHECK(admin_await("SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = %d)", pid));
}

/* Cuts the line of an idle connection, and is back when the server has noticed. */
static void
cut_off(tk_client *client)
{
	int64_t		start = now_ms();
	pid_t		pid = server_process(client);

	shutdown(PQsocket(tk_connection(client)), SHUT_RDWR);
	CHECK(admin_await("SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = %d)", pid));

	/* A connection in use just now is not looked at. */
	while (now_ms() < start + 3)
		;
}

/* A connection that died while it was idle costs the caller nothing. */
static void
test_idle_death(void)
{
	tk_client  *client = open_named("idle", 30000);
	tk_health	health;

	CHECK_INT(tk_claim(client, "idle", "a", HOUR, NULL), TK_CLAIMED);
	end_session(client);
	CHECK_INT(tk_claim(client, "idle", "b", HOUR, NULL), TK_CLAIMED);
	end_session(client);
	CHECK_INT(tk_claim(client, "idle", "b", HOUR, NULL), TK_DUPLICATE);
	end_session(client);
	CHECK_INT(tk_begin(client), 0);
	CHECK_INT(tk_rollback(client), 0);

	/* The same without a word of the server's, as after a crash. */
	CHECK_INT(tk_claim(client, "idle", "b", HOUR, NULL), TK_DUPLICATE);
	cut_off(client);
	CHECK_INT(tk_claim(client, "idle", "c", HOUR, NULL), TK_CLAIMED);
	CHECK_INT(tk_begin(client), 0);
	CHECK_INT(tk_claim(client, "idle", "d", HOUR, NULL), TK_CLAIMED);
	cut_off(client);
	CHECK_INT(tk_claim(client, "idle", "e", HOUR, NULL), TK_UNAVAILABLE);
	CHECK(failed_with(client, TK_ERROR_CONNECTION, "08006"));
	CHECK_INT(tk_rollback(client), 0);
	CHECK_INT(tk_health_check(client, &health), 0);
	CHECK_INT(health.reconnects, 5);
	tk_close(client);
}

/* One that died inside a transaction took the transaction with it. */
static void
test_death_in_transaction(void)
{
	tk_client  *client = open_named("transaction", 30000);

	CHECK_INT(tk_begin(client), 0);
	CHECK_INT(tk_claim(client, "lost", "a", HOUR, NULL), TK_CLAIMED);
	end_session(client);
	CHECK_INT(tk_claim(client, "lost", "b", HOUR, NULL), TK_UNAVAILABLE);
	CHECK(failed_with(client, TK_ERROR_CONNECTION, "08006"));
	CHECK_INT(tk_claim(client, "lost", "b", HOUR, NULL), TK_UNAVAILABLE);
	CHECK_INT(tk_commit(client), -1);
	CHECK(failed_with(client, TK_ERROR_CONNECTION, "08006"));
	CHECK_INT(tk_rollback(client), 0);
	CHECK_TEXT(admin_value("SELECT count(*) FROM tradekeep.claim WHERE scope = 'lost'"), "0");
	CHECK_INT(tk_claim(client, "lost", "a", HOUR, NULL), TK_CLAIMED);

	/* The same when SQL of the caller's own was the first to meet it. */
	CHECK_INT(tk_begin(client), 0);
	end_session(client);
	PQclear(PQexec(tk_connection(client), "SELECT 1"));
	CHECK_INT(tk_claim(client, "lost", "c", HOUR, NULL), TK_UNAVAILABLE);
	CHECK_INT(tk_commit(client), -1);
	CHECK(failed_with(client, TK_ERROR_CONNECTION, "08006"));
	CHECK_INT(tk_rollback(client), 0);
	tk_close(client);
}

typedef struct waiting_call
{
	tk_client  *client;
	const char *key;
	tk_verdict	verdict;
	int			claimed;
	int			status;
	pid_t		session;		/* as they were when the thread took over the handle */
	int			socket;
	pthread_t	thread;
} waiting_call;

static void *
wait_for_claim(void *argument)
{
	waiting_call *waiter = argument;

	waiter->verdict = tk_claim(waiter->client, "held", waiter->key, HOUR, NULL);

	return NULL;
}

static void *
wait_to_read(void *argument)
{
	waiting_call *waiter = argument;

	waiter->status = tk_claimed(waiter->client, "held", waiter->key, &waiter->claimed);

	return NULL;
}

/* Starts a call in a thread, and returns when the server has it waiting for a lock. */
static void
start_waiting(waiting_call *waiter, void *(*run) (void *))
{
	waiter->session = server_process(waiter->client);
	waiter->socket = PQsocket(tk_connection(waiter->client));

	pthread_create(&waiter->thread, NULL, run, waiter);
	CHECK(admin_await("SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = %d",
					  waiter->session));
}

/* The answer to a write got lost on the way: nobody may guess it, or ask twice. */
static void
test_unknown_outcome(void)
{
	waiting_call waiter = {.client = open_named("cut off", 30000),.key = "cut off"};

	CHECK(admin_run("BEGIN; SELECT tradekeep.claim('held', 'cut off', '1 hour')"));
	start_waiting(&waiter, wait_for_claim);
	shutdown(waiter.socket, SHUT_RDWR);
	pthread_join(waiter.thread, NULL);
	CHECK_INT(waiter.verdict, TK_UNAVAILABLE);
	CHECK(failed_with(waiter.client, TK_ERROR_UNKNOWN_OUTCOME, "08007"));

	/* It was the first connection that broke, not a second one that waited in vain. */
	CHECK(strstr(tk_message(waiter.client), "within") == NULL);
	CHECK(admin_run("ROLLBACK"));
	CHECK_INT(tk_claimed(waiter.client, "held", "something else", NULL), 0);
	tk_close(waiter.client);
}

/* The server said itself that it did not do it: then it may be asked again. */
static void
test_announced_end(void)
{
	waiting_call waiter = {.client = open_named("announced", 30000),.key = "announced"};

	CHECK(admin_run("BEGIN; SELECT tradekeep.claim('held', 'announced', '1 hour')"));
	start_waiting(&waiter, wait_for_claim);
	CHECK(admin_run("SELECT pg_terminate_backend(%d)", waiter.session));
	CHECK(admin_await("SELECT wait_event_type = 'Lock' FROM pg_stat_activity"
					  " WHERE application_name = 'announced' AND pid <> %d", waiter.session));
	CHECK(admin_run("ROLLBACK"));
	pthread_join(waiter.thread, NULL);
	CHECK_INT(waiter.verdict, TK_CLAIMED);
	tk_close(waiter.client);
}

/* What only reads is asked again on a new connection. */
static void
test_read_again(void)
{
	waiting_call waiter = {.client = open_named("reader", 30000),.key = "read",.claimed = -1};

	CHECK(admin_run("BEGIN; LOCK TABLE tradekeep.claim IN ACCESS EXCLUSIVE MODE"));
	start_waiting(&waiter, wait_to_read);
	shutdown(waiter.socket, SHUT_RDWR);
	CHECK(admin_await("SELECT wait_event_type = 'Lock' FROM pg_stat_activity"
					  " WHERE application_name = 'reader' AND pid <> %d", waiter.session));
	CHECK(admin_run("ROLLBACK"));
	pthread_join(waiter.thread, NULL);
	CHECK_INT(waiter.status, 0);
	CHECK_INT(waiter.claimed, 0);
	tk_close(waiter.client);
}

/* A call that waits too long ends, and so does what the server does for it. */
static void
test_timeout_while_waiting(void)
{
	tk_client  *client = open_named("impatient", TIMEOUT);
	int64_t		start;

	CHECK(admin_run("BEGIN; SELECT tradekeep.claim('held', 'long', '1 hour')"));
	start = now_ms();
	CHECK_INT(tk_claim(client, "held", "long", HOUR, NULL), TK_UNAVAILABLE);
	CHECK(failed_with(client, TK_ERROR_UNKNOWN_OUTCOME, "08007"));
	CHECK(now_ms() - start >= TIMEOUT - 10 && now_ms() - start < FAR_TOO_LONG);
	CHECK(admin_await("SELECT NOT EXISTS (SELECT FROM pg_stat_activity"
					  " WHERE application_name = 'impatient')"));
	CHECK(admin_run("ROLLBACK"));
	CHECK_INT(tk_claim(client, "held", "long", HOUR, NULL), TK_CLAIMED);
	tk_close(client);
}

/* A server that stands still: what is unknown and what is not. */
static void
test_stopped_session(void)
{
	tk_client  *client = open_named("stopped", TIMEOUT);
	int64_t		start = now_ms();
	pid_t		pid = server_process(client);
	int			claimed;

	kill(pid, SIGSTOP);
	CHECK_INT(tk_claim(client, "stopped", "a", HOUR, NULL), TK_UNAVAILABLE);
	kill(pid, SIGCONT);
	CHECK(tk_error(client) == TK_ERROR_CONNECTION || tk_error(client) == TK_ERROR_UNKNOWN_OUTCOME);

	/* Its statement is prepared by now, so that the claim itself is what was sent. */
	CHECK_INT(tk_claim(client, "stopped", "warm", HOUR, NULL), TK_CLAIMED);
	pid = server_process(client);
	kill(pid, SIGSTOP);
	CHECK_INT(tk_claim(client, "stopped", "b", HOUR, NULL), TK_UNAVAILABLE);
	kill(pid, SIGCONT);
	CHECK(failed_with(client, TK_ERROR_UNKNOWN_OUTCOME, "08007"));

	CHECK_INT(tk_claimed(client, "stopped", "c", &claimed), 0);
	pid = server_process(client);
	kill(pid, SIGSTOP);
	CHECK_INT(tk_claimed(client, "stopped", "c", &claimed), -1);
	kill(pid, SIGCONT);
	CHECK(failed_with(client, TK_ERROR_CONNECTION, "08006"));

	/* In a transaction nothing is unknown until its commit is sent. */
	CHECK_INT(tk_begin(client), 0);
	CHECK_INT(tk_claim(client, "stopped", "d", HOUR, NULL), TK_CLAIMED);
	pid = server_process(client);
	kill(pid, SIGSTOP);
	CHECK_INT(tk_claim(client, "stopped", "e", HOUR, NULL), TK_UNAVAILABLE);
	kill(pid, SIGCONT);
	CHECK(failed_with(client, TK_ERROR_CONNECTION, "08006"));
	CHECK_INT(tk_rollback(client), 0);

	CHECK_INT(tk_begin(client), 0);
	CHECK_INT(tk_claim(client, "stopped", "f", HOUR, NULL), TK_CLAIMED);
	pid = server_process(client);
	kill(pid, SIGSTOP);
	CHECK_INT(tk_commit(client), -1);
	kill(pid, SIGCONT);
	CHECK(failed_with(client, TK_ERROR_UNKNOWN_OUTCOME, "08007"));
	CHECK(now_ms() - start < FAR_TOO_LONG);

	/* The outcome can be looked up: it is no longer unknown to who asks the server. */
	CHECK(admin_await("SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = %d)", pid));
	CHECK_INT(tk_claimed(client, "stopped", "f", &claimed), 0);
	CHECK_INT(tk_claim(client, "stopped", "f", HOUR, NULL), claimed ? TK_DUPLICATE : TK_CLAIMED);
	tk_close(client);
}

/* A server that does not even take a connection. */
static void
test_stopped_server(void)
{
	tk_options	options;
	tk_client  *client;
	pid_t		postmaster = 0;
	int64_t		start;

	/* The parent of any session. */
	sscanf(admin_value("SELECT split_part(pg_read_file(format('/proc/%%s/stat',"
					   " pg_backend_pid())), ' ', 4)"), "%d", &postmaster);
	if (!CHECK(postmaster > 1))
		return;
	tk_options_init(&options);
	options.connect_timeout = TIMEOUT;
	options.backoff_min = options.backoff_max = 3600000;
	client = tk_open(&options);
	start = now_ms();
	kill(postmaster, SIGSTOP);
	CHECK_INT(tk_claim(client, "stopped", "server", HOUR, NULL), TK_UNAVAILABLE);
	kill(postmaster, SIGCONT);
	CHECK(failed_with(client, TK_ERROR_CONNECTION, "08001"));
	CHECK(now_ms() - start >= TIMEOUT - 10 && now_ms() - start < FAR_TOO_LONG);

	/*
	 * The pause is drawn at random from an hour: calls fail at once, though the server is back.
	 * tk_connect() does not wait for its end.
	 */
	CHECK_INT(tk_claim(client, "stopped", "server", HOUR, NULL), TK_UNAVAILABLE);
	CHECK(failed_with(client, TK_ERROR_CONNECTION, "08001"));
	CHECK_INT(tk_connect(client), 0);
	CHECK_INT(tk_claim(client, "stopped", "server", HOUR, NULL), TK_CLAIMED);
	tk_close(client);
}

void
test_outages(void)
{
	test_idle_death();
	test_death_in_transaction();
	test_unknown_outcome();
	test_announced_end();
	test_read_again();
	test_timeout_while_waiting();
	test_stopped_session();
	test_stopped_server();
}
