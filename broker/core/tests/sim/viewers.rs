//! PRESENCE: viewers that ask for it, and whose channel's owner wants it, know in the end whether a master is there;
//! nobody else gets it.

use crate::sim::model::{Conn, ConnId, Stage};
use crate::sim::wire::State;
use crate::sim::world::World;
use broker_core::settings::TELLS_VIEWERS;
use std::collections::BTreeMap;

/// The least time between two states of one channel that are sent by the clock.
const APART_MS: u64 = 5_000;

/// The most by which a state comes late: a grain of the world's clock for each of some ticks.
const LATE_MS: u64 = 1_000;

/// A channel as it is, and what its viewers know.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Whether a master is there, and when that began; when one left, if none is there.
    master: bool,
    since: u64,
    last: Option<u64>,
    /// The master is reported gone: viewers may know it, or not.
    gone: bool,
    /// Whether its viewers are notified after the last input, and when that began.
    tells: bool,
    began: u64,
    /// The last state that was sent by the clock, and when.
    round: Option<(u64, u64)>,
    viewers: BTreeMap<ConnId, Viewer>,
}

#[derive(Debug, Default)]
struct Viewer {
    /// The last state that it got.
    told: Option<State>,
    /// When it had its place, and when it may have been left out last: it did not take what it was sent.
    placed: u64,
    full: Option<u64>,
}

/// Whether a viewer asks for it: those of an even number do.
pub(crate) fn asks(viewer: &str) -> bool {
    viewer.bytes().last().is_some_and(|digit| digit % 2 == 0)
}

impl World {
    /// A viewer got this.
    ///
    /// # Panics
    /// When it should not have been.
    pub(crate) fn viewer_told(&mut self, conn: ConnId, state: State, clock: bool) {
        let (now, linger) = (self.model.now, self.model.settings.presence.linger_ms);
        let channel = self.told_viewer(conn);
        if channel.is_none() && self.model.may_return(conn) {
            self.model.give_up(); // the end of the one that has its slot shows in another stream
        }
        let channel = channel.expect("nobody else gets it");
        self.look_at_channel(channel);
        let tells = self.tells(channel).any(|tells| tells);
        let known = self.known.entry(channel).or_default();
        assert!(tells || known.tells, "the owner does not want it");
        let last = known.last;
        let lately = last.is_some_and(|last| now <= last + linger + LATE_MS);
        if state.master {
            assert!(
                known.master || lately,
                "no master was there at {now}: {conn} {channel} {known:?}"
            );
        } else {
            let just_came = known.since == now; // it may be told of the moment before that
            assert!(
                !known.master || known.gone || just_came,
                "a master is there at {now}: {conn} {channel} {known:?}"
            );
        }
        let viewer = known.viewers.entry(conn).or_insert_with(|| Viewer {
            placed: now,
            ..Viewer::default()
        });
        if let Some(before) = viewer.told.replace(state) {
            let newer = before.sequence < state.sequence || before == state;
            assert!(newer, "{state:?} after {before:?}");
        }
        let is_greeting = viewer.placed == now || !clock;
        if !is_greeting && known.round.is_none_or(|(last, _)| last != state.sequence) {
            let apart = known.round.is_none_or(|(_, at)| now >= at + APART_MS);
            assert!(apart, "two states in {APART_MS} ms: {known:?}");
            known.round = Some((state.sequence, now));
            self.hit("viewers told");
        }
        self.hit(if is_greeting {
            "viewer greeted"
        } else {
            "viewer told"
        });
    }

    /// After an input: what viewers know is what is so, if that is so for long enough.
    pub(crate) fn viewers_know(&mut self, shard: usize) {
        if !self.model.settings.signaling.presence_messages {
            return;
        }
        let now = self.model.now;
        let late = APART_MS + self.model.settings.presence.linger_ms + LATE_MS;
        for channel in 0..self.model.channels.len() {
            if self.model.channels[channel].home != shard {
                continue;
            }
            self.look_at_channel(channel);
            self.look_at_tags(channel);
            let viewers = self.viewers_of(channel);
            let known = self.known.entry(channel).or_default();
            known.viewers.retain(|conn, _| viewers.contains(conn));
            let stable = known.since.max(known.began);
            for &conn in &viewers {
                let model = &self.model.conns[conn];
                let viewer = known.viewers.entry(conn).or_insert_with(|| Viewer {
                    placed: now,
                    ..Viewer::default()
                });
                if model.behind || model.control > 1_000 || model.mute.is_some() {
                    viewer.full = Some(now);
                }
                let since = stable
                    .max(viewer.placed)
                    .max(viewer.full.unwrap_or_default());
                let settled =
                    known.tells && !known.gone && self.model.out.ticks && now > since + late;
                let knows = viewer.told.map(|state| state.master);
                assert!(
                    !settled || viewer.full.is_some() || knows == Some(known.master),
                    "viewer {conn} knows {viewer:?} of channel {channel}: {now}"
                );
            }
        }
    }

