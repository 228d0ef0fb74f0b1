-- The ledger: what was read, landed, loaded and published, and what may be read next. Idempotent.
set local role millrace_loader;

-- One row a load: one attempt to bring all streams of a source from one snapshot of it into raw; or a replay, which brings
-- loads of the past into raw again, from the landing zone alone, and has no manifest of its own.
create table if not exists ledger.load (
    load_id        bigint generated always as identity primary key,
    source         text not null,
    run_id         text not null,
    kind           text not null check (kind in ('regular', 'backfill', 'replay')),
    interval_start timestamptz,
    interval_end   timestamptz not null,
    status         text not null default 'open'
                   check (status in ('open', 'landed', 'published', 'rejected', 'failed', 'superseded')),
    server         text,
    position       bigint[],
    manifest       text unique,
    error          text,
    opened_at      timestamptz not null default clock_timestamp(),
    landed_at      timestamptz,
    published_at   timestamptz
);
-- What the load cost its source: seconds for which one snapshot of it was held.
alter table ledger.load add column if not exists snapshot_seconds double precision;
do $$
begin
    -- Ledgers from before there were replays.
    if exists (select from pg_constraint where conrelid = 'ledger.load'::regclass and conname = 'load_kind_check'
                  and pg_get_constraintdef(oid) not like '%replay%') then
        alter table ledger.load drop constraint load_kind_check;
        alter table ledger.load add constraint load_kind_check check (kind in ('regular', 'backfill', 'replay'));
    end if;
end $$;
create index if not exists load_source on ledger.load (source, load_id desc);

-- One row a stream of a load; counts are rows. extracted = landed = staged; staged = inserted + updated + unchanged +
-- duplicates when published, and staged = rejected when held back by its audit. Of a replay, `replayed` are the loads whose
-- parts it read, and duplicates are the rows in them that raw has no use for: it has, or had, a newer version.
create table if not exists ledger.load_stream (
    load_id        bigint not null references ledger.load on delete cascade,
    stream         text not null,
    mode           text not null,
    status         text not null default 'landed' check (status in ('landed', 'staged', 'audited', 'rejected', 'published')),
    schema_fingerprint text not null,
    watermark_from timestamptz,
    watermark_to   timestamptz,
    newest         timestamptz,
    extracted      bigint not null,
    landed         bigint not null,
    keys           bigint,
    bytes          bigint not null,
    parts          integer not null,
    seconds        double precision not null,
    staged         bigint,
    rejected       bigint,
    inserted       bigint,
    updated        bigint,
    unchanged      bigint,
    duplicates     bigint,
    deleted        bigint,
    expectations   integer,
    failures       jsonb,
    replayed       int8range,
    primary key (load_id, stream)
);
alter table ledger.load_stream add column if not exists replayed int8range;
-- How the source's table differed from the contract, by kind, and what the contract answered; null: it did not.
alter table ledger.load_stream add column if not exists changes jsonb;

-- staged = landed + retried; staged = inserted + updated + unchanged + duplicates + quarantined when published.
alter table ledger.load_stream add column if not exists retried bigint not null default 0;
alter table ledger.load_stream add column if not exists quarantined bigint not null default 0;

-- What an audit has asked: {key: [column], rules: [{rule, severity, why}]}. What is not among the failures has held.
alter table ledger.load_stream add column if not exists asked jsonb;

-- Rows that broke a rule and were set aside while the rest of their batch went on: each value as text, with its key and
-- the digest of all of it. A row is held from load `first_load` on; it goes along again when somebody asks (`retry`), changed
-- by `edits` if there are any; it is in raw since `published_load`; and it is over since `ended_load`, when the source had other
-- values in its place, or none. `dropped` ones stay out for good. None is ever deleted while its loads can be replayed.
create table if not exists ledger.quarantine (
    quarantine_id  bigint generated always as identity primary key,
    source         text not null,
    stream         text not null,
    state          text not null default 'held' check (state in ('held', 'retry', 'published', 'dropped', 'superseded', 'gone')),
    key            jsonb not null,
    content        jsonb not null,
    digest         text not null,
    rules          jsonb not null,
    run_id         text not null,
    manifest       text not null,
    first_load     bigint not null,
    first_at       timestamptz not null default clock_timestamp(),
    last_load      bigint not null,
    last_at        timestamptz not null default clock_timestamp(),
    edits          jsonb not null default '{}',
    decided_by     text,
    decided_why    text,
    decided_at     timestamptz,
    published_load bigint,
    ended_load     bigint
);
create index if not exists quarantine_row on ledger.quarantine (source, stream, digest);

