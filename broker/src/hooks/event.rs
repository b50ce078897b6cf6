//! Formats events, and tracks the slot epochs that determine which events this process may send.

use axum::body::Bytes;
use broker_core::cluster::slot_maps::SlotMap;
use broker_core::presence::{Presence, PresenceCause};
use broker_core::{id::Slot, settings::Hook, time::Wall};
use codec::calendar::rfc3339;
use serde_json::{Map, Value, json};
use std::sync::Arc;

pub(crate) fn presence(hook: &Hook, terms: &EventTerms, presence: &Presence) -> Bytes {
    let data = changed(terms.node(), presence, ShownState::to(hook));
    body("channel.presence", presence.at, data)
}

/// Formats a wake call, which contains the channel's state, the number of the attempt, and the time at which the last
/// offer expires.
pub(crate) fn wake(hook: &Hook, terms: &EventTerms, presence: &Presence, attempt: u32) -> Bytes {
    let mut data = changed(terms.node(), presence, ShownState::to(hook));
    data.insert("attempt".into(), attempt.into());
    let last = presence.waiting.iter().max_by_key(|waiter| waiter.until);
    if let Some(last) = last {
        data.insert("offerExpiresAt".into(), rfc3339(last.until.0).into());
        if hook.include_client_id {
            data.insert("clientId".into(), (*last.client_id).into());
        }
    }
    body("channel.wake", presence.at, data)
}

pub(crate) fn node(kind: &str, terms: &EventTerms, at: Wall) -> Bytes {
    let mut data = of_node(terms.node());
    data.insert("epoch".into(), terms.epoch.into());
    body(kind, at, data)
}

pub(crate) fn problem(problem: &Value, terms: &EventTerms, at: Wall) -> Bytes {
    let mut data = of_node(terms.node());
    data.insert("problem".into(), problem.clone());
    body("node.problem", at, data)
}

/// Formats an event that lists the slots that a node serves, as ranges. Each range consists of its first slot, its last
/// slot and their epoch.
pub(crate) fn slots(terms: &EventTerms, serving: &Serving, at: Wall) -> Bytes {
    let runs = serving.iter();
    let runs = runs.map(|(first, last, epoch)| json!([first.0, last.0, epoch]));
    let mut data = of_node(terms.node());
    data.insert("slots".into(), runs.collect());
    body("slots.serving", at, data)
}

/// Returns a map that contains the node's name as `node`, or an empty map if there is no name.
fn of_node(node: Option<&str>) -> Map<String, Value> {
    let node = node.map(|node| ("node".into(), node.into()));
    node.into_iter().collect()
}

fn body(kind: &str, at: Wall, data: Map<String, Value>) -> Bytes {
    let event = json!({ "type": kind, "timestamp": rfc3339(at.0), "data": data });
    event.to_string().into()
}

/// The optional members of a channel state that a particular reader receives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShownState {
    remote: bool,
    client_id: bool,
}

impl ShownState {
    pub(crate) const ALL: Self = Self {
        remote: true,
        client_id: true,
    };

    fn to(hook: &Hook) -> Self {
        Self {
            remote: hook.include_remote,
            client_id: hook.include_client_id,
        }
    }
}

pub(crate) fn changed(
    node: Option<&str>,
    presence: &Presence,
    shown: ShownState,
) -> Map<String, Value> {
    let mut data = state(node, presence, shown);
    let cause: &str = presence.cause.into();
    data.insert("cause".into(), cause.into());
    if matches!(
        presence.cause,
        PresenceCause::MasterLeft | PresenceCause::ViewerLeft
    ) {
        data.insert("reason".into(), presence.reason.into());
    }
    data
}

pub(crate) fn state(
    node: Option<&str>,
    presence: &Presence,
    shown: ShownState,
) -> Map<String, Value> {
    let master = presence.master.map(|master| {
        let mut value = json!({ "since": rfc3339(master.since.0) });
        if shown.remote {
            value["remote"] = master.remote.to_string().into();
        }
        if let Some(since) = master.doubtful_since {
            value["doubtfulSince"] = rfc3339(since.0).into();
        }
        value
    });
    let waiting = presence.waiting.iter().map(|waiter| {
        let mut value = json!({
            "action": waiter.action.as_str(),
            "since": rfc3339(waiter.since.0),
            "expiresAt": rfc3339(waiter.until.0),
        });
        if shown.client_id {
            value["clientId"] = (*waiter.client_id).into();
        }
        value
    });
    let mut data = of_node(node);
    data.insert(
        "channel".into(),
        json!({ "name": presence.name, "arn": presence.arn }),
    );
    if let Some(slot) = presence.slot {
        data.insert("slot".into(), slot.0.into());
    }
    data.insert("epoch".into(), presence.epoch.into());
    data.insert("sequence".into(), presence.sequence.into());
    data.insert("master".into(), master.into());
    data.insert("viewers".into(), presence.viewers.into());
    data.insert("waiting".into(), waiting.collect());
    if presence.more > 0 {
        data.insert("waitingMore".into(), presence.more.into());
    }
    data
}

// The channels that this process reports on, and their epochs. In a cluster, these are the channels in the slots that
// this node serves; otherwise, all channels.

#[derive(Debug)]
pub(crate) struct EventTerms {
    pub(crate) epoch: u64,
    slots: Option<Arc<SlotMap>>,
    /// The slot map's change counter at the time of the last report.
    told: u64,
    /// Slots are not reported again before this time.
    not_before: u64,
}

/// The slot ranges that a node serves. Each consists of the first slot, the last slot, and the epoch.
pub(crate) type Serving = Arc<[(Slot, Slot, u64)]>;

impl EventTerms {
    pub(crate) fn new(epoch: u64, slots: Option<Arc<SlotMap>>) -> Self {
        let slots = slots.filter(|slots| !slots.is_fixed());
        Self {
            epoch,
            slots,
            told: 0,
            not_before: 0,
        }
    }

    /// Returns the name of this node, or `None` if there is no cluster or the cluster's slots cannot move.
    pub(crate) fn node(&self) -> Option<&str> {
        let slots = self.slots.as_ref()?;
        Some(slots.name(slots.own()))
    }

    /// Returns an event's id. All delivery attempts use the same id, and no other process of the service uses it.
    pub(crate) fn message_id(&self, number: u64) -> String {
        let epoch = self.epoch;
        match self.node() {
            None => format!("msg_{epoch}_{number}"),
            Some(node) => format!("msg_{epoch}_{number}_{}", node.replace('.', "_")),
        }
    }

    /// Returns whether this process still owns the channel that a state describes.
    pub(crate) fn is_current(&self, state: &Presence) -> bool {
        match (state.slot, &self.slots) {
            (Some(slot), Some(slots)) => slots.presence(slot) == state.epoch,
            (Some(_), None) | (None, _) => true,
        }
    }

    /// Returns all slots served by this node, or `None` if they have not changed since the last call or were last
    /// reported less than [`TOLD_EVERY_MS`] ago.
    pub(crate) fn news(&mut self, now: u64) -> Option<Serving> {
        let slots = self.slots.as_ref()?;
        let changes = slots.presence_changes();
        if changes == self.told || now < self.not_before {
            return None;
        }
        (self.told, self.not_before) = (changes, now + TOLD_EVERY_MS);
        Some(slots.presences().into())
    }
}

/// Minimum interval between slot events, in milliseconds. Slots change owners one at a time, so several changes are
/// combined into one event.
const TOLD_EVERY_MS: u64 = 1_000;
