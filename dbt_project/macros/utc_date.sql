{#- The calendar day of a moment, in UTC whatever the session's time zone is: a day must not depend on who asks. -#}
{% macro utc_date(moment) -%}
    ({{ moment }} at time zone 'UTC')::date
{%- endmacro %}