-- How far each stream is committed: everything stamped before `watermark` is in raw, as of load `load_id`.
create table if not exists ledger.watermark (
    source     text not null,
    stream     text not null,
    watermark  timestamptz,
    newest     timestamptz,
    schema_fingerprint text,
    server     text not null,
    position   bigint[] not null,
    load_id    bigint not null,
    updated_at timestamptz not null default clock_timestamp(),
    primary key (source, stream)
);
-- In place of `watermark` where the cursor is xmin: every change of a transaction before `mark.xid` is in raw. With it, what
-- that speaks of: the timeline of the server's history, the files that held the table, and the time of the snapshot.
alter table ledger.watermark add column if not exists mark jsonb;
-- In place of both where the source's log is read: exactly the transactions that `log.snapshot` sees are in raw.
alter table ledger.watermark add column if not exists log jsonb;

-- Who may publish a source. A load that lost its lease can no longer write into raw.
create table if not exists ledger.lease (
    source     text primary key,
    load_id    bigint not null,
    run_id     text not null,
    expires_at timestamptz not null
);

-- How raw compared with its source in the snapshot of a load: rows there and here, in how many buckets of rows they were told
-- apart, how many of these differ, and keys of rows.
create table if not exists ledger.reconciliation (
    load_id       bigint not null references ledger.load on delete cascade,
    stream        text not null,
    source_rows   bigint not null,
    raw_rows      bigint not null,
    columns       text[] not null,
    buckets       integer not null,
    differing     integer not null,
    examples      jsonb not null,
    reconciled_at timestamptz not null default clock_timestamp(),
    primary key (load_id, stream)
);

-- One row a deadline that a run, or the data of an interval, had; or a time for which data was too old (freshness), or a part of
-- Airflow was not alive: `about` says which. met: null while it is still ahead, or while a run is under way that Airflow watches.
-- reached_at: when consumers had the data, null while they have not. failed_at: a failure of its run was told since then.
create table if not exists ledger.deadline (
    kind         text not null,
    name         text not null,
    rule         text not null check (rule in ('at', 'after_queueing', 'freshness', 'alive')),
    about        text not null,
    run_id       text,
    due_at       timestamptz not null,
    met          boolean,
    reached_at   timestamptz,
    failed_at    timestamptz,
    told_at      timestamptz,
    recovered_at timestamptz,
    primary key (kind, name, rule, about)
);
create index if not exists deadline_unreached on ledger.deadline (kind, name, due_at) where reached_at is null;

-- How many deadlines were met, by month (UTC) in which they fell due.
create or replace view ledger.deadline_month as
select kind, name, rule, date_trunc('month', due_at at time zone 'UTC')::date as month,
       count(*) filter (where met) as met, count(*) filter (where not met) as missed,
       round(100.0 * count(*) filter (where met) / count(*), 1) as percent_met
  from ledger.deadline
 where met is not null and rule in ('at', 'after_queueing')
 group by 1, 2, 3, 4;

grant select on ledger.deadline, ledger.deadline_month to millrace_developer, millrace_analyst;
-- Whoever tells that data is late has this role (see `ledger.incident`), and notes that it was told.
grant insert, update on ledger.deadline to millrace_developer;
grant select on ledger.load, ledger.watermark, ledger.lease
    to millrace_transformer, millrace_activator, millrace_developer, millrace_analyst;
-- Its failures hold examples of rows, so only those see it who may read raw.
grant select on ledger.load_stream, ledger.reconciliation, ledger.quarantine to millrace_transformer, millrace_developer;

reset role;

-- One row a publication of marts: the versioned schemas that the published views read.
create table if not exists ledger.publication (
    publication_id bigint generated always as identity primary key,
    transform      text not null,
    run_id         text not null,
    relations      jsonb not null,
    published_at   timestamptz not null default clock_timestamp(),
    dropped_at     timestamptz
);
-- How far the sources' streams were in raw when its build began: {source: {stream: {committed, newest}}}.
alter table ledger.publication add column if not exists built_from jsonb;
grant select on ledger.publication to millrace_loader, millrace_activator, millrace_developer, millrace_analyst;
grant select, insert, update on ledger.publication to millrace_transformer;

-- The run that builds a transform's candidate, and what it is built from.
create table if not exists ledger.candidate (
    transform  text primary key,
    run_id     text not null,
    built_from jsonb not null,
    begun_at   timestamptz not null default clock_timestamp()
);
grant select, insert, update on ledger.candidate to millrace_transformer;

-- For which load of a source the DAG maintain has started a transform that had not begun since.
create table if not exists ledger.started (
    transform  text primary key,
    load_id    bigint not null,
    started_at timestamptz not null default clock_timestamp()
);
grant select, insert, update on ledger.started to millrace_transformer;

