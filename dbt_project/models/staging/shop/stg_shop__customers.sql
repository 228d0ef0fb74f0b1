with source as (

    -- customers who left (deleted_at) are still rows of the shop: the models further on decide what that means
    select * from {{ source('shop', 'customers') }}
    where _deleted_at is null

),

renamed as (

    select
        ---------- keys
        customer_id,

        ---------- text
        lower(trim(email)) as email,
        trim(full_name) as full_name,
        nullif(regexp_replace(phone, '[^0-9+]', '', 'g'), '') as phone_number,
        tier::text as tier,
        status::text as status,
        preferences ->> 'language' as preferred_language,

        ---------- booleans
        -- who was never asked has not agreed
        coalesce((preferences ->> 'newsletter')::boolean, false) as accepts_newsletter,

        ---------- moments
        birth_date,
        created_at as signed_up_at,
        updated_at,
        deleted_at as left_at

    from source

)

select * from renamed
