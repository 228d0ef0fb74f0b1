-- One unit of the seed: 3 000 customers, 10 000 orders, 50 000 web events and what belongs to them.
-- seed.py has defined pg_temp.unit() (0, 1, 2 …) before. Units don't depend on each other, so any scale needs
-- only the memory of one.

insert into shop.customers
    (customer_id, email, full_name, phone, birth_date, tier, status, preferences, created_at, updated_at, deleted_at)
with people as (
    select
        id,
        pg_temp.pick(array['Anna|anna', 'Ben|ben', 'Chloé|chloe', 'David|david', 'Elif|elif', 'Søren|soren',
            'Grace|grace', 'Hiro|hiro', 'Inés|ines', 'Jürgen|juergen', 'Kofi|kofi', 'Łucja|lucja', 'Mei|mei',
            'Nils|nils', 'Olga|olga', 'Priya|priya', 'Quinn|quinn', 'Rosa|rosa', 'Zoë|zoe', 'Tom|tom'
        ], 'first name', id) as first_name,
        pg_temp.pick(array['Meyer|meyer', 'O''Neill|oneill', 'García|garcia', 'Nguyễn|nguyen', 'Smith|smith',
            'Kowalski|kowalski', 'Müller|mueller', 'Rossi|rossi', 'Tanaka|tanaka', 'Öztürk|oeztuerk', 'Dubois|dubois',
            'van Dijk|vandijk', 'Mensah|mensah', 'Novák|novak', 'Andersen|andersen', 'Silva|silva'
        ], 'last name', id) as last_name,
        pg_temp.history() + 0.97 * pg_temp.u('signed up', id) ^ 2.5 * interval '730 days' as created_at
    from generate_series(pg_temp.unit() * 3000 + 1, pg_temp.unit() * 3000 + 3000) as id
),
leaving as (
    select
        *,
        case when pg_temp.u('leaves', id) < 0.025 and created_at < pg_temp.until() - interval '60 days'
            then created_at + interval '30 days'
                + pg_temp.u('leaves at', id) * (pg_temp.until() - created_at - interval '30 days')
        end as deleted_at,
        -- the sign-up form neither trims nor lowers what people type
        case when pg_temp.u('e-mail case', id) < 0.03 then 'upper' else 'lower' end as email_case
    from people
),
addressed as (
    select *, split_part(first_name, '|', 2) || '.' || split_part(last_name, '|', 2) || '.' || id
        || '@' || pg_temp.pick(array['example.com', 'example.org', 'example.net'], 'domain', id) as email
    from leaving
)
select
    id,
    case email_case when 'upper' then upper(email) else email end,
    split_part(first_name, '|', 1) || ' ' || split_part(last_name, '|', 1),
    case when pg_temp.u('phone known', id) > 0.12
        then pg_temp.pick(array['+49 ', '+44', '0', '+1-'], 'phone style', id)
            || (1000000 + floor(pg_temp.u('phone', id) * 8999999))::bigint end,
    case when pg_temp.u('birth date known', id) > 0.08
        then (pg_temp.until() - interval '18 years' - pg_temp.u('age', id) * interval '60 years')::date end,
    (case when pg_temp.u('tier', id) < 0.02 then 'platinum' when pg_temp.u('tier', id) < 0.08 then 'gold'
        when pg_temp.u('tier', id) < 0.25 then 'silver' else 'standard' end)::shop.customer_tier,
    (case when deleted_at is not null then 'closed' when pg_temp.u('suspended', id) < 0.01 then 'suspended'
        else 'active' end)::shop.customer_status,
    jsonb_strip_nulls(jsonb_build_object(
        'newsletter', case when pg_temp.u('asked', id) < 0.9 then pg_temp.u('newsletter', id) < 0.6 end,
        'language', pg_temp.pick(array['de', 'en', 'fr', 'es', null], 'language', id),
        'channels', case when pg_temp.u('channels', id) < 0.3 then jsonb_build_array('email', 'sms') end
    )),
    created_at,
    coalesce(deleted_at, created_at + pg_temp.u('customer change', id) ^ 2 * (pg_temp.until() - created_at)),
    deleted_at
