//! Recent refusals, which are kept in memory so that operators can find out why connections failed. Also counts all
//! refusals by check and subject.
//!
//! Up to [`REFUSALS_KEPT_MAX`] refusals are kept, which take up to [`REFUSALS_KEPT_BYTES_MAX`] bytes. Beyond these
//! limits, the network with the most refusals loses the oldest refusal of its largest group. A group contains the
//! refusals of one channel or key by one check. A flood therefore evicts only refusals from its own network, and a
//! camera that retries evicts only its own refusals. A single refusal of another device is kept, even if it came from
//! the same address.

use crate::edge::turn::calendar;
use crate::limits::{REFUSAL_GROUPS_KEPT_MAX, REFUSALS_KEPT_BYTES_MAX, REFUSALS_KEPT_MAX};
use crate::side::shared_state::Shared;
use broker_core::journal::{
    Claims, Entry, Explain, Prefix, Presented, RefusalCount, Refused, Subject,
};
use broker_core::{check::Check, time::Wall};
use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use tokio::sync::Notify;

/// Recent refusals, added by the log thread and read by the admin listener.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    ring: Shared<Ring>,
    noted: Notify,
}

#[derive(Debug)]
pub(crate) struct RefusalMatches {
    pub(crate) refusals: Vec<Arc<Refused>>,
    /// The number of matches, including those not returned.
    pub(crate) found: usize,
    /// The number of the last refusal returned, if there are older matches.
    pub(crate) next: Option<u64>,
    pub(crate) kept: usize,
    pub(crate) since: Option<Wall>,
    /// Number of refusals that were counted but not logged because there were too many in a time window.
    pub(crate) suppressed: u64,
}

#[derive(Debug)]
struct Ring {
    /// Maximum number of rows, and their maximum total size in bytes.
    most: (usize, usize),
    /// Refusals by number, in order of arrival.
    rows: BTreeMap<u64, Arc<Refused>>,
    /// The numbers of the refusals in each network and group, in order of arrival. Refusals of unknown names form a
    /// single group.
    of: BTreeMap<Prefix, BTreeMap<GroupKey, VecDeque<u64>>>,
    groups: Groups,
    bytes: usize,
    next: u64,
    suppressed: u64,
}

impl Recent {
    /// Stores an entry that has been logged, if it is a refusal.
    pub(crate) fn note(&self, entry: Entry) {
        match entry {
            Entry::Refused(refused) => {
                self.ring.lock().push(*refused);
                self.noted.notify_one();
            }
            Entry::Suppressed { refusals, counts } => {
                let mut ring = self.ring.lock();
                ring.suppressed += refusals;
                ring.groups.count(refusals, &counts, calendar());
            }
            Entry::ConnectionEnd(_)
            | Entry::EndsSuppressed { .. }
            | Entry::Unaccepted(_)
            | Entry::Superseded(_)
            | Entry::Audit(_)
            | Entry::Forbidden(_)
            | Entry::NodeTrouble { .. }
            | Entry::StoreTrouble { .. } => {}
        }
    }

    /// Waits until a refusal is stored, or returns immediately if one has been stored since the last call. Only one
    /// task may wait.
    pub(crate) async fn noted(&self) {
        self.noted.notified().await;
    }

    pub(crate) fn forget(&self, fits: impl Fn(&Refused) -> bool) -> usize {
        self.ring.lock().forget(fits)
    }

    /// Returns the refusals numbered `number` and higher, from oldest to newest, and the number of the next refusal.
    pub(crate) fn since(&self, number: u64) -> (Vec<Arc<Refused>>, u64) {
        let ring = self.ring.lock();
        let rows = ring.rows.range(number..).map(|(_, row)| row);
        (rows.cloned().collect(), ring.next)
    }

    pub(crate) fn find(&self, most: usize, fits: impl Fn(&Refused) -> bool) -> RefusalMatches {
        self.before(u64::MAX, most, fits)
    }

