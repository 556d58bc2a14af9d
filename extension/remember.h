/*
 * remember.h
 *		What caches in front of the database may remember: telling them of releases.
 */
#ifndef TRADEKEEP_REMEMBER_H
#define TRADEKEEP_REMEMBER_H

#include "tradekeep.h"

/*
 * A claim was released, or, without a key, those of a scope, or, without a scope, of all.
 * In the transaction that releases.
 */
extern void note_release(const text *scope, const text *key);

extern void note_signals_cleared(void);

#endif							/* TRADEKEEP_REMEMBER_H */
