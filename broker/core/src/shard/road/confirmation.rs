//! Determines whether written messages have reached their recipient. Either the recipient's host confirms a message, or
//! the message is taken back and delivered to the next connection that holds the slot.
//!
//! ```text
//!  sent ──► written ──► queried: after a second, then every second; after much was written, preferably when the peer
//!                       sends something; when it sends no more; when another connection takes its slot; when the
//!                       connection is gone
//!                         │
//!                         ├─ confirmed ──► delivered
//!                         ├─ the slot's own connection ──► queried again
//!                         ├─ one that lost its slot, or is closing while another has it ──► after two round trips and
//!                         │                                                         the receiver's delay: taken back
//!                         └─ the peer sends no more, or the connection is gone ──► taken back
//! ```
//! The slot is held until it is known which messages its former connection received. Until then, new messages for the
//! slot become pending, so that messages that are taken back can precede them.

use crate::id::{Account, ChannelKey, SessionKey};
use crate::limits::{ACKNOWLEDGE_MS, ASK_AFTER_MS, PROOF_ROOM_PARTS, TAKEOVER_MS_MAX};
use crate::presence::PresenceCause;
use crate::session::Session;
use crate::session::web_socket::{Role, WebSocket};
use crate::shard::road::unsent;
use crate::shard::state::State;
use crate::shard::todo::{Each, Membership, Todo, slot_of};
use crate::shard::{Directory, Sockets, connect};
use crate::time::Now;
use std::collections::BTreeMap;

/// Reduces the number of unconfirmed bytes if it exceeds the limit. In the account with the most bytes, the connections
/// with the oldest messages are queried again. Messages that are still unconfirmed afterwards count as delivered
/// without confirmation. Each pass visits all connections, and therefore frees a fraction of all bytes at once.
pub(crate) fn make_proof_room(shard: &mut State) {
    let (sockets, directory, cx, ..) = shard.parts();
    if !sockets.too_much_unconfirmed() {
        return;
    }
    let mut accounts: BTreeMap<Option<Account>, (usize, Vec<_>)> = BTreeMap::new();
    for (since, key, bytes, channel) in sockets.unconfirmed() {
        let channel = directory.channel(channel);
        let account = channel.map(|channel| Account::of(&channel.record.arn));
        let (sum, connections) = accounts.entry(account).or_default();
        *sum += bytes;
        connections.push((since, key, bytes));
    }
    let most = accounts.into_values().max_by_key(|(sum, _)| *sum);
    let (_, mut connections) = most.unwrap_or_default();
    connections.sort_unstable();
    let mut wanted = sockets.rules().unconfirmed_bytes / PROOF_ROOM_PARTS;
    let asked = connections.into_iter().take_while(|(_, _, bytes)| {
        let more = wanted > 0;
        wanted = wanted.saturating_sub(*bytes);
        more
    });
    let asked: Vec<_> = asked.map(|(_, key, _)| key).collect();
    for session in &asked {
        if let Some(session) = sockets.session_mut(*session) {
            session.outbox.make_room();
        }
    }
    cx.todo.each(Each::Ask(asked.into_iter()));
}

/// Handles the kernel's report of how many bytes a connection's peer has not acknowledged.
pub(crate) fn unacknowledged(shard: &mut State, key: SessionKey, bytes: u32, round_trip_ms: u32) {
    let (sockets, _, cx, _) = shard.parts();
    // Where pongs confirm messages, they also measure the round-trip time.
    if sockets.confirm_by_tcp(cx, key, bytes) {
        if let Some(session) = sockets.session_mut(key) {
            session.outbox.measured(round_trip_ms);
        }
        if !has_confirmed_all(sockets, key) {
            cx.todo.push(Todo::Told(key));
        }
    }
    sockets.note_unread(key, bytes, cx.at.now);
    connect::hold(shard);
}

