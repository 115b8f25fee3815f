-- Orders that ended so, along the index saga_closed, which has them in the order of the list.
select s.saga_id as order_id from saga s
 where s.closed_status = $1 and s.saga_id < $2 and s.saga_id >= $3
 order by s.saga_id desc limit $4
