/*
 * spool.c
 *		Files of records that PostgreSQL has not got yet.
 *
 * A spool is a file of its own handle in the spool directory, tradekeep-UUID.spool,
 * made when the first record needs it.  Records are appended, one line each, and
 * only acknowledged once the disk has them.  A line of which that is not certain
 * is cut off again; and when a disk fails to sync, nobody can tell any more what
 * it has of the file, so nothing is appended to it again.
 *
 * Who writes or replays a file holds the lock on it, and has it as long as the
 * process lives: a file whose lock is to be had is an orphan, and the next handle
 * that is opened with this directory adopts it.  Lines that are damaged, or that
 * PostgreSQL refuses, are kept beside it in FILE.rejected.
 *
 * A child that came by fork() holds the lock, too, until it closes the handle.
 */
#include "spool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define PREFIX			"tradekeep-"
#define FIRST_WINDOW	(64 * 1024)

/* To make a file that nobody else locks first. */
#define ATTEMPTS		8

/* The error of a write that the spool cannot take. */
static void
fail_spool(tk_client *client, int number, const char *what)
{
	bool		full = number == ENOSPC || number == EDQUOT || number == EFBIG;

	client->metrics.spool_failures++;
	tki_fail(client, client->error == TK_ERROR_UNKNOWN_OUTCOME ? client->error : TK_ERROR_CONNECTION,
			 full ? SQLSTATE_DISK_FULL : SQLSTATE_IO, "%s in %s: %s", what, client->spool->path,
			 strerror(number));
	tki_log(client, TK_LOG_ERROR, "%s", client->message);
}

/* What is in the spool, for tk_read_metrics(). */
void
tki_spool_count(tk_client *client)
{
	client->metrics.spool_records = client->metrics.spool_bytes = 0;
	for (const tki_spool_file *file = client->spool->files; file != NULL; file = file->next)
	{
		client->metrics.spool_records += file->records;
		client->metrics.spool_bytes += file->end;
	}
}

/*
 * Reads the line that begins at offset.  Of a line without an end, pieces of
 * MAX_LINE are taken for lines, which no record fits.
 */
tki_line_status
tki_spool_read(tki_spool *spool, const tki_spool_file *file, int64_t offset, tki_line *line)
{
	if (spool->window_file != file || offset < spool->window_start ||
		offset > spool->window_start + (int64_t) spool->window_used)
	{
		spool->window_file = file;
		spool->window_start = offset;
		spool->window_used = 0;
	}
	for (;;)
	{
		size_t		before = (size_t) (offset - spool->window_start);
		size_t		left = spool->window_used - before;
		char	   *newline = left > 0 ? memchr(spool->window + before, '\n', left) : NULL;
		ssize_t		got;

		line->text = spool->window + before;
		if (newline != NULL || left >= MAX_LINE)
		{
			line->length = newline != NULL ? (size_t) (newline - line->text) : left;
			line->next = offset + (int64_t) line->length + (newline != NULL);
			return TKI_LINE;
		}
		if (before > 0)
		{
			memmove(spool->window, spool->window + before, left);
			spool->window_start = offset;
			spool->window_used = left;
		}
		if (spool->window_used == spool->window_size)
		{
			size_t		size = spool->window_size > 0 ? 2 * spool->window_size : FIRST_WINDOW;
			char	   *window = realloc(spool->window, size);

			if (window == NULL)
				return TKI_LINE_FAILED;
			spool->window = window;
			spool->window_size = size;
		}
		got = pread(file->fd, spool->window + spool->window_used,
					spool->window_size - spool->window_used,
					spool->window_start + (off_t) spool->window_used);
		if (got < 0 && errno != EINTR)
			return TKI_LINE_FAILED;
		if (got == 0)
		{
			line->text = spool->window;
			line->length = spool->window_used;
			line->next = offset + (int64_t) line->length;
			return line->length > 0 ? TKI_LINE_TORN : TKI_LINE_NONE;
		}
		if (got > 0)
			spool->window_used += (size_t) got;
	}
}

static bool
write_all(int fd, const char *data, size_t size)
{
	while (size > 0)
	{
		ssize_t		written = write(fd, data, size);

		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
			return false;
		data += written;
		size -= (size_t) written;
	}
	return true;
}

