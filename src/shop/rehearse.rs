//! Which participants are stand-ins, and where they are.

use sqlx::PgPool;
use url::Url;

use super::books::setting;

/// The name under which the replicas share the rehearsal's address.
const ADDRESS: &str = "rehearsal_url";

/// Which participants are stand-ins. Only those have moods.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rehearsed {
    /// The payment provider.
    pub payment: bool,
    /// The kitchen.
    pub kitchen: bool,
    /// The notifier.
    pub notifier: bool,
}

impl Rehearsed {
    /// All of them.
    pub const ALL: Self = Self { payment: true, kitchen: true, notifier: true };

    /// Whether any is.
    pub fn any(self) -> bool {
        self.payment || self.kitchen || self.notifier
    }

    /// Whether what this mood is for is real.
    pub fn is_real(self, of: &str) -> bool {
        !match of {
            "payment" | "refund" => self.payment,
            "kitchen" => self.kitchen,
            "notification" => self.notifier,
            // Our own step plays along wherever anything is rehearsed.
            _ => self.any(),
        }
    }
}

/// Tells the other replicas where the rehearsal is.
pub async fn publish_address(pool: &PgPool, url: &Url) -> sqlx::Result<()> {
    setting::set(pool, ADDRESS, url.as_str()).await
}

/// Where the rehearsal is, as the replica that hosts it said last.
pub async fn address(pool: &PgPool) -> sqlx::Result<Option<Url>> {
    Ok(setting::get(pool, ADDRESS).await?.and_then(|it| it.parse().ok()))
}
