/*
 * replay_test.c
 *		What was kept without the database arrives: once, in order, and whoever dies.
 */
#include "degrading.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* A page says nothing of its time: what was growing when it came is not final. */
static void
test_pages(void)
{
	tk_client  *client = open_degrading(folder, NULL);
	int64_t		start = atoll(admin_value("SELECT ceil(extract(epoch FROM clock_timestamp()))::int8"));
	char		page[128];
	const char *message = page;

	snprintf(page, sizeof(page), " [[%lld000, 1, 2, 1, 2, 5], [%lld000, 1, 2, 1, 2, 5]]",
			 (long long) start - 10, (long long) start);
	relay_cut(line);
	CHECK_INT(tk_ingest_klines(client, &message, 1, "SP/4", "1s", NULL), 0);
	CHECK_INT(tk_spooled(client), 1);
	CHECK(admin_await("SELECT clock_timestamp() > to_timestamp(%lld)", (long long) start + 1));
	relay_restore(line);
	CHECK_INT(tk_replay(client, NULL), 0);
	CHECK_TEXT(admin_value("SELECT string_agg(closed::text, ' ' ORDER BY ts) FROM"
						   " tradekeep.candle WHERE symbol = 'SP/4'"), "true false");
	tk_close(client);
}

/* What PostgreSQL refuses is kept beside the spool; the rest arrives. */
static void
test_rejected(void)
{
	tk_client  *client = open_degrading(folder, NULL);
	tk_replay_report report;
	tk_candle	bad = outage_candle;
	char		command[320];

	relay_cut(line);
	bad.high = 0.01;
	CHECK_INT(claim_hour(client, "reject", "a", NULL), TK_CLAIMED);
	CHECK_INT(tk_upsert_candles(client, "SP/2", "1m", &bad, 1, NULL), 0);
	CHECK_INT(claim_hour(client, "reject", "b", NULL), TK_CLAIMED);
	CHECK_INT(tk_upsert_candles(client, "SP/2", "7m", &outage_candle, 1, NULL), 0);
	CHECK_INT(tk_close_trade(client, "spool", "none", "1", DAY_START, NULL, NULL, NULL), 0);
	CHECK_INT(claim_hour(client, "reject", "c", NULL), TK_CLAIMED);
	relay_restore(line);

	/* As long as the server is not fit, nothing is. */
	CHECK(admin_run("ALTER FUNCTION tradekeep.claim_or_get RENAME TO hidden_claim_or_get"));
	CHECK_INT(tk_replay(client, &report), -1);
	CHECK_INT(report.rejected, 0);
	CHECK_INT(report.remaining, 6);
	CHECK(admin_run("ALTER FUNCTION tradekeep.hidden_claim_or_get RENAME TO claim_or_get"));
	CHECK_INT(tk_replay(client, &report), 0);
	CHECK_INT(report.replayed, 3);
	CHECK_INT(report.rejected, 3);
	CHECK_INT(claim_rows("reject"), 3);
	CHECK_INT(count_files(".spool"), 0);
	CHECK_INT(count_files(".spool.rejected"), 1);
	snprintf(command, sizeof(command), "test $(cat %s/*.rejected | wc -l) = 3 && rm %s/*.rejected",
			 folder, folder);
	CHECK_INT(system(command), 0);
	tk_close(client);
}

