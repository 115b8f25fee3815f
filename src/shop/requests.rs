//! What others may tell an order after it was placed: signals, pauses, another pickup time, a person's word.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use rand::Rng;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::time::sleep;
use uuid::Uuid;

use super::{
    Shop, ShopError,
    books::setting,
    order::check_times,
    saga::{APPROVAL_SIGNAL, Decision, Moved, PICKUP_SIGNAL, RESERVED_SIGNALS},
};
use crate::saga::{Asked, Only, Settlement};

/// How often an order that is in memory just now is looked at again, and after how long.
const LOOKS_WHILE_BUSY: u32 = 20;
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(50);
/// The setting that holds the key which approval links are made with.
const APPROVAL_KEY: &str = "approval_key";
/// Bytes of a link's signature: half of SHA-256's, which nobody guesses.
const SIGNATURE_BYTES: usize = 16;

impl Shop {
    /// Tells an order something; it is kept, in order, whether or not the order waits for it. With a key it
    /// counts once. True when it is new.
    pub async fn signal(
        &self,
        order_id: Uuid,
        name: &str,
        key: Option<&str>,
        by: &str,
        data: &Value,
    ) -> Result<bool, ShopError> {
        if RESERVED_SIGNALS.contains(&name) {
            return Err(ShopError::SignalReserved(name.to_owned()));
        }
        let only = Only::default();
        let asked = self.engine.signal(&self.write, order_id, (name, key), by, data, only).await?;
        match asked {
            Asked::Accepted => Ok(true),
            Asked::Repeated => Ok(false),
            other => Err(self.not_asked(order_id, other).await),
        }
    }

    /// Begins no step of an order any more.
    pub async fn pause(
        &self,
        order_id: Uuid,
        by: &str,
        reason: Option<&str>,
    ) -> Result<(), ShopError> {
        match self.engine.pause(&self.write, order_id, by, reason).await? {
            Asked::Accepted => Ok(()),
            other => Err(self.not_asked(order_id, other).await),
        }
    }

    /// Goes on with an order that was paused.
    pub async fn resume(
        &self,
        order_id: Uuid,
        by: &str,
        reason: Option<&str>,
    ) -> Result<(), ShopError> {
        match self.engine.resume(&self.write, order_id, by, reason).await? {
            Asked::Accepted => Ok(()),
            other => Err(self.not_asked(order_id, other).await),
        }
    }

    /// Tells what became of the step, or the compensation, for which an order is parked.
    pub async fn resolve(
        &self,
        order_id: Uuid,
        settlement: &Settlement,
        by: &str,
        reason: &str,
    ) -> Result<(), ShopError> {
        let settled = self.engine.settle(&self.write, order_id, settlement, by, reason).await?;
        match settled.map_err(|it| ShopError::SettlementUnfit(it.to_string()))? {
            Asked::Accepted => Ok(()),
            Asked::NotWaiting => Err(ShopError::NotWaiting),
            other => Err(self.not_asked(order_id, other).await),
        }
    }

    /// Moves the pickup time of a pre-order that has not been begun. `version` is the one that was read.
    pub async fn move_pickup(
        &self,
        order_id: Uuid,
        pickup_at: Timestamp,
        version: Option<i64>,
    ) -> Result<(), ShopError> {
        let order = self.order(order_id).await?.ok_or(ShopError::NotFound("order"))?;
        check_times(Timestamp::now(), Some(pickup_at), order.ready_by)?;
        let only = Only { while_waiting_at: Some(GO_AHEAD), if_version: version };
        let data = json!(Moved { pickup_at });
        let signal = (PICKUP_SIGNAL, None);
        match self.tell_waiting(order_id, signal, "customer", &data, only).await? {
            Asked::Accepted => Ok(()),
            Asked::NotWaiting => Err(ShopError::AlreadyStarted),
            other => Err(self.not_asked(order_id, other).await),
        }
    }

