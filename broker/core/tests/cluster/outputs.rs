//! Outputs of a node, and the movements of its pending messages.

use crate::cluster::net::ETCD;
use crate::cluster::world::{Way, What, World};
use broker_core::cluster::limits::{CALL_MS, PARCEL_WAIT_MS};
use broker_core::cluster::message::{
    Call, CallId, Held, NodeInput, NodeOutput, Packed, Parcel, ParcelSent, ReleaseCause, Reply,
    SlotOrder,
};
use broker_core::cluster::types::{NodeId, ParcelId, Slot};
use std::collections::BTreeMap;

impl World {
    /// Notes which question or call an answer proves contact by: only one that shows the slots does.
    pub(crate) fn contacts(&mut self, to: usize, input: &NodeInput) {
        match input {
            // Not to another process of this name.
            NodeInput::Answer(_, answer) if answer.asker != self.hosts[to].owner().incarnation => {}
            NodeInput::Answer(from, answer) => {
                self.check.contact(to, answer.asked);
                self.check.says(to, *from, answer.asked, answer.has_etcd);
            }
            NodeInput::Goodbye(from, _) | NodeInput::Refused(from) => {
                self.check.leaves(to, *from);
            }
            // It overtook the changes: it shows nothing.
            NodeInput::Reply(_, Reply::Progress(_)) if self.hosts[to].is_overtaken => {}
            NodeInput::Reply(id, Reply::Snapshot(_) | Reply::Progress(_))
            | NodeInput::Reply(
                id,
                Reply::Outcome {
                    snapshot: Some(_), ..
                },
            ) => {
                let calls = &self.hosts[to].calls;
                if let Some(&sent) = usize::try_from(id.0).ok().and_then(|id| calls.get(id)) {
                    self.check.contact(to, sent);
                    self.check.etcd_shows(to, sent);
                }
            }
            _ => {}
        }
    }

    /// Gives a process an input, and does what it wants done.
    pub(crate) fn input(&mut self, number: usize, input: NodeInput) {
        let host = &mut self.hosts[number];
        let clock = host.clock(self.now);
        let Some(cluster) = &mut host.cluster else {
            return;
        };
        if let NodeInput::Reply(id, Reply::Refused) = &input
            && host.transfers.remove(id)
        {
            let call = usize::try_from(id.0).ok();
            let sent = call.and_then(|call| host.calls.get(call));
            // A node that has given a call up does not learn what came of it.
            if sent.is_some_and(|sent| clock.since(*sent) < CALL_MS) {
                host.refused = Some(clock);
                self.check.met("transfer refused");
            } else {
                self.check.met("transfer refused: too late to be known");
            }
        }
        cluster.handle(input, clock);
        let until = cluster.valid_until();
        self.check.admits_until(number, until, clock, self.now);
        let mut outputs = Vec::new();
        while let Some(output) = cluster.poll_output() {
            outputs.push(output);
        }
        for output in outputs {
            self.output(number, output);
        }
        self.overlaps();
        if self.hosts[number].is_overtaken {
            // Its rights of the time before the changes arrive end at the next look.
            self.check.contacts(self.now, &self.hosts);
        }
    }

    fn output(&mut self, number: usize, output: NodeOutput) {
        let process = self.hosts[number].process;
        let me = self.hosts[number].node;
        match output {
            NodeOutput::Etcd(id, call) => self.send_call(number, id, call),
            NodeOutput::Ask(to, question) => {
                let input = NodeInput::Question(me, question);
                let (from, to) = (number, self.homes[to.index()]);
                let at = self.net.arrival(self.now, (from, to), &mut self.rng);
                self.push(at, What::Asks(Way { from, process, to }, input));
            }
            NodeOutput::Seek(of, asked) => self.seek(number, of, asked),
            NodeOutput::Tell(to, answer) => {
                self.tell(number, to, NodeInput::Answer(me, answer), Vec::new())
            }
            NodeOutput::Farewell(to) => {
                let input = NodeInput::Goodbye(me, self.hosts[number].owner().incarnation);
                self.tell(number, to, input, Vec::new());
            }
            NodeOutput::Send(to, parcel) => self.send_parcel(number, to, parcel),
            NodeOutput::Receipt { to, id, taken } => {
                self.tell(
                    number,
                    to,
                    NodeInput::ParcelAnswer {
                        from: me,
                        id,
                        taken,
                    },
                    Vec::new(),
                );
            }
            NodeOutput::Gained(_, gain) => self.check.gains(gain),
            NodeOutput::Load(held) => self.load(number, held),
            NodeOutput::Discard(id) => {
                self.hosts[number].kept.remove(&id);
            }
            NodeOutput::Order(order) => self.order(number, order),
            NodeOutput::WriteRefused(..) => self.check.met("write refused"),
            NodeOutput::Exit(ending) => {
                self.check.exits(ending);
                self.hosts[number].is_wanted = false;
                self.end_process(number);
            }
        }
    }

    fn send_call(&mut self, number: usize, id: CallId, call: Call) {
        let host = &mut self.hosts[number];
        self.check.calls(number, host.node, &call, self.now);
        host.calls.push(host.clock(self.now));
        if host.gives(&call) {
            host.transfers.insert(id);
        }
        let (from, process, to) = (number, host.process, ETCD);
        let at = self.net.arrival(self.now, (from, to), &mut self.rng);
        self.push(at, What::Calls(Way { from, process, to }, id, call));
    }

