//! Faults of messages, between their route and their recipient's outbox; messages that are sent spoiled.

use crate::event::{Kind, Outcome};
use crate::id::{ChannelKey, SessionKey};
use crate::session::outbox::Launch;
use crate::shard::dev::faults::{
    Corruption, DeliveryAct, FaultAct, FaultCounts, Faults, HeldMessage, MessageAct, SharedRule,
    Subject,
};
use crate::shard::dev::state::Fate;
use crate::shard::flight_recorder::{NOBODY, Passage};
use crate::shard::road::in_flight::{Parts, Passing};
use crate::shard::road::{delivery, service_messages};
use crate::shard::todo::{Own, Todo, TodoList};
use crate::shard::{Books, Directory, Sockets};
use crate::time::{Moment, Now};
use crate::{channel::Route, journal::Unaccepted, limits::FAULT_REORDER_MS};
use codec::signal::{Delivery, Role};

/// Has faults act on a message that has its route; true when it is dealt with. Tests get a copy of it.
#[cold]
pub(crate) fn on_message(
    mut parts: Parts<'_>,
    passing: &Passing<'_>,
    route: Route,
    at: Moment,
) -> bool {
    let Parts {
        sockets,
        directory,
        books,
        todo,
    } = parts.lend();
    let Some(faults) = sockets.dev().faults.as_deref() else {
        return false;
    };
    if faults.is_idle() {
        if sockets.dev().copies.is_some() {
            let name = name_of(directory, passing.channel);
            passing.copy(sockets, name, Fate::of(route), at);
        }
        return false;
    }
    let name = name_of(directory, passing.channel);
    if let Some(rule) = rule_of(faults, name, passing, false, at.now)
        && let FaultAct::Message(act) = &rule.act
    {
        let fate = match act {
            MessageAct::Drop => Fate::Dropped,
            MessageAct::Expire => Fate::Expired,
            MessageAct::Status { .. } => Fate::Refused,
            MessageAct::Delay(_) => Fate::of(route),
            MessageAct::Misdirect(viewer) => return misdirect(parts, passing, viewer, at),
            MessageAct::Session(act) => {
                let act = Own::Act(passing.from, act.clone());
                if !on_route(parts.lend(), passing, route, at) {
                    delivery::hand_on(parts.lend(), route, passing, at);
                }
                parts.todo.push(Todo::Double(Box::new(act)));
                return true;
            }
        };
        passing.copy(sockets, name, fate, at);
        let held_ms = on_arrival(sockets, books, todo, passing, act, at);
        let hold = |ms| {
            hold(
                sockets,
                books,
                passing,
                at.now.after(ms),
                None,
                &rule.counts,
            )
        };
        return held_ms.is_none_or(hold);
    }
    on_route(parts, passing, route, at)
}

/// Passes a message on as one of another viewer; true when it is dealt with.
fn misdirect(mut parts: Parts<'_>, passing: &Passing<'_>, viewer: &str, at: Moment) -> bool {
    let (sender, recipient) = match passing.delivery.sender {
        Some(_) => (Some(viewer), passing.recipient),
        None => (None, viewer),
    };
    let (from, asked) = ((passing.from, sender), (passing.launch.action, recipient));
    let accepted = parts.directory.accept(passing.channel, from, asked, at.now);
    let Some(accepted) = accepted else {
        return false;
    };
    let passing = Passing {
        launch: Launch {
            order: accepted.order,
            follows: accepted.follows,
            sender_bytes: u16::try_from(sender.map_or(0, str::len)).unwrap_or(u16::MAX),
            ..passing.launch
        },
        delivery: Delivery {
            sender,
            ..passing.delivery
        },
        recipient,
        ..*passing
    };
    if !on_route(parts.lend(), &passing, accepted.route, at) {
        delivery::hand_on(parts.lend(), accepted.route, &passing, at);
    }
    delivery::follow(parts.todo, passing.channel, accepted.releases);
    true
}

