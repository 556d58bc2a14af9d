/*
 * input.c
 *		A file or standard input, plain or gzipped, read through a bounded buffer.
 *
 * zlib looks at the first two bytes: what does not start as gzip does is passed
 * through as it is.
 */
#include "input.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

static bool
fail(input_file *input, const char *reason)
{
	snprintf(input->failure, sizeof(input->failure), "%s", reason);
	return false;
}

static bool
check_kind(input_file *input)
{
	struct stat status;

	if (fstat(input->fd, &status) != 0)
		return fail(input, strerror(errno));
	if (S_ISDIR(status.st_mode))
		return fail(input, "it is a directory");
	input->size = S_ISREG(status.st_mode) ? status.st_size : -1;
	return true;
}

/* "-" is standard input.  When it fails, input->failure says why. */
bool
input_open(input_file *input, const char *path)
{
	memset(input, 0, offsetof(input_file, buffer));
	input->line = 1;
	input->fd = strcmp(path, "-") == 0 ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
	if (input->fd < 0)
		return fail(input, strerror(errno));
	if (!check_kind(input) || (input->gz = gzdopen(input->fd, "rb")) == NULL)
	{
		close(input->fd);
		return input->failure[0] == '\0' ? fail(input, "out of memory") : false;
	}
	gzbuffer(input->gz, INPUT_BUFFER);
	return true;
}

void
input_close(input_file *input)
{
	if (input->gz != NULL)
		gzclose(input->gz);
	input->gz = NULL;
}

/*
 * Reads more behind what is unread; false when nothing more can be had: at the
 * end of the file, after a failure, or when the buffer is full.
 */
bool
input_fill(input_file *input)
{
	int			length;
	int			error;

	if (input->start > 0)
	{
		memmove(input->buffer, input->buffer + input->start, input->end - input->start);
		input->end -= input->start;
		input->start = 0;
	}
	if (input->end == INPUT_BUFFER || input->failure[0] != '\0')
		return false;
	length = gzread(input->gz, input->buffer + input->end, (unsigned) (INPUT_BUFFER - input->end));
	gzerror(input->gz, &error);
	/* What precedes an unexpected end tells of it at once, and with some zlibs only then. */
	if (length > 0 && error != Z_BUF_ERROR)
	{
		input->end += (size_t) length;
		return true;
	}
	if (error == Z_ERRNO)
		return fail(input, strerror(errno));
	if (error != Z_OK && error != Z_STREAM_END)
		return fail(input, error == Z_BUF_ERROR ? "the gzip file is truncated" :
					"the gzip file is damaged");
	return false;
}

/*
 * True unless a plain file ends, blanks aside, with another character: what is
 * truncated can then be refused before anything of it is used.
 */
bool
input_ends_with(const input_file *input, char last)
{
	char		tail[4096];
	int64_t		offset = input->size > (int64_t) sizeof(tail) ?
	input->size - (int64_t) sizeof(tail) : 0;
	ssize_t		length = 0;

	if (input->size > 0 && gzdirect(input->gz))
		length = pread(input->fd, tail, sizeof(tail), offset);
	while (length > 0 && isspace((unsigned char) tail[length - 1]))
		length--;
	return length <= 0 || tail[length - 1] == last;
}

/* How much of the file was read, as a share of 1; negative when that is unknown. */
double
input_progress(const input_file *input)
{
	return input->size > 0 ? (double) gzoffset(input->gz) / (double) input->size : -1;
}
