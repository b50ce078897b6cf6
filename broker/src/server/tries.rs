//! What `/try` has beside the settings: the admin token, and who gives sessions where requests are signed.

use super::shards::random;
use super::{Failure, check};
use crate::side::{InForce, Lender, Log, Tries};
use broker_core::auth::{Nonces, SessionKeys};
use broker_core::settings::Settings;
use data_encoding::HEXLOWER;
use std::sync::Arc;
use tokio::sync::Mutex;

pub(super) fn tries(
    settings: &Settings,
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
    // Checked at the start, except a file that is borrowed under --dev.
    let token = settings.admin.token_file.as_ref();
    let token = token.and_then(|path| check::token(path).ok());
    let [first, second, ..] = channel;
    Ok(Tries {
        token: token.map(Arc::from),
        channel: format!("try-{}", HEXLOWER.encode(&[first, second])),
        lender: credentials.map(lender),
    })
}
