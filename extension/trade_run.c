/*
 * trade_run.c
 *		What is known of a run of trades, and how runs are put together.
 *
 * A run is a stretch of trades in order, relative to its own beginning: its running sum
 * starts at 0.  For runs A and B that follow each other,
 *
 *		peak(AB) = max(peak(A), total(A) + peak(B))
 *		low(AB)  = min(low(A), total(A) + low(B))
 *		drawdown(AB) = max(drawdown(A), peak(A) - total(A) - low(B), drawdown(B))
 *
 * where the second term falls from the peak of A, and the third from a peak within B.  Of
 * equal ones the first counts.  When the last two are equal and differ in their peak, the one that
 * falls from A's peak reaches its depth first: at the other's trough A's peak is no longer the
 * highest, so it lies behind.
 *
 * All figures are numeric, so sums do not depend on how a run was put together.
 */
#include "trade.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

#include "input.h"

#define TOP_SYMBOLS		5

typedef struct SymbolSum
{
	GroupKey	key;
	Numeric		pnl;
} SymbolSum;

static uint32
hash_group(const void *key, Size size)
{
	const GroupKey *group = key;

	if (group->value == NULL)
		return group->dimension;
	return hash_bytes((const unsigned char *) VARDATA_ANY(group->value),
					  VARSIZE_ANY_EXHDR(group->value)) ^ group->dimension;
}

static int
match_groups(const void *left, const void *right, Size size)
{
	const GroupKey *a = left;
	const GroupKey *b = right;

	if (a->dimension != b->dimension || (a->value == NULL) != (b->value == NULL))
		return 1;
	return a->value == NULL ? 0 : compare_text(a->value, b->value);
}

/* A table of groups, or of what else begins with a GroupKey, in the current context. */
HTAB *
create_groups(const char *name, Size entry_size)
{
	HASHCTL		control = {.keysize = sizeof(GroupKey),.entrysize = entry_size,
		.hash = hash_group,.match = match_groups,.hcxt = CurrentMemoryContext
	};

	return hash_create(name, 64, &control,
					   HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_CONTEXT);
}

static text *
copy_text(const text *value)
{
	text	   *copy = palloc(VARSIZE_ANY(value));

	memcpy(copy, value, VARSIZE_ANY(value));
	return copy;
}

RunGroup *
find_group(HTAB *groups, Dimension dimension, const text *value)
{
	GroupKey	key = {.dimension = dimension,.value = value};
	bool		found;
	RunGroup   *group = hash_search(groups, &key, HASH_ENTER, &found);

	if (!found)
	{
		if (value != NULL)
			group->key.value = copy_text(value);
		/* Of one symbol there is nothing to tell apart. */
		begin_run(&group->run, dimension != BY_SYMBOL);
		group->changed = false;
	}
	return group;
}

static Numeric
zero(void)
{
	static Numeric value = NULL;

	if (value == NULL)
	{
		MemoryContext context = MemoryContextSwitchTo(TopMemoryContext);

		value = int64_to_numeric(0);
		MemoryContextSwitchTo(context);
	}
	return value;
}

static int
compare(Numeric a, Numeric b)
{
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(a),
											 NumericGetDatum(b)));
}

/* Takes over the value. */
static void
put(Run *run, Figure figure, Numeric value)
{
	if (run->figures[figure] != zero())
		pfree(run->figures[figure]);
	run->figures[figure] = value;
}

static void
copy(Run *run, Figure figure, Numeric value)
{
	put(run, figure, DatumGetNumeric(datumCopy(NumericGetDatum(value), false, -1)));
}

static void
add(Run *run, Figure figure, Numeric value)
{
	put(run, figure, numeric_add_opt_error(run->figures[figure], value, NULL));
}

static void
add_square(Run *run, Figure figure, Numeric value)
{
	Numeric		square = numeric_mul_opt_error(value, value, NULL);

	add(run, figure, square);
	pfree(square);
}

/* An empty run in the current context. */
void
begin_run(Run *run, bool symbols)
{
	memset(run, 0, sizeof(Run));
	for (int i = 0; i < FIGURES; i++)
		run->figures[i] = zero();
	run->context = CurrentMemoryContext;
	if (symbols)
		run->symbols = create_groups("tradekeep symbols", sizeof(SymbolSum));
}

