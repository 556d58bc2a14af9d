/*
 * statement.c
 *		Runs one statement against a deadline, and says what a failure means.
 *
 * Everything depends on what is known when a connection breaks.  Nothing was
 * written when the server had not been sent the statement, when it said itself
 * why it ended the session instead of answering, or when a transaction was open,
 * which then is gone.  Such a statement, and any that only reads, is run once
 * more on a new connection.  A write whose answer got lost on the way is never
 * run again: its outcome is unknown, and the caller is told so.
 *
 * Statements are prepared when a connection first needs them.  Behind a pooler
 * in transaction mode a prepared statement may be missing, or be there already:
 * from then on the handle sends them unprepared, which is slower and always works.
 */
#include "internal.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

/* In ms; looking at the socket costs two in a hundred of the fastest call. */
#define MOMENT 1

typedef enum call_outcome
{
	ANSWERED,
	REJECTED,					/* the server raised an error: the statement had no effect */
	LOST_UNDONE,				/* the connection is gone; the statement had no effect */
	LOST,						/* the connection is gone; the statement may have had its effect */
	TIMED_OUT,					/* the same, for the want of an answer in time */
	NOT_SENT					/* libpq would not take it */
} call_outcome;

/*
 * A transaction of the handle, or one begun on tk_connection().  Of a connection
 * that it saw breaking, libpq does not know it any more.
 */
bool
tki_in_transaction(const tk_client *client)
{
	PGTransactionStatusType status;

	if (client->connection == NULL)
		return false;
	status = PQtransactionStatus(client->connection);
	return status == PQTRANS_UNKNOWN ? client->in_transaction : status != PQTRANS_IDLE;
}

static const char *
field(const PGresult *result, int code)
{
	const char *value = PQresultErrorField(result, code);

	return value != NULL ? value : "";
}

/* True when libpq's next result can be had without waiting; false at the deadline. */
static bool
await_result(PGconn *connection, int64_t deadline)
{
	int			unsent = PQflush(connection);

	while (unsent > 0 || (unsent == 0 && PQisBusy(connection)))
	{
		int			ready = tki_poll(PQsocket(connection),
									 (short) (unsent > 0 ? POLLIN | POLLOUT : POLLIN), deadline);

		if (ready == 0)
			return false;
		if (ready < 0 || !PQconsumeInput(connection))
			break;				/* PQgetResult() will say what happened */
		if (unsent > 0)
			unsent = PQflush(connection);
	}
	return true;
}

/*
 * What an error result means.  `answered`: the statement's own result had come
 * before, so that only its commit can have failed.
 */
static call_outcome
judge(const tki_statement *statement, PGconn *connection, const PGresult *error, bool answered)
{
	const char *sqlstate = field(error, PG_DIAG_SQLSTATE);
	const char *severity = field(error, PG_DIAG_SEVERITY_NONLOCALIZED);

	if (strcmp(severity, "ERROR") == 0)
		return REJECTED;

	/*
	 * A pooler reports the loss of its own connection under class 08: it knows no more than we do.
	 */
	if (severity[0] != '\0' && strncmp(sqlstate, "08", 2) != 0 &&
		statement->access != TKI_COMMIT && !answered)
		return LOST_UNDONE;
	return PQstatus(connection) == CONNECTION_OK && severity[0] == '\0' ? NOT_SENT : LOST;
}

/* Waits for the answer to what was sent.  *answer is then a result or the first error, or null. */
static call_outcome
collect(tk_client *client, const tki_statement *statement, int64_t deadline, PGresult **answer)
{
	PGresult   *result;
	call_outcome outcome = LOST;
	bool		answered = false;
	bool		failed = false;

	*answer = NULL;
	for (;;)
	{
		ExecStatusType status;

		if (!await_result(client->connection, deadline))
		{
			PQclear(*answer);
			*answer = NULL;
			return TIMED_OUT;
		}
		result = PQgetResult(client->connection);
		if (result == NULL)
			return outcome;

		/* Only when no error follows the answer is it committed. */
		status = PQresultStatus(result);
		if (failed)
		{
			PQclear(result);
			continue;
		}
		PQclear(*answer);
		*answer = result;
		if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK)
		{
			answered = true;
			outcome = ANSWERED;
		}
		else
		{
			failed = true;
			outcome = judge(statement, client->connection, result, answered);
		}
	}
}

static call_outcome
prepare(tk_client *client, const tki_statement *statement, int64_t deadline, PGresult **answer)
{
	call_outcome outcome;

	if (!PQsendPrepare(client->connection, statement->name, statement->sql, statement->count,
					   statement->types))
		return PQstatus(client->connection) == CONNECTION_OK ? NOT_SENT : LOST_UNDONE;
	outcome = collect(client, statement, deadline, answer);
	if (outcome == ANSWERED)
	{
		PQclear(*answer);
		*answer = NULL;
		client->prepared |= UINT64_C(1) << statement->id;
	}
	return outcome == LOST ? LOST_UNDONE : outcome;
}

