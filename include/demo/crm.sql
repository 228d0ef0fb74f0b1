-- The CRM that the sales team works in: the demo's operational target. Safe to run again.
-- `owner` and `notes` belong to the sales team; whoever delivers customer values must leave them alone.

create schema if not exists crm;

create table if not exists crm.contacts (
    contact_id     bigint generated always as identity primary key,
    external_id    text not null unique,
    email          text,
    full_name      text,
    customer_value numeric(14, 2),
    segment        text,
    last_order_at  timestamptz,
    owner          text,
    notes          text,
    created_at     timestamptz not null default now(),
    updated_at     timestamptz not null default now()
);

create or replace function crm.stamp_updated_at() returns trigger language plpgsql as $$
begin
    new.updated_at := now();
    return new;
end
$$;

create or replace trigger stamp_updated_at before update on crm.contacts
for each row execute function crm.stamp_updated_at();
