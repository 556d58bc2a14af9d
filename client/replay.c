/*
 * replay.c
 *		Takes spools into PostgreSQL: each record once, in the order of the file,
 *		however often this is cut off.
 *
 * A chunk is a transaction.  It asks how far the spool was taken, which locks that
 * number; applies the records behind it; says how far it is now; and commits.  So
 *
 * - a crash before the commit, or a commit that failed, leaves both as they were,
 *   and the chunk is done again;
 * - a crash after the commit, or a commit whose answer was lost, finds out from the
 *   number, and goes on behind it;
 * - when all is done, the file is removed first, for good, and then the number:
 *   a crash in between leaves a number that nobody asks for, not a file that
 *   would be taken for new.
 *
 * What PostgreSQL refuses, it refuses again: the chunk is done once more up to that
 * record, which then is kept in FILE.rejected, on the disk, before the number moves
 * past it.  A crash between the two keeps it twice.  So does a line that is
 * damaged, which counts as the record behind the one before it.
 *
 * A claim or signal that somebody else has got meanwhile is a collision: the only
 * sign of a double grant.  It is reported before the commit, so that none is lost.
 */
#include "spool.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* Records in one transaction, in a slice, and ms that a slice may take. */
#define CHUNK_RECORDS	200
#define SLICE_RECORDS	500
#define SLICE_TIME		100

/* In ms, after a slice that failed though PostgreSQL answers. */
#define PAUSE			1000

static const tki_statement begin = {.id = TKI_SIMPLE,.access = TKI_READ,.sql = "BEGIN"};
static const tki_statement commit = {.id = TKI_SIMPLE,.access = TKI_COMMIT,.sql = "COMMIT"};
static const tki_statement rollback = {.id = TKI_SIMPLE,.access = TKI_READ,.sql = "ROLLBACK"};

static const tki_statement position_statement = {
	.id = TKI_REPLAY_POSITION,.access = TKI_WRITE,
	.name = "tradekeep_" TRADEKEEP_VERSION "_replay_position",
	.sql = "SELECT tradekeep.replay_position($1)",
	.count = 1,.types = {OID_INFERRED}
};

static const tki_statement advance_statement = {
	.id = TKI_REPLAY_ADVANCE,.access = TKI_WRITE,
	.name = "tradekeep_" TRADEKEEP_VERSION "_advance_replay",
	.sql = "SELECT tradekeep.advance_replay($1, $2)",
	.count = 2,.types = {OID_INFERRED, OID_INT8}
};

static const tki_statement end_statement = {
	.id = TKI_REPLAY_END,.access = TKI_WRITE,
	.name = "tradekeep_" TRADEKEEP_VERSION "_end_replay",
	.sql = "SELECT tradekeep.end_replay($1)",
	.count = 1,.types = {OID_INFERRED}
};

typedef enum chunk_outcome
{
	DONE,
	REFUSED,					/* the record behind those that were applied */
	REFUSED_ALL,				/* by the commit: one of them, nobody knows which */
	FAILED						/* try again later */
} chunk_outcome;

/* A record of the file, or a line that is none. */
typedef struct next_record
{
	tki_line	line;
	tki_record	record;
	bool		whole;
} next_record;

/* Reads the line behind a chunk.  A damaged one has the number that it must have had. */
static bool
read_next(tk_client *client, const tki_spool_file *file, const tki_replayed *chunk, next_record *next)
{
	tki_line_status status = tki_spool_read(client->spool, file, chunk->offset, &next->line);

	memset(&next->record, 0, sizeof(next->record));
	if (status == TKI_LINE_FAILED || status == TKI_LINE_NONE)
	{
		tki_fail(client, TK_ERROR_CONNECTION, SQLSTATE_IO, "could not read %s", file->name);
		return false;
	}
	next->whole = tki_record_read(next->line.text, next->line.length, &next->record) == TKI_RECORD &&
		status == TKI_LINE && next->record.number > chunk->number;
	if (!next->whole)
		next->record.number = chunk->number + 1;
	return true;
}

static void
include(tki_replayed *chunk, const next_record *next)
{
	chunk->offset = next->line.next;
	if (next->whole)
		chunk->number = next->record.number;
	chunk->records++;
}

