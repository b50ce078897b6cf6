//! One shard's edge: its parts.

use super::io::Io;
use super::letters::mail::Mail;
use super::listeners::Listeners;
use super::nodes::inner::Inners;
use super::nodes::tunnel::Tunnels;
use super::sessions::Sessions;
use super::start::ShardConfig;
use broker_core::id::ShardId;
use broker_core::machine::Machine;
use broker_core::time::Moment;
use crossbeam_channel::Sender;
use ring::Ring;

/// Everything one shard owns. Lives on its thread, from spawn to stop.
pub(super) struct Edge<M: Machine> {
    pub(super) io: Io,
    pub(super) sessions: Sessions<M>,
    pub(super) listeners: Listeners,
    pub(super) inners: Inners,
    /// The caller that waits until all is done that is due since the clocks were moved.
    pub(super) shifted: Option<Sender<(ShardId, Moment)>>,
}

impl<M: Machine> Edge<M> {
    /// An edge with nothing armed. Call it on the shard's own thread.
    pub(super) fn new(id: ShardId, ring: Ring, config: ShardConfig<M>, machine: M) -> Self {
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