    /// A person's word about the order that this link is for. It counts once.
    pub async fn decide(&self, token: &str, decision: &Decision) -> Result<Uuid, ShopError> {
        let unknown = || ShopError::NotFound("approval link");
        let (id, signature) = token.split_once('.').ok_or_else(unknown)?;
        let order_id: Uuid = id.parse().map_err(|_| unknown())?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| unknown())?;
        let mac = self.approval_mac(order_id).await?;
        if signature.len() != SIGNATURE_BYTES || mac.verify_truncated_left(&signature).is_err() {
            return Err(unknown());
        }
        let only = Only { while_waiting_at: Some(GO_AHEAD), if_version: None };
        let (signal, data) = ((APPROVAL_SIGNAL, Some("once")), json!(decision));
        match self.tell_waiting(order_id, signal, &decision.by, &data, only).await? {
            Asked::Accepted => Ok(order_id),
            Asked::Repeated | Asked::NotWaiting | Asked::Closed => Err(ShopError::AlreadyDecided),
            other => Err(self.not_asked(order_id, other).await),
        }
    }

    /// Tells an order something that counts only while it waits. One that was told something else a moment ago
    /// is in memory just now, and waits again in the next.
    async fn tell_waiting(
        &self,
        order_id: Uuid,
        signal: (&str, Option<&str>),
        by: &str,
        data: &Value,
        only: Only,
    ) -> sqlx::Result<Asked> {
        let mut looks = LOOKS_WHILE_BUSY;
        loop {
            let asked = self.engine.signal(&self.write, order_id, signal, by, data, only).await?;
            looks -= 1;
            if asked != Asked::NotWaiting || looks == 0 {
                return Ok(asked);
            }
            match self.engine.row(&self.read, order_id).await? {
                Some(row) if row.closed_status.is_none() && row.wake_at.is_none() => {
                    sleep(LOOK_AGAIN_AFTER).await;
                }
                _ => return Ok(asked),
            }
        }
    }

    /// The one-use link by which a person says whether an order may be made.
    pub async fn approval_token(&self, order_id: Uuid) -> Result<String, ShopError> {
        let mac = self.approval_mac(order_id).await?.finalize().into_bytes();
        let signature = URL_SAFE_NO_PAD.encode(mac.get(..SIGNATURE_BYTES).unwrap_or_default());
        Ok(format!("{}.{signature}", order_id.simple()))
    }

    async fn approval_mac(&self, order_id: Uuid) -> Result<Hmac<Sha256>, ShopError> {
        let key = match setting::get(&self.read, APPROVAL_KEY).await? {
            Some(key) => key,
            None => {
                let made: [u8; 32] = rand::rng().random();
                let made = URL_SAFE_NO_PAD.encode(made);
                // Whoever is first, it is one key for all replicas.
                setting::replace(&self.write, APPROVAL_KEY, None, &made).await?;
                let key = setting::get(&self.write, APPROVAL_KEY).await?;
                key.ok_or(ShopError::NotFound("approval key"))?
            }
        };
        let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes())
            .map_err(|_| ShopError::NotFound("approval key"))?;
        mac.update(b"approval/");
        mac.update(order_id.as_bytes());
        Ok(mac)
    }

    async fn not_asked(&self, order_id: Uuid, asked: Asked) -> ShopError {
        match asked {
            Asked::Unknown => ShopError::NotFound("order"),
            Asked::TooMany => ShopError::TooManySignals,
            Asked::Changed => ShopError::VersionChanged,
            Asked::Accepted | Asked::Repeated | Asked::NotWaiting | Asked::Closed => {
                match self.status(order_id).await {
                    Ok((status, _)) => ShopError::OrderClosed(status),
                    Err(error) => error,
                }
            }
        }
    }
}

/// The place of [`GoAhead`](super::saga::GoAhead) in the newest list, by which a row tells that an order waits there.
const GO_AHEAD: i16 = 1;
