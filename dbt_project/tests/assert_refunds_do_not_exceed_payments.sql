-- Nobody gets back more than they paid.
select
    order_id,
    captured_amount,
    refunded_amount

from {{ ref('fct_orders') }}
where refunded_amount > captured_amount