    /// Takes note of a channel as it is now.
    fn look_at_channel(&mut self, channel: usize) {
        let now = self.model.now;
        let this = &self.model.channels[channel];
        let master = this.master.is_some();
        let gone = this.master.is_some_and(|master| self.model.is_gone(master));
        let briefly = self.last_came(channel).filter(|_| !master);
        let known = self.known.entry(channel).or_default();
        if known.master != master {
            known.last = known.master.then_some(now);
            (known.master, known.since) = (master, now);
        }
        known.last = known.last.max(briefly);
        known.since = known.since.max(briefly.unwrap_or_default());
        known.gone = gone;
        if gone {
            known.since = now;
        }
    }

    /// Takes note of whether the viewers of a channel are notified after an input: anew, if they were not for a moment.
    fn look_at_tags(&mut self, channel: usize) {
        let now = self.model.now;
        let all: Vec<bool> = self.tells(channel).collect();
        let tells = all.last() == Some(&true);
        let this = &self.model.channels[channel];
        let empty = this.master.is_none() && this.viewers.is_empty();
        let known = self.known.entry(channel).or_default();
        let anew = all.contains(&false);
        if known.tells != tells || anew {
            (known.tells, known.began) = (tells, now);
        }
        if empty || anew {
            known.round = None;
        }
    }

    /// Whether the owner of a channel wants its viewers notified, by each of the lists of tags that it had in this
    /// step.
    fn tells(&self, channel: usize) -> impl Iterator<Item = bool> {
        let this = &self.model.channels[channel];
        let may = this.alive && self.model.settings.signaling.presence_messages;
        let (key, value) = TELLS_VIEWERS;
        let all = this.tags_before.iter().chain([&this.tags]);
        all.map(move |tags| may && tags.iter().any(|tag| tag.0 == key && tag.1 == value))
    }

    /// When a master came last, which may have left in that same step.
    fn last_came(&self, channel: usize) -> Option<u64> {
        let all = self.model.conns.iter().filter_map(|conn| conn.ws.as_ref());
        let masters = all.filter(|ws| ws.channel == channel && ws.viewer.is_none());
        masters.map(|ws| ws.opened).max()
    }

    /// The channel of a connection that asks for it and has its place.
    fn open_viewer(&self, conn: ConnId) -> Option<usize> {
        let ws = open(&self.model.conns[conn])?;
        let asks = ws.viewer.as_deref().is_some_and(asks);
        (asks && !ws.superseded).then_some(ws.channel)
    }

    /// The same of one that may have lost it, or ended, behind that in the same step.
    fn told_viewer(&self, conn: ConnId) -> Option<usize> {
        let (now, model) = (self.model.now, &self.model.conns[conn]);
        let ws = model.ws.as_ref()?;
        let asks = ws.viewer.as_deref().is_some_and(asks);
        let lost = ws.lost.is_some_and(|lost| lost.since == now);
        let ended = if let Stage::AwaitEcho(since, _) = model.stage {
            since == now
        } else {
            !matches!(model.stage, Stage::Open)
        };
        (asks && (!ws.superseded || lost) && (open(model).is_some() || ended)).then_some(ws.channel)
    }

    fn viewers_of(&self, channel: usize) -> Vec<ConnId> {
        let all = self.model.channels[channel].viewers.values().copied();
        all.filter(|conn| self.open_viewer(*conn) == Some(channel))
            .collect()
    }
}

fn open(conn: &Conn) -> Option<&crate::sim::model::Ws> {
    let is_open = conn.live && matches!(conn.stage, Stage::Open);
    conn.ws.as_ref().filter(|_| is_open)
}
