//! Questions of operators to a shard, and its answers.

use crate::id::{Identity, SessionKey};
use crate::record::{Holding, Record};
use crate::shard::calls::pages::{PagePart, PageQuestion};
use crate::shard::dev::{Finding, Reset, ResetStep, SharedRule};
use crate::shard::operator::connection_lookup::SessionStep;
use crate::shard::operator::import::ImportPart;
use crate::shard::operator::inspect::channels::{ChannelLine, ChannelView};
use crate::shard::operator::trace::{TracePlace, TraceStep};
use std::num::NonZeroU64;
use std::sync::Arc;

/// A question of the inspector.
#[derive(Clone, Debug)]
pub enum Question {
    /// Channels by name, those of the same name by identity.
    Page {
        /// The beginning of their names.
        prefix: Box<str>,
        /// The last channel of the page before.
        after: Option<Identity>,
        /// Channels at most; never more than [`LIST_PAGE_MAX`](crate::limits::LIST_PAGE_MAX).
        limit: usize,
        /// A client id: [`ChannelLine::has_viewer`] tells which channels have such a viewer.
        viewer: Option<Box<str>>,
        /// Whether [`ChannelLine::presence`] is wanted.
        presence: bool,
    },
    /// A part of what ListSignalingChannels answers, where several nodes have channels.
    Part(PageQuestion),
    /// The channels of an account on the shard: `region:account:`.
    Count(Box<str>),
    /// One channel.
    Channel(Identity),
    /// The events of one channel, newest first.
    Trace {
        /// The channel.
        identity: Identity,
        /// The beginning of this step, which the one before names; `None` for the first.
        from: Option<TracePlace>,
        /// Events at most.
        limit: usize,
    },
    /// The channel and client of this connection; and the beginning of this step, if it is not the first.
    Session(SessionKey, Option<NonZeroU64>),
    /// RECONNECT_ICE_SERVER to every current connection, or to those of one channel; those that must not get it are
    /// closed.
    ReconnectIce {
        /// The channel, if it is to be one.
        channel: Option<Identity>,
        /// The first slot of this step; the answer names that of the next one.
        from: usize,
    },
    /// The end of connections of one channel, those that lost their place to a newer one included.
    Disconnect {
        /// The channel.
        channel: Identity,
        /// Which of its connections.
        which: Connections,
    },
    /// Channels that an operator brings: each shard keeps the free names of its own.
    Import(Arc<[Record]>),
    /// The same names are free again.
    ImportWithdrawn(Arc<[Record]>),
    /// A fault that a test makes, under `--dev`.
    AddFault(SharedRule),
    /// The end of what a test has made, under `--dev`; nothing elsewhere.
    Reset(Reset),
    /// The findings of what the strict profile would have refused, under `--dev`.
    Parity,
}

/// Some connections of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Connections {
    /// All of them.
    All,
    /// Those of masters.
    Masters,
    /// Those of viewers.
    Viewers,
    /// Those of viewers with this client id.
    Viewer(Box<str>),
}

/// The answer to a [`Question`].
#[derive(Clone, Debug)]
pub enum Reply {
    /// Channels in order, and whether more would follow.
    Page(Vec<ChannelLine>, bool),
    /// The part of a page.
    Part(Box<PagePart>),
    /// Those of an account.
    Count(Holding),
    /// The channel, if it lives there.
    Channel(Option<Box<ChannelView>>),
    /// One step of a channel's trace, if the channel lives there.
    Trace(Option<Box<TraceStep>>),
    /// One step of looking for a connection.
    Session(Box<SessionStep>),
    /// The connections that were notified in this step, and the beginning of the next step, if any.
    Reconnected(u64, Option<usize>),
    /// The number of connections that are being closed, or `None` when the channel does not live there.
    Disconnected(Option<u64>),
    /// The shard's part in an import.
    Import(Box<ImportPart>),
    /// That it is done.
    Done,
    /// The result of a step of a reset.
    Reset(ResetStep),
    /// The findings.
    Findings(Vec<Finding>),
}