static void
add_symbol(Run *run, const text *symbol, Numeric pnl)
{
	GroupKey	key = {.dimension = BY_SYMBOL,.value = symbol};
	bool		found;
	SymbolSum  *sum = hash_search(run->symbols, &key, HASH_ENTER, &found);
	Numeric		before = sum->pnl;

	if (!found)
	{
		sum->key.value = copy_text(symbol);
		sum->pnl = DatumGetNumeric(datumCopy(NumericGetDatum(pnl), false, -1));
		return;
	}
	sum->pnl = numeric_add_opt_error(before, pnl, NULL);
	pfree(before);
}

/* Sums up the day that is open. */
void
close_day(Run *run)
{
	MemoryContext context = MemoryContextSwitchTo(run->context);

	if (run->day_open)
	{
		add_square(run, DAY_SQUARES, run->figures[DAY_TOTAL]);
		if (compare(run->figures[DAY_TOTAL], zero()) < 0)
			add_square(run, DAY_LOSS_SQUARES, run->figures[DAY_TOTAL]);
		run->day_open = false;
	}
	MemoryContextSwitchTo(context);
}

static void
open_day(Run *run, DateADT day)
{
	close_day(run);
	run->day_open = true;
	run->day = day;
	put(run, DAY_TOTAL, zero());
}

/* The running sum has changed by pnl. */
static void
follow_balance(Run *run, int sign)
{
	Numeric		fall;

	if (sign > 0 && compare(run->figures[TOTAL], run->figures[PEAK]) > 0)
		copy(run, PEAK, run->figures[TOTAL]);
	if (sign >= 0)
		return;
	if (compare(run->figures[TOTAL], run->figures[LOW]) < 0)
		copy(run, LOW, run->figures[TOTAL]);
	fall = numeric_sub_opt_error(run->figures[PEAK], run->figures[TOTAL], NULL);
	if (compare(fall, run->figures[DRAWDOWN]) > 0)
	{
		put(run, DRAWDOWN, fall);
		copy(run, DRAWDOWN_PEAK, run->figures[PEAK]);
	}
	else
		pfree(fall);
}

static void
add_holding(Run *run, int64 usecs)
{
	Numeric		holding = int64_to_numeric(usecs);

	add(run, HOLDING, holding);
	pfree(holding);
	run->held++;
}

void
append_trade(Run *run, const ClosedTrade *trade)
{
	MemoryContext context = MemoryContextSwitchTo(run->context);
	DateADT		day = day_of(trade->closed_at);
	int			sign = compare(trade->pnl, zero());

	if (run->trades == 0)
		run->first = trade->closed_at;
	run->last = trade->closed_at;
	if (run->trades == 0 || compare(trade->pnl, run->figures[BEST]) > 0)
		copy(run, BEST, trade->pnl);
	if (run->trades == 0 || compare(trade->pnl, run->figures[WORST]) < 0)
		copy(run, WORST, trade->pnl);
	run->trades++;
	run->wins += sign > 0;
	run->losses += sign < 0;
	if (!run->day_open || run->day != day)
		open_day(run, day);
	if (sign != 0)
	{
		add(run, TOTAL, trade->pnl);
		add(run, DAY_TOTAL, trade->pnl);
		add(run, sign > 0 ? PROFIT : LOSS, trade->pnl);
		add_square(run, SQUARES, trade->pnl);
		follow_balance(run, sign);
	}
	if (trade->opened)
		add_holding(run, trade->closed_at - trade->opened_at);
	if (run->symbols != NULL && trade->symbol != NULL)
		add_symbol(run, trade->symbol, trade->pnl);
	MemoryContextSwitchTo(context);
}

