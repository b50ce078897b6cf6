//! Monitors how full etcd's database is by querying a member every [`SIZE_EVERY_MS`]. The process refuses new channels
//! while the database is nearly full. Once the database reaches its quota, etcd refuses all changes from all clients
//! until an operator frees space.
//!
//! Only the space in use counts. Free pages, such as those that a compaction leaves behind, are reused before the
//! database file grows.

use crate::driver::{connection::EtcdConnection, event::Event};
use crate::operator::{MemberStatus, member};
use crate::{limits::SIZE_EVERY_MS, service::News, system::now};
use broker_core::time::Now;
use std::sync::Arc;
use tracing::{info, warn};

#[derive(Debug)]
pub(crate) struct Capacity {
    /// Configured size limit of the database in bytes, used if no member reports one.
    quota: u64,
    due: Now,
    is_asked: bool,
    /// The number of a connection, and the quota that the member reported over it. The quota is cached because it does
    /// not change while the member runs, and because querying it takes an additional connection before etcd 3.6.
    said: Option<(u32, Option<u64>)>,
    /// Bytes in use in etcd's database, and its quota.
    pub(crate) fill: Option<(u64, u64)>,
}

impl Capacity {
    pub(crate) fn new(quota: u64) -> Self {
        Self {
            quota,
            due: Now(0),
            is_asked: false,
            said: None,
            fill: None,
        }
    }

    pub(crate) fn measure(&mut self, connection: &EtcdConnection) {
        let Some((generation, lines)) = connection.up() else {
            return;
        };
        if self.is_asked || now() < self.due {
            return;
        }
        self.is_asked = true;
        self.due = now().after(SIZE_EVERY_MS);
        let said = self.said.filter(|(of, _)| *of == generation);
        let (options, endpoint) = (Arc::clone(&connection.options), connection.endpoint());
        let lines = lines.clone();
        connection.events.spawn(async move {
            let mut told = member::told(&lines).await;
            if let Ok(status) = &mut told
                && status.quota.is_none()
            {
                status.quota = match said {
                    Some((_, quota)) => quota,
                    None => member::quota(&options, &endpoint).await,
                };
            }
            Event::Measured(generation, told)
        });
    }

    /// Handles a member's report. Ignores a failed query, because the connection code reports the cause. Returns news
    /// for the process if the database has become nearly full, or is no longer nearly full.
    pub(crate) fn measured(
        &mut self,
        generation: u32,
        told: Result<MemberStatus, Box<str>>,
    ) -> Option<News> {
        self.is_asked = false;
        let status = told.ok()?;
        self.said = Some((generation, status.quota));
        if !self.learn(&status) {
            return None;
        }
        let is_nearly_full = self.is_nearly_full();
        let (bytes, quota) = self.fill.unwrap_or_default();
        if is_nearly_full {
            warn!(
                bytes,
                quota,
                "etcd is nearly full: new channels are refused with 503 until it is compacted and defragmented, or has \
                 a larger --quota-backend-bytes"
            );
        } else {
            info!(bytes, quota, "etcd has room again: new channels are made");
        }
        Some(News::NearlyFull(is_nearly_full))
    }

    fn is_nearly_full(&self) -> bool {
        self.fill
            .is_some_and(|(used, quota)| used >= quota / 100 * 80)
    }

    /// Records a member's report. Returns `true` if the database has become nearly full, or no longer is.
    fn learn(&mut self, status: &MemberStatus) -> bool {
        let before = self.is_nearly_full();
        // Members before version 3.4 do not report the space in use.
        let used = if status.used == 0 {
            status.size
        } else {
            status.used
        };
        self.fill = Some((used, status.quota.unwrap_or(self.quota)));
        self.is_nearly_full() != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_fifths_of_the_quota_that_is_reported_or_configured_are_nearly_full() {
        let report = |size, used, quota| MemberStatus {
            version: "3.5.13".into(),
            etcd: 1,
            leads: true,
            has_leader: true,
            size,
            used,
            quota,
            alarms: Vec::new(),
            ahead_s: None,
        };
        let mut capacity = Capacity::new(1_000);
        assert!(!capacity.learn(&report(9_000, 799, None)));
        assert_eq!(capacity.fill, Some((799, 1_000)));
        assert!(capacity.learn(&report(9_000, 800, None)) && capacity.is_nearly_full());
        assert!(!capacity.learn(&report(900, 0, None)), "it is so still");
        assert!(capacity.learn(&report(900, 800, Some(2_000))) && !capacity.is_nearly_full());
    }
}
