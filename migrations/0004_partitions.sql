-- A row whose id says a month far ahead (a replica's clock was wrong) stands in the partition for whatever is
-- newer. Once that month is due its own partition cannot be made: the row would belong there. Then the month
-- goes without one, and its rows stand with that row, which costs nothing but that they cannot be dropped by
-- the month; making it all the same takes a person who moves the rows. It is told as a warning each time.
create or replace function ensure_partitions(parent text, months integer) returns void language plpgsql as $$
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
            begin
                execute format('create table %I partition of %I for values from (%L) to (%L)',
                               parent || to_char(month, '_YYYY_MM'), parent,
                               uuid_floor(month::timestamp at time zone 'UTC'),
                               uuid_floor((month + interval '1 month')::timestamp at time zone 'UTC'));
            exception when check_violation then
                raise warning '% gets no partition for %: rows of that month are in %',
                              parent, to_char(month, 'YYYY-MM'), parent || '_future';
            end;
        end if;
    end loop;
end
$$;
