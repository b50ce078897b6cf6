//! The test double: faults on request, copies of messages, findings, and a clean start. Empty but under `--dev`.
//!
//! It takes part in four steps of the shard (`scripted`, the [`Double`](super::road::double::Double) of `--dev`), does
//! what is due of it (`due`) and what operators ask for (`operators`). The steps that it leaves to itself are in `own`.

mod account_use;
mod capture;
mod checks;
mod copies;
mod due;
mod faults;
mod kept;
mod operators;
pub(in crate::shard) mod own;
mod parity;
mod reset;
mod scripted;
pub(in crate::shard) mod state;

pub use crate::settings::Glob;
pub use account_use::AccountUse;
pub use capture::{Capture, Captured, Fate};
pub use faults::{
    Chance, Corruption, DeliveryAct, FaultAct, FaultCounts, FaultError, FaultMatch, FaultRule,
    MessageAct, RequestAct, SessionAct, SharedRule,
};
pub use parity::Finding;
pub use reset::{Reset, ResetStep};
pub(in crate::shard) use scripted::Scripted;
pub use state::StartDev;

use super::directory::Directory;
use super::sockets::Sockets;
use crate::time::Moment;
use ahash::RandomState;
use capture::Copies;
use parity::Parity;
use state::Dev;

/// Equips a shard that has its channels with the double's state; without `--dev` it has none.
pub(in crate::shard) fn begin(
    sockets: &mut Sockets,
    directory: &Directory,
    start: StartDev,
    hasher: &RandomState,
) {
    let settings = sockets.settings();
    if !settings.dev {
        return;
    }
    let parity = |account_use| Box::new(Parity::new(&settings.region, hasher, account_use));
    *sockets.dev_mut() = Dev {
        faults: Some(Box::default()),
        parity: (!settings.strict()).then(|| parity(start.account_use)),
        copies: start.copies.map(Copies::new).map(Box::new),
    };
    for (_, key) in directory.names() {
        checks::on_channel(sockets, directory, key, Moment::default());
    }
}
