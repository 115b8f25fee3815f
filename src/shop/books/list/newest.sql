-- Orders by their time, along the primary key. (A plain join may be hashed, which reads both tables whole.)
select o.order_id from orders o
 cross join lateral (
    select from saga s
     where s.bucket = get_byte(uuid_send(o.order_id), 15) and s.saga_id = o.order_id
       and ($3::boolean is null or (s.attention is not null) = $3)
     limit 1) s
 where o.order_id < $1 and o.order_id >= $2
 order by o.order_id desc limit $4
