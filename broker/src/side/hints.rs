//! What the trace of one viewer suggests, in plain words: a pure function of a few figures.
//!
//! At most one sentence of each kind, in the order of a session's life. They say what the broker saw; what it cannot
//! see (ICE, TURN, media) they only name where signaling is done.

use std::fmt;

/// What is known of one connection of a viewer. Times are in milliseconds since it joined.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Facts {
    /// When it was read.
    pub(super) now: f64,
    /// When the viewer left, if it did.
    pub(super) left: Option<f64>,
    /// Whether everything since it joined is known.
    pub(super) whole: bool,
    /// Whether a master is connected.
    pub(super) master: bool,
    /// Its first offer.
    pub(super) offer: Option<f64>,
    /// When an offer of it first went to a master.
    pub(super) arrived: Option<f64>,
    /// When an offer of it was dropped, since no master came for it.
    pub(super) expired: Option<f64>,
    /// When a master connected after that offer and before an answer.
    pub(super) replaced: Option<f64>,
    /// The first answer that went to it.
    pub(super) answer: Option<f64>,
    /// The first answer that was for it and found it gone.
    pub(super) missed: Option<f64>,
    /// An earlier connection of the same client id sent an offer, and was not answered.
    pub(super) older_offer: bool,
    /// The first ICE candidate of the viewer, and of the master for it.
    pub(super) viewer_trickled: Option<f64>,
    pub(super) master_trickled: Option<f64>,
    /// ICE candidates that the viewer sent.
    pub(super) viewer_candidates: usize,
    /// ICE candidates that the master sent to it.
    pub(super) master_candidates: usize,
    /// The longest message, either way, in bytes.
    pub(super) longest: usize,
    /// Messages that were refused, came too fast or found no room.
    pub(super) refused: usize,
}

/// One hint. Times are spans in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Hint {
    /// It is connected and has sent no offer.
    NoOffer(f64),
    /// Its offer was kept until a master came.
    WaitedForMaster(f64),
    /// Its offer is kept, since no master is connected.
    NoMaster(f64),
    /// Its offer was dropped before a master came.
    Expired(f64),
    /// The master connected again after it had got the offer.
    MasterReplaced(f64),
    /// The master got the offer and did not answer. Whether the viewer has left; how many candidates came instead.
    Unanswered(f64, bool, usize),
    /// The answer came after the viewer had left.
    ViewerGaveUp(f64),
    /// The answer went to a connection that had made no offer.
    AnswerToNewConnection,
    /// There is an answer, and no candidate from the master.
    NoMasterCandidates,
    /// A message is longer than some clients can take.
    LargeMessage(usize),
    /// Some of its messages were refused.
    Refused(usize),
    /// Offer and answer were exchanged. Whether the offer had waited for a master.
    SignalingDone(f64, bool),
}

/// All hints of one viewer, in the order of a session's life.
pub(super) fn hints(facts: &Facts) -> Vec<Hint> {
    let until = facts.left.unwrap_or(facts.now);
    let waited = facts
        .offer
        .zip(facts.arrived)
        .map(|(offer, arrived)| arrived - offer)
        .filter(|waited| *waited >= WAIT_MS);
    let waits = facts.offer.filter(|_| facts.arrived.is_none());
    let unanswered = facts
        .arrived
        .filter(|_| facts.answer.is_none() && facts.missed.is_none())
        .map(|arrived| until - arrived)
        .filter(|span| *span >= ANSWER_MS || facts.left.is_some());
    let silent = facts.whole && facts.offer.is_none() && facts.answer.is_none();
    let trickles = facts
        .answer
        .is_some_and(|answer| until - answer >= CANDIDATES_MS);
    let all = [
        (silent && facts.left.is_none() && until >= OFFER_MS).then_some(Hint::NoOffer(until)),
        waited.map(Hint::WaitedForMaster),
        (waits.filter(|_| !facts.master && facts.expired.is_none() && facts.left.is_none()))
            .map(|offer| Hint::NoMaster(until - offer)),
        (waits.zip(facts.expired)).map(|(offer, expired)| Hint::Expired(expired - offer)),
        (facts.arrived.zip(facts.replaced))
            .map(|(arrived, replaced)| Hint::MasterReplaced(replaced - arrived)),
        unanswered.map(|span| {
            let left = facts.left.is_some();
            Hint::Unanswered(span, left, facts.master_candidates)
        }),
        (facts.left.zip(facts.missed))
            .filter(|(left, missed)| missed >= left)
            .map(|(left, missed)| Hint::ViewerGaveUp(missed - left)),
        (facts.whole && facts.older_offer && facts.offer.is_none() && facts.answer.is_some())
            .then_some(Hint::AnswerToNewConnection),
        (trickles && facts.master_candidates == 0).then_some(Hint::NoMasterCandidates),
        (facts.longest > LARGE_BYTES).then_some(Hint::LargeMessage(facts.longest)),
        (facts.refused > 0).then_some(Hint::Refused(facts.refused)),
        (facts.arrived.zip(facts.answer)).map(|(arrived, answer)| {
            let began = match (waited, facts.offer) {
                (None, Some(offer)) => offer,
                (Some(_), _) | (None, None) => arrived,
            };
            Hint::SignalingDone(answer - began, waited.is_some())
        }),
    ];
    all.into_iter().flatten().collect()
}

