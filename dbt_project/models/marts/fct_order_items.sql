with items as (

    select * from {{ ref('stg_shop__order_items') }}

),

orders as (

    select * from {{ ref('int_orders_valued') }}

)

select
    items.order_id,
    items.line_no,
    items.product_id,
    orders.customer_id,
    {{ utc_date('orders.placed_at') }} as placed_on,
    orders.is_recognised,
    items.quantity,
    items.unit_price,
    items.line_total,
    {{ to_eur('items.line_total', 'orders.exchange_rate') }} as line_total_eur

from items
inner join orders on items.order_id = orders.order_id
