//! Orders of operators, which come as keys of etcd: `heliograph cluster drain`, `rebalance` and `check` write one for
//! each node that is meant. Its value names the process, and its lease is that of the registration: so an order ends
//! with the process, and no later one carries it out. The answer is a report, under the same lease.

use crate::driver::{connection::EtcdConnection, event::Event};
use crate::limits::{REPORT_EVERY_MS, REPORT_MAX_MS};
use crate::rpc::generated::{RequestOp, TxnRequest};
use crate::schema::{OrderValue, OrderWord};
use crate::system::now;
use broker_core::cluster::types::{Incarnation, LeaseId, Revision};
use broker_core::time::Now;
use tracing::info;

/// Orders to this process, and its reports.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    /// The revision of the last order that was taken.
    last: Revision,
    report: Option<Reporting>,
    /// A report is on its way to etcd.
    is_writing: bool,
}

/// A report that is to be written.
#[derive(Clone, Copy, Debug)]
struct Reporting {
    /// The order that it answers.
    order: Revision,
    /// The time of the next write.
    next: Now,
    /// The time at which it is given up, unless it is written until the end.
    until: Option<Now>,
}

impl Orders {
    /// Takes an order that was seen, once: it is to be carried out, and [`Self::due`] has a report about it. Nothing if
    /// it is another process's, or was taken before.
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
                info!("an operator wants this node to give all slots to other nodes and to end");
                until = None;
            }
            OrderWord::Rebalance => {
                info!(
                    "an operator wants this node to give slots above an equal part to other nodes"
                );
            }
            OrderWord::Report => {}
        }
        // A node that drains goes on reporting, whatever else it is asked.
        let is_draining = self.report.is_some_and(|report| report.until.is_none());
        self.report = Some(Reporting {
            order: revision,
            next: now(),
            until: until.filter(|_| !is_draining),
        });
        Some(order.order)
    }

    /// The order whose report is to be written now.
    pub(crate) fn due(&mut self) -> Option<Revision> {
        let report = self.report.filter(|_| !self.is_writing)?;
        if report.until.is_some_and(|until| now() >= until) {
            self.report = None;
            return None;
        }
        (now() >= report.next).then_some(report.order)
    }

    /// Writes the report that is due, under the lease of the registration. Without a connection it stays due.
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

    /// The report about this order was written, or none was.
    pub(crate) fn reported(&mut self, written: Option<Revision>) {
        self.is_writing = false;
        let is_left = |report: &Reporting| report.until.is_none() || Some(report.order) != written;
        self.report = self.report.filter(is_left);
    }
}
