//! The delivery of kept messages, with the faults of deliveries.

use crate::channel::pending::Message;
use crate::id::ChannelKey;
use crate::session::outbox::Launch;
use crate::session::web_socket::Role;
use crate::shard::dev::faults::kept::{Deliveries, on_kept};
use crate::shard::dev::own::Own;
use crate::shard::road::directions::kept_launch;
use crate::shard::road::parts::Parts;
use crate::shard::road::unsent::{LAST_OFFERS, Recipient, push_kept};
use crate::shard::todo::Todo;
use crate::time::Moment;
use std::collections::VecDeque;

/// Moves what is kept for a role into its current connection's outbox, except what faults drop or hold back.
pub(crate) fn deliver(parts: Parts<'_>, whose: (ChannelKey, &Role), at: Moment) {
    let Parts {
        sockets,
        directory,
        books,
        todo,
    } = parts;
    let open = |session| sockets.web_socket(session).is_some();
    let Some((to, groups)) = directory.take_for_current(books, whose, open, at) else {
        return;
    };
    let (key, role) = whose;
    let channel = directory.channel(key);
    let name = channel.map_or("", |channel| channel.record.arn.name());
    let deliveries = on_kept(sockets, books, name, (key, to, role), groups, at);
    let Deliveries {
        groups,
        twice,
        acts,
    } = deliveries;
    let recipient = Recipient {
        session: to,
        channel: key,
        role,
    };
    for (rank, messages) in groups {
        let mut run = VecDeque::new();
        for message in messages {
            let copy = twice.contains(&message.order).then(|| copy_of(&message));
            run.push_back(message);
            if let Some((launch, frame)) = copy {
                let group = (rank, std::mem::take(&mut run));
                push_kept(sockets, directory, books, &recipient, group, at);
                let write = |out: &mut Vec<u8>| out.extend_from_slice(&frame);
                sockets.push_copy(books, to, launch, frame.len(), write);
            }
        }
        push_kept(sockets, directory, books, &recipient, (rank, run), at);
    }
    push_kept(sockets, directory, books, &recipient, LAST_OFFERS, at);
    sockets.touch(to);
    for act in acts {
        todo.push(Todo::Double(Box::new(Own::Act(to, act))));
    }
}

/// A message as it is sent once more.
fn copy_of(message: &Message) -> (Launch, Box<[u8]>) {
    (kept_launch(message), message.frame.clone())
}
