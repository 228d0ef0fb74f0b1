with source as (

    select * from {{ source('shop', 'payments') }}
    where _deleted_at is null

),

renamed as (

    select
        ---------- keys
        payment_id,
        order_id,

        ---------- text
        method::text as payment_method,
        status::text as payment_status,
        currency::text as currency,
        provider_reference,

        ---------- numbers
        amount,

        ---------- moments
        created_at,
        captured_at,
        updated_at

    from source

)

select * from renamed
