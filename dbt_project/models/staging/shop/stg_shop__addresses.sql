with source as (

    select * from {{ source('shop', 'addresses') }}
    where _deleted_at is null

),

renamed as (

    select
        ---------- keys
        address_id,
        customer_id,

        ---------- text
        kind::text as address_kind,
        street,
        postcode,
        city,
        country::text as country_code,

        ---------- moments
        created_at,
        updated_at

    from source

)

select * from renamed
