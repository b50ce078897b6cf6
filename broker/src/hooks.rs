//! Hooks: events of channels sent to configured receivers, and wake calls for sleeping masters.
//!
//! ```text
//!  shards ── states of watched channels ──► courier ──► wakes: when a master is called
//!                                              │
//!                                              └──► queue of each hook ──► client ──► receiver
//! ```
//! `address` validates configured URLs; `client` sends requests and reads a hook's files; `queue` and `wake` are state
//! machines without clock or network access; `event` formats events; `courier` drives all of them on the side thread.
//!
//! No address is taken from a request, a channel or a tag: only a channel's name is inserted into a URL written by the
//! operator, and channel names contain no characters with a special meaning in URLs. Redirects are not followed, and
//! proxies are not used.

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

/// A request to the courier.
pub(crate) enum Order {
    /// The files were reloaded, and perhaps the settings as well; existing hooks keep their positions.
    Clients(Arc<Settings>, Vec<Client>),
    /// The process is about to shut down.
    Draining,
    /// Send an event to the hook with this name; dropped if there is no such hook. The response is the reason why the
    /// receiver did not accept the event, if it did not.
    Test(String, oneshot::Sender<Option<String>>),
    /// Send the cause of a problem, with its id, to subscribed receivers.
    Problem(Value),
}

/// Creates the courier for the configured hooks, to be run on the side thread, and the handles to it.
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
    /// Returns a report with the counters of all hooks.
    #[must_use]
    pub fn report(&self) -> HooksReport {
        self.report.borrow().clone()
    }

    /// Returns the sender through which a shard passes events to the courier.
    pub(crate) fn of_shard(&self) -> Box<dyn Audience> {
        Box::new(Voice(self.told.clone()))
    }

    /// Sends an order to the courier; the order is dropped if the queue is full.
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

/// Maximum number of orders queued for the courier; orders come from operators.
const ORDERS_WAITING_MAX: usize = 64;
