-- What counts as revenue has been paid in full. An order and its payment come from two tables: one of them may
-- arrive a load later. Many can only mean a broken load.
{{ config(warn_if = '>0', error_if = '>100') }}

select
    order_id,
    order_status,
    order_total,
    captured_amount

from {{ ref('fct_orders') }}
where is_recognised
    and captured_amount <> order_total
