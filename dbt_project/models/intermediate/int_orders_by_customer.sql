with orders as (

    select * from {{ ref('int_orders_valued') }}

),

-- "today" is the last day that the data knows, never the clock's: the same data gives the same segments
calendar as (

    select {{ utc_date('max(placed_at)') }} as as_of_date
    from orders

)

select
    orders.customer_id,
    calendar.as_of_date,
    count(*) as orders,
    min(orders.placed_at) as first_order_at,
    max(orders.placed_at) as last_order_at,
    sum(orders.net_revenue_eur) as lifetime_value_eur,
    calendar.as_of_date - {{ utc_date('min(orders.placed_at)') }} as days_since_first_order,
    calendar.as_of_date - {{ utc_date('max(orders.placed_at)') }} as days_since_last_order

from orders
cross join calendar
where orders.is_recognised
group by orders.customer_id, calendar.as_of_date
