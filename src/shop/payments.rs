//! The payment provider: one capture and one refund an order, each under one key for ever.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::participant::{Call, Participant};
use crate::saga::step::StepError;

/// Why an order is parked whose provider says that it captured another amount than was asked for.
pub(super) const AMOUNT_MISMATCH: &str = "amount_mismatch";

/// Money that was captured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The provider's own name for the capture.
    pub receipt: String,
    /// Minor units.
    pub amount: i64,
    /// ISO 4217.
    pub currency: String,
}

/// Money that was returned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refund {
    /// The provider's own name for the refund.
    pub receipt: String,
    /// Minor units.
    pub amount: i64,
}

/// What had happened to a capture when its key was closed. A void moves no money: what had been
/// captured is still to be refunded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voided {
    /// Minor units that had been captured; `None` when nothing was, and nothing ever will be.
    pub captured: Option<i64>,
    /// ISO 4217; known where something had been captured.
    pub currency: Option<String>,
}

/// What became of a capture's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capture {
    /// How it stands.
    pub state: CaptureState,
    /// The provider's own name for it, once captured.
    pub receipt: Option<String>,
    /// Minor units, once captured.
    pub amount: Option<i64>,
    /// ISO 4217, once captured.
    pub currency: Option<String>,
}

/// How a capture stands with the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CaptureState {
    /// The money is, or was, ours.
    Captured,
    /// Refused by the provider.
    Declined,
    /// Closed by a void; `amount` tells whether it had been captured before.
    Voided,
}

/// The payment provider's client.
#[derive(Debug, Clone)]
pub struct Payments {
    participant: Participant,
}

#[derive(Serialize)]
struct CaptureBody<'a> {
    order_id: Uuid,
    amount: i64,
    currency: &'a str,
    method_token: &'a str,
}

#[derive(Serialize)]
struct RefundBody<'a> {
    order_id: Uuid,
    amount: i64,
    currency: &'a str,
}

#[derive(Serialize)]
struct VoidBody {
    order_id: Uuid,
}

#[derive(Deserialize)]
struct VoidAnswer {
    captured: bool,
    amount: Option<i64>,
    currency: Option<String>,
}

impl Payments {
    /// Calls `participant` as a payment provider.
    pub fn new(participant: Participant) -> Self {
        Self { participant }
    }

    /// Captures `amount` minor units.
    ///
    /// # Errors
    /// Refused (`declined`, `voided`, …); in doubt; or `amount_mismatch` when the provider says it
    /// took something else, which only a person can settle.
    pub async fn capture(
        &self,
        call: Call<'_>,
        amount: i64,
        currency: &str,
        method_token: &str,
    ) -> Result<Receipt, StepError> {
        let body = CaptureBody { order_id: call.order_id, amount, currency, method_token };
        let receipt: Receipt = self.participant.post("captures", call, &body).await?;
        if receipt.amount != amount || receipt.currency != currency {
            let got = format!("{} {}", receipt.amount, receipt.currency);
            return Err(mismatch(&receipt.receipt, &got, &format!("{amount} {currency}")));
        }
        Ok(receipt)
    }

    /// Closes a capture's key for ever, whether or not it was ever seen, and tells what had happened.
    ///
    /// # Errors
    /// Mostly in doubt; a void has nothing to be refused for.
    pub async fn void(&self, call: Call<'_>) -> Result<Voided, StepError> {
        let body = VoidBody { order_id: call.order_id };
        let answer: VoidAnswer = self.participant.post("voids", call, &body).await?;
        match (answer.captured, answer.amount) {
            (true, Some(amount)) => {
                Ok(Voided { captured: Some(amount), currency: answer.currency })
            }
            (false, None | Some(0)) => Ok(Voided { captured: None, currency: None }),
            _ => Err(self.participant.doubt("the void contradicts itself", None)),
        }
    }

    /// Returns `amount` minor units.
    ///
    /// # Errors
    /// Refused; in doubt; or `amount_mismatch`.
    pub async fn refund(
        &self,
        call: Call<'_>,
        amount: i64,
        currency: &str,
    ) -> Result<Refund, StepError> {
        let body = RefundBody { order_id: call.order_id, amount, currency };
        let refund: Refund = self.participant.post("refunds", call, &body).await?;
        if refund.amount != amount {
            let (got, asked) = (refund.amount.to_string(), amount.to_string());
            return Err(mismatch(&refund.receipt, &got, &asked));
        }
        Ok(refund)
    }

    /// What became of a capture's key; `None` when the provider has never seen it.
    ///
    /// # Errors
    /// In doubt, mostly.
    pub async fn find(&self, call: Call<'_>) -> Result<Option<Capture>, StepError> {
        self.participant.find("captures", call).await
    }
}

fn mismatch(receipt: &str, got: &str, asked: &str) -> StepError {
    StepError::NeedsAttention {
        reason: AMOUNT_MISMATCH.to_owned(),
        detail: format!("payment receipt {receipt:?} is for {got}, asked was {asked}"),
    }
}
