-- There is one revenue: by day, by order and by customer it is the same sum. (Customers who left keep their orders,
-- but have no row in customer_value.)
with totals as (

    select
        (select coalesce(sum(net_revenue_eur), 0) from {{ ref('fct_orders') }}) as by_order,
        (select coalesce(sum(net_revenue_eur), 0) from {{ ref('fct_daily_revenue') }}) as by_day,
        (select coalesce(sum(lifetime_value_eur), 0) from {{ ref('customer_value') }}) as by_live_customer,
        (
            select coalesce(sum(orders.net_revenue_eur), 0)
            from {{ ref('fct_orders') }} as orders
            where exists (
                select 1 from {{ ref('customer_value') }} as live
                where live.customer_id = orders.customer_id
            )
        ) as by_order_of_live_customers

)

select *
from totals
where by_order <> by_day
    or by_live_customer <> by_order_of_live_customers
