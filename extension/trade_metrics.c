/*
 * trade_metrics.c
 *		What a run of trades amounts to, and the aggregate that tells it of any query.
 *
 * Sums are exact; a ratio is rounded once its sums are, to double precision, and an average to
 * the digits of a numeric division.  A variance is the exact n * sum(x^2) - sum(x)^2 over
 * n * (n - 1), so equal numbers have exactly none.  What does not exist is null.
 */
#include "trade.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "libpq/pqformat.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "input.h"

PG_FUNCTION_INFO_V1(tradekeep_trade_summary_step);
PG_FUNCTION_INFO_V1(tradekeep_trade_summary_combine);
PG_FUNCTION_INFO_V1(tradekeep_trade_summary_serialize);
PG_FUNCTION_INFO_V1(tradekeep_trade_summary_deserialize);
PG_FUNCTION_INFO_V1(tradekeep_trade_summary_final);

/* A year of a market that never closes. */
#define DAYS_PER_TRADING_YEAR 365.0

/* Columns of trade_metrics. */
enum
{
	TRADES, WINS, LOSSES, DRAWS, WIN_RATE, TOTAL_PNL, GROSS_PROFIT, GROSS_LOSS, PROFIT_FACTOR,
	AVERAGE_WIN, AVERAGE_LOSS, PAYOFF_RATIO, EXPECTANCY, EXPECTANCY_RATIO, BEST_PNL, WORST_PNL,
	MAX_DRAWDOWN, MAX_DRAWDOWN_RATIO, SHARPE, SORTINO, CALMAR, SQN, AVERAGE_HOLDING
};

static double
to_double(Numeric value)
{
	return DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow,
											  NumericGetDatum(value)));
}

static Numeric
divide(Numeric value, int64 by)
{
	return DatumGetNumeric(DirectFunctionCall1(numeric_trim_scale,
											   DirectFunctionCall2(numeric_div,
																   NumericGetDatum(value),
																   NumericGetDatum(int64_to_numeric(by)))));
}

static Numeric
multiply(Numeric value, int64 by)
{
	return numeric_mul_opt_error(value, int64_to_numeric(by), NULL);
}

/* n * sum(x^2) - sum(x)^2, which is never below zero. */
static double
spread(int64 n, Numeric sum, Numeric squares)
{
	Numeric		left = multiply(squares, n);
	Numeric		right = numeric_mul_opt_error(sum, sum, NULL);

	return to_double(numeric_sub_opt_error(left, right, NULL));
}

static void
set(Datum *values, bool *nulls, int column, Datum value)
{
	values[column] = value;
	nulls[column] = false;
}

static void
set_ratio(Datum *values, bool *nulls, int column, double ratio)
{
	if (isfinite(ratio))
		set(values, nulls, column, Float8GetDatum(ratio));
}

/*
 * (1 + payoff_ratio) * win_rate - 1 brought onto one denominator, so that nothing is lost where
 * it comes close to 0.
 */
static double
expectancy_ratio(const Run *run)
{
	Numeric		won = multiply(run->figures[PROFIT], run->losses);
	Numeric		lost = multiply(run->figures[LOSS], run->trades - run->wins);

	return to_double(numeric_add_opt_error(won, lost, NULL)) /
		-to_double(multiply(run->figures[LOSS], run->trades));
}

