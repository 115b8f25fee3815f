-- Open orders that stand so, along the index saga_due: it holds open rows only, however many are closed.
select s.saga_id as order_id from saga s
 where s.closed_status is null and s.label = $1 and s.saga_id < $2 and s.saga_id >= $3
   and ($4::boolean is null or (s.attention is not null) = $4)
 order by s.saga_id desc limit $5