/* A line in the middle that the disk has spoiled is kept; those around it arrive. */
static void
test_damaged_line(void)
{
	tk_client  *client = open_degrading(folder, NULL);
	tk_replay_report report;
	char		command[320];

	relay_cut(line);
	CHECK_INT(claim_hour(client, "damaged", "a", NULL), TK_CLAIMED);
	CHECK_INT(claim_hour(client, "damaged", "spoiled", NULL), TK_CLAIMED);
	CHECK_INT(claim_hour(client, "damaged", "c", NULL), TK_CLAIMED);
	tk_close(client);
	snprintf(command, sizeof(command), "sed -i s/spoiled/spilled/ %s/*.spool &&"
			 " printf '{\"v\":1,' >>$(ls %s/*.spool)", folder, folder);
	CHECK_INT(system(command), 0);
	client = open_degrading(folder, NULL);
	relay_restore(line);
	CHECK_INT(tk_replay(client, &report), 0);
	CHECK_INT(report.replayed, 2);
	CHECK_INT(report.rejected, 2);
	CHECK_INT(claim_rows("damaged"), 2);
	snprintf(command, sizeof(command), "test $(wc -l <$(ls %s/*.rejected)) = 2 &&"
			 " grep -q spilled %s/*.rejected && rm %s/*.rejected", folder, folder, folder);
	CHECK_INT(system(command), 0);
	tk_close(client);
}

/* Keeps this many candles of one minute each, and a claim behind them. */
static void
fill_spool(tk_client *client, const char *symbol, int count)
{
	for (int i = 0; i < count; i++)
	{
		tk_candle	one = outage_candle;

		one.ts += i * INT64_C(60000);
		if (tk_upsert_candles(client, symbol, "1m", &one, 1, NULL) != 0 || !tk_spooled(client))
			CHECK(!"kept");
	}
	CHECK_INT(claim_hour(client, symbol, "last", NULL), TK_CLAIMED);
}

/* Nothing overtakes the spool, and no call takes much longer for it. */
static void
test_order(void)
{
	tk_client  *client = open_degrading(folder, NULL);
	const char *key = "many";
	int64_t		token;
	tk_verdict	verdict;
	tk_answer	answer;
	int			calls = 0;

	warm_up(client);
	relay_cut(line);
	fill_spool(client, "SP/3", 2000);
	restore(client);
	CHECK_INT(tk_begin(client), -1);
	CHECK(failed_with(client, TK_ERROR_CONNECTION, "57P03"));
	CHECK_INT(tk_claim_many(client, "SP/3", &key, 1, HOUR, &verdict), -1);
	CHECK_INT(verdict, TK_UNAVAILABLE);
	CHECK_INT(claim_hour(client, "SP/3", "new", &answer), TK_CLAIMED);
	CHECK_INT(answer.degraded, 1);
	CHECK_INT(tk_spooled(client), 1);
	CHECK(metrics_of(client).spool_records > 0 && metrics_of(client).replayed > 0);
	CHECK_INT(claim_rows("SP/3"), 0);
	while (tk_release(client, "SP/3", "new", NULL) != 0 && calls < 1000)
		calls++;
	CHECK_INT(metrics_of(client).spool_records, 0);
	CHECK_INT(claim_rows("SP/3"), 1);
	CHECK_TEXT(admin_value("SELECT count(*) FROM tradekeep.candle WHERE symbol = 'SP/3'"), "2000");
	CHECK_INT(tk_begin(client), 0);
	CHECK_INT(tk_replay(client, NULL), -1);
	CHECK_INT(tk_rollback(client), 0);
	CHECK_INT(tk_claim_lease(client, "SP/3", "lease", HOUR, HOUR, &token, NULL), TK_CLAIMED);
	tk_close(client);
}

