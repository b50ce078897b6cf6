//! The shards: what each is made of, and their start.

use crate::devices::Devices;
use crate::edge::{
    Descriptors, EdgeSettings, Links, Listener, Post, ShardConfig, ShardEvent, ShardHandle,
    ShardThread, TakeAdmin,
};
use crate::failure::Failure;
use crate::hooks::Hooks;
use crate::server::listeners::Bound;
use crate::server::random::{random, seeds};
use crate::server::records::Records;
use crate::side::{Captures, Log, Teller};
use broker_core::auth::{Authenticator, Credentials, Nonces, SessionKeys};
use broker_core::id::ShardId;
use broker_core::limits::{signing_keys_per_shard, waiting_calls_per_shard, wake_polls_per_shard};
use broker_core::placement::Placement;
use broker_core::readiness::Readiness;
use broker_core::settings::{Scheme, Settings};
use broker_core::shard::{AccountUse, Shard, Start, StartDev, StartKeys};
use crossbeam_channel::Sender;
use mailbox::Mailbox;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::vec;
use zeroize::Zeroizing;

/// The parts with which all shards are started.
pub(crate) struct Shards<'s> {
    pub(crate) settings: &'s Arc<Settings>,
    pub(crate) placement: Placement,
    pub(crate) mailboxes: &'s Arc<[Mailbox<Post<Shard>>]>,
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
    /// Devices that may sign in with certificates.
    pub(crate) devices: Option<Arc<Devices>>,
    /// The principals that may sign; `None` where no signature is asked for.
    pub(crate) credentials: Option<Arc<Credentials>>,
    pub(crate) session_keys: Arc<SessionKeys>,
    pub(crate) registry: &'s mut Records,
    pub(crate) edge: EdgeSettings,
    pub(crate) events: Sender<ShardEvent>,
    pub(crate) log: &'s Log,
    /// The captures to which copies of messages go, under `--dev`.
    pub(crate) captures: Option<Captures>,
    /// The use of the server's account by all shards, under `--dev`.
    pub(crate) account_use: Option<Arc<AccountUse>>,
    /// The links to other nodes, in a cluster.
    pub(crate) links: Option<Arc<Links>>,
    /// Takes connections for pages of the admin listener, under `--lan`.
    pub(crate) admin: Option<TakeAdmin>,
    /// Whether the process is ready for clients.
    pub(crate) readiness: Readiness,
    /// The ways to those who get states: the courier of hooks, if there are any, and readers on the admin listener.
    pub(crate) audience: (Option<Hooks>, Teller),
    /// The epoch of presence of this process.
    pub(crate) epoch: u64,
}

impl Shards<'_> {
    /// Starts them all, one on each of `threads`; each accepts when this returns.
    ///
    /// # Errors
    /// [`Failure::Fatal`] when one cannot be started.
    pub(crate) fn start(
        mut self,
        threads: Vec<ShardThread<Shard>>,
        bound: Vec<Bound>,
    ) -> Result<Vec<ShardHandle>, Failure> {
        let descriptors = Arc::new(Descriptors::default());
        let nonce_seed = Zeroizing::new(random()?);
        let mut sockets: Vec<_> = bound
            .into_iter()
            .map(|bound| [bound.sockets.into_iter(), bound.twins.into_iter()])
            .collect();
        let mut handles = Vec::with_capacity(self.settings.shards);
        for (id, thread) in (0..self.placement.shards()).map(ShardId).zip(threads) {
            let listeners = self.listeners(&mut sockets);
            let config = ShardConfig {
                listeners,
                mailboxes: Arc::clone(self.mailboxes),
                tls: self.tls.clone(),
                devices: self.devices.clone(),
                links: self.links.clone(),
                admin: self.admin.clone(),
                settings: self.edge,
                descriptors: Arc::clone(&descriptors),
                events: self.events.clone(),
            };
            let start = self.machine(id, &nonce_seed)?;
            // Made on its own thread, whose memory it then is.
            let handle = thread.start(config, move || Shard::new(start));
            handles.push(handle.map_err(|error| {
                Failure::fatal(&format!("shard {} cannot be started", id.0), &error)
            })?);
        }
        Ok(handles)
    }

    /// The next shard's own sockets of each listener.
    fn listeners(&self, sockets: &mut [[vec::IntoIter<OwnedFd>; 2]]) -> Vec<Listener> {
        let configured = self.settings.listen.iter();
        let schemes = configured.map(|listen| Some(listen.scheme));
        // The last of those that are bound is the inner one, in a cluster.
        let own = sockets.iter_mut().zip(schemes.chain([None]));
        own.zip(0..)
            .flat_map(|((sockets, scheme), number)| {
                sockets
                    .iter_mut()
                    .filter_map(Iterator::next)
                    .map(move |socket| Listener {
                        socket,
                        number,
                        tls: scheme == Some(Scheme::Https),
                        inner: scheme.is_none(),
                    })
            })
            .collect()
    }

    fn machine(&mut self, id: ShardId, nonce_seed: &[u8; 32]) -> Result<Start, Failure> {
        let (store, records, slot_orders) = self.registry.of(id);
        let authenticator = self.credentials.as_ref().map(|credentials| {
            Authenticator::new(
                self.settings.signature_rules(),
                Arc::clone(credentials),
                Arc::clone(&self.session_keys),
            )
            .keeping(signing_keys_per_shard(self.settings.shards))
        });
        Ok(Start {
            settings: Arc::clone(self.settings),
            id,
            placement: self.placement.clone(),
            seeds: seeds()?,
            records,
            newest: self.registry.newest(),
            store,
            journal: self.log.journal(),
            keys: StartKeys {
                authenticator,
                session_keys: Arc::clone(&self.session_keys),
                nonces: Nonces::new(nonce_seed, id.0),
            },
            connections: self.edge.connections.div_ceil(self.settings.shards),
            waiting_calls: waiting_calls_per_shard(usize::from(self.placement.shards())),
            wake_polls: wake_polls_per_shard(usize::from(self.placement.shards())),
            dev: StartDev {
                copies: self.captures.as_ref().map(Captures::of_shard),
                account_use: self.account_use.clone(),
            },
            slot_orders,
            readiness: self.readiness.clone(),
            audience: {
                let (hooks, teller) = &self.audience;
                teller.of_shard(hooks.as_ref().map(Hooks::of_shard))
            },
            epoch: self.epoch,
        })
    }
}