/* What wins and losses are by themselves and to each other. */
static void
set_averages(const Run *run, Datum *values, bool *nulls)
{
	double		profit = to_double(run->figures[PROFIT]);
	double		loss = -to_double(run->figures[LOSS]);
	double		payoff = profit / run->wins / (loss / run->losses);

	set_ratio(values, nulls, WIN_RATE, (double) run->wins / run->trades);
	if (run->wins > 0)
		set(values, nulls, AVERAGE_WIN,
			NumericGetDatum(divide(run->figures[PROFIT], run->wins)));
	if (run->losses > 0)
	{
		set(values, nulls, AVERAGE_LOSS,
			NumericGetDatum(divide(run->figures[LOSS], run->losses)));
		set_ratio(values, nulls, PROFIT_FACTOR, profit / loss);
	}
	if (run->wins > 0 && run->losses > 0)
	{
		set_ratio(values, nulls, PAYOFF_RATIO, payoff);
		set_ratio(values, nulls, EXPECTANCY_RATIO, expectancy_ratio(run));
	}
	/* win_rate * average_win is profit / trades, and so on. */
	set(values, nulls, EXPECTANCY, NumericGetDatum(divide(run->figures[TOTAL], run->trades)));
}

/* Ratios of the mean to the spread, of days and of trades. */
static void
set_spreads(const Run *run, int64 days, Datum *values, bool *nulls)
{
	double		total = to_double(run->figures[TOTAL]);
	double		loss_squares = to_double(run->figures[DAY_LOSS_SQUARES]);
	double		of_days = spread(days, run->figures[TOTAL], run->figures[DAY_SQUARES]);
	double		of_trades = spread(run->trades, run->figures[TOTAL], run->figures[SQUARES]);

	if (days > 1 && of_days > 0)
		set_ratio(values, nulls, SHARPE,
				  total / sqrt(of_days) * sqrt((days - 1.0) / days * DAYS_PER_TRADING_YEAR));
	if (loss_squares > 0)
		set_ratio(values, nulls, SORTINO,
				  total / sqrt(loss_squares) / sqrt((double) days) * sqrt(DAYS_PER_TRADING_YEAR));
	if (run->trades > 1 && of_trades > 0)
		set_ratio(values, nulls, SQN, total / sqrt(of_trades) * sqrt(run->trades - 1.0));
}

/* What depends on the balance that a run began with. */
static void
set_balance(const Run *run, int64 days, Numeric starting_balance, Datum *values, bool *nulls)
{
	double		peak = to_double(numeric_add_opt_error(starting_balance,
													   run->figures[DRAWDOWN_PEAK], NULL));
	double		ratio = to_double(run->figures[DRAWDOWN]) / peak;
	double		starting = to_double(starting_balance);
	double		final = to_double(numeric_add_opt_error(starting_balance, run->figures[TOTAL], NULL));
	double		gain = to_double(run->figures[TOTAL]) / starting;
	double		growth;

	set_ratio(values, nulls, MAX_DRAWDOWN_RATIO, ratio);
	if (final <= 0 || ratio <= 0)
		return;
	/* (final / starting)^(365 / days) - 1, exact for small gains and for small remainders */
	growth = gain > -0.5 ? log1p(gain) : log(final / starting);
	set_ratio(values, nulls, CALMAR, expm1(growth * DAYS_PER_TRADING_YEAR / days) / ratio);
}

static Interval *
average_holding(const Run *run)
{
	Numeric		average = divide(run->figures[HOLDING], run->held);
	int64		usecs = DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(average)));
	Interval   *interval = palloc0(sizeof(Interval));

	interval->day = usecs / USECS_PER_DAY;
	interval->time = usecs % USECS_PER_DAY;
	return interval;
}

/*
 * The metrics of a run of which all days are closed, over `days` calendar days; a null
 * starting balance is unknown.  The last column is for the caller.
 */
