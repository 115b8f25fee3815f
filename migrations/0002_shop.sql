-- The shop's tables. One database is one shop.
--
--   shop              one row: is it open, how many orders at once, which menu is in force
--   menu_item         what is sold and for how much; `menu_version` in `shop` rises with every change, and
--                     an order is priced by one version or not placed
--   recipe            what an item is made of
--   stock             what is there: `on_hand` in the shop, `reserved` promised to open orders. A person may
--                     lower `on_hand` below `reserved` (spilt milk); then a later deduction is refused
--   stock_adjustment  what people changed in `stock`, and why
--   stock_move        what orders changed in `stock`: phase 1 reserves; phase 2 deducts or releases, once
--   orders            the immutable facts that orders are looked up by; the order itself (its items and all)
--                     is the input of its saga, in journal line 1, and when it was placed stands in its id
--   ledger            the money: at most one capture an order, and one refund of each line of it
--   pickup_code       the codes of uncollected orders; gone when collected or when the order fails
--   collection        when an order was collected
--   idempotency_key   which order a customer's key stands for, and a hash of what was asked
--   outbox            notices about orders that ended without being completed: written in the closing
--                     commit, sent by the owner of the order's bucket, kept when given up
--   setting           small facts the replicas share (the address of the rehearsal participants)

create table shop (
    shop            boolean primary key default true,
    mode            text    not null default 'open',
    max_open_orders integer,
    menu_version    bigint  not null default 1,
    currency        text    not null default 'EUR',
    constraint shop_is_one check (shop),
    constraint shop_mode_known check (mode in ('open', 'paused', 'closed')),
    constraint shop_max_open_orders_positive check (max_open_orders >= 0)
);
insert into shop default values;

create table menu_item (
    item      text    primary key,
    name      text    not null,
    price     bigint  not null,
    available boolean not null default true,
    constraint menu_item_price_not_negative check (price between 0 and 100000000)
);

create table stock (
    ingredient text   primary key,
    unit       text   not null,
    on_hand    bigint not null,
    reserved   bigint not null default 0,
    constraint stock_on_hand_not_negative check (on_hand >= 0),
    constraint stock_reserved_not_negative check (reserved >= 0)
) with (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

create table recipe (
    item       text   not null references menu_item,
    ingredient text   not null references stock,
    quantity   bigint not null,
    primary key (item, ingredient),
    constraint recipe_quantity_positive check (quantity > 0)
);

create table stock_adjustment (
    adjustment_id uuid        primary key,
    ingredient    text        not null,
    delta         bigint      not null,
    reason        text        not null,
    on_hand_after bigint      not null,
    at            timestamptz not null default now()
);

create table stock_move (
    order_id    uuid        not null,
    phase       smallint    not null,
    kind        text        not null,
    ingredients text[]      not null,
    quantities  bigint[]    not null,
    at          timestamptz not null default now(),
    primary key (order_id, phase),
    constraint stock_move_kind_fits_phase
        check (phase = 1 and kind = 'reserve' or phase = 2 and kind in ('deduct', 'release')),
    constraint stock_move_pairs check (cardinality(ingredients) = cardinality(quantities))
) partition by range (order_id);

create table orders (
    order_id    uuid        not null,
    customer_id text        not null,
    currency    text        not null,
    total       bigint      not null,
    pickup_code text        not null,
    rehearsal   boolean     not null,
    attributes  jsonb,
    primary key (order_id),
    constraint orders_total_not_negative check (total >= 0)
) partition by range (order_id);
create index orders_by_customer on orders (customer_id, order_id);
create index orders_by_attribute on orders using gin (attributes jsonb_path_ops) where attributes is not null;

create table ledger (
    order_id uuid        not null,
    kind     text        not null,
    line     smallint    not null default 0,
    amount   bigint      not null,
    currency text        not null,
    receipt  text        not null,
    at       timestamptz not null default now(),
    primary key (order_id, kind, line),
    constraint ledger_kind_known check (kind in ('capture', 'refund')),
    constraint ledger_one_capture check (kind <> 'capture' or line = 0),
    constraint ledger_amount_not_negative check (amount >= 0)
) partition by range (order_id);

create table pickup_code (
    code     text primary key,
    order_id uuid not null
);

create table collection (
    order_id     uuid        primary key,
    collected_at timestamptz not null default now()
);

create table idempotency_key (
    customer_id text        not null,
    key         text        not null,
    fingerprint bytea       not null,
    order_id    uuid        not null,
    created_at  timestamptz not null default now(),
    primary key (customer_id, key),
    constraint idempotency_key_length check (char_length(key) between 1 and 255)
);

create table outbox (
    bucket          smallint    not null,
    message_id      text        not null,
    order_id        uuid        not null,
    channel         text        not null,
    body            json        not null,
    attempts        integer     not null default 0,
    next_attempt_at timestamptz not null default now(),
    last_error      text,
    sent_at         timestamptz,
    given_up_at     timestamptz,
    primary key (bucket, message_id),
    constraint outbox_ends_once check (sent_at is null or given_up_at is null)
);
create index outbox_due on outbox (bucket, next_attempt_at) where sent_at is null and given_up_at is null;
create index outbox_given_up on outbox (given_up_at) where given_up_at is not null;

create table setting (
    name  text primary key,
    value text not null
);

select ensure_partitions('stock_move', 2), ensure_partitions('orders', 2), ensure_partitions('ledger', 2);

insert into stock (ingredient, unit, on_hand) values
    ('beans', 'g', 50000), ('milk', 'ml', 100000), ('cup', 'piece', 5000), ('filter', 'piece', 2000),
    ('croissant', 'piece', 500), ('oat_milk', 'ml', 20000), ('chocolate', 'g', 5000);

insert into menu_item (item, name, price) values
    ('espresso', 'Espresso', 250), ('double_espresso', 'Double espresso', 320),
    ('cappuccino', 'Cappuccino', 450), ('latte', 'Latte', 480), ('oat_latte', 'Oat latte', 520),
    ('flat_white', 'Flat white', 460), ('mocha', 'Mocha', 520),
    ('filter_coffee', 'Filter coffee', 300), ('croissant', 'Croissant', 300);

insert into recipe (item, ingredient, quantity) values
    ('espresso', 'beans', 9), ('espresso', 'cup', 1),
    ('double_espresso', 'beans', 18), ('double_espresso', 'cup', 1),
    ('cappuccino', 'beans', 9), ('cappuccino', 'milk', 120), ('cappuccino', 'cup', 1),
    ('latte', 'beans', 9), ('latte', 'milk', 220), ('latte', 'cup', 1),
    ('oat_latte', 'beans', 9), ('oat_latte', 'oat_milk', 220), ('oat_latte', 'cup', 1),
    ('flat_white', 'beans', 18), ('flat_white', 'milk', 130), ('flat_white', 'cup', 1),
    ('mocha', 'beans', 9), ('mocha', 'milk', 180), ('mocha', 'chocolate', 20), ('mocha', 'cup', 1),
    ('filter_coffee', 'beans', 15), ('filter_coffee', 'filter', 1), ('filter_coffee', 'cup', 1),
    ('croissant', 'croissant', 1);
