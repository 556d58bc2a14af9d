/*
 * signal_claim.c
 *		The functions that claim signals: one at a time, and many as JSON.
 *
 * A batch answers as if its signals had been claimed one by one, in order: each is
 * checked against what is stored and against those of the batch that were granted
 * before it.
 */
#include "signal.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "claim.h"
#include "input.h"
#include "metrics.h"

/* Signals of one (symbol, direction), in input order. */
typedef struct SignalGroup
{
	Signal	  **signals;
	int			nsignals;
	bool		any_new;		/* so it needs its lock */
	Signal	  **granted;		/* by price */
	int			ngranted;
} SignalGroup;

/* The direction in upper case; null when there is none of that name. */
static text *
parse_direction(const char *string, int length)
{
	if (length == 4 && pg_strncasecmp(string, "LONG", 4) == 0)
		return cstring_to_text("LONG");
	if (length == 5 && pg_strncasecmp(string, "SHORT", 5) == 0)
		return cstring_to_text("SHORT");
	return NULL;
}

/* "signal 3: " in a batch, nothing for a single one, whose row is 0. */
static const char *
prefix(int row)
{
	return row > 0 ? psprintf("signal %d: ", row) : "";
}

static void
check_price(float8 price, int row)
{
	if (!isfinite(price) || price <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_SIGNAL),
				 errmsg("%sprice is not a positive number: %s", prefix(row), float8_text(price))));
}

static void
refuse_direction(const char *string, int length, int row)
{
	ereport(ERROR,
			(errcode(ERRCODE_TRADEKEEP_SIGNAL),
			 errmsg("%sinvalid direction: \"%.*s\"", prefix(row),
					pg_mbcliplen(string, length, 64), string),
			 errhint("Directions are LONG and SHORT.")));
}

/* Reads the arguments tolerance, ttl and at. */
static SignalTerm
signal_term_arguments(FunctionCallInfo fcinfo, int tolerance_argno, int ttl_argno, int at_argno)
{
	SignalTerm	term = {0};

	if (PG_ARGISNULL(tolerance_argno))
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_SIGNAL),
				 errmsg("tolerance must not be null")));
	term.tolerance = PG_GETARG_FLOAT8(tolerance_argno);
	if (!(term.tolerance >= 0 && term.tolerance < 1))
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_SIGNAL),
				 errmsg("tolerance is out of range: %s", float8_text(term.tolerance)),
				 errhint("It is a fraction of the price, from 0 to below 1: 0.0005 is 0.05 %%.")));
	if (PG_ARGISNULL(ttl_argno))
	{
		text	   *scope = cstring_to_text("signal");
		ScopeSettings settings = scope_settings(scope);

		term.ttl = require_ttl(scope, &settings);
	}
	else
		term.ttl = ttl_to_usecs(PG_GETARG_INTERVAL_P(ttl_argno), "ttl");
	if (at_argno >= 0)
	{
		term.replayed = !PG_ARGISNULL(at_argno);
		term.at = at_argument(fcinfo, at_argno);
	}
	settle_signal_term(&term);
	return term;
}

/*
 * The row type of the answer.  Made once a session: it is fixed, and every single call
 * would look it up in the catalogs.
 */
static TupleDesc
result_desc(void)
{
	static TupleDesc desc = NULL;

	if (desc == NULL)
	{
		MemoryContext before = MemoryContextSwitchTo(TopMemoryContext);
		TupleDesc	made = CreateTemplateTupleDesc(SIGNAL_RESULT_COLUMNS);

		TupleDescInitEntry(made, 1, "claimed", BOOLOID, -1, 0);
		TupleDescInitEntry(made, 2, "signal_id", INT8OID, -1, 0);
		TupleDescInitEntry(made, 3, "price", FLOAT8OID, -1, 0);
		TupleDescInitEntry(made, 4, "sent_at", TIMESTAMPTZOID, -1, 0);
		TupleDescInitEntry(made, 5, "expires_at", TIMESTAMPTZOID, -1, 0);
		desc = BlessTupleDesc(made);
		MemoryContextSwitchTo(before);
	}
	return desc;
}

void
fill_signal_result(bool claimed, const Sent *sent, Datum *values)
{
	values[0] = BoolGetDatum(claimed);
	values[1] = Int64GetDatum(sent->signal_id);
	values[2] = Float8GetDatum(sent->price);
	values[3] = TimestampTzGetDatum(sent->sent_at);
	values[4] = TimestampTzGetDatum(sent->expires_at);
}

