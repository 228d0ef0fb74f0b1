"""The tables in which reverse ETL remembers what a destination has acknowledged.

They stand in schema `ledger` of the warehouse, which `include.warehouse.bootstrap` makes; it takes
`STATE_DDL` among its extra statements, after schema and roles are there.
"""

from __future__ import annotations

from include.activation.drift import DRIFT_DDL

#: Plain SQL, safe to run again. Needs schema `ledger` and the roles of the warehouse.
STATE_DDL = """
create table if not exists ledger.sync_run (
    sync_run_id   bigint generated always as identity primary key,
    sync          text        not null,
    run_id        text        not null,
    model_version text        not null,
    status        text        not null
        check (status in ('running', 'delivered', 'incomplete', 'failed', 'abandoned')),
    started_at    timestamptz not null default clock_timestamp(),
    finished_at   timestamptz,
    read          bigint      not null,
    unchanged     bigint      not null,
    creates       bigint      not null,
    updates       bigint      not null,
    held          bigint      not null,
    delivered     bigint      not null default 0,
    rejected      bigint      not null default 0,
    unsent        bigint      not null default 0,
    error         text
);
alter table ledger.sync_run
    add column if not exists deletes          bigint not null default 0,
    add column if not exists deletes_held     bigint not null default 0,
    add column if not exists deleted          bigint not null default 0,
    add column if not exists deletes_rejected bigint not null default 0,
    add column if not exists deletes_unsent   bigint not null default 0,
    add column if not exists approved_by      text;
create index if not exists sync_run_by_sync on ledger.sync_run (sync, sync_run_id desc);
create index if not exists sync_run_by_run on ledger.sync_run (run_id);

comment on table ledger.sync_run is
    'One row for each attempt to deliver a sync. read = unchanged + held + delivered + rejected + unsent; and of what left'
    ' the model, deletes = deleted + deletes_rejected + deletes_unsent.';
comment on column ledger.sync_run.run_id is 'Run of the DAG (or the shell) that asked for the delivery.';
comment on column ledger.sync_run.model_version is 'Relation that the activation view read at that time.';
comment on column ledger.sync_run.approved_by is 'Who approved its plan; null: nobody had to be asked.';
comment on column ledger.sync_run.held is 'Not sent, because rejected too often as they are.';
comment on column ledger.sync_run.unsent is 'Planned, without an answer; the next run sends them.';

-- No foreign key to sync_run: checking it for every record costs more than the record.
create table if not exists ledger.sync_record (
    sync             text        not null,
    record_key       text        not null,
    status           text        not null check (status in ('delivered', 'rejected', 'deleted', 'unknown')),
    acknowledged     bytea,
    acknowledged_at  timestamptz,
    refused          bytea,
    reason           text,
    attempts         integer     not null,
    first_seen_at    timestamptz not null default now(),
    last_attempt_at  timestamptz not null default now(),
    sync_run_id      bigint      not null,
    primary key (sync, record_key)
);
do $$
begin
    if not exists (select from information_schema.columns
                   where table_schema = 'ledger' and table_name = 'sync_record' and column_name = 'there') then
        alter table ledger.sync_record
            add column there boolean not null default false, add column action text, add column value text,
            drop constraint sync_record_status_check, add constraint sync_record_status_check
                check (status in ('delivered', 'rejected', 'deleted', 'unknown'));
        update ledger.sync_record set there = true where acknowledged_at is not null;
    end if;
end $$;
create index if not exists sync_record_rejected on ledger.sync_record (sync, last_attempt_at)
    where status = 'rejected';

comment on table ledger.sync_record is 'The last answer of a destination for each record of a sync.';
comment on column ledger.sync_record.status is
    'The last answer; deleted: it holds the record no longer; unknown: it never answered, and may hold it.';
comment on column ledger.sync_record.there is 'Whether the destination holds the record, or may hold it.';
comment on column ledger.sync_record.action is 'What was answered last: create, update or delete.';
comment on column ledger.sync_record.value is
    'The mapped record that it acknowledged last, as JSON; null when it holds none.';
comment on column ledger.sync_record.acknowledged is
    'Fingerprint of what the destination holds by its own word; null: not known.';
comment on column ledger.sync_record.acknowledged_at is 'When it did so last; null: never, or deleted since.';
comment on column ledger.sync_record.refused is 'Fingerprint it rejected last; null when it took it.';
comment on column ledger.sync_record.attempts is 'Runs in which the record was answered as it is now.';
comment on column ledger.sync_record.sync_run_id is 'The sync_run that got the answer.';

create table if not exists ledger.sync_in_flight (
    sync        text   not null,
    sync_run_id bigint not null,
    batch       bigint not null,
    record_keys text[] not null,
    primary key (sync, sync_run_id, batch)
);

comment on table ledger.sync_in_flight is
    'Keys handed to a destination without an answer yet; after a crash they may have arrived or not.';

create table if not exists ledger.rate_limit (
    connection   text primary key,
    tokens       double precision not null,
    refilled_at  timestamptz      not null,
    paused_until timestamptz      not null
);

comment on table ledger.rate_limit is
    'How fast requests may go to a connection: a token bucket that all workers and syncs share.';
comment on column ledger.rate_limit.tokens is 'Left at refilled_at; below zero: promised already.';
comment on column ledger.rate_limit.paused_until is 'Nobody sends before: the API asked for it.';

grant select, insert, update on ledger.rate_limit to millrace_activator;
grant select on ledger.rate_limit to millrace_developer;
grant select, insert, update on ledger.sync_run, ledger.sync_record to millrace_activator;
grant select on ledger.sync_run to millrace_loader;
grant select, insert, update, delete on ledger.sync_in_flight to millrace_activator;
grant select on ledger.sync_run, ledger.sync_record, ledger.sync_in_flight to millrace_developer;
"""

STATE_DDL += DRIFT_DDL
