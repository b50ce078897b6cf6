//! The double of `--dev`: the shard's steps, with the faults, findings and copies of tests before and behind them.

use crate::id::SessionKey;
use crate::session::http::Admission;
use crate::shard::calls::{self, BegunCall, home};
use crate::shard::connect::admission;
use crate::shard::dev::copies::{self, OfferCopy};
use crate::shard::dev::faults::{messages, requests, sessions};
use crate::shard::dev::own::Own;
use crate::shard::dev::{checks, kept};
use crate::shard::directory::Directory;
use crate::shard::road::conclude::{Judged, conclude};
use crate::shard::road::double::Double;
use crate::shard::road::frames::Aside;
use crate::shard::road::parts::Parts;
use crate::shard::shares::admitted::Holder;
use crate::shard::sockets::Sockets;
use crate::shard::todo::Todo;
use crate::time::Moment;

/// The double of a shard under `--dev`. It keeps nothing itself: that is in [`Dev`](crate::shard::dev::state::Dev).
#[derive(Clone, Copy, Default)]
pub(crate) struct Scripted;

impl Double for Scripted {
    fn admission(
        &self,
        mut parts: Parts<'_>,
        key: SessionKey,
        (admission, holder): (&Admission, Holder),
        at: Moment,
    ) -> bool {
        if requests::on_connect(parts.sockets, parts.books, parts.todo, key, admission, at) {
            return false;
        }
        let admitted = (admission, holder);
        let is_admitted = admission::admit(parts.lend(), key, admitted, at);
        if is_admitted {
            parts.todo.push(Todo::Double(Box::new(Own::Joined(key))));
        }
        is_admitted
    }

    fn call(&self, parts: Parts<'_>, begun: BegunCall, at: Moment) {
        if requests::on_call(parts.sockets, parts.books, parts.todo, &begun, at) {
            return;
        }
        let account = parts.directory.named(&begun.asked.caller, "");
        checks::on_call(parts.sockets, &account, begun.asked.operation, at);
        calls::begin(parts, begun, at);
    }

    fn message(&self, mut parts: Parts<'_>, judged: Judged<'_>, at: Moment) -> Result<(), Aside> {
        match &judged {
            Judged::Faulty(from, _) => {
                copies::copy_refused(parts.sockets, parts.todo, *from, None, at)
            }
            Judged::Throttled(sender, request) => {
                copies::copy_refused(parts.sockets, parts.todo, sender.session, Some(request), at);
            }
            Judged::Routed(route, passing) => {
                checks::on_message(parts.sockets, parts.directory, passing, at);
                if messages::on_message(parts.lend(), passing, *route, at) {
                    return parts.sockets.still_open(passing.from);
                }
            }
        }
        conclude(parts, judged, at)
    }

    fn delivery(&self, mut parts: Parts<'_>, left: Todo, at: Moment) -> Option<Todo> {
        if let Todo::Double(own) = left {
            do_own(parts, *own, at);
            return None;
        }
        if let Todo::Deliver(channel, role) = left {
            kept::deliver(parts, (channel, &role), at);
            return None;
        }
        if let Todo::Query(caller, query) = left {
            if home::allows(parts.directory, parts.books, parts.todo, caller, &query, at) {
                checks::on_query(parts.sockets, parts.directory, &query, at);
                let offer = OfferCopy::of(parts.sockets, parts.directory, &query.kind);
                home::answer_allowed(parts.lend(), caller, *query, at);
                if let Some(offer) = offer {
                    offer.take(parts.sockets, parts.directory, at);
                }
            }
            return None;
        }
        look_at(parts.sockets, parts.directory, &left, at);
        Some(left)
    }
}

/// Counts what the shard does next.
fn look_at(sockets: &mut Sockets, directory: &Directory, left: &Todo, at: Moment) {
    if let Todo::ChannelCame(channel) = left {
        checks::on_channel(sockets, directory, *channel, at);
    } else if let Todo::ChannelWent(went) = left {
        checks::channel_went(sockets, &went.1);
    } else if let Todo::Gone(gone) = left {
        checks::on_gone(sockets, directory, gone, at);
        sockets.forget_faults(gone.session);
    }
}

/// Does what an earlier step of the double has left.
fn do_own(parts: Parts<'_>, own: Own, at: Moment) {
    match own {
        Own::Joined(session) => joined(parts, session, at),
        Own::SendAgain(message, to) => {
            messages::send_again(parts.sockets, parts.books, to, &message.passing());
        }
        Own::Release(held) => messages::release(parts, held, at),
        Own::Act(session, act) => {
            sessions::act(parts.sockets, parts.books, parts.todo, session, &act, at);
        }
        Own::Copy(channel, copy) => {
            copies::copy_named(parts.sockets, parts.directory, channel, copy, at)
        }
    }
}

/// A connection was admitted: noted, and disturbed by faults about sessions.
fn joined(parts: Parts<'_>, key: SessionKey, at: Moment) {
    let web_socket = parts.sockets.web_socket(key);
    let Some((channel, role)) = web_socket.map(|it| (it.channel, it.role.clone())) else {
        return;
    };
    checks::on_join(parts.sockets, parts.directory, channel, &role, at);
    let channel = parts.directory.channel(channel);
    let name = channel.map(|channel| channel.record.arn.name());
    sessions::on_session(parts.sockets, parts.books, parts.todo, key, name, at);
}
