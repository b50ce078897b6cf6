//! One shard's edge: its parts.

use crate::edge::io::Io;
use crate::edge::letters::mail::Mail;
use crate::edge::listeners::Listeners;
use crate::edge::nodes::inner::Inners;
use crate::edge::nodes::tunnel::Tunnels;
use crate::edge::sessions::Sessions;
use crate::edge::start::ShardConfig;
use broker_core::id::ShardId;
use broker_core::machine::Machine;
use broker_core::time::Moment;
use crossbeam_channel::Sender;
use ring::Ring;

/// Everything one shard owns. Lives on its thread, from spawn to stop.
pub(crate) struct Edge<M: Machine> {
    pub(crate) io: Io,
    pub(crate) sessions: Sessions<M>,
    pub(crate) listeners: Listeners,
    pub(crate) inners: Inners,
    /// The caller that waits until all is done that is due since the clocks were moved.
    pub(crate) shifted: Option<Sender<(ShardId, Moment)>>,
}

impl<M: Machine> Edge<M> {
    /// An edge with nothing armed. Call it on the shard's own thread.
    pub(crate) fn new(id: ShardId, ring: Ring, config: ShardConfig<M>, machine: M) -> Self {
        let mail = Mail::new(id, config.mailboxes, config.events);
        let inners = Inners::new(config.links.clone());
        let tunnels = Tunnels::new(id, config.links, config.admin);
        Self {
            io: Io::new(ring, config.settings, config.descriptors),
            sessions: Sessions::new(machine, mail, tunnels),
            listeners: Listeners::new(config.listeners, config.tls, config.devices),
            inners,
            shifted: None,
        }
    }
}
