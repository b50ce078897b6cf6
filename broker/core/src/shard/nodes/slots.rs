//! The slots that this shard serves its channels of, where slots go from one node to another: which are served, which
//! channels are in each, and what is still to be done about them.
//!
//! ```text
//!             Serve: channels come, with messages of a parcel        Pause: connections are closed
//!   Absent ──────────────────────────────────────────────► Served ────────────────────────────────► Still
//!     ▲                                                     │  ▲                                       │  │
//!     │          Release: connections are closed            │  │                 Resume                │  │
//!     ├─────────────────────────────────────────────────────┘  └───────────────────────────────────────┘  │
//!     └───────────────────────────────────────────────────────────────────────────────────────────────────┘
//!                                                     Release
//! ```
//! A slot's messages are *packed* when no connection of it has begun one and not ended it: what a connection did not
//! hand over is kept again by then, and goes along.

mod moves;
mod parcel;

use crate::cluster::message::Held;
use crate::id::Identity;
use crate::shard::directory::Directory;
use crate::shard::directory::slots::Stage;
use crate::shard::sockets::Sockets;
use crate::time::Now;
use codec::aws::ChannelArn;

impl Directory {
    /// Whether a channel's slot may be used here at `now`: always, where slots stay where they are.
    pub(in crate::shard) fn serves(&self, identity: &Identity, now: Now) -> bool {
        let Some(slots) = &self.slots else {
            return true;
        };
        let stage = slots.map.slot(identity).map(|slot| slots.stage(slot));
        stage == Some(Stage::Served) && slots.map.is_valid(now)
    }

    /// A connection was admitted to a channel.
    pub(in crate::shard) fn admitted(&mut self, arn: &ChannelArn) {
        let Some(slots) = &mut self.slots else {
            return;
        };
        if let Some(slot) = slots.map.slot(&Identity::of(arn))
            && let Some(place) = slots.places.get(slot.index())
        {
            let epoch = place.epoch;
            slots.orders.admitted(Held { slot, epoch });
        }
    }

    /// Orders about slots have come.
    pub(in crate::shard) fn slot_orders_came(&mut self) {
        if let Some(slots) = &mut self.slots {
            slots.due = true;
        }
    }

    /// When something about slots is due next.
    pub(in crate::shard) fn slots_due(&self, sockets: &Sockets) -> Option<Now> {
        let slots = self.slots.as_deref()?;
        let orders = slots.due.then_some(Now(0));
        let closing = slots.closing.map(|closing| closing.next(sockets.places()));
        let packing = slots.packing.iter().map(|packing| packing.look);
        orders.into_iter().chain(closing).chain(packing).min()
    }
}
