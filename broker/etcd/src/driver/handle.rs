//! The process's handle to the node, and the code that starts the node's thread.

use crate::directory::{Directory, DirectoryError};
use crate::driver::event::{Event, TaskEvents};
use crate::driver::inspection::Inspection;
use crate::driver::{DriverNode, Parts, records};
use crate::limits::{CHANGES_MAX, INSPECT, LEAVE, MAIL_MAX, NAME_BYTES_MAX, TICK};
use crate::peers::{Inbox, PeerMailbox, Peers};
use crate::service::{EtcdStore, HostService, Submission};
use crate::{config::NodeConfig, names::Name, system::random, translate::Translator};
use broker_core::cluster::message::Parcel;
use broker_core::id::ShardId;
use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// The reason why a node could not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The name of the cluster or of the node is invalid.
    #[error("the name of the {0} must be 1 to {NAME_BYTES_MAX} letters, digits, '-' and '.'")]
    Name(&'static str),
    /// No etcd endpoint is configured.
    #[error("no member of etcd is configured")]
    NoEndpoint,
    /// The data directory cannot be used.
    #[error("{0}")]
    Directory(DirectoryError),
    /// The system did not provide random bytes.
    #[error("the system's random generator failed")]
    Random,
    /// The system could not create the thread, or the file descriptors that the runtime needs.
    #[error("{0}")]
    System(io::Error),
}

#[derive(Debug)]
pub(crate) enum NodeCommand {
    Drain,
    Rebalance,
    Stuck(bool),
    Parcel(Name, Parcel, Vec<u8>),
    Inquiry(Name, u64, Vec<u8>),
    Reply(Name, u64, Vec<u8>),
    Inspect(SyncSender<Inspection>),
}

/// A handle to a running node. Dropping it stops the node abruptly, as if the process had been killed. [`Self::drain`]
/// shuts the node down gracefully.
#[derive(Debug)]
pub struct Handle {
    commands: Option<mpsc::Sender<NodeCommand>>,
    changes: mpsc::Sender<Submission>,
    thread: Option<JoinHandle<()>>,
}

impl Handle {
    /// Shuts the node down after transferring all of its slots to other nodes. The node finally calls
    /// [`crate::HostService::exit`]. Like the methods of [`Commands`], returns `false` if the command cannot be sent.
    pub fn drain(&self) -> bool {
        self.commands().send(NodeCommand::Drain)
    }

    /// Tells the node whether a shard is hanging. While one is, the node does not renew its registration or answer
    /// other nodes. Like the methods of [`Commands`], returns `false` if the command cannot be sent.
    pub fn stuck(&self, stuck: bool) -> bool {
        self.commands().send(NodeCommand::Stuck(stuck))
    }

    /// Returns the registry store for `shard`.
    #[must_use]
    pub fn store(&self, shard: ShardId) -> EtcdStore {
        EtcdStore::new(shard, self.changes.clone())
    }

    /// Returns a sender of commands to the node, which any thread can use.
    #[must_use]
    pub fn commands(&self) -> Commands {
        Commands(self.commands.as_ref().map(mpsc::Sender::downgrade))
    }
}

/// Sends commands to a node without keeping it alive. The methods return `false` if the queue is full or the node has
/// ended.
#[derive(Clone, Debug)]
pub struct Commands(Option<mpsc::WeakSender<NodeCommand>>);

impl Commands {
    /// Tells the node to transfer slots to other nodes until it owns no more than an equal share.
    #[must_use]
    pub fn rebalance(&self) -> bool {
        self.send(NodeCommand::Rebalance)
    }

    /// Returns the node's state. Waits up to [`INSPECT`] for the node's thread, but never for a shard. Returns `None`
    /// if the node has ended or does not respond in time.
    #[must_use]
    pub fn inspect(&self) -> Option<Inspection> {
        let (reply, answer) = sync_channel(1);
        let is_asked = self.send(NodeCommand::Inspect(reply));
        is_asked.then(|| answer.recv_timeout(INSPECT).ok())?
    }

    /// Sends a slot's pending messages to another node, as requested by
    /// [`HostService::send`](crate::HostService::send). If the messages are lost or refused, the core requests another
    /// attempt later.
    pub fn parcel(&self, to: Name, parcel: Parcel, bytes: Vec<u8>) -> bool {
        self.send(NodeCommand::Parcel(to, parcel, bytes))
    }

