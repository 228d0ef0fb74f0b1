{#-
  Where a model is built. In prod, marts and activation models go to candidate schemas that nobody reads: they become
  visible when their gate has passed and they are published. Every other target keeps to schemas of its own, so a
  developer can't touch what consumers see.
-#}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {%- set layer = (custom_schema_name or 'staging') | trim -%}
    {%- if target.name == 'prod' -%}
        {{ {'marts': 'marts_candidate', 'activation': 'activation_candidate'}.get(layer, layer) }}
    {%- else -%}
        {{ target.schema }}_{{ layer }}
    {%- endif -%}
{%- endmacro %}