-- One row each time that a month (UTC, by its first day) is to be built: version 1 when all its days are published, another one
-- when something of it was published again, which `why` names. `run_id`: the run that builds it, or has; it began at `begun_at`,
-- with the sources as in `built_from`, and what the backfills and replays `loads` had brought. closed_at: when consumers got it, with which publication; null while it is to be built.
create table if not exists ledger.month (
    transform      text not null,
    month          date not null check (extract(day from month) = 1),
    version        integer not null,
    why            text not null,
    marked_at      timestamptz not null default clock_timestamp(),
    run_id         text,
    begun_at       timestamptz,
    built_from     jsonb,
    loads          bigint[] not null default '{}',
    publication_id bigint,
    closed_at      timestamptz,
    primary key (transform, month, version)
);
grant select on ledger.month to millrace_analyst;
grant select, insert on ledger.month to millrace_developer;
grant select, insert, update on ledger.month to millrace_transformer;

-- What the gate found in each table of a candidate.
create table if not exists ledger.gate_result (
    transform    text not null,
    run_id       text not null,
    relation     text not null,
    passed       boolean not null,
    expectations integer not null,
    failures     jsonb not null,
    audited_at   timestamptz not null default clock_timestamp(),
    primary key (transform, run_id, relation)
);
-- What the gate has asked, as in ledger.load_stream.
alter table ledger.gate_result add column if not exists asked jsonb;

-- What dbt said of each model and test of a run of a transform.
create table if not exists ledger.model_result (
    transform  text not null,
    run_id     text not null,
    unique_id  text not null,
    status     text not null,
    rows       bigint,
    failures   bigint,
    seconds    double precision not null,
    message    text,
    recorded_at timestamptz not null default clock_timestamp(),
    primary key (transform, run_id, unique_id)
);
grant select on ledger.model_result to millrace_activator, millrace_developer, millrace_analyst;
grant select on ledger.gate_result to millrace_developer;
grant select, insert, update on ledger.gate_result, ledger.model_result to millrace_transformer;
-- A build that starts anew takes back what was said of the one before.
grant delete on ledger.gate_result to millrace_transformer;

-- The docs of the models as one compressed page, and what it was made of.
create table if not exists ledger.model_docs (
    one         boolean primary key default true check (one),
    fingerprint text not null,
    page        bytea not null,
    written_at  timestamptz not null default clock_timestamp()
);
grant select on ledger.model_docs to millrace_developer;
grant select, insert, update on ledger.model_docs to millrace_transformer;

-- One row a cause of trouble, from when it was first seen until it is over: of a DAG's runs, or of one backfill's. `runs`: of a
-- backfill, those that have failed and not succeeded since. Its messages hold examples of rows, so only those see it who may
-- read raw. The developer's role writes it: whoever sends an alert has no other one, and people acknowledge with it.
create table if not exists ledger.incident (
    incident_id     bigint generated always as identity primary key,
    kind            text not null,
    name            text not null,
    event           text not null check (event in ('failure', 'missed_deadline', 'warning')),
    backfill        boolean not null,
    cause           text not null,
    severity        text not null check (severity in ('critical', 'warning')),
    title           text not null,
    what            text not null,
    run_id          text not null,
    link            text not null,
    runs            text[] not null default '{}',
    opened_at       timestamptz not null default clock_timestamp(),
    last_seen_at    timestamptz not null default clock_timestamp(),
    occurrences     integer not null default 1,
    told_at         timestamptz,
    last_told_at    timestamptz,
    acknowledged_by text,
    acknowledged_at timestamptz,
    note            text,
    escalated_at    timestamptz,
    resolved_at     timestamptz,
    resolved_by     text
);
-- However many tasks fail at once for one cause, they meet here.
create unique index if not exists incident_open on ledger.incident (kind, name, event, backfill, cause)
    where resolved_at is null;
create index if not exists incident_by_contract on ledger.incident (kind, name, incident_id desc);
grant select, insert, update on ledger.incident to millrace_developer;

-- One figure of a batch, or of a mart's table: of the whole, or of a column. `at` is the end of the interval that it speaks of.
-- `sample` is the rows that it was made of, `spread` the standard deviation of one of them; `unit` is seconds, characters, or
-- empty. `low` and `high` are the limits that it was held against, none while there is not enough history; `limits` says what
-- they were made of. A figure that is left out (of a backfill, a full read, an incident) has no part in the limits of others;
-- from one that is normal on there is a new level.
create table if not exists ledger.metric (
    dataset     text not null,
    run_id      text not null,
    metric      text not null,
    column_name text not null,
    load_id     bigint,
    at          timestamptz not null,
    value       double precision not null,
    sample      bigint not null,
    spread      double precision not null,
    unit        text not null,
    state       text not null check (state in ('quiet', 'in', 'out', 'left_out', 'normal')),
    low         double precision,
    high        double precision,
    limits      text,
    primary key (dataset, run_id, metric, column_name)
);
create index if not exists metric_history on ledger.metric (dataset, at);
create index if not exists metric_runs on ledger.metric (dataset, at) where metric = 'rows' and column_name = '';
-- Quantiles are values of rows, so only those see it who may read raw.
grant select on ledger.metric to millrace_developer;
grant select, insert, update, delete on ledger.metric to millrace_loader, millrace_transformer;
