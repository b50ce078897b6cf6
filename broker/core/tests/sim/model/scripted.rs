//! Faults that a test scripts: which of them acts on what, and what they do to requests and connections. See
//! deploy/testing/README.md, "Faults". What they do to messages is in `withheld`.

use super::connections::name_of;
use super::withheld::Later;
use super::{ConnId, Expect, Model, Named, PredictedResponse, Refusal, Stage};
use crate::sim::words::Call;
use broker_core::check::Check;
use broker_core::event::Purpose;
use broker_core::event::UpgradeOutcome;
use broker_core::journal::EndReason;
use broker_core::shard::{FaultAct, RequestAct, SessionAct, SharedRule};
use codec::control::Operation;
use codec::signal::Action;

/// No time: it never comes.
pub(crate) const NEVER: u64 = u64::MAX;

/// A fault, and what happened with it.
pub(crate) struct Rule {
    /// As the shards have it.
    pub(crate) shared: SharedRule,
    pub(crate) about: About,
    /// When its time is over.
    pub(crate) ends: u64,
    ended: bool,
    seen: u64,
    hits: u64,
}

/// The conditions of a fault: all that are named must hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct About {
    /// Patterns: `*` is any text, `?` any one character.
    pub(crate) channel: Option<String>,
    pub(crate) client: Option<String>,
    pub(crate) viewers: Option<bool>,
    pub(crate) operation: Option<Operation>,
    pub(crate) action: Option<Action>,
}

/// The subject that a fault may match.
#[derive(Default)]
pub(crate) struct Subject<'a> {
    pub(crate) channel: Option<&'a str>,
    /// Whether it is a viewer, and which.
    pub(crate) peer: Option<Option<&'a str>>,
    pub(crate) operation: Option<Operation>,
    pub(crate) action: Option<Action>,
}

impl Rule {
    /// A fault that was just made.
    pub(crate) fn new(shared: SharedRule, about: About, now: u64) -> Self {
        Self {
            ends: shared.lasts_ms.map_or(NEVER, |ms| now + ms),
            shared,
            about,
            ended: false,
            seen: 0,
            hits: 0,
        }
    }

    /// Its test ends it.
    pub(crate) fn end(&mut self) {
        self.ended = true;
        self.shared.counts.end();
    }

    /// Whether the counts that all shards share are right.
    pub(crate) fn is_counted(&self) -> bool {
        let counts = &self.shared.counts;
        (counts.seen(), counts.hits(), counts.overflowed()) == (self.seen, self.hits, 0)
    }
}

impl About {
    fn covers(&self, subject: &Subject<'_>) -> bool {
        let like = |pattern: &Option<String>, text: Option<&str>| {
            let fits = |pattern: &String| text.is_some_and(|text| fits(pattern, text));
            pattern.as_ref().is_none_or(fits)
        };
        let peer = subject.peer;
        let role = |viewers: bool| peer.is_some_and(|client| client.is_some() == viewers);
        like(&self.channel, subject.channel)
            && like(&self.client, peer.flatten())
            && self.viewers.is_none_or(role)
            && self
                .operation
                .is_none_or(|it| subject.operation == Some(it))
            && self.action.is_none_or(|it| subject.action == Some(it))
    }
}

fn fits(pattern: &str, text: &str) -> bool {
    let Some(first) = pattern.chars().next() else {
        return text.is_empty();
    };
    let rest = &pattern[first.len_utf8()..];
    match first {
        '*' => (0..=text.len()).any(|from| fits(rest, &text[from..])),
        _ => text.chars().next().is_some_and(|one| {
            (first == '?' || first == one) && fits(rest, &text[one.len_utf8()..])
        }),
    }
}

impl Model {
    /// The first fault of a kind that acts on this, with its number; those that match are counted.
    pub(crate) fn fault(
        &mut self,
        kind: impl Fn(&FaultAct) -> bool,
        subject: &Subject<'_>,
    ) -> Option<(u64, FaultAct)> {
        let meets = |rule: &&Rule| {
            let lasts = !rule.ended && self.now < rule.ends;
            lasts && kind(&rule.shared.act) && rule.about.covers(subject)
        };
        let mut met_now = self.rules.iter().filter(meets).map(|rule| &rule.shared);
        let several = self.out.ticks && self.departures > 1;
        if several && met_now.any(|rule| rule.times.is_some() || rule.skip > 0) {
            self.give_up(); // which of several it met first does not show
        }
        for rule in &mut self.rules {
            let spent = rule.shared.times.is_some_and(|times| rule.hits >= times);
            let over = rule.ended || spent || self.now >= rule.ends;
            if over || !kind(&rule.shared.act) || !rule.about.covers(subject) {
                continue;
            }
            rule.seen += 1;
            if rule.seen > rule.shared.skip {
                rule.hits += 1;
                self.met.insert(met(&rule.shared.act));
                return Some((rule.shared.number, rule.shared.act.clone()));
            }
        }
        None
    }