/* The worst drawdown of two runs; before their other figures are merged. */
static void
merge_drawdown(Run *run, const Run *next)
{
	Numeric		below = numeric_sub_opt_error(run->figures[PEAK], run->figures[TOTAL], NULL);
	Numeric		across = numeric_sub_opt_error(below, next->figures[LOW], NULL);

	if (compare(across, next->figures[DRAWDOWN]) >= 0)
	{
		if (compare(across, run->figures[DRAWDOWN]) > 0)
		{
			copy(run, DRAWDOWN, across);
			copy(run, DRAWDOWN_PEAK, run->figures[PEAK]);
		}
	}
	else if (compare(next->figures[DRAWDOWN], run->figures[DRAWDOWN]) > 0)
	{
		copy(run, DRAWDOWN, next->figures[DRAWDOWN]);
		put(run, DRAWDOWN_PEAK,
			numeric_add_opt_error(run->figures[TOTAL], next->figures[DRAWDOWN_PEAK], NULL));
	}
	pfree(below);
	pfree(across);
}

static void
merge_extremes(Run *run, const Run *next)
{
	Numeric		peak = numeric_add_opt_error(run->figures[TOTAL], next->figures[PEAK], NULL);
	Numeric		low = numeric_add_opt_error(run->figures[TOTAL], next->figures[LOW], NULL);

	if (compare(peak, run->figures[PEAK]) > 0)
		copy(run, PEAK, peak);
	if (compare(low, run->figures[LOW]) < 0)
		copy(run, LOW, low);
	if (run->trades == 0 || compare(next->figures[BEST], run->figures[BEST]) > 0)
		copy(run, BEST, next->figures[BEST]);
	if (run->trades == 0 || compare(next->figures[WORST], run->figures[WORST]) < 0)
		copy(run, WORST, next->figures[WORST]);
	pfree(peak);
	pfree(low);
}

void
append_run(Run *run, const Run *next, bool in_day)
{
	static const Figure sums[] = {TOTAL, PROFIT, LOSS, SQUARES, HOLDING};
	MemoryContext context;

	if (next->trades == 0)
		return;
	context = MemoryContextSwitchTo(run->context);
	merge_drawdown(run, next);
	merge_extremes(run, next);
	for (int i = 0; i < lengthof(sums); i++)
		add(run, sums[i], next->figures[sums[i]]);
	if (run->trades == 0)
		run->first = next->first;
	run->last = next->last;
	run->trades += next->trades;
	run->wins += next->wins;
	run->losses += next->losses;
	run->held += next->held;
	if (in_day)
	{
		if (!run->day_open || run->day != day_of(next->first))
			open_day(run, day_of(next->first));
		add(run, DAY_TOTAL, next->figures[TOTAL]);
	}
	else
	{
		close_day(run);
		add(run, DAY_SQUARES, next->figures[DAY_SQUARES]);
		add(run, DAY_LOSS_SQUARES, next->figures[DAY_LOSS_SQUARES]);
	}
	if (run->symbols != NULL)
		for (int i = 0; i < next->nstored; i++)
			add_symbol(run, DatumGetTextPP(next->stored_symbols[i]),
					   DatumGetNumeric(next->stored_pnl[i]));
	MemoryContextSwitchTo(context);
}

static int
compare_symbols(const void *left, const void *right)
{
	const SymbolSum *a = *(SymbolSum *const *) left;
	const SymbolSum *b = *(SymbolSum *const *) right;

	return compare_text(a->key.value, b->key.value);
}

/* The symbols of a run, in an order. */
static SymbolSum **
sorted_symbols(const Run *run, int (*order) (const void *, const void *), int *nsymbols)
{
	SymbolSum **sums;
	SymbolSum  *sum;
	HASH_SEQ_STATUS scan;
	int			n = 0;

	*nsymbols = run->symbols == NULL ? 0 : (int) hash_get_num_entries(run->symbols);
	sums = palloc(sizeof(SymbolSum *) * Max(*nsymbols, 1));
	if (run->symbols == NULL)
		return sums;
	hash_seq_init(&scan, run->symbols);
	while ((sum = hash_seq_search(&scan)) != NULL)
		sums[n++] = sum;
	qsort(sums, n, sizeof(SymbolSum *), order);
	return sums;
}

/* The largest sum first. */
static int
compare_sums(const void *left, const void *right)
{
	const SymbolSum *a = *(SymbolSum *const *) left;
	const SymbolSum *b = *(SymbolSum *const *) right;
	int			order = compare(b->pnl, a->pnl);

	return order != 0 ? order : compare_symbols(left, right);
}

