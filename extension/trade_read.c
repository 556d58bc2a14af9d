/*
 * trade_read.c
 *		Statistics of a window: which summaries to use, and what to read besides.
 *
 * A window is cut into segments: months and days whose summaries hold, parts of days at its ragged
 * ends, and stretches of which the trades themselves are read.  A month that is marked, or not
 * summed up, falls back to its days; a day that is marked before the last trade of its summary
 * falls back to its trades, or to its parts before the mark, and one that is marked behind that
 * adds to the summary what comes later.  Only days with trades have a summary, and what was never
 * settled has a mark, so where there is neither there is nothing.
 *
 * Everything is read under the active snapshot, which is the one of the caller's statement: marks,
 * summaries and trades are of one moment, and our own changes are among them.  Nothing is
 * written, so it works on a standby.
 */
#include "trade.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/memutils.h"
#include "utils/rls.h"

#include "input.h"

PG_FUNCTION_INFO_V1(tradekeep_trade_stats);
PG_FUNCTION_INFO_V1(tradekeep_stats_by);

/* Arguments of both; stats_by() has the dimension before them. */
enum
{
	ARG_PERIOD, ARG_SYMBOL, ARG_STRATEGY, ARG_BOT, ARG_BALANCE, ARG_AT
};

#define WHERE_SPAN \
	" FROM tradekeep.trade_span AS s WHERE s.dimension OPERATOR(pg_catalog.=) $1" \
	" AND s.span OPERATOR(pg_catalog.=) $2" \
	" AND s.start OPERATOR(pg_catalog.>=) $3 AND s.start OPERATOR(pg_catalog.<) $4"

/* The summaries of all trades tell which days and months are summed up, and how far. */
static Statement select_headers = {
	.sql = "SELECT s.start, s.last_at" WHERE_SPAN
	" AND s.value OPERATOR(pg_catalog.=) '' ORDER BY s.start",
	.nargs = 4,
	.argtypes = {TEXTOID, CHAROID, TIMESTAMPOID, TIMESTAMPOID}
};
static Statement select_spans = {
	.sql = "SELECT " SPAN_COLUMN_LIST WHERE_SPAN
	" AND s.value OPERATOR(pg_catalog.=) $5 ORDER BY s.start",
	.nargs = 5,
	.argtypes = {TEXTOID, CHAROID, TIMESTAMPOID, TIMESTAMPOID, TEXTOID}
};
static Statement select_all_spans = {
	.sql = "SELECT " SPAN_COLUMN_LIST WHERE_SPAN " ORDER BY s.start",
	.nargs = 4,
	.argtypes = {TEXTOID, CHAROID, TIMESTAMPOID, TIMESTAMPOID}
};

typedef enum SegmentKind
{
	SEGMENT_MONTHS = SPAN_MONTH,
	SEGMENT_DAYS = SPAN_DAY,
	SEGMENT_PARTS = SPAN_PART,
	SEGMENT_TRADES = 't'
} SegmentKind;

/* From one time on and before another. */
typedef struct Segment
{
	SegmentKind kind;
	TimestampTz from;
	TimestampTz until;
} Segment;

/* What is asked. */
typedef struct Question
{
	TimestampTz from;			/* the first instant of the window; DT_NOBEGIN: all-time */
	TimestampTz until;			/* behind the last one */
	text	   *filters[DIMENSIONS];	/* by dimension; null: any */
	Dimension	source;			/* whose summaries to read */
	const text *value;			/* and which of them; null: all */
	bool		by_trades;		/* no summaries can answer it */
	Dimension	group;			/* by what to tell runs apart; ALL_TRADES: one run */
	Numeric		starting_balance;
} Question;

typedef struct Header
{
	TimestampTz start;
	TimestampTz last;
} Header;

typedef struct Reading
{
	Question	question;
	Marks		marks;
	List	   *segments;
	List	   *headers;		/* of the last query for them */
	HTAB	   *groups;
	bool		days;			/* the segment being read is of days or parts of them */
	MemoryContext context;		/* for what stays, */
	MemoryContext row_context;	/* and for what is of one row */
} Reading;

/* Cutting the window. */

