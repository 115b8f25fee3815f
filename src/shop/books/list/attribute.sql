-- Orders with these attributes, along the index orders_by_attribute. It knows no order, so all that have them
-- are found first, by nothing else: a range of ids would tempt the planner to walk the primary key. What else
-- there is to know of each is looked up one by one, from the newest on.
with found as materialized (
    select o.order_id from orders o where o.attributes @> $1)
select f.order_id from (
    select order_id from found where order_id < $2 and order_id >= $3 order by order_id desc) f
 cross join lateral (
    select from saga s
     where s.bucket = get_byte(uuid_send(f.order_id), 15) and s.saga_id = f.order_id
       and ($4::text is null or s.label = $4)
       and ($5::boolean is null or (s.attention is not null) = $5)
     limit 1) s
 order by f.order_id desc limit $6
