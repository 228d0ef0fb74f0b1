with source as (

    select * from {{ source('shop', 'web_events') }}
    where _deleted_at is null

),

renamed as (

    select
        ---------- keys
        event_id,
        session_id,
        customer_id,
        (payload ->> 'product_id')::bigint as product_id,

        ---------- text
        event_type,
        payload ->> 'path' as page_path,
        payload ->> 'device' as device,
        payload ->> 'referrer' as referrer,

        ---------- moments
        received_at

    from source

)

select * from renamed
