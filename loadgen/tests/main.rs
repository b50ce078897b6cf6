//! The load generator from outside, in one program, which builds and links once.
//!
//! * [`run`]: the program against services of the tests, good and bad; [`broker`]: against brokers.
//! * [`checker`]: what counts as lost, repeated or altered; [`visits`]: sessions; [`report`]: reports.
//! * [`golden`]: the help. [`fuzz`]: what a service sends.

mod broker;
mod checker;
mod fuzz;
mod golden;
mod report;
mod run;
mod support;
mod visits;