bool
claim_one_signal(FunctionCallInfo fcinfo, int at_argno, Sent *sent)
{
	Signal		signal = {0};
	Signal	   *signals[1] = {&signal};
	text	   *direction;
	SignalTerm	term;

	signal.symbol = key_argument(fcinfo, 0, "symbol");
	if (PG_ARGISNULL(1) || PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_SIGNAL),
				 errmsg("%s must not be null", PG_ARGISNULL(1) ? "direction" : "entry_price")));
	direction = PG_GETARG_TEXT_PP(1);
	signal.direction = parse_direction(VARDATA_ANY(direction), VARSIZE_ANY_EXHDR(direction));
	if (signal.direction == NULL)
		refuse_direction(VARDATA_ANY(direction), VARSIZE_ANY_EXHDR(direction), 0);
	signal.price = PG_GETARG_FLOAT8(2);
	check_price(signal.price, 0);
	signal.group_hash = hash_signal_group(&signal);
	signal.data = PG_ARGISNULL(5) ? NULL : PG_GETARG_JSONB_P(5);
	term = signal_term_arguments(fcinfo, 3, 4, at_argno);

	find_originals(signals, 1, &term);
	if (!signal.duplicate)
	{
		lock_all_signals(ShareLock);
		lock_signal_group(&signal);
		settle_signal_term(&term);
		find_originals(signals, 1, &term);
	}
	if (signal.duplicate)
		count_signals(COUNT_DUPLICATE, 1);
	else
	{
		grant_signal(&signal, &term);
		insert_granted(signals, 1, &term);
		count_signals(COUNT_CLAIMED, 1);
	}
	*sent = signal.sent;
	return !signal.duplicate;
}

/* claim_signal(symbol, direction, entry_price, tolerance, ttl, data, at) */
static Datum
claim_signal(PG_FUNCTION_ARGS)
{
	Sent		sent;
	bool		claimed;
	Datum		values[SIGNAL_RESULT_COLUMNS];
	bool		nulls[SIGNAL_RESULT_COLUMNS] = {false};

	require_writable("tradekeep.claim_signal");
	claimed = claim_one_signal(fcinfo, 6, &sent);
	fill_signal_result(claimed, &sent, values);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(result_desc(), values, nulls)));
}

COUNTED_FUNCTION(tradekeep_claim_signal, claim_signal, SIGNALS)

/* A member of a JSON object; null when it is missing or null. */
static JsonbValue *
json_member(JsonbContainer *object, const char *name)
{
	JsonbValue	buffer;
	JsonbValue *value = getKeyJsonValueFromContainer(object, name, strlen(name), &buffer);
	JsonbValue *copy;

	if (value == NULL || value->type == jbvNull)
		return NULL;
	copy = palloc(sizeof(JsonbValue));
	*copy = *value;
	return copy;
}

/* Reads {"symbol": …, "direction": …, "entry_price": …, "data": …}. */
static void
parse_signal(JsonbContainer *object, int row, Signal *signal)
{
	JsonbValue *symbol = json_member(object, "symbol");
	JsonbValue *direction = json_member(object, "direction");
	JsonbValue *price = json_member(object, "entry_price");
	JsonbValue *data = json_member(object, "data");

	if (symbol == NULL || symbol->type != jbvString || direction == NULL ||
		direction->type != jbvString || price == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_BATCH),
				 errmsg("signal %d lacks its symbol, direction or entry_price", row),
				 errhint("A signal is {\"symbol\": \"BTCUSDT\", \"direction\": \"LONG\","
						 " \"entry_price\": 97000.5}.")));
	signal->symbol = cstring_to_text_with_len(symbol->val.string.val, symbol->val.string.len);
	if (!key_fits(signal->symbol))
		check_key(signal->symbol, psprintf("signal %d: symbol", row));
	signal->direction = parse_direction(direction->val.string.val, direction->val.string.len);
	if (signal->direction == NULL)
		refuse_direction(direction->val.string.val, direction->val.string.len, row);
	signal->price = json_number(price, "signal", row, "entry_price");
	check_price(signal->price, row);
	signal->data = data == NULL ? NULL : JsonbValueToJsonb(data);
	signal->group_hash = hash_signal_group(signal);
}

static Signal *
parse_signals(Jsonb *array, int *nsignals)
{
	Signal	   *signals;

	if (!JB_ROOT_IS_ARRAY(array) || JB_ROOT_IS_SCALAR(array))
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_BATCH),
				 errmsg("signals is not a JSON array"),
				 errhint("It is an array of objects with symbol, direction and entry_price.")));
	*nsignals = JB_ROOT_COUNT(array);
	signals = palloc0(sizeof(Signal) * *nsignals);
	for (int i = 0; i < *nsignals; i++)
	{
		JsonbValue *row = getIthJsonbValueFromContainer(&array->root, i);

		if (row->type != jbvBinary || !JsonContainerIsObject(row->val.binary.data))
			ereport(ERROR,
					(errcode(ERRCODE_TRADEKEEP_BATCH),
					 errmsg("signal %d is not a JSON object", i + 1)));
		parse_signal(row->val.binary.data, i + 1, &signals[i]);
	}
	return signals;
}

/* By group, and in a group in input order, which is the order in memory. */
static int
compare_signals(const void *left, const void *right)
{
	const Signal *a = *(Signal *const *) left;
	const Signal *b = *(Signal *const *) right;
	int			order;

	if (a->group_hash != b->group_hash)
		return a->group_hash < b->group_hash ? -1 : 1;
	order = compare_text(a->symbol, b->symbol);
	if (order == 0)
		order = compare_text(a->direction, b->direction);
	return order != 0 ? order : (a > b) - (a < b);
}