/* A process that is gone leaves its grants to the next one; one that lives keeps its own. */
static void
test_orphans(void)
{
	tk_client  *first = open_degrading(folder, NULL);
	tk_client  *second;
	tk_answer	answer;

	warm_up(first);
	relay_cut(line);
	CHECK_INT(claim_hour(first, "orphan", "a", NULL), TK_CLAIMED);
	second = open_degrading(folder, NULL);
	CHECK_INT(metrics_of(second).spool_records, 0);
	CHECK_INT(claim_hour(second, "orphan", "b", NULL), TK_CLAIMED);
	tk_close(first);
	first = open_degrading(folder, NULL);
	CHECK_INT(metrics_of(first).spool_records, 1);
	CHECK_INT(claim_hour(first, "orphan", "a", &answer), TK_DUPLICATE);
	CHECK_INT(answer.degraded, 1);
	CHECK_INT(claim_hour(first, "orphan", "c", NULL), TK_CLAIMED);
	CHECK_INT(count_files(".spool"), 3);
	relay_restore(line);
	CHECK_INT(tk_replay(first, NULL), 0);
	CHECK_INT(claim_rows("orphan"), 2);
	CHECK_INT(count_files(".spool"), 1);
	CHECK_INT(tk_replay(second, NULL), 0);
	CHECK_INT(claim_rows("orphan"), 3);
	CHECK_INT(count_files(".spool"), 0);
	tk_close(first);
	tk_close(second);
}

/* Spools of processes that followed each other arrive in that order, whatever their names. */
static void
test_succession(void)
{
	tk_client  *client;
	tk_replay_report report;
	char		id[2][16];

	relay_cut(line);
	for (int i = 0; i < 8; i++)
	{
		tk_trade	trade = {.trade_id = id[i % 2],.symbol = "X",.side = "LONG",.quantity = "1",
		.entry_price = "2",.opened_at = DAY_START};
		int64_t		start = now_ms();

		client = open_degrading(folder, NULL);
		snprintf(id[i % 2], sizeof(id[0]), "t%d", i);
		if (i > 0)
			CHECK_INT(tk_close_trade(client, NULL, id[(i + 1) % 2], "3", DAY_START, NULL, NULL,
									 NULL), 0);
		CHECK_INT(tk_add_trade(client, &trade, 0, NULL), 0);
		tk_close(client);
		while (now_ms() < start + 2)
			;
	}
	relay_restore(line);
	client = open_degrading(folder, NULL);
	CHECK_INT(tk_replay(client, &report), 0);
	CHECK_INT(report.replayed, 15);
	CHECK_INT(report.rejected, 0);
	tk_close(client);
	CHECK(admin_run("TRUNCATE tradekeep.trade"));
}

