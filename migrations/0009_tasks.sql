-- Tasks: work that a step of a saga leaves for workers who come and ask for it.
--
--   task    one piece of work for one saga. It is made in the commit of the line that says that the step waits, and its
--           end is told to the saga in the statement that ends it. Its life:
--             ready      may be claimed
--             leased     a worker has it until `leased_until`, by the database's clock. A lease that ran out makes it
--                        claimable again, with what the last worker told of its progress; `lease` is the secret by which
--                        the worker speaks of it, made anew with every claim, so that who lost it changes nothing
--             done       made; `wasted` if the saga went back all the same
--             failed     cannot be made, or was given up after its attempts (`code` says which)
--             withdrawn  not wanted any more
--           `rank_at` is what claims go by: created_at + priority × 1 minute. So a task of priority 9 stands behind one of
--           priority 1 that was made within eight minutes of it, and before every later one: nothing starves
--   queue   the limits of a queue. A queue needs no row to be used: without one it has no limits. Claims of a queue with
--           limits take turns at its row, so that the limits are exact however many replicas hand out its tasks.
--           `tokens` is the token bucket of `rate`, as of `tokens_at`
--   worker  who asked for work, and when last
--
-- A worker's heartbeats change `leased_until` and `progress`, which no index knows, so they stay HOT.

create table queue (
    queue         text             primary key,
    max_in_flight integer,
    rate          double precision,
    tokens        double precision not null default 0,
    tokens_at     timestamptz      not null default now(),
    changed_by    text             not null,
    reason        text             not null,
    changed_at    timestamptz      not null default now(),
    constraint queue_max_in_flight_not_negative check (max_in_flight >= 0),
    constraint queue_rate_positive check (rate > 0),
    constraint queue_tokens_not_negative check (tokens >= 0)
);

create table worker (
    queue   text        not null,
    worker  text        not null,
    seen_at timestamptz not null default now(),
    primary key (queue, worker)
) with (fillfactor = 50);

create table task (
    task_id      uuid        primary key,
    queue        text        not null,
    bucket       smallint    not null,
    saga_id      uuid        not null,
    step         text        not null,
    payload      json        not null,
    priority     smallint    not null,
    created_at   timestamptz not null default now(),
    rank_at      timestamptz not null,
    state        text        not null default 'ready',
    worker       text,
    lease        uuid,
    lease_ms     bigint,
    leased_until timestamptz,
    claimed_at   timestamptz,
    attempts     integer     not null default 0,
    attempts_max integer     not null,
    progress     json,
    progress_at  timestamptz,
    result       json,
    code         text,
    detail       text,
    wasted       boolean     not null default false,
    ended_at     timestamptz,
    constraint task_bucket_is_the_last_byte_of_its_sagas_id check (bucket = get_byte(uuid_send(saga_id), 15)),
    constraint task_priority_range check (priority between 1 and 9),
    constraint task_attempts_range check (attempts between 0 and attempts_max and attempts_max >= 1),
    constraint task_state_known check (state in ('ready', 'leased', 'done', 'failed', 'withdrawn')),
    constraint task_leased_has_a_lease
        check ((state = 'leased') = (leased_until is not null) and (state <> 'leased' or (lease is not null and worker is not null))),
    constraint task_ends_once check ((state in ('done', 'failed', 'withdrawn')) = (ended_at is not null)),
    constraint task_failed_says_why check (state <> 'failed' or code is not null),
    constraint task_wasted_was_done check (not wasted or state = 'done')
) with (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.05);

create index task_due on task (queue, rank_at, task_id) where state in ('ready', 'leased');
create index task_of_saga on task (bucket, saga_id);
create index task_ended on task (ended_at) where ended_at is not null;

-- Where an item is made; that is the queue of its tasks.
alter table menu_item add column station text not null default 'bar';
