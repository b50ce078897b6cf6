//! The table of problems. Finds, generalizes, ends and evicts rows.

use crate::limits::{PROBLEM_MEMBERS_MAX, PROBLEMS_BYTES_MAX, PROBLEMS_KEPT_MAX};
use crate::side::Cause;
use crate::side::log::line::role_word;
use crate::side::problems::rows::{
    By, CHANNEL_BYTES, Incident, Kind, Look, Member, MemberState, ROW_BYTES, Row, Seen, Share, cut,
    network,
};
use aws_lc_rs::digest::{SHA256, digest};
use broker_core::journal::{ConnectionEnd, Prefix, RefusalCount, Subject};
use broker_core::{check::Check, id::Account, time::Wall};
use codec::signal::Role;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hash, RandomState};

#[derive(Debug, Default)]
pub(crate) struct Table {
    /// The rows, by the number in their id.
    pub(crate) rows: BTreeMap<u64, Row>,
    /// The ids of rows, by the hash of a check and an entity. See [`Table::places`].
    pub(crate) index: BTreeMap<u64, u64>,
    pub(crate) shares: BTreeMap<Share, usize>,
    pub(crate) bytes: usize,
    /// Number of causes that were dropped because the table was full.
    pub(crate) left_out: u64,
    hasher: RandomState,
    looked: (u64, u64),
}

struct Place<'a> {
    by: By,
    value: &'a str,
    hash: u64,
}

impl Table {
    fn hash(&self, check: &str, by: By, value: impl Hash) -> u64 {
        self.hasher.hash_one((check, by, value))
    }

    /// Returns the lookup key of a channel. The key includes the account, since channels of different accounts may have
    /// the same name.
    fn of_channel(&self, check: &str, account: Option<Account>, channel: &str) -> u64 {
        self.hash(check, By::Channel, (account, channel))
    }

    fn row_at(&mut self, place: u64) -> Option<&mut Row> {
        let id = self.index.get(&place)?;
        self.rows.get_mut(id)
    }

    /// Records a failed session. If the answer was late or missing and the channel's camera is being refused, the
    /// session counts as a consequence of that refusal.
    pub(crate) fn session(&mut self, incident: &Incident<'_>) {
        let waits = matches!(incident.check, "unanswered" | "slow");
        let of = incident.channel_account;
        let dark = incident.channel.filter(|_| waits).and_then(|channel| {
            let places = Check::ALL.iter();
            let mut places = places.map(|check| self.of_channel(check.id(), of, channel));
            places.find(|place| {
                let row = self.index.get(place).and_then(|id| self.rows.get(id));
                row.is_some_and(|row| row.is_dark(of, channel))
            })
        });
        match dark.and_then(|place| self.row_at(place)) {
            Some(row) => row.events += 1,
            None => self.note(incident),
        }
    }

    pub(crate) fn explain(&mut self, check: &str, account: Account, channel: &str, says: &str) {
        let place = self.of_channel(check, Some(account), channel);
        if let Some(row) = self.row_at(place) {
            row.says = cut(says);
        }
    }

    pub(crate) fn note(&mut self, incident: &Incident<'_>) {
        let places = self.places(incident);
        let found = places
            .iter()
            .find_map(|place| Some((*self.index.get(&place.hash)?, place)));
        let row = match found {
            Some((row, place)) => {
                self.grow(row, place, incident);
                Some(row)
            }
            None => self.open(&places, incident),
        };
        match row {
            Some(row) => self.add(row, incident),
            None => self.left_out += 1,
        }
    }