static void
print_time(char text[32], int64_t ms)
{
	time_t		seconds = (time_t) (ms / 1000);
	struct tm	time;

	gmtime_r(&seconds, &time);
	strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &time);
}

/*
 * Says that somebody else has got the claim, too; unless they got it when ours
 * had expired.
 */
static bool
is_collision(tk_client *client, const tki_spool_file *file, const tki_record *record,
			 const PGresult *result)
{
	int64_t		others = tki_read_time(PQgetvalue(result, 0, 1));
	const char *const *values = record->parameters.values;
	tki_request request;
	char		price[32] = "";
	char		granted_at[32];
	char		claimed_at[32];

	if (PQgetvalue(result, 0, 0)[0] != 0 || others >= tki_record_expiry(record))
		return false;
	if (tki_record_request(record, &request) && request.is_signal)
		snprintf(price, sizeof(price), ", %.15g", request.price);
	print_time(granted_at, record->at);
	print_time(claimed_at, others);
	tki_log(client, TK_LOG_WARNING, "collision: %s \"%s\", \"%s\"%s was granted at %s by record %"
			PRId64 " of %s, and at %s in PostgreSQL%s", record->operation->name, values[0], values[1],
			price, granted_at, record->number, file->name, claimed_at, record->unknown ?
			", perhaps by the same call, whose answer was lost" : "");
	return true;
}

/* Runs a record's statement; false with the error set. */
static bool
apply(tk_client *client, const tki_spool_file *file, const tki_record *record, tki_replayed *chunk)
{
	PGresult   *result = tki_execute(client, record->operation->statement, &record->parameters);

	if (result == NULL)
		return false;
	if (tki_record_expiry(record) != 0)
	{
		if (PQntuples(result) != 1 || PQnfields(result) != 2 || PQgetlength(result, 0, 0) != 1 ||
			PQgetlength(result, 0, 1) != 8)
			return tki_unexpected(client, result);
		chunk->collisions += is_collision(client, file, record, result);
	}
	PQclear(result);
	return true;
}

/*
 * Whether PostgreSQL refuses this record, and always will.  Errors of other classes are about
 * the server: rights and functions that are missing, a standby, a full disk.
 */
static bool
is_refusal(const tk_client *client)
{
	static const char *const classes[] = {"TK", "22", "23", "P0", "54"};

	for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
	{
		if (client->error == TK_ERROR_SERVER &&
			strncmp(client->sqlstate, classes[i], strlen(classes[i])) == 0)
			return true;
	}
	return false;
}

static bool
ask_position(tk_client *client, const tki_spool_file *file, int64_t *position)
{
	tki_parameters parameters = {.count = 0};
	PGresult   *result;

	tki_put_text(&parameters, file->id);
	result = tki_execute(client, &position_statement, &parameters);
	if (result == NULL)
		return false;
	if (!tki_answer_int64(result, 0, position))
		return tki_unexpected(client, result);
	PQclear(result);
	return true;
}

/* Tells PostgreSQL how far the spool was taken, or that it is gone. */
static bool
tell(tk_client *client, const tki_statement *statement, const tki_spool_file *file, int64_t reached)
{
	tki_parameters parameters = {.count = 0};
	PGresult   *result;

	tki_put_text(&parameters, file->id);
	if (statement->count > 1)
		tki_put_int8(&parameters, reached);
	result = tki_execute(client, statement, &parameters);
	PQclear(result);
	return result != NULL;
}

/* Goes past what was taken over earlier, by whomever. */
static bool
skip(tk_client *client, const tki_spool_file *file, int64_t position, tki_replayed *chunk)
{
	while (chunk->offset < file->end)
	{
		next_record next;
		bool		behind;

		if (!read_next(client, file, chunk, &next))
			return false;
		behind = next.record.number > position;
		if (!behind)
			include(chunk, &next);
		tki_record_free(&next.record);
		if (behind)
			break;
	}
	return true;
}