    /// Returns up to `most` refusals that match and whose numbers are below `number`, starting with the newest.
    pub(crate) fn before(
        &self,
        number: u64,
        most: usize,
        fits: impl Fn(&Refused) -> bool,
    ) -> RefusalMatches {
        let ring = self.ring.lock();
        let all = ring.rows.range(..number).rev();
        let mut fitting = all.filter(|(_, row)| fits(row));
        let shown: Vec<(&u64, &Arc<Refused>)> = fitting.by_ref().take(most).collect();
        let more = fitting.count();
        let last = shown.last().filter(|_| more > 0);
        RefusalMatches {
            found: shown.len() + more,
            next: last.map(|(number, _)| **number),
            refusals: shown.iter().map(|(_, row)| Arc::clone(row)).collect(),
            kept: ring.rows.len(),
            since: ring.rows.values().next().map(|oldest| oldest.at),
            suppressed: ring.suppressed,
        }
    }

    /// Calls `read` with all groups and with a map from each group to its newest matching refusal that is still kept.
    pub(crate) fn groups<T>(
        &self,
        fits: impl Fn(&Refused) -> bool,
        read: impl FnOnce(&Groups, &BTreeMap<GroupKey, Arc<Refused>>) -> T,
    ) -> T {
        let ring = self.ring.lock();
        let rows = ring.rows.values().filter(|row| fits(row));
        let newest = rows.map(|row| (key_of(row), Arc::clone(row)));
        read(&ring.groups, &newest.collect())
    }
}

impl Default for Ring {
    fn default() -> Self {
        Self::new(REFUSALS_KEPT_MAX, REFUSALS_KEPT_BYTES_MAX)
    }
}

impl Ring {
    fn new(rows: usize, bytes: usize) -> Self {
        Self {
            most: (rows, bytes),
            rows: BTreeMap::new(),
            of: BTreeMap::new(),
            groups: Groups::default(),
            bytes: 0,
            next: 0,
            suppressed: 0,
        }
    }

    fn push(&mut self, refused: Refused) {
        let number = self.next;
        self.next += 1;
        self.bytes += bytes_of(&refused);
        self.groups.note(&refused);
        let (prefix, key) = place_of(&refused);
        let groups = self.of.entry(prefix).or_default();
        groups.entry(key).or_default().push_back(number);
        self.rows.insert(number, Arc::new(refused));
        let (rows, bytes) = self.most;
        while self.rows.len() > rows || (self.bytes > bytes && self.rows.len() > 1) {
            self.evict();
        }
    }

    /// Evicts the oldest refusal in the largest group of the network with the most refusals. If networks or groups are
    /// equally large, chooses the one with the oldest refusal.
    fn evict(&mut self) {
        let oldest = |numbers: &VecDeque<u64>| numbers.front().copied().unwrap_or(u64::MAX);
        let largest = self.of.iter_mut().max_by_key(|(_, groups)| {
            let rows: usize = groups.values().map(VecDeque::len).sum();
            (rows, Reverse(groups.values().map(oldest).min()))
        });
        let Some((_, groups)) = largest else {
            return;
        };
        let by_size = |(_, numbers): &(&GroupKey, &mut VecDeque<u64>)| {
            (numbers.len(), Reverse(oldest(numbers)))
        };
        let Some((_, numbers)) = groups.iter_mut().max_by_key(by_size) else {
            return;
        };
        if let Some(number) = numbers.front().copied() {
            self.remove(number);
        }
    }

    fn remove(&mut self, number: u64) {
        let Some(row) = self.rows.remove(&number) else {
            return;
        };
        self.bytes -= bytes_of(&row);
        let (prefix, key) = place_of(&row);
        let Some(groups) = self.of.get_mut(&prefix) else {
            return;
        };
        if let Some(numbers) = groups.get_mut(&key) {
            numbers.retain(|it| *it != number);
            if numbers.is_empty() {
                groups.remove(&key);
            }
        }
        if groups.is_empty() {
            self.of.remove(&prefix);
        }
    }

