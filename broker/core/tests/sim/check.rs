//! Rules that must hold after every step: the machine did what the model says, nothing else, and the books agree.

use crate::sim::letters::{Post, Tag};
use crate::sim::model::{Body, ConnId, Expect, Question};
use crate::sim::socket::Stage;
use crate::sim::wire::{Item, Response};
use crate::sim::world::World;
use broker_core::id::{CallRef, SessionKey, ShardId};
use broker_core::limits::ANSWER_BYTES_MAX;
use broker_core::machine::{Machine, Output};
use broker_core::refusal_id::RefusalId;
use broker_core::shard::{Letter, QueryKind, Shard};
use broker_core::time::Wall;
use std::collections::BTreeSet;

impl World {
    /// Before an input: the model sees how full the outboxes are, and forgets what the last input led to.
    pub(crate) fn before(&mut self, shard: usize) {
        self.model.out = crate::sim::model::Predicted::default();
        let mut all = 0;
        for &conn in self.keys[shard].values() {
            let (bytes, messages) = self.sockets[conn].waits;
            let one = &mut self.model.conns[conn];
            (one.bytes, one.control, one.unsure) = (bytes, bytes - messages, 0);
            (one.sent, one.begins) = (self.sockets[conn].sent, self.sockets[conn].begins);
            one.key = self.sockets[conn].key;
            all += messages;
        }
        self.model.shards[shard].outbox_bytes = all;
    }

    pub(crate) fn outbox_bytes(&self, conn: ConnId) -> usize {
        let socket = &self.sockets[conn];
        let queued = self.shards[socket.shard].queued(socket.key).len();
        socket.stream.len() - socket.sent + queued
    }

    /// The number of these bytes that belong to messages. Of an HTTP connection's answers none but the last is begun
    /// beyond the bound.
    pub(crate) fn message_bytes(&self, conn: ConnId, own: usize) -> usize {
        if own == 0 {
            return 0;
        }
        let sent = self.sockets[conn].sent;
        let items = self.items(conn);
        if self.model.conns[conn].ws.is_none() {
            let last = items.last().map_or(0, |last| last.end - last.begin);
            let bound = own.saturating_sub(last) < ANSWER_BYTES_MAX;
            assert!(bound, "connection {conn} has {own} bytes of answers");
        }
        let messages = items
            .iter()
            .filter(|placed| matches!(placed.item, Item::Message { .. }));
        messages
            .map(|placed| placed.end.saturating_sub(placed.begin.max(sent)))
            .sum()
    }

    /// After an input: its outputs are obeyed and compared. `clock`: it may have led to what the model only observes.
    pub(crate) fn after(&mut self, shard: usize, clock: bool) {
        self.step += 1;
        let mut ends = Vec::new();
        let mut refused = Vec::new();
        let (mut drained, asked) = (0, self.looks.len());
        while let Some(output) = self.shards[shard].poll_output() {
            match output {
                Output::Send(key) => {
                    let conn = self.conn(shard, key);
                    self.model.out.touched.insert(conn);
                    self.sockets[conn].asked = true;
                }
                Output::HandOver(key, to) => {
                    let conn = self.conn(shard, key);
                    let predicted = self.model.out.handovers.pop_front();
                    assert_eq!(predicted, Some((conn, to.index())), "a handover");
                    self.sockets[conn].stage = Stage::Leaving(to.index());
                }
                Output::PassOn(..)
                | Output::Displace(_)
                | Output::LoseOwner(_)
                | Output::Leave(_)
                | Output::KeepAlive(_) => {
                    unreachable!("one process is the whole service")
                }
                Output::Admin(_) => unreachable!("pages are served without --lan elsewhere"),
                Output::Ask(key) => self.looks.push_back(self.conn(shard, key)),
                Output::Post(to, letter) => refused.extend(self.post(shard, to, *letter)),
                Output::Close(key) => ends.push((self.conn(shard, key), false)),
                Output::Abort(key) => ends.push((self.conn(shard, key), true)),
                Output::Reset(_) => {} // an abort follows
                Output::Drained => drained += 1,
            }
        }
        let mut touched = self.model.out.touched.clone();
        touched.extend(ends.iter().map(|(conn, _)| *conn));
        if clock || self.step.is_multiple_of(16) {
            touched.extend(self.keys[shard].values());
        }
        touched.retain(|conn| self.model.conns[*conn].live && self.sockets[*conn].shard == shard);
        self.all_controls(&touched, clock);
        for (conn, aborted) in ends {
            self.ended_as_predicted(conn, aborted, clock);
        }
        if self.model.out.ticks && self.model.by_pong() {
            self.sweep_observed(shard);
        }
        touched.extend(self.model.out.touched.iter().copied());
        self.looks_as_predicted(asked, clock);
        self.masters_are_there(shard);
        self.nothing_missing(shard, &touched);
        self.noted_as_predicted(shard);
        self.recorded_as_predicted(shard, clock);
        self.stored_as_predicted(shard);
        self.told_as_predicted(shard);
        self.books(shard);
        // A machine looks whether its drain is over after each input; opening and adopting are none.
        let over = std::mem::take(&mut self.input) && self.model.drained(shard);
        assert_eq!(
            drained,
            usize::from(over),
            "Drained, once, when empty or over"
        );
        self.drained[shard] |= over;
        while let Some(conn) = self.looks.pop_front() {
            self.say_unacknowledged(conn);
        }
        for (letter, caller, by) in refused {
            self.refuse(shard, letter, caller, by);
        }
    }

