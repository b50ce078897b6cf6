//! Problems: one list of what is wrong, built for causes; a pure table, fed by the log thread and by the side thread.
//!
//! A **cause** is a check and the most specific thing that explains two channels or more: a key (or a certificate), a
//! principal (or a thing, or a subject), an authority, an address (its network); else the channel itself. So thirty
//! cameras with one revoked key are one row, and eight single troubles are eight. An address explains only requests
//! that name neither key nor principal nor authority: behind one address there may be a whole fleet.
//!
//! A row begins with its channel and is found by all that its first request named. When another channel comes by one of
//! these, the row grows to that and is found by that alone from then on; its id, made of what it began with, and its
//! onset stay. A channel stays in its row of a check whichever key it tries next, unless that key has a row. A viewer's
//! session without an answer counts for the row of its camera, where that was refused.
//!
//! **Ends.** A member ends when its channel and role are seen connected later than its last event ([`Seen`]; the
//! shards are asked, a bounded number a second, about open members alone); one of a session without an answer also when
//! a later session of the channel is answered. A row ends with the last of its members that name a channel, is kept for
//! 15 minutes as ended, and comes back as the same row. Members that nobody will see connect (a channel that does
//! not exist, an address, a viewer that gave up) end by age, 15 minutes after their last event; the camera of a
//! channel that exists is dark meanwhile, and stays for 24 hours. Standing causes end when they are not found again.
//!
//! **Bounds.** `PROBLEMS_KEPT_MAX` rows, `PROBLEM_MEMBERS_MAX` members each (further channels are counted by a
//! hash), `PROBLEMS_BYTES_MAX`. When it is full, the newest row of the account
//! with most bytes makes room, or what comes is left out if that is its own account. A request without an account
//! counts for its network. `table` has the rules, `rows` what is kept, and its documents; `watch` asks the shards;
//! `pages` has the routes.

pub(crate) mod pages;
mod rows;
mod table;
pub(crate) mod watch;

use crate::side::recent_refusals::says;
use crate::side::shared_state::Shared;
use broker_core::check::Check;
use broker_core::id::Account;
use broker_core::journal::{Entry, Presented, Refused};
use codec::signal::Role;
pub(crate) use rows::{By, Incident, Kind, Look, Seen};
use std::sync::MutexGuard;
use table::Table;

/// The problems of the process. The log thread and the side thread add to it, the admin listener reads.
#[derive(Debug, Default)]
pub(crate) struct Problems(Shared<Table>);

impl Problems {
    /// Reads an entry that the log writes.
    pub(crate) fn note(&self, entry: &Entry) {
        match entry {
            Entry::Refused(refused) => note_refused(&mut self.lock(), refused),
            Entry::Suppressed { counts, .. } => self.lock().count(counts),
            Entry::ConnectionEnd(end) => self.lock().ended(end),
            Entry::EndsSuppressed { .. }
            | Entry::Unaccepted(_)
            | Entry::Superseded(_)
            | Entry::Audit(_)
            | Entry::Forbidden(_)
            | Entry::NodeTrouble { .. }
            | Entry::StoreTrouble { .. } => {}
        }
    }

    /// The table, for a moment.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock()
    }
}

/// Takes a refusal in.
fn note_refused(table: &mut Table, refused: &Refused) {
    let is_of_use = matches!(refused.check, Check::ChannelExists | Check::Draining);
    if refused.status < 400 || is_of_use {
        return;
    }
    let claims = &refused.claims;
    let sign_in = claims.sign_in.as_deref();
    let of = |part: fn(&Presented) -> &Option<Box<str>>| sign_in.and_then(|it| part(it).as_deref());
    let reason = refused.policy.as_deref();
    let reason = reason.map(|reason| format!(" Reason: {reason}"));
    table.note(&Incident {
        channel: claims.channel.as_deref(),
        channel_account: claims.channel_account,
        role: match refused.action {
            Some("ConnectAsMaster") => Some(Role::Master),
            Some("ConnectAsViewer") => Some(Role::Viewer),
            _ => None,
        },
        client_id: claims.client_id.as_deref(),
        key: (claims.key_id.as_deref().filter(|id| !id.is_empty()))
            .or_else(|| of(|it| &it.certificate)),
        principal: (claims.principal.as_deref())
            .or_else(|| of(|it| &it.thing))
            .or_else(|| of(|it| &it.subject)),
        authority: of(|it| &it.issuer),
        user_agent: claims.user_agent.as_deref(),
        remote: Some(refused.remote),
        account: claims.account.as_deref().map(Account::of_digits),
        kind: Kind::Refused,
        check: refused.check.id(),
        at: refused.at,
        says: (says(refused) + &reason.unwrap_or_default()).into(),
        remedy: refused.check.remedy(),
        ..Incident::default()
    });
}

#[cfg(test)]
mod tests;