/// Has faults act on the delivery of a message; true when it is dealt with.
fn on_route(parts: Parts<'_>, passing: &Passing<'_>, route: Route, at: Moment) -> bool {
    let Parts {
        sockets,
        directory,
        books,
        todo,
    } = parts;
    let Some(faults) = sockets.dev().faults.as_deref() else {
        return false;
    };
    let name = name_of(directory, passing.channel);
    let Route::To(to) = route else {
        passing.copy(sockets, name, Fate::of(route), at);
        return false;
    };
    let rule = rule_of(faults, name, passing, true, at.now);
    let act = rule.as_deref().and_then(|rule| match &rule.act {
        FaultAct::Delivery(act) => Some((act, &rule.counts)),
        FaultAct::Connect(_) | FaultAct::Api(_) | FaultAct::Message(_) | FaultAct::Session(_) => {
            None
        }
    });
    let fate = match act {
        Some((DeliveryAct::Drop, _)) => Fate::Dropped,
        Some(_) | None => Fate::Delivered,
    };
    passing.copy(sockets, name, fate, at);
    if let Some((act, counts)) = act
        && on_delivery(sockets, books, todo, passing, (to, act, counts), at)
    {
        return true;
    }
    // A held message that was to follow the next one for this recipient follows this one.
    let behind = sockets.dev_mut().faults.as_deref_mut();
    let behind = behind.and_then(|faults| faults.held.take_behind(to));
    let behind = behind.map(Own::Release);
    let acts = act.and_then(|(act, _)| act.on_session());
    let acts = acts.map(|act| Own::Act(to, act.clone()));
    if behind.is_none() && acts.is_none() {
        return false;
    }
    delivery::deliver(sockets, books, todo, to, passing, at);
    for own in acts.into_iter().chain(behind) {
        todo.push(Todo::Double(Box::new(own)));
    }
    true
}

/// The name of a channel.
fn name_of(directory: &Directory, channel: ChannelKey) -> &str {
    let channel = directory.channel(channel);
    channel.map_or("", |channel| channel.record.arn.name())
}

/// The rule for a message when it arrives, or for its delivery: then its recipient is what it is about.
fn rule_of(
    faults: &Faults,
    name: &str,
    passing: &Passing<'_>,
    delivery: bool,
    now: Now,
) -> Option<SharedRule> {
    if faults.rules.is_empty() {
        return None;
    }
    let sender = passing.delivery.sender;
    let (role, client_id) = match (delivery, sender) {
        (false, Some(id)) => (Role::Viewer, Some(id)),
        (false, None) | (true, Some(_)) => (Role::Master, None),
        (true, None) => (Role::Viewer, Some(passing.recipient)),
    };
    let subject = Subject {
        channel: Some(name),
        role: Some(role),
        client_id,
        operation: None,
        action: Some(passing.launch.action),
    };
    let kind = |act: &FaultAct| match act {
        FaultAct::Message(_) => !delivery,
        FaultAct::Delivery(_) => delivery,
        FaultAct::Connect(_) | FaultAct::Api(_) | FaultAct::Session(_) => false,
    };
    faults.pick(kind, &subject, now)
}

/// Ends a message, or returns for how many milliseconds it is held back.
fn on_arrival(
    sockets: &mut Sockets,
    books: &mut Books,
    todo: &mut TodoList,
    passing: &Passing<'_>,
    act: &MessageAct,
    at: Moment,
) -> Option<u64> {
    match act {
        MessageAct::Drop => passing.end(books, Outcome::Withdrawn),
        MessageAct::Expire => passing.end(books, Outcome::Expired),
        MessageAct::Status {
            error_type,
            status_code,
            description,
        } => {
            let kind = Kind::Known(passing.launch.action);
            books.count_unaccepted(kind, Unaccepted::FaultInjected);
            let of = passing.status_of();
            service_messages::status_with(sockets, books, todo, of, at, |out, id| {
                codec::signal::status_response(out, id, error_type, *status_code, description);
            });
        }
        MessageAct::Delay(ms) => return Some(*ms),
        MessageAct::Misdirect(_) | MessageAct::Session(_) => {} // they go on
    }
    None
}

