with customers as (

    select * from {{ ref('stg_shop__customers') }}

),

shipping_addresses as (

    -- a customer may have several: the newest is where they live
    select distinct on (customer_id)
        customer_id,
        city,
        country_code

    from {{ ref('stg_shop__addresses') }}
    where address_kind = 'shipping'
    order by customer_id, created_at desc, address_id desc

)

select
    customers.customer_id,
    customers.tier,
    customers.status,
    customers.preferred_language,
    shipping_addresses.city,
    shipping_addresses.country_code,
    customers.accepts_newsletter,
    customers.left_at is null as is_live,
    customers.signed_up_at,
    customers.left_at

from customers
left join shipping_addresses on customers.customer_id = shipping_addresses.customer_id
