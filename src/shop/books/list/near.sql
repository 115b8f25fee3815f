-- Of the newest orders those with these attributes: with attributes that many orders have this is the page
-- already, and their index would find them all.
select f.order_id from (
    select o.order_id, o.attributes from orders o
     where o.order_id < $2 and o.order_id >= $3 order by o.order_id desc limit $7) f
 cross join lateral (
    select from saga s
     where s.bucket = get_byte(uuid_send(f.order_id), 15) and s.saga_id = f.order_id
       and ($4::text is null or s.label = $4)
       and ($5::boolean is null or (s.attention is not null) = $5)
     limit 1) s
 where f.attributes @> $1
 order by f.order_id desc limit $6
