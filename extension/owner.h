/*
 * owner.h
 *		Going on with the rights of somebody else for a while.
 */
#ifndef TRADEKEEP_OWNER_H
#define TRADEKEEP_OWNER_H

#include "tradekeep.h"

/* What to return to. */
typedef struct OwnerScope
{
	Oid			userid;
	int			security;
	int			settings;
} OwnerScope;

/*
 * Begins a level of settings of its own with a pinned search_path.  An error in between is
 * taken back with the transaction, or the attempt, that it ends.
 */
extern void begin_scope(OwnerScope *scope);

/* Inside of it: a setting, and how long to wait for a lock, in milliseconds. */
extern void set_in_scope(const char *name, const char *value);
extern void set_lock_timeout(int timeout);

/* Goes on as the owner of the extension, for our own bookkeeping. */
extern void enter_extension(OwnerScope *scope);

/* Returns to the settings and rights of before. */
extern void leave_owner(OwnerScope *scope);

/* The owner of a table; InvalidOid when it is gone. */
extern Oid	relation_owner(Oid relid);

#endif							/* TRADEKEEP_OWNER_H */
