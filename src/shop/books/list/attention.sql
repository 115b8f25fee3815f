-- Orders that need a person, along the index saga_attention: it holds these rows only.
select s.saga_id as order_id from saga s
 where s.attention is not null and s.saga_id < $1 and s.saga_id >= $2
   and ($3::text is null or s.label = $3)
   and ($4::jsonb is null
        or exists (select from orders o where o.order_id = s.saga_id and o.attributes @> $4))
 order by s.saga_id desc limit $5
