/*
 * compat.h
 *		Every difference between the supported versions of PostgreSQL, 15 to 18.
 */
#ifndef TRADEKEEP_COMPAT_H
#define TRADEKEEP_COMPAT_H

#include "access/genam.h"
#include "fmgr.h"

#if PG_VERSION_NUM < 150000
#error "tradekeep needs PostgreSQL 15 or later"
#endif

#if PG_VERSION_NUM >= 180000
#define TRADEKEEP_MODULE_MAGIC \
	PG_MODULE_MAGIC_EXT(.name = "tradekeep", .version = TRADEKEEP_VERSION)
#else
#define TRADEKEEP_MODULE_MAGIC PG_MODULE_MAGIC
#endif

/* 16 moved VARDATA_ANY() and its kin out of postgres.h. */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* From 16 on, input functions can report an error softly. */
#if PG_VERSION_NUM >= 160000
#include "nodes/miscnodes.h"
#define ereport_soft(context, ...) errsave(context, __VA_ARGS__)
#else
#define ereport_soft(context, ...) ereport(ERROR, __VA_ARGS__)
#endif

/* 18 counts index searches for EXPLAIN. */
#if PG_VERSION_NUM >= 180000
#define index_beginscan_compat(heap, index, snapshot, nkeys) \
	index_beginscan(heap, index, snapshot, NULL, nkeys, 0)
#else
#define index_beginscan_compat(heap, index, snapshot, nkeys) \
	index_beginscan(heap, index, snapshot, nkeys, 0)
#endif

/* 16 made the checks of ownership one. */
#include "catalog/pg_class.h"
#include "utils/acl.h"
#if PG_VERSION_NUM >= 160000
#define owns_table(relid, role) object_ownercheck(RelationRelationId, relid, role)
#else
#define owns_table(relid, role) pg_class_ownercheck(relid, role)
#endif

/* From 17 on, waiting has a name of its own, and transactions have a timeout. */
#if PG_VERSION_NUM >= 170000
#define HAVE_TRANSACTION_TIMEOUT
#include "utils/wait_event.h"
#define extension_wait_event(name) WaitEventExtensionNew(name)
#else
#define extension_wait_event(name) PG_WAIT_EXTENSION
#endif

/* 18 took the last parameter of ExecutorRun() away. */
#if PG_VERSION_NUM >= 180000
#define EXECUTE_ONCE_PARAMETER
#define EXECUTE_ONCE_ARGUMENT
#else
#define EXECUTE_ONCE_PARAMETER , bool execute_once
#define EXECUTE_ONCE_ARGUMENT , execute_once
#endif

/* From 16 on, VACUUM can leave alone what it would read all of pg_class for. */
#if PG_VERSION_NUM >= 160000
#define HAVE_SKIP_DATABASE_STATS
#endif

/* 17 put the local number of a transaction into a struct. */
#if PG_VERSION_NUM >= 170000
#define my_local_transaction() (MyProc->vxid.lxid)
#else
#define my_local_transaction() (MyProc->lxid)
#endif

#endif							/* TRADEKEEP_COMPAT_H */
