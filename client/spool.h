/*
 * spool.h
 *		What the files of degraded mode share: degrade.c decides and writes, replay.c
 *		reads, spool.c keeps the files, spool_record.c knows what a line means, and
 *		grants.c which keys the lines grant.
 */
#ifndef TRADEKEEP_SPOOL_H
#define TRADEKEEP_SPOOL_H

#include "internal.h"

#include <cjson/cJSON.h>
#include <locale.h>

#define SPOOL_SUFFIX	".spool"
#define REJECTED_SUFFIX	".rejected"

/* The longest line of a spool; what has no end by then is no line. */
#define MAX_LINE		(16 * 1024 * 1024)

/* How far a file was replayed. */
typedef struct tki_replayed
{
	int64_t		offset;			/* behind the last line */
	int64_t		number;			/* of the last record */
	int64_t		records;
	int64_t		collisions;
} tki_replayed;

/* A file of records, which only this process appends to and replays: it holds the lock on it. */
typedef struct tki_spool_file
{
	struct tki_spool_file *next;
	char		id[37];			/* a UUID, by which PostgreSQL knows how far it took the file */
	char		name[64];
	int			fd;
	bool		own;			/* this handle appends to it; the others are orphans */
	bool		broken;			/* the disk failed, and what it says is not to be trusted again */
	int64_t		began;			/* ms, when its first record was written */
	int64_t		end;			/* bytes of whole lines */
	int64_t		last;			/* number of the last record */
	int64_t		records;		/* lines not yet replayed ... */
	int64_t		offset;			/* ... which begin here, */
	int64_t		position;		/* behind the record of this number */
	tki_replayed sent;			/* what the last commit was about, if it is not known to be over */
} tki_spool_file;

struct tki_spool
{
	int			directory;
	char	   *path;
	tki_spool_file *files;		/* in the order of their replay: the own one is the last */
	bool		more;			/* orphans are left for when these are done */
	int64_t		announced;		/* the outage behind this number of connections was logged */
	int64_t		next_replay;	/* not before, on the monotonic clock, in ms */

	/* A part of one file, to read it line by line. */
	char	   *window;
	size_t		window_size;
	size_t		window_used;
	int64_t		window_start;
	const tki_spool_file *window_file;
};

typedef enum tki_line_status
{
	TKI_LINE,					/* with its newline */
	TKI_LINE_TORN,				/* the file ends before the line does */
	TKI_LINE_NONE,				/* the end of the file */
	TKI_LINE_FAILED				/* errno says why */
} tki_line_status;

typedef struct tki_line
{
	const char *text;			/* valid until the next line is read */
	size_t		length;			/* without the newline */
	int64_t		next;			/* where the next one begins */
} tki_line;

/* What a record does: a statement, whose parameters are the record's members. */
typedef struct tki_operation
{
	const char *name;
	const tki_statement *statement;
	int			moment;			/* parameter that is null for the time of the call; -1: none */
	const char *names[MAX_PARAMETERS];
} tki_operation;

typedef struct tki_record
{
	const tki_operation *operation;
	int64_t		number;			/* from 1 on, in each file */
	int64_t		at;				/* ms, when it was written */
	bool		unknown;		/* PostgreSQL may have done it already: its answer was lost */
	cJSON	   *json;			/* what text in the parameters points into */
	tki_parameters parameters;
	tki_array	arrays[MAX_PARAMETERS];
} tki_record;

typedef enum tki_record_status
{
	TKI_RECORD,
	TKI_RECORD_DAMAGED,
	TKI_RECORD_FOREIGN			/* whole, and of a version that is not ours */
} tki_record_status;

typedef enum tki_operation_id
{
	TKI_OPERATION_CLAIM,
	TKI_OPERATION_SIGNAL,
	TKI_OPERATION_CANDLES,
	TKI_OPERATION_SYMBOLS,
	TKI_OPERATION_KLINES,
	TKI_OPERATION_TRADE,
	TKI_OPERATION_CLOSE_TRADE,
	TKI_OPERATIONS
}			tki_operation_id;

/* Parameters of the statements that replay claims and signals. */
enum
{
	CLAIM_SCOPE, CLAIM_KEY, CLAIM_TTL, CLAIM_DATA
};
enum
{
	SIGNAL_SYMBOL, SIGNAL_DIRECTION, SIGNAL_PRICE, SIGNAL_TOLERANCE, SIGNAL_TTL, SIGNAL_DATA
};

/* spool.c */
extern bool tki_is_spool(const char *name);
extern int	tki_spool_adopt(tk_client *client, const char *name);
extern bool tki_spool_adopt_more(tk_client *client);
extern tki_spool_file *tki_spool_own(tk_client *client);
extern bool tki_spool_append(tk_client *client, const tki_operation *operation,
							 const tki_parameters *parameters, int64_t at, bool unknown);
extern tki_line_status tki_spool_read(tki_spool *spool, const tki_spool_file *file,
									  int64_t offset, tki_line *line);
extern bool tki_spool_reject(tk_client *client, const tki_spool_file *file, const tki_line *line);
extern bool tki_spool_remove(tk_client *client, tki_spool_file *file);
extern void tki_spool_count(tk_client *client);

/* spool_record.c */
extern const tki_operation tki_operations[TKI_OPERATIONS];
extern const tki_operation *tki_operation_of(const tki_statement *statement);
extern bool tki_record_check(tk_client *client, const tki_operation *operation,
							 const tki_parameters *parameters);
extern char *tki_record_line(const tki_operation *operation, const tki_parameters *parameters,
							 int64_t number, int64_t at, bool unknown, size_t *length);
extern tki_record_status tki_record_read(const char *line, size_t length, tki_record *record);
extern void tki_record_free(tki_record *record);
extern int64_t tki_record_expiry(const tki_record *record);
extern bool tki_record_request(const tki_record *record, tki_request *request);
extern locale_t tki_enter_c_locale(locale_t *before);
extern void tki_leave_c_locale(locale_t c, locale_t before);

/* degrade.c */
extern void tki_unmark(tk_client *client, const tki_spool_file *file, const tki_record *record);

/* replay.c */
extern bool tki_replay(tk_client *client, int64_t limit, int64_t deadline);
extern void tki_replay_some(tk_client *client);

/* grants.c */
typedef struct tki_grant
{
	struct tki_grant *next;
	uint64_t	hash;
	int64_t		at;
	int64_t		expires_at;
	bool		is_signal;
	double		price;			/* of a signal, else 0 */
	char		name[];			/* scope or symbol, then key or direction */
} tki_grant;

extern tki_grant *tki_grant_add(tk_client *client, const tki_request *request, int64_t at,
								int64_t expires_at);
extern bool tki_grant_record(tk_client *client, const tki_record *record);
extern const tki_grant *tki_grant_find(const tk_client *client, const tki_request *request,
									   int64_t now);
extern void tki_grants_clear(tk_client *client);

#endif							/* TRADEKEEP_SPOOL_H */
