{#- An amount in euros, rounded to cents: the one place that says how money is converted. -#}
{% macro to_eur(amount, exchange_rate='exchange_rate') -%}
    round({{ amount }} * {{ exchange_rate }}, 2)
{%- endmacro %}