/* Adds a segment; it joins its neighbour of the same kind, as there is nothing between them. */
static void
add_segment(Reading *reading, SegmentKind kind, TimestampTz from, TimestampTz until)
{
	Segment    *last = reading->segments == NIL ? NULL : llast(reading->segments);

	from = Max(from, reading->question.from);
	until = Min(until, reading->question.until);
	if (from >= until)
		return;
	if (last == NULL || last->kind != kind)
	{
		last = palloc(sizeof(Segment));
		last->kind = kind;
		last->from = from;
		reading->segments = lappend(reading->segments, last);
	}
	last->until = until;
}

static void
take_header(TupleTableSlot *slot, void *argument)
{
	Reading    *reading = argument;
	MemoryContext context = MemoryContextSwitchTo(reading->context);
	Header	   *header = palloc(sizeof(Header));

	header->start = DatumGetTimestamp(slot->tts_values[0]);
	header->last = DatumGetTimestampTz(slot->tts_values[1]);
	reading->headers = lappend(reading->headers, header);
	MemoryContextSwitchTo(context);
}

/* The headers of the spans that begin from one day on and before another. */
static List *
read_headers(Reading *reading, char span, DateADT from, DateADT until)
{
	Datum		values[] = {CStringGetTextDatum(""), CharGetDatum(span),
	TimestampGetDatum(day_start(from)), TimestampGetDatum(day_start(until))};

	reading->headers = NIL;
	read_rows(&select_headers, values, NULL, take_header, reading);
	return reading->headers;
}

/*
 * A day of which the window has only a part, or of which the summary holds only before a time.
 * Before that all trades lie in its parts, if it has any; behind the last part there are some
 * only if `rest` says so.
 */
static void
cut_parts(Reading *reading, DateADT day, TimestampTz limit, bool rest)
{
	const Question *question = &reading->question;
	TimestampTz from = day_start(day);
	List	   *parts = NIL;
	ListCell   *cell;

	if (question->source == ALL_TRADES && question->group == ALL_TRADES)
		parts = read_headers(reading, SPAN_PART, day, day + 1);
	foreach(cell, parts)
	{
		const Header *part = lfirst(cell);
		bool		within = question->from <= part->start && part->last < question->until;

		if (part->last >= limit)
		{
			rest = true;
			break;
		}
		add_segment(reading, within ? SEGMENT_PARTS : SEGMENT_TRADES, part->start, part->last + 1);
		from = part->last + 1;
	}
	if (rest || parts == NIL)
		add_segment(reading, SEGMENT_TRADES, from, day_start(day + 1));
}

/* A day with a summary or a mark, or both. */
static void
cut_day(Reading *reading, DateADT day, const Header *header, const Mark *mark)
{
	const Question *question = &reading->question;
	TimestampTz start = day_start(day);
	TimestampTz end = day_start(day + 1);

	if (header == NULL)
		add_segment(reading, SEGMENT_TRADES, start, end);
	else if (mark != NULL && mark->first <= header->last)
		cut_parts(reading, day, mark->first, true);
	else if (question->from > start || header->last >= question->until)
		cut_parts(reading, day, header->last + 1, mark != NULL);
	else
	{
		add_segment(reading, SEGMENT_DAYS, start, header->last + 1);
		if (mark != NULL)
			add_segment(reading, SEGMENT_TRADES, header->last + 1, end);
	}
}

/* Days from one on and before another. */
static void
cut_days(Reading *reading, DateADT from, DateADT until)
{
	List	   *headers = read_headers(reading, SPAN_DAY, from, until);
	int			next_header = 0;
	int			next_mark = 0;

	while (next_mark < reading->marks.nmarks && reading->marks.marks[next_mark].day < from)
		next_mark++;
	for (;;)
	{
		const Header *header = next_header < list_length(headers) ?
		list_nth(headers, next_header) : NULL;
		const Mark *mark = next_mark < reading->marks.nmarks &&
		reading->marks.marks[next_mark].day < until ? &reading->marks.marks[next_mark] : NULL;
		DateADT		day;

		if (header == NULL && mark == NULL)
			break;
		day = header == NULL ? mark->day : mark == NULL ? day_of(header->start) :
			Min(mark->day, day_of(header->start));
		if (header != NULL && day_of(header->start) > day)
			header = NULL;
		if (mark != NULL && mark->day > day)
			mark = NULL;
		cut_day(reading, day, header, mark);
		next_header += header != NULL;
		next_mark += mark != NULL;
	}
}

