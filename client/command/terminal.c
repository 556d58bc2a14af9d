/*
 * terminal.c
 *		Colours and progress, for terminals only.
 */
#include "command.h"

#include <stdlib.h>
#include <unistd.h>

#define BAR_WIDTH 30

/* U+2588 and U+2591 */
#define FULL_BLOCK "\xe2\x96\x88"
#define LIGHT_BLOCK "\xe2\x96\x91"

/* The escape sequence of a colour, or nothing: for a pipe, a file, or under NO_COLOR. */
const char *
paint(FILE *stream, text_colour colour)
{
	static const char *const sequences[] = {"\033[0m", "\033[1m", "\033[2m", "\033[32m",
	"\033[33m", "\033[31m"};
	const char *no_color = getenv("NO_COLOR");

	if ((no_color != NULL && no_color[0] != '\0') || !isatty(fileno(stream)))
		return "";
	return sequences[colour];
}

/* Takes out what a terminal would obey: files and databases may hold anything. */
char *
defuse(char *text)
{
	for (char *p = text; *p != '\0'; p++)
	{
		if ((unsigned char) *p < ' ' || *p == 127)
			*p = '?';
	}
	return text;
}

/* 1234567 as 1,234,567 */
const char *
with_commas(int64_t number, char buffer[32])
{
	char		digits[24];
	int			length = snprintf(digits, sizeof(digits), "%lld", (long long) number);
	char	   *target = buffer;

	for (int i = 0; i < length; i++)
	{
		if (i > 0 && (length - i) % 3 == 0 && digits[i - 1] != '-')
			*target++ = ',';
		*target++ = digits[i];
	}
	*target = '\0';
	return buffer;
}

/* Draws at most ten times a second.  `done` is a share of 1, or negative when unknown. */
void
show_progress(const char *what, double done, int64_t count, double seconds)
{
	static double drawn = -1;
	char		number[32];
	char		rate[32];
	int			filled = (int) (done * BAR_WIDTH);

	if (!isatty(STDERR_FILENO) || (seconds >= drawn && seconds < drawn + 0.1 && done < 1))
		return;
	drawn = seconds;
	fprintf(stderr, "\r\033[K");
	if (done >= 0)
	{
		fprintf(stderr, "%s", paint(stderr, GREEN));
		for (int i = 0; i < BAR_WIDTH; i++)
			fputs(i < filled ? FULL_BLOCK : LIGHT_BLOCK, stderr);
		fprintf(stderr, "%s %3d%%  ", paint(stderr, PLAIN), (int) (done * 100));
	}
	fprintf(stderr, "%s %s  %s/s", with_commas(count, number), what,
			with_commas(seconds > 0 ? (int64_t) ((double) count / seconds) : 0, rate));
	if (done > 0 && done < 1 && seconds > 0.5)
		fprintf(stderr, "  %.0f s left", seconds * (1 - done) / done);
	fflush(stderr);
}

void
hide_progress(void)
{
	if (isatty(STDERR_FILENO))
		fputs("\r\033[K", stderr);
}
