//! Orders of operators, which come as keys of etcd: `heliograph cluster drain`, `rebalance` and `check` write one for
//! each node that is meant. Its value names the process, and its lease is that of the registration: so an order ends
//! with the process, and no later one carries it out. The answer is a report, under the same lease.

use crate::client::calls::{self, Ask};
use crate::driver::{Event, Node, now};
use crate::limits::{REPORT_EVERY_MS, REPORT_MAX_MS};
use crate::order::{Order, Service};
use crate::peers::Peers;
use crate::rpc::{RequestOp, TxnRequest};
use crate::schema::values::{self, OrderWord, Process, ReportValue};
use broker_core::cluster::limits::INNER_VERSION;
use broker_core::cluster::message::{Ending, Input};
use broker_core::cluster::types::Revision;
use broker_core::time::Now;
use std::time::{SystemTime, UNIX_EPOCH};
use tracing::info;

/// What operators asked of this process.
#[derive(Debug, Default)]
pub(in crate::driver) struct Orders {
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
    /// When it is written next.
    next: Now,
    /// When it is given up, unless it is written until the end.
    until: Option<Now>,
}

impl<S: Service, P: Peers> Node<S, P> {
    /// Carries out an order that was seen, once.
    pub(in crate::driver) fn obey(&mut self) {
        let lowest = self.translator.lowest;
        if lowest > INNER_VERSION {
            self.ending = Some(Ending::Outdated { lowest });
        }
        let Some((revision, order)) = self.translator.take_order() else {
            return;
        };
        let me: Process = self.settings.me.incarnation.into();
        if order.process != me || revision <= self.orders.last {
            return;
        }
        self.orders.last = revision;
        let mut until = Some(now().after(REPORT_MAX_MS));
        match order.order {
            OrderWord::Drain => {
                info!("an operator wants this node to give all slots to other nodes and to end");
                self.service.order(Order::Drain);
                until = None;
            }
            OrderWord::Rebalance => {
                info!(
                    "an operator wants this node to give slots above an equal part to other nodes"
                );
                self.inputs.push_back(Input::Rebalance);
            }
            OrderWord::Report => {}
        }
        // A node that drains goes on reporting, whatever else it is asked.
        let is_draining = self
            .orders
            .report
            .is_some_and(|report| report.until.is_none());
        self.orders.report = Some(Reporting {
            order: revision,
            next: now(),
            until: until.filter(|_| !is_draining),
        });
        self.report();
    }

    /// Writes the report that is due.
    pub(in crate::driver) fn report(&mut self) {
        let Some(mut report) = self.orders.report.filter(|_| !self.orders.is_writing) else {
            return;
        };
        if report.until.is_some_and(|until| now() >= until) {
            self.orders.report = None;
            return;
        }
        let (Some((_, lines)), Some(lease)) = (self.control.link.up(), self.cluster.lease()) else {
            return;
        };
        if now() < report.next {
            return;
        }
        report.next = now().after(REPORT_EVERY_MS);
        self.orders.report = Some(report);
        self.orders.is_writing = true;
        let lines = lines.clone();
        let key = self.translator.keys.report(self.translator.me());
        let value = values::write(&self.report_value(report.order));
        let put = RequestOp::put_under(lease.0.cast_signed(), key, value);
        let transaction = TxnRequest {
            success: vec![put],
            ..TxnRequest::default()
        };
        let (events, order) = (self.events.clone(), report.order);
        tokio::task::spawn_local(async move {
            let told = calls::ask(lines, Ask::Transaction(transaction)).await;
            let written = told.is_ok().then_some(order);
            let _ = events.send(Event::Reported(written)).await;
        });
    }

    /// The report about this order was written, or none was.
    pub(in crate::driver) fn reported(&mut self, written: Option<Revision>) {
        self.orders.is_writing = false;
        let is_left = |report: &Reporting| report.until.is_none() || Some(report.order) != written;
        self.orders.report = self.orders.report.filter(is_left);
    }

    fn report_value(&self, order: Revision) -> ReportValue {
        let calendar = SystemTime::now().duration_since(UNIX_EPOCH);
        let unix_ms = calendar.map_or(0, |span| u64::try_from(span.as_millis()).unwrap_or(0));
        let others = self.translator.names.all();
        let reached = others.filter(|(node, _)| self.cluster.hears(*node, now()));
        let reached = reached.map(|(_, name)| name.as_str().into()).collect();
        ReportValue::new(order.0, unix_ms, self.service.waiting(), reached)
    }
}
