{%- set kept = {
    'month': 'date', 'version': 'integer', 'orders': 'bigint', 'customers': 'bigint',
    'gross_revenue_eur': 'numeric', 'refunded_eur': 'numeric', 'net_revenue_eur': 'numeric', 'closed_at': 'timestamptz'
} -%}

with months as (

    -- the newest version of each month that is over and whose days are all published
    select distinct on (month)
        month,
        version,
        closed_at is null as is_due

    from {{ source('ledger', 'month') }}
    where transform = 'shop'
    order by month asc, version desc

),

orders as (

    select * from {{ ref('fct_orders') }}
    where is_recognised

),

as_known_now as (

    select
        months.month,
        months.version,
        months.is_due,
        count(orders.order_id) as orders,
        count(distinct orders.customer_id) as customers,
        coalesce(sum(orders.gross_revenue_eur), 0.00) as gross_revenue_eur,
        coalesce(sum(orders.refunded_eur), 0.00) as refunded_eur,
        coalesce(sum(orders.net_revenue_eur), 0.00) as net_revenue_eur

    from months
    left join orders
        on orders.placed_on >= months.month
        and orders.placed_on < months.month + interval '1 month'
    group by months.month, months.version, months.is_due

),

closed as (

    {{ published_rows('fct_monthly_revenue', kept) }}

)

select
    as_known_now.month,
    as_known_now.version,
    {%- for name in ['orders', 'customers', 'gross_revenue_eur', 'refunded_eur', 'net_revenue_eur'] %}
    case when closed.month is null then as_known_now.{{ name }} else closed.{{ name }} end as {{ name }},
    {%- endfor %}
    as_known_now.net_revenue_eur - coalesce(closed.net_revenue_eur, as_known_now.net_revenue_eur) as late_revenue_eur,
    coalesce(closed.closed_at, now()) as closed_at

from as_known_now
left join closed
    on as_known_now.month = closed.month
    and as_known_now.version = closed.version
    and not as_known_now.is_due
