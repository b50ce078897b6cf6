//! Messages that are sent with a part of them spoiled.
//!
//! A spoiled frame is as long as it was, and its payload and its sender's id are where they were: a message that comes
//! back from an outbox is kept, and sent again, like any other.

use crate::id::SessionKey;
use crate::shard::books::Books;
use crate::shard::books::recorder::Passage;
use crate::shard::dev::faults::rule::Corruption;
use crate::shard::road::passing::Passing;
use crate::shard::road::relay;
use crate::shard::sockets::Sockets;
use crate::shard::todo::TodoList;
use crate::time::Moment;
use codec::signal::Delivery;

/// Puts a spoiled message into its recipient's outbox. Where that has no room the message goes the usual way, as it is.
pub(crate) fn deliver(
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
    if sockets
        .push_message(to, passing.launch, room, write)
        .is_err()
    {
        return relay::deliver(sockets, books, todo, to, passing, at);
    }
    let passed = passing.passed(Passage::Relayed, bytes);
    books
        .note()
        .relayed(at, passing.channel, passed, passing.from, to);
    books.count_queued(bytes);
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
mod tests {

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
