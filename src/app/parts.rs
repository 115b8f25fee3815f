//! The parts of a service by its settings: pools, the engine's limits, the steps' policies.

use std::{net::SocketAddr, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{
    config::{
        KitchenPull, ServeConfig, StepSettings, limits,
        steps::{ApprovalDefault, time_or},
    },
    postgres::{Database, PoolSpec},
    saga::{
        EngineSettings, Policy,
        lease::LeaseSettings,
        limits::{LimitSettings, breaker::BreakerSettings},
    },
    shop::{
        Pools,
        pull::Pull,
        saga::{GoAheadPolicy, Policies},
    },
};

/// How often the pools are sampled.
const POOL_SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// The pools of a replica.
pub(super) fn pools(database: &Database) -> Pools {
    let pool = |role, max_connections, read_only| {
        let statement_timeout = Duration::from_secs(if read_only { 5 } else { 30 });
        database.pool(PoolSpec { role, max_connections, statement_timeout, read_only })
    };
    Pools {
        read: pool("read", limits::POOL_READ_CONNECTIONS, true),
        write: pool("write", limits::POOL_WRITE_CONNECTIONS, false),
        drive: pool("drive", limits::POOL_DRIVE_CONNECTIONS, false),
    }
}

/// Samples what a caller would wait for a connection now. Where one is free that is nothing, and costs no
/// query.
pub(super) async fn sample_pools(pools: Pools, halt: CancellationToken) {
    let mut ticks = tokio::time::interval(POOL_SAMPLE_EVERY);
    loop {
        tokio::select! {
            () = halt.cancelled() => return,
            _ = ticks.tick() => {}
        }
        for (name, pool) in
            [("read", &pools.read), ("write", &pools.write), ("drive", &pools.drive)]
        {
            let started = tokio::time::Instant::now();
            let is_free = pool.num_idle() > 0 || pool.size() < pool.options().get_max_connections();
            if !is_free {
                // An error is a wait that was in vain, and counts in full.
                drop(pool.acquire().await);
            }
            metrics::histogram!("crema_pool_wait_seconds", "pool" => name)
                .record(started.elapsed().as_secs_f64());
        }
    }
}

/// The engine's limits, and what this replica calls itself.
pub(super) fn engine_settings(config: &ServeConfig, address: SocketAddr) -> EngineSettings {
    let machine = nix::unistd::gethostname().ok().and_then(|it| it.into_string().ok());
    let name = replica_name(config.replica_name.as_deref(), address, machine);
    let lease = LeaseSettings::of(config.lease);
    let handover_timeout = Duration::from_secs(1);
    let limits = LimitSettings { breaker: breaker(), ..LimitSettings::default() };
    let (allow_unknown_versions, usual) =
        (config.allow_unknown_versions, EngineSettings::default());
    EngineSettings { name, lease, handover_timeout, allow_unknown_versions, limits, ..usual }
}

/// When circuits open, and for how long.
fn breaker() -> BreakerSettings {
    let micros = |it: Duration| i64::try_from(it.as_micros()).unwrap_or(i64::MAX);
    BreakerSettings {
        failures: limits::BREAKER_FAILURES,
        sagas: limits::BREAKER_ORDERS,
        window: micros(limits::BREAKER_WINDOW),
        open_first: micros(limits::BREAKER_OPEN_FIRST),
        open_max: micros(limits::BREAKER_OPEN_MAX),
    }
}

/// What a replica is called that nobody named: where it is reached. One that listens on all addresses of its
/// machine would be called as every other one that does, so it goes by the machine's name.
fn replica_name(said: Option<&str>, address: SocketAddr, machine: Option<String>) -> String {
    match (said, machine.filter(|it| !it.is_empty())) {
        (Some(said), _) => said.to_owned(),
        (None, Some(machine)) if address.ip().is_unspecified() => {
            format!("{machine}:{}", address.port())
        }
        (None, _) => address.to_string(),
    }
}

/// What workers pull.
pub(super) fn pull(said: &KitchenPull) -> Pull {
    match said {
        KitchenPull::Nothing => Pull::Nothing,
        KitchenPull::All => Pull::All,
        KitchenPull::Stations(stations) => Pull::Stations(stations.clone()),
    }
}

/// The steps' policies: the house's own, and over them what was said.
pub(super) fn policies(said: &StepSettings) -> Policies {
    let usual = Policies::default();
    let paced = |policy: Policy, attempts: Option<u32>, timeout| Policy {
        attempts_max: attempts.unwrap_or(policy.attempts_max),
        start_to_close: time_or(timeout, policy.start_to_close),
        backoff: time_or(said.retry_backoff, policy.backoff),
        backoff_max: time_or(said.retry_backoff_max, policy.backoff_max),
        ..policy
    };
    let silence = usual.preparation.heartbeat.map(|it| time_or(said.preparation_silence, it));
    let preparation = Policy { heartbeat: silence, ..usual.preparation };
    let usual_go_ahead = usual.go_ahead;
    let go_ahead = GoAheadPolicy {
        lead: time_or(said.pickup_lead, usual_go_ahead.lead),
        approval_over: said.approval_over,
        approval_timeout: time_or(said.approval_timeout, usual_go_ahead.approval_timeout),
        approves_by_default: said.approval_default == Some(ApprovalDefault::Approve),
    };
    Policies {
        go_ahead,
        payment: paced(usual.payment, said.payment_attempts, said.payment_timeout),
        preparation: paced(preparation, said.preparation_attempts, said.preparation_timeout),
        notification: paced(
            usual.notification,
            said.notification_attempts,
            said.notification_timeout,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_that_listen_on_all_addresses_are_told_apart_by_their_machines() {
        let name = |said, address: &str, machine: &str| {
            replica_name(said, address.parse().unwrap(), Some(machine.to_owned()))
        };
        for all in ["0.0.0.0:8080", "[::]:8080"] {
            assert_eq!(name(None, all, "crema-1"), "crema-1:8080");
            assert_eq!(name(Some("ada"), all, "crema-1"), "ada");
            assert_eq!(name(None, all, ""), all, "better than nothing");
        }
        assert_eq!(name(None, "127.0.0.1:8080", "crema-1"), "127.0.0.1:8080");
        assert_eq!(name(None, "[::1]:8080", "crema-1"), "[::1]:8080");
    }
}
