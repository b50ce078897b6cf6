//! Files of `deploy/`, used on a broker.
//!
//! * [`dashboards`]: rules, alerts, dashboard and runbook, by [`promtool`] and against a live scrape; [`promql`] reads
//!   their expressions.
//! * [`log_schema`]: lines of the log in JSON, against their schema.
//! * [`confined`]: the seccomp profile; [`health`]: the health check of the compose file.

mod confined;
mod dashboards;
mod health;
pub(crate) mod log_schema;
pub(crate) mod promql;
mod promtool;