    /// Erases the refusals for which `fits` returns `true`. Group counts are kept, since they contain no personal data.
    fn forget(&mut self, fits: impl Fn(&Refused) -> bool) -> usize {
        let all = self.rows.iter().filter(|(_, row)| fits(row));
        let numbers: Vec<u64> = all.map(|(number, _)| *number).collect();
        numbers.iter().for_each(|number| self.remove(*number));
        for group in self.groups.groups.values_mut() {
            group.newest.take_if(|newest| fits(newest));
        }
        numbers.len()
    }
}

fn place_of(refused: &Refused) -> (Prefix, GroupKey) {
    let (check, subject) = key_of(refused);
    let subject = if subject.is_absent(check) {
        Subject::Other
    } else {
        subject
    };
    (Prefix::of(refused.remote.ip()), (check, subject))
}

/// Describes the reason for a refusal. If the time in the request was wrong, first states how far the client's clock is
/// off.
pub(crate) fn says(refused: &Refused) -> String {
    let says = refused.check.says();
    let Some(skew) = refused.claims.clock_skew_s else {
        return says.to_owned();
    };
    let off = skew.unsigned_abs();
    if refused.check == Check::UrlExpired {
        format!("Its clock is {off} s slow, or the URL was used again. {says}")
    } else if refused.check == Check::SignatureExpired {
        format!("Its clock is {off} s slow. {says}")
    } else if refused.check == Check::SignatureEarly {
        format!("Its clock is {off} s fast. {says}")
    } else {
        says.to_owned()
    }
}

/// Returns the strings of a refusal that come from the request, the caller or a policy.
pub(crate) fn texts(refused: &Refused) -> impl Iterator<Item = &str> {
    let Claims {
        channel,
        channel_account: _,
        client_id,
        session,
        key_id,
        principal,
        account,
        source_identity,
        clock_skew_s: _,
        user_agent,
        sign_in,
    } = &refused.claims;
    let names = [
        channel,
        client_id,
        session,
        key_id,
        principal,
        account,
        source_identity,
        user_agent,
        &refused.policy,
    ];
    let shown = sign_in.as_deref().map(Presented::named);
    let shown = shown.into_iter().flatten().filter_map(|(_, text)| text);
    names
        .into_iter()
        .filter_map(|text| text.as_deref())
        .chain(shown)
}

/// Returns the memory that a refusal takes in bytes, including its index entries.
fn bytes_of(refused: &Refused) -> usize {
    let texts: usize = texts(refused).map(str::len).sum();
    let shown = refused
        .claims
        .sign_in
        .as_ref()
        .map_or(0, |_| size_of::<Presented>());
    let explain = refused.explain.as_deref().map_or(0, |explain| {
        let Explain {
            canonical_request,
            scope,
        } = explain;
        size_of::<Explain>() + canonical_request.len() + scope.len()
    });
    size_of::<Refused>() + refused.request_id.len() + texts + shown + explain + ROW_BYTES
}

/// Upper bound on the memory that the entries of a refusal take in both indices (by number and by network), in bytes.
/// Holds even for the longest subject.
const ROW_BYTES: usize = 512;

// Refusal counts by check and subject. A group records how many refusals it has had, when the first and the last one
// occurred, and how many occurred in each minute of the last hour.
//
// Every refusal is counted once its shard has reported it, even if it is not logged. There are at most
// [`REFUSAL_GROUPS_KEPT_MAX`] groups. If there are more, the check with the most groups loses one: the group that has
// been inactive the longest is merged into the check's other refusals.

