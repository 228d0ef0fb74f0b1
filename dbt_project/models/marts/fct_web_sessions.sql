with events as (

    select * from {{ ref('stg_shop__web_events') }}

)

select
    -- a uuid is text to most tools that read a mart
    session_id::text as session_id,
    -- a visitor may log in half-way through a session
    max(customer_id) as customer_id,
    min(device) as device,
    min(received_at) as started_at,
    max(received_at) as ended_at,
    count(*) as events,
    count(distinct product_id) as products_seen,
    bool_or(event_type = 'cart_filled') as has_filled_cart,
    bool_or(event_type = 'checked_out') as has_checked_out

from events
group by session_id
