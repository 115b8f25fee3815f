-- How much of us a participant takes, and whether it takes calls at all: shared by all replicas.
--
--   participant         one row a name that a step declares; made at the start of a replica and never written over
--                       by one. `max_in_flight` and `rate` (calls a second) are the operator's; null is no limit,
--                       0 calls nothing. `next_free` is when the next call is free to go out by the rate, by this
--                       database's clock; whoever reserves calls moves it on. `breaker` is the circuit breaker, as
--                       the engine's pure state machine writes it. `version` rises with what all replicas have to
--                       hear of, `turn` with every change of the row or its shares
--   participant_share   what each replica holds of `max_in_flight`, for calls in flight and calls to come. Written
--                       by one guarded statement: it holds the participant's row and matches the `turn` that the
--                       decision was made from, so the shares of the living never sum up to more than the limit.
--                       Those of a replica whose lease ran out count no more. `running` names the sagas whose calls
--                       are in flight, so that any replica can say of a saga whether it waits
--   participant_change  who changed limits or held the breaker, when and why
--
-- Nothing here is on the way of a call that no limit is set for and whose participant answers.
create table participant (
    name          text             primary key,
    max_in_flight integer,
    rate          double precision,
    next_free     timestamptz      not null default now(),
    breaker       json             not null default '{"state":"closed"}',
    version       bigint           not null default 1,
    turn          bigint           not null default 0,
    constraint participant_max_in_flight_not_negative check (max_in_flight >= 0),
    constraint participant_rate_positive check (rate > 0),
    constraint participant_breaker_has_a_state
        check (breaker ->> 'state' in ('closed', 'open', 'half_open', 'held_open', 'held_closed'))
) with (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

create table participant_share (
    name    text        not null,
    boot_id uuid        not null,
    slots   integer     not null,
    in_use  integer     not null,
    waiting integer     not null,
    running uuid[]      not null,
    at      timestamptz not null,
    primary key (name, boot_id),
    constraint participant_share_of_a_participant foreign key (name) references participant (name),
    constraint participant_share_not_negative check (slots >= 0 and in_use >= 0 and waiting >= 0)
) with (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

create table participant_change (
    change_id     uuid        primary key,
    name          text        not null,
    at            timestamptz not null,
    by            text        not null,
    reason        text        not null,
    max_in_flight integer,
    rate          double precision,
    breaker       text        not null,
    constraint participant_change_of_a_participant foreign key (name) references participant (name)
);
create index participant_change_by_name on participant_change (name, change_id);
