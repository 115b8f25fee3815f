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

/// Where the rehearsal is, as the replica that hosts it said last.
pub async fn address(pool: &PgPool) -> sqlx::Result<Option<String>> {
    setting::get(pool, ADDRESS).await
}

/// Tells the other replicas that the rehearsal is here, if what they are told is still what we saw. False when
/// another replica was faster.
pub async fn claim_address(pool: &PgPool, seen: Option<&str>, url: &Url) -> sqlx::Result<bool> {
    setting::replace(pool, ADDRESS, seen, url.as_str()).await
}
