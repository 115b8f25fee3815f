-- The same as before, in fewer words: PostgreSQL reads and plans every CHECK of a table anew for every statement that
-- writes to it, and a saga that is alone waits for that at each of its steps. What is impossible stays impossible.
alter table saga
    add constraint saga_row_is_possible check (
        bucket = get_byte(uuid_send(saga_id), 15) and seq >= 1 and version >= 1 and cursor >= 0
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