    fn conn(&self, shard: usize, key: SessionKey) -> ConnId {
        *self.keys[shard]
            .get(&key)
            .expect("an output names a living session")
    }

    /// A letter is posted as predicted, or found no room.
    fn post(
        &mut self,
        from: usize,
        to: ShardId,
        letter: Letter,
    ) -> Option<(Letter, crate::sim::model::Caller, usize)> {
        let reference = |caller: &CallRef| (caller.shard.0, caller.session.pack(), caller.serial);
        let out = &mut self.model.out;
        let tag = match &letter {
            Letter::Query(caller, query) => {
                let predicted = out.asks.pop_front();
                let (predicted, home, question) = predicted.expect("a question was predicted");
                let asked = match query.kind {
                    QueryKind::Permit(_) => Question::Permit,
                    QueryKind::Count { .. } => Question::Count,
                    _ => Question::Call,
                };
                assert_eq!(asked, question, "what is asked");
                assert_eq!(home, to.index(), "a question goes to the channel's home");
                assert_eq!(
                    self.keys[from].get(&caller.session),
                    Some(&predicted.conn),
                    "whose question"
                );
                self.callers.insert(reference(caller), predicted);
                Tag::Ask(predicted, question)
            }
            Letter::Answer(home, caller, _) => {
                let known = self.callers.get(&reference(caller));
                let place = (out.tells.iter()).position(|(whose, ..)| Some(whose) == known);
                let (predicted, at, told) = place
                    .and_then(|place| out.tells.remove(place))
                    .expect("an answer was predicted");
                assert_eq!((at, predicted.shard), (home.index(), to.index()));
                Tag::Tell(predicted, at, told)
            }
            Letter::CallTaken(..)
            | Letter::CallWithdrawn(_)
            | Letter::CallAnswer(..)
            | Letter::CallOver(_) => self.alexa_letter(to, &letter),
            Letter::Drain(_) => panic!("no shard drains another"),
            Letter::Slots => panic!("no slot moves"),
            Letter::Committed(..) => panic!("only a store tells of a change"),
            Letter::Credentials(_) => panic!("only the operator changes them"),
            Letter::Settings(_) => panic!("only the operator changes them"),
            Letter::Keyring(_) => panic!("no provider is asked"),
        };
        if let Tag::Ask(caller, _) = tag
            && Shard::refusable(&letter)
            && self.plan.refuses(&mut self.random)
        {
            return Some((letter, caller, to.index()));
        }
        self.hit("letter posted");
        self.mail[to.index()].push_back(Post::Letter(letter, tag));
        None
    }

    /// By slot, as a drain goes: who gives back first may find the room that the next one lacks.
    fn all_controls(&mut self, touched: &BTreeSet<ConnId>, clock: bool) {
        let mut in_order: Vec<ConnId> = touched.iter().copied().collect();
        in_order.sort_unstable_by_key(|conn| self.sockets[*conn].key);
        for conn in in_order {
            self.controls(conn, clock);
        }
    }

