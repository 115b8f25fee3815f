//! Who plays the participants, and where they are.

use std::{collections::BTreeMap, time::Duration};

use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::Url;

use super::hosted::{Hosted, ROLES};
use crate::{
    config::{Participant as Played, Rehearsal, ServeConfig},
    saga::Policy,
    shop::{
        Pools,
        kitchen::Kitchen,
        notices::{Notifier, Webhook},
        participant::{Limits, Participant},
        payments::Payments,
        rehearse::Rehearsed,
        saga::{Notices, Participants, Policies},
    },
};

/// How long the start waits for the rehearsal to appear: twice what it takes to notice that a host is gone.
const STAND_INS_WAIT: Duration = Duration::from_secs(5);
/// What the rehearsal's notices are signed with when nobody set a secret: its receiver checks nothing.
const REHEARSAL_SECRET: &str = "whsec_Y3JlbWEtcmVoZWFyc2FsLW5vdC1hLXNlY3JldA==";

/// Which participants are stand-ins.
pub(super) fn rehearsed(config: &ServeConfig) -> Rehearsed {
    let is = |played: &Played| *played == Played::Rehearsed;
    Rehearsed {
        payment: is(&config.payment),
        kitchen: is(&config.kitchen),
        notifier: is(&config.notifier),
    }
}

/// Where the stand-ins are, as far as known; one channel each, in the order of [`ROLES`]. In a rehearsal of
/// our own the address changes when its host dies and another replica takes over.
pub(super) type Addresses = [watch::Receiver<Option<Url>>; 3];

/// Finds the stand-ins, or hosts them.
pub(super) fn stand_ins(
    config: &ServeConfig,
    pools: &Pools,
    background: &TaskTracker,
    halt: &CancellationToken,
) -> Addresses {
    let root = match &config.rehearsal {
        Rehearsal::Apart(url) => Some(url),
        Rehearsal::Off | Rehearsal::Own => None,
    };
    let channels = ROLES.map(|role| watch::channel(root.map(|it| role.address(it))));
    let addresses = channels.each_ref().map(|(_, receiver)| receiver.clone());
    if config.rehearsal == Rehearsal::Own {
        let hosted = Hosted {
            pool: pools.write.clone(),
            dir: config.data_dir.join("rehearsal"),
            known: channels.map(|(sender, _)| sender),
            halt: halt.clone(),
        };
        background.spawn(hosted.attend());
    }
    addresses
}

/// Lets the stand-ins appear before orders need them. Should they take long, orders wait for them instead.
pub(super) async fn await_stand_ins(config: &ServeConfig, addresses: &Addresses) {
    if config.rehearsal == Rehearsal::Off {
        return;
    }
    for address in addresses {
        let known = async { address.clone().wait_for(Option::is_some).await.is_ok() };
        if tokio::time::timeout(STAND_INS_WAIT, known).await.is_err() {
            tracing::warn!("the rehearsal has not appeared yet; orders will wait for it");
            return;
        }
    }
}

/// Participants that are nowhere: for who asks about orders and calls nobody.
pub(super) fn nobody() -> anyhow::Result<Participants> {
    let nowhere = |name| Participant::new(name, watch::channel(None).1, Limits::default());
    let secret = [REHEARSAL_SECRET.into()];
    let webhook = Notifier::Webhook(Webhook::new(nowhere("notifier")?, &secret)?);
    Ok(Participants {
        payments: Payments::new(nowhere("payment")?),
        kitchen: Kitchen::new(nowhere("kitchen")?),
        notices: Notices { webhook, endpoints: BTreeMap::new() },
    })
}

/// The participants' clients.
pub(super) fn participants(
    config: &ServeConfig,
    addresses: &Addresses,
    policies: &Policies,
) -> anyhow::Result<Participants> {
    // A call may take as long as its attempt; only the kitchen's are short, for its ticket is looked up.
    let one_call = |policy: &Policy| Limits {
        first_byte_timeout: policy.start_to_close,
        total_timeout: policy.start_to_close,
        ..Limits::default()
    };
    let reached = |name, played: &Played, stand_in: &watch::Receiver<Option<Url>>, limits| {
        let base = match played {
            Played::Real(url) => watch::channel(Some(url.clone())).1,
            Played::Rehearsed => stand_in.clone(),
        };
        Participant::new(name, base, limits)
    };
    let [payment, kitchen, notifier] = addresses;
    let by_notice = one_call(&policies.notification);
    let notifier = reached("notifier", &config.notifier, notifier, by_notice)?;
    let secret = [config.notifier_secret.clone().unwrap_or_else(|| REHEARSAL_SECRET.into())];
    let webhook = Notifier::Webhook(Webhook::new(notifier, &secret)?);
    let mut endpoints = BTreeMap::new();
    for (name, url) in &config.notify_endpoints {
        let endpoint =
            Participant::new("notifier", watch::channel(Some(url.clone())).1, by_notice)?;
        endpoints.insert(name.clone(), Notifier::Webhook(Webhook::new(endpoint, &secret)?));
    }
    Ok(Participants {
        payments: Payments::new(reached(
            "payment",
            &config.payment,
            payment,
            one_call(&policies.payment),
        )?),
        kitchen: Kitchen::new(reached("kitchen", &config.kitchen, kitchen, Limits::default())?),
        notices: Notices { webhook, endpoints },
    })
}
