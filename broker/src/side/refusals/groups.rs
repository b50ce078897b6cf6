//! The refusals by check and subject: how often, since when, and in which minutes of the last hour.
//!
//! Each refusal is counted, also those that were not noted, once their shard has reported them. There are at most
//! [`REFUSAL_GROUPS_KEPT_MAX`] groups; beyond that, the check with the most of them loses the one that was quiet the
//! longest, and its refusals count among the others of that check.

use crate::limits::REFUSAL_GROUPS_KEPT_MAX;
use broker_core::check::Check;
use broker_core::journal::{RefusalCount, Refused, Subject};
use broker_core::time::Wall;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// A check, and what the refusal was about.
pub(crate) type GroupKey = (Check, Subject<'static>);

/// The group of a refusal.
pub(crate) fn key_of(refused: &Refused) -> GroupKey {
    let claims = &refused.claims;
    let subject = Subject::of(claims.channel.as_deref(), claims.key_id.as_deref());
    (refused.check, subject.into_owned())
}

/// The groups of all refusals.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    groups: BTreeMap<GroupKey, Group>,
    /// Refusals of which not even the check is known.
    others: u64,
    /// All refusals.
    refusals: u64,
}

/// The refusals of one check and subject.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) check: Check,
    pub(crate) refusals: u64,
    pub(crate) first: Wall,
    pub(crate) last: Wall,
    /// The newest that was noted, without what its signature was compared with; `None` for the others of a check.
    pub(crate) newest: Option<Refused>,
    minutes: Minutes,
}

/// Refusals by minutes, of the last hour.
#[derive(Clone, Debug)]
struct Minutes {
    counts: [u32; MINUTES],
    /// The last minute that is counted, since 1970.
    last: u64,
}

impl Groups {
    /// Counts one that was noted.
    pub(crate) fn note(&mut self, refused: &Refused) {
        let group = self.add(key_of(refused), refused.at, 1);
        group.newest = Some(Refused {
            explain: None,
            ..refused.clone()
        });
        self.limit();
    }

    /// Counts those that were not noted: all of them, and by subject as far as that is known.
    pub(crate) fn count(&mut self, refusals: u64, counts: &[RefusalCount], at: Wall) {
        let told: u64 = counts.iter().map(|count| count.refusals).sum();
        let untold = refusals.saturating_sub(told);
        self.others += untold;
        self.refusals += untold;
        for count in counts {
            let Some(check) = count.check else {
                self.others += count.refusals;
                self.refusals += count.refusals;
                continue;
            };
            let known = self.groups.contains_key(&(check, count.subject.clone()));
            let subject = if known {
                count.subject.clone()
            } else {
                Subject::Other
            };
            self.add((check, subject), at, count.refusals);
        }
        self.limit();
    }

    /// Those that fit, the last ones first.
    pub(crate) fn find(&self, fits: impl Fn(&GroupKey, &Group) -> bool) -> Vec<&Group> {
        let all = self.groups.iter().filter(|(key, group)| fits(key, group));
        let mut found: Vec<&Group> = all.map(|(_, group)| group).collect();
        found.sort_by_key(|group| Reverse((group.last, group.refusals)));
        found
    }

    /// All refusals, and those of them of which not even the check is known.
    pub(crate) fn totals(&self) -> (u64, u64) {
        (self.refusals, self.others)
    }

    fn add(&mut self, key: GroupKey, at: Wall, more: u64) -> &mut Group {
        self.refusals += more;
        let check = key.0;
        let group = self.groups.entry(key);
        let group = group.or_insert_with(|| Group::new(check, at));
        group.refusals += more;
        group.last = group.last.max(at);
        group.minutes.add(at, more);
        group
    }

    fn limit(&mut self) {
        while self.groups.len() > REFUSAL_GROUPS_KEPT_MAX {
            let mut of_checks: BTreeMap<Check, usize> = BTreeMap::new();
            for (check, subject) in self.groups.keys() {
                *of_checks.entry(*check).or_default() += usize::from(*subject != Subject::Other);
            }
            let most = of_checks.into_iter().max_by_key(|(_, groups)| *groups);
            let Some((check, _)) = most else { return };
            let all = self.groups.iter();
            let own = all.filter(|((of, subject), _)| *of == check && *subject != Subject::Other);
            let quiet = own.min_by_key(|(_, group)| group.last);
            let Some(key) = quiet.map(|(key, _)| key.clone()) else {
                return;
            };
            let Some(gone) = self.groups.remove(&key) else {
                return;
            };
            let others = self.groups.entry((check, Subject::Other));
            let others = others.or_insert_with(|| Group::new(check, gone.first));
            others.take(&gone);
        }
    }
}

