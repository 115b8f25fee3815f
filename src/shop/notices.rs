//! Telling the customer: a signed webhook (Standard Webhooks), or a line in the log.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::header::{HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

use super::participant::{Call, Participant, ParticipantError};
use crate::saga::step::StepError;

/// What every secret of the standard begins with.
const SECRET_PREFIX: &str = "whsec_";
/// The standard's least strength.
const SECRET_BYTES_MIN: usize = 24;

/// Where notices go.
#[derive(Debug, Clone)]
pub enum Notifier {
    /// To an endpoint that the operator configured.
    Webhook(Webhook),
    /// To our own log, and nowhere else.
    Log,
}

impl Notifier {
    /// Sends one notice: `body` is the JSON text as it was stored, so that every retry sends the same
    /// bytes, and `call.key` is its message id, by which a receiver knows a repeat.
    ///
    /// # Errors
    /// Refused or in doubt by the endpoint's answer. The log never fails.
    pub async fn send(&self, call: Call<'_>, body: &str) -> Result<(), StepError> {
        match self {
            Self::Webhook(webhook) => webhook.send(call, body).await,
            Self::Log => {
                tracing::info!(message_id = call.key, order_id = %call.order_id, body, "notice");
                Ok(())
            }
        }
    }
}

/// An endpoint that receives signed notices.
#[derive(Clone)]
pub struct Webhook {
    participant: Participant,
    signers: Vec<Hmac<Sha256>>,
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook").field("participant", &self.participant).finish_non_exhaustive()
    }
}

impl Webhook {
    /// Signs with every one of `secrets` (`whsec_` and base64), so that a receiver may change from the
    /// old to the new one in its own time.
    ///
    /// # Errors
    /// [`ParticipantError::WebhookSecret`] when there is none, or one cannot be used.
    pub fn new(
        participant: Participant,
        secrets: &[SecretString],
    ) -> Result<Self, ParticipantError> {
        let signers: Option<Vec<_>> = secrets.iter().map(signer).collect();
        match signers {
            Some(signers) if !signers.is_empty() => Ok(Self { participant, signers }),
            _ => Err(ParticipantError::WebhookSecret),
        }
    }

    async fn send(&self, call: Call<'_>, body: &str) -> Result<(), StepError> {
        let timestamp = jiff::Timestamp::now().as_second().to_string();
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("webhook-id", call.key),
            ("webhook-timestamp", &timestamp),
            ("webhook-signature", &self.signature(call.key, &timestamp, body)),
        ] {
            let value = HeaderValue::from_str(value)
                .map_err(|_| StepError::refused("message_id", "it cannot be sent in a header"))?;
            headers.insert(name, value);
        }
        self.participant.deliver("messages", call, headers, body.to_owned()).await
    }

    /// `v1,` and base64 of HMAC-SHA256 over `id.timestamp.body`, once a secret.
    fn signature(&self, id: &str, timestamp: &str, body: &str) -> String {
        let signed = self.signers.iter().map(|signer| {
            let mut mac = signer.clone();
            for part in [id, ".", timestamp, ".", body] {
                mac.update(part.as_bytes());
            }
            format!("v1,{}", BASE64.encode(mac.finalize().into_bytes()))
        });
        signed.collect::<Vec<_>>().join(" ")
    }
}

fn signer(secret: &SecretString) -> Option<Hmac<Sha256>> {
    let key = BASE64.decode(secret.expose_secret().strip_prefix(SECRET_PREFIX)?).ok()?;
    if key.len() < SECRET_BYTES_MIN {
        return None;
    }
    Hmac::new_from_slice(&key).ok()
}
