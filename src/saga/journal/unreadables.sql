select s.definition, s.definition_version as version,
       (s.definition || ' ' || s.definition_version) = any($2) as "is_registered!",
       count(*) as "open!", min(s.saga_id::text) as "example!"
  from saga s
 where s.bucket = any($1) and s.closed_status is null
   and ((s.definition || ' ' || s.definition_version) <> all($2) or s.saga_id = any($3))
 group by 1, 2, 3
 order by 1, 2, 3