type GroupKey = (Check, Subject<'static>);

pub(crate) fn key_of(refused: &Refused) -> GroupKey {
    let claims = &refused.claims;
    let [channel, key] = [&claims.channel, &claims.key_id].map(Option::as_deref);
    let subject = Subject::of(claims.channel_account, channel, key);
    (refused.check, subject.into_owned())
}

#[derive(Debug, Default)]
pub(crate) struct Groups {
    groups: BTreeMap<GroupKey, Group>,
    /// The number of refusals whose check is unknown.
    pub(crate) others: u64,
    /// The number of all refusals.
    pub(crate) refusals: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) check: Check,
    pub(crate) refusals: u64,
    pub(crate) first: Wall,
    pub(crate) last: Wall,
    /// The newest refusal that was logged, without the data of its signature check. `None` for the group that collects
    /// the remaining refusals of a check.
    pub(crate) newest: Option<Refused>,
    minutes: Minutes,
}

#[derive(Clone, Debug)]
struct Minutes {
    counts: [u32; MINUTES],
    last: u64,
}

impl Groups {
    pub(crate) fn note(&mut self, refused: &Refused) {
        let group = self.add(key_of(refused), refused.at, 1);
        group.newest = Some(Refused {
            explain: None,
            ..refused.clone()
        });
        self.limit();
    }