/* Sorts the signals into groups, in the order of their locks. */
static SignalGroup *
make_groups(Signal **sorted, int nsignals, int *ngroups)
{
	SignalGroup *groups = palloc0(sizeof(SignalGroup) * nsignals);

	qsort(sorted, nsignals, sizeof(Signal *), compare_signals);
	*ngroups = 0;
	for (int i = 0; i < nsignals; i++)
	{
		SignalGroup *group;

		if (i == 0 || compare_text(sorted[i]->symbol, sorted[i - 1]->symbol) != 0 ||
			compare_text(sorted[i]->direction, sorted[i - 1]->direction) != 0)
		{
			group = &groups[(*ngroups)++];
			group->signals = &sorted[i];
		}
		group = &groups[*ngroups - 1];
		group->nsignals++;
		group->any_new |= !sorted[i]->duplicate;
	}
	return groups;
}

/* Locks the groups that have something new, and looks again for what is new there. */
static void
lock_and_look_again(SignalGroup *groups, int ngroups, SignalTerm *term)
{
	int			nlocks = 0;

	for (int i = 0; i < ngroups; i++)
		nlocks += groups[i].any_new;
	if (nlocks == 0)
		return;
	lock_all_signals(nlocks > MAX_GROUP_LOCKS ? ExclusiveLock : ShareLock);
	for (int i = 0; i < ngroups && nlocks <= MAX_GROUP_LOCKS; i++)
		if (groups[i].any_new)
			lock_signal_group(groups[i].signals[0]);
	settle_signal_term(term);
	for (int i = 0; i < ngroups; i++)
		if (groups[i].any_new)
			find_originals(groups[i].signals, groups[i].nsignals, term);
}

/* How many of the granted signals of a group have a price up to this one. */
static int
granted_below(const SignalGroup *group, float8 price)
{
	int			low = 0;
	int			high = group->ngranted;

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (group->granted[middle]->price <= price)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/*
 * Checks a signal against those granted before it, and grants it if it is new.  Where a
 * farther one is within tolerance the nearer on the same side is too, so the neighbour
 * on either side is all there is to look at.
 */
static void
decide_signal(SignalGroup *group, Signal *signal, const SignalTerm *term)
{
	int			place = granted_below(group, signal->price);

	for (int i = Max(place - 1, 0); i < Min(place + 1, group->ngranted); i++)
		if (signal_within_tolerance(signal->price, group->granted[i]->price, term->tolerance))
		{
			if (!signal->duplicate)
				memset(&signal->sent, 0, sizeof(Sent));
			signal->duplicate = true;
			keep_nearer_signal(&signal->sent, &group->granted[i]->sent, signal->price);
		}
	if (signal->duplicate)
		return;
	grant_signal(signal, term);
	memmove(&group->granted[place + 1], &group->granted[place],
			sizeof(Signal *) * (group->ngranted - place));
	group->granted[place] = signal;
	group->ngranted++;
}

/* claim_signals(signals, tolerance, ttl, at) */
static Datum
claim_signals(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Signal	   *signals;
	Signal	  **sorted;
	Signal	  **granted;
	SignalGroup *groups;
	SignalTerm	term;
	int			nsignals;
	int			ngroups;
	int			ngranted = 0;

	require_writable("tradekeep.claim_signals");
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_TRADEKEEP_BATCH),
				 errmsg("signals must not be null")));
	signals = parse_signals(PG_GETARG_JSONB_P(0), &nsignals);
	term = signal_term_arguments(fcinfo, 1, 2, 3);

	sorted = palloc(sizeof(Signal *) * nsignals);
	granted = palloc(sizeof(Signal *) * nsignals);
	for (int i = 0; i < nsignals; i++)
		sorted[i] = &signals[i];
	find_originals(sorted, nsignals, &term);
	groups = make_groups(sorted, nsignals, &ngroups);
	lock_and_look_again(groups, ngroups, &term);

	for (int i = 0; i < ngroups; i++)
	{
		groups[i].granted = palloc(sizeof(Signal *) * groups[i].nsignals);
		for (int j = 0; j < groups[i].nsignals; j++)
			decide_signal(&groups[i], groups[i].signals[j], &term);
		memcpy(granted + ngranted, groups[i].granted, sizeof(Signal *) * groups[i].ngranted);
		ngranted += groups[i].ngranted;
	}
	insert_granted(granted, ngranted, &term);
	count_signals(COUNT_CLAIMED, ngranted);
	count_signals(COUNT_DUPLICATE, nsignals - ngranted);

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < nsignals; i++)
	{
		Datum		values[SIGNAL_RESULT_COLUMNS];
		bool		nulls[SIGNAL_RESULT_COLUMNS] = {false};

		fill_signal_result(!signals[i].duplicate, &signals[i].sent, values);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

COUNTED_FUNCTION(tradekeep_claim_signals, claim_signals, SIGNALS)