    fn send_parcel(&mut self, number: usize, to: NodeId, parcel: Parcel) {
        let host = &mut self.hosts[number];
        let me = host.node;
        let rests = host.refused.map(|at| host.clock(self.now).since(at));
        if let Some(ms) = rests.filter(|ms| *ms < PARCEL_WAIT_MS)
            && parcel.sent == ParcelSent::Ahead
        {
            let slot = parcel.slot;
            self.check.breaks(format!(
                "I12 at {}: host {number} offers {slot:?} {ms} ms after etcd refused a transfer",
                self.now
            ));
        }
        let packed = match parcel.sent {
            ParcelSent::Ahead => host.packed.get(&parcel.id).cloned(),
            // The outputs that follow a lost slot are sent once.
            ParcelSent::Late => host.packed.remove(&parcel.id),
        };
        let messages = packed.map(|(_, messages)| messages).unwrap_or_default();
        self.tell(number, to, NodeInput::Parcel(me, parcel), messages);
    }

    fn load(&mut self, number: usize, held: Held) {
        let process = self.hosts[number].process;
        let delay = self.rng.u64(1..=self.loads_max);
        let delay = if self.hosts[number].cannot_load {
            1_000
        } else {
            delay
        };
        self.push(self.now + delay, What::Loaded(number, process, held));
    }

    pub(crate) fn tell(&mut self, from: usize, to: NodeId, input: NodeInput, messages: Vec<u32>) {
        let to = self.homes[to.index()];
        let process = self.hosts[to].process;
        self.send(from, to, process, input, messages);
    }

    fn order(&mut self, number: usize, order: SlotOrder) {
        match order {
            SlotOrder::Serve(held, parcel, _) => {
                self.serves(number, held);
                if let Some(id) = parcel {
                    self.unpack_kept(number, held, id);
                }
            }
            SlotOrder::Merge(held, id) => self.unpack_kept(number, held, id),
            SlotOrder::Pause(held, id) => {
                self.set_serving(number, held.slot, None);
                let host = &mut self.hosts[number];
                let messages = host.pending.remove(&held.slot).unwrap_or_default();
                self.check.idle(&messages);
                host.packed.insert(id, (held.slot, messages));
            }
            SlotOrder::Resume(held, packed) => {
                self.serves(number, held);
                let messages = self.unpack_own(number, held.slot, packed);
                if packed == Packed::Kept {
                    self.check.active(&messages, self.now);
                    self.hosts[number]
                        .pending
                        .entry(held.slot)
                        .or_default()
                        .extend(messages);
                } else {
                    self.check.lost(&messages);
                }
            }
            SlotOrder::Release(held, cause) => self.released(number, held, cause),
            SlotOrder::CloseAll => self.check.met("alone"),
        }
    }

    fn serves(&mut self, number: usize, held: Held) {
        self.set_serving(number, held.slot, Some(held));
        self.check
            .serves(held, self.hosts[number].owner(), self.now);
    }

    pub(crate) fn set_serving(&mut self, number: usize, slot: Slot, held: Option<Held>) {
        let place = &mut self.hosts[number].serving[slot.index()];
        self.check.counts(slot, place.is_some(), held.is_some());
        *place = held;
    }

    fn unpack_kept(&mut self, number: usize, held: Held, id: ParcelId) {
        let host = &mut self.hosts[number];
        let messages = host.kept.remove(&id).unwrap_or_default();
        self.check.delivers(id, self.now);
        self.check.active(&messages, self.now);
        host.pending.entry(held.slot).or_default().extend(messages);
    }

    /// Takes the messages that this host packed of a slot. Their parcels are void if the messages are `Kept`.
    fn unpack_own(&mut self, number: usize, slot: Slot, packed: Packed) -> Vec<u32> {
        let all = std::mem::take(&mut self.hosts[number].packed).into_iter();
        let (parcels, others): (BTreeMap<_, _>, _) = all.partition(|(_, packed)| packed.0 == slot);
        self.hosts[number].packed = others;
        let mut all = Vec::new();
        for (id, (_, messages)) in parcels {
            if packed == Packed::Kept {
                self.check.voids(id);
            }
            all.extend(messages);
        }
        all
    }

    fn released(&mut self, number: usize, held: Held, cause: ReleaseCause) {
        self.set_serving(number, held.slot, None);
        let host = &mut self.hosts[number];
        let mut messages = host.pending.remove(&held.slot).unwrap_or_default();
        self.check.idle(&messages);
        let packed = self.unpack_own(number, held.slot, Packed::Withdrawn);
        match cause {
            // An offered parcel of the slot comes along: its transfer was not made.
            ReleaseCause::Superseded(Some(id)) => {
                messages.extend(packed);
                self.hosts[number].packed.insert(id, (held.slot, messages));
            }
            ReleaseCause::Transferred => {}
            ReleaseCause::Superseded(None) | ReleaseCause::NotLoaded | ReleaseCause::Ends => {
                self.check.lost(&messages);
                self.check.lost(&packed);
            }
        }
        self.check.met(match cause {
            ReleaseCause::Superseded(_) => "released to a newer epoch",
            ReleaseCause::Transferred => "released by a transfer",
            ReleaseCause::NotLoaded => "released, not loaded",
            ReleaseCause::Ends => "released at the end",
        });
    }
}