impl Group {
    fn new(check: Check, at: Wall) -> Self {
        Self {
            check,
            refusals: 0,
            first: at,
            last: at,
            newest: None,
            minutes: Minutes {
                counts: [0; MINUTES],
                last: at.0 / MINUTE_MS,
            },
        }
    }

    fn take(&mut self, gone: &Self) {
        self.refusals += gone.refusals;
        self.first = self.first.min(gone.first);
        self.last = self.last.max(gone.last);
        for (age, count) in (0..).zip(gone.minutes.until(gone.minutes.last).iter().rev()) {
            let minute = gone.minutes.last.saturating_sub(age);
            self.minutes.add(Wall(minute * MINUTE_MS), (*count).into());
        }
    }

    /// The refusals of each minute of the hour that ends with this moment, the oldest first.
    pub(crate) fn minutes(&self, now: Wall) -> [u32; MINUTES] {
        self.minutes.until(now.0 / MINUTE_MS)
    }
}

impl Minutes {
    fn add(&mut self, at: Wall, more: u64) {
        let minute = at.0 / MINUTE_MS;
        if minute > self.last {
            self.counts = self.until(minute);
            self.last = minute;
        }
        let age = usize::try_from(self.last - minute).unwrap_or(MINUTES);
        let place = MINUTES.checked_sub(age + 1);
        if let Some(count) = place.and_then(|place| self.counts.get_mut(place)) {
            *count = count.saturating_add(u32::try_from(more).unwrap_or(u32::MAX));
        }
    }

    fn until(&self, minute: u64) -> [u32; MINUTES] {
        let mut counts = self.counts;
        let gone = usize::try_from(minute.saturating_sub(self.last)).unwrap_or(MINUTES);
        let gone = gone.min(MINUTES);
        counts.rotate_left(gone);
        counts.iter_mut().rev().take(gone).for_each(|it| *it = 0);
        counts
    }
}

/// An hour.
const MINUTES: usize = 60;
const MINUTE_MS: u64 = 60_000;

#[cfg(test)]
mod tests {

    use super::*;

    fn refused(at: u64, check: Check, channel: &str) -> Refused {
        let from = ([10, 0, 0, 1], 1).into();
        let mut refused = Refused::unread("id", Wall(at), 403, "E", check, from);
        refused.claims.channel = Some(channel.into());
        refused
    }

    fn count(check: Option<Check>, subject: Subject<'static>, refusals: u64) -> RefusalCount {
        RefusalCount {
            check,
            subject,
            refusals,
        }
    }

    #[test]
    fn noted_and_unnoted_ones_are_counted_by_check_and_channel() {
        let mut groups = Groups::default();
        groups.note(&refused(60_000, Check::SignatureMismatch, "cam"));
        groups.note(&refused(61_000, Check::ChannelAbsent, "cam"));
        groups.note(&refused(180_000, Check::SignatureMismatch, "cam"));
        let cam = || Subject::Channel("cam".into());
        let counts = [
            count(Some(Check::SignatureMismatch), cam(), 10),
            count(Some(Check::ChannelAbsent), Subject::Other, 4),
            count(None, Subject::Other, 2),
        ];
        groups.count(19, &counts, Wall(240_000));
        assert_eq!(groups.totals(), (22, 5));
        let found = groups.find(|_, _| true);
        let shown: Vec<_> = found
            .iter()
            .map(|it| (it.check, it.refusals, it.newest.is_some()))
            .collect();
        let wanted = [
            (Check::SignatureMismatch, 12, true),
            (Check::ChannelAbsent, 4, false),
            (Check::ChannelAbsent, 1, true),
        ];
        assert_eq!(shown, wanted);
        let minutes = found[0].minutes(Wall(300_000));
        assert_eq!(minutes[MINUTES - 5..], [1, 0, 1, 10, 0]);
        assert_eq!(found[0].minutes(Wall(9_000_000)), [0; MINUTES]);
    }

    #[test]
    fn groups_are_bounded_and_none_is_uncounted() {
        let mut groups = Groups::default();
        groups.note(&refused(0, Check::SignatureMismatch, "device"));
        for number in 0..2_000 {
            groups.note(&refused(
                number,
                Check::ChannelAbsent,
                &format!("n{number}"),
            ));
        }
        assert_eq!(groups.groups.len(), REFUSAL_GROUPS_KEPT_MAX);
        let sum: u64 = groups.groups.values().map(|it| it.refusals).sum();
        assert_eq!((sum, groups.totals()), (2_001, (2_001, 0)));
        let device = groups.find(|_, it| it.check == Check::SignatureMismatch);
        assert_eq!(device.len(), 1, "another check has more");
        for group in groups.find(|_, _| true) {
            let minutes: u32 = group.minutes(Wall(2_000)).iter().sum();
            assert_eq!(u64::from(minutes), group.refusals);
        }
    }
}
