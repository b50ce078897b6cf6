//! Orders from operators to nodes, stored as keys in etcd. The commands `heliograph cluster drain`, `rebalance` and
//! `check` write one order per node. Each order is addressed to one process of the node, and is attached to the lease
//! of that process's registration. It expires with the lease, so no later process ever carries it out. The process
//! answers by writing a report under the same lease.

use crate::driver::{connection::EtcdConnection, event::Event};
use crate::limits::{REPORT_EVERY_MS, REPORT_MAX_MS};
use crate::rpc::generated::{RequestOp, TxnRequest};
use crate::schema::{OrderValue, OrderWord};
use crate::system::now;
use broker_core::cluster::types::{Incarnation, LeaseId, Revision};
use broker_core::time::Now;
use tracing::info;

/// The orders for this process, and its reports on them.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    last: Revision,
    report: Option<Reporting>,
    is_writing: bool,
}

#[derive(Clone, Copy, Debug)]
struct Reporting {
    order: Revision,
    next: Now,
    /// When to give up writing the report. `None` while the node is being drained, since the report is then updated
    /// every second until the process exits.
    until: Option<Now>,
}

impl Orders {
    /// Accepts a new order and returns what the caller must do. Returns `None` if the order is addressed to another
    /// process or has already been accepted. [`Self::due`] requests the reports on an accepted order.
    pub(crate) fn take(
        &mut self,
        revision: Revision,
        order: &OrderValue,
        me: Incarnation,
    ) -> Option<OrderWord> {
        if order.process != me || revision <= self.last {
            return None;
        }
        self.last = revision;
        let mut until = Some(now().after(REPORT_MAX_MS));
        match order.order {
            OrderWord::Drain => {
                info!("an operator drains this node: it gives all slots to other nodes and exits");
                until = None;
            }
            OrderWord::Rebalance => {
                info!(
                    "an operator rebalances: this node gives slots beyond an equal part to other nodes"
                );
            }
            OrderWord::Report => {}
        }
        // A draining node keeps reporting, whatever other orders it receives.
        let is_draining = self.report.is_some_and(|report| report.until.is_none());
        self.report = Some(Reporting {
            order: revision,
            next: now(),
            until: until.filter(|_| !is_draining),
        });
        Some(order.order)
    }

    pub(crate) fn due(&mut self) -> Option<Revision> {
        let report = self.report.filter(|_| !self.is_writing)?;
        if report.until.is_some_and(|until| now() >= until) {
            self.report = None;
            return None;
        }
        (now() >= report.next).then_some(report.order)
    }

    /// Writes the report that is due, under the registration's lease. Without a connection, the report remains due.
    pub(crate) fn write(
        &mut self,
        connection: &EtcdConnection,
        lease: LeaseId,
        key: String,
        value: Vec<u8>,
    ) {
        let (Some(_), Some(report)) = (connection.up(), &mut self.report) else {
            return;
        };
        report.next = now().after(REPORT_EVERY_MS);
        self.is_writing = true;
        let order = report.order;
        let put = RequestOp::put_under(lease.0.cast_signed(), key, value);
        let transaction = TxnRequest {
            success: vec![put],
            ..TxnRequest::default()
        };
        connection.transact(transaction, move |_, told| {
            Event::Reported(told.is_ok().then_some(order))
        });
    }

    /// Handles the completion of a write. `written` is the revision of the order that the report answers, or `None` if
    /// the write failed.
    pub(crate) fn reported(&mut self, written: Option<Revision>) {
        self.is_writing = false;
        let is_left = |report: &Reporting| report.until.is_none() || Some(report.order) != written;
        self.report = self.report.filter(is_left);
    }
}
