//! Current problems, grouped by cause. The log thread and the side thread record them in a table, which does no I/O.
//!
//! A **cause** is a check together with the most specific entity that at least two affected channels share. The entity
//! is a key (or certificate), a principal (or thing, or subject), an authority, or an address (its network). If the
//! channels share no such entity, the cause is attributed to the channel itself. A revoked key that thirty cameras use
//! is therefore one row, while eight unrelated problems are eight rows. The address is used only if a request names no
//! key, principal or authority, since a whole fleet may share an address.
//!
//! A new row concerns a single channel, and is indexed by every entity that its first request named. When a request for
//! another channel names one of these entities, the row is generalized to that entity. From then on, it is indexed by
//! that entity alone. The row keeps its start time and its id, which is derived from its first values. A channel that
//! fails the same check again stays in its row even if it tries another key, unless that key already has a row. An
//! unanswered viewer session is counted in the row of its camera if the camera was refused.
//!
//! **Ends.** The members of a row are the clients that it affects. A member ends when its channel connects in the same
//! role after the member's last event ([`Seen`]). Shards are queried only about members that have not ended, and only
//! about a limited number of them per second. The member for a session that was not answered also ends when a later
//! session of its channel is answered. A row ends when all of its members that have a channel have ended, and stays
//! listed as ended for 15 minutes. If the problem recurs in that time, the row is reopened. The connections of some
//! members cannot be observed, because their channel does not exist, or because they are addresses or viewers that have
//! given up. Such members end 15 minutes after their last event. The member for the camera of an existing channel ends
//! after 24 hours if the camera remains disconnected. Persistent causes end when they are no longer found.
//!
//! **Bounds.** There are at most `PROBLEMS_KEPT_MAX` rows with at most `PROBLEM_MEMBERS_MAX` members each, and they
//! take at most `PROBLEMS_BYTES_MAX`. For additional channels, a row stores only hashes. When the table is full, the
//! newest row of the account that takes the most bytes is evicted. If the new row belongs to this account, the new row
//! is dropped instead. Requests without an account are charged to their network. `table` implements these rules, and
//! `rows` defines the rows and their documents. `watch` queries the shards. `pages` contains the routes.

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

/// The problems of this process, recorded by the log thread and the side thread, and read by the admin listener.
#[derive(Debug, Default)]
pub(crate) struct Problems(Shared<Table>);

impl Problems {
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

    /// Locks the table. The guard must be held only briefly.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock()
    }
}

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
