/*
 * spool_test.c
 *		Spools without a server: damage at every byte, disks that are full, and limits.
 */
#include "check.h"

#include "spool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <zlib.h>

#define HOUR 3600000
#define NAME "tradekeep-01234567-89ab-4cde-8f01-23456789abcd.spool"
#define RECORDS 6

static char folder[64];
static char data[65536];		/* of a whole spool */
static size_t size;
static size_t ends[RECORDS];	/* of its lines */

/* In the place of libc's: who calls it is counted, and may be told that the disk failed. */
static int	syncs;
static int	sync_failure;

int
fdatasync(int fd)
{
	syncs++;
	errno = sync_failure;
	return sync_failure != 0 ? -1 : (int) syscall(SYS_fdatasync, fd);
}

/* The same, for a file system that has no locks. */
static int	lock_failure;

int
flock(int fd, int operation)
{
	errno = lock_failure;
	return lock_failure != 0 ? -1 : (int) syscall(SYS_flock, fd, operation);
}

static tk_client *
open_alone(int64_t limit)
{
	tk_options	options = {
		.database_url = "host=/nonexistent",.backoff_min = 3600000,.outage = TK_DEGRADE,
		.spool_directory = folder,.spool_limit = limit
	};

	return tk_open(&options);
}

static int64_t
records_of(tk_client *client)
{
	tk_metrics	metrics;

	tk_read_metrics(client, &metrics);
	return metrics.spool_records;
}

