-- A batch of transitions: the fence, the rows that stand where their transition starts, the lines of those
-- rows only, and the feed's row. What did not move is the answer.
--
-- Arrays are taken apart in select lists, which go through them side by side and pad with NULL, as `unnest` with
-- several arguments in a FROM would; but that one writes every array into a store of its own and reads it back, for
-- five times the price.
--
-- `in (select …)` inside `is true` keeps the planner from turning the test into a join: it hashes the
-- sub-select once instead, whatever it believes about the number of rows. And asking for open sagas as
-- `coalesce(closed_status, '')` fits no partial index, so that rows are reached by their key.
with fence as materialized (
    select b.bucket
      from (select unnest($1::smallint[]) as bucket, unnest($2::bigint[]) as epoch) f
      join bucket b on b.bucket = f.bucket and b.epoch = f.epoch
     order by b.bucket
       for share of b),
x as materialized (
    select * from (
        select unnest($3::smallint[]) as bucket, unnest($4::uuid[]) as saga_id,
               unnest($5::text[]) as definition, unnest($6::integer[]) as definition_version,
               unnest($7::integer[]) as first, unnest($8::integer[]) as last,
               unnest($9::text[]) as label, unnest($10::smallint[]) as cursor,
               unnest($11::boolean[]) as past_pivot, unnest($12::boolean[]) as unless_cancelled,
               unnest($13::bigint[]) as wake_in_ms, unnest($14::text[]) as attention,
               unnest($15::text[]) as closed_status, unnest($16::text[]) as closed_reason) x
     where (x.bucket in (select bucket from fence)) is true),
started as (
    insert into saga (bucket, saga_id, definition, definition_version, label, seq, version,
                      cursor, wake_at)
    select bucket, saga_id, definition, definition_version, label, last, 1, cursor,
           now() + wake_in_ms * interval '1 millisecond'
      from x where first = 1
    returning saga_id),
moved as (
    update saga s
       set label = x.label, seq = x.last, version = s.version + 1, cursor = x.cursor,
           past_pivot = x.past_pivot,
           wake_at = now() + x.wake_in_ms * interval '1 millisecond',
           attention = x.attention, closed_status = x.closed_status,
           closed_reason = x.closed_reason, updated_at = now()
      from x
     where s.bucket = x.bucket and s.saga_id = x.saga_id and x.first > 1
       and coalesce(s.closed_status, '') = ''
       and s.seq = x.first - 1 and not (x.unless_cancelled and s.cancel_requested)
    returning s.saga_id),
done as materialized (select saga_id from started union all select saga_id from moved),
counted as materialized (select count(*) as sagas, count(*) = cardinality($4::uuid[]) as whole from done),
line as (
    insert into journal (bucket, saga_id, seq, epoch, kind, step, attempt, data)
    select l.bucket, l.saga_id, l.seq, l.epoch, l.kind, l.step, l.attempt, l.data::json
      from (select unnest($17::smallint[]) as bucket, unnest($18::uuid[]) as saga_id,
                   unnest($19::integer[]) as seq, unnest($20::bigint[]) as epoch,
                   unnest($21::text[]) as kind, unnest($22::text[]) as step,
                   unnest($23::integer[]) as attempt, unnest($24::text[]) as data) l
     where (select whole from counted) or (l.saga_id in (select saga_id from done)) is true),
taken as (
    delete from inbox i
     using (select unnest($25::smallint[]) as bucket, unnest($26::uuid[]) as inbox_id) t
     where i.bucket = t.bucket and i.inbox_id = t.inbox_id
       and (i.saga_id in (select saga_id from done)) is true),
written as (
    select array_agg(l.saga_id) as saga_ids, array_agg(l.seq) as seqs
      from (select unnest($18::uuid[]) as saga_id, unnest($19::integer[]) as seq) l
     where (l.saga_id in (select saga_id from done)) is true),
fed as (
    insert into feed (writer, n, saga_ids, seqs)
    select $27::bigint, $28::bigint,
           case when c.whole then $18::uuid[] else (select saga_ids from written) end,
           case when c.whole then $19::integer[] else (select seqs from written) end
      from counted c where c.sagas > 0)
select array(select bucket from fence) as "held!",
       case when not c.whole then array(select saga_id from done) end as moved
  from counted c