    /// Applies a fault to a request for a WebSocket; true when it is dealt with.
    pub(crate) fn disturb_connect(&mut self, id: ConnId, arn: &str, viewer: Option<&str>) -> bool {
        let subject = Subject {
            channel: Some(name_of(arn)),
            peer: Some(viewer),
            ..Subject::default()
        };
        let connects = |act: &FaultAct| matches!(act, FaultAct::Connect(_));
        let Some((fault, FaultAct::Connect(act))) = self.fault(connects, &subject) else {
            return false;
        };
        if let RequestAct::Refuse {
            error,
            status: Some(status),
            ..
        } = &act
        {
            let outcome = upgrade_outcome(*status, error.name);
            self.upgraded(self.conns[id].shard, viewer.is_some(), outcome);
        }
        let named = Named {
            channel: Some(name_of(arn).to_owned()),
            viewer: viewer.map(str::to_owned),
            fault: Some(fault),
        };
        let purpose = Purpose::Upgrade(super::admission::role_of(viewer.is_some()));
        self.disturb(id, (purpose, named, true), &act)
    }

    /// Applies a fault to a call; true when it is dealt with.
    pub(crate) fn disturb_call(&mut self, id: ConnId, call: &Call) -> bool {
        let mut named = super::answers::named(call);
        let operation = call.operation();
        let subject = Subject {
            channel: named.channel.as_deref(),
            operation: Some(operation),
            ..Subject::default()
        };
        let calls = |act: &FaultAct| matches!(act, FaultAct::Api(_));
        let Some((fault, FaultAct::Api(act))) = self.fault(calls, &subject) else {
            return false;
        };
        named.fault = Some(fault);
        self.disturb(id, (Purpose::Api(operation), named, false), &act)
    }

    fn disturb(
        &mut self,
        id: ConnId,
        (purpose, named, close): (Purpose, Named, bool),
        act: &RequestAct,
    ) -> bool {
        match act {
            RequestAct::Refuse { error, status, .. } => {
                let refusal = Refusal::new(Check::FaultInjected, error.name);
                let status = status.expect("the script says which");
                self.respond(
                    id,
                    purpose,
                    PredictedResponse::refusal(status, refusal, named, close),
                );
            }
            RequestAct::Delay(ms) => {
                self.mute(id, self.now + ms);
                return false;
            }
            RequestAct::Hang => {
                self.mute(id, NEVER);
                self.conns[id].stage = Stage::AwaitHead;
            }
            RequestAct::Reset => self.abort(id),
        }
        true
    }

    /// A fault was made: one about connections acts on those of a shard that are open.
    pub(crate) fn fault_made(&mut self, shard: usize, act: &FaultAct) {
        if !matches!(act, FaultAct::Session(_)) {
            return;
        }
        let conns = self.conns.iter().enumerate();
        let mut here: Vec<_> = conns
            .filter(|(_, conn)| conn.live && conn.shard == shard)
            .map(|(id, conn)| (conn.key, id))
            .collect();
        here.sort_unstable();
        for (_, id) in here {
            self.disturb_session(id);
        }
    }

    /// Applies a fault to a connection that is open, or opens.
    pub(crate) fn disturb_session(&mut self, id: ConnId) {
        let conn = &self.conns[id];
        let (Stage::Open, Some(ws)) = (&conn.stage, &conn.ws) else {
            return;
        };
        if ws.superseded {
            return;
        }
        let (name, viewer) = (self.channels[ws.channel].name.clone(), ws.viewer.clone());
        let subject = Subject {
            channel: Some(&name),
            peer: Some(viewer.as_deref()),
            ..Subject::default()
        };
        let sessions = |act: &FaultAct| matches!(act, FaultAct::Session(_));
        if let Some((_, FaultAct::Session(act))) = self.fault(sessions, &subject) {
            self.act_on_session(id, &act);
        }
    }

