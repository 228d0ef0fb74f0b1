with payments as (

    select * from {{ ref('stg_shop__payments') }}
    where payment_status = 'captured'

),

refunds_by_payment as (

    select
        payment_id,
        sum(amount) as refunded_amount

    from {{ ref('stg_shop__refunds') }}
    group by payment_id

)

select
    payments.order_id,
    count(*) as captured_payments,
    min(payments.captured_at) as first_captured_at,
    sum(payments.amount) as captured_amount,
    coalesce(sum(refunds_by_payment.refunded_amount), 0) as refunded_amount

from payments
left join refunds_by_payment on payments.payment_id = refunds_by_payment.payment_id
group by payments.order_id