    /// Counts refusals that were not logged. `refusals` is their total. `counts` breaks down this total by subject,
    /// where the subject is known.
    pub(crate) fn count(&mut self, refusals: u64, counts: &[RefusalCount], at: Wall) {
        let of_checks = counts.iter().filter(|count| count.check.is_some());
        let of_checks: u64 = of_checks.map(|count| count.refusals).sum();
        let others = refusals.saturating_sub(of_checks);
        self.others += others;
        self.refusals += others;
        for count in counts {
            let Some(check) = count.check else { continue };
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

    pub(crate) fn find(&self, fits: impl Fn(&GroupKey, &Group) -> bool) -> Vec<&Group> {
        let all = self.groups.iter().filter(|(key, group)| fits(key, group));
        let mut found: Vec<&Group> = all.map(|(_, group)| group).collect();
        found.sort_by_key(|group| Reverse((group.last, group.refusals)));
        found
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

    /// Returns the number of refusals in each minute of the hour before `now`, from oldest to newest.
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

const MINUTES: usize = 60;
const MINUTE_MS: u64 = 60_000;

#[cfg(test)]
mod tests {
    use super::*;
    use broker_core::check::Check;
    use std::net::SocketAddr;

    fn refused(remote: impl Into<SocketAddr>, id: &str) -> Refused {
        let (at, check) = (Wall(1_000), Check::ChannelAbsent);
        Refused::unread(
            id,
            at,
            404,
            "ResourceNotFoundException",
            check,
            remote.into(),
        )
    }

    fn ids(ring: &Ring) -> Vec<&str> {
        let newest = ring.rows.values().rev();
        newest.map(|row| &*row.request_id).collect()
    }

    #[test]
    fn the_newest_are_kept() {
        let mut ring = Ring::new(3, usize::MAX);
        for number in 0..9 {
            ring.push(refused(([10, 0, 0, number], 1), &number.to_string()));
        }
        assert_eq!(ids(&ring), ["8", "7", "6"]);
        assert_eq!(ring.of.len(), 1);
    }

    #[test]
    fn a_network_pushes_out_its_own() {
        let mut ring = Ring::new(8, usize::MAX);
        ring.push(refused(([10, 0, 1, 1], 1), "device"));
        for number in 0..1000_u16 {
            let [_, low] = number.to_be_bytes();
            ring.push(refused(([10, 0, 2, low], 1), "flood"));
        }
        ring.push(refused(([10, 0, 3, 1], 1), "another"));
        assert_eq!(ring.rows.len(), 8);
        assert!(ids(&ring).contains(&"device") && ids(&ring).contains(&"another"));
        // If each of many networks has one refusal, the oldest refusal is evicted.
        for network in 4..12 {
            ring.push(refused(([10, 0, network, 1], 1), &network.to_string()));
        }
        assert_eq!(ids(&ring), ["11", "10", "9", "8", "7", "6", "5", "4"]);
        assert_eq!(ring.of.len(), 8);
    }

    #[test]
    fn a_camera_pushes_out_its_own_and_none_behind_the_same_address() {
        let mut ring = Ring::new(8, usize::MAX);
        let mut push = |channel: &str, check| {
            let mut row = refused(([10, 0, 1, 1], 1), channel);
            (row.check, row.claims.channel) = (check, Some(channel.into()));
            ring.push(row);
        };
        push("porch", Check::SignatureMismatch);
        for _ in 0..1000 {
            push("stormy", Check::SignatureMismatch);
        }
        for number in 0..1000 {
            push(&format!("invented-{number}"), Check::ChannelAbsent);
        }
        push("garage", Check::SignatureMismatch);
        let kept = ids(&ring);
        for channel in ["porch", "stormy", "garage", "invented-999"] {
            assert!(kept.contains(&channel), "{channel} of {kept:?}");
        }
        assert_eq!((kept.len(), ring.of.len()), (8, 1));
        let groups: usize = ring.of.values().map(BTreeMap::len).sum();
        assert_eq!(groups, 4);
    }

    #[test]
    fn bytes_are_bounded_and_counted() {
        let mut ring = Ring::new(1000, 10_000);
        for number in 0..200_u8 {
            let mut row = refused(([10, 0, number, 1], 1), "id");
            row.explain = Some(Box::new(Explain {
                canonical_request: "x".repeat(usize::from(number) * 10).into(),
                scope: "s".into(),
            }));
            ring.push(row);
            let sum: usize = ring.rows.values().map(|row| bytes_of(row)).sum();
            assert_eq!(ring.bytes, sum);
            assert!(ring.bytes <= 10_000);
        }
        assert!(ring.rows.len() > 2, "{}", ring.rows.len());
    }

    #[test]
    fn what_is_noted_is_found_the_newest_first() {
        let recent = Recent::default();
        for id in ["1", "2", "3"] {
            recent.note(Entry::Refused(Box::new(refused(([10, 0, 0, 1], 1), id))));
        }
        recent.note(Entry::Suppressed {
            refusals: 7,
            counts: Box::default(),
        });
        let found = recent.find(2, |row| &*row.request_id != "2");
        let ids: Vec<&str> = found.refusals.iter().map(|row| &*row.request_id).collect();
        assert_eq!(ids, ["3", "1"]);
        assert_eq!((found.kept, found.suppressed), (3, 7));
        assert_eq!((found.found, found.next), (2, None));
        let first = recent.find(1, |_| true);
        assert_eq!((first.found, first.next), (3, Some(2)));
        assert_eq!(found.since, Some(Wall(1_000)));
        assert_eq!(recent.find(1, |_| true).refusals.len(), 1);
        let (since, next) = recent.since(1);
        let since: Vec<&str> = since.iter().map(|row| &*row.request_id).collect();
        assert_eq!((since, next), (vec!["2", "3"], 3));
        let before = recent.before(2, 9, |_| true).refusals;
        let before: Vec<&str> = before.iter().map(|row| &*row.request_id).collect();
        assert_eq!(before, ["2", "1"]);
    }
}

#[cfg(test)]
mod groups_tests {
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
        let cam = || Subject::Channel(None, "cam".into());
        let counts = [
            count(Some(Check::SignatureMismatch), cam(), 10),
            count(Some(Check::ChannelAbsent), Subject::Other, 4),
            count(None, Subject::Other, 2),
        ];
        groups.count(19, &counts, Wall(240_000));
        assert_eq!((groups.refusals, groups.others), (22, 5));
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
        assert_eq!((sum, groups.refusals, groups.others), (2_001, 2_001, 0));
        let device = groups.find(|_, it| it.check == Check::SignatureMismatch);
        assert_eq!(device.len(), 1, "another check has more");
        for group in groups.find(|_, _| true) {
            let minutes: u32 = group.minutes(Wall(2_000)).iter().sum();
            assert_eq!(u64::from(minutes), group.refusals);
        }
    }
}
