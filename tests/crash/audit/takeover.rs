//! What a replica may not write any more once another has taken over.

use std::collections::HashSet;

use sqlx::PgPool;
use uuid::Uuid;

/// Who may write now: each bucket with its epoch, and every line that stands under an older one.
pub(crate) struct Takeover {
    epochs: Vec<(i16, i64)>,
    lines: HashSet<(Uuid, i32)>,
}

impl Takeover {
    pub(crate) async fn look(db: &PgPool) -> Self {
        let epochs =
            sqlx::query_as("select bucket, epoch from bucket").fetch_all(db).await.unwrap();
        let mut now = Self { epochs, lines: HashSet::new() };
        now.lines = now.older_lines(db).await;
        now
    }

    async fn older_lines(&self, db: &PgPool) -> HashSet<(Uuid, i32)> {
        let (buckets, epochs): (Vec<i16>, Vec<i64>) = self.epochs.iter().copied().unzip();
        let sql = "select j.saga_id, j.seq from unnest($1::smallint[], $2::bigint[]) as x (bucket, epoch) \
                   join journal j on j.bucket = x.bucket and j.epoch < x.epoch";
        let lines: Vec<(Uuid, i32)> =
            sqlx::query_as(sql).bind(buckets).bind(epochs).fetch_all(db).await.unwrap();
        lines.into_iter().collect()
    }

    /// The orders to which a line was added since, under an epoch that was over by then.
    pub(super) async fn written_after(&self, db: &PgPool) -> Vec<Uuid> {
        self.older_lines(db).await.difference(&self.lines).map(|(order, _)| *order).collect()
    }
}
