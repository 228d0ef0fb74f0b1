with source as (

    select * from {{ source('shop', 'orders') }}
    where _deleted_at is null

),

renamed as (

    select
        ---------- keys
        order_id,
        customer_id,
        shipping_address_id,

        ---------- text
        status::text as order_status,
        channel,
        currency::text as currency,

        ---------- numbers
        exchange_rate,
        items_total,
        discount_total,
        order_total,

        ---------- moments
        placed_at,
        shipped_at,
        delivered_at,
        updated_at

    from source

)

select * from renamed