/* Keeps a line that will never reach PostgreSQL; after a crash, it may be kept twice. */
bool
tki_spool_reject(tk_client *client, const tki_spool_file *file, const tki_line *line)
{
	char		name[sizeof(file->name) + sizeof(REJECTED_SUFFIX)];
	int			fd;
	bool		kept;

	snprintf(name, sizeof(name), "%s" REJECTED_SUFFIX, file->name);
	fd = openat(client->spool->directory, name,
				O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	kept = fd >= 0 && write_all(fd, line->text, line->length) && write_all(fd, "\n", 1) &&
		fsync(fd) == 0 && fsync(client->spool->directory) == 0;
	if (!kept)
		fail_spool(client, errno, "could not keep a rejected record");
	else
		client->metrics.rejected++;
	if (fd >= 0)
		close(fd);
	return kept;
}

static void
free_file(tki_spool *spool, tki_spool_file *file)
{
	if (spool->window_file == file)
		spool->window_file = NULL;
	if (file->fd >= 0)
		close(file->fd);
	free(file);
}

/* Only what this user wrote is believed; root may replay for all. */
static bool
is_trusted(int fd)
{
	struct stat status;

	return fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_nlink > 0 &&
		(status.st_uid == geteuid() || geteuid() == 0);
}

/* True for tradekeep-UUID.spool. */
bool
tki_is_spool(const char *name)
{
	static const char form[] = PREFIX "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx" SPOOL_SUFFIX;

	if (strlen(name) != sizeof(form) - 1)
		return false;
	for (size_t i = 0; i < sizeof(form) - 1; i++)
	{
		if (form[i] == 'x' ? strchr("0123456789abcdef", name[i]) == NULL : name[i] != form[i])
			return false;
	}
	return true;
}

static tki_spool_file *
make_file(const char *name, int fd)
{
	tki_spool_file *file = calloc(1, sizeof(*file));

	if (file == NULL)
		return NULL;
	snprintf(file->name, sizeof(file->name), "%s", name);
	snprintf(file->id, sizeof(file->id), "%.36s", name + strlen(PREFIX));
	file->fd = fd;
	return file;
}

/*
 * Reads through an orphan: what it grants, and how much there is of it.  A last
 * line without an end was cut short by a crash, and nobody told that it was
 * written: it counts as a damaged one.
 */
static bool
scan(tk_client *client, tki_spool_file *file)
{
	tki_line	line;
	tki_line_status status;

	while ((status = tki_spool_read(client->spool, file, file->end, &line)) == TKI_LINE ||
		   status == TKI_LINE_TORN)
	{
		tki_record	record;
		tki_record_status read = tki_record_read(line.text, line.length, &record);
		bool		usable = read != TKI_RECORD_FOREIGN;

		if (read == TKI_RECORD && status == TKI_LINE)
		{
			usable = tki_grant_record(client, &record);
			if (file->began == 0)
				file->began = record.at;
		}
		tki_record_free(&record);
		if (!usable)
		{
			tki_log(client, TK_LOG_ERROR, "%s is left alone: %s", file->name,
					read == TKI_RECORD_FOREIGN ? "another version wrote it" : "out of memory");
			return false;
		}
		file->records++;
		file->end = line.next;
	}
	if (status == TKI_LINE_FAILED)
		tki_log(client, TK_LOG_ERROR, "could not read %s: %s", file->name, strerror(errno));
	return status == TKI_LINE_NONE;
}

/*
 * Takes over a spool of a process that is gone, and of which nobody took it over
 * yet.  0, or why not: EWOULDBLOCK when its process lives.
 */
int
tki_spool_adopt(tk_client *client, const char *name)
{
	tki_spool  *spool = client->spool;
	tki_spool_file **link = &spool->files;
	tki_spool_file *file = NULL;
	struct rlimit system;
	rlim_t		count = 0;
	int			problem = 0;
	int			fd;

	/* Each costs a descriptor, and the process needs some for other things. */
	for (const tki_spool_file *other = spool->files; other != NULL; other = other->next)
		count++;
	if (getrlimit(RLIMIT_NOFILE, &system) == 0 && count >= system.rlim_cur / 4)
		return EMFILE;
	fd = openat(spool->directory, name, O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) != 0)
		problem = errno;
	else if (!is_trusted(fd))
		problem = EPERM;
	else if ((file = make_file(name, fd)) == NULL)
		problem = ENOMEM;
	else if (!scan(client, file))
		problem = EIO;
	if (problem != 0)
	{
		tki_log(client, problem == EWOULDBLOCK ? TK_LOG_DEBUG : TK_LOG_WARNING,
				"did not take over %s: %s", name,
				problem == EWOULDBLOCK ? "its process is alive" : strerror(problem));
		if (file != NULL)
			free_file(spool, file);
		else if (fd >= 0)
			close(fd);
		return problem;
	}
	if (file->end == 0)
	{
		unlinkat(spool->directory, name, 0);
		free_file(spool, file);
		return 0;
	}
	tki_log(client, TK_LOG_INFO, "took over %s: %lld records", name, (long long) file->records);
	while (*link != NULL && (*link)->began <= file->began)
		link = &(*link)->next;
	file->next = *link;
	*link = file;
	tki_spool_count(client);
	return 0;
}