static bool
marked_between(const Marks *marks, DateADT from, DateADT until)
{
	for (int i = 0; i < marks->nmarks && marks->marks[i].day < until; i++)
		if (marks->marks[i].day >= from)
			return true;
	return false;
}

/* A month whose summary can stand for all of its trades. */
static bool
month_holds(const Reading *reading, DateADT month, const Header *header)
{
	const Question *question = &reading->question;

	return question->from <= header->start && header->last < question->until &&
		!marked_between(&reading->marks, month, next_month(month));
}

static void
cut_window(Reading *reading)
{
	const Question *question = &reading->question;
	DateADT		from = question->from == DT_NOBEGIN ? day_of(MIN_TIME) : day_of(question->from);
	DateADT		until = day_of(question->until - 1) + 1;
	ListCell   *cell;

	/* Summaries are of all rows, policies or not. */
	if (check_enable_rls(lock_trades(), InvalidOid, true) == RLS_ENABLED ||
		trades_are_unfinished() || question->by_trades)
	{
		add_segment(reading, SEGMENT_TRADES, question->from, question->until);
		return;
	}
	read_marks(&reading->marks);
	foreach(cell, read_headers(reading, SPAN_MONTH, from, until))
	{
		const Header *header = lfirst(cell);
		DateADT		month = day_of(header->start);

		if (!month_holds(reading, month, header))
			continue;
		if (from < month)
			cut_days(reading, from, month);
		from = next_month(month);
		add_segment(reading, SEGMENT_MONTHS, header->start, day_start(from));
	}
	if (from < until)
		cut_days(reading, from, until);
}

/* Reading it. */

static const text *
group_text(Dimension group, TupleTableSlot *slot)
{
	static const int columns[GROUPINGS] = {
		[BY_SYMBOL] = TRADE_SYMBOL,[BY_STRATEGY] = TRADE_STRATEGY,[BY_BOT] = TRADE_BOT,
		[BY_SIDE] = TRADE_SIDE,[BY_EXIT_REASON] = TRADE_EXIT_REASON
	};
	TimestampTz closed_at = DatumGetTimestampTz(slot->tts_values[TRADE_CLOSED_AT]);
	DateADT		day = day_of(closed_at);

	if (group == ALL_TRADES)
		return NULL;
	if (group == BY_WEEKDAY)
	{
		int			weekday = j2day(day + POSTGRES_EPOCH_JDATE);

		return cstring_to_text(psprintf("%d", weekday == 0 ? 7 : weekday));
	}
	if (group == BY_HOUR)
		return cstring_to_text(psprintf("%02d", (int) ((closed_at - day_start(day)) /
													   USECS_PER_HOUR)));
	return slot->tts_isnull[columns[group]] ? NULL :
		DatumGetTextPP(slot->tts_values[columns[group]]);
}

/* Finds the run of a row; what is made for the row alone goes with the next one. */
static Run *
run_of(Reading *reading, const text *value)
{
	MemoryContext context = MemoryContextSwitchTo(reading->context);
	RunGroup   *group = find_group(reading->groups, reading->question.group, value);

	MemoryContextSwitchTo(context);
	return &group->run;
}

static void
take_trade(TupleTableSlot *slot, void *argument)
{
	Reading    *reading = argument;
	MemoryContext context = MemoryContextSwitchTo(reading->row_context);
	ClosedTrade trade;

	MemoryContextReset(reading->row_context);
	trade_from_slot(&trade, slot);
	append_trade(run_of(reading, group_text(reading->question.group, slot)), &trade);
	MemoryContextSwitchTo(context);
}

