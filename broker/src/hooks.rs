//! Hooks: channel events for configured receivers, and calls that wake sleeping masters.
//!
//! ```text
//!  shards ── states of watched channels ──► courier ──► wakes: decides when a master is called
//!                                              │
//!                                              └──► queue of each hook ──► client ──► receiver
//! ```
//! `address` validates the configured URLs. `client` sends requests and reads a hook's files. `queue` and `wake` are
//! state machines that access neither the clock nor the network. `event` formats events. `courier` runs on the side
//! thread and drives the other modules.
//!
//! A receiver's address never comes from a request, a channel or a tag. The operator configures the URL, and only the
//! channel's name is inserted into it. Channel names contain no characters that have a special meaning in URLs.
//! Redirects are not followed, and proxies are not used.

pub(crate) mod address;
pub(crate) mod client;
mod courier;
pub(crate) mod event;
mod queue;
mod wake;

use broker_core::event::Histogram;
use broker_core::presence::{Audience, Told};
use broker_core::settings::{Hook, Settings};
use client::Client;
pub use courier::Courier;
pub use queue::Outcome;
use serde_json::Value;
use std::sync::Arc;
use strum::EnumCount;
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

/// Maximum number of orders queued for the courier. Orders are rare: reloads, test events, problem changes, and the
/// drain.
const ORDERS_WAITING_MAX: usize = 64;

// Statistics of hooks, updated by the courier and read by other tasks.

/// Statistics of all hooks at a point in time.
#[derive(Clone, Debug, Default)]
pub struct HooksReport {
    /// Statistics of each hook, in configuration order.
    pub hooks: Vec<HookReport>,
    /// Number of completed wake call series for each [`WakeResult`].
    pub wakes: [u64; WakeResult::COUNT],
    /// Distribution of the time from the first pending message until the master connects, over all successful series of
    /// wake calls.
    pub wake_seconds: Histogram,
}

/// Statistics of one hook.
#[derive(Clone, Debug, Default)]
pub struct HookReport {
    /// Name of the hook.
    pub name: String,
    /// Number of requests and jobs for each [`Outcome`].
    pub outcomes: [u64; Outcome::COUNT],
    /// Number of channels that have an event queued or in flight.
    pub waiting: u64,
    /// Age in milliseconds of the oldest event that is queued or in flight.
    pub oldest_ms: u64,
    /// Number of consecutive failed requests.
    pub failures: u32,
    /// Whether the receiver has responded with 410. If so, nothing is sent to it until a reload.
    pub off: bool,
    /// Error of the last request, or `None` if it succeeded.
    pub error: Option<String>,
}

impl HookReport {
    pub(crate) fn of(hook: &Hook) -> Self {
        Self {
            name: hook.name.clone(),
            ..Self::default()
        }
    }

    pub(crate) fn count(&mut self, outcome: Outcome, times: usize) {
        if let Some(count) = self.outcomes.get_mut(outcome as usize) {
            *count += times as u64;
        }
    }
}
