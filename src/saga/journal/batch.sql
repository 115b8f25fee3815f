-- A batch of transitions: the fence, the rows that stand where their transition starts, the lines of those
-- rows only, and the feed's row. What did not move is the answer.
--
-- `in (select …)` inside `is true` keeps the planner from turning the test into a join: it hashes the
-- sub-select once instead, whatever it believes about the number of rows. And asking for open sagas as
-- `coalesce(closed_status, '')` fits no partial index, so that rows are reached by their key.
with fence as materialized (
    select b.bucket
      from unnest($1::smallint[], $2::bigint[]) as f (bucket, epoch)
      join bucket b on b.bucket = f.bucket and b.epoch = f.epoch
     order by b.bucket
       for share of b),
x as materialized (
    select * from unnest($3::smallint[], $4::uuid[], $5::text[], $6::integer[], $7::integer[],
                         $8::integer[], $9::text[], $10::smallint[], $11::boolean[],
                         $12::boolean[], $13::bigint[], $14::text[], $15::text[], $16::text[])
        as x (bucket, saga_id, definition, definition_version, first, last, label, cursor,
              past_pivot, unless_cancelled, wake_in_ms, attention, closed_status,
              closed_reason)
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
line as (
    insert into journal (bucket, saga_id, seq, epoch, kind, step, attempt, data)
    select l.bucket, l.saga_id, l.seq, l.epoch, l.kind, l.step, l.attempt, l.data::json
      from unnest($17::smallint[], $18::uuid[], $19::integer[], $20::bigint[], $21::text[],
                  $22::text[], $23::integer[], $24::text[])
        as l (bucket, saga_id, seq, epoch, kind, step, attempt, data)
     where (l.saga_id in (select saga_id from done)) is true
    returning saga_id, seq),
taken as (
    delete from inbox i using unnest($25::smallint[], $26::uuid[]) as t (bucket, inbox_id)
     where i.bucket = t.bucket and i.inbox_id = t.inbox_id
       and (i.saga_id in (select saga_id from done)) is true),
fed as (
    insert into feed (writer, n, saga_ids, seqs)
    select $27::bigint, $28::bigint, array_agg(saga_id), array_agg(seq) from line
    having count(*) > 0)
select array(select bucket from fence) as "held!",
       case when (select count(*) from done) < cardinality($4::uuid[])
            then array(select saga_id from done) end as moved
