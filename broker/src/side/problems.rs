//! Current problems, grouped by cause: a pure table that the log thread and the side thread feed.
//!
//! A **cause** is a check with the most specific entity that two or more affected channels share: a key (or
//! certificate), a principal (or thing, or subject), an authority, or an address (its network). Without such an entity,
//! it is the channel itself. Thirty cameras with one revoked key are thus one row, and eight unrelated problems are
//! eight rows. An address only counts for requests that name no key, principal or authority, since a whole fleet may
//! share one address.
//!
//! A row starts with its channel and can be found by every entity that its first request named. When another channel
//! matches one of these, the row is generalized to this entity and can be found only by it from then on. Its id, which
//! derives from its first values, and its onset do not change. For each check, a channel stays in its row whichever key
//! it tries next, unless that key has a row. An unanswered viewer session counts in the row of its camera if the camera
//! was refused.
//!
//! **Ends.** A member ends when its channel and role connect after its last event ([`Seen`]). Shards are queried only
//! about open members, a limited number a second. A session without an answer also ends when a later session of the
//! channel is answered. A row ends when the last of its members with a channel ends. It stays listed as ended for 15
//! minutes, and a recurrence reopens it. Members whose connection cannot be observed (a channel that does not exist, an
//! address, a viewer that gave up) expire 15 minutes after their last event. The camera of an existing channel, which
//! is dark meanwhile, stays for 24 hours. Standing causes end when they are not found again.
//!
//! **Bounds.** At most `PROBLEMS_KEPT_MAX` rows, `PROBLEM_MEMBERS_MAX` members per row (of further channels, only
//! hashes), and `PROBLEMS_BYTES_MAX`. At a limit, the newest row of the account with the most bytes is evicted, or the
//! new row is left out if that is its own account. A request without an account counts for its network. `table` has the
//! rules, `rows` the stored rows and their documents; `watch` queries the shards; `pages` has the routes.

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

/// Problems of the process. The log thread and the side thread write; the admin listener reads.
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

    /// Locks the table. Hold the guard briefly.
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
