with products as (

    select * from {{ ref('stg_shop__products') }}

),

categories as (

    select * from {{ ref('stg_shop__categories') }}

)

select
    products.product_id,
    products.sku,
    products.product_name,
    categories.category_name,
    -- a product may also hang directly on a department
    coalesce(departments.category_name, categories.category_name) as department_name,
    products.tags,
    products.colour,
    products.weight_kg,
    products.price_eur,
    products.cost_eur,
    products.price_eur - products.cost_eur as margin_eur,
    products.is_active,
    products.created_at

from products
left join categories on products.category_id = categories.category_id
left join categories as departments on categories.parent_category_id = departments.category_id