static const char *
path_of(const char *name)
{
	static char path[512];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

/* Removes what ends like this, after reading the last of it if `read`. */
static void
remove_files(const char *suffix, bool read)
{
	DIR		   *directory = opendir(folder);
	struct dirent *entry;

	while ((entry = readdir(directory)) != NULL)
	{
		size_t		length = strlen(entry->d_name);
		int			fd;

		if (length <= strlen(suffix) || entry->d_name[0] == '.' ||
			strcmp(entry->d_name + length - strlen(suffix), suffix) != 0)
			continue;
		if (read)
		{
			fd = open(path_of(entry->d_name), O_RDONLY);
			size = (size_t) pread(fd, data, sizeof(data), 0);
			close(fd);
		}
		unlink(path_of(entry->d_name));
	}
	closedir(directory);
}

static void
write_spool(const char *bytes, size_t length)
{
	int			fd = open(path_of(NAME), O_WRONLY | O_CREAT | O_TRUNC, 0600);

	CHECK_INT(write(fd, bytes, length), (long long) length);
	close(fd);
}

/* A record of each kind, of the ugliest values that there are. */
static void
make_spool(void)
{
	tk_client  *client = open_alone(0);
	tk_signal	signal = {.symbol = "S:\"\\\n",.direction = "SHORT",.entry_price = 5e-324,
	.tolerance = 0.1 + 0.2,.ttl = HOUR,.data = "{\"crc\": \"\\\"}\"}"};
	tk_candle	candles[] = {
		{.ts = 1,.open = NAN,.high = INFINITY,.low = -INFINITY,.close = -0.0,.volume = 1e308 / 3},
		{.ts = INT64_C(9224318015999999),.open = 0.1,.high = 1.0 / 3,.closed = 1}
	};
	tk_trade	trade = {.trade_id = "\xf0\x9f\x98\x80",.symbol = "}",.side = "LONG",
	.quantity = "1"};
	const char *message = "[[1,2,3,4,5,6]]";
	int			lines = 0;

	CHECK_INT(tk_claim(client, "s", "k\x01\x7f", HOUR, NULL), TK_CLAIMED);
	CHECK_INT(tk_claim_signal(client, &signal, NULL, NULL), TK_CLAIMED);
	CHECK_INT(tk_upsert_candles(client, "s", "1m", candles, 2, NULL), 0);
	CHECK_INT(tk_add_trade(client, &trade, 1, NULL), 0);
	CHECK_INT(tk_ingest_klines(client, &message, 1, "s", "1m", NULL), 0);
	CHECK_INT(tk_claim(client, "s", "last", HOUR, NULL), TK_CLAIMED);
	CHECK_INT(records_of(client), RECORDS);
	tk_close(client);
	remove_files(SPOOL_SUFFIX, true);
	CHECK(memmem(data, size, "0.30000000000000004", 19) != NULL);
	CHECK(memmem(data, size, "0.33333333333333331", 19) != NULL);
	for (size_t i = 0; i < size && lines < RECORDS; i++)
	{
		if (data[i] == '\n')
			ends[lines++] = i + 1;
	}
	CHECK_INT(lines, RECORDS);
	CHECK_INT(ends[RECORDS - 1], (long long) size);
}

/* The line of a record, as it reads back, or -1 when it is not one that was written. */
static int
line_of(const tki_line *line)
{
	tki_record	record;
	size_t		length = 0;
	char	   *text = NULL;
	int			number = -1;

	if (tki_record_read(line->text, line->length, &record) == TKI_RECORD)
	{
		size_t		start = record.number > 1 ? ends[record.number - 2] : 0;

		/* When it was is given back as a parameter, too. */
		if (record.operation->moment == record.parameters.count - 1)
			record.parameters.count--;
		text = tki_record_line(record.operation, &record.parameters, record.number, record.at,
							   record.unknown, &length);
		if (length == ends[record.number - 1] - start && memcmp(text, data + start, length) == 0)
			number = (int) record.number;
	}
	free(text);
	tki_record_free(&record);
	return number;
}

/* How many whole lines of the adopted spool are records; -1 when one is none that was written. */
static int
count_records(tk_client *client, int *lines)
{
	const tki_spool_file *file = client->spool->files;
	int64_t		offset = 0;
	tki_line	line;
	tki_line_status status;
	int			count = 0;

	for (*lines = 0; file != NULL &&
		 ((status = tki_spool_read(client->spool, file, offset, &line)) == TKI_LINE ||
		  status == TKI_LINE_TORN); ++*lines)
	{
		tki_record	record;
		bool		whole;

		whole = tki_record_read(line.text, line.length, &record) == TKI_RECORD;
		tki_record_free(&record);
		if (whole && line_of(&line) < 0)
			return -1;
		count += whole && status == TKI_LINE;
		offset = line.next;
	}
	return count;
}

static bool
grants(tk_client *client, const char *key)
{
	tki_request request = {.scope = "s",.key = key};

	return tki_grant_find(client, &request, 0) != NULL;
}

/* A crash in the middle of a write: the last line is torn, at any byte. */
static void
test_torn_line(void)
{
	int			wrong = 0;

	for (size_t cut = 0; cut <= size; cut++)
	{
		tk_client  *client;
		int			whole = 0;
		int			lines;
		bool		torn;

		while (whole < RECORDS && ends[whole] <= cut)
			whole++;
		torn = cut > (whole > 0 ? ends[whole - 1] : 0);
		write_spool(data, cut);
		client = open_alone(0);
		wrong += count_records(client, &lines) != whole || lines != whole + torn ||
			records_of(client) != whole + torn || grants(client, "k\x01\x7f") != (whole >= 1) ||
			grants(client, "last") != (whole == RECORDS);
		tk_close(client);
	}
	CHECK_INT(wrong, 0);
	unlink(path_of(NAME));
}

/* A disk that lies, at any byte: no record is mistaken for another, and only its own line is lost. */
static void
test_flipped_bit(void)
{
	static char copy[sizeof(data)];
	int			wrong = 0;

	for (size_t at = 0; at < size; at++)
	{
		tk_client  *client;
		int			lines;
		int			count;

		memcpy(copy, data, size);
		copy[at] = (char) (copy[at] ^ (1 << at % 8));
		write_spool(copy, size);
		client = open_alone(0);
		count = count_records(client, &lines);
		wrong += count < RECORDS - 2 || count >= RECORDS;

		/* The damaged lines are there, to be kept when the others are replayed. */
		wrong += lines < RECORDS - 1 || records_of(client) != lines;
		tk_close(client);
	}
	CHECK_INT(wrong, 0);
	unlink(path_of(NAME));
}

/* A file that is no spool of this user's is left alone. */
static void
test_strangers(void)
{
	static char foreign[sizeof(data)];
	tk_client  *client;
	size_t		length = 0;
	tki_parameters parameters = {.count = 0};
	char	   *line;

	CHECK_INT(symlink("/etc/passwd", path_of(NAME)), 0);
	client = open_alone(0);
	CHECK_INT(records_of(client), 0);
	tk_close(client);
	unlink(path_of(NAME));
	CHECK_INT(mkfifo(path_of(NAME), 0600), 0);
	client = open_alone(0);
	CHECK_INT(records_of(client), 0);
	tk_close(client);
	unlink(path_of(NAME));
	if (geteuid() == 0)
	{
		write_spool(data, size);
		CHECK_INT(chown(path_of(NAME), 65534, (gid_t) -1), 0);
		CHECK_INT(chmod(path_of(NAME), 0666), 0);
		CHECK_INT(chmod(folder, 0777), 0);
		CHECK_INT(seteuid(65533), 0);
		client = open_alone(0);
		CHECK_INT(records_of(client), 0);
		tk_close(client);
		CHECK_INT(seteuid(0), 0);
	}

	/* What a later version wrote is that version's to replay. */
	line = tki_record_line(&tki_operations[TKI_OPERATION_CLAIM], &parameters, 1, 1, false, &length);
	snprintf(foreign, sizeof(foreign), "{\"v\":2%.*s", (int) length - 25, line + 6);
	free(line);
	snprintf(foreign + strlen(foreign), 32, ",\"crc\":\"%08lx\"}\n",
			 crc32_z(0, (unsigned char *) foreign, strlen(foreign)));
	write_spool(foreign, strlen(foreign));
	client = open_alone(0);
	CHECK_INT(records_of(client), 0);
	tk_close(client);
	CHECK_INT(access(path_of(NAME), F_OK), 0);
	unlink(path_of(NAME));

	/* A line without an end, and nothing at all. */
	memset(foreign, 'x', sizeof(foreign));
	write_spool(foreign, sizeof(foreign));
	client = open_alone(0);
	CHECK_INT(records_of(client), 1);
	tk_close(client);
	write_spool("", 0);
	client = open_alone(0);
	CHECK_INT(records_of(client), 0);
	tk_close(client);
	CHECK_INT(access(path_of(NAME), F_OK), -1);
}

/* Fills the spool until it takes no more, which is said, and looks that all else is there. */
static void
fill(tk_client *client)
{
	tk_candle	candle = {.ts = 60000,.open = 1,.high = 1,.low = 1,.close = 1,.closed = 1};
	int64_t		before;
	int			lines;

	while (records_of(client) < 10000 &&
		   tk_upsert_candles(client, "full", "1m", &candle, 1, NULL) == 0)
		CHECK_INT(tk_spooled(client), 1);
	CHECK(failed_with(client, TK_ERROR_CONNECTION, "53100"));
	CHECK_INT(tk_spooled(client), 0);
	before = records_of(client);
	CHECK(before > 3 && before < 10000);
	CHECK_INT(tk_claim(client, "s", "a key that is longer than what is left, if anything is left, "
					   "and longer than a candle is, too, which takes some words to be sure",
					   HOUR, NULL), TK_UNAVAILABLE);
	CHECK(failed_with(client, TK_ERROR_CONNECTION, "53100"));
	CHECK_INT(tk_spooled(client), 0);
	CHECK_INT(records_of(client), before);
	for (int i = 0; i < RECORDS; i++)
		ends[i] = 0;
	lines = 0;
	for (int64_t offset = 0; offset < client->spool->files->end; lines++)
	{
		tki_record	record;
		tki_line	line;

		CHECK_INT(tki_spool_read(client->spool, client->spool->files, offset, &line), TKI_LINE);
		CHECK_INT(tki_record_read(line.text, line.length, &record), TKI_RECORD);
		tki_record_free(&record);
		offset = line.next;
	}
	CHECK_INT(lines, before);
}

static void
test_limits(void)
{
	tk_client  *client = open_alone(4000);
	struct rlimit before;
	struct rlimit limit;
	size_t		count = 300000;
	tk_candle  *candles = calloc(count, sizeof(*candles));

	fill(client);
	tk_close(client);

	/* The next one has no more room for being another. */
	client = open_alone(4000);
	CHECK(records_of(client) > 3);
	CHECK_INT(tk_upsert_candles(client, "full", "1m", candles, 1, NULL), -1);
	tk_close(client);
	remove_files(SPOOL_SUFFIX, false);

	/* A record that no line holds. */
	client = open_alone(0);
	CHECK_INT(tk_upsert_candles(client, "full", "1m", candles, count, NULL), -1);
	CHECK(failed_with(client, TK_ERROR_CONNECTION, "53100"));
	CHECK_INT(tk_upsert_candles(client, "full", "1m", candles, 1, NULL), 0);
	tk_close(client);
	remove_files(SPOOL_SUFFIX, false);
	free(candles);

	/* The system's limit would end the process with a signal. */
	signal(SIGXFSZ, SIG_DFL);
	getrlimit(RLIMIT_FSIZE, &before);
	limit = before;
	limit.rlim_cur = 3000;
	client = open_alone(0);
	CHECK_INT(setrlimit(RLIMIT_FSIZE, &limit), 0);
	fill(client);
	setrlimit(RLIMIT_FSIZE, &before);
	CHECK_INT(tk_claim(client, "s", "later", HOUR, NULL), TK_CLAIMED);
	tk_close(client);
	remove_files(SPOOL_SUFFIX, false);
}

/* A real disk that is really full, and then is not. */
static void
test_full_disk(void)
{
	static const char ballast[16384];
	tk_client  *client;
	int			fd;

	if (mount("tradekeep", folder, "tmpfs", 0, "size=64k") != 0)
	{
		printf("no file system can be mounted: a full disk was not checked\n");
		return;
	}
	fd = open(path_of("ballast"), O_WRONLY | O_CREAT, 0600);
	CHECK_INT(write(fd, ballast, sizeof(ballast)), (long long) sizeof(ballast));
	close(fd);
	client = open_alone(0);
	fill(client);
	unlink(path_of("ballast"));
	CHECK_INT(tk_claim(client, "s", "later", HOUR, NULL), TK_CLAIMED);
	CHECK_INT(tk_claim(client, "s", "later", HOUR, NULL), TK_DUPLICATE);
	tk_close(client);
	client = open_alone(0);
	CHECK(grants(client, "later"));
	tk_close(client);
	CHECK_INT(umount(folder), 0);
}

/* What is acknowledged is on the disk; a disk that fails once is not trusted again. */
static void
test_sync(void)
{
	tk_client  *client = open_alone(0);

	syncs = 0;
	CHECK_INT(tk_claim(client, "s", "a", HOUR, NULL), TK_CLAIMED);
	CHECK_INT(syncs, 1);
	CHECK_INT(tk_claim(client, "s", "a", HOUR, NULL), TK_DUPLICATE);
	CHECK_INT(syncs, 1);
	sync_failure = EIO;
	CHECK_INT(tk_claim(client, "s", "b", HOUR, NULL), TK_UNAVAILABLE);
	CHECK(failed_with(client, TK_ERROR_CONNECTION, "58030"));
	sync_failure = 0;
	CHECK_INT(tk_claim(client, "s", "c", HOUR, NULL), TK_UNAVAILABLE);
	CHECK(failed_with(client, TK_ERROR_CONNECTION, "58030"));
	CHECK_INT(syncs, 2);
	CHECK_INT(records_of(client), 1);
	tk_close(client);
	client = open_alone(0);
	CHECK_INT(records_of(client), 1);
	CHECK(grants(client, "a") && !grants(client, "b"));
	CHECK_INT(tk_claim(client, "s", "b", HOUR, NULL), TK_CLAIMED);
	tk_close(client);
	remove_files(SPOOL_SUFFIX, false);

	/* With an empty file nothing was lost: the next record gets another. */
	client = open_alone(0);
	sync_failure = EIO;
	CHECK_INT(tk_claim(client, "s", "d", HOUR, NULL), TK_UNAVAILABLE);
	CHECK(failed_with(client, TK_ERROR_CONNECTION, "58030"));
	sync_failure = 0;
	CHECK_INT(tk_claim(client, "s", "d", HOUR, NULL), TK_CLAIMED);
	tk_close(client);
	remove_files(SPOOL_SUFFIX, false);

	/* Where nothing can be locked, nothing is kept, nor left behind. */
	client = open_alone(0);
	lock_failure = ENOLCK;
	CHECK_INT(tk_claim(client, "s", "e", HOUR, NULL), TK_UNAVAILABLE);
	CHECK(failed_with(client, TK_ERROR_CONNECTION, "58030"));
	lock_failure = 0;
	CHECK_INT(tk_claim(client, "s", "e", HOUR, NULL), TK_CLAIMED);
	tk_close(client);
	remove_files(SPOOL_SUFFIX, false);
}

/* The bot's language does not reach the file, nor the file its language. */
static void
test_language(void)
{
	static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8"};
	tk_client  *client;
	int			lines;

	for (int i = 0; i < 3 && setlocale(LC_ALL, names[i]) == NULL; i++)
		;
	if (localeconv()->decimal_point[0] != ',')
		printf("no language with decimal commas is installed: it was not checked\n");
	make_spool();
	write_spool(data, size);
	client = open_alone(0);
	CHECK_INT(count_records(client, &lines), RECORDS);
	tk_close(client);
	unlink(path_of(NAME));
	setlocale(LC_ALL, "C");
}

void
test_spools(void)
{
	strcpy(folder, "/tmp/tradekeep-spool-XXXXXX");
	CHECK(mkdtemp(folder) != NULL);
	make_spool();
	test_torn_line();
	test_flipped_bit();
	test_strangers();
	test_language();
	test_limits();
	test_sync();
	test_full_disk();
	CHECK_INT(rmdir(folder), 0);
}
