//! The parts of `/try` beside the settings: a channel, and the lender of sessions where requests are signed.

use super::random::random;
use crate::failure::Failure;
use crate::side::{InForce, Lender, Log, Tries};
use broker_core::auth::{Nonces, SessionKeys};
use data_encoding::HEXLOWER;
use std::sync::Arc;
use tokio::sync::Mutex;

pub(super) fn tries(
    credentials: Option<InForce>,
    session_keys: &Arc<SessionKeys>,
    log: &Log,
) -> Result<Tries, Failure> {
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
    Ok(Tries {
        channel: format!("try-{}", HEXLOWER.encode(&[first, second])),
        lender: credentials.map(lender),
    })
}
