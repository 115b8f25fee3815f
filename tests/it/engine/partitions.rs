//! The journal's months, and what an engine does when they cannot be made.

use crema::saga::Engine;

use super::{effects::Effect, rig::Rig, toys::Toy};

async fn runs(rig: &Rig, engine: &Engine<Effect>) {
    let (_, status) = rig.run(engine, "plain", Toy::default()).await;
    assert_eq!(status, "COMPLETED");
}

#[tokio::test]
async fn a_saga_of_a_clock_far_ahead_keeps_no_replica_from_starting_once_its_month_is_due() {
    let rig = Rig::new().await;
    // The last month that an engine makes: as it was before it came near.
    rig.execute(
        "do $$ begin
             execute format('drop table %I', 'journal' || to_char(
                 date_trunc('month', now() at time zone 'UTC') + interval '2 months', '_YYYY_MM'));
         end $$",
    )
    .await;
    rig.execute(
        "insert into journal (bucket, saga_id, seq, epoch, kind, data)
         select get_byte(uuid_send(id), 15), id, 1, 0, 'started', '{}'
           from uuid_floor((date_trunc('month', now() at time zone 'UTC') + interval '70 days')
                               at time zone 'UTC') as id",
    )
    .await;
    runs(&rig, &rig.engine().await).await;
}

#[tokio::test]
async fn an_engine_starts_though_no_partition_can_be_made() {
    let rig = Rig::new().await;
    rig.execute("alter function ensure_partitions(text, integer) rename to gone").await;
    runs(&rig, &rig.engine().await).await;
}