from addressed;

insert into shop.addresses
    (address_id, customer_id, kind, street, postcode, city, country, created_at, updated_at)
select
    address_id,
    customer_id,
    case when address_id % 2 = 1 then 'shipping' else 'billing' end::shop.address_kind,
    pg_temp.pick(array['Main Street', 'Lindenallee', 'Rue des Fleurs', 'Calle Mayor', 'High Road'], 'street', address_id)
        || ' ' || 1 + floor(pg_temp.u('house', address_id) * 180),
    case when pg_temp.u('postcode known', address_id) > 0.03
        then lpad(floor(pg_temp.u('postcode', address_id) * 99999)::text, 5, '0') end,
    split_part(place, '|', 1),
    split_part(place, '|', 2),
    created_at,
    created_at
from shop.customers
cross join lateral (values (2 * customer_id - 1), (2 * customer_id)) as two (address_id)
cross join lateral (select pg_temp.pick(array['Berlin|DE', 'Köln|DE', 'London|GB', 'Leeds|GB', 'Paris|FR', 'Lyon|FR',
    'Madrid|ES', 'Austin|US', 'Boston|US', 'Wien|AT'], 'place', customer_id)) as p (place)
where customer_id > pg_temp.unit() * 3000
    -- everybody has a shipping address, two in five another one for the invoice
    and (address_id % 2 = 1 or pg_temp.u('billing address', customer_id) < 0.4);

-- Who buys: few customers buy much (a power law), spread over the unit by a permutation of its ids.
truncate new_orders, new_items;
insert into new_orders
with shares as materialized (
    select array_agg(share_before order by day_no) as share_before from calendar
),
drawn as (
    select
        n,
        pg_temp.unit() * 3000 + 1
            + mod(floor(3000 * pg_temp.u('buyer', n) ^ 1.6)::bigint * 1237, 3000) as customer_id
    from generate_series(pg_temp.unit() * 10000 + 1, pg_temp.unit() * 10000 + 10000) as n
),
bounded as (
    select
        drawn.*,
        customers.created_at,
        share_before,
        share_before[1 + extract(day from customers.created_at - pg_temp.history())::integer] as low,
        coalesce(share_before[1 + extract(day from customers.deleted_at - pg_temp.history())::integer], 1) as high
    from drawn
    join shop.customers using (customer_id)
    cross join shares
),
placed as (
    select
        n,
        customer_id,
        greatest(
            created_at + interval '10 minutes',
            pg_temp.history()
            + interval '1 day' * (width_bucket(low + (high - low) * pg_temp.u('day', n), share_before) - 1)
            + interval '1 day' * mod((
                (pg_temp.u('hour a', n) + pg_temp.u('hour b', n) + pg_temp.u('hour c', n)) / 3 + 0.25)::numeric, 1)::float8
        ) as placed_at
    from bounded
),
staged as (
    select
        n,
        customer_id,
        placed_at,
        pg_temp.until() - placed_at as age,
        placed_at + interval '1 day' * (1 + 0.9 * pg_temp.u('ships', n)) as shipped_at,
        placed_at + interval '1 day' * (2.9 + 3 * pg_temp.u('delivers', n)) as delivered_at,
        case
            when pg_temp.u('abandoned', n) < 0.015 then 'pending'
            when age < interval '2 days' then case when pg_temp.u('paid', n) < 0.6 then 'paid' else 'pending' end
            when pg_temp.u('cancelled', n) < 0.05 then 'cancelled'
            when age < interval '6 days' then 'shipped'
            when age > interval '20 days' and pg_temp.u('returned', n) < 0.04 then 'returned'
            else 'delivered'
        end as status,
        pg_temp.pick(array['EUR', 'EUR', 'EUR', 'EUR', 'EUR', 'EUR', 'USD', 'USD', 'GBP', 'EUR'], 'currency', n) as currency
    from placed
    cross join lateral (select pg_temp.until() - placed_at) as a (age)
)
select
    pg_temp.unit() * 10000 + row_number() over (order by placed_at, n),
    customer_id,
    placed_at,
    status::shop.order_status,
    currency,
    case currency when 'EUR' then 1
        else round((case currency when 'USD' then 0.92 else 1.16 end
            * (1 + 0.03 * sin(extract(day from age) / 60)))::numeric, 6) end,
    case when pg_temp.u('discounted', n) < 0.15 then 0.05 + 0.15 * pg_temp.u('discount', n) else 0 end,
    case when status in ('shipped', 'delivered', 'returned') then shipped_at end,
    case when status in ('delivered', 'returned') then delivered_at end,
    age
