-- A customer's orders, along the index orders_by_customer.
select o.order_id from orders o
 cross join lateral (
    select from saga s
     where s.bucket = get_byte(uuid_send(o.order_id), 15) and s.saga_id = o.order_id
       and ($4::text is null or s.label = $4)
       and ($5::boolean is null or (s.attention is not null) = $5)
     limit 1) s
 where o.customer_id = $1 and o.order_id < $2 and o.order_id >= $3
   and ($6::jsonb is null or o.attributes @> $6)
 order by o.order_id desc limit $7