fn on_delivery(
    sockets: &mut Sockets,
    books: &mut Books,
    todo: &mut TodoList,
    passing: &Passing<'_>,
    (to, act, counts): (SessionKey, &DeliveryAct, &FaultCounts),
    at: Moment,
) -> bool {
    match act {
        DeliveryAct::Drop => {
            passing.end(books, Outcome::Withdrawn);
            true
        }
        DeliveryAct::Delay(ms) => hold(sockets, books, passing, at.now.after(*ms), None, counts),
        DeliveryAct::Reorder => {
            let until = at.now.after(FAULT_REORDER_MS);
            hold(sockets, books, passing, until, Some(to), counts)
        }
        DeliveryAct::Duplicate => {
            delivery::deliver(sockets, books, todo, to, passing, at);
            let again = Own::SendAgain(passing.deferred(), to);
            todo.push(Todo::Double(Box::new(again)));
            true
        }
        DeliveryAct::Corrupt(part) => {
            deliver_corrupted(sockets, books, todo, passing, (to, *part), at);
            true
        }
        DeliveryAct::Session(_) => false, // it is sent as usual before
    }
}

/// Holds a message back, in the gauge of pending ones; false when there is no room: it goes on at once.
fn hold(
    sockets: &mut Sockets,
    books: &mut Books,
    passing: &Passing<'_>,
    until: Now,
    behind: Option<SessionKey>,
    counts: &FaultCounts,
) -> bool {
    let Some(faults) = sockets.dev_mut().faults.as_deref_mut() else {
        return false;
    };
    let message = HeldMessage {
        from: Some(passing.from),
        channel: passing.channel,
        viewer: passing.delivery.sender.map(Into::into),
        launch: passing.launch,
        payload: passing.delivery.payload.into(),
        recipient: passing.recipient.into(),
        behind,
    };
    let held = faults.held.hold(message, until, counts);
    books.count_kept(usize::from(held));
    held
}

/// A message that was held back goes on, wherever its recipient is by then.
pub(crate) fn release(mut parts: Parts<'_>, message: HeldMessage, at: Moment) {
    parts.books.count_unkept();
    let from = (message.from).unwrap_or_else(|| SessionKey::unpack(NOBODY));
    let by = message.launch.from.unwrap_or(from);
    let by = (by, message.viewer.as_deref());
    let asked = (message.launch.action, &*message.recipient);
    let accepted = parts.directory.accept(message.channel, by, asked, at.now);
    let launch = Launch {
        accepted_us: None, // how long it took says nothing about the broker
        // It comes behind what was accepted meanwhile, wherever it is kept.
        order: accepted.map_or(message.launch.order, |accepted| accepted.order),
        follows: accepted.is_some_and(|accepted| accepted.follows),
        ..message.launch
    };
    let passing = Passing {
        from,
        channel: message.channel,
        launch,
        delivery: Delivery {
            action: launch.action,
            payload: &message.payload,
            sender: message.viewer.as_deref(),
        },
        recipient: &message.recipient,
        correlation_id: None,
    };
    let Some(accepted) = accepted else {
        return passing.end(parts.books, Outcome::Withdrawn);
    };
    delivery::hand_on(parts.lend(), accepted.route, &passing, at);
    delivery::follow(parts.todo, passing.channel, accepted.releases);
}

/// Sends a message once more; the copy counts nowhere, and is dropped where there is no room.
pub(crate) fn send_again(
    sockets: &mut Sockets,
    books: &mut Books,
    to: SessionKey,
    passing: &Passing<'_>,
) {
    let bytes = passing.delivery.frame_bytes();
    let write = |out: &mut Vec<u8>| passing.delivery.write(out);
    sockets.push_copy(books, to, passing.launch, bytes, write);
}

