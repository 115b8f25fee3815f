-- The engine's tables.
--
-- One row in `saga` is the state *and* the queue entry of one saga; `journal` tells how it came to be so.
-- A saga belongs for life to one of 256 buckets: the last byte of its id. A replica owns whole buckets.
--
--   replica   who is alive: one row per process start, renewed every few seconds, by the database's clock.
--             `process` lets the next process on the same machine see that one was killed, before its lease ends
--   bucket    who owns which bucket. `epoch` is the fencing token: it rises with every change of owner, and
--             every write of the engine holds the row FOR SHARE with the epoch it believes in. A takeover
--             is an UPDATE of that row, so it waits for the batch in flight, and whatever the old owner
--             sends afterwards matches nothing
--   saga      the narrow mutable row. Its life:
--               running    closed_status and wake_at null: in the memory of its bucket's owner
--               suspended  wake_at set: costs this row and nothing else until then
--               parked     attention set besides: a person is needed; attempts go on
--               closed     closed_status set, for ever
--   journal   what happened, append-only and gapless: the writing statement adds lines n… only where the
--             row says n−1, and the key refuses a second n
--   inbox     what others than the owner want of a saga (a cancellation, a retry). Only the owner writes a
--             saga's journal; it takes a row from here in the commit that journals it
--   feed      one row per committed batch: which lines it wrote. `writer` numbers its batches without a
--             gap, in the order of their commits, so a reader that remembers one number per writer misses
--             nothing and sees nothing twice
--
-- Indexes on mutable columns are three, all partial, so that the updates of a running saga stay HOT.
-- The journal is partitioned by the time in its ids (UUIDv7): retention drops partitions.
-- Values are made by the application: no triggers, no sequences, no defaults that are volatile.

create table replica (
    boot_id      uuid        primary key,
    name         text        not null,
    version      text        not null,
    process      text,
    started_at   timestamptz not null default now(),
    leased_until timestamptz not null
);

create table bucket (
    bucket smallint primary key,
    owner  uuid,
    epoch  bigint   not null,
    constraint bucket_range check (bucket between 0 and 255),
    constraint bucket_epoch_positive check (epoch >= 0)
) with (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

insert into bucket (bucket, owner, epoch) select n, null, 0 from generate_series(0, 255) as n;

create table saga (
    bucket             smallint    not null,
    saga_id            uuid        not null,
    definition         text        not null,
    definition_version integer     not null,
    label              text        not null,
    seq                integer     not null,
    version            bigint      not null,
    cursor             smallint    not null,
    past_pivot         boolean     not null default false,
    cancel_requested   boolean     not null default false,
    wake_at            timestamptz,
    attention          text,
    closed_status      text,
    closed_reason      text,
    updated_at         timestamptz not null default now(),
    primary key (bucket, saga_id),
    constraint saga_bucket_is_the_last_byte_of_its_id
        check (bucket = get_byte(uuid_send(saga_id), 15)),
    constraint saga_seq_positive check (seq >= 1 and version >= 1 and cursor >= 0),
    constraint saga_closed_waits_for_nothing
        check (closed_status is null or (wake_at is null and attention is null)),
    constraint saga_closed_shows_its_status check (closed_status is null or closed_status = label)
) with (fillfactor = 40, autovacuum_vacuum_scale_factor = 0.05);

create index saga_due on saga (bucket, wake_at) where closed_status is null;
create index saga_closed on saga (closed_status, saga_id) where closed_status is not null;
create index saga_attention on saga (attention, saga_id) where attention is not null;

create table journal (
    bucket  smallint    not null,
    saga_id uuid        not null,
    seq     integer     not null,
    epoch   bigint      not null,
    at      timestamptz not null default now(),
    kind    text        not null,
    step    text,
    attempt integer,
    data    json,
    primary key (bucket, saga_id, seq),
    constraint journal_seq_positive check (seq >= 1),
    constraint journal_attempt_positive check (attempt >= 1)
) partition by range (saga_id);

create table inbox (
    bucket   smallint    not null,
    inbox_id uuid        not null,
    saga_id  uuid        not null,
    kind     text        not null,
    data     json        not null,
    at       timestamptz not null default now(),
    primary key (bucket, inbox_id)
);

create table feed (
    writer   bigint      not null,
    n        bigint      not null,
    at       timestamptz not null default now(),
    saga_ids uuid[]      not null,
    seqs     integer[]   not null,
    primary key (writer, n),
    constraint feed_names_whole_lines check (cardinality(saga_ids) = cardinality(seqs))
);
create index feed_at on feed (at);

-- The smallest UUIDv7 made at this time: 48 bits of milliseconds, then zeros.
create function uuid_floor(at timestamptz) returns uuid language sql immutable strict as $$
    select (lpad(to_hex(floor(extract(epoch from at) * 1000)::bigint), 12, '0') || '00000000000000000000')::uuid
$$;

-- Makes the monthly partitions of a table from this month to `months` ahead, with one for whatever is
-- older and one for whatever is newer. Called at the start and once a day; replicas may call it at once.
create function ensure_partitions(parent text, months integer) returns void language plpgsql as $$
declare
    first date := date_trunc('month', now() at time zone 'UTC');
    month date;
begin
    perform pg_advisory_xact_lock(hashtext('ensure_partitions'));
    if to_regclass(parent || '_past') is null then
        execute format('create table %I partition of %I for values from (minvalue) to (%L)',
                       parent || '_past', parent, uuid_floor(first::timestamp at time zone 'UTC'));
        execute format('create table %I partition of %I default', parent || '_future', parent);
    end if;
    for i in 0 .. months loop
        month := first + make_interval(months => i);
        if to_regclass(parent || to_char(month, '_YYYY_MM')) is null then
            execute format('create table %I partition of %I for values from (%L) to (%L)',
                           parent || to_char(month, '_YYYY_MM'), parent,
                           uuid_floor(month::timestamp at time zone 'UTC'),
                           uuid_floor((month + interval '1 month')::timestamp at time zone 'UTC'));
        end if;
    end loop;
end
$$;

select ensure_partitions('journal', 2);
