/*
 * claim.h
 *		Exactly-once claims on a key: what other rooms build on.
 */
#ifndef TRADEKEEP_CLAIM_H
#define TRADEKEEP_CLAIM_H

#include "tradekeep.h"

#include "datatype/timestamp.h"
#include "utils/array.h"
#include "utils/jsonb.h"

#include "timeframe.h"

/* How the claims of a scope end. */
typedef enum Expiry
{
	EXPIRY_FIXED,				/* ttl after the first claim */
	EXPIRY_SLIDING,				/* ttl after the last duplicate */
	EXPIRY_CANDLE				/* with the candle in which it began */
} Expiry;

/* What is set for a scope, or built in. */
typedef struct ScopeSettings
{
	int64		ttl;			/* microseconds; 0: none */
	Expiry		expiry;
	Timeframe	timeframe;		/* of EXPIRY_CANDLE */
} ScopeSettings;

/* When a claim begins and ends. */
typedef struct Term
{
	bool		replayed;		/* `at` was given: the clock plays no part */
	bool		pinned;			/* the scope's settings play no part: ttl is set */
	TimestampTz at;
	int64		ttl;			/* microseconds; 0: the scope's */
	TimestampTz expires_at;
	TimestampTz sweep_after;
	int64		kept_ttl;		/* what the row's column ttl says; 0: null */
} Term;

/* The claim there is now: a new one, or the one that a duplicate ran into. */
typedef struct Original
{
	TimestampTz claimed_at;
	TimestampTz expires_at;
	Jsonb	   *data;			/* of a duplicate; null when it has none */
	bool		settled;		/* expires_at stays: it does not slide, nor is it a lease at work */
} Original;

extern ScopeSettings scope_settings(text *scope);

/* Raises TK003 when settings have no ttl. */
extern int64 require_ttl(text *scope, const ScopeSettings *settings);

/*
 * Claims one key.  False: somebody has it.  *original (unless null) tells of the claim.
 */
extern bool claim_one(text *scope, text *key, Term *term, Jsonb *data, Original *original);

/* Claims many; the answers are a boolean[] aligned with the keys. */
extern ArrayType *claim_keys(text *scope, text **keys, int nkeys, Term *term);

/*
 * should_process_candle() and claim_publish() on their arguments.  *original (unless null)
 * stays as it is when the drift is over.
 */
#define CANDLE_SCOPE	"candle"
#define PUBLISH_SCOPE	"publish"
extern bool process_candle(FunctionCallInfo fcinfo, Original *original);
extern bool publish_candle(FunctionCallInfo fcinfo, Original *original);

#endif							/* TRADEKEEP_CLAIM_H */