static int
select_spool(const struct dirent *entry)
{
	return tki_is_spool(entry->d_name);
}

static void
adopt_orphans(tk_client *client)
{
	struct dirent **entries;
	int			count = scandirat(client->spool->directory, ".", &entries, select_spool, alphasort);

	client->spool->more = false;
	for (int i = 0; i < count; i++)
	{
		if (!client->spool->more)
			client->spool->more = tki_spool_adopt(client, entries[i]->d_name) == EMFILE;
		free(entries[i]);
	}
	if (count >= 0)
		free(entries);
	if (client->spool->more)
		tki_log(client, TK_LOG_WARNING, "too many spools are in %s: some are left for later",
				client->spool->path);
}

/* Takes over what adopt_orphans() left, now that the others are done; false when nothing is. */
bool
tki_spool_adopt_more(tk_client *client)
{
	if (client->spool->more)
		adopt_orphans(client);
	return client->metrics.spool_records > 0;
}

/*
 * Opens the directory, and with `adopt` takes over the orphans in it.  False, with
 * the reason, when spools cannot be kept there.
 */
bool
tki_spool_open(tk_client *client, const char *path, bool adopt, char *reason, size_t size)
{
	tki_spool  *spool = calloc(1, sizeof(*spool));

	if (spool == NULL || (spool->path = strdup(path)) == NULL)
	{
		free(spool);
		snprintf(reason, size, "out of memory");
		return false;
	}
	spool->directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (spool->directory < 0 ||
		faccessat(spool->directory, ".", R_OK | W_OK | X_OK, AT_EACCESS) != 0)
	{
		snprintf(reason, size, "cannot keep a spool in \"%s\": %s", path, strerror(errno));
		if (spool->directory >= 0)
			close(spool->directory);
		free(spool->path);
		free(spool);
		return false;
	}
	client->spool = spool;
	if (adopt)
		adopt_orphans(client);
	return true;
}

/* The files stay for who comes next, but for an own one that nothing came of. */
void
tki_spool_close(tk_client *client)
{
	tki_spool  *spool = client->spool;

	if (spool == NULL)
		return;
	while (spool->files != NULL)
	{
		tki_spool_file *file = spool->files;

		spool->files = file->next;
		if (file->end == 0 && client->generation == tki_generation)
			unlinkat(spool->directory, file->name, 0);
		free_file(spool, file);
	}
	tki_grants_clear(client);
	close(spool->directory);
	free(spool->window);
	free(spool->path);
	free(spool);
	client->spool = NULL;
}

/* A UUID of version 4. */
static bool
make_name(char *name, size_t size)
{
	unsigned char b[16];

	if (getentropy(b, sizeof(b)) != 0)
		return false;
	b[6] = (unsigned char) ((b[6] & 0x0F) | 0x40);
	b[8] = (unsigned char) ((b[8] & 0x3F) | 0x80);
	snprintf(name, size, PREFIX "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x"
			 SPOOL_SUFFIX, b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11],
			 b[12], b[13], b[14], b[15]);
	return true;
}

/*
 * Makes a new file.  Who looks for orphans may have got the lock first, between
 * its making and its locking: then they remove it, and another is made.  But a
 * file system without locks, or that says the file is not ours, will never do.
 */
