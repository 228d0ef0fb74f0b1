with customers as (

    select * from {{ ref('stg_shop__customers') }}
    where left_at is null

),

orders_by_customer as (

    select * from {{ ref('int_orders_by_customer') }}

)

select
    customers.customer_id,
    coalesce(orders_by_customer.orders, 0) as orders,
    orders_by_customer.first_order_at,
    orders_by_customer.last_order_at,
    orders_by_customer.days_since_last_order,
    coalesce(orders_by_customer.lifetime_value_eur, 0) as lifetime_value_eur,
    -- the first rule that fits decides
    case
        when orders_by_customer.customer_id is null
            then 'prospect'
        when
            orders_by_customer.days_since_last_order <= {{ var('segment_champion_days') }}
            and orders_by_customer.orders >= {{ var('segment_champion_orders') }}
            and orders_by_customer.lifetime_value_eur >= {{ var('segment_champion_value') }}
            then 'champion'
        when
            orders_by_customer.days_since_last_order <= {{ var('segment_loyal_days') }}
            and orders_by_customer.orders >= {{ var('segment_loyal_orders') }}
            then 'loyal'
        when orders_by_customer.days_since_first_order <= {{ var('segment_new_days') }}
            then 'new'
        when orders_by_customer.days_since_last_order <= {{ var('segment_active_days') }}
            then 'active'
        when orders_by_customer.days_since_last_order <= {{ var('segment_at_risk_days') }}
            then 'at_risk'
        else 'lost'
    end as segment

from customers
left join orders_by_customer on customers.customer_id = orders_by_customer.customer_id