void
run_metrics(const Run *run, int64 days, Numeric starting_balance, Datum *values, bool *nulls)
{
	memset(nulls, true, METRIC_COLUMNS);
	set(values, nulls, TRADES, Int64GetDatum(run->trades));
	set(values, nulls, WINS, Int64GetDatum(run->wins));
	set(values, nulls, LOSSES, Int64GetDatum(run->losses));
	set(values, nulls, DRAWS, Int64GetDatum(run->trades - run->wins - run->losses));
	if (run->trades == 0)
		return;
	set(values, nulls, TOTAL_PNL, NumericGetDatum(run->figures[TOTAL]));
	set(values, nulls, GROSS_PROFIT, NumericGetDatum(run->figures[PROFIT]));
	set(values, nulls, GROSS_LOSS, NumericGetDatum(run->figures[LOSS]));
	set(values, nulls, BEST_PNL, NumericGetDatum(run->figures[BEST]));
	set(values, nulls, WORST_PNL, NumericGetDatum(run->figures[WORST]));
	set(values, nulls, MAX_DRAWDOWN, NumericGetDatum(run->figures[DRAWDOWN]));
	set_averages(run, values, nulls);
	set_spreads(run, days, values, nulls);
	if (starting_balance != NULL)
		set_balance(run, days, starting_balance, values, nulls);
	if (run->held > 0)
		set(values, nulls, AVERAGE_HOLDING, IntervalPGetDatum(average_holding(run)));
}

/*
 * The aggregate.  Rows come in any order, and those of parallel workers lie between each
 * other, so they are kept until the end and sorted then.
 */
typedef struct SummaryRow
{
	TimestampTz closed_at;
	text	   *trade_id;
	Numeric		pnl;
} SummaryRow;

typedef struct SummaryState
{
	MemoryContext context;
	SummaryRow *rows;
	int64		nrows;
	int64		allocated;
} SummaryState;

static MemoryContext
aggregate_context(FunctionCallInfo fcinfo)
{
	MemoryContext context;

	if (!AggCheckCallContext(fcinfo, &context))
		elog(ERROR, "trade_summary() is called outside of an aggregate");
	return context;
}

static SummaryState *
make_state(MemoryContext context)
{
	SummaryState *state = MemoryContextAllocZero(context, sizeof(SummaryState));

	state->context = context;
	state->allocated = 64;
	state->rows = MemoryContextAlloc(context, sizeof(SummaryRow) * state->allocated);
	return state;
}

/* Takes copies. */
static void
add_summary_row(SummaryState *state, TimestampTz closed_at, const text *trade_id, Numeric pnl)
{
	SummaryRow *row;

	if (state->nrows == state->allocated)
	{
		state->allocated *= 2;
		state->rows = repalloc_huge(state->rows, sizeof(SummaryRow) * state->allocated);
	}
	row = &state->rows[state->nrows++];
	row->closed_at = closed_at;
	row->trade_id = MemoryContextAlloc(state->context, VARSIZE_ANY(trade_id));
	memcpy(row->trade_id, trade_id, VARSIZE_ANY(trade_id));
	row->pnl = MemoryContextAlloc(state->context, VARSIZE(pnl));
	memcpy(row->pnl, pnl, VARSIZE(pnl));
}

static SummaryState *
state_argument(FunctionCallInfo fcinfo, int argno)
{
	return PG_ARGISNULL(argno) ? NULL : (SummaryState *) PG_GETARG_POINTER(argno);
}

/* Rows without a time or a pnl are open trades, and left out. */
Datum
tradekeep_trade_summary_step(PG_FUNCTION_ARGS)
{
	MemoryContext context = aggregate_context(fcinfo);
	SummaryState *state = state_argument(fcinfo, 0);
	TimestampTz closed_at;
	Numeric		pnl;

	if (state == NULL)
		state = make_state(context);
	if (PG_ARGISNULL(1) || PG_ARGISNULL(3))
		PG_RETURN_POINTER(state);
	closed_at = PG_GETARG_TIMESTAMPTZ(1);
	check_time(closed_at, "closed_at");
	pnl = PG_GETARG_NUMERIC(3);
	if (numeric_is_nan(pnl) || numeric_is_inf(pnl))
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_TRADE),
				 errmsg("pnl is not finite: %s",
						DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(pnl))))));
	add_summary_row(state, closed_at,
					PG_ARGISNULL(2) ? cstring_to_text("") : PG_GETARG_TEXT_PP(2), pnl);
	PG_RETURN_POINTER(state);
}

