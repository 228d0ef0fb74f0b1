with source as (

    select * from {{ source('shop', 'refunds') }}
    where _deleted_at is null

),

renamed as (

    select
        ---------- keys
        refund_id,
        payment_id,

        ---------- text
        coalesce(reason, 'not given') as refund_reason,

        ---------- numbers
        amount,

        ---------- moments
        created_at as refunded_at,
        updated_at

    from source

)

select * from renamed