    /// Sends a query to the process of another node, which receives it through [`crate::HostService::inquired`]. If the
    /// query cannot be delivered, it is lost.
    #[must_use]
    pub fn inquire(&self, of: Name, number: u64, inquiry: Vec<u8>) -> bool {
        self.send(NodeCommand::Inquiry(of, number, inquiry))
    }

    /// Sends another node the reply to its query. That node receives it through [`crate::HostService::replied`].
    pub fn reply(&self, to: Name, number: u64, reply: Vec<u8>) -> bool {
        self.send(NodeCommand::Reply(to, number, reply))
    }

    fn send(&self, command: NodeCommand) -> bool {
        let commands = self.0.as_ref().and_then(mpsc::WeakSender::upgrade);
        commands.is_some_and(|commands| commands.try_send(command).is_ok())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has already printed the reason.
            let _ = thread.join();
        }
    }
}

/// Starts nodes, each on its own thread.
#[derive(Debug)]
pub struct Driver;

impl Driver {
    /// Starts a node on its own thread. `peers` creates the transport for messages. The transport must put incoming
    /// messages into the mailbox that it is given.
    ///
    /// etcd need not be reachable. Until it is, the node serves no slots.
    ///
    /// # Errors
    /// Returns the reason why the node could not start.
    pub fn start<S: HostService, P: Peers>(
        config: NodeConfig,
        service: S,
        peers: impl FnOnce(PeerMailbox) -> P + Send + 'static,
    ) -> Result<Handle, StartError> {
        let cluster = Name::new(&config.cluster).ok_or(StartError::Name("cluster"))?;
        let me = Name::new(&config.node).ok_or(StartError::Name("node"))?;
        if config.etcd.endpoints.is_empty() {
            return Err(StartError::NoEndpoint);
        }
        let draw = || random().map(u32::from_le_bytes).ok_or(StartError::Random);
        let opened = Directory::open(&config.directory, [draw()?, draw()?]);
        let (directory, mut kept) = opened.map_err(StartError::Directory)?;
        if config.accept_etcd {
            kept.forget();
        }
        let seed = u64::from_le_bytes(random().ok_or(StartError::Random)?);
        let (commands, inbox) = mpsc::channel(MAIL_MAX);
        let (changes, submitted) = mpsc::channel(CHANGES_MAX);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(StartError::System)?;
        let body = move || {
            let running = async move {
                let (mailbox, mail) = PeerMailbox::new();
                let peers = peers(mailbox);
                let translator = Translator::new(&config, &cluster, me);
                let parts = Parts {
                    config,
                    service,
                    peers,
                    translator,
                    directory,
                    kept,
                    seed,
                };
                let (events, happened) = TaskEvents::channel();
                let node = DriverNode::new(parts, &events);
                run(node, happened, inbox, mail, submitted).await;
            };
            LocalSet::new().block_on(&runtime, running);
            // A pending name lookup must not delay process exit.
            runtime.shutdown_timeout(LEAVE);
        };
        let thread = Builder::new().name("cluster".into()).spawn(body);
        let thread = thread.map_err(StartError::System)?;
        Ok(Handle {
            commands: Some(commands),
            changes,
            thread: Some(thread),
        })
    }
}

async fn run<S: HostService, P: Peers>(
    mut node: DriverNode<S, P>,
    mut happened: mpsc::Receiver<Event>,
    mut commands: mpsc::Receiver<NodeCommand>,
    mut mail: Inbox,
    mut changes: mpsc::Receiver<Submission>,
) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while node.core.ending.is_none() {
        tokio::select! {
            _ = ticks.tick() => node.tick(),
            Some(event) = happened.recv() => node.event(event),
            Some(mail) = mail.recv() => node.mail(mail),
            Some(change) = changes.recv(), if node.records.has_room() => node.submit(change),
            command = commands.recv() => match command {
                Some(command) => node.command(command),
                None => break,
            },
        }
        node.settle();
    }
    changes.close();
    while let Ok(change) = changes.try_recv() {
        records::refuse(&change, &mut node.service);
    }
    let goodbyes = node.close();
    // Revokes the lease, so that other nodes need not wait for it to expire.
    let last = async {
        while node.control.under_way > 0 {
            let Some(event) = happened.recv().await else {
                return;
            };
            node.event(event);
        }
    };
    let _ = timeout(LEAVE, async { tokio::join!(last, goodbyes) }).await;
    node.exit();
}
