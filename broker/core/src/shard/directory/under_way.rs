//! The changes of channels from their submission to the store until it has reported them, and those that wait behind
//! them.

use crate::channel::Life;
use crate::id::{Account, CallRef, ChannelKey};
use crate::limits::CHANGES_WAITING_PER_CHANNEL_MAX;
use crate::registry::{Change, StoreError, Submitted};
use crate::shard::Query;
use crate::shard::directory::Directory;
use crate::shard::directory::changes::{BegunChange, ChangeStep, ChangeUnderWay, NoWait, Waiting};
use crate::time::Wall;
use std::collections::VecDeque;

impl Directory {
    /// Whether a change of a channel is under way.
    pub(crate) fn is_changing(&self, key: ChannelKey) -> bool {
        self.changes.under_way.contains_key(&key)
    }

    /// Whether a change of any channel is under way.
    pub(crate) fn has_changes(&self) -> bool {
        !self.changes.under_way.is_empty()
    }

    /// The number of channels whose deletion is not durable yet.
    pub(crate) fn deleting(&self) -> u64 {
        self.changes.deleting
    }

    /// The creation time of a channel that is made at `at`. It distinguishes the channel from an earlier one of its
    /// name, also when both fall into one millisecond or the clock was set back.
    pub(crate) fn creation_time(&self, at: Wall) -> Wall {
        at.max(Wall(self.changes.last_created.0.saturating_add(1)))
    }

    /// A channel was created at this time: those that follow are younger.
    pub(crate) fn note_created(&mut self, created: Wall) {
        self.changes.last_created = self.changes.last_created.max(created);
    }

    /// Adds a change to those that wait for the one under way.
    ///
    /// # Errors
    /// See [`NoWait`].
    pub(crate) fn wait_behind(
        &mut self,
        key: ChannelKey,
        caller: CallRef,
        query: Query,
    ) -> Result<(), NoWait> {
        let changes = &mut self.changes;
        let waiting = changes.under_way.get_mut(&key).map(|it| &mut it.waiting);
        let waiting = waiting.filter(|all| all.len() < CHANGES_WAITING_PER_CHANNEL_MAX);
        let waiting = waiting.ok_or(NoWait::Channel)?;
        if !changes.places.take(caller.account) {
            return Err(NoWait::Account);
        }
        waiting.push_back((caller, Box::new(query)));
        Ok(())
    }

    /// Changes of a channel wait behind the one under way; false when there is none.
    pub(crate) fn wait_on(&mut self, key: ChannelKey, waiting: &mut Waiting) -> bool {
        let Some(next) = self.changes.under_way.get_mut(&key) else {
            return false;
        };
        next.waiting.append(waiting);
        true
    }

    /// The next of the changes that waited: it waits no longer.
    pub(crate) fn next_waiting(&mut self, waiting: &mut Waiting) -> Option<(CallRef, Box<Query>)> {
        let (caller, query) = waiting.pop_front()?;
        self.changes.places.give_back(caller.account);
        Some((caller, query))
    }

    /// A channel is to be deleted: no client may connect any more. The change follows
    /// ([`Directory::submit_change`]).
    pub(crate) fn begin_deletion(&mut self, key: ChannelKey) {
        if let Some(channel) = self.channels.get_mut(key) {
            channel.state = Life::Deleting;
            self.changes.deleting += 1;
        }
    }

    /// Hands a change to the store, under way from here on; `caller` gets its result. `None` when the channel is gone.
    pub(crate) fn submit_change(
        &mut self,
        (key, step): BegunChange,
        caller: Option<CallRef>,
    ) -> Option<Result<Submitted, StoreError>> {
        let channel = self.channels.get(key)?;
        let change = match &step {
            ChangeStep::Create => Change::Put(&channel.record),
            ChangeStep::Replace(record) => Change::Put(record),
            ChangeStep::Delete => Change::Remove(&channel.record.arn),
        };
        let of_channel = || Account::of(&channel.record.arn);
        let account = caller.map_or_else(of_channel, |caller| caller.account);
        let changes = &mut self.changes;
        let has_place = changes.places.take(account);
        let submitted = if has_place {
            changes.store.submit(key, change)
        } else {
            Err(StoreError::Busy)
        };
        let changing = ChangeUnderWay {
            caller,
            account: has_place.then_some(account),
            step,
            waiting: VecDeque::new(),
        };
        changes.under_way.insert(key, changing);
        Some(submitted)
    }

    /// The creation of a channel is under way, which somebody else hands to the store together with others.
    pub(crate) fn creation_is_kept(&mut self, key: ChannelKey) {
        let kept = ChangeUnderWay {
            caller: None,
            account: None,
            step: ChangeStep::Create,
            waiting: VecDeque::new(),
        };
        self.changes.under_way.insert(key, kept);
    }

    /// Whether it is.
    pub(crate) fn is_name_kept(&self, key: ChannelKey) -> bool {
        let change = self.changes.under_way.get(&key);
        change.is_some_and(|it| {
            matches!(it.step, ChangeStep::Create) && it.caller.is_none() && it.account.is_none()
        })
    }

    /// A change is under way no longer, whatever became of it.
    pub(crate) fn take_change(&mut self, key: ChannelKey) -> Option<ChangeUnderWay> {
        let changes = &mut self.changes;
        let changing = changes.under_way.remove(&key)?;
        if let Some(account) = changing.account {
            changes.places.give_back(account);
        }
        if let ChangeStep::Delete = changing.step {
            changes.deleting -= 1;
        }
        Some(changing)
    }
}