    /// Returns the entities by which a row can be found, starting with the most specific one.
    fn places<'a>(&self, incident: &'a Incident<'_>) -> Vec<Place<'a>> {
        let check = incident.check;
        let place = |by, value: &'a str, hash| Place { by, value, hash };
        let account = incident.account;
        let named = |(by, value): (By, Option<&'a str>)| {
            let of = account.filter(|_| by == By::Principal); // principals of different accounts may have the same name
            Some(place(by, value?, self.hash(check, by, (of, value?))))
        };
        if let Some((by, value)) = &incident.thing {
            return named((*by, Some(&**value))).into_iter().collect();
        }
        let things = [
            (By::Key, incident.key),
            (By::Principal, incident.principal),
            (By::Authority, incident.authority),
        ];
        let mut places: Vec<Place<'_>> = things.into_iter().filter_map(named).collect();
        let is_of_address = places.is_empty() && incident.kind != Kind::Session;
        if let Some(remote) = incident.remote.filter(|_| is_of_address) {
            let prefix = Prefix::of(remote.ip());
            places.push(place(
                By::Address,
                "",
                self.hash(check, By::Address, prefix),
            ));
        }
        places.extend(incident.channel.map(|channel| {
            let hash = self.of_channel(check, incident.channel_account, channel);
            place(By::Channel, channel, hash)
        }));
        places
    }

    /// Generalizes a row to an entity that the row's channel shares with another channel.
    fn grow(&mut self, id: u64, place: &Place<'_>, incident: &Incident<'_>) {
        let channel = incident
            .channel
            .map(|it| self.of_channel(incident.check, incident.channel_account, it));
        let Some(row) = self.rows.get_mut(&id) else {
            return;
        };
        let is_another =
            channel.is_some_and(|it| !row.channels.contains(&it)) || row.by != By::Channel;
        if row.by == place.by || place.by == By::Channel || !is_another {
            return;
        }
        (row.by, row.value) = (place.by, value_of(place, incident));
        for other in std::mem::replace(&mut row.named, vec![place.hash]) {
            if other != place.hash {
                self.index.remove(&other);
            }
        }
    }

