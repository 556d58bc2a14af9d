/*
 * health.c
 *		Is the server there, and is it what the bot needs?
 *
 * Two questions: the first works on any server, the second only where the
 * extension is installed and this role may use it.
 */
#include "internal.h"

#include <string.h>

static const tki_statement health_statement = {
	.id = TKI_HEALTH,.access = TKI_READ,.name = "tradekeep_" TRADEKEEP_VERSION "_health",
	.sql = "SELECT pg_catalog.pg_is_in_recovery(), (SELECT e.extversion"
	" FROM pg_catalog.pg_extension AS e WHERE e.extname OPERATOR(pg_catalog.=) 'tradekeep')",
};

static const tki_statement extension_health_statement = {
	.id = TKI_EXTENSION_HEALTH,.access = TKI_READ,
	.name = "tradekeep_" TRADEKEEP_VERSION "_extension_health",
	.sql = "SELECT h.preloaded, h.library_version FROM tradekeep.health() AS h",
};

static bool
read_flag(const PGresult *result, int column)
{
	return PQgetlength(result, 0, column) == 1 && PQgetvalue(result, 0, column)[0] != 0;
}

static bool
ask(tk_client *client, tk_health *health)
{
	static const tki_parameters none = {.count = 0};
	PGresult   *result;
	int64_t		start;

	/* Once to connect and to prepare, then once to measure a round trip. */
	result = tki_execute(client, &health_statement, &none);
	if (result == NULL)
		return false;
	PQclear(result);
	start = tki_now_us();
	result = tki_execute(client, &health_statement, &none);
	if (result == NULL)
		return false;
	health->latency = tki_now_us() - start;
	health->server_version = PQserverVersion(client->connection);
	health->standby = read_flag(result, 0);
	tki_copy_text(health->extension_version, sizeof(health->extension_version),
				  PQgetvalue(result, 0, 1));
	PQclear(result);
	if (health->extension_version[0] == '\0')
		return true;

	result = tki_execute(client, &extension_health_statement, &none);
	if (result == NULL)
		return client->error == TK_ERROR_SERVER;	/* it answers, but not this role */
	health->preloaded = read_flag(result, 0);
	tki_copy_text(health->library_version, sizeof(health->library_version),
				  PQgetvalue(result, 0, 1));
	PQclear(result);
	return true;
}

int
tk_health_check(tk_client *client, tk_health *health)
{
	memset(health, 0, sizeof(*health));
	if (!tki_enter(client))
		return -1;
	health->connected = ask(client, health);
	health->reconnects = client->connections > 0 ? client->connections - 1 : 0;
	return client->error == TK_ERROR_ARGUMENT ? -1 : 0;
}
