-- A source with everything that makes a catalog hard to read.
create schema shop;
create schema "My ""App""";
create schema hidden;

create type shop."Mood" as enum ('ok', 'so so', 'it''s "bad", {really}: #1', 'no');
create domain shop.price as numeric(10, 2);

create function shop.stamp() returns trigger language plpgsql as
  $$ begin new.updated_at := clock_timestamp(); return new; end $$;

create table shop.customers (
    id bigint generated always as identity primary key,
    email text not null, full_name text, "passwordHash" text, note text,
    mood shop."Mood" not null default 'ok', price shop.price,
    total numeric generated always as (price * 2) stored,
    valid_to date, balance money[],
    created_at timestamptz not null default now(), updated_at timestamptz not null default now()
);
comment on table shop.customers is E'People: who #buy\nhere';
create index on shop.customers (updated_at);
create trigger touch before update on shop.customers for each row execute function shop.stamp();
insert into shop.customers (email, full_name, mood, price, valid_to, balance)
  select format('a%s@example.org', n), 'Name ' || n, 'it''s "bad", {really}: #1', n, 'infinity', '{1.00}'
    from generate_series(1, 50) n;

create table shop.orders (
    customer_id bigint references shop.customers, number int, placed_at timestamptz,
    "lastModifiedAt" timestamp not null default now(), primary key (customer_id, number)
);
insert into shop.orders (customer_id, number) select 1, n from generate_series(1, 5) n;
create table shop.lines (
    line int primary key, number int, customer_id bigint, maybe_updated_at timestamptz, updated_at timestamptz,
    foreign key (customer_id, number) references shop.orders
);
insert into shop.lines select n, n, 1, null, null from generate_series(1, 5) n;

create table shop.notes (customer_id bigint references shop.customers, "text" text, created_at timestamptz default now());
insert into shop.notes (customer_id, "text") values (1, E'a\n,"b"'), (1, null), (1, '');
create table shop.events (id uuid primary key default gen_random_uuid(), received_at timestamptz not null default now(),
    client_ip inet, payload jsonb);
insert into shop.events (client_ip, payload) values ('10.0.0.1', '{"a": 1.00}'), (null, 'null');
create table shop.days (id int, day date not null, primary key (id, day)) partition by range (day);
create table shop.days_1 partition of shop.days for values from ('2026-01-01') to ('2026-02-01');
create table shop.days_2 partition of shop.days for values from ('2026-02-01') to ('2026-03-01') partition by list (id);
create table shop.days_2_a partition of shop.days_2 for values in (1);
insert into shop.days values (1, '2026-01-05'), (1, '2026-02-05');
create table shop.vehicles (id int primary key, wheels int);
create table shop.cars (doors int) inherits (shop.vehicles);
insert into shop.vehicles values (1, 2);
insert into shop.cars values (1, 4, 5);
create table shop.only_money (m money[]);
create table shop.empty ();

create table "My ""App""".orders (id int primary key, "select" text, "a b" int, "x: {y}" text, "#no" bool, "on" bool,
    "Ünïcödé 🏭" text, "quo'te""s" text, "%s %(a)s" text, "{}" int, "2024" int, " lead" int, "null" text, "a\b" text);
insert into "My ""App""".orders values (1, 's', 2, 'x', true, false, 'ü', 'q', '%', 3, 4, 5, 'null', '\');
create table "My ""App"""."Table: {with} #all, 100%s" ("Id" int primary key, "updatedAt" timestamptz not null);
insert into "My ""App"""."Table: {with} #all, 100%s" values (1, now());
create table "My ""App"""."no" (id int primary key, "user" text);
create table "My ""App"""."shop_orders" (id int primary key);

create view shop.a_view as select 1 as one;
create materialized view shop.a_matview as select 1 as one;
create table shop.forbidden (id int);
create table shop.partly (id int, secret text);
create table shop.guarded (id int primary key);
alter table shop.guarded enable row level security;
create table hidden.there (id int);
analyze;
