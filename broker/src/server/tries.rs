//! The parts of `/try` beside the settings: a channel, and the lender of sessions where requests are signed.

use crate::failure::Failure;
use crate::server::random::random;
use crate::side::{InForce, Lender, Log, Shows, Tries};
use broker_core::auth::{Nonces, SessionKeys};
use data_encoding::HEXLOWER;
use std::sync::Arc;
use tokio::sync::Mutex;

/// Gives the admin listener these parts, and the credentials in force.
pub(crate) fn prepare(
    shows: &mut Shows,
    in_force: Option<InForce>,
    session_keys: &Arc<SessionKeys>,
    log: &Log,
) -> Result<(), Failure> {
    let (channel, seed) = (random()?, random()?);
    let lender = |credentials| {
        // No shard has this number.
        let nonces = Nonces::new(&seed, u16::MAX);
        let session_keys = Arc::clone(session_keys);
        Mutex::new(Lender::new(
            credentials,
            session_keys,
            nonces,
            log.journal(),
        ))
    };
    let [first, second, ..] = channel;
    shows.tries = Tries {
        channel: format!("try-{}", HEXLOWER.encode(&[first, second])),
        lender: in_force.clone().map(lender),
    };
    shows.in_force = in_force;
    Ok(())
}
