//! The sentences in which hints are shown.

use crate::side::trace::hints::{Hint, Instead, LARGE_BYTES, Lengths};
use std::fmt;

impl fmt::Display for Hint {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoOffer(ms, false) => write!(
                to,
                "the viewer has been connected for {} and has sent no offer",
                Span(ms)
            ),
            Self::NoOffer(ms, true) => {
                write!(to, "the viewer left after {} and had sent no offer", Span(ms))
            }
            Self::NeverConnected => to.write_str(
                "no connection of this client id is known: the master sent to it before it came, or after it left",
            ),
            Self::WaitedForMaster(ms) => write!(
                to,
                "the offer waited {}: no master was connected",
                Span(ms)
            ),
            Self::NoMaster(ms, false) => write!(
                to,
                "the offer has waited {} so far: no master is connected",
                Span(ms)
            ),
            Self::NoMaster(ms, true) => write!(
                to,
                "the viewer left {} after its offer, and no master had connected",
                Span(ms)
            ),
            Self::Expired(ms) => write!(
                to,
                "the offer was dropped after {}, the channel's MessageTtlSeconds: no master came for it",
                Span(ms)
            ),
            Self::MasterReplaced(ms) => write!(
                to,
                "the master connected again {} after the offer had gone to it: its new connection does not get that \
                 offer again",
                Span(ms)
            ),
            Self::Unanswered(ms, left, instead) => unanswered(to, ms, left, instead),
            Self::ViewerGaveUp(ms) => write!(to, "the viewer left {} before the answer", Span(ms)),
            Self::AnswerToNewConnection => to.write_str(
                "the answer is for an offer of an earlier connection of this client id; this one has sent none",
            ),
            Self::SlowAnswer(ms) => write!(to, "the answer came {} after the offer", Span(ms)),
            Self::NoMasterCandidates => to.write_str(
                "the master has sent no ICE candidates: unless its answer contains them, ICE has no address to try",
            ),
            Self::LargeMessage(bytes) => write!(
                to,
                "a message of {bytes} bytes: old builds of the C SDK take {LARGE_BYTES} at most"
            ),
            Self::Unaccepted(count, reason, Lengths { bytes, most }) => {
                let were = if count == 1 { " was" } else { "s were" };
                let says = reason.says(bytes, most);
                write!(to, "{count} message{were} not accepted: {says}")
            }
            Self::MasterUnaccepted(reason, Lengths { bytes, most }) => {
                let says = reason.says(bytes, most);
                write!(to, "the master's messages were not accepted: {says}")
            }
            Self::SignalingDone(ms, waited) => signaling_done(to, ms, waited),
        }
    }
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// See [`Hint::SignalingDone`].
fn signaling_done(to: &mut fmt::Formatter<'_>, ms: f64, waited: bool) -> fmt::Result {
    let once = if waited {
        "once the master was connected, "
    } else {
        ""
    };
    write!(
        to,
        "{once}signaling took {}; what fails after it is ICE or TURN, not the broker",
        Span(ms)
    )
}

/// See [`Hint::Unanswered`].
fn unanswered(to: &mut fmt::Formatter<'_>, ms: f64, left: bool, instead: Instead) -> fmt::Result {
    let (when, whom) = if left {
        ("before this viewer left", "it")
    } else {
        ("ago", "this viewer")
    };
    let span = Span(ms);
    write!(to, "the offer went to the master {span} {when}, and ")?;
    match instead {
        Instead::Nothing => write!(to, "it has sent nothing to {whom}"),
        Instead::Candidates(some) => write!(
            to,
            "it has sent {whom} {some} ICE candidate{} and no answer",
            plural(some)
        ),
        Instead::Unaccepted => to.write_str("nothing that it has sent since was accepted"),
    }
}

/// A span as people read it: `62 ms`, `12.4 s`, `3 min 5 s`.
pub(crate) struct Span(pub(crate) f64);

impl fmt::Display for Span {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.max(0.0);
        if ms < 9.95 {
            write!(to, "{ms:.1} ms")
        } else if ms < 999.5 {
            write!(to, "{ms:.0} ms")
        } else if ms < 99_950.0 {
            write!(to, "{:.1} s", ms / 1000.0)
        } else {
            let minutes = (ms / 60_000.0).floor();
            write!(
                to,
                "{minutes:.0} min {:.0} s",
                ((ms - minutes * 60_000.0) / 1000.0).floor()
            )
        }
    }
}
