//! The test double: faults on request, copies of messages, findings, and a clean start. Empty but under `--dev`.
//!
//! It takes part in four steps of the shard (`scripted`, the [`Double`](crate::shard::road::double::Double) of `--dev`), does
//! what is due of it (`due`) and what operators ask for (`operators`). The steps that it leaves to itself are in `own`.

mod account_use;
mod capture;
mod checks;
mod copies;
mod due;
mod faults;
mod kept;
mod operators;
pub(crate) mod own;
mod parity;
mod reset;
pub(crate) mod scripted;
pub(crate) mod state;

pub use crate::settings::Glob;
use crate::shard::directory::Directory;
use crate::shard::sockets::Sockets;
use crate::time::Moment;
pub use account_use::AccountUse;
use ahash::RandomState;
use capture::Copies;
pub use capture::{Capture, Captured, Fate};
pub use faults::{
    Chance, Corruption, DeliveryAct, FaultAct, FaultCounts, FaultError, FaultMatch, FaultRule,
    MessageAct, RequestAct, SessionAct, SharedRule,
};
pub use parity::Finding;
use parity::Parity;
pub use reset::{Reset, ResetStep};
use state::Dev;
pub use state::StartDev;

/// Equips a shard that has its channels with the double's state; without `--dev` it has none.
pub(crate) fn begin(
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
