-- An order's total is the sum of its lines less the discount.
-- Orders and lines come from two tables: an order that changes while a load reads may show a line sooner or later
-- than its total, until the next load. Many of them can only mean a broken load.
{{ config(warn_if = '>0', error_if = '>100') }}

with lines as (

    select
        order_id,
        sum(line_total) as lines_total

    from {{ ref('fct_order_items') }}
    group by order_id

)

select
    orders.order_id,
    orders.items_total,
    orders.discount_total,
    orders.order_total,
    lines.lines_total

from {{ ref('fct_orders') }} as orders
left join lines on orders.order_id = lines.order_id
where orders.order_total <> orders.items_total - orders.discount_total
    or orders.items_total <> coalesce(lines.lines_total, 0)