impl Sockets {
    /// Messages of a channel that faults hold back are withdrawn.
    pub(crate) fn withdraw_held(&mut self, books: &mut Books, channel: ChannelKey) {
        let Some(faults) = self.dev_mut().faults.as_deref_mut() else {
            return;
        };
        while let Some(message) = faults.held.take_of(channel) {
            let kind = Kind::Known(message.launch.action);
            books.count_kept_ended(kind, Outcome::Withdrawn);
        }
    }

    /// Sends once more what `write` writes, where there is room.
    pub(crate) fn push_copy(
        &mut self,
        books: &mut Books,
        to: SessionKey,
        launch: Launch,
        bytes: usize,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let launch = Launch {
            counted: false,
            accepted_us: None,
            ..launch
        };
        let room = (bytes, books.outbox_bytes());
        if let Ok((queued, _)) = self.push_message(to, launch, room, write) {
            books.count_copy_queued(queued);
        }
    }
}

// Messages that are sent with a part of them spoiled.
//
// A spoiled frame is as long as it was, and its payload and its sender's id are where they were: a message that comes
// back from an outbox is kept, and sent again, like any other.

/// Puts a spoiled message into its recipient's outbox. Where that has no room the message goes the usual way, as it is.
fn deliver_corrupted(
    sockets: &mut Sockets,
    books: &mut Books,
    todo: &mut TodoList,
    passing: &Passing<'_>,
    (to, part): (SessionKey, Corruption),
    at: Moment,
) {
    let bytes = passing.delivery.frame_bytes();
    let room = (bytes, books.outbox_bytes());
    let write = |out: &mut Vec<u8>| {
        let begin = out.len();
        passing.delivery.write(out);
        spoil(out.get_mut(begin..).unwrap_or_default(), part);
    };
    let Ok((queued, _)) = sockets.push_message(to, passing.launch, room, write) else {
        return delivery::deliver(sockets, books, todo, to, passing, at);
    };
    let passed = passing.passed(Passage::Relayed, bytes);
    books
        .note()
        .relayed(at, passing.channel, passed, passing.from, to);
    books.count_queued(queued);
}

/// Spoils a part of a frame that [`Delivery::write`] made.
pub(crate) fn spoil(frame: &mut [u8], part: Corruption) {
    let payload = Delivery::payload_range(frame);
    let payload = match part {
        Corruption::Payload | Corruption::Base64 => frame.get_mut(payload).unwrap_or_default(),
        Corruption::Message => {
            if let Some(end) = frame.last_mut() {
                *end = b']';
            }
            return;
        }
    };
    for byte in payload {
        match part {
            Corruption::Payload if *byte == b'=' => {}
            Corruption::Payload => *byte = b'A',
            Corruption::Base64 | Corruption::Message => *byte = b'!',
        }
    }
}

#[cfg(test)]
mod corrupt_tests {
    use super::*;
    use codec::signal::Action;

    #[test]
    fn a_part_of_a_frame_is_spoiled_and_the_rest_stays() {
        let frame = |payload: &str| {
            let mut out = Vec::new();
            Delivery {
                action: Action::SdpOffer,
                payload: payload.as_bytes(),
                sender: Some("phone-1"),
            }
            .write(&mut out);
            out
        };
        for (part, payload) in [
            (Corruption::Payload, "AAAAAA=="),
            (Corruption::Base64, "!!!!!!!!"),
        ] {
            let mut spoiled = frame("eyJhIg==");
            spoil(&mut spoiled, part);
            assert_eq!(spoiled, frame(payload), "{part:?}");
        }
        let mut spoiled = frame("eyJhIg==");
        spoil(&mut spoiled, Corruption::Message);
        let whole = frame("eyJhIg==");
        assert_eq!(
            spoiled.split_last().unwrap(),
            (&b']', whole.split_last().unwrap().1)
        );
    }
}