static void
push_string(JsonbParseState **state, JsonbIteratorToken token, const char *string, int length)
{
	JsonbValue	value = {.type = jbvString};

	value.val.string.val = unconstify(char *, string);
	value.val.string.len = length;
	pushJsonbValue(state, token, &value);
}

static void
push_symbol(JsonbParseState **state, const text *symbol, Numeric pnl)
{
	JsonbValue	value = {.type = jbvNumeric};

	value.val.numeric = pnl;
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	push_string(state, WJB_KEY, "symbol", strlen("symbol"));
	push_string(state, WJB_VALUE, VARDATA_ANY(symbol), VARSIZE_ANY_EXHDR(symbol));
	push_string(state, WJB_KEY, "pnl", strlen("pnl"));
	pushJsonbValue(state, WJB_VALUE, &value);
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/* [{"symbol": ..., "pnl": ...}, ...]: the best, at most TOP_SYMBOLS of them. */
Datum
top_symbols(const Run *run, const text *only)
{
	int			nsymbols;
	SymbolSum **sums = sorted_symbols(run, compare_sums, &nsymbols);
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	if (only != NULL)
		push_symbol(&state, only, run->figures[TOTAL]);
	else
		for (int i = 0; i < Min(nsymbols, TOP_SYMBOLS); i++)
			push_symbol(&state, sums[i]->key.value, sums[i]->pnl);
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL)));
}

/* The columns of trade_span behind its key; `nulls` as SPI has them. */
void
run_to_columns(const Run *run, Datum *values, char *nulls)
{
	int			nsymbols;
	SymbolSum **sums = sorted_symbols(run, compare_symbols, &nsymbols);
	Datum	   *names = palloc(sizeof(Datum) * Max(nsymbols, 1));
	Datum	   *pnls = palloc(sizeof(Datum) * Max(nsymbols, 1));
	int			n = 0;

	values[n++] = Int64GetDatum(run->trades);
	values[n++] = Int64GetDatum(run->wins);
	values[n++] = Int64GetDatum(run->losses);
	values[n++] = Int64GetDatum(run->held);
	values[n++] = TimestampTzGetDatum(run->first);
	values[n++] = TimestampTzGetDatum(run->last);
	for (int i = 0; i < STORED_FIGURES; i++)
		values[n++] = NumericGetDatum(run->figures[i]);
	for (int i = 0; i < nsymbols; i++)
	{
		names[i] = PointerGetDatum(sums[i]->key.value);
		pnls[i] = NumericGetDatum(sums[i]->pnl);
	}
	memset(nulls, run->symbols == NULL ? 'n' : ' ', n + 2);
	memset(nulls, ' ', n);
	values[n++] = PointerGetDatum(construct_array(names, nsymbols, TEXTOID, -1, false,
												  TYPALIGN_INT));
	values[n++] = PointerGetDatum(construct_array(pnls, nsymbols, NUMERICOID, -1, false,
												  TYPALIGN_INT));
}

/* The other way round: a row of trade_span with all its columns, to be appended to others. */
void
run_from_slot(Run *run, TupleTableSlot *slot)
{
	Datum	   *values = slot->tts_values + SPAN_KEY_COLUMNS;
	bool	   *nulls = slot->tts_isnull + SPAN_KEY_COLUMNS;
	int			n = 0;

	slot_getallattrs(slot);
	begin_run(run, false);
	run->trades = DatumGetInt64(values[n++]);
	run->wins = DatumGetInt64(values[n++]);
	run->losses = DatumGetInt64(values[n++]);
	run->held = DatumGetInt64(values[n++]);
	run->first = DatumGetTimestampTz(values[n++]);
	run->last = DatumGetTimestampTz(values[n++]);
	for (int i = 0; i < STORED_FIGURES; i++)
		run->figures[i] = DatumGetNumeric(values[n++]);
	if (nulls[n])
		return;
	deconstruct_array(DatumGetArrayTypeP(values[n]), TEXTOID, -1, false, TYPALIGN_INT,
					  &run->stored_symbols, NULL, &run->nstored);
	deconstruct_array(DatumGetArrayTypeP(values[n + 1]), NUMERICOID, -1, false, TYPALIGN_INT,
					  &run->stored_pnl, NULL, &run->nstored);
}
