with source as (

    select * from {{ source('shop', 'products') }}
    where _deleted_at is null

),

renamed as (

    select
        ---------- keys
        product_id,
        category_id,

        ---------- text
        sku,
        name as product_name,
        tags,
        attributes ->> 'colour' as colour,

        ---------- numbers
        price as price_eur,
        cost as cost_eur,
        (attributes ->> 'weight_kg')::numeric as weight_kg,

        ---------- booleans
        is_active,

        ---------- moments
        created_at,
        updated_at

    from source

)

select * from renamed
