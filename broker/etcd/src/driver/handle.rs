//! The rest of the process' end of the node.

use crate::directory::DirectoryError;
use crate::driver::inspection::Inspection;
use crate::limits::{INSPECT, NAME_BYTES_MAX};
use crate::names::Name;
use crate::store::{EtcdStore, Submission};
use broker_core::cluster::message::Parcel;
use broker_core::id::ShardId;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::{fmt, io};
use tokio::sync::mpsc;

/// Why a node does not start.
#[derive(Debug)]
pub enum StartError {
    /// The name of the cluster or of the node is none.
    Name(&'static str),
    /// No member of etcd is configured.
    NoEndpoint,
    /// The data directory cannot be used.
    Directory(DirectoryError),
    /// The system gives no random bytes.
    Random,
    /// The system gives no thread, or no descriptors for its runtime.
    System(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(what) => write!(
                f,
                "the name of the {what} must be 1 to {NAME_BYTES_MAX} letters, digits, '-' and '.'"
            ),
            Self::NoEndpoint => f.write_str("no member of etcd is configured"),
            Self::Directory(error) => error.fmt(f),
            Self::Random => f.write_str("the system gives no random bytes"),
            Self::System(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StartError {}

impl From<DirectoryError> for StartError {
    fn from(error: DirectoryError) -> Self {
        Self::Directory(error)
    }
}

/// A command of the process to its node.
#[derive(Debug)]
pub(crate) enum Command {
    Drain,
    Rebalance,
    Stuck(bool),
    Parcel(Name, Parcel, Vec<u8>),
    Inquiry(Name, u64, Vec<u8>),
    Reply(Name, u64, Vec<u8>),
    Inspect(SyncSender<Inspection>),
}

/// A running node. Dropping it ends the node as if its process were killed; to leave in order is [`Self::drain`].
#[derive(Debug)]
pub struct Handle {
    commands: Option<mpsc::Sender<Command>>,
    changes: mpsc::Sender<Submission>,
    thread: Option<JoinHandle<()>>,
}

impl Handle {
    pub(crate) fn new(
        commands: mpsc::Sender<Command>,
        changes: mpsc::Sender<Submission>,
        thread: JoinHandle<()>,
    ) -> Self {
        Self {
            commands: Some(commands),
            changes,
            thread: Some(thread),
        }
    }

    /// Gives all slots to other nodes, then ends. [`crate::Service::exit`] is called last. False if it was not taken,
    /// since too many commands wait, or the node has ended.
    pub fn drain(&self) -> bool {
        self.send(Command::Drain)
    }

    /// Whether a shard hangs: then the node neither renews its registration nor answers. False as with
    /// [`Self::drain`].
    pub fn stuck(&self, stuck: bool) -> bool {
        self.send(Command::Stuck(stuck))
    }

    /// The registry's end of one shard.
    #[must_use]
    pub fn store(&self, shard: ShardId) -> EtcdStore {
        EtcdStore::new(shard, self.changes.clone())
    }

    /// Takes the parcels that [`crate::Service::send`] asks for.
    #[must_use]
    pub fn parcels(&self) -> ParcelSender {
        ParcelSender(self.commands.as_ref().map(mpsc::Sender::downgrade))
    }

    /// Sends inquiries to the processes of other nodes, and replies to theirs.
    #[must_use]
    pub fn inquiries(&self) -> InquirySender {
        InquirySender(self.commands.as_ref().map(mpsc::Sender::downgrade))
    }

    /// Inspects the node from another thread.
    #[must_use]
    pub fn inspector(&self) -> Inspector {
        Inspector(self.commands.as_ref().map(mpsc::Sender::downgrade))
    }

    fn send(&self, command: Command) -> bool {
        let commands = self.commands.as_ref();
        commands.is_some_and(|commands| commands.try_send(command).is_ok())
    }
}

/// Asks how a node fares, and passes on what operators want of it. Keeps it from nothing, its end included.
#[derive(Clone, Debug)]
pub struct Inspector(Option<mpsc::WeakSender<Command>>);

impl Inspector {
    /// Gives what is above an equal part of the slots to other nodes. False as with [`Handle::drain`].
    #[must_use]
    pub fn rebalance(&self) -> bool {
        let commands = self.0.as_ref().and_then(mpsc::WeakSender::upgrade);
        commands.is_some_and(|commands| commands.try_send(Command::Rebalance).is_ok())
    }

    /// The state of the node; nothing when it has ended. Waits for the node's thread, at most [`INSPECT`]: not for a
    /// shard's.
    #[must_use]
    pub fn inspect(&self) -> Option<Inspection> {
        let (reply, answer) = sync_channel(1);
        let commands = self.0.as_ref()?.upgrade()?;
        commands.try_send(Command::Inspect(reply)).ok()?;
        drop(commands);
        answer.recv_timeout(INSPECT).ok()
    }
}

/// Takes the messages of parcels. A clone for each shard.
#[derive(Clone, Debug)]
pub struct ParcelSender(Option<mpsc::WeakSender<Command>>);

impl ParcelSender {
    /// The messages of a parcel for another node. False if they were not taken, as with [`Handle::drain`]: the core
    /// offers another parcel after a while.
    pub fn send(&self, to: Name, parcel: Parcel, bytes: Vec<u8>) -> bool {
        let commands = self.0.as_ref().and_then(mpsc::WeakSender::upgrade);
        let command = Command::Parcel(to, parcel, bytes);
        commands.is_some_and(|commands| commands.try_send(command).is_ok())
    }
}

/// Sends what the processes of nodes ask each other. Whatever cannot be delivered is lost.
#[derive(Clone, Debug)]
pub struct InquirySender(Option<mpsc::WeakSender<Command>>);

impl InquirySender {
    /// Asks a node: [`crate::Service::inquired`] there. False as with [`Handle::drain`].
    #[must_use]
    pub fn inquire(&self, of: Name, number: u64, inquiry: Vec<u8>) -> bool {
        self.send(Command::Inquiry(of, number, inquiry))
    }

    /// Replies to a node that asked: [`crate::Service::replied`] there. False as with [`Handle::drain`].
    pub fn reply(&self, to: Name, number: u64, reply: Vec<u8>) -> bool {
        self.send(Command::Reply(to, number, reply))
    }

    fn send(&self, command: Command) -> bool {
        let commands = self.0.as_ref().and_then(mpsc::WeakSender::upgrade);
        commands.is_some_and(|commands| commands.try_send(command).is_ok())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has printed why.
            let _ = thread.join();
        }
    }
}