static void
take_span(TupleTableSlot *slot, void *argument)
{
	Reading    *reading = argument;
	MemoryContext context = MemoryContextSwitchTo(reading->row_context);
	const text *value = NULL;
	Run			run;

	MemoryContextReset(reading->row_context);
	if (reading->question.group != ALL_TRADES && !slot->tts_isnull[1])
		value = DatumGetTextPP(slot->tts_values[1]);
	run_from_slot(&run, slot);
	append_run(run_of(reading, value), &run, reading->days);
	MemoryContextSwitchTo(context);
}

static void
read_segment(Reading *reading, const Segment *segment)
{
	const Question *question = &reading->question;
	Datum		values[5];
	char		nulls[5];

	memset(nulls, ' ', sizeof(nulls));
	if (segment->kind == SEGMENT_TRADES)
	{
		values[0] = TimestampTzGetDatum(segment->from);
		values[1] = TimestampTzGetDatum(segment->until);
		for (int i = BY_SYMBOL; i < DIMENSIONS; i++)
		{
			values[i + 1] = PointerGetDatum(question->filters[i]);
			nulls[i + 1] = question->filters[i] == NULL ? 'n' : ' ';
		}
		read_rows(&select_trades, values, nulls, take_trade, reading);
		return;
	}
	values[0] = CStringGetTextDatum(dimension_names[question->source]);
	values[1] = CharGetDatum(segment->kind);
	values[2] = TimestampGetDatum(segment->from);
	values[3] = TimestampGetDatum(segment->until);
	values[4] = PointerGetDatum(question->value);
	reading->days = segment->kind != SEGMENT_MONTHS;
	read_rows(question->value != NULL ? &select_spans : &select_all_spans, values, nulls, take_span,
			  reading);
}

/* Answers a question; the runs are in reading->groups, their days closed. */
static void
read_window(Reading *reading)
{
	HASH_SEQ_STATUS scan;
	RunGroup   *group;
	ListCell   *cell;

	reading->context = CurrentMemoryContext;
	reading->row_context = AllocSetContextCreate(CurrentMemoryContext, "tradekeep row",
												 ALLOCSET_DEFAULT_SIZES);
	reading->groups = create_groups("tradekeep groups", sizeof(RunGroup));
	if (reading->question.group == ALL_TRADES)
		(void) find_group(reading->groups, ALL_TRADES, NULL);
	cut_window(reading);
	foreach(cell, reading->segments)
		read_segment(reading, lfirst(cell));
	hash_seq_init(&scan, reading->groups);
	while ((group = hash_seq_search(&scan)) != NULL)
		close_day(&group->run);
}

/* The question. */

static void
ask_window(FunctionCallInfo fcinfo, int first, Question *question)
{
	TimestampTz at = at_argument(fcinfo, first + ARG_AT);
	Interval   *period;

	question->until = at + 1;
	question->from = DT_NOBEGIN;
	if (PG_ARGISNULL(first + ARG_PERIOD))
		return;
	/* As a timestamp, in UTC: months go by its calendar, not by the session's. */
	period = PG_GETARG_INTERVAL_P(first + ARG_PERIOD);
	question->from = DatumGetTimestamp(DirectFunctionCall2(timestamp_mi_interval,
														   TimestampGetDatum(at),
														   IntervalPGetDatum(period))) + 1;
	if (question->from < MIN_TIME || question->from >= question->until)
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_TTL),
				 errmsg("period is out of range: %s",
						DatumGetCString(DirectFunctionCall1(interval_out,
															IntervalPGetDatum(period)))),
				 errhint("It is longer than 0 and does not reach back behind 1900;"
						 " null stands for all time.")));
}

static void
ask_filters(FunctionCallInfo fcinfo, int first, Question *question)
{
	int			nfilters = 0;

	for (int i = BY_SYMBOL; i < DIMENSIONS; i++)
	{
		int			argno = first + ARG_SYMBOL + i - BY_SYMBOL;

		if (PG_ARGISNULL(argno))
			continue;
		question->filters[i] = PG_GETARG_TEXT_PP(argno);
		question->source = i;
		question->value = question->filters[i];
		nfilters++;
	}
	if (nfilters == 0 && question->group < DIMENSIONS)
		question->source = question->group;
	if (question->source == ALL_TRADES)
		question->value = cstring_to_text("");
	question->by_trades = nfilters > 1 || question->group >= DIMENSIONS ||
		(nfilters == 1 && question->group != ALL_TRADES);
}