/* Applies up to `limit` records, until the deadline. */
static chunk_outcome
apply_records(tk_client *client, const tki_spool_file *file, int64_t limit, int64_t deadline,
			  tki_replayed *chunk)
{
	int64_t		end = chunk->records + limit;

	for (bool first = true; chunk->records < end && chunk->offset < file->end; first = false)
	{
		next_record next;
		bool		applied;

		if (!first && tki_now_ms() >= deadline)
			break;
		if (!read_next(client, file, chunk, &next))
			return FAILED;
		if (!next.whole)
			tki_fail(client, TK_ERROR_SERVER, SQLSTATE_BAD_NAME, "the line is damaged");
		applied = next.whole && apply(client, file, &next.record, chunk);
		if (applied)
			include(chunk, &next);
		tki_record_free(&next.record);
		if (!applied)
			return is_refusal(client) ? REFUSED : FAILED;
	}
	return DONE;
}

/* Keeps the next record beside the file instead of applying it. */
static chunk_outcome
reject_record(tk_client *client, const tki_spool_file *file, tki_replayed *chunk)
{
	next_record next;
	bool		kept;

	if (chunk->offset >= file->end)
		return DONE;
	if (!read_next(client, file, chunk, &next))
		return FAILED;
	kept = tki_spool_reject(client, file, &next.line);
	include(chunk, &next);
	tki_record_free(&next.record);
	return kept ? DONE : FAILED;
}

/* Ends a transaction that failed, and keeps the error. */
static void
give_up(tk_client *client)
{
	tk_error_code error = client->error;
	char		sqlstate[sizeof(client->sqlstate)];
	char		message[sizeof(client->message)];
	char		hint[sizeof(client->hint)];

	memcpy(sqlstate, client->sqlstate, sizeof(sqlstate));
	memcpy(message, client->message, sizeof(message));
	memcpy(hint, client->hint, sizeof(hint));
	if (tki_in_transaction(client))
		tki_command(client, &rollback);
	client->transaction_lost = false;
	client->error = error;
	memcpy(client->sqlstate, sqlstate, sizeof(sqlstate));
	memcpy(client->message, message, sizeof(message));
	memcpy(client->hint, hint, sizeof(hint));
}

/* Counts what an earlier commit was about, if PostgreSQL has it: it may not have said so. */
static void
count_sent(tk_client *client, tki_spool_file *file, int64_t position)
{
	if (file->sent.number > 0 && position >= file->sent.number)
	{
		client->metrics.replayed += file->sent.records;
		client->metrics.collisions += file->sent.collisions;
	}
	memset(&file->sent, 0, sizeof(file->sent));
}

/* Takes what Redis still says of the records up to there out of it. */
static void
unmark(tk_client *client, const tki_spool_file *file, const tki_replayed *done)
{
	tki_replayed chunk = {.offset = file->offset,.number = file->position};
	next_record next;

	while (chunk.offset < done->offset && tki_redis_usable(client) &&
		   read_next(client, file, &chunk, &next))
	{
		if (next.whole)
			tki_unmark(client, file, &next.record);
		include(&chunk, &next);
		tki_record_free(&next.record);
	}
}

/* PostgreSQL has the records up to there. */
static void
settle(tk_client *client, tki_spool_file *file, const tki_replayed *done)
{
	unmark(client, file, done);
	file->offset = done->offset;
	file->position = done->number;
	file->records -= done->records;
	tki_spool_count(client);
}

/* One transaction, without its end.  *done is where it came to. */
static chunk_outcome
fill_chunk(tk_client *client, tki_spool_file *file, int64_t limit, int64_t deadline, bool reject,
		   tki_replayed *done)
{
	int64_t		position;
	chunk_outcome outcome;

	if (tki_command(client, &begin) != 0 || !ask_position(client, file, &position))
		return FAILED;
	count_sent(client, file, position);
	if (!skip(client, file, position, done))
		return FAILED;
	settle(client, file, done);
	done->records = 0;
	outcome = reject ? reject_record(client, file, done) :
		apply_records(client, file, limit, deadline, done);
	if (outcome == DONE && done->number > position &&
		!tell(client, &advance_statement, file, done->number))
		return FAILED;
	return outcome;
}

static chunk_outcome
run_chunk(tk_client *client, tki_spool_file *file, int64_t limit, int64_t deadline, bool reject,
		  tki_replayed *done)
{
	chunk_outcome outcome;

	memset(done, 0, sizeof(*done));
	done->offset = file->offset;
	done->number = file->position;
	outcome = fill_chunk(client, file, limit, deadline, reject, done);
	if (outcome == DONE)
	{
		file->sent = *done;
		if (reject)
			file->sent.records = 0;
		if (tki_command(client, &commit) != 0)
			outcome = is_refusal(client) ? REFUSED_ALL : FAILED;
	}
	if (outcome == DONE)
		count_sent(client, file, done->number);
	else
		give_up(client);
	return outcome;
}

