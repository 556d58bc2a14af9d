/*
 * input.h
 *		A file or standard input, plain or gzipped, read through a bounded buffer.
 */
#ifndef TRADEKEEP_INPUT_H
#define TRADEKEEP_INPUT_H

#include "command.h"

/* A row has a hundredth of this; what is longer is none. */
#define INPUT_BUFFER 65536

typedef struct input_file
{
	int			fd;				/* of gz, which closes it */
	struct gzFile_s *gz;
	int64_t		size;			/* of the file in bytes; -1 when it has none */
	int64_t		line;			/* of the byte at start, counted from 1 */
	size_t		start;			/* what is unread lies in buffer[start, end) */
	size_t		end;
	char		failure[128];	/* why reading stopped before the end of the file, or "" */
	char		buffer[INPUT_BUFFER];
} input_file;

extern bool input_open(input_file *input, const char *path);
extern bool input_ends_with(const input_file *input, char last);
extern bool input_fill(input_file *input);
extern double input_progress(const input_file *input);
extern void input_close(input_file *input);

#endif							/* TRADEKEEP_INPUT_H */
