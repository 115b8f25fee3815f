//! Who plays the participants, and where they are.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::Url;

use crate::{
    config::{Participant as Played, Rehearsal, ServeConfig},
    rehearsal::{self, Role},
    shop::{
        Pools,
        kitchen::Kitchen,
        notices::{Notifier, Webhook},
        participant::{Limits, Participant},
        payments::Payments,
        rehearse::{self, Rehearsed},
        saga::{Notices, Participants},
    },
};

/// How often a replica that does not host the rehearsal asks where it is.
const ADDRESS_EVERY: Duration = Duration::from_secs(5);
/// How often it asks while it does not know: orders wait for the answer.
const ADDRESS_SOON: Duration = Duration::from_millis(250);
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

const ROLES: [Role; 3] = [Role::Payment, Role::Kitchen, Role::Notifier];

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
        let (hosting, hosted) = watch::channel(None);
        let publish = move |url| {
            hosting.send_replace(Some(url));
        };
        let host = rehearsal::host(config.data_dir.join("rehearsal"), halt.clone(), publish);
        background.spawn(async move {
            if let Err(error) = host.await {
                tracing::error!(%error, "the rehearsal cannot be hosted here");
            }
        });
        let known = channels.map(|(sender, _)| sender);
        background.spawn(follow_address(pools.write.clone(), hosted, known, halt.clone()));
    }
    addresses
}

/// Tells the others where our rehearsal is, or asks them where theirs is.
async fn follow_address(
    pool: sqlx::PgPool,
    mut hosted: watch::Receiver<Option<Url>>,
    known: [watch::Sender<Option<Url>>; 3],
    halt: CancellationToken,
) {
    loop {
        let ours = hosted.borrow_and_update().clone();
        match shared_address(&pool, ours.as_ref()).await {
            Ok(root) => {
                for (role, sender) in ROLES.iter().zip(&known) {
                    let address = root.as_ref().map(|it| role.address(it));
                    sender.send_if_modified(|it| {
                        let moved = *it != address;
                        *it = address;
                        moved
                    });
                }
            }
            Err(error) => tracing::debug!(%error, "the rehearsal's address is asked for again"),
        }
        let is_known = known.iter().all(|it| it.borrow().is_some());
        let pause = if is_known { ADDRESS_EVERY } else { ADDRESS_SOON };
        tokio::select! {
            () = halt.cancelled() => return,
            _ = hosted.changed(), if ours.is_none() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// The address that the replicas share, which is ours if we host the rehearsal.
async fn shared_address(pool: &sqlx::PgPool, ours: Option<&Url>) -> sqlx::Result<Option<Url>> {
    let shared = rehearse::address(pool).await?;
    match ours {
        Some(url) if shared.as_ref() != Some(url) => {
            rehearse::publish_address(pool, url).await?;
            Ok(Some(url.clone()))
        }
        _ => Ok(shared),
    }
}

/// The participants' clients.
pub(super) fn participants(
    config: &ServeConfig,
    addresses: &Addresses,
) -> anyhow::Result<Participants> {
    let reached = |name, played: &Played, stand_in: &watch::Receiver<Option<Url>>| {
        let base = match played {
            Played::Real(url) => watch::channel(Some(url.clone())).1,
            Played::Rehearsed => stand_in.clone(),
        };
        Participant::new(name, base, Limits::default())
    };
    let [payment, kitchen, notifier] = addresses;
    let notifier = reached("notifier", &config.notifier, notifier)?;
    let secret = config.notifier_secret.clone().unwrap_or_else(|| REHEARSAL_SECRET.into());
    let webhook = Notifier::Webhook(Webhook::new(notifier, &[secret])?);
    Ok(Participants {
        payments: Payments::new(reached("payment", &config.payment, payment)?),
        kitchen: Kitchen::new(reached("kitchen", &config.kitchen, kitchen)?),
        notices: Notices { webhook },
    })
}