static void
ask(FunctionCallInfo fcinfo, int first, Dimension group, Question *question)
{
	question->group = group;
	ask_window(fcinfo, first, question);
	ask_filters(fcinfo, first, question);
	if (PG_ARGISNULL(first + ARG_BALANCE))
		return;
	question->starting_balance = PG_GETARG_NUMERIC(first + ARG_BALANCE);
	if (numeric_is_nan(question->starting_balance) || numeric_is_inf(question->starting_balance) ||
		DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(question->starting_balance),
										  NumericGetDatum(int64_to_numeric(0)))) <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_TRADE),
				 errmsg("starting_balance is not a number above 0: %s",
						DatumGetCString(DirectFunctionCall1(numeric_out,
															NumericGetDatum(question->starting_balance))))));
}

/* Calendar days that the window touches; all-time begins with the first trade of the run. */
static int64
window_days(const Question *question, const Run *run)
{
	TimestampTz from = question->from == DT_NOBEGIN ? run->first : question->from;

	return run->trades == 0 ? 0 : day_of(question->until - 1) - day_of(from) + 1;
}

static void
answer(const Question *question, const RunGroup *group, Datum *values, bool *nulls)
{
	const Run  *run = &group->run;
	const text *symbol = question->group == BY_SYMBOL ? group->key.value :
	question->filters[BY_SYMBOL];

	run_metrics(run, window_days(question, run), question->starting_balance, values, nulls);
	nulls[METRIC_TOP_SYMBOLS] = run->trades == 0;
	if (run->trades > 0)
		values[METRIC_TOP_SYMBOLS] = top_symbols(run, symbol);
}

Datum
tradekeep_trade_stats(PG_FUNCTION_ARGS)
{
	Reading		reading = {0};
	Datum		values[METRIC_COLUMNS];
	bool		nulls[METRIC_COLUMNS];
	TupleDesc	desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	ask(fcinfo, 0, ALL_TRADES, &reading.question);
	read_window(&reading);
	answer(&reading.question, find_group(reading.groups, ALL_TRADES, NULL), values, nulls);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

static Dimension
dimension_argument(FunctionCallInfo fcinfo, int argno)
{
	char	   *name = PG_ARGISNULL(argno) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(argno));

	for (int i = BY_SYMBOL; name != NULL && i < GROUPINGS; i++)
		if (strcmp(name, dimension_names[i]) == 0)
			return i;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid dimension: %s", name == NULL ? "null" : quote_literal_cstr(name)),
			 errhint("Dimensions are symbol, strategy, bot, side, exit_reason, weekday and"
					 " hour.")));
}

static int
compare_groups(const void *left, const void *right)
{
	const text *a = (*(RunGroup *const *) left)->key.value;
	const text *b = (*(RunGroup *const *) right)->key.value;

	if (a == NULL || b == NULL)
		return (a == NULL) - (b == NULL);
	return compare_text(a, b);
}

Datum
tradekeep_stats_by(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Reading		reading = {0};
	HASH_SEQ_STATUS scan;
	RunGroup  **groups;
	RunGroup   *group;
	int			ngroups = 0;

	InitMaterializedSRF(fcinfo, 0);
	ask(fcinfo, 1, dimension_argument(fcinfo, 0), &reading.question);
	read_window(&reading);
	groups = palloc(sizeof(RunGroup *) * (hash_get_num_entries(reading.groups) + 1));
	hash_seq_init(&scan, reading.groups);
	while ((group = hash_seq_search(&scan)) != NULL)
		groups[ngroups++] = group;
	qsort(groups, ngroups, sizeof(RunGroup *), compare_groups);
	for (int i = 0; i < ngroups; i++)
	{
		Datum		values[1 + METRIC_COLUMNS];
		bool		nulls[1 + METRIC_COLUMNS];

		values[0] = PointerGetDatum(groups[i]->key.value);
		nulls[0] = groups[i]->key.value == NULL;
		answer(&reading.question, groups[i], values + 1, nulls + 1);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	PG_RETURN_NULL();
}
