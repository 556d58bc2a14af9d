/*
 * transaction.c
 *		Begin, commit, roll back.
 */
#include "internal.h"

#include <string.h>

static const tki_statement begin = {.id = TKI_SIMPLE,.access = TKI_READ,.sql = "BEGIN"};
static const tki_statement commit = {.id = TKI_SIMPLE,.access = TKI_COMMIT,.sql = "COMMIT"};
static const tki_statement rollback = {.id = TKI_SIMPLE,.access = TKI_READ,.sql = "ROLLBACK"};

int
tk_begin(tk_client *client)
{
	if (!tki_enter(client))
		return -1;
	if (tki_in_transaction(client))
	{
		tki_fail(client, TK_ERROR_ARGUMENT, SQLSTATE_OPEN_TRANSACTION,
				 "a transaction is open already");
		return -1;
	}
	return tki_follows_spool(client, NULL) ? tki_command(client, &begin) : -1;
}

int
tk_commit(tk_client *client)
{
	PGresult   *result;
	bool		committed;

	if (!tki_enter(client))
		return -1;
	if (!client->transaction_lost && !tki_in_transaction(client))
	{
		tki_fail(client, TK_ERROR_ARGUMENT, SQLSTATE_NO_TRANSACTION, "no transaction is open");
		return -1;
	}
	result = tki_execute(client, &commit, NULL);
	if (result == NULL)
		return -1;

	/* The server ends a transaction that had failed without an error of its own. */
	committed = strcmp(PQcmdStatus(result), "COMMIT") == 0;
	PQclear(result);
	if (committed)
		return 0;
	tki_fail(client, TK_ERROR_SERVER, SQLSTATE_FAILED_TRANSACTION,
			 "the transaction had failed and was rolled back");
	return -1;
}

/* Whatever happens to the connection meanwhile: without a commit, the transaction is gone. */
int
tk_rollback(tk_client *client)
{
	if (!tki_enter(client))
		return -1;
	if (tki_in_transaction(client))
		tki_command(client, &rollback);
	client->transaction_lost = false;
	tki_clear_error(client);
	return 0;
}