    fn open(&mut self, places: &[Place<'_>], incident: &Incident<'_>) -> Option<u64> {
        // A new row concerns its channel, or the most specific entity if it has no channel.
        let own = places
            .iter()
            .find(|place| place.by == By::Channel)
            .or_else(|| places.first())?;
        let value = value_of(own, incident);
        let share = match (incident.account, incident.remote) {
            (Some(account), _) => Share::Account(account),
            (None, Some(remote)) => Share::Network(Prefix::of(remote.ip())),
            (None, None) => Share::Node,
        };
        let is_full = self.rows.len() >= PROBLEMS_KEPT_MAX || self.bytes >= PROBLEMS_BYTES_MAX;
        if is_full && !self.make_room(share) {
            return None;
        }
        let mut id = number(incident, own.by, &value);
        while self.rows.contains_key(&id) {
            id = id.wrapping_add(1); // taken by a row that started with the same channel and was generalized
        }
        let named = places.iter().filter(|place| place.by != By::Channel);
        let named: Vec<u64> = named.map(|place| place.hash).collect();
        self.index.extend(named.iter().map(|place| (*place, id)));
        let row = Row::new(own.by, value, named, share, incident);
        self.charge(share, row.bytes());
        self.rows.insert(id, row);
        Some(id)
    }

    /// Makes room for a row of `share`, which is an account or a network. To do so, evicts the newest row of the
    /// account or network whose rows take the most bytes. Returns `false` if `share` itself already takes the most
    /// bytes, or would take as many with one more row.
    fn make_room(&mut self, share: Share) -> bool {
        let others = self.shares.iter().filter(|(of, _)| **of != Share::Node);
        let Some((most, bytes)) = others.max_by_key(|(_, bytes)| **bytes) else {
            return false;
        };
        let (most, bytes) = (*most, *bytes);
        let own = self.shares.get(&share).copied().unwrap_or_default();
        if share != Share::Node && (most == share || bytes <= own + ROW_BYTES) {
            return false;
        }
        let rows = self.rows.iter().filter(|(_, row)| row.share == most);
        let newest = rows.max_by_key(|(_, row)| row.first).map(|(id, _)| *id);
        newest.map(|id| self.remove(id)).is_some()
    }

    fn add(&mut self, id: u64, incident: &Incident<'_>) {
        let (channel, of, client_id) = (
            incident.channel,
            incident.channel_account,
            incident.client_id,
        );
        let key = match (channel, client_id, incident.remote) {
            (None, None, Some(remote)) => self.hasher.hash_one(remote.ip().to_canonical()),
            (..) => {
                let role = incident.role.map(role_word);
                self.hasher.hash_one((channel, of, role, client_id))
            }
        };
        let channel = channel.map(|it| self.of_channel(incident.check, of, it));
        let Some(row) = self.rows.get(&id) else {
            return;
        };
        let share = row.share;
        let wants_more = !row.members.contains_key(&key) && row.members.len() < PROBLEM_MEMBERS_MAX;
        let has_room = self.bytes < PROBLEMS_BYTES_MAX || (wants_more && self.make_room(share));
        let Some(row) = self.rows.get_mut(&id) else {
            return;
        }; // the row was evicted to make room for its own member
        let mut bytes = 0;
        if let Some(member) = row.members.get_mut(&key) {
            member.again(incident);
        } else if wants_more && has_room {
            let member = row.member(incident);
            bytes += member.bytes();
            row.members.insert(key, member);
        }
        if let Some(channel) = channel.filter(|_| has_room)
            && row.channels.insert(channel)
        {
            bytes += CHANNEL_BYTES;
            self.index.insert(channel, id);
        }
        row.events += 1;
        row.last = row.last.max(incident.at);
        let is_later =
            row.ended.is_none_or(|(ended, _)| incident.at > ended) || row.kind == Kind::Standing;
        if is_later && row.ended.take().is_some() {
            row.says = cut(&incident.says);
        }
        self.charge(share, bytes);
    }

    fn charge(&mut self, share: Share, bytes: usize) {
        self.bytes += bytes;
        *self.shares.entry(share).or_default() += bytes;
    }

    pub(crate) fn remove(&mut self, id: u64) {
        let Some(row) = self.rows.remove(&id) else {
            return;
        };
        self.discharge(row.share, row.bytes());
        for place in row.named.iter().chain(&row.channels) {
            if self.index.get(place) == Some(&id) {
                self.index.remove(place);
            }
        }
    }

    fn discharge(&mut self, share: Share, bytes: usize) {
        self.bytes -= bytes;
        if let Some(own) = self.shares.get_mut(&share) {
            *own -= bytes;
            if *own == 0 {
                self.shares.remove(&share);
            }
        }
    }

    /// Adds refusals that were counted but not logged to existing rows. Does not open or reopen rows.
    pub(crate) fn count(&mut self, counts: &[RefusalCount]) {
        for count in counts {
            let Some(check) = count.check else { continue };
            let place = match &count.subject {
                Subject::Channel(of, name) => self.of_channel(check.id(), *of, name),
                Subject::Key(id) => self.hash(check.id(), By::Key, (None::<Account>, &**id)),
                Subject::Other => continue,
            };
            if let Some(row) = self.row_at(place) {
                row.events += count.refusals;
            }
        }
    }

    /// Ends the row for unanswered sessions of a channel when one of its viewers has received an answer, which shows
    /// that the camera works.
    pub(crate) fn ended(&mut self, end: &ConnectionEnd) {
        let (Some(channel), Some(_)) = (end.channel.as_deref(), end.answered_ms) else {
            return;
        };
        let place = self.of_channel("unanswered", Some(end.account), channel);
        if let Some(row) = self.row_at(place).filter(|row| row.ended.is_none()) {
            let at = crate::edge::turn::calendar();
            row.members.values_mut().for_each(|member| member.end(at));
            row.settle("answered");
        }
    }

    /// Replaces the persistent causes of `check` with the causes in `found`. Causes that are not in `found` end.
    pub(crate) fn stand<'a>(
        &mut self,
        check: &'static str,
        found: impl Iterator<Item = Incident<'a>>,
        now: Wall,
        end: &'static str,
    ) {
        let is_of_it = |row: &&mut Row| row.kind == Kind::Standing && row.check == check;
        for row in self.rows.values_mut().filter(is_of_it) {
            row.members
                .values_mut()
                .for_each(|member| member.events = 0);
        }
        for incident in found {
            self.note(&incident);
        }
        for row in self.rows.values_mut().filter(is_of_it) {
            for member in row.members.values_mut() {
                match member.events {
                    0 => member.end(now),
                    _ => member.last = now,
                }
            }
            row.last = row
                .members
                .values()
                .map(|member| member.last)
                .max()
                .unwrap_or(row.last);
            row.events = row.members.len() as u64; // finding a cause again is not an event
            row.settle(end);
        }
    }

