/*
 * lock.h
 *		The advisory locks of ours, which none of a user's can meet.
 */
#ifndef TRADEKEEP_LOCK_H
#define TRADEKEEP_LOCK_H

#include "tradekeep.h"

#include "miscadmin.h"
#include "storage/lock.h"

/* The last field of a lock's tag; pg_advisory_lock() has 1 and 2. */
typedef enum LockKind
{
	LOCK_SIGNAL_GROUP = 3,		/* signals of a symbol and direction */
	LOCK_SIGNALS = 4,			/* all of them */
	LOCK_TICKS = 5,				/* ticks of a symbol and timeframe */
	LOCK_SERIES = 6,			/* derived candles of a symbol and timeframe */
	LOCK_TARGET = 7,			/* of a timeframe */
	LOCK_SETTLING = 8,			/* of trade statistics */
	LOCK_SLOT = 9				/* of cache versions */
} LockKind;

/* Waits for a lock, and holds it until the end of the transaction. */
static inline void
lock_until_end(LockKind kind, uint64 key, LOCKMODE mode)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) (key >> 32), (uint32) key, kind);
	(void) LockAcquire(&tag, mode, false, false);
}

/* The same if nobody else holds it; false: somebody does. */
static inline bool
try_lock_until_end(LockKind kind, uint64 key, LOCKMODE mode)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) (key >> 32), (uint32) key, kind);
	return LockAcquire(&tag, mode, false, true) != LOCKACQUIRE_NOT_AVAIL;
}

#endif							/* TRADEKEEP_LOCK_H */
