/*
 * replay.c
 *		tradekeep replay: takes the spools of bots that are gone into PostgreSQL.
 *
 * A bot that runs does this by itself, also with what the last one left in its
 * folder.  This is for what no bot comes back for, and to look into spools.
 */
#include "command.h"

#include "spool.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>

/* Records between two drawings of the progress. */
#define SLICE 1000

const char *const replay_help =
"tradekeep replay DIRECTORY|FILE ... [OPTION...]\n"
"\n"
"Stores what bots kept in their spools (tradekeep-UUID.spool) while the database was away, each\n"
"record once, however often this is cut off, and removes the files. The spool of a bot that\n"
"runs is left to it. Each collision is shown: a claim or signal that somebody else had got, too.\n"
"Records that the database refuses are shown, and kept in FILE.rejected.\n"
"\n"
"  --dry-run           only print the records\n"
"  --json              the summary as JSON\n"
"  --url URL           where to store\n"
"\n"
"With REDIS_URL and the like, what the records left in Redis is removed there, too.\n"
"\n"
"Exit codes: 0 done; 1 failed; 3 the database cannot be reached, and nothing is lost; 4 done,\n"
"but records were rejected; 130 interrupted.";

typedef struct replay_job
{
	const char *url;
	bool		dry_run;
	bool		json;
	int64_t		living;			/* spools of bots that run */
	tk_replay_report report;
	struct timespec start;
} replay_job;

static void
show(void *context, tk_log_level level, const char *message)
{
	replay_job *job = context;
	bool		lives = strstr(message, "its process is alive") != NULL;

	job->living += lives;
	if ((level < TK_LOG_WARNING && !lives) || strstr(message, "next attempt in") != NULL)
		return;
	hide_progress();
	fprintf(stderr, "%stradekeep: ", paint(stderr, YELLOW));
	for (const char *p = message; *p != '\0'; p++)
		fputc((unsigned char) *p < ' ' || *p == 127 ? '?' : *p, stderr);
	fprintf(stderr, "%s\n", paint(stderr, PLAIN));
}

static tk_client *
open_handle(replay_job *job)
{
	tk_options	options;
	tk_client  *client;

	tk_options_init(&options);
	if (job->url != NULL)
		options.database_url = job->url;
	options.application_name = "tradekeep replay";
	options.outage = TK_REFUSE;
	options.spool_directory = NULL;
	options.log = show;
	options.log_context = job;
	client = tk_open(&options);
	if (client == NULL)
	{
		fputs("tradekeep: out of memory\n", stderr);
		exit(EXIT_FAILED);
	}
	return client;
}

/* Takes over a spool, or all in a directory. */
static bool
adopt(tk_client *client, const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash != NULL ? slash + 1 : path;
	char	   *directory = strdup(path);
	char		reason[512] = "out of memory";
	bool		opened;
	int			problem = 0;

	if (directory == NULL || !tki_is_spool(name))
		opened = directory != NULL && tki_spool_open(client, path, true, reason, sizeof(reason));
	else
	{
		directory[name - path] = '\0';
		opened = tki_spool_open(client, directory[0] != '\0' ? directory : ".", false, reason,
								sizeof(reason));
		if (opened)
			problem = tki_spool_adopt(client, name);
	}
	if (!opened)
		fprintf(stderr, "tradekeep: %s\n", reason);
	free(directory);
	return opened && (problem == 0 || problem == EWOULDBLOCK);
}

/* Prints all lines, each as it stands in its file. */
static void
print_records(tk_client *client)
{
	for (const tki_spool_file *file = client->spool->files; file != NULL; file = file->next)
	{
		tki_line	line;

		for (int64_t offset = 0; offset < file->end; offset = line.next)
		{
			tki_record	record;

			if (tki_spool_read(client->spool, file, offset, &line) == TKI_LINE_FAILED)
				break;
			if (tki_record_read(line.text, line.length, &record) == TKI_RECORD)
				printf("%.*s\n", (int) line.length, line.text);
			else
				fprintf(stderr, "tradekeep: %s: a damaged line at byte %lld\n", file->name,
						(long long) offset);
			tki_record_free(&record);
		}
	}
}

static int
replay_records(replay_job *job, tk_client *client)
{
	bool		going = client->metrics.spool_records == 0 || tk_connect(client) == 0;
	int64_t		done;

	while (client->metrics.spool_records > 0 && going && !interrupted)
	{
		going = tki_replay(client, SLICE, INT64_MAX);
		done = client->metrics.replayed + client->metrics.rejected;
		show_progress("records", (double) done / (double) (done + client->metrics.spool_records),
					  done, seconds_since(&job->start));
	}
	hide_progress();
	job->report.replayed += client->metrics.replayed;
	job->report.collisions += client->metrics.collisions;
	job->report.rejected += client->metrics.rejected;
	job->report.remaining += client->metrics.spool_records;
	if (!going)
		return report_failure(client);
	return interrupted ? EXIT_INTERRUPTED : EXIT_DONE;
}

static int
replay_path(replay_job *job, const char *path)
{
	tk_client  *client = open_handle(job);
	int			status = EXIT_FAILED;

	if (adopt(client, path))
	{
		if (job->dry_run)
			print_records(client);
		status = job->dry_run ? EXIT_DONE : replay_records(job, client);
	}
	tk_close(client);
	return status;
}

static void
summarize(const replay_job *job, int status)
{
	const summary_line lines[] =
	{
		{"replayed", job->report.replayed}, {"collisions", job->report.collisions},
		{"rejected", job->report.rejected}, {"remaining", job->report.remaining},
		{"living", job->living},
	};

	print_summary(lines, 5, seconds_since(&job->start), job->json, status);
}

int
replay_main(int argc, char **argv)
{
	static const struct option options[] = {
		{"url", required_argument, NULL, 'u'}, {"dry-run", no_argument, NULL, 'n'},
		{"json", no_argument, NULL, 'j'}, {0}
	};
	replay_job	job = {0};
	int			status = EXIT_DONE;
	int			option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
	{
		if (option == 'u')
			job.url = optarg;
		else if (option == 'n')
			job.dry_run = true;
		else if (option == 'j')
			job.json = true;
		else
			return wrong_usage("replay", "an option is wrong");
	}
	if (optind == argc)
		return wrong_usage("replay", "which directory?");
	catch_interrupts();
	clock_gettime(CLOCK_MONOTONIC, &job.start);
	for (int i = optind; i < argc && status == EXIT_DONE; i++)
		status = replay_path(&job, argv[i]);
	if (status == EXIT_DONE && job.report.rejected > 0)
		status = EXIT_SKIPPED;
	if (!job.dry_run)
		summarize(&job, status);
	return status;
}
