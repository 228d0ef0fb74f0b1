-- A customer who left is in no activation model.
select activated.external_id
from (
    select external_id from {{ ref('activation_crm_contacts') }}
    union all
    select external_id from {{ ref('activation_contacts_api') }}
) as activated
inner join {{ ref('dim_customers') }} as customers
    on activated.external_id = customers.customer_id::text
where not customers.is_live
