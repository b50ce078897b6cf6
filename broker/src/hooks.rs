//! Hooks: events of channels sent to configured receivers, and wake calls for sleeping masters.
//!
//! ```text
//!  shards ── states of watched channels ──► courier ──► wakes: decides when a master is called
//!                                              │
//!                                              └──► queue of each hook ──► client ──► receiver
//! ```
//! `address` validates configured URLs; `client` sends requests and reads a hook's files; `queue` and `wake` are state
//! machines without clock or network access; `event` formats events; `courier` drives all of them on the side thread.
//!
//! No address comes from a request, a channel or a tag. Only a channel's name is inserted into the operator's URL, and
//! channel names contain no characters with a special meaning in URLs. Redirects are not followed, and proxies are not
//! used.

pub(crate) mod address;
pub(crate) mod client;
mod courier;
pub(crate) mod event;
mod queue;
mod wake;

use crate::limits::PRESENCES_WAITING_MAX;
use broker_core::cluster::slot_maps::SlotMap;
use broker_core::presence::{Audience, Told};
use broker_core::settings::Settings;
use client::Client;
use courier::CourierEnds;
pub use courier::{Courier, HookReport, HooksReport};
use event::EventTerms;
pub use queue::Outcome;
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
pub use wake::WakeResult;

/// Handle to the courier, the task that delivers events. Clones share the same courier.
#[derive(Clone)]
pub struct Hooks {
    told: mpsc::Sender<Told>,
    orders: mpsc::Sender<Order>,
    report: watch::Receiver<HooksReport>,
}

pub(crate) enum Order {
    /// Reloaded clients and settings. Existing hooks keep their positions.
    Clients(Arc<Settings>, Vec<Client>),
    Draining,
    /// Test event for the hook with this name. The response is the error of the delivery, if any. The sender is dropped
    /// if no hook has this name.
    Test(String, oneshot::Sender<Option<String>>),
    /// Cause of a problem, including the id of the cause, for receivers that subscribe to problems.
    Problem(Value),
}

/// Creates the courier, which runs on the side thread, and its handle.
pub(crate) fn courier(
    settings: &Arc<Settings>,
    (epoch, slots): (u64, Option<Arc<SlotMap>>),
    clients: Vec<Client>,
    seed: u64,
) -> (Courier, Hooks) {
    let (tell, told) = mpsc::channel(PRESENCES_WAITING_MAX);
    let (order, orders) = mpsc::channel(ORDERS_WAITING_MAX);
    let (report, reports) = watch::channel(HooksReport {
        hooks: settings.hooks.iter().map(HookReport::of).collect(),
        ..HooksReport::default()
    });
    let ends = CourierEnds {
        told,
        orders,
        report,
    };
    let hooks = Hooks {
        told: tell,
        orders: order,
        report: reports,
    };
    let terms = EventTerms::new(epoch, slots);
    (Courier::new(settings, terms, clients, seed, ends), hooks)
}

impl Hooks {
    /// Returns the current statistics of all hooks.
    #[must_use]
    pub fn report(&self) -> HooksReport {
        self.report.borrow().clone()
    }

    pub(crate) fn of_shard(&self) -> Box<dyn Audience> {
        Box::new(Voice(self.told.clone()))
    }

    pub(crate) fn order(&self, order: Order) {
        if self.orders.try_send(order).is_err() {
            tracing::warn!("an order for hooks was dropped: their queue is full");
        }
    }
}

struct Voice(mpsc::Sender<Told>);

impl Audience for Voice {
    fn tell(&mut self, told: Told) -> Result<(), Told> {
        match self.0.try_send(told) {
            Err(TrySendError::Full(told)) => Err(told),
            Ok(()) | Err(TrySendError::Closed(_)) => Ok(()),
        }
    }
}

/// Maximum number of queued orders. Orders come from operators.
const ORDERS_WAITING_MAX: usize = 64;
