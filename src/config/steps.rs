//! What can be set of an order's steps: how often they are tried, and how long a try may take.

use std::time::Duration;

use clap::{Args, ValueEnum};
use jiff::SignedDuration;
use serde::Deserialize;

use super::ConfigError;

/// The longest time that can be set for a step: what takes longer is no step of an order.
const STEP_TIME_MAX: SignedDuration = SignedDuration::from_hours(24);

/// What becomes of an order that needed a person's word and got none in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalDefault {
    /// It is given up, and its money returned
    Refuse,
    /// It is made all the same
    Approve,
}

/// The steps' settings, as said; in the file they are the table `steps`. Times are written like `30s`,
/// `500ms` or `15m`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StepSettings {
    /// How long before its pickup time a pre-order is begun [default: 10m]
    #[arg(long, env = "CREMA_PICKUP_LEAD", value_name = "TIME")]
    pub pickup_lead: Option<SignedDuration>,
    /// From this total on, in minor units (cents), a person has to approve an order before it is made
    /// [default: no order needs it]
    #[arg(long, env = "CREMA_APPROVAL_OVER", value_name = "AMOUNT")]
    pub approval_over: Option<i64>,
    /// How long that person has [default: 15m]
    #[arg(long, env = "CREMA_APPROVAL_TIMEOUT", value_name = "TIME")]
    pub approval_timeout: Option<SignedDuration>,
    /// What becomes of an order that nobody decided on in that time [default: refuse]
    #[arg(long, env = "CREMA_APPROVAL_DEFAULT", value_name = "DECISION")]
    pub approval_default: Option<ApprovalDefault>,
    /// Tries at taking a payment [default: 3]
    #[arg(long, env = "CREMA_PAYMENT_ATTEMPTS", value_name = "N")]
    pub payment_attempts: Option<u32>,
    /// The longest time for one try at taking or returning a payment [default: 30s]
    #[arg(long, env = "CREMA_PAYMENT_TIMEOUT", value_name = "TIME")]
    pub payment_timeout: Option<SignedDuration>,
    /// Tries at having an order prepared [default: 3]
    #[arg(long, env = "CREMA_PREPARATION_ATTEMPTS", value_name = "N")]
    pub preparation_attempts: Option<u32>,
    /// The longest time for one try at having an order prepared [default: 15m]
    #[arg(long, env = "CREMA_PREPARATION_TIMEOUT", value_name = "TIME")]
    pub preparation_timeout: Option<SignedDuration>,
    /// How long a ticket in preparation may show no sign of life during a try [default: 10s]
    #[arg(long, env = "CREMA_PREPARATION_SILENCE", value_name = "TIME")]
    pub preparation_silence: Option<SignedDuration>,
    /// Tries at telling a customer that an order is ready [default: 5]
    #[arg(long, env = "CREMA_NOTIFICATION_ATTEMPTS", value_name = "N")]
    pub notification_attempts: Option<u32>,
    /// The longest time for one try at telling a customer [default: 10s]
    #[arg(long, env = "CREMA_NOTIFICATION_TIMEOUT", value_name = "TIME")]
    pub notification_timeout: Option<SignedDuration>,
    /// The pause after the first try that failed; it doubles from try to try [default: 1s]
    #[arg(long, env = "CREMA_RETRY_BACKOFF", value_name = "TIME")]
    pub retry_backoff: Option<SignedDuration>,
    /// The longest pause between two tries [default: 100s]
    #[arg(long, env = "CREMA_RETRY_BACKOFF_MAX", value_name = "TIME")]
    pub retry_backoff_max: Option<SignedDuration>,
}

impl StepSettings {
    /// What is said here, and for the rest what `weaker` says.
    #[must_use]
    pub fn or(self, weaker: Self) -> Self {
        Self {
            pickup_lead: self.pickup_lead.or(weaker.pickup_lead),
            approval_over: self.approval_over.or(weaker.approval_over),
            approval_timeout: self.approval_timeout.or(weaker.approval_timeout),
            approval_default: self.approval_default.or(weaker.approval_default),
            payment_attempts: self.payment_attempts.or(weaker.payment_attempts),
            payment_timeout: self.payment_timeout.or(weaker.payment_timeout),
            preparation_attempts: self.preparation_attempts.or(weaker.preparation_attempts),
            preparation_timeout: self.preparation_timeout.or(weaker.preparation_timeout),
            preparation_silence: self.preparation_silence.or(weaker.preparation_silence),
            notification_attempts: self.notification_attempts.or(weaker.notification_attempts),
            notification_timeout: self.notification_timeout.or(weaker.notification_timeout),
            retry_backoff: self.retry_backoff.or(weaker.retry_backoff),
            retry_backoff_max: self.retry_backoff_max.or(weaker.retry_backoff_max),
        }
    }

    /// Refuses no tries at all, and times that are none.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let attempts = [
            ("--payment-attempts", self.payment_attempts),
            ("--preparation-attempts", self.preparation_attempts),
            ("--notification-attempts", self.notification_attempts),
        ];
        if let Some((setting, _)) = attempts.iter().find(|(_, it)| *it == Some(0)) {
            return Err(ConfigError::NoAttempts { setting });
        }
        let times = [
            ("--pickup-lead", self.pickup_lead),
            ("--approval-timeout", self.approval_timeout),
            ("--payment-timeout", self.payment_timeout),
            ("--preparation-timeout", self.preparation_timeout),
            ("--preparation-silence", self.preparation_silence),
            ("--notification-timeout", self.notification_timeout),
            ("--retry-backoff", self.retry_backoff),
            ("--retry-backoff-max", self.retry_backoff_max),
        ];
        let fits = |it: SignedDuration| it.is_positive() && it <= STEP_TIME_MAX;
        match times.iter().find(|(_, it)| it.is_some_and(|it| !fits(it))) {
            Some((setting, _)) => Err(ConfigError::StepTime { setting }),
            None => Ok(()),
        }
    }
}

/// A time as said, once it was checked; `usual` where nothing was said.
#[must_use]
pub fn time_or(said: Option<SignedDuration>, usual: Duration) -> Duration {
    said.and_then(|it| it.try_into().ok()).unwrap_or(usual)
}
