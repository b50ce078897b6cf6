//! Hooks: channel events that are sent to configured receivers, and calls that wake sleeping masters.
//!
//! ```text
//!  shards ── states of watched channels ──► courier ──► wakes: decides when a master is called
//!                                              │
//!                                              └──► queue of each hook ──► client ──► receiver
//! ```
//! `address` validates the configured URLs. `client` sends requests and reads a hook's files. `queue` and `wake` are
//! state machines that access neither the clock nor the network. `event` formats events. `courier` drives all of these
//! on the side thread.
//!
//! The address of a receiver never comes from a request, a channel or a tag. The URL that the operator configured is
//! used as it is, and only the channel's name is inserted into it. Channel names contain no characters that have a
//! special meaning in URLs. Redirects are not followed, and proxies are not used.

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
    /// The clients and settings after a reload. Existing hooks keep their positions in the list.
    Clients(Arc<Settings>, Vec<Client>),
    Draining,
    /// A test event for the hook with this name. The delivery error, if any, is sent through the channel. If no hook
    /// has this name, the channel is closed without a reply.
    Test(String, oneshot::Sender<Option<String>>),
    /// The cause of a problem, with its id. Sent to receivers that subscribe to problems.
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
    /// Returns the current statistics of every hook.
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

/// Maximum number of orders that wait for the courier. Orders are rare: reloads, test events, changes of problems, and
/// the drain.
const ORDERS_WAITING_MAX: usize = 64;
