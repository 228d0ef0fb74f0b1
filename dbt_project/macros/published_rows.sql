{#-
  The rows that consumers see of a model now, of the version before the one that is being built: for models that keep
  what was published. None when it was never published, or with other columns.

  columns: names and types.
-#}
{% macro published_rows(model, columns) -%}
    {%- set there = adapter.get_relation(database=target.database, schema='marts', identifier=model) if execute -%}
    {%- set names = adapter.get_columns_in_relation(there) | map(attribute='name') | list if there else [] -%}
    {%- if columns | reject('in', names) | list -%}
    select {% for name, type in columns.items() %}null::{{ type }} as {{ name }}{{ ', ' if not loop.last }}{% endfor %} where false
    {%- else -%}
    select {{ columns | join(', ') }} from {{ there }}
    {%- endif -%}
{%- endmacro %}
