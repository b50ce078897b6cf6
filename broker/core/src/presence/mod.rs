//! The presence of watched channels as plain data: who is connected, and who waits for a master that is not.
//!
//! A channel is watched when a hook of the configuration names it, and every channel is while an operator's page
//! follows them. Then its shard tells the whole state of it after each input that changed it: a state, never a change,
//! so that what is lost or replaced on the way does no harm. The sequence of one shard never repeats nor goes back
//! while the process lives; the epoch, which comes first, orders the states of processes: it is the process's, or in a
//! cluster that of the channel's slot since this process serves it.

mod news;
mod viewers;

use crate::id::{Account, CallerId, Slot};
use crate::record::Record;
use crate::time::Wall;
use codec::signal::Action;
pub use news::{Change, News};
use std::net::SocketAddr;
use strum::{EnumCount, IntoStaticStr, VariantNames};
pub use viewers::{MasterState, Round, VIEWERS_TOLD_PER_TURN, ViewerNews};

/// The presence of one channel at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// The channel's name.
    pub name: Box<str>,
    /// Its ARN.
    pub arn: Box<str>,
    /// Its account.
    pub account: Account,
    /// The hooks that watch it: bit n is entry n of `[[hook]]`.
    pub hooks: u16,
    /// Its slot, where slots go from one node to another.
    pub slot: Option<Slot>,
    /// A greater one is of a later owner of the channel.
    pub epoch: u64,
    /// A greater one is of a later moment, in one epoch.
    pub sequence: u64,
    /// The moment.
    pub at: Wall,
    /// The last of what has changed.
    pub cause: Cause,
    /// Why the master or the viewer of `cause` left, in a word of the log.
    pub reason: Option<&'static str>,
    /// The master, if one is connected.
    pub master: Option<Master>,
    /// Connected viewers.
    pub viewers: u32,
    /// Viewers and calls for which something is kept until a master comes, oldest first: at most
    /// [`WAITERS_TOLD_MAX`](crate::limits::WAITERS_TOLD_MAX). Of more the newest of each caller is among them.
    pub waiting: Vec<Waiter>,
    /// Those that are left out of `waiting`.
    pub more: u32,
}

impl Presence {
    /// Whether anybody is connected or waits.
    #[must_use]
    pub fn has_anybody(&self) -> bool {
        self.master.is_some() || self.viewers > 0 || !self.waiting.is_empty()
    }

    /// That of a channel on which there is nobody.
    #[must_use]
    pub fn nobody(record: &Record, hooks: u16, cause: Cause) -> Self {
        Self {
            name: record.arn.name().into(),
            arn: record.arn.to_string().into(),
            account: Account::of(&record.arn),
            hooks,
            slot: None,
            epoch: 0,
            sequence: 0,
            at: Wall(0),
            cause,
            reason: None,
            master: None,
            viewers: 0,
            waiting: Vec::new(),
            more: 0,
        }
    }
}

/// A connected master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Master {
    /// When it connected.
    pub since: Wall,
    /// The address of the other end.
    pub remote: SocketAddr,
}

/// Somebody who waits for a master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiter {
    /// The client id, or the sender of an Alexa call.
    pub client_id: Box<str>,
    /// The oldest offer that is kept, else the oldest message.
    pub action: Action,
    /// The caller that it connected as, where callers have parts of their own.
    pub caller: Option<CallerId>,
    /// When that was accepted.
    pub since: Wall,
    /// Until when it is kept.
    pub until: Wall,
}

/// The kinds of changes.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, EnumCount, IntoStaticStr, VariantNames,
)]
pub enum Cause {
    /// Something is kept for an absent master that was not before.
    #[strum(serialize = "viewer.waiting")]
    Waiting,
    /// Something is not kept any more: the master got it, or it expired.
    #[strum(serialize = "viewer.served")]
    Served,
    /// A viewer joined.
    #[strum(serialize = "viewer.joined")]
    ViewerJoined,
    /// A viewer left.
    #[strum(serialize = "viewer.left")]
    ViewerLeft,
    /// Another hook watches the channel, by a tag.
    #[strum(serialize = "channel.watched")]
    Watched,
    /// A master joined.
    #[strum(serialize = "master.joined")]
    MasterJoined,
    /// A newer master took the place of another, or the older one has it again.
    #[strum(serialize = "master.replaced")]
    MasterReplaced,
    /// The master left.
    #[strum(serialize = "master.left")]
    MasterLeft,
    /// A hook watches the channel no longer, by a tag that is gone; told to that hook alone, as of a channel on which
    /// there is nobody.
    #[strum(serialize = "channel.unwatched")]
    Unwatched,
    /// The channel is deleted.
    #[strum(serialize = "channel.deleted")]
    Deleted,
}

/// A shard's word to those who watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// The state of a channel.
    Presence(Box<Presence>),
    /// The last states of some deleted channels were dropped, since there was no room for them.
    Lost,
}

/// Takes what shards tell; must not wait.
pub trait Audience: Send {
    /// Takes this.
    ///
    /// # Errors
    /// It comes back when there is no room: the shard tells it later, as it is then.
    fn tell(&mut self, told: Told) -> Result<(), Told>;

    /// Whether somebody reads the states of all channels, also of those that no hook watches. Asked at each join and
    /// leave.
    fn is_read(&self) -> bool {
        false
    }
}

/// Nobody: what tests and benches begin with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nobody;

impl Audience for Nobody {
    fn tell(&mut self, _told: Told) -> Result<(), Told> {
        Ok(())
    }
}