from staged;
analyze new_orders;

-- Few products sell much, too. A line id is unique over all units, so that its random numbers are its own.
insert into new_items
select
    order_id,
    line_no,
    product_id,
    case when pg_temp.u('quantity', line_id) < 0.75 then 1
        else 1 + floor(pg_temp.u('more', line_id) * 4)::integer end,
    -- what it cost then, in the order's currency
    round(price * (0.9 + 0.1 * pg_temp.u('price then', line_id))::numeric / exchange_rate, 2)
from new_orders
cross join lateral generate_series(1, 1 + floor(4.6 * pg_temp.u('lines', order_id) ^ 1.5)::integer) as line_no
cross join lateral (select order_id * 8 + line_no) as l (line_id)
cross join lateral (
    select 1 + mod(
        floor(pg_temp.products() * pg_temp.u('product', line_id) ^ 2)::bigint * 7919, pg_temp.products())
) as p (product_id)
join shop.products using (product_id);
analyze new_items;

insert into shop.orders
    (order_id, customer_id, shipping_address_id, status, channel, currency, exchange_rate, items_total,
     discount_total, order_total, placed_at, shipped_at, delivered_at, updated_at)
select
    order_id,
    customer_id,
    2 * customer_id - 1,
    status,
    pg_temp.pick(array['web', 'web', 'web', 'app', 'app', 'phone'], 'channel', order_id),
    currency,
    exchange_rate,
    items_total,
    discount_total,
    items_total - discount_total,
    placed_at,
    shipped_at,
    delivered_at,
    case status
        when 'pending' then placed_at
        when 'paid' then placed_at + least(interval '1 hour', age / 2) * pg_temp.u('captured', order_id)
        when 'shipped' then shipped_at
        when 'delivered' then delivered_at
        when 'cancelled' then placed_at + interval '1 day' * (0.1 + 0.9 * pg_temp.u('cancelled at', order_id))
        else delivered_at + interval '1 day' * (1 + 9 * pg_temp.u('returned at', order_id))
    end
from new_orders
join (
    select order_id, sum(quantity * unit_price) as items_total from new_items group by order_id
) as items using (order_id)
cross join lateral (select round(items_total * discount_share::numeric, 2)) as d (discount_total);

insert into shop.order_items (order_id, line_no, product_id, quantity, unit_price, updated_at)
select order_id, line_no, product_id, quantity, unit_price, placed_at
from new_items
join new_orders using (order_id);

-- Part 1 pays all, or what a gift card (part 2) leaves; part 3 is an attempt that failed before.
insert into shop.payments
    (payment_id, order_id, method, status, amount, currency, provider_reference, created_at, captured_at, updated_at)
select
    pg_temp.key('payment', order_id * 4 + part),
    order_id,
    case part when 2 then 'gift_card'
        else pg_temp.pick(array['card', 'card', 'card', 'paypal', 'bank_transfer'], 'method', order_id) end
        ::shop.payment_method,
    status,
    case part when 1 then order_total - gift when 2 then gift else order_total end,
    currency,
    case when part <> 2 then 'psp_' || left(md5(order_id || '-' || part), 12) end,
    created_at,
    case when status = 'captured' then captured_at end,
    case when status = 'captured' then captured_at else created_at end