impl fmt::Display for Hint {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoOffer(ms) => write!(
                to,
                "the viewer has been connected for {} and has sent no offer",
                Span(ms)
            ),
            Self::WaitedForMaster(ms) => write!(
                to,
                "the offer waited {}: no master was connected",
                Span(ms)
            ),
            Self::NoMaster(ms) => write!(
                to,
                "the offer has waited {} so far: no master is connected",
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
            Self::Unanswered(ms, left, candidates) => unanswered(to, ms, left, candidates),
            Self::ViewerGaveUp(ms) => write!(to, "the viewer left {} before the answer", Span(ms)),
            Self::AnswerToNewConnection => to.write_str(
                "the answer is for an offer of an earlier connection of this client id; this one has sent none",
            ),
            Self::NoMasterCandidates => to.write_str(
                "the master has sent no ICE candidates: unless its answer contains them, ICE has no address to try",
            ),
            Self::LargeMessage(bytes) => write!(
                to,
                "a message of {bytes} bytes: old builds of the C SDK take {LARGE_BYTES} at most"
            ),
            Self::Refused(count) => write!(
                to,
                "{count} message{} refused, too fast, or without room: see heliograph_messages_total",
                plural(count)
            ),
            Self::SignalingDone(ms, waited) => {
                let once = if waited {
                    "once the master was connected, "
                } else {
                    ""
                };
                let span = Span(ms);
                write!(
                    to,
                    "{once}signaling took {span}; what fails after it is ICE or TURN, not the broker"
                )
            }
        }
    }
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// See [`Hint::Unanswered`].
fn unanswered(to: &mut fmt::Formatter<'_>, ms: f64, left: bool, candidates: usize) -> fmt::Result {
    let (when, whom) = if left {
        ("before this viewer left", "it")
    } else {
        ("ago", "this viewer")
    };
    write!(
        to,
        "the offer went to the master {} {when}, and it ",
        Span(ms)
    )?;
    match candidates {
        0 => write!(to, "has sent nothing to {whom}"),
        some => write!(
            to,
            "has sent {whom} {some} ICE candidate{} and no answer",
            plural(some)
        ),
    }
}

/// A span as people read it: `62 ms`, `12.4 s`, `3 min 5 s`.
pub(super) struct Span(pub(super) f64);

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

/// A shorter wait for a master is that of its connection coming in at the same time.
const WAIT_MS: f64 = 100.0;

/// Within which a master usually answers.
const ANSWER_MS: f64 = 2_000.0;

/// Within which a viewer usually offers.
const OFFER_MS: f64 = 5_000.0;

/// Within which the first candidate follows an answer.
const CANDIDATES_MS: f64 = 2_000.0;

/// What the message buffer of C SDK builds from before it was enlarged holds; `heliograph_large_frames_total` counts
/// such frames.
const LARGE_BYTES: usize = 10_240;

#[cfg(test)]
mod tests {
    use super::*;

    /// A viewer of ten seconds that offered after 3 ms.
    fn offered() -> Facts {
        Facts {
            now: 10_000.0,
            whole: true,
            master: true,
            offer: Some(3.0),
            viewer_candidates: 5,
            longest: 6_000,
            ..Facts::default()
        }
    }