/* Takes a chunk, and rejects what PostgreSQL refuses of it; false with the error set. */
static bool
take_chunk(tk_client *client, tki_spool_file *file, int64_t limit, int64_t deadline)
{
	bool		reject = false;

	for (;;)
	{
		tki_replayed done;
		chunk_outcome outcome = run_chunk(client, file, limit, deadline, reject, &done);

		if (outcome == FAILED || (reject && outcome != DONE))
			return false;
		if (outcome == DONE)
		{
			settle(client, file, &done);
			return true;
		}

		/* Up to the record that was refused; and when it is the first, past it. */
		limit = outcome == REFUSED ? done.records : done.records / 2;
		reject = limit == 0;
		if (reject)
			tki_log(client, TK_LOG_WARNING, "rejected record %" PRId64 " of %s: %s [%s]",
					file->position + 1, file->name, client->message, client->sqlstate);
		tki_clear_error(client);
	}
}

/* The whole spool is in PostgreSQL: see at the top. */
static void
end_file(tk_client *client, tki_spool_file *file)
{
	tki_spool_file ended = *file;

	tki_log(client, TK_LOG_INFO, "all of %s is in PostgreSQL", file->name);
	if (!tki_spool_remove(client, file) || tell(client, &end_statement, &ended, 0))
		return;
	tki_log(client, TK_LOG_INFO, "%s is done, but left its position: %s", ended.name,
			client->message);
	tki_clear_error(client);
}

/*
 * Replays up to `limit` records, until the deadline, both as far as chunks allow; false, with
 * the error set, when it failed.
 */
bool
tki_replay(tk_client *client, int64_t limit, int64_t deadline)
{
	do
	{
		for (tki_spool_file *file = client->spool->files, *next; file != NULL; file = next)
		{
			next = file->next;
			while (file->offset < file->end)
			{
				int64_t		before = file->records;

				if (limit <= 0 || tki_now_ms() >= deadline)
					return true;
				if (!take_chunk(client, file, limit < CHUNK_RECORDS ? limit : CHUNK_RECORDS,
								deadline))
					return false;
				limit -= before - file->records;
			}
			end_file(client, file);
		}
		tki_grants_clear(client);
	} while (tki_spool_adopt_more(client));
	return true;
}

/*
 * A slice, in a call that has something else to do; errors stay on the handle.  A server that
 * cannot be reached has its own backoff; one that fails or dawdles is left alone for as long again.
 */
void
tki_replay_some(tk_client *client)
{
	int64_t		start = tki_now_ms();

	if (start < client->spool->next_replay || tki_replay(client, SLICE_RECORDS, start + SLICE_TIME))
		return;
	client->spool->next_replay = 2 * tki_now_ms() - start;
	if (client->connection == NULL)
		return;
	client->spool->next_replay += PAUSE;
	tki_log(client, TK_LOG_WARNING, "could not replay the spool: %s", client->message);
}

int
tk_replay(tk_client *client, tk_replay_report *report)
{
	tk_replay_report none;
	tk_metrics	before;
	bool		done = true;

	if (report == NULL)
		report = &none;
	memset(report, 0, sizeof(*report));
	if (!tki_enter(client))
		return -1;
	if (client->transaction_lost || tki_in_transaction(client))
	{
		tki_fail(client, TK_ERROR_ARGUMENT, SQLSTATE_OPEN_TRANSACTION,
				 "a transaction is open: the spool is replayed in its own");
		return -1;
	}
	before = client->metrics;

	/* Whoever asks for it does not want to wait for the end of a backoff. */
	if (client->spool != NULL && client->spool->files != NULL)
		done = (client->connection != NULL || tki_connect(client, true)) &&
			tki_replay(client, INT64_MAX, INT64_MAX);
	report->replayed = client->metrics.replayed - before.replayed;
	report->collisions = client->metrics.collisions - before.collisions;
	report->rejected = client->metrics.rejected - before.rejected;
	report->remaining = client->metrics.spool_records;
	return done ? 0 : -1;
}