    /// Compares what appeared in a stream beside messages with what was predicted.
    fn controls(&mut self, conn: ConnId, clock: bool) {
        let items = self.items(conn);
        let is_message = |item: &Item| matches!(item, Item::Message { .. });
        let mut messages = 0;
        let fresh = items.iter().map(|placed| &placed.item).filter_map(|item| {
            messages += usize::from(is_message(item));
            (!is_message(item)).then_some((item, messages))
        });
        for (item, before) in fresh.skip(self.sockets[conn].seen) {
            self.sockets[conn].seen += 1;
            let expected = self.model.conns[conn].expects.front();
            if let Some(expected) = expected.filter(|expected| fits(expected, item)) {
                self.id_is_right(conn, expected, item);
                self.model.conns[conn].expects.pop_front();
                self.model.pinged(conn, item, before, clock);
            } else if clock {
                if self.model.ends_now(conn) {
                    self.model.give_up(); // something came before the predicted end
                }
                self.model.closes_unpinged(conn, item);
                self.trace(self.sockets[conn].shard, &("by the clock", conn, item));
                self.model.observe(conn, item);
                self.model.pinged(conn, item, before, clock);
            } else {
                panic!("connection {conn} got {item:?}, not {expected:?}");
            }
        }
    }

    fn ended_as_predicted(&mut self, conn: ConnId, aborted: bool, clock: bool) {
        let out = &mut self.model.out;
        let list = |out: &mut crate::sim::model::Predicted| {
            let list = if aborted {
                &mut out.aborts
            } else {
                &mut out.closes
            };
            let place = list.iter().position(|one| *one == conn);
            place.map(|place| list.remove(place)).is_some()
        };
        if !list(out) {
            let lost = self.model.conns[conn].lost_sync;
            assert!(clock || lost, "connection {conn} was ended for no reason");
            if aborted {
                self.model.observe_abort(conn);
            } else {
                self.model.observe_close(conn);
            }
            assert!(list(&mut self.model.out), "one end a step");
        }
        let socket = &mut self.sockets[conn];
        socket.stage = match (socket.stage, aborted) {
            (_, true) => Stage::Shut,
            (Stage::Open | Stage::Leaving(_), false) => Stage::Closing,
            (other, false) => panic!("closed in {other:?}"),
        };
    }

    /// Where a pong is the proof, the sweep asks nobody, and what it does is seen by its sums.
    fn sweep_observed(&mut self, shard: usize) {
        let snapshot = self.shards[shard].snapshot();
        self.model.observe_doubts(shard, snapshot.doubtful);
        let unconfirmed = snapshot.counters.unconfirmed_bytes;
        self.model.observe_returns(shard, unconfirmed);
        for conn in self.model.out.touched.clone() {
            if self.model.conns[conn].live && self.sockets[conn].shard == shard {
                self.controls(conn, true);
            }
        }
    }

    /// The edge was asked what it should have been, behind so many earlier questions; by the clock about anybody who
    /// has messages that are not confirmed.
    fn looks_as_predicted(&mut self, earlier: usize, clock: bool) {
        for &conn in self.looks.iter().skip(earlier) {
            let looks = &mut self.model.out.looks;
            match looks.iter().position(|one| *one == conn) {
                Some(place) => drop(looks.remove(place)),
                None => {
                    let written = !self.model.conns[conn].written.is_empty();
                    let is_due = self.model.is_asked_for_bytes(conn, clock);
                    assert!(
                        is_due || clock && written,
                        "nobody wants to know what {conn} has"
                    );
                }
            }
        }
        let looks = &self.model.out.looks;
        assert!(looks.is_empty(), "not asked: {looks:?}");
    }

