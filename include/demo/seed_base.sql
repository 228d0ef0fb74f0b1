-- What every unit of the seed needs: the calendar, categories and products, working tables.
-- seed.py has defined pg_temp.seed(), pg_temp.scale() and pg_temp.until() before; all of pg_temp goes with the session.

-- A number in [0, 1) that depends on nothing but the seed, the salt (what it is for) and the id (for whom).
create function pg_temp.u(salt text, id bigint) returns float8 language sql immutable
return ((hashint8extended(id, hashtextextended(salt, pg_temp.seed())) >> 11) & 9007199254740991)::float8
       / 9007199254740992;

create function pg_temp.pick(list text[], salt text, id bigint) returns text language sql immutable
return list[1 + floor(pg_temp.u(salt, id) * cardinality(list))::integer];

create function pg_temp.key(kind text, id bigint) returns uuid language sql immutable
return md5(kind || '/' || pg_temp.seed() || '/' || id)::uuid;

create function pg_temp.history() returns timestamptz language sql immutable
return pg_temp.until() - interval '730 days';

create function pg_temp.products() returns bigint language sql immutable
return 400 + 100 * pg_temp.scale();

-- One row a day with the share of all orders placed before it: a growing shop with a Christmas season, a summer
-- dip and busy weekends. An order draws a share and finds its day.
create temp table calendar on commit drop as
with weighted as (
    select
        day_no,
        (1 + 0.6 * day_no / 730)
        * (array[0.8, 0.85, 0.95, 1, 1, 0.95, 0.85, 0.85, 1, 1.1, 1.5, 1.9])
            [extract(month from pg_temp.history() + day_no * interval '1 day')::integer]
        * case when extract(isodow from pg_temp.history() + day_no * interval '1 day') >= 6 then 1.25 else 1 end
        as weight
    from generate_series(0, 729) as day_no
)
select
    day_no,
    ((sum(weight) over (order by day_no) - weight) / sum(weight) over ())::float8 as share_before
from weighted;

create temp table new_orders (
    order_id bigint, customer_id bigint, placed_at timestamptz, status shop.order_status, currency text,
    exchange_rate numeric, discount_share float8, shipped_at timestamptz, delivered_at timestamptz, age interval
) on commit drop;
create temp table new_items (
    order_id bigint, line_no integer, product_id bigint, quantity integer, unit_price numeric(10, 2)
) on commit drop;

insert into shop.categories (category_id, parent_id, name, slug)
select id, parent_id, name, lower(replace(name, ' ', '-'))
from (values
    (1, null, 'Home'), (2, null, 'Garden'), (3, null, 'Kitchen'), (4, null, 'Sport'), (5, null, 'Books'), (6, null, 'Toys'),
    (7, 1, 'Furniture'), (8, 1, 'Lighting'), (9, 1, 'Textiles'), (10, 2, 'Plants'), (11, 2, 'Garden Tools'),
    (12, 2, 'Outdoor Living'), (13, 3, 'Cookware'), (14, 3, 'Tableware'), (15, 3, 'Small Appliances'),
    (16, 4, 'Running'), (17, 4, 'Cycling'), (18, 4, 'Climbing'), (19, 5, 'Fiction'), (20, 5, 'Non Fiction'),
    (21, 5, 'Cookbooks'), (22, 6, 'Puzzles'), (23, 6, 'Building Sets'), (24, 6, 'Outdoor Toys')
) as c (id, parent_id, name);

insert into shop.products
    (product_id, category_id, sku, name, price, cost, tags, attributes, is_active, created_at, updated_at)
select
    id,
    7 + floor(pg_temp.u('product category', id) * 18)::bigint,
    'SKU-' || lpad(id::text, 6, '0'),
    pg_temp.pick(array['Classic', 'Compact', 'Nordic', 'Urban', 'Pocket', 'Deluxe', 'Café', 'Süd'], 'adjective', id)
        || ' ' || pg_temp.pick(array['Lamp', 'Chair', 'Pan', 'Rope', 'Mug', 'Set', 'Kit', 'Guide', 'Blanket'], 'noun', id)
        || ' ' || id,
    price,
    -- the buying price of one product in twelve is not known
    case when pg_temp.u('cost known', id) > 0.08
        then round(price * (0.4 + 0.3 * pg_temp.u('cost', id))::numeric, 2) end,
    (array['new', 'sale', 'eco', 'gift', 'bestseller'])[1:floor(pg_temp.u('tags', id) * 4)::integer],
    jsonb_strip_nulls(jsonb_build_object(
        'colour', pg_temp.pick(array['red', 'blue', 'oak', 'white', null], 'colour', id),
        'weight_kg', round((0.1 + 9 * pg_temp.u('weight', id))::numeric, 3),
        'dimensions', jsonb_build_array(10 + id % 50, 5 + id % 30)
    )),
    pg_temp.u('product active', id) > 0.05,
    pg_temp.history() - pg_temp.u('product age', id) * interval '300 days',
    pg_temp.history() + pg_temp.u('product change', id) * interval '729 days'
from (
    select id, round(exp(1.6 + 3.4 * pg_temp.u('price', id) ^ 1.5)::numeric, 0) + 0.99 as price
    from generate_series(1, pg_temp.products()) as id
) as priced;
