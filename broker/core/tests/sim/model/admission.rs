//! Admission of connections to channels: the newest of a slot wins, and the messages kept for it are delivered. See
//! codec/PROTOCOL.md, CON and TAKE.

use super::changes::Life;
use super::connections::name_of;
use super::trail::What;
use super::{Channel, ConnId, Expect, Lost, Model, Named, PredictedResponse, Refusal, Stage, Ws};
use broker_core::check::Check;
use broker_core::event::Purpose;
use broker_core::event::{ConnectionRole, UpgradeOutcome, UpgradeRole};
use broker_core::journal::EndReason;
use broker_core::settings::GoAway;
use std::collections::BTreeMap;

impl Model {
    /// An upgrade is refused.
    pub(crate) fn refuse_upgrade(
        &mut self,
        id: ConnId,
        (arn, viewer): (&str, Option<&str>),
        outcome: UpgradeOutcome,
        check: Check,
    ) {
        let (status, error) = match outcome {
            UpgradeOutcome::NotFound => (404, "ResourceNotFoundException"),
            UpgradeOutcome::Limited => (400, "ClientLimitExceededException"),
            UpgradeOutcome::Unavailable | UpgradeOutcome::Draining => (503, "ServiceUnavailable"),
            other => panic!("nobody is refused as {other:?}"),
        };
        self.upgraded(self.conns[id].shard, viewer.is_some(), outcome);
        let purpose = Purpose::Upgrade(role_of(viewer.is_some()));
        let named = Named {
            channel: Some(name_of(arn).to_owned()),
            viewer: viewer.map(str::to_owned),
            fault: None,
        };
        self.respond(
            id,
            purpose,
            PredictedResponse::refusal(status, Refusal::new(check, error), named, true),
        );
    }

    pub(crate) fn admit(&mut self, id: ConnId, arn: &str, viewer: Option<String>, wss: bool) {
        let upgrade = (arn, viewer.as_deref());
        if self.drains(self.conns[id].shard) {
            let outcome = UpgradeOutcome::Draining;
            return self.refuse_upgrade(id, upgrade, outcome, Check::Draining);
        }
        if self.place_for(self.conns[id].shard, arn).is_err() {
            self.met("upgrade refused: no place");
            let outcome = UpgradeOutcome::Unavailable;
            return self.refuse_upgrade(id, upgrade, outcome, Check::ConnectionsFull);
        }
        if self.disturb_connect(id, arn, viewer.as_deref()) {
            return;
        }
        let channel = match self.named(name_of(arn)) {
            Some(channel) => {
                let found = &self.channels[channel];
                (found.arn == arn && found.life == Life::Active).then_some(channel)
            }
            None if self.settings.dev => {
                let channel = self.create(arn.to_owned(), 60);
                self.begin_channel(channel, None, Life::Active);
                Some(channel)
            }
            None => None,
        };
        let Some(channel) = channel else {
            self.met("upgrade refused: no such channel");
            let check = self.absent(arn).check;
            return self.refuse_upgrade(id, upgrade, UpgradeOutcome::NotFound, check);
        };
        if !self.may_connect(channel, viewer.is_some()) {
            self.met("upgrade refused: rate");
            let outcome = UpgradeOutcome::Limited;
            return self.refuse_upgrade(id, upgrade, outcome, Check::RateConnect);
        }
        if self.out.ticks && self.member_is_due(channel) {
            self.give_up(); // admitted first, or that first
        }
        let viewers = &self.channels[channel].viewers;
        let full = viewers.len() >= self.settings.limits.viewers_per_channel;
        if full && viewer.as_ref().is_some_and(|id| !viewers.contains_key(id)) {
            self.met("upgrade refused: viewers full");
            let outcome = UpgradeOutcome::Limited;
            return self.refuse_upgrade(id, upgrade, outcome, Check::ViewersFull);
        }
        self.count_connect(channel, viewer.is_some());
        self.welcome(id, channel, viewer, wss);
        self.disturb_session(id);
    }

    /// When a connection that is admitted now ends by its age. One that gets no notice ends within the last minute of
    /// that, its share of it given by the multiples of the golden ratio.
    fn end_of(&mut self, shard: usize, notices: bool) -> u64 {
        let (age, grace) = (
            self.settings.timeouts.connection_age_ms,
            self.settings.timeouts.go_away_grace_ms,
        );
        if age == 0 {
            return u64::MAX;
        }
        if notices {
            return self.now + age;
        }
        let quiet = &mut self.shards[shard].quiet;
        *quiet += 1;
        let share = quiet.wrapping_mul(0x9e37_79b9);
        self.now + age - ((u64::from(share) * grace) >> 32)
    }

    pub(crate) fn create(&mut self, arn: String, ttl: u64) -> usize {
        let name = name_of(&arn).to_owned();
        self.channels.push(Channel {
            home: (self.home)(&name),
            name,
            key: None,
            account: arn.split(':').nth(4).unwrap_or_default().to_owned(),
            arn,
            ttl,
            alive: true,
            master: None,
            viewers: BTreeMap::new(),
            superseded: Vec::new(),
            held: Vec::new(),
            vacant: Vec::new(),
            closed: Vec::new(),
            unanswered: Vec::new(),
            pending: Vec::new(),
            calls: Vec::new(),
            ended_calls: Vec::new(),
            taken: BTreeMap::new(),
            life: Life::Creating,
            version: None,
            drawn_by: None,
            tags: Vec::new(),
            changing: None,
        });
        self.channels.len() - 1
    }