    /// Everything predicted has happened, and the messages in the streams are those that the model has queued.
    fn nothing_missing(&mut self, shard: usize, touched: &BTreeSet<ConnId>) {
        let out = &self.model.out;
        assert!(out.closes.is_empty(), "not closed: {:?}", out.closes);
        assert!(out.aborts.is_empty(), "not aborted: {:?}", out.aborts);
        assert!(out.handovers.is_empty() && out.asks.is_empty());
        assert!(out.tells.is_empty(), "not told: {:?}", out.tells);
        assert!(out.takens.is_empty() && out.overs.is_empty() && out.withdraws.is_empty());
        assert!(out.answers.is_empty(), "not answered: {:?}", out.answers);
        for &conn in touched {
            let state = &self.model.conns[conn];
            if !state.live || state.shard != shard {
                continue;
            }
            assert!(
                state.expects.is_empty(),
                "connection {conn} did not get {:?}",
                state.expects
            );
            let socket = &self.sockets[conn];
            let items = self.items(conn);
            let found = items.iter().filter_map(|placed| match &placed.item {
                Item::Message { text, .. } => Some(text),
                _ => None,
            });
            let messages = &self.model.messages;
            let wanted = state.outbox.iter().map(|one| &messages[one.number].text);
            assert!(
                found.clone().eq(wanted.clone()),
                "the messages queued for connection {conn}: {:?}, not {:?}",
                found.collect::<Vec<_>>(),
                wanted.collect::<Vec<_>>()
            );
            let unsent = !self.shards[shard].unsent(socket.key).is_empty();
            let open = matches!(socket.stage, Stage::Open | Stage::Leaving(_));
            assert!(
                !unsent || !open || socket.reset || socket.asked || !socket.at_rest(),
                "connection {conn} has unsent bytes that were not reported"
            );
        }
    }

    /// Reads a refusal from its request id.
    pub(crate) fn id_says(&self, id: &str) -> Option<RefusalId> {
        let shards = u16::try_from(self.shards.len()).expect("few");
        let said = self.reader.read(id, Wall(self.model.wall), shards);
        said.filter(|said| said.at >= NO_EARLIER) // one random id in some hundred million reads as one, of any time
    }

    /// The id of a response says why it refuses, if it does.
    fn id_is_right(&self, conn: ConnId, expected: &Expect, item: &Item) {
        let (Expect::Response(status, refusal, ..), Item::Response(response)) = (expected, item)
        else {
            return;
        };
        let says = self.id_says(&response.request_id);
        let says = says.map(|says| (usize::from(says.shard.0), says.status, says.check));
        let shard = self.sockets[conn].shard;
        let wanted = refusal.map(|refusal| (shard, *status, refusal.check));
        assert_eq!(says, wanted, "what the request id of {response:?} says");
    }
}

/// Some days before a world begins.
const NO_EARLIER: Wall = Wall(1_699_000_000_000);

fn fits(expected: &Expect, item: &Item) -> bool {
    match (expected, item) {
        (Expect::Upgraded, Item::Response(response)) => response.status == 101,
        (Expect::Response(status, refusal, body, close), Item::Response(response)) => {
            *status == response.status
                && refusal.map_or("", |refusal| refusal.error) == response.error
                && *close == response.close
                && holds(body, response)
        }
        (Expect::Status(text), Item::Status(found)) => text == found,
        (Expect::ReconnectIce, Item::ReconnectIce) | (Expect::GoAway, Item::GoAway) => true,
        (Expect::Pong(payload), Item::Pong(found)) => payload == found,
        (Expect::ProofPing, Item::ProofPing(_)) => true,
        (Expect::Close(code, reason), Item::Close(found, why)) => code == found && reason == why,
        (
            Expect::Upgraded
            | Expect::Response(..)
            | Expect::Status(_)
            | Expect::ReconnectIce
            | Expect::GoAway
            | Expect::Pong(_)
            | Expect::ProofPing
            | Expect::Close(..),
            _,
        ) => false,
    }
}

fn holds(body: &Body, response: &Response) -> bool {
    let text = &response.body;
    match body {
        Body::Error => text.to_ascii_lowercase().starts_with(r#"{"message":""#),
        Body::Empty => text == "{}",
        Body::Exactly(wanted) => text == wanted,
        Body::Holds(parts) => parts.iter().all(|part| text.contains(part)),
        Body::Answer(None) => text == r#"{"Answer":null}"#,
        Body::Answer(Some(answer)) => *text == format!(r#"{{"Answer":"{answer}"}}"#),
        Body::Names(names, more) => {
            let found: Vec<&str> = text
                .split(r#""ChannelName":""#)
                .skip(1)
                .filter_map(|rest| rest.split('"').next())
                .collect();
            let states = text.split(r#""ChannelStatus":""#).skip(1);
            let states = states.filter_map(|rest| rest.split('"').next());
            let lines = found.iter().zip(states);
            let lines: Vec<String> = lines
                .map(|(name, state)| format!("{name} {state}"))
                .collect();
            found.len() == lines.len() && lines == *names && text.contains("NextToken") == *more
        }
    }
}
