with customers as (

    -- only who asked for the newsletter, and nobody who left or was suspended
    select * from {{ ref('stg_shop__customers') }}
    where left_at is null
        and status = 'active'
        and accepts_newsletter

),

values_by_customer as (

    select * from {{ ref('customer_value') }}

)

select
    customers.customer_id::text as external_id,
    customers.email,
    -- enough to address somebody
    split_part(customers.full_name, ' ', 1) as first_name,
    values_by_customer.lifetime_value_eur as customer_value,
    values_by_customer.segment,
    values_by_customer.last_order_at

from customers
inner join values_by_customer on customers.customer_id = values_by_customer.customer_id
