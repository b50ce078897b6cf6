//! The effects that one input must have.

use super::{Caller, ConnId, Question, Told, changes, trail};
use broker_core::check::Check;
use broker_core::journal::{EndReason, Entry};
use std::collections::{BTreeSet, VecDeque};

/// An item that must appear in a stream.
#[derive(Clone, Debug)]
pub(crate) enum Expect {
    Upgraded,
    /// Status, refusal, body, and whether the connection ends.
    Response(u16, Option<Refusal>, Body, bool),
    Status(String),
    ReconnectIce,
    GoAway,
    Pong(Vec<u8>),
    ProofPing,
    Close(u16, String),
}

/// The refusal that must be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) check: Check,
    /// The error's type.
    pub(crate) error: &'static str,
}

impl Refusal {
    pub(crate) const fn new(check: Check, error: &'static str) -> Self {
        Self { check, error }
    }
}

/// The names in a request, for the line of its refusal.
#[derive(Clone, Debug, Default)]
pub(crate) struct Named {
    pub(crate) channel: Option<String>,
    pub(crate) viewer: Option<String>,
    /// The number of the fault that refuses it.
    pub(crate) fault: Option<u64>,
}

/// A response, before the state of its connection is looked at.
#[derive(Clone, Debug)]
pub(crate) struct PredictedResponse {
    pub(crate) status: u16,
    pub(crate) refused: Option<(Refusal, Named)>,
    pub(crate) body: Body,
    /// The connection ends with it.
    pub(crate) close: bool,
}

impl PredictedResponse {
    /// A response after which the connection goes on.
    pub(crate) fn new(status: u16, body: Body, refused: Option<(Refusal, Named)>) -> Self {
        Self {
            status,
            refused,
            body,
            close: false,
        }
    }

    /// An error.
    pub(crate) fn refusal(status: u16, refusal: Refusal, named: Named, close: bool) -> Self {
        Self {
            status,
            refused: Some((refusal, named)),
            body: Body::Error,
            close,
        }
    }
}

/// The content that a response body must hold.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    Error,
    Empty,
    Holds(Vec<String>),
    Exactly(String),
    Answer(Option<String>),
    /// Names with their states, and whether there is a next page.
    Names(Vec<String>, bool),
}

/// The effects that one input must have, beside bytes.
#[derive(Default)]
pub(crate) struct Predicted {
    /// The input is a tick: what a connection's own deadlines lead to comes before it, and is observed after it.
    pub(crate) ticks: bool,
    pub(crate) closes: Vec<ConnId>,
    pub(crate) aborts: Vec<ConnId>,
    pub(crate) handovers: VecDeque<(ConnId, usize)>,
    pub(crate) asks: VecDeque<(Caller, usize, Question)>,
    pub(crate) tells: VecDeque<(Caller, usize, Told)>,
    /// Alexa calls that were taken in, by which home; those whose callers hung up; what came of them; and the
    /// confirmations that they are over.
    pub(crate) takens: VecDeque<(Caller, usize)>,
    pub(crate) answers: VecDeque<(Caller, usize, Told)>,
    pub(crate) withdraws: VecDeque<(Caller, usize)>,
    pub(crate) overs: VecDeque<(Caller, usize)>,
    /// Connections of which the edge is asked what their peers have.
    pub(crate) looks: Vec<ConnId>,
    /// Messages that connections have confirmed.
    pub(crate) confirmed: Vec<(ConnId, usize)>,
    pub(crate) touched: BTreeSet<ConnId>,
    pub(crate) submissions: VecDeque<changes::Submission>,
    /// A refusal was not logged, since there were too many.
    pub(crate) left_out: bool,
    /// Calls of several channels end: in which order does not show.
    pub(crate) calls_ended: bool,
    /// Lines of the log, without their request ids; for an end, another reason that may be there.
    pub(crate) notes: Vec<(Entry, Option<EndReason>)>,
    /// Events for the flight recorder, each with its channel.
    pub(crate) trail: Vec<(usize, trail::What)>,
}
