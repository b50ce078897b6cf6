//! The invariant of the directory, which debug builds check after every input.

use super::Directory;
use super::changes::ChangeStep;
use crate::channel::{Channel, Life};
use crate::id::{ChannelKey, Identity};
use crate::record::Holding;
use std::collections::BTreeMap;

/// Channels that are all looked at after every input. In a directory with more, which only tests of large tables have,
/// the sums are compared alone.
const LOOKED_AT_MAX: usize = 64;

impl Directory {
    /// Checks what holds when an input was worked off.
    ///
    /// # Panics
    /// When it does not.
    pub(in crate::shard) fn invariants(&self) {
        let channels = self.channels.len();
        assert_eq!(self.names.len(), channels, "each channel has one name");
        self.check_changes();
        if channels <= LOOKED_AT_MAX {
            self.check_channels();
        }
    }

    /// Changes under way are of channels, and their places are counted.
    fn check_changes(&self) {
        let all = &self.changes.under_way;
        let deletes = all
            .values()
            .filter(|it| matches!(it.step, ChangeStep::Delete));
        assert_eq!(deletes.count() as u64, self.changes.deleting, "deletions");
        let places = all
            .values()
            .map(|it| it.waiting.len() + usize::from(it.account.is_some()));
        assert_eq!(
            places.sum::<usize>(),
            self.changes.places.taken(),
            "places of changes"
        );
        let gone = all.keys().filter(|key| self.channels.get(**key).is_none());
        assert_eq!(gone.count(), 0, "a change of no channel is under way");
        let lost = |(key, (_, _, left)): (&ChannelKey, &(_, _, u32))| {
            *left == 0 || self.channels.get(*key).is_some()
        };
        assert!(
            !self.former.iter().any(lost),
            "a former channel that is none"
        );
    }

    /// Each channel is in every table as it should be, and what they hold is what is counted.
    fn check_channels(&self) {
        let mut tenants: BTreeMap<&str, Holding> = BTreeMap::new();
        let (mut kept, mut calls) = (0, 0);
        for (identity, key) in &self.names {
            let channel = self.channels.get(*key);
            assert!(channel.is_some(), "{identity:?} has no channel");
            let Some(channel) = channel else { continue };
            let own = Holding {
                channels: 1,
                bytes: self.check_record(identity, *key, channel) as u64,
            };
            let held = tenants.entry(identity.tenant()).or_default();
            *held = held.and(own);
            let live = channel.live();
            kept += live.map_or(0, |live| live.pending.bytes());
            let waiting = live.map_or(0, |live| live.calls.len());
            let counted = self.waits.on_channel(channel.record.arn.account(), *key);
            assert_eq!(waiting, counted, "waiting calls of {identity:?}");
            calls += waiting;
            let listed = self
                .slots
                .as_ref()
                .is_none_or(|all| all.lists(identity, *key));
            assert!(listed, "{identity:?} is not listed in its slot");
        }
        let counted = self
            .holdings
            .tenants()
            .map(|tenant| (tenant, self.holdings.of_tenant(tenant)));
        assert!(counted.eq(tenants), "channels and bytes of accounts");
        assert_eq!(self.kept.shares.bytes(), kept, "bytes of kept messages");
        assert_eq!(self.waits.len(), calls, "waiting calls");
        let listed = self.slots.as_ref().map(|all| all.len());
        assert!(
            listed.is_none_or(|listed| listed == self.names.len()),
            "channels of slots"
        );
    }

    /// The state of a channel is that of the change under way; the bytes that it counts with.
    fn check_record(&self, identity: &Identity, key: ChannelKey, channel: &Channel) -> usize {
        assert_eq!(
            Identity::of(&channel.record.arn),
            *identity,
            "a name of another channel"
        );
        let step = self.changes.under_way.get(&key).map(|it| &it.step);
        let deletes = matches!(step, Some(ChangeStep::Delete));
        let fits = match channel.state {
            Life::Creating => matches!(step, Some(ChangeStep::Create)),
            Life::Active => !deletes,
            Life::Deleting => deletes,
        };
        assert!(fits, "{identity:?} is {:?} while {step:?}", channel.state);
        let own = channel.record.bytes();
        match step {
            Some(ChangeStep::Replace(next)) => own.max(next.bytes()),
            Some(ChangeStep::Create | ChangeStep::Delete) | None => own,
        }
    }
}