    /// The same, answered after 65 ms.
    fn answered() -> Facts {
        Facts {
            arrived: Some(3.0),
            answer: Some(65.0),
            master_candidates: 5,
            ..offered()
        }
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn the_table_of_hints() {
        const DONE: &str =
            "signaling took 62 ms; what fails after it is ICE or TURN, not the broker";
        let cases: [(&str, Facts, &[&str]); 20] = [
            ("a session as it should be", answered(), &[DONE]),
            (
                "an offer that waited",
                Facts {
                    offer: Some(3.0),
                    arrived: Some(12_403.0),
                    answer: Some(12_465.0),
                    now: 20_000.0,
                    ..answered()
                },
                &[
                    "the offer waited 12.4 s: no master was connected",
                    "once the master was connected, signaling took 62 ms; what fails after it is ICE or TURN, not \
                     the broker",
                ],
            ),
            (
                "an offer that waits",
                Facts {
                    master: false,
                    ..offered()
                },
                &["the offer has waited 10.0 s so far: no master is connected"],
            ),
            (
                "an offer that expired",
                Facts {
                    master: false,
                    now: 70_000.0,
                    expired: Some(60_003.0),
                    ..offered()
                },
                &[
                    "the offer was dropped after 60.0 s, the channel's MessageTtlSeconds: no master came for it",
                ],
            ),
            (
                "a master that says nothing",
                Facts {
                    arrived: Some(2_000.0),
                    offer: Some(2_000.0),
                    ..offered()
                },
                &["the offer went to the master 8.0 s ago, and it has sent nothing to this viewer"],
            ),
            (
                "a master that has had no time yet",
                Facts {
                    arrived: Some(9_000.0),
                    offer: Some(9_000.0),
                    ..offered()
                },
                &[],
            ),
            (
                "a viewer that left a silent master",
                Facts {
                    arrived: Some(3.0),
                    left: Some(503.0),
                    ..offered()
                },
                &[
                    "the offer went to the master 500 ms before this viewer left, and it has sent nothing to it",
                ],
            ),
            (
                "candidates without an answer",
                Facts {
                    arrived: Some(0.0),
                    offer: Some(0.0),
                    master_candidates: 1,
                    ..offered()
                },
                &[
                    "the offer went to the master 10.0 s ago, and it has sent this viewer 1 ICE candidate and no \
                     answer",
                ],
            ),
            (
                "a viewer that left before the answer",
                Facts {
                    arrived: Some(3.0),
                    left: Some(4_000.0),
                    missed: Some(4_900.0),
                    ..offered()
                },
                &["the viewer left 900 ms before the answer"],
            ),
            (
                "an answer to an earlier connection",
                Facts {
                    now: 1_000.0,
                    whole: true,
                    master: true,
                    answer: Some(40.0),
                    older_offer: true,
                    ..Facts::default()
                },
                &[
                    "the answer is for an offer of an earlier connection of this client id; this one has sent none",
                ],
            ),
            (
                "a master that connected again",
                Facts {
                    arrived: Some(3.0),
                    replaced: Some(303.0),
                    ..offered()
                },
                &[
                    "the master connected again 300 ms after the offer had gone to it: its new connection does not \
                     get that offer again",
                    "the offer went to the master 10.0 s ago, and it has sent nothing to this viewer",
                ],
            ),
            (
                "no candidates of the master",
                Facts {
                    master_candidates: 0,
                    ..answered()
                },
                &[
                    "the master has sent no ICE candidates: unless its answer contains them, ICE has no address to \
                     try",
                    DONE,
                ],
            ),
            (
                "no candidates of the master yet",
                Facts {
                    master_candidates: 0,
                    now: 1_000.0,
                    ..answered()
                },
                &[DONE],
            ),
            (
                "a long offer",
                Facts {
                    longest: 12_014,
                    ..answered()
                },
                &[
                    "a message of 12014 bytes: old builds of the C SDK take 10240 at most",
                    DONE,
                ],
            ),
            (
                "the longest that is none",
                Facts {
                    longest: 10_240,
                    ..answered()
                },
                &[DONE],
            ),
            (
                "refused messages",
                Facts {
                    refused: 2,
                    ..answered()
                },
                &[
                    "2 messages refused, too fast, or without room: see heliograph_messages_total",
                    DONE,
                ],
            ),
            (
                "a viewer without an offer",
                Facts {
                    now: 185_000.0,
                    whole: true,
                    ..Facts::default()
                },
                &["the viewer has been connected for 3 min 5 s and has sent no offer"],
            ),
            (
                "a viewer that has just come",
                Facts {
                    now: 4_000.0,
                    whole: true,
                    ..Facts::default()
                },
                &[],
            ),
            (
                "a viewer whose beginning is not known",
                Facts {
                    now: 185_000.0,
                    ..Facts::default()
                },
                &[],
            ),
            (
                "a viewer that left without an offer",
                Facts {
                    now: 185_000.0,
                    left: Some(9_000.0),
                    whole: true,
                    ..Facts::default()
                },
                &[],
            ),
        ];
        for (name, facts, wanted) in cases {
            let got: Vec<String> = hints(&facts).iter().map(Hint::to_string).collect();
            assert_eq!(got, wanted, "{name}");
        }
    }

    #[test]
    fn spans_are_short() {
        let spans = [
            (-1.0, "0.0 ms"),
            (0.04, "0.0 ms"),
            (9.94, "9.9 ms"),
            (9.96, "10 ms"),
            (999.4, "999 ms"),
            (999.6, "1.0 s"),
            (99_949.0, "99.9 s"),
            (100_000.0, "1 min 40 s"),
        ];
        for (ms, text) in spans {
            assert_eq!(Span(ms).to_string(), text);
        }
    }
}
