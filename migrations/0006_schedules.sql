-- Standing orders. A schedule says when (a cron expression in a time zone, or every so many seconds) and what (the
-- body of an order); a moment at which it is to place one is a tick.
--
-- One row is all of it, and everything that is decided about a tick is decided with that row locked:
--
--   next_at      the next tick; null while the schedule is paused
--   wake_at      when somebody has to look at the row: at the next tick, at the next try of one that was not decided,
--                or when whoever took a tick up must have been killed. Replicas sleep until the least of these
--   pending_at   a tick that was taken up and is not over. Taking it up (next_at moves on) and saying so is one commit,
--                before the order is placed: after a crash somebody else finds it here, with the order as it was to be
--                placed, and places it under the same idempotency key, so there is one order a tick however often that
--                happens. Without pending_until the tick is buffered: it waits for the order before it to end
--   schedule_id  stands in that key. It is made anew by a creation, so that a schedule which is deleted and made again
--                shares no tick with the old one, and nobody is told it, so that nobody can use up a tick's key
--   anchor_at    where intervals are counted from: replicas and restarts shift no tick
--   switched_*   the last pause or resumption: when, by whom, why
--   last_*       what became of the last tick; of the last order that was placed it is asked whether it is still open;
--                last_error_at is the tick that was refused
--
-- There are few of these rows and they change at ticks only, so the index on a column that changes costs nothing.
create table schedule (
    name              text        primary key,
    schedule_id       uuid        not null,
    cron              text,
    every_s           integer,
    time_zone         text        not null,
    overlap           text        not null,
    catch_up_s        integer     not null,
    new_order         json        not null,
    anchor_at         timestamptz not null,
    next_at           timestamptz,
    wake_at           timestamptz,
    paused            boolean     not null default false,
    switched_at       timestamptz,
    switched_by       text,
    switched_reason   text,
    pending_at        timestamptz,
    pending_until     timestamptz,
    pending_order     json,
    pending_attempts  integer     not null default 0,
    last_tick_at      timestamptz,
    last_outcome      text,
    last_order_id     uuid,
    last_error_at     timestamptz,
    last_error_code   text,
    last_error_detail text,
    placed            bigint      not null default 0,
    refused           bigint      not null default 0,
    skipped           bigint      not null default 0,
    missed            bigint      not null default 0,
    created_at        timestamptz not null default now(),
    updated_at        timestamptz not null default now(),
    constraint schedule_id_stands_for_one unique (schedule_id),
    constraint schedule_has_one_rhythm check ((cron is null) <> (every_s is null)),
    constraint schedule_every_positive check (every_s >= 1),
    constraint schedule_catch_up_positive check (catch_up_s >= 1),
    constraint schedule_overlap_known check (overlap in ('skip', 'allow', 'buffer_one', 'cancel_other')),
    constraint schedule_paused_comes_not check (not paused or next_at is null),
    constraint schedule_pending_is_looked_at check (pending_at is null or wake_at is not null),
    constraint schedule_pending_knows_its_order
        check ((pending_until is null) = (pending_order is null)),
    constraint schedule_pending_is_a_tick check (pending_at is not null or pending_until is null),
    constraint schedule_outcome_known
        check (last_outcome in ('placed', 'refused', 'skipped', 'missed')),
    constraint schedule_outcome_is_of_a_tick check ((last_tick_at is null) = (last_outcome is null)),
    constraint schedule_error_is_whole
        check ((last_error_at is null) = (last_error_code is null)
           and (last_error_at is null) = (last_error_detail is null))
);
create index schedule_wake on schedule (wake_at) where wake_at is not null;
