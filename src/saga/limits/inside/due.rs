//! When a gate has something to do that no call brings about.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    super::{LimitSettings, breaker::Breaker, share::Written},
    Inside, Probe,
};

/// Between two exchanges, whatever happens.
const GAP: Duration = Duration::from_millis(5);

impl Inside {
    /// When the next exchange is due, if ever as things stand. Idle, there is none.
    pub(in crate::saga::limits) fn exchange_due(
        &self,
        settings: &LimitSettings,
        in_flight: u32,
        waiting: u32,
    ) -> Option<Instant> {
        let is_closed = self.breaker.is_closed();
        let every = if is_closed { settings.exchange } else { settings.exchange_barred };
        let (at_once, regularly) = (self.last + GAP, self.last + every);
        let probe_is_idle = self.probe == Probe::Ours && waiting == 0;
        let is_in_the_way = self.is_limited() || !is_closed;
        let has_idle = self.max.is_some() && self.held > in_flight;
        let is_told = (self.written.in_use, self.written.waiting) == (in_flight, waiting);
        let has_more_written = self.max.is_some() && self.written.slots > self.held.max(in_flight);
        // Nothing is asked while nothing is called: what is new is heard of, and a probe has its time. Only one that
        // another replica makes is looked after, for that may die.
        let holds_up = match self.breaker {
            Breaker::Closed { .. } | Breaker::HeldClosed { .. } | Breaker::HalfOpen { .. } => {
                waiting > 0
            }
            Breaker::Open { .. } | Breaker::HeldOpen { .. } => false,
        };
        let may_probe = self.probe_at.filter(|_| waiting > 0).map(|it| it.max(at_once));
        let due = [
            (self.is_urgent || self.probed.is_some() || probe_is_idle).then_some(at_once),
            (!self.heard.is_nothing()).then_some(self.last + settings.exchange),
            (is_in_the_way && (holds_up || has_idle || has_more_written || !is_told))
                .then_some(regularly),
            (!is_in_the_way && self.written != Written::default()).then_some(regularly),
            may_probe,
        ];
        due.into_iter().flatten().min().map(|it| it.max(self.not_before))
    }

    /// When the keeper has to come: for an exchange, or for the next turn by the rate.
    pub(in crate::saga::limits) fn due(
        &self,
        settings: &LimitSettings,
        in_flight: u32,
        waiting: u32,
    ) -> Option<Instant> {
        let turn = self.reserved.front().copied();
        let turn = turn.filter(|_| self.has_queue() && self.has_room(in_flight));
        let exchange = self.exchange_due(settings, in_flight, waiting);
        [turn, exchange].into_iter().flatten().min()
    }
}
