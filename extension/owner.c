/*
 * owner.c
 *		Going on with the rights of somebody else for a while.
 */
#include "owner.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

void
set_in_scope(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
							 false);
}

void
set_lock_timeout(int timeout)
{
	set_in_scope("lock_timeout", psprintf("%dms", timeout));
}

void
begin_scope(OwnerScope *scope)
{
	GetUserIdAndSecContext(&scope->userid, &scope->security);
	scope->settings = NewGUCNestLevel();
	set_in_scope("search_path", "pg_catalog, pg_temp");
}

void
leave_owner(OwnerScope *scope)
{
	AtEOXact_GUC(false, scope->settings);
	SetUserIdAndSecContext(scope->userid, scope->security);
}

Oid
relation_owner(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid			owner = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
		ReleaseSysCache(tuple);
	}
	return owner;
}

void
enter_extension(OwnerScope *scope)
{
	Oid			owner = relation_owner(get_relname_relid("ttl_policy",
														 get_namespace_oid(TRADEKEEP_SCHEMA,
																		   false)));

	if (!OidIsValid(owner))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table tradekeep.ttl_policy does not exist"),
				 errhint("ALTER EXTENSION tradekeep UPDATE.")));
	begin_scope(scope);
	SetUserIdAndSecContext(owner, scope->security | SECURITY_LOCAL_USERID_CHANGE);
}