from (
    select
        orders.order_id,
        orders.currency,
        order_total,
        orders.placed_at as created_at,
        orders.placed_at + least(interval '1 hour', age / 2) * pg_temp.u('captured', orders.order_id) as captured_at,
        case when pg_temp.u('gift card', orders.order_id) < 0.05 then round(order_total * 0.3, 2) else 0 end as gift,
        case
            when orders.status in ('paid', 'shipped', 'delivered', 'returned') then 'captured'
            when orders.status = 'cancelled' and pg_temp.u('paid before', orders.order_id) < 0.5 then 'captured'
            when orders.status = 'pending' and pg_temp.u('authorised', orders.order_id) < 0.3 then 'authorised'
        end as outcome
    from shop.orders
    join new_orders using (order_id)
) as due
cross join generate_series(1, 3) as part
cross join lateral (
    select (case part when 3 then 'failed' else outcome end)::shop.payment_status
) as s (status)
where case part
    when 1 then outcome is not null
    when 2 then outcome is not null and gift > 0
    else pg_temp.u('failed before', order_id) < 0.04
end;

insert into shop.refunds (refund_id, payment_id, amount, reason, created_at, updated_at)
select
    pg_temp.unit() * 10000 + row_number() over (order by orders.order_id, payments.method, payment_id),
    payment_id,
    refunded,
    case orders.status
        when 'delivered' then pg_temp.pick(array['damaged', 'late', 'goodwill', null], 'reason', orders.order_id)
        else orders.status::text end,
    refunded_at,
    refunded_at
from new_orders
join shop.orders using (order_id)
join shop.payments on payments.order_id = orders.order_id and payments.status = 'captured'
cross join lateral (
    select
        case when orders.status <> 'delivered' then payments.amount
            else round(payments.amount * (0.1 + 0.5 * pg_temp.u('refund', orders.order_id))::numeric, 2) end,
        case when orders.status <> 'delivered' then orders.updated_at
            else orders.updated_at + (pg_temp.until() - orders.updated_at) * 0.5 * pg_temp.u('refunded', orders.order_id) end
) as r (refunded, refunded_at)
where refunded > 0
    and (
        orders.status in ('returned', 'cancelled')
        or (orders.status = 'delivered' and pg_temp.u('refunds', orders.order_id) < 0.03 and payments.method <> 'gift_card')
    );

insert into shop.web_events (event_id, customer_id, session_id, event_type, payload, received_at)
with shares as materialized (
    select array_agg(share_before order by day_no) as share_before from calendar
),
happened as (
    select
        n,
        session_no,
        -- the six events of a session follow each other within minutes
        pg_temp.history() + interval '1 day' * (
            width_bucket(pg_temp.u('session day', session_no), share_before) - 1
            + 0.97 * pg_temp.u('session time', session_no))
            + interval '1 minute' * (n % 6 + pg_temp.u('pause', n)) as received_at
    from generate_series(pg_temp.unit() * 50000 + 1, pg_temp.unit() * 50000 + 50000) as n
    cross join lateral (select n / 6) as s (session_no)
    cross join shares
)
select
    pg_temp.unit() * 50000 + row_number() over (order by received_at, n),
    case when pg_temp.u('known', session_no) < 0.55
        then pg_temp.unit() * 3000 + 1 + floor(3000 * pg_temp.u('visitor', session_no) ^ 1.6)::bigint end,
    pg_temp.key('session', session_no),
    event_type,
    jsonb_strip_nulls(jsonb_build_object(
        'path', case when product_id is not null then '/p/' || product_id
            else pg_temp.pick(array['/', '/search', '/cart', '/account'], 'path', n) end,
        'product_id', product_id,
        'device', pg_temp.pick(array['phone', 'desktop', 'tablet'], 'device', session_no),
        'referrer', pg_temp.pick(array['https://search.example', 'https://news.example', null, null], 'referrer', session_no)
    )),
    received_at
from happened
cross join lateral (select pg_temp.pick(array['page_viewed', 'page_viewed', 'page_viewed', 'product_viewed',
    'product_viewed', 'cart_filled', 'searched', 'checked_out'], 'event', n)) as e (event_type)
cross join lateral (select case when event_type in ('product_viewed', 'cart_filled')
    then 1 + floor(pg_temp.products() * pg_temp.u('seen', n) ^ 2)::bigint end) as p (product_id);
