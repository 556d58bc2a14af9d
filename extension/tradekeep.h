/*
 * tradekeep.h
 *		What all rooms of the extension share: its version, its error codes.
 */
#ifndef TRADEKEEP_H
#define TRADEKEEP_H

#include "postgres.h"

#include "compat.h"

/*
 * The version of this library.  doctor() compares it with the version of the
 * SQL objects, which differs between the two steps of an upgrade.
 */
#define TRADEKEEP_VERSION "0.5.0"

#define TRADEKEEP_SCHEMA "tradekeep"

/*
 * A refusal that a client may want to tell from others has a code of its own.
 * SQL leaves classes that begin with I to Z to implementations.
 */
#define ERRCODE_TRADEKEEP_SCOPE		MAKE_SQLSTATE('T', 'K', '0', '0', '1')
#define ERRCODE_TRADEKEEP_KEY		MAKE_SQLSTATE('T', 'K', '0', '0', '2')
#define ERRCODE_TRADEKEEP_TTL		MAKE_SQLSTATE('T', 'K', '0', '0', '3')
#define ERRCODE_TRADEKEEP_TIME		MAKE_SQLSTATE('T', 'K', '0', '0', '4')
#define ERRCODE_TRADEKEEP_CANDLE	MAKE_SQLSTATE('T', 'K', '0', '0', '5')
#define ERRCODE_TRADEKEEP_BATCH		MAKE_SQLSTATE('T', 'K', '0', '0', '6')
#define ERRCODE_TRADEKEEP_SIGNAL	MAKE_SQLSTATE('T', 'K', '0', '0', '7')
#define ERRCODE_TRADEKEEP_LEASE		MAKE_SQLSTATE('T', 'K', '0', '0', '8')
#define ERRCODE_TRADEKEEP_TRADE		MAKE_SQLSTATE('T', 'K', '0', '0', '9')
#define ERRCODE_TRADEKEEP_CONFLICT	MAKE_SQLSTATE('T', 'K', '0', '1', '0')
#define ERRCODE_TRADEKEEP_ROLLUP	MAKE_SQLSTATE('T', 'K', '0', '1', '1')

/* True when the library came in by shared_preload_libraries. */
extern bool tradekeep_preloaded;

#endif							/* TRADEKEEP_H */