static call_outcome
attempt(tk_client *client, const tki_statement *statement, const tki_parameters *parameters,
		int64_t deadline, PGresult **answer)
{
	PGconn	   *connection = client->connection;
	int			sent;

	*answer = NULL;
	if (statement->id == TKI_SIMPLE)
		sent = PQsendQuery(connection, statement->sql);
	else if (client->unnamed)
		sent = PQsendQueryParams(connection, statement->sql, statement->count, statement->types,
								 parameters->values, parameters->lengths, parameters->formats, 1);
	else
	{
		if ((client->prepared & (UINT64_C(1) << statement->id)) == 0)
		{
			call_outcome outcome = prepare(client, statement, deadline, answer);

			if (outcome != ANSWERED)
				return outcome;
		}
		sent = PQsendQueryPrepared(connection, statement->name, statement->count,
								   parameters->values, parameters->lengths, parameters->formats, 1);
	}
	if (!sent)
		return PQstatus(connection) == CONNECTION_OK ? NOT_SENT : LOST;
	return collect(client, statement, deadline, answer);
}

/*
 * Makes sure that there is a living connection, new if need be and allowed.  One
 * that was in use a moment ago is not looked at: should it have died since, a
 * write ends as unknown instead of being repeated.
 */
static bool
ready(tk_client *client, int64_t now)
{
	if (client->transaction_lost)
	{
		tki_fail(client, TK_ERROR_CONNECTION, SQLSTATE_CONNECTION_LOST,
				 "the transaction was lost with its connection");
		tki_hint(client, "Nothing of it was written. Roll it back, and begin again.");
		return false;
	}
	if (client->connection != NULL && now - client->last_use > MOMENT)
	{
		bool		in_transaction = tki_in_transaction(client);

		if (tki_connection_is_dead(client))
		{
			tki_log(client, TK_LOG_WARNING, "the server closed the idle connection");
			tki_drop_connection(client);
			client->transaction_lost = in_transaction;
			if (in_transaction)
				return ready(client, now);
		}
	}
	return client->connection != NULL || tki_connect(client, false);
}

/* Sets the error from what the server said. */
static void
report(tk_client *client, const PGresult *error)
{
	const char *sqlstate = field(error, PG_DIAG_SQLSTATE);
	const char *detail = field(error, PG_DIAG_MESSAGE_DETAIL);
	const char *hint = field(error, PG_DIAG_MESSAGE_HINT);
	bool		missing = strcmp(sqlstate, "3F000") == 0 || strcmp(sqlstate, "42883") == 0;
	bool		going_away;

	going_away = strncmp(sqlstate, "08", 2) == 0 || strncmp(sqlstate, "57P0", 4) == 0 ||
		strcmp(sqlstate, "53300") == 0;
	tki_fail(client, going_away ? TK_ERROR_CONNECTION : TK_ERROR_SERVER, sqlstate, "%s%s%s%s",
			 field(error, PG_DIAG_MESSAGE_PRIMARY), detail[0] != '\0' ? " (" : "", detail,
			 detail[0] != '\0' ? ")" : "");
	tki_hint(client, "%s", missing ? "Is the extension there, and recent enough? "
			 "CREATE EXTENSION tradekeep; ALTER EXTENSION tradekeep UPDATE;" : hint);
}

/*
 * Sets the error for a connection that broke, and forgets the connection.
 * `undone`: there was a transaction open, and its commit had not been sent.
 */
static void
report_loss(tk_client *client, call_outcome outcome, tki_access access, bool undone,
			const PGresult *error)
{
	bool		unknown = outcome != LOST_UNDONE && access != TKI_READ && !undone;
	char		reason[256];

	if (outcome == TIMED_OUT)
		snprintf(reason, sizeof(reason), "no answer within %d ms", client->options.call_timeout);
	else
	{
		const char *said = field(error, PG_DIAG_MESSAGE_PRIMARY);

		tki_copy_text(reason, sizeof(reason),
					  said[0] != '\0' ? said : PQerrorMessage(client->connection));
		reason[strcspn(reason, "\n")] = '\0';
	}
	tki_fail(client, unknown ? TK_ERROR_UNKNOWN_OUTCOME : TK_ERROR_CONNECTION,
			 unknown ? SQLSTATE_OUTCOME_UNKNOWN : SQLSTATE_CONNECTION_LOST,
			 "lost the connection to the server: %s", reason);
	if (unknown)
		tki_hint(client, "The call may or may not have had its effect.");
	else if (undone)
		tki_hint(client, "Nothing of the transaction was written. Roll it back, and begin again.");
	tki_log(client, TK_LOG_WARNING, "%s", client->message);

	if (outcome == TIMED_OUT)
		tki_cancel(client);
	tki_drop_connection(client);
	client->transaction_lost = undone;
}