/// Returns whether nothing remains to be done for a connection after a query: it holds its slot, has no outstanding
/// ping, and has confirmed everything.
fn has_confirmed_all(sockets: &Sockets, key: SessionKey) -> bool {
    sockets.session(key).is_some_and(|session| {
        let is_there = |it: &WebSocket| !it.superseded && !it.awaits_pong();
        session.open().is_some_and(is_there)
            && session.outbox.unconfirmed_since().is_none()
            && !sockets.unconfirmed.is_gone(key)
    })
}

/// Handles a report of what a connection's peer has acknowledged. Messages that were not acknowledged are taken back,
/// or the connection is queried again later.
pub(crate) fn told(shard: &mut State, key: SessionKey) {
    let (sockets, directory, cx, ..) = shard.parts();
    let ends_doubt = sockets.take_room(cx, key);
    let Some(session) = sockets.session(key) else {
        return;
    };
    let Some((channel, role)) = session.membership() else {
        return;
    };
    let has_slot = session.open().is_some_and(|it| !it.superseded);
    if has_slot {
        if ends_doubt && role == Role::Master {
            directory.changed(channel, (PresenceCause::Served, None)); // no viewer is waiting
        }
        let of = Membership {
            session: key,
            channel,
            role,
        };
        return judge(shard, &of);
    }
    let missing_ms = missing_after_ms(session);
    let by = if session.outbox.is_over() || session.outbox.doubtful_since().is_some() {
        Some(cx.at.now)
    } else if session.open().is_some() || has_member(directory, channel, &role) {
        Some(Now(cx.at.now.0.saturating_sub(missing_ms)))
    } else {
        None // it may still confirm them, and nobody waits for them
    };
    let taken = by.map(|by| sockets.take_unconfirmed(key, by));
    let taken = taken.unwrap_or_default();
    if !taken.is_empty()
        && let Some(members) = directory.members_mut(channel)
    {
        members.give_way_for_good(key);
    }
    let of = Membership {
        session: key,
        channel,
        role,
    };
    unsent::give_back(shard, &of, taken);
    release(shard, &of, by.map(|_| missing_ms));
}

/// Decides how to treat the connection that holds a slot, depending on how long it has confirmed nothing. First, the
/// connection is marked as doubtful. Later, if it is a master, it is reported as gone.
fn judge(shard: &mut State, of: &Membership) {
    let &Membership {
        session: key,
        channel,
        ref role,
    } = of;
    let (sockets, directory, cx, ..) = shard.parts();
    let Some(session) = sockets.session(key) else {
        return;
    };
    let rules = sockets.settings().presence;
    let is_silent = *role == Role::Master && sockets.is_silent(session, cx.at.now);
    let Some(since) = session.outbox.unconfirmed_since() else {
        if is_silent {
            if sockets.unconfirmed.goes(key, cx.at.now) {
                master_went(directory, channel);
            }
            sockets.ask_again(key, cx.at.now.after(ASK_AFTER_MS));
        } else if sockets.has_shown_nothing(key) {
            // The ping's time was restarted, or the messages were dropped to free memory. In both cases, the master is
            // still gone.
            sockets.ask_again(key, cx.at.now.after(ASK_AFTER_MS));
        } else {
            comes_back(shard, key, channel); // if reported gone, and then back for long enough
        }
        return;
    };
    let round_trip_ms = u64::from(session.outbox.round_trip_ms());
    let doubt = since.after(rules.doubt_ms.max(4 * round_trip_ms));
    // If this process stood still, the bytes that arrived in the meantime are read before any decision.
    let standstill = sockets.standstill();
    let is_judged = standstill.read_by <= cx.at.now || standstill.until < since;
    let mut next = doubt;
    if is_judged && doubt <= cx.at.now {
        let expires = directory.wake_expiry(channel, cx.at.now);
        if sockets.doubt(key, cx.at.now, expires) && *role == Role::Master {
            directory.changed(channel, (PresenceCause::Waiting, None));
        }
        let doubtful = sockets.session(key);
        let doubtful = doubtful.and_then(|session| session.outbox.doubtful_since());
        let gone_ms = rules.gone_ms.max(8 * round_trip_ms);
        next = doubtful.unwrap_or(cx.at.now).after(gone_ms);
        if *role == Role::Master && next <= cx.at.now && sockets.unconfirmed.goes(key, cx.at.now) {
            master_went(directory, channel);
        }
    }
    let step = cx.at.now.after(ASK_AFTER_MS);
    let next = if next > cx.at.now {
        step.min(next)
    } else {
        step
    };
    sockets.ask_again(key, next);
}

