//! The invariant of the directory, which debug builds check after every input.

use crate::channel::{Channel, Life};
use crate::id::{ChannelKey, Identity};
use crate::record::Holding;
use crate::shard::directory::Directory;
use crate::shard::directory::changes::ChangeStep;

/// Channels that are all looked at after every input. In a directory with more, which only tests of large tables have,
/// the sums are compared alone.
const LOOKED_AT_MAX: usize = 64;

impl Directory {
    /// Checks what holds when an input was worked off.
    ///
    /// # Panics
    /// When it does not.
    pub(crate) fn invariants(&self) {
        let channels = self.channels.len();
        assert_eq!(self.names.len(), channels, "each channel has one name");
        self.check_changes();
        self.viewer_news.invariants(|key| self.tells_viewers(key));
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
        #[expect(clippy::disallowed_methods, reason = "the order does not matter")]
        let mut keys = all.keys();
        assert!(
            keys.all(|key| self.channels.get(*key).is_some()),
            "a change of no channel is under way"
        );
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
        let (mut kept, mut calls) = (0, 0);
        for (identity, key) in &self.names {
            let channel = self.channels.get(*key);
            assert!(channel.is_some(), "{identity:?} has no channel");
            let Some(channel) = channel else { continue };
            self.check_life(identity, *key, channel);
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
        let mut counted = 0;
        for tenant in self.holdings.tenants() {
            let held = self.sum_of(tenant);
            assert_eq!(held, self.holdings.of_tenant(tenant), "what {tenant} holds");
            counted += held.channels;
        }
        assert_eq!(counted, self.names.len() as u64, "channels of accounts");
        assert_eq!(self.kept.shares.bytes(), kept, "bytes of kept messages");
        assert_eq!(self.waits.len(), calls, "waiting calls");
        let listed = self.slots.as_ref().map(|all| all.len());
        assert!(
            listed.is_none_or(|listed| listed == self.names.len()),
            "channels of slots"
        );
    }

    /// The channels of an account, and the bytes of their records.
    fn sum_of(&self, tenant: &str) -> Holding {
        let own = self
            .names
            .iter()
            .filter(|(identity, _)| identity.tenant() == tenant);
        let holdings = own.filter_map(|(_, key)| {
            let own = self.channels.get(*key)?.record.bytes();
            let bytes = match self.step(*key) {
                Some(ChangeStep::Replace(next)) => own.max(next.bytes()),
                Some(ChangeStep::Create | ChangeStep::Delete) | None => own,
            };
            let bytes = bytes as u64;
            Some(Holding { channels: 1, bytes })
        });
        holdings.fold(Holding::default(), Holding::and)
    }

    /// The state of a channel is that of the change under way.
    fn check_life(&self, identity: &Identity, key: ChannelKey, channel: &Channel) {
        let arn = &channel.record.arn;
        let named = [arn.region(), arn.account(), arn.name()];
        let name = [identity.region(), identity.account(), identity.name()];
        assert_eq!(name, named, "a name of another channel");
        let step = self.step(key);
        let deletes = matches!(step, Some(ChangeStep::Delete));
        let fits = match channel.state {
            Life::Creating => matches!(step, Some(ChangeStep::Create)),
            Life::Active => !deletes,
            Life::Deleting => deletes,
        };
        assert!(fits, "{identity:?} is {:?} while {step:?}", channel.state);
    }

    fn step(&self, key: ChannelKey) -> Option<&ChangeStep> {
        Some(&self.changes.under_way.get(&key)?.step)
    }
}