/* A pooler handed us a server that does not have, or has already, what we prepared. */
static bool
pooler_is_between(const PGresult *error)
{
	const char *sqlstate = field(error, PG_DIAG_SQLSTATE);

	return strcmp(sqlstate, "26000") == 0 || strcmp(sqlstate, "42P05") == 0;
}

/*
 * Runs a statement, and returns its result; or null, with the error set.  The
 * caller has checked the arguments, and entered.
 */
PGresult *
tki_execute(tk_client *client, const tki_statement *statement, const tki_parameters *parameters)
{
	int64_t		now = tki_now_ms();

	for (bool repeated = false;; repeated = true)
	{
		PGresult   *answer;
		call_outcome outcome;
		bool		in_transaction;
		bool		again = false;

		if (!ready(client, now))
			return NULL;
		tki_known_drain(client);
		now = tki_now_ms();		/* connecting and telling Redis took their own time */
		client->last_use = now;
		in_transaction = tki_in_transaction(client);
		outcome = attempt(client, statement, parameters, now + client->options.call_timeout,
						  &answer);
		client->in_transaction = tki_in_transaction(client);
		switch (outcome)
		{
			case ANSWERED:
				return answer;
			case REJECTED:
				report(client, answer);
				if (pooler_is_between(answer) && !client->unnamed)
				{
					tki_log(client, TK_LOG_INFO,
							"a pooler is in between: statements are sent unprepared");
					client->unnamed = true;
					again = !in_transaction;
				}
				break;
			case NOT_SENT:
				tki_fail(client, TK_ERROR_ARGUMENT, "", "%s", PQerrorMessage(client->connection));
				client->message[strcspn(client->message, "\n")] = '\0';
				break;
			case LOST_UNDONE:
			case LOST:
			case TIMED_OUT:
				report_loss(client, outcome, statement->access,
							in_transaction && statement->access != TKI_COMMIT, answer);
				again = client->error == TK_ERROR_CONNECTION && outcome != TIMED_OUT &&
					!in_transaction;
				break;
		}
		PQclear(answer);
		if (!again || repeated)
			return NULL;
		tki_clear_error(client);
	}
}

/* Runs a command that has no answer but its success. */
int
tki_command(tk_client *client, const tki_statement *statement)
{
	PGresult   *result = tki_execute(client, statement, NULL);

	PQclear(result);
	return result != NULL ? 0 : -1;
}

/* The server answered something that its contract does not know. */
bool
tki_unexpected(tk_client *client, PGresult *result)
{
	tki_fail(client, TK_ERROR_SERVER, "", "the server gave an answer that this client cannot read");
	tki_hint(client, "Compare the versions: tradekeep health.");
	PQclear(result);
	return false;
}

/* Reads and frees a result of one boolean. */
bool
tki_answer_bool(tk_client *client, PGresult *result, bool *answer)
{
	if (result == NULL)
		return false;
	if (PQntuples(result) != 1 || PQnfields(result) != 1 || PQgetisnull(result, 0, 0) ||
		PQgetlength(result, 0, 0) != 1)
		return tki_unexpected(client, result);
	*answer = PQgetvalue(result, 0, 0)[0] != 0;
	PQclear(result);
	return true;
}

/* Reads a bigint; leaves the result. */
bool
tki_answer_int64(const PGresult *result, int column, int64_t *answer)
{
	if (PQntuples(result) != 1 || PQnfields(result) <= column || PQgetisnull(result, 0, column) ||
		PQgetlength(result, 0, column) != 8)
		return false;
	*answer = (int64_t) tki_read_uint64(PQgetvalue(result, 0, column));
	return true;
}

/*
 * Takes a result of one row value apart: `count` fields, of which each has a byte or eight,
 * or is null, with a length of -1.  They point into the result.
 */
bool
tki_answer_row(const PGresult *result, int count, tki_field *fields)
{
	const char *data;
	const char *end;

	if (PQntuples(result) != 1 || PQnfields(result) != 1 || PQgetlength(result, 0, 0) < 4)
		return false;
	data = PQgetvalue(result, 0, 0);
	end = data + PQgetlength(result, 0, 0);
	if (tki_read_uint32(data) != (uint32_t) count)
		return false;
	data += 4;
	for (int i = 0; i < count; i++)
	{
		if (end - data < 8)
			return false;
		fields[i].length = (int) tki_read_uint32(data + 4);
		fields[i].data = data + 8;
		data += 8;
		if (fields[i].length > end - data)
			return false;
		data += fields[i].length > 0 ? fields[i].length : 0;
	}
	return true;
}