    /// Returns up to `most` members to check, starting after the member that was checked last. Wraps around at the end
    /// of the table.
    pub(crate) fn due(&mut self, most: usize) -> Vec<Look> {
        fn look<'t>(id: &'t u64, row: &'t Row) -> impl Iterator<Item = Look> + 't {
            let is_due = row.ended.is_none() && row.kind != Kind::Standing;
            let members = row
                .members
                .iter()
                .filter(move |(_, it)| is_due && it.ended.is_none());
            members.filter_map(move |(key, member)| {
                Some(Look {
                    place: (*id, *key),
                    account: member.account,
                    channel: member.channel.clone()?,
                    client_id: member.client_id.clone(),
                })
            })
        }
        let last = self.looked;
        let behind = self
            .rows
            .range(last.0..)
            .flat_map(|(id, row)| look(id, row));
        let behind = behind.filter(|look| look.place > last);
        let before = self
            .rows
            .range(..=last.0)
            .flat_map(|(id, row)| look(id, row));
        let before = before.filter(|look| look.place <= last);
        let looks: Vec<Look> = behind.chain(before).take(most).collect();
        self.looked = looks.last().map_or((0, 0), |look| look.place);
        looks
    }

    pub(crate) fn saw(&mut self, look: &Look, seen: Seen, now: Wall) {
        let (id, key) = look.place;
        let Some(row) = self.rows.get_mut(&id) else {
            return;
        };
        let (by_camera, settles_ms) = row.ends_by();
        let Some(member) = row.members.get_mut(&key).filter(|it| it.ended.is_none()) else {
            return;
        };
        member.state = match (&seen.arn, seen.master) {
            (None, _) => MemberState::Absent,
            (Some(_), Some(_)) => MemberState::Connected,
            (Some(_), None) => MemberState::Alone,
        };
        member.arn = seen.arn.or_else(|| member.arn.take());
        let quiet_ms = now.0.saturating_sub(member.last.0);
        if by_camera || member.role != Some(Role::Viewer) {
            let is_back = seen
                .master
                .is_some_and(|since| since > member.last || settles_ms > 0);
            if is_back && quiet_ms >= settles_ms {
                member.end(now);
                row.settle("camera back");
            }
        } else if seen.has_viewer && quiet_ms >= VIEWER_BACK_MS {
            member.end(now);
            row.settle("viewer back");
        }
    }

    /// Ends rows that have had no events for some time, and drops rows that ended some time ago.
    pub(crate) fn age(&mut self, now: Wall) {
        for row in self.rows.values_mut() {
            row.known.take_if(|known| known.until <= now);
            if row.kind == Kind::Standing || row.ended.is_some() {
                continue;
            }
            for member in row.members.values_mut() {
                let is_camera = row.kind == Kind::Refused && member.role == Some(Role::Master);
                let is_dark = is_camera && member.state == MemberState::Alone;
                let most = if is_dark { DARK_MS } else { QUIET_MS };
                if now.0.saturating_sub(member.last.0) >= most {
                    member.end(now);
                }
            }
            row.settle("no event for a while");
        }
        let is_over = |row: &Row| {
            let ended = row.ended.filter(|_| row.known.is_none());
            ended.is_some_and(|(at, _)| now.0.saturating_sub(at.0) >= LISTED_MS)
        };
        let over = self.rows.iter().filter(|(_, row)| is_over(row));
        let over: Vec<u64> = over.map(|(id, _)| *id).collect();
        over.into_iter().for_each(|id| self.remove(id));
    }

