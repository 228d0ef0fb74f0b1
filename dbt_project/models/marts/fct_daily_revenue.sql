with orders as (

    select * from {{ ref('fct_orders') }}

),

days as (

    -- every day between the first order and the last, so that a day without orders shows as zero and not as a gap
    select day::date as revenue_date
    from generate_series(
        (select min(placed_on) from orders)::timestamp,
        (select max(placed_on) from orders)::timestamp,
        interval '1 day'
    ) as day

)

select
    days.revenue_date,
    count(orders.order_id) as orders,
    count(distinct orders.customer_id) as customers,
    coalesce(sum(orders.gross_revenue_eur), 0.00) as gross_revenue_eur,
    coalesce(sum(orders.refunded_eur), 0.00) as refunded_eur,
    coalesce(sum(orders.net_revenue_eur), 0.00) as net_revenue_eur

from days
left join orders
    on days.revenue_date = orders.placed_on
    and orders.is_recognised
group by days.revenue_date