/* Runs in a child, which ends as if it were killed. */
static void
in_child(void (*run) (void))
{
	pid_t		child;
	int			status;

	fflush(stdout);
	child = fork();
	if (child == 0)
	{
		run();
		raise(SIGKILL);
	}
	waitpid(child, &status, 0);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void
keep_claims(void)
{
	tk_client  *client = open_degrading(folder, NULL);
	char		key[16];

	for (int i = 0; i < 450; i++)
	{
		snprintf(key, sizeof(key), "k%d", i);
		if (claim_hour(client, "crash", key, NULL) != TK_CLAIMED)
			_exit(1);
	}
}

static void
replay_all(void)
{
	tk_client  *client = open_degrading(folder, NULL);

	tk_replay(client, NULL);
}

/* Killed in the middle of a chunk, and between a commit and the end of the file. */
static void
test_crashes(void)
{
	tk_client  *client;
	tk_replay_report report;
	pid_t		child;

	relay_cut(line);
	in_child(keep_claims);
	relay_restore(line);

	/* The third chunk waits for this key. */
	CHECK(admin_run("BEGIN; SELECT tradekeep.claim('crash', 'k420', '1 hour')"));
	fflush(stdout);
	child = fork();
	if (child == 0)
	{
		replay_all();
		_exit(1);
	}
	CHECK(admin_await("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
					  " AND application_name = 'degrading')"));
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	CHECK(admin_run("ROLLBACK"));
	CHECK(admin_await("SELECT NOT EXISTS (SELECT FROM pg_stat_activity"
					  " WHERE application_name = 'degrading')"));
	CHECK_INT(claim_rows("crash"), 400);
	CHECK_TEXT(admin_value("SELECT max(position) FROM tradekeep.replay"), "400");

	/* All is committed, and its process is gone before it knows. */
	relay_lose_answer(line, "COMMIT");
	in_child(replay_all);
	relay_restore(line);
	CHECK_INT(claim_rows("crash"), 450);
	CHECK_TEXT(admin_value("SELECT max(position) FROM tradekeep.replay"), "450");
	CHECK_INT(count_files(".spool"), 1);

	/* The file is removed, and no word of it comes back. */
	client = open_degrading(folder, NULL);
	CHECK_INT(metrics_of(client).spool_records, 450);
	relay_lose_answer(line, "end_replay");
	CHECK_INT(tk_replay(client, &report), 0);
	relay_restore(line);
	CHECK_INT(report.replayed + report.collisions + report.rejected, 0);
	CHECK_INT(claim_rows("crash"), 450);
	CHECK_TEXT(admin_value("SELECT count(DISTINCT data ->> 'degraded') FROM tradekeep.claim"
						   " WHERE scope = 'crash'"), "450");
	CHECK_INT(count_files(".spool"), 0);
	tk_close(client);
	CHECK(admin_run("TRUNCATE tradekeep.replay"));
}

/* A commit whose answer is lost is found out, and counted, by the handle itself. */
static void
test_lost_commit(void)
{
	tk_client  *client = open_degrading(folder, NULL);
	tk_replay_report report;

	relay_cut(line);
	CHECK_INT(claim_hour(client, "lost commit", "a", NULL), TK_CLAIMED);
	CHECK_INT(claim_hour(client, "lost commit", "b", NULL), TK_CLAIMED);
	CHECK(admin_run("SELECT tradekeep.claim('lost commit', 'b', '1 hour')"));
	relay_lose_answer(line, "COMMIT");
	CHECK_INT(tk_replay(client, &report), -1);
	CHECK(failed_with(client, TK_ERROR_UNKNOWN_OUTCOME, "08007"));
	CHECK_INT(report.replayed, 0);
	CHECK_INT(report.remaining, 2);
	relay_restore(line);
	CHECK_INT(tk_replay(client, &report), 0);
	CHECK_INT(report.replayed, 2);
	CHECK_INT(report.collisions, 1);
	CHECK_INT(claim_rows("lost commit"), 2);
	tk_close(client);
}

static void *
claim_meanwhile(void *argument)
{
	tk_client  *client = open_named("meanwhile", 30000);
	int		   *granted = argument;

	for (int i = 449; i >= 0; i--)
	{
		char		key[16];

		snprintf(key, sizeof(key), "k%d", i);
		*granted += claim_hour(client, "race", key, NULL) == TK_CLAIMED;
	}
	tk_close(client);
	return NULL;
}

/* While a spool is replayed, another bot claims the same: each collision is seen. */
static void
test_race(void)
{
	tk_client  *client = open_degrading(folder, NULL);
	tk_replay_report report;
	pthread_t	thread;
	int			granted = 0;

	relay_cut(line);
	for (int i = 0; i < 450; i++)
	{
		char		key[16];

		snprintf(key, sizeof(key), "k%d", i);
		if (claim_hour(client, "race", key, NULL) != TK_CLAIMED)
			CHECK(!"granted");
	}
	relay_restore(line);
	pthread_create(&thread, NULL, claim_meanwhile, &granted);
	while (tk_replay(client, &report) != 0 && tk_error(client) == TK_ERROR_SERVER)
		;						/* a deadlock: they claim from the other end */
	pthread_join(thread, NULL);
	CHECK_INT(report.remaining, 0);
	CHECK_INT(claim_rows("race"), 450);
	CHECK_INT(metrics_of(client).collisions, granted);
	tk_close(client);
}

void
test_replays(void)
{
	line = relay_start();
	make_folder();
	test_pages();
	test_rejected();
	test_damaged_line();
	test_order();
	test_orphans();
	test_succession();
	test_crashes();
	test_lost_commit();
	test_race();
	remove_folder();
	relay_stop(line);
}
