#!/usr/bin/env bash
# A role a server, none a superuser, each the owner of its own database and let into no other: mlflow
# and prefect. Run by the postgres image on an empty volume and by infra/services.sh; run again, it
# changes what differs, also what earlier versions made.
#   databases.sh [DATABASE...]     further databases of mlflow's
# The administrator is PGUSER or POSTGRES_USER. psql takes the passwords as data, from
# MLFLOW_DATABASE_PASSWORD and PREFECT_DATABASE_PASSWORD.
set -euo pipefail
admin=${PGUSER:-$POSTGRES_USER}

ask() { psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "$admin" "$@" >/dev/null; }

role() { # name, the variable of its password
    ask --dbname postgres --set name="$1" <<END
\\set password \`printenv $2\`
select format('create role %I', :'name')
where not exists (select from pg_roles where rolname = :'name') \\gexec
alter role :"name" login nosuperuser nocreatedb nocreaterole noreplication nobypassrls
    password :'password';
END
}

database() { # name owner
    ask --dbname postgres --set name="$1" --set owner="$2" <<'END'
select format('create database %I owner %I', :'name', :'owner')
where not exists (select from pg_database where datname = :'name') \gexec
alter database :"name" owner to :"owner";
revoke all on database :"name" from public;
END
    # What the administrator made there, before each server had a role of its own.
    ask --dbname "$1" --set owner="$2" <<'END'
select format('alter %s %I.%I owner to %I',
              case relkind when 'v' then 'view' when 'm' then 'materialized view'
                           when 'S' then 'sequence' else 'table' end, nspname, relname, :'owner')
from pg_class join pg_namespace on pg_namespace.oid = relnamespace
where nspname = 'public' and relkind in ('r', 'p', 'v', 'm', 'S')
    and pg_get_userbyid(relowner) = current_user
    and not exists (select from pg_depend
                    where objid = pg_class.oid and deptype in ('a', 'i', 'e')) \gexec
select format('alter type %I.%I owner to %I', nspname, typname, :'owner')
from pg_type join pg_namespace on pg_namespace.oid = typnamespace
where nspname = 'public' and typtype = 'e' and pg_get_userbyid(typowner) = current_user \gexec
select format('alter routine %s owner to %I', pg_proc.oid::regprocedure, :'owner')
from pg_proc join pg_namespace on pg_namespace.oid = pronamespace
where nspname = 'public' and pg_get_userbyid(proowner) = current_user
    and not exists (select from pg_depend where objid = pg_proc.oid and deptype = 'e') \gexec
END
}

role mlflow MLFLOW_DATABASE_PASSWORD
role prefect PREFECT_DATABASE_PASSWORD
for name in mlflow "$@"; do database "$name" mlflow; done
database prefect prefect
ask --dbname prefect --command "create extension if not exists pg_trgm" # Prefect's search needs it
