"""The role `heo_app`, in which workers write where they are not the owner, and its rights in the tables as they are."""

from __future__ import annotations

from sqlalchemy import text

from db.engine import get_engine

# A role belongs to the whole server: another database of it, or whoever set it up, may have made it.
_MAKE = """
do $$
begin
    if not exists (select from pg_roles where rolname = 'heo_app') then
        create role heo_app nologin;
        -- The tables that Optuna makes in this role are the owner's to dump and to drop, too.
        execute format('grant heo_app to %I', current_user);
    end if;
    if to_regnamespace('optuna') is null then
        create schema optuna;
    end if;
exception
    when duplicate_object or unique_violation then
        null;  -- made at this moment for another database
    when insufficient_privilege then
        raise notice 'this role may not make the role heo_app or the schema optuna';
end
$$
"""

# Only where something is missing, and only on what is ours to give: a database may hold tables of others.
_GRANT = """
do $$
declare
    relation record;
begin
    if not exists (select from pg_roles where rolname = 'heo_app') then
        return;
    end if;
    for relation in
        select nspname, relname, relkind from pg_class join pg_namespace on pg_namespace.oid = relnamespace
        where nspname in ('public', 'optuna') and relkind in ('r', 'v', 'S') and pg_has_role(relowner, 'usage')
    loop
        if relation.relkind = 'S' then
            if not has_sequence_privilege('heo_app', format('%I.%I', relation.nspname, relation.relname), 'usage') then
                execute format('grant usage on sequence %I.%I to heo_app', relation.nspname, relation.relname);
            end if;
        elsif relation.relkind = 'v' or (relation.nspname, relation.relname) = ('public', 'alembic_version') then
            if not has_table_privilege('heo_app', format('%I.%I', relation.nspname, relation.relname), 'select') then
                execute format('grant select on %I.%I to heo_app', relation.nspname, relation.relname);
            end if;
        elsif not has_table_privilege('heo_app', format('%I.%I', relation.nspname, relation.relname), 'delete') then
            execute format(
                'grant select, insert, update, delete on %I.%I to heo_app', relation.nspname, relation.relname
            );
        end if;
    end loop;
    if exists (select from pg_namespace where nspname = 'optuna' and pg_has_role(nspowner, 'usage')) then
        grant usage, create on schema optuna to heo_app;
    end if;
    if exists (select from pg_namespace where nspname = 'public' and pg_has_role(nspowner, 'usage')) then
        grant usage on schema public to heo_app;
    end if;
end
$$
"""


def grant_rights(url: str) -> None:
    """Let `heo_app`, made where it is missing, read everything and write every row; safe to repeat.

    It makes no table but Optuna's, in their schema. Where we may not make roles, there is none, and no error.
    """
    with get_engine(url).begin() as connection:
        for statement in (_MAKE, _GRANT):
            connection.execute(text(statement))
