-- A request that carries a key is one however often it is made: a signal that is told again while the first is on its
-- way to the journal finds it here, and later in the journal.
alter table inbox add column key text;
create unique index inbox_key on inbox (bucket, saga_id, key) where key is not null;