Datum
tradekeep_trade_summary_combine(PG_FUNCTION_ARGS)
{
	MemoryContext context = aggregate_context(fcinfo);
	SummaryState *state = state_argument(fcinfo, 0);
	const SummaryState *other = state_argument(fcinfo, 1);

	if (state == NULL)
		state = make_state(context);
	for (int64 i = 0; other != NULL && i < other->nrows; i++)
		add_summary_row(state, other->rows[i].closed_at, other->rows[i].trade_id,
						other->rows[i].pnl);
	PG_RETURN_POINTER(state);
}

/* Times, and the two others as they lie in memory: they go to another process of this server. */
Datum
tradekeep_trade_summary_serialize(PG_FUNCTION_ARGS)
{
	const SummaryState *state = state_argument(fcinfo, 0);
	StringInfoData buffer;

	(void) aggregate_context(fcinfo);
	pq_begintypsend(&buffer);
	for (int64 i = 0; i < state->nrows; i++)
	{
		const SummaryRow *row = &state->rows[i];

		pq_sendint64(&buffer, row->closed_at);
		pq_sendint32(&buffer, VARSIZE_ANY_EXHDR(row->trade_id));
		pq_sendbytes(&buffer, VARDATA_ANY(row->trade_id), VARSIZE_ANY_EXHDR(row->trade_id));
		pq_sendint32(&buffer, VARSIZE(row->pnl));
		pq_sendbytes(&buffer, (char *) row->pnl, VARSIZE(row->pnl));
	}
	PG_RETURN_BYTEA_P(pq_endtypsend(&buffer));
}

Datum
tradekeep_trade_summary_deserialize(PG_FUNCTION_ARGS)
{
	bytea	   *bytes = PG_GETARG_BYTEA_PP(0);
	SummaryState *state = make_state(CurrentMemoryContext);
	StringInfoData buffer;

	(void) aggregate_context(fcinfo);
	initStringInfo(&buffer);
	appendBinaryStringInfo(&buffer, VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes));
	while (buffer.cursor < buffer.len)
	{
		TimestampTz closed_at = pq_getmsgint64(&buffer);
		int			length = pq_getmsgint(&buffer, 4);
		text	   *trade_id = cstring_to_text_with_len(pq_getmsgbytes(&buffer, length), length);
		Numeric		pnl;

		/* Numbers are aligned. */
		length = pq_getmsgint(&buffer, 4);
		pnl = palloc(length);
		memcpy(pnl, pq_getmsgbytes(&buffer, length), length);
		add_summary_row(state, closed_at, trade_id, pnl);
		pfree(trade_id);
		pfree(pnl);
	}
	PG_RETURN_POINTER(state);
}

static int
compare_rows(const void *left, const void *right)
{
	const SummaryRow *a = left;
	const SummaryRow *b = right;

	if (a->closed_at != b->closed_at)
		return a->closed_at < b->closed_at ? -1 : 1;
	return compare_text(a->trade_id, b->trade_id);
}

Datum
tradekeep_trade_summary_final(PG_FUNCTION_ARGS)
{
	SummaryState *state = state_argument(fcinfo, 0);
	Datum		values[METRIC_COLUMNS];
	bool		nulls[METRIC_COLUMNS];
	TupleDesc	desc;
	Run			run;

	(void) aggregate_context(fcinfo);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	begin_run(&run, false);
	if (state != NULL)
		qsort(state->rows, state->nrows, sizeof(SummaryRow), compare_rows);
	for (int64 i = 0; state != NULL && i < state->nrows; i++)
	{
		ClosedTrade trade = {.closed_at = state->rows[i].closed_at,.pnl = state->rows[i].pnl};

		CHECK_FOR_INTERRUPTS();
		append_trade(&run, &trade);
	}
	close_day(&run);
	run_metrics(&run, run.trades == 0 ? 0 : day_of(run.last) - day_of(run.first) + 1, NULL, values,
				nulls);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}
