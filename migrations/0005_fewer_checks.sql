-- PostgreSQL reads and plans every comparison of a table's CHECKs anew for every statement that writes to it, some
-- three microseconds each, and an order that is alone waits for that at each of its steps. What stands here follows
-- from nothing else; that lines are numbered from 1 without a gap follows from the writing statement and the key.
alter table saga
    add constraint saga_row_is_possible check (
        bucket = get_byte(uuid_send(saga_id), 15)
        and (closed_status is null
             or wake_at is null and attention is null and closed_status = label)),
    drop constraint saga_bucket_is_the_last_byte_of_its_id,
    drop constraint saga_seq_positive,
    drop constraint saga_closed_waits_for_nothing,
    drop constraint saga_closed_shows_its_status;

alter table journal
    add constraint journal_line_is_possible check (seq >= 1 and attempt >= 1),
    drop constraint journal_seq_positive,
    drop constraint journal_attempt_positive;