static int
create_file(tki_spool *spool, char *name, size_t size)
{
	int			problem = EPERM;

	for (int attempt = 0; attempt < ATTEMPTS; attempt++)
	{
		int			fd = -1;

		if (make_name(name, size))
			fd = openat(spool->directory, name,
						O_RDWR | O_APPEND | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
		if (fd < 0)
			return -1;
		if (flock(fd, LOCK_EX | LOCK_NB) != 0)
			problem = errno;
		else if (is_trusted(fd))
		{
			if (fsync(spool->directory) == 0)
				return fd;
			problem = errno;
			attempt = ATTEMPTS;
		}
		unlinkat(spool->directory, name, 0);
		close(fd);
	}
	errno = problem;
	return -1;
}

/* The file that this handle appends to, made when there is none; null, with the error set. */
tki_spool_file *
tki_spool_own(tk_client *client)
{
	tki_spool_file **end = &client->spool->files;
	char		name[sizeof((*end)->name)];
	int			fd;

	while (*end != NULL && !(*end)->own)
		end = &(*end)->next;
	if (*end != NULL)
		return *end;
	fd = create_file(client->spool, name, sizeof(name));
	if (fd >= 0)
		*end = make_file(name, fd);
	if (*end == NULL)
	{
		fail_spool(client, errno, "could not make a spool");
		if (fd >= 0)
		{
			unlinkat(client->spool->directory, name, 0);
			close(fd);
		}
		return NULL;
	}
	(*end)->own = true;
	return *end;
}

/* A file may grow no further than the system lets it: a signal, not an error, would say so. */
static int
room_for(tk_client *client, const tki_spool_file *file, size_t length)
{
	struct rlimit system;

	if (file->broken)
		return EIO;
	if (length > MAX_LINE || getrlimit(RLIMIT_FSIZE, &system) != 0 ||
		(system.rlim_cur != RLIM_INFINITY && (uint64_t) file->end + length > system.rlim_cur))
		return EFBIG;
	return client->metrics.spool_bytes + (int64_t) length > client->options.spool_limit ?
		EDQUOT : 0;
}

/*
 * Appends a line; 0, or why it is not there.  A disk that is full left nothing
 * that cannot be cut off.  One that failed to sync may have lost any of it, and
 * will not say so twice.
 */
static int
append_line(tki_spool_file *file, const char *line, size_t length)
{
	bool		written = write_all(file->fd, line, length);
	int			problem;

	if (written && fdatasync(file->fd) == 0)
	{
		file->end += (int64_t) length;
		file->records++;
		return 0;
	}
	problem = errno;
	file->broken = ftruncate(file->fd, file->end) != 0 || written;
	return problem;
}

/* Appends a record; false, with the error set, when it is not safely there. */
bool
tki_spool_append(tk_client *client, const tki_operation *operation,
				 const tki_parameters *parameters, int64_t at, bool unknown)
{
	tki_spool_file *file = tki_spool_own(client);
	size_t		length = 0;
	char	   *line;
	int			problem;

	if (file == NULL)
		return false;
	for (int i = 0; i < parameters->count; i++)
		length += (size_t) parameters->lengths[i];
	problem = room_for(client, file, length);
	if (problem == 0)
	{
		line = tki_record_line(operation, parameters, file->last + 1, at, unknown, &length);
		problem = line == NULL ? ENOMEM : room_for(client, file, length);
		if (problem == 0)
			problem = append_line(file, line, length);
		free(line);
	}
	if (problem != 0)
	{
		fail_spool(client, problem, "could not keep a record");

		/* Nothing is lost with an empty file: the next record may have a new one. */
		if (file->broken && file->end == 0)
			tki_spool_remove(client, file);
		return false;
	}
	file->last++;
	client->spooled = true;
	client->spool->window_file = NULL;
	tki_spool_count(client);
	return true;
}

/*
 * Removes a file that PostgreSQL has all of.  False when it may still be there
 * after a crash: then PostgreSQL must not forget how far it took the file.
 */
bool
tki_spool_remove(tk_client *client, tki_spool_file *file)
{
	tki_spool  *spool = client->spool;
	tki_spool_file **link = &spool->files;
	bool		gone = unlinkat(spool->directory, file->name, 0) == 0 || errno == ENOENT;
	bool		durable = gone && fsync(spool->directory) == 0;

	if (!durable)
		tki_log(client, TK_LOG_WARNING, "could not remove %s: %s", file->name, strerror(errno));
	if (gone)
	{
		while (*link != file)
			link = &(*link)->next;
		*link = file->next;
		free_file(spool, file);
	}
	tki_spool_count(client);
	return durable;
}
