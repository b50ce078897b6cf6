//! Determines whether written messages have reached their recipient. If the recipient's host does not confirm a
//! message, the message is taken back and delivered to the next connection that holds the slot.
//!
//! ```text
//!  sent ──► written ──► queried: after a second, then every second; after many bytes, preferably when the peer
//!                       sends something; on EOF from the peer; when another connection takes its slot; when the
//!                       connection is gone
//!                         │
//!                         ├─ confirmed ──► delivered
//!                         ├─ it still holds its slot ──► queried again
//!                         ├─ it lost its slot, or is closing while another has the slot ──► after two round trips and
//!                         │                                                         the receiver's delay: taken back
//!                         └─ EOF from the peer, or the connection is gone ──► taken back
//! ```
//! The slot is held until it is known which messages its former connection received. Until then, new messages for the
//! slot become pending, so that any messages that are taken back can be delivered first.

use crate::id::{Account, ChannelKey, SessionKey};
use crate::limits::{ACKNOWLEDGE_MS, ASK_AFTER_MS, PROOF_ROOM_PARTS, TAKEOVER_MS_MAX};
use crate::presence::PresenceCause;
use crate::session::web_socket::{Role, WebSocket};
use crate::shard::road::unsent;
use crate::shard::state::State;
use crate::shard::todo::{Each, Membership, Todo};
use crate::shard::{Directory, connect};
use crate::time::Now;
use std::collections::BTreeMap;

/// Reduces the number of unconfirmed bytes if it exceeds the limit. In the account with the most bytes, queries the
/// connections with the oldest messages again. Messages that are still unconfirmed afterwards count as delivered
/// without confirmation. Each pass visits all connections, so it frees a fixed fraction of the limit at once.
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

/// Handles the kernel's report on how many bytes a connection's peer has not acknowledged.
pub(crate) fn unacknowledged(shard: &mut State, key: SessionKey, bytes: u32, round_trip_ms: u32) {
    let (sockets, _, cx, _) = shard.parts();
    // If pongs confirm messages, they also measure the round-trip time.
    if sockets.confirm(cx, key, bytes)
        && let Some(session) = sockets.session_mut(key)
    {
        session.outbox.measured(round_trip_ms);
        // Nothing is left to do if the connection holds its slot, awaits no pong, and has confirmed everything.
        let is_there = |it: &WebSocket| !it.superseded && !it.awaits_pong();
        let is_done = session.open().is_some_and(is_there)
            && session.outbox.unconfirmed_since().is_none()
            && !sockets.unconfirmed.is_gone(key);
        if !is_done {
            cx.todo.push(Todo::Settle(key));
        }
    }
    sockets.note_unread(key, bytes, cx.at.now);
    connect::hold(shard);
}

/// Settles a connection's written messages, now that it is known what its peer has acknowledged. Messages that were not
/// acknowledged are taken back, or the connection is queried again later.
pub(crate) fn settle(shard: &mut State, key: SessionKey) {
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
    // A message that stays unacknowledged for this long is considered lost.
    let round_trip_ms = u64::from(session.outbox.round_trip_ms());
    let missing_ms = (2 * round_trip_ms + ACKNOWLEDGE_MS).min(TAKEOVER_MS_MAX);
    let live = directory.live(channel);
    let has_successor = || live.is_some_and(|live| live.members.of(&role).is_some());
    let by = if session.outbox.is_over() || session.outbox.doubtful_since().is_some() {
        Some(cx.at.now)
    } else if session.open().is_some() || has_successor() {
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

/// Decides what to do with the connection that holds a slot, depending on how long it has gone without confirming
/// anything. It is first marked as doubtful and, if it is a master, later reported as gone.
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
            // Either the ping timer was restarted, or the messages were dropped to free memory. In both cases, the
            // master is still gone.
            sockets.ask_again(key, cx.at.now.after(ASK_AFTER_MS));
        } else {
            comes_back(shard, key, channel); // if reported gone, and then back for long enough
        }
        return;
    };
    let round_trip_ms = u64::from(session.outbox.round_trip_ms());
    let doubt = since.after(rules.doubt_ms.max(4 * round_trip_ms));
    // If this process was not running for a while, first read the bytes that arrived during that time.
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

/// Handles bytes or an acknowledgement from a connection's peer. If the peer is a master, tells the channel's watchers
/// that it is back, or that no viewer is waiting any longer.
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

/// Reports that a master that was considered gone is back. Returns `false` if it was not gone, or is not yet considered
/// back.
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

/// Releases the slot held for a connection once the outcome of all its messages is known. Until then, if another
/// connection is waiting for the slot, schedules another query for when the missing acknowledgements become overdue.
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

/// Reports a connected master as gone, because it has not confirmed any messages for some time.
fn master_went(directory: &mut Directory, channel: ChannelKey) {
    directory.changed(channel, (PresenceCause::MasterLeft, Some("unconfirmed")));
}