    pub(crate) fn welcome(
        &mut self,
        id: ConnId,
        channel: usize,
        viewer: Option<String>,
        wss: bool,
    ) {
        let bytes = self.upgraded_bytes[usize::from(wss)];
        self.expect(id, Expect::Upgraded, bytes);
        let shard = self.conns[id].shard;
        let notices = self.notices(wss);
        let ends = self.end_of(shard, notices);
        self.upgraded(shard, viewer.is_some(), UpgradeOutcome::Accepted);
        let now = self.now;
        self.admissions += 1;
        let conn = &mut self.conns[id];
        conn.stage = Stage::Open;
        conn.place = if viewer.is_none() {
            ConnectionRole::Master
        } else {
            ConnectionRole::Viewer
        }
        .index();
        conn.ws = Some(Ws {
            channel,
            viewer: viewer.clone(),
            superseded: false,
            admitted: self.admissions,
            lost: None,
            number: 0,
            moved: now,
            paid: false,
            opened: now,
            heard: now,
            went: now,
            pinged: None,
            told: false,
            notices,
            ends,
            recalled: false,
            message_began: None,
            setup: [None; 2],
            messages_in: 0,
            messages_out: 0,
            idle: (0, 0),
            taken: BTreeMap::new(),
            reason: None,
            or_reason: None,
        });
        self.happens(channel, What::Joined(id));
        let slots = &mut self.channels[channel];
        slots.vacant.retain(|(slot, _)| *slot != viewer);
        slots.closed.retain(|(id, _)| Some(id) != viewer.as_ref());
        let older = match &viewer {
            None => slots.master.replace(id),
            Some(viewer) => slots.viewers.insert(viewer.clone(), id),
        };
        let holders = slots.held.iter().filter(|held| held.slot == viewer);
        let holders: Vec<ConnId> = holders.map(|held| held.by).collect();
        slots
            .ended_calls
            .retain(|(id, _)| Some(id) != viewer.as_ref());
        if viewer.is_none() {
            self.offers_go_to(channel, id);
        }
        if let Some(older) = older {
            self.supersede(older, id, channel, &viewer);
        }
        holders.into_iter().for_each(|former| self.look_at(former));
        self.takes_a_place(id, channel);
        self.deliver_kept(channel, viewer.as_deref());
    }

    /// The older connection of a slot falls silent.
    fn supersede(&mut self, older: ConnId, id: ConnId, channel: usize, viewer: &Option<String>) {
        self.met(if viewer.is_none() {
            "master superseded"
        } else {
            "viewer superseded"
        });
        self.happens(channel, What::Superseded(older, id));
        self.taken_over(older, id);
        slots_push(&mut self.channels[channel], viewer, older);
        let evicted = self.evict(channel, viewer);
        self.conns[older].place = ConnectionRole::Superseded.index();
        let ws = self.conns[older].ws.as_mut().expect("it was open");
        ws.superseded = true;
        ws.lost = Some(Lost {
            since: self.now,
            to: self.admissions,
            by: Some(id),
        });
        self.moves_up(older);
        if viewer.is_none() {
            self.offers_lost_their_master(channel, older, true);
        }
        self.take_back(older);
        self.look_at(older);
        if let Some(evicted) = evicted {
            self.met("superseded evicted");
            let reason = EndReason::SupersededEvicted;
            self.close_ws(evicted, 1001, "Going away", reason);
        }
    }

    /// Whether a client may get GO_AWAY and RECONNECT_ICE_SERVER.
    fn notices(&self, wss: bool) -> bool {
        match self.settings.signaling.go_away {
            GoAway::Auto => !wss,
            GoAway::Always => true,
            GoAway::Never => false,
        }
    }

    /// At most four superseded connections a slot and 44 a channel.
    pub(crate) fn evict(&mut self, channel: usize, viewer: &Option<String>) -> Option<ConnId> {
        let superseded = &mut self.channels[channel].superseded;
        let same: Vec<usize> = (0..superseded.len())
            .filter(|&place| superseded[place].0 == *viewer)
            .collect();
        let gone = if same.len() > 4 {
            superseded.remove(same[0])
        } else if superseded.len() > 44 {
            superseded.remove(0)
        } else {
            return None;
        };
        self.forget_vacancy(channel, &gone.0);
        Some(gone.1)
    }

    /// Without a superseded connection there is nobody to be closed for a vacant slot.
    pub(crate) fn forget_vacancy(&mut self, channel: usize, slot: &Option<String>) {
        let slots = &mut self.channels[channel];
        if !slots.superseded.iter().any(|(other, _)| other == slot) {
            slots.vacant.retain(|(other, _)| other != slot);
        }
    }
}

fn slots_push(channel: &mut Channel, viewer: &Option<String>, older: ConnId) {
    channel.superseded.push((viewer.clone(), older));
}

/// As whom an upgrade wants to connect.
pub(crate) fn role_of(viewer: bool) -> UpgradeRole {
    if viewer {
        UpgradeRole::Viewer
    } else {
        UpgradeRole::Master
    }
}
