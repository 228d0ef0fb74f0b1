{#-
  Where a model is built. In prod, marts and activation models go to candidate schemas that nobody reads: they become
  visible when their gate has passed and they are published. The target published names what consumers see, for the docs
  alone: nothing is built there. Every other target keeps to schemas of its own, so a developer can't touch that.
-#}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {%- set layer = (custom_schema_name or 'staging') | trim -%}
    {%- if target.name == 'prod' -%}
        {{ {'marts': 'marts_candidate', 'activation': 'activation_candidate'}.get(layer, layer) }}
    {%- elif target.name == 'published' -%}
        {{ layer }}
    {%- else -%}
        {{ target.schema }}_{{ layer }}
    {%- endif -%}
{%- endmacro %}
