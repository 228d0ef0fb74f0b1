with orders as (

    select * from {{ ref('stg_shop__orders') }}

),

payments as (

    select * from {{ ref('int_payments_by_order') }}

),

joined as (

    select
        orders.*,
        -- the definition of revenue begins here: an order counts once it is paid, and until it is cancelled
        orders.order_status in ('paid', 'shipped', 'delivered', 'returned') as is_recognised,
        coalesce(payments.captured_amount, 0) as captured_amount,
        coalesce(payments.refunded_amount, 0) as refunded_amount

    from orders
    left join payments on orders.order_id = payments.order_id

),

valued as (

    select
        *,
        case when is_recognised then {{ to_eur('order_total') }} else 0.00 end as gross_revenue_eur,
        case when is_recognised then {{ to_eur('refunded_amount') }} else 0.00 end as refunded_eur

    from joined

)

select
    *,
    gross_revenue_eur - refunded_eur as net_revenue_eur

from valued
