//! The double of `--dev`: the shard's steps, with the faults, findings and copies of tests before and behind them.

use super::checks;
use super::copies;
use super::faults;
use super::kept;
use super::own::Own;
use crate::id::SessionKey;
use crate::session::{Admission, PendingCall};
use crate::shard::calls;
use crate::shard::calls::home;
use crate::shard::connect::admission;
use crate::shard::directory::Directory;
use crate::shard::road::conclude::{Judged, conclude};
use crate::shard::road::double::{Double, Parts};
use crate::shard::road::frames::Aside;
use crate::shard::shares::Holder;
use crate::shard::sockets::Sockets;
use crate::shard::todo::Todo;
use crate::time::Moment;
use codec::control::Call;

/// The double of a shard under `--dev`. It keeps nothing itself: that is in [`Dev`](super::state::Dev).
#[derive(Clone, Copy, Default)]
pub(in crate::shard) struct Scripted;

impl Double for Scripted {
    fn admission(
        &self,
        (sockets, directory, books, todo): Parts<'_>,
        key: SessionKey,
        (admission, holder): (&Admission, Holder),
        at: Moment,
    ) -> bool {
        if faults::on_connect(sockets, books, todo, key, admission, at) {
            return false;
        }
        let admitted = (admission, holder);
        let is_admitted = admission::admit(sockets, directory, books, todo, key, admitted, at);
        if is_admitted {
            todo.push(Todo::Double(Box::new(Own::Joined(key))));
        }
        is_admitted
    }

    fn call(
        &self,
        (sockets, directory, books, todo): Parts<'_>,
        key: SessionKey,
        (asked, call): (PendingCall, Call),
        at: Moment,
    ) {
        if faults::on_call(sockets, books, todo, key, &asked, &call, at) {
            return;
        }
        let account = directory.named(&asked.caller, "");
        checks::on_call(sockets, &account, asked.operation, at);
        calls::begin(sockets, directory, books, todo, key, (asked, call), at);
    }

    fn message(
        &self,
        (sockets, directory, books, todo): Parts<'_>,
        judged: Judged<'_>,
        at: Moment,
    ) -> Result<(), Aside> {
        match &judged {
            Judged::Faulty(from, _) => copies::copy_refused(sockets, todo, *from, None, at),
            Judged::Throttled(sender, request) => {
                copies::copy_refused(sockets, todo, sender.session, Some(request), at);
            }
            Judged::Routed(route, passing) => {
                checks::on_message(sockets, directory, passing, at);
                let parts: Parts<'_> = (sockets, directory, books, todo);
                if faults::on_message(parts, passing, *route, at) {
                    return sockets.still_open(passing.from);
                }
            }
        }
        conclude((sockets, directory, books, todo), judged, at)
    }

    fn delivery(
        &self,
        (sockets, directory, books, todo): Parts<'_>,
        left: Todo,
        at: Moment,
    ) -> Option<Todo> {
        if let Todo::Double(own) = left {
            do_own((sockets, directory, books, todo), *own, at);
            return None;
        }
        if let Todo::Deliver(channel, role) = left {
            kept::deliver((sockets, directory, books, todo), (channel, &role), at);
            return None;
        }
        if let Todo::Query(caller, query) = left {
            if home::allows(directory, books, todo, caller, &query, at) {
                checks::on_query(sockets, directory, &query, at);
                home::answer_allowed(sockets, directory, books, todo, caller, *query, at);
            }
            return None;
        }
        look_at(sockets, directory, &left, at);
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
fn do_own((sockets, directory, books, todo): Parts<'_>, own: Own, at: Moment) {
    match own {
        Own::Joined(session) => joined((sockets, directory, books, todo), session, at),
        Own::SendAgain(message, to) => {
            faults::send_again(sockets, books, to, &message.passing());
        }
        Own::Release(held) => faults::release((sockets, directory, books, todo), held, at),
        Own::Copy(channel, copy) => copies::copy_named(sockets, directory, channel, copy, at),
    }
}

/// A connection was admitted: noted, and disturbed by faults about sessions.
fn joined((sockets, directory, books, todo): Parts<'_>, key: SessionKey, at: Moment) {
    let web_socket = sockets.web_socket(key);
    let Some((channel, role)) = web_socket.map(|it| (it.channel, it.role.clone())) else {
        return;
    };
    checks::on_join(sockets, directory, channel, &role, at);
    let channel = directory.channel(channel);
    let name = channel.map(|channel| channel.record.arn.name());
    faults::on_session(sockets, books, todo, key, name, at);
}
