-- A column of raw gets a wider type under the views that read it. PostgreSQL refuses that while there are views, and they belong
-- to others (dbt, developers), so the administrator's rights are needed; the views come back as they were, in the caller's
-- transaction: definition, owner, rights, options, comments. Anything that cannot be brought back exactly is refused by name.
create or replace function ledger.retype_column(raw_table regclass, column_name name, new_type text) returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '30s'
as $$
declare
    one      record;
    what     record;
    views    oid[];
    saved    jsonb := '[]';
    identity text;
begin
    if (select relowner <> 'millrace_loader'::regrole or relkind <> 'r' from pg_class where oid = raw_table) then
        raise exception '% is no table of millrace_loader', raw_table;
    end if;
    execute format('lock table %s in access exclusive mode', raw_table);
    -- The statement below runs with rights that the caller does not have. So nothing of the caller's may run in it: no
    -- function behind a constraint, a default, or a cast of a type that is not built in; and no more than the name of a type.
    if new_type !~ '^[a-z][a-z ]*(\([0-9]+(,-?[0-9]+)?\))?[a-z ]*(\[\])?$' or new_type ~ '\m(using|collate)\M' then
        raise exception 'not the name of a type: %', new_type;
    end if;
    if (select relhassubclass or relhasrules or relhastriggers or relrowsecurity from pg_class where oid = raw_table)
       or exists (select from pg_constraint where conrelid = raw_table and contype not in ('p', 'u', 'n'))
       or exists (select from pg_attrdef where adrelid = raw_table) then
        raise exception '% has more than columns and a key', raw_table using errcode = 'feature_not_supported';
    end if;
    if exists (
        select from unnest(array[
            to_regtype(new_type),
            (select atttypid::regtype from pg_attribute where attrelid = raw_table and attname = column_name)]) t(id)
          left join pg_type on pg_type.oid = t.id
         where typnamespace is distinct from 'pg_catalog'::regnamespace) then
        raise exception 'not built in: % or the type that the column has', new_type;
    end if;
    with recursive readers(id, depth) as (
        select r.ev_class, 1
          from pg_depend d join pg_rewrite r on r.oid = d.objid
          join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
         where d.classid = 'pg_rewrite'::regclass and d.refclassid = 'pg_class'::regclass
           and d.refobjid = raw_table and a.attname = column_name and r.ev_class <> raw_table
        union
        select r.ev_class, depth + 1
          from readers join pg_depend d on d.refobjid = readers.id join pg_rewrite r on r.oid = d.objid
         where d.classid = 'pg_rewrite'::regclass and d.refclassid = 'pg_class'::regclass and r.ev_class <> readers.id
    ), deepest(id, depth) as (select id, max(depth) from readers group by id)
    select coalesce(array_agg(id order by depth, id), '{}') into views from deepest;

    for one in
        select c.oid, c.relkind, c.relname, c.relowner, c.relacl, c.reloptions, n.nspname,
               exists (select from pg_trigger t where t.tgrelid = c.oid)
               or exists (select from pg_rewrite r where r.ev_class = c.oid and r.rulename <> '_RETURN')
               or exists (select from pg_attrdef f where f.adrelid = c.oid) as has_more
          from unnest(views) with ordinality v(id, place) join pg_class c on c.oid = v.id
          join pg_namespace n on n.oid = c.relnamespace
         order by v.place
    loop
        identity := format('%I.%I', one.nspname, one.relname);
        if one.relkind <> 'v' or one.has_more then
            raise exception '% reads the column, and is no plain view', identity using errcode = 'dependent_objects_still_exist';
        end if;
        saved := saved || jsonb_build_object(
            'identity', identity, 'definition', pg_get_viewdef(one.oid),
            'options', array_to_string(one.reloptions, ', '), 'owner', pg_get_userbyid(one.relowner),
            'rights', (
                select coalesce(jsonb_agg(jsonb_build_array(
                           g.privilege_type || coalesce('(' || quote_ident(g.attname) || ')', ''),
                           case g.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(g.grantee)) end,
                           g.is_grantable)), '[]')
                  from (select null::name as attname, (aclexplode(one.relacl)).*
                        union all
                        select a.attname, (aclexplode(a.attacl)).* from pg_attribute a
                         where a.attrelid = one.oid and a.attacl is not null) g
                 where g.grantee <> one.relowner),
            'comments', (
                select coalesce(jsonb_agg(jsonb_build_array(a.attname, d.description)), '[]')
                  from pg_description d left join pg_attribute a on a.attrelid = d.objoid and a.attnum = d.objsubid and a.attnum > 0
                 where d.classoid = 'pg_class'::regclass and d.objoid = one.oid));
    end loop;

    for one in select v ->> 'identity' as identity from jsonb_array_elements(saved) with ordinality s(v, place) order by place desc
    loop
        execute format('drop view %s', one.identity);
    end loop;
    execute format('alter table %s alter column %I type %s', raw_table, column_name, new_type);

    for one in
        select v ->> 'identity' as identity, v ->> 'definition' as definition, v ->> 'options' as options, v ->> 'owner' as owner,
               v -> 'rights' as rights, v -> 'comments' as comments
          from jsonb_array_elements(saved) with ordinality s(v, place) order by place
    loop
        execute format('create view %s %s as %s', one.identity, coalesce('with (' || one.options || ')', ''), one.definition);
        -- What default privileges have granted was not there before.
        for what in
            select distinct case grantee when 0 then 'public' else quote_ident(pg_get_userbyid(grantee)) end as grantee
              from pg_class c, aclexplode(c.relacl) where c.oid = one.identity::regclass and grantee <> c.relowner
        loop
            execute format('revoke all on %s from %s', one.identity, what.grantee);
        end loop;
        execute format('alter view %s owner to %I', one.identity, one.owner);
        for what in select g ->> 0 as privilege, g ->> 1 as grantee, (g ->> 2)::boolean as grantable from jsonb_array_elements(one.rights) g
        loop
            execute format('grant %s on %s to %s%s', what.privilege, one.identity, what.grantee,
                           case when what.grantable then ' with grant option' else '' end);
        end loop;
        for what in select c ->> 0 as attname, c ->> 1 as description from jsonb_array_elements(one.comments) c
        loop
            if what.attname is null then
                execute format('comment on view %s is %L', one.identity, what.description);
            else
                execute format('comment on column %s.%I is %L', one.identity, what.attname, what.description);
            end if;
        end loop;
    end loop;
    return jsonb_array_length(saved);
end $$;
revoke all on function ledger.retype_column(regclass, name, text) from public;
grant execute on function ledger.retype_column(regclass, name, text) to millrace_loader;
