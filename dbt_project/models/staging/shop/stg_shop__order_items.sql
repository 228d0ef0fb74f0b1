with source as (

    select * from {{ source('shop', 'order_items') }}
    where _deleted_at is null

),

renamed as (

    select
        ---------- keys
        order_id,
        line_no,
        product_id,

        ---------- numbers
        quantity,
        unit_price,
        line_total,

        ---------- moments
        updated_at

    from source

)

select * from renamed
