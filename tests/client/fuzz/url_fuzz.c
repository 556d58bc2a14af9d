/*
 * url_fuzz.c
 *		Any text at all, read as the URL of a Redis, and as one of a database.
 *
 * Beside not dying of it, the readers must give what others can use without a
 * look of their own, or a reason that never repeats a password.
 */
#include "fuzz.h"
#include "internal.h"

#include <string.h>
#include <sys/un.h>

#define PASSWORD "Tr0ub4dor"

static void
check_redis(const char *url)
{
	tki_redis_address address;
	char		reason[256];
	bool		accepted = tki_redis_url(url, &address, reason, sizeof(reason));

	ENSURE(accepted == (address.text != NULL) && accepted == (reason[0] == '\0'));
	ENSURE(strstr(reason, PASSWORD) == NULL);
	if (!accepted)
		return;
	ENSURE((address.host == NULL) != (address.path == NULL) && address.db >= 0);
	if (address.host != NULL)
		ENSURE(address.host[0] != '\0' && address.port > 0 && address.port < 65536);
	else
		ENSURE(address.path[0] == '/' &&
			   strlen(address.path) < sizeof(((struct sockaddr_un *) NULL)->sun_path));
	ENSURE(address.user == NULL || address.user[0] != '\0');
	ENSURE(address.password == NULL || address.password[0] != '\0');
	free(address.text);
}

static void
check_database(const char *url)
{
	char		reason[256];
	char	   *conninfo = tki_conninfo(url, reason, sizeof(reason));
	PQconninfoOption *parsed;

	ENSURE((conninfo != NULL) == (reason[0] == '\0'));
	ENSURE(strstr(reason, PASSWORD) == NULL);
	if (conninfo == NULL)
		return;
	parsed = PQconninfoParse(conninfo, NULL);
	ENSURE(parsed != NULL);
	PQconninfoFree(parsed);
	free(conninfo);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const heads[] = {"", "redis://:" PASSWORD "@", "redis://:", "unix://:",
		"postgresql://u:" PASSWORD "@", "postgresql://u:", "postgresql+asyncpg://u:", "password=" PASSWORD " ",
	"password="};
	static const char *const tails[] = {"", PASSWORD "@h", PASSWORD "@h/d?a=b"};

	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++)
	{
		for (size_t j = 0; j < sizeof(tails) / sizeof(tails[0]); j++)
		{
			size_t		head = strlen(heads[i]);
			char	   *url = malloc(head + size + strlen(tails[j]) + 1);

			memcpy(url, heads[i], head);
			memcpy(url + head, data, size);
			strcpy(url + head + size, tails[j]);
			check_redis(url);
			check_database(url);
			free(url);
		}
	}
	return 0;
}
