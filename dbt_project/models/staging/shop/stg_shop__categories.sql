with source as (

    select * from {{ source('shop', 'categories') }}
    where _deleted_at is null

),

renamed as (

    select
        category_id,
        parent_id as parent_category_id,
        name as category_name,
        slug as category_slug

    from source

)

select * from renamed