/// Handles bytes or an acknowledgement from a connection's peer. If the peer is a master, the channel's watchers learn
/// that the master is back, or that no viewer is waiting any longer.
pub(crate) fn confirmed(shard: &mut State, key: SessionKey) {
    let Some(session) = shard.sockets.session(key) else {
        return;
    };
    let has_slot = session.open().is_some_and(|it| !it.superseded);
    let Some((channel, Role::Master)) = session.membership().filter(|_| has_slot) else {
        return;
    };
    let is_silent = shard.sockets.is_silent(session, shard.cx.at.now); // silent: stays gone
    if is_silent || !comes_back(shard, key, channel) {
        shard
            .directory
            .changed(channel, (PresenceCause::Served, None));
    }
}

/// Reports that a master that counted as gone is back. Returns `false` if the master was not gone or does not count as
/// back yet.
fn comes_back(shard: &mut State, key: SessionKey, channel: ChannelKey) -> bool {
    let (sockets, directory, cx, ..) = shard.parts();
    let Some(since) = sockets.comes_back(key, cx.at.now) else {
        return false;
    };
    let lingered = cx.at.now.since(since) >= sockets.settings().presence.linger_ms;
    let cause = if lingered {
        PresenceCause::MasterConfirmed
    } else {
        PresenceCause::Served // its departure was not announced
    };
    directory.changed(channel, (cause, None));
    true
}

/// Releases the slot that a connection holds, once it is known what became of all messages. Otherwise, if another
/// connection is waiting for the slot, schedules another query for when the missing acknowledgements are overdue.
fn release(shard: &mut State, of: &Membership, missing_ms: Option<u64>) {
    let (key, channel) = (of.session, of.channel);
    let (sockets, directory, cx, ..) = shard.parts();
    let outbox = sockets.session(key).map(|session| &session.outbox);
    let since = outbox.and_then(|outbox| outbox.unconfirmed_since());
    let ended = !outbox.is_some_and(|outbox| outbox.has_messages());
    match (since, missing_ms) {
        (Some(since), Some(missing_ms)) => {
            if let Some(members) = directory.members_mut(channel) {
                members.ask_holder(key, since.after(missing_ms), ended);
            }
            cx.todo.push(Todo::Arm(channel));
        }
        (Some(_), None) => {}
        (None, _) if !ended => {}
        (None, _) => unsent::release_slot(directory, cx, of),
    }
}

/// Returns how long, in milliseconds, a message may remain unacknowledged before it counts as lost.
fn missing_after_ms(session: &Session) -> u64 {
    let round_trip_ms = session.outbox.round_trip_ms();
    (2 * u64::from(round_trip_ms) + ACKNOWLEDGE_MS).min(TAKEOVER_MS_MAX)
}

/// Reports a connected master as gone, because it has not confirmed any messages for a while.
fn master_went(directory: &mut Directory, channel: ChannelKey) {
    directory.changed(channel, (PresenceCause::MasterLeft, Some("unconfirmed")));
}

/// Returns whether a client with this role is connected to a channel.
fn has_member(directory: &Directory, channel: ChannelKey, role: &Role) -> bool {
    let live = directory.live(channel);
    live.is_some_and(|live| live.members.of(&slot_of(role)).is_some())
}
