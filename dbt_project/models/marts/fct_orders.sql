with orders as (

    select * from {{ ref('int_orders_valued') }}

),

items_by_order as (

    select
        order_id,
        count(*) as item_lines,
        sum(quantity) as units

    from {{ ref('stg_shop__order_items') }}
    group by order_id

)

select
    orders.order_id,
    orders.customer_id,
    orders.order_status,
    orders.channel,
    orders.currency,
    orders.exchange_rate,
    coalesce(items_by_order.item_lines, 0) as item_lines,
    coalesce(items_by_order.units, 0) as units,
    orders.items_total,
    orders.discount_total,
    orders.order_total,
    orders.captured_amount,
    orders.refunded_amount,
    orders.is_recognised,
    orders.gross_revenue_eur,
    orders.refunded_eur,
    orders.net_revenue_eur,
    {{ utc_date('orders.placed_at') }} as placed_on,
    orders.placed_at,
    orders.shipped_at,
    orders.delivered_at

from orders
left join items_by_order on orders.order_id = items_by_order.order_id