    /// Applies an act to a connection, if it is open and has its slot.
    pub(crate) fn act_on_session(&mut self, id: ConnId, act: &SessionAct) {
        let conn = &self.conns[id];
        let slot = conn.ws.as_ref().is_some_and(|ws| !ws.superseded);
        if !slot || !matches!(conn.stage, Stage::Open) {
            return;
        }
        let shard = conn.shard;
        match act {
            SessionAct::GoAway { grace_ms } => {
                let ws = self.conns[id].ws.as_mut().expect("open");
                if !std::mem::replace(&mut ws.told, true) && ws.notices {
                    self.expect(id, Expect::GoAway, 2 + 25);
                }
                let close = Later::Close(id, 1001, "Going away".to_owned());
                self.put_off(shard, self.now + grace_ms, close);
            }
            SessionAct::Close {
                code,
                reason,
                after_ms: 0,
            } => self.close_ws(id, *code, reason, EndReason::Operator),
            SessionAct::Close {
                code,
                reason,
                after_ms,
            } => {
                let close = Later::Close(id, *code, reason.to_string());
                self.put_off(shard, self.now + after_ms, close);
            }
            SessionAct::HalfOpen(_) | SessionAct::SendEmpty => {
                unreachable!("the workload has none")
            }
            SessionAct::Stall(ms) => self.mute(id, ms.map_or(NEVER, |ms| self.now + ms)),
            SessionAct::ReconnectIce => drop(self.reconnect(id)),
            SessionAct::Reset => {
                self.because(id, EndReason::Operator);
                self.abort(id);
            }
        }
    }

    /// A current connection is to fetch ICE servers again; whether that was possible.
    pub(crate) fn reconnect(&mut self, id: ConnId) -> bool {
        if !self.conns[id].ws.as_ref().expect("open").notices {
            self.recall(id);
        } else if self.has_control_room(id) {
            self.expect(id, Expect::ReconnectIce, 2 + 38);
        } else {
            return false;
        }
        true
    }
}

fn upgrade_outcome(status: u16, error_type: &str) -> UpgradeOutcome {
    match status {
        401 => UpgradeOutcome::Unauthenticated,
        403 => UpgradeOutcome::Forbidden,
        404 => UpgradeOutcome::NotFound,
        500.. => UpgradeOutcome::Unavailable,
        _ if error_type.contains("Limit") => UpgradeOutcome::Limited,
        _ => UpgradeOutcome::Invalid,
    }
}

/// For the coverage table.
fn met(act: &FaultAct) -> &'static str {
    use broker_core::shard::{DeliveryAct as Delivery, MessageAct as Message};
    match act {
        FaultAct::Connect(RequestAct::Refuse { .. }) => "scripted: connect refused",
        FaultAct::Connect(RequestAct::Delay(_)) => "scripted: connect delayed",
        FaultAct::Connect(RequestAct::Hang) => "scripted: connect hung",
        FaultAct::Connect(RequestAct::Reset) => "scripted: connect reset",
        FaultAct::Api(RequestAct::Refuse { .. }) => "scripted: call refused",
        FaultAct::Api(RequestAct::Delay(_)) => "scripted: call delayed",
        FaultAct::Api(RequestAct::Hang) => "scripted: call hung",
        FaultAct::Api(RequestAct::Reset) => "scripted: call reset",
        FaultAct::Message(Message::Drop) => "scripted: message dropped",
        FaultAct::Message(Message::Delay(_)) => "scripted: message delayed",
        FaultAct::Message(Message::Status { .. }) => "scripted: message refused",
        FaultAct::Message(Message::Expire) => "scripted: message expired",
        FaultAct::Message(Message::Misdirect(_)) => "scripted: message misdirected",
        FaultAct::Message(Message::Session(_)) => {
            "scripted: message ended or changed its sender's session"
        }
        FaultAct::Delivery(Delivery::Drop) => "scripted: delivery dropped",
        FaultAct::Delivery(Delivery::Delay(_)) => "scripted: delivery delayed",
        FaultAct::Delivery(Delivery::Duplicate) => "scripted: delivery doubled",
        FaultAct::Delivery(Delivery::Reorder) => "scripted: delivery swapped",
        FaultAct::Delivery(Delivery::Corrupt(_)) => "scripted: delivery spoiled",
        FaultAct::Delivery(Delivery::Session(_)) => "scripted: delivery ended or changed a session",
        FaultAct::Session(SessionAct::GoAway { .. }) => "scripted: session told to go",
        FaultAct::Session(SessionAct::Close { .. }) => "scripted: session closed",
        FaultAct::Session(SessionAct::HalfOpen(_)) => "scripted: session cut off",
        FaultAct::Session(SessionAct::SendEmpty) => "scripted: session sent an empty message",
        FaultAct::Session(SessionAct::Stall(_)) => "scripted: session stalled",
        FaultAct::Session(SessionAct::ReconnectIce) => "scripted: session to fetch ICE servers",
        FaultAct::Session(SessionAct::Reset) => "scripted: session reset",
    }
}
