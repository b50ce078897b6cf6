//! Hooks: events of channels for receivers that the configuration names, and calls for masters that sleep.
//!
//! ```text
//!  shards ── states of watched channels ──► courier ──► wakes: when a master is called
//!                                              │
//!                                              └──► queue of each hook ──► client ──► receiver
//! ```
//! `address` says what may be configured; `client` sends, and reads the files of a hook; `queue` and `wake` are state
//! machines without clock and network, `event` has the forms of events, `courier` drives all of them on the side
//! thread.
//!
//! No address comes from a request, a channel or a tag: a channel's name is put into the path of one that the operator
//! wrote, and names have no character with a meaning there. Redirects and proxies are not followed.

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

/// The ways to the courier: a clone is another way to the same.
#[derive(Clone)]
pub struct Hooks {
    told: mpsc::Sender<Told>,
    orders: mpsc::Sender<Order>,
    report: watch::Receiver<HooksReport>,
}

/// A word to the courier.
pub(crate) enum Order {
    /// The files were read again, and perhaps the settings: hooks have their former places in them.
    Clients(Arc<Settings>, Vec<Client>),
    /// The process is about to end.
    Draining,
    /// Send an event to the hook of this name; dropped if there is none. The answer is why it was not taken.
    Test(String, oneshot::Sender<Option<String>>),
    /// Send a cause of trouble, with its id, to those that get them.
    Problem(Value),
}

/// The courier of the configured hooks, which is to be run on the side thread, and the ways to it.
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
    /// The figures.
    #[must_use]
    pub fn report(&self) -> HooksReport {
        self.report.borrow().clone()
    }

    /// A shard's way to the courier.
    pub(crate) fn of_shard(&self) -> Box<dyn Audience> {
        Box::new(Voice(self.told.clone()))
    }

    /// Gives the courier an order; one that finds no room is not carried out.
    pub(crate) fn order(&self, order: Order) {
        if self.orders.try_send(order).is_err() {
            tracing::warn!("an order to the courier of hooks found no room");
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

/// Orders that wait for the courier: they come from operators.
const ORDERS_WAITING_MAX: usize = 64;