    /// Returns up to `most` rows whose records in the history are out of date. For each row, also returns whether it
    /// has started or ended since it was last recorded.
    pub(crate) fn take_changed(&mut self, most: usize) -> Vec<(Cause, bool)> {
        let rows = self.rows.iter_mut();
        rows.filter_map(|(id, row)| row.take_changed(*id))
            .take(most)
            .collect()
    }

    /// Erases the rows and members for which `fits` returns `true`, given the time of their last event and their texts.
    /// Returns how many members were erased.
    pub(crate) fn forget(&mut self, fits: impl Fn(Wall, &str) -> bool) -> usize {
        let rows = self.rows.iter().filter(|(_, row)| row.share != Share::Node);
        let ids: Vec<u64> = rows.map(|(id, _)| *id).collect();
        let mut gone = 0;
        for id in ids {
            let Some(row) = self.rows.get(&id) else {
                continue;
            };
            let members = row
                .members
                .iter()
                .filter(|(_, it)| fits(it.last, &it.texts()));
            let members: Vec<u64> = members.map(|(key, _)| *key).collect();
            gone += members.len();
            if members.len() == row.members.len() || fits(row.last, &row.texts()) {
                gone += row.members.len() - members.len();
                self.remove(id);
                continue;
            }
            if !members.is_empty() {
                self.remove_members(id, &members);
            }
        }
        gone
    }

    fn remove_members(&mut self, id: u64, keys: &[u64]) {
        let Some(mut row) = self.rows.remove(&id) else {
            return;
        };
        let before = row.bytes();
        let channel =
            |it: &Member| Some(self.of_channel(row.check, it.account, it.channel.as_deref()?));
        let gone = keys.iter().filter_map(|key| row.members.remove(key));
        let gone: Vec<u64> = gone.filter_map(|it| channel(&it)).collect();
        let stay: Vec<u64> = row.members.values().filter_map(channel).collect();
        for place in gone.iter().filter(|place| !stay.contains(place)) {
            row.channels.remove(place);
            self.index.remove(place);
        }
        self.discharge(row.share, before - row.bytes());
        self.rows.insert(id, row);
    }
}

fn value_of(place: &Place<'_>, incident: &Incident<'_>) -> Box<str> {
    match (place.by, incident.remote) {
        (By::Address, Some(remote)) => network(remote).into(),
        _ => place.value.into(),
    }
}

/// Computes the number in a cause's id. Every process computes the same number for the same cause.
fn number(incident: &Incident<'_>, by: By, value: &str) -> u64 {
    let (check, of) = (
        incident.check,
        incident.channel_account.filter(|_| by == By::Channel),
    );
    let (by, of): (&str, _) = (by.into(), of.map(|it| it.to_string()).unwrap_or_default());
    let hash = digest(&SHA256, format!("{check}\n{by}\n{value}\n{of}").as_bytes());
    let first = hash.as_ref().first_chunk().copied().unwrap_or_default();
    u64::from_be_bytes(first)
}

/// How long an ended row stays listed, in milliseconds.
pub(crate) const LISTED_MS: u64 = 15 * 60_000;
/// How long a member must go without an event before it ends, in milliseconds. [`DARK_MS`] applies instead to
/// disconnected cameras of existing channels.
pub(crate) const QUIET_MS: u64 = 15 * 60_000;
/// How long a disconnected camera of an existing channel must go without an event before its member ends, in
/// milliseconds. The camera is then considered abandoned.
pub(crate) const DARK_MS: u64 = 24 * 3_600_000;
/// How long a connected viewer must go without an event before its member ends, in milliseconds. The delay is needed
/// since another connection may have the same client id.
const VIEWER_BACK_MS: u64 = 5_000;
