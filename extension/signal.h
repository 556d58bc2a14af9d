/*
 * signal.h
 *		Near-duplicate claims: what a call is made of.
 */
#ifndef TRADEKEEP_SIGNAL_H
#define TRADEKEEP_SIGNAL_H

#include "tradekeep.h"

#include "datatype/timestamp.h"
#include "storage/lockdefs.h"
#include "utils/jsonb.h"

/* A call that would need more takes one lock for all signals instead. */
#define MAX_GROUP_LOCKS 256

/* A signal as it was sent. */
typedef struct Sent
{
	int64		signal_id;		/* 0: none */
	float8		price;
	TimestampTz sent_at;
	TimestampTz expires_at;
} Sent;

/* One that wants to be sent. */
typedef struct Signal
{
	text	   *symbol;
	text	   *direction;		/* LONG or SHORT */
	float8		price;
	Jsonb	   *data;			/* null: none */
	uint64		group_hash;		/* of symbol and direction */
	bool		duplicate;
	Sent		sent;			/* the original of a duplicate, else itself */
} Signal;

/* What holds for a whole call. */
typedef struct SignalTerm
{
	bool		replayed;		/* `at` was given */
	TimestampTz at;
	float8		tolerance;
	int64		ttl;			/* microseconds */
	TimestampTz expires_at;
	TimestampTz sweep_after;
} SignalTerm;

/* The formula of the near-duplicate. */
extern bool signal_within_tolerance(float8 price, float8 original, float8 tolerance);

/* Takes the nearer of two originals; of equally near ones the one sent first. */
extern void keep_nearer_signal(Sent *nearest, const Sent *other, float8 price);

/* Settles `duplicate` and, of duplicates, `sent`, by the latest snapshot. */
extern void find_originals(Signal **signals, int nsignals, const SignalTerm *term);

/* The locks; always all signals first, then groups in the order of their hashes. */
extern uint64 hash_signal_group(const Signal *signal);
extern void lock_all_signals(LOCKMODE mode);
extern void lock_signal_group(const Signal *signal);

/* claim_signal() on its arguments; at_argno below 0: it has no `at`.  *sent as in Signal. */
extern bool claim_one_signal(FunctionCallInfo fcinfo, int at_argno, Sent *sent);

/* The row that tells of it. */
#define SIGNAL_RESULT_COLUMNS 5
extern void fill_signal_result(bool claimed, const Sent *sent, Datum *values);

/* Settles when a signal that is sent now expires; again after waiting. */
extern void settle_signal_term(SignalTerm *term);

/* Gives a new signal its id and times, and stores those that got them. */
extern void grant_signal(Signal *signal, const SignalTerm *term);
extern void insert_granted(Signal **granted, int ngranted, const SignalTerm *term);

#endif							/* TRADEKEEP_SIGNAL_H */
