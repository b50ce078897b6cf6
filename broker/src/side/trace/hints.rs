//! Hints that the trace of one viewer gives, in plain words: a pure function of a few figures.
//!
//! At most one sentence of each kind, of messages that were not accepted one of each reason, in the order of a
//! session's life. They say what the broker saw; what it cannot see (ICE, TURN, media) they only name where signaling
//! is done.

use broker_core::journal::{EndReason, Unaccepted};
use broker_core::shard::RoleBy;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

/// The known facts of one connection of a viewer. Times are in milliseconds since it joined.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Facts {
    /// When it was read.
    pub(crate) now: f64,
    /// When the viewer left, if it did.
    pub(crate) left: Option<f64>,
    /// Whether everything since it joined is known.
    pub(crate) whole: bool,
    /// What said that it is a viewer's, or a master's.
    pub(crate) role_by: Option<RoleBy>,
    /// No connection of its client id is known.
    pub(crate) absent: bool,
    /// Whether a master is connected.
    pub(crate) master: bool,
    /// Its first offer.
    pub(crate) offer: Option<f64>,
    /// It sent something that may have been an offer, and was not accepted.
    pub(crate) declined: bool,
    /// When an offer of it first went to a master.
    pub(crate) arrived: Option<f64>,
    /// When an offer of it was dropped, since no master came for it.
    pub(crate) expired: Option<f64>,
    /// When a master connected after that offer and before an answer, and what becomes of the offer there.
    pub(crate) replaced: Option<(f64, Again)>,
    /// When an offer of it went to a master for the second time, and how many candidates with it.
    pub(crate) repeated: Option<(f64, usize)>,
    /// An offer of it came back from a master that had not confirmed it.
    pub(crate) returned: bool,
    /// It sent a second offer.
    pub(crate) newer_offer: bool,
    /// The first answer that went to it, after its own offer if that is known.
    pub(crate) answer: Option<f64>,
    /// Its machine has not confirmed what was sent to it last, or an answer came back for that.
    pub(crate) unconfirmed: bool,
    /// The machine that confirms what is sent to it, where TCP is the proof: its own, or a proxy that ends connections.
    pub(crate) confirmed_by: Option<IpAddr>,
    /// The first answer that went to it before it had sent an offer.
    pub(crate) early: Option<f64>,
    /// The first answer that was for it and found it gone.
    pub(crate) missed: Option<f64>,
    /// An earlier connection of the same client id sent an offer, and was not answered.
    pub(crate) older_offer: bool,
    /// The first ICE candidate of the viewer, and of the master for it.
    pub(crate) viewer_trickled: Option<f64>,
    pub(crate) master_trickled: Option<f64>,
    /// ICE candidates that the viewer sent.
    pub(crate) viewer_candidates: usize,
    /// ICE candidates that the master sent to it.
    pub(crate) master_candidates: usize,
    /// The candidates that its first offer and the first answer contain, where these were looked at.
    pub(crate) in_offer: Option<usize>,
    pub(crate) in_answer: Option<usize>,
    /// A call of its client id over HTTP.
    pub(crate) call: Option<HttpCall>,
    /// When GO_AWAY was sent to it.
    pub(crate) told_to_go: Option<f64>,
    /// Why it ended.
    pub(crate) ended: Option<EndReason>,
    /// The longest message, either way, in bytes.
    pub(crate) longest: usize,
    /// Messages of it, or for it, that were not accepted.
    pub(crate) unaccepted: Unaccepteds,
    /// The reasons for which messages of masters were not accepted that named no viewer, after its offer had gone to
    /// the master and before an answer. With the lengths of one of each.
    pub(crate) of_master: Vec<(Unaccepted, Lengths)>,
}

/// A call of SendAlexaOfferToMaster, as far as the master's messages show it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct HttpCall {
    /// It was answered; the candidates in the answer, where that was looked at.
    pub(crate) answered: Option<Option<usize>>,
    /// Candidates of the master that were dropped, since a call takes none.
    pub(crate) dropped: usize,
}

/// What becomes of an offer whose master connected again: see KEEP-9 in `codec/PROTOCOL.md`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Again {
    /// It was given again, after this time, with this many candidates.
    Given(f64, usize),
    /// It is given again in this time, when the new connection has been open for as long as the second.
    Due(f64, f64),
    /// The next connection gets it that stays open for as long.
    Next(f64),
    /// The former connection had not confirmed it.
    Returned,
    /// It is not given again, for this reason.
    Not(&'static str),
}

/// The number of messages that were not accepted, by reason, with the lengths of the last one.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Unaccepteds(BTreeMap<Unaccepted, (usize, Lengths)>);

/// The length of a message that was not accepted, and the limit, if it was too long.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Lengths {
    pub(crate) bytes: usize,
    pub(crate) most: usize,
}

impl Unaccepteds {
    /// Adds one.
    pub(crate) fn add(&mut self, reason: Unaccepted, lengths: Lengths) {
        let (count, last) = self.0.entry(reason).or_default();
        (*count, *last) = (*count + 1, lengths);
    }

    /// Each reason with its number.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (Unaccepted, usize)> {
        self.0.iter().map(|(reason, (count, _))| (*reason, *count))
    }

    /// A sentence for each reason.
    pub(crate) fn hints(&self) -> impl Iterator<Item = Hint> {
        let all = self.0.iter();
        all.map(|(reason, (count, lengths))| Hint::Unaccepted(*count, *reason, *lengths))
    }
}

/// One hint. Times are spans in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Hint {
    /// It has sent no offer. Whether it has left.
    NoOffer(f64, bool),
    /// Its client id is that of a master.
    NamedMaster,
    /// There is no connection of its client id.
    NeverConnected,
    /// Its offer was kept until a master came.
    WaitedForMaster(f64),
    /// Its offer is kept, since no master is connected; or was, until the viewer left.
    NoMaster(f64, bool),
    /// Its offer was dropped before a master came.
    Expired(f64),
    /// The client id is that of a call over HTTP.
    HttpCall(HttpCall),
    /// The master connected again after it had got the offer.
    MasterReplaced(f64, Again),
    /// The master got the offer and did not answer. Whether the viewer has left.
    Unanswered(f64, bool, Instead),
    /// The answer came after the viewer had left.
    ViewerGaveUp(f64),
    /// The answer went to a connection that had made no offer.
    AnswerToNewConnection,
    /// The answer came late.
    SlowAnswer(f64),
    /// There is an answer, and no candidate from the master, or from both: the sentence.
    NoCandidates(&'static str),
    /// A message is longer than some clients can take.
    LargeMessage(usize),
    /// This many messages were not accepted, for this reason.
    Unaccepted(usize, Unaccepted, Lengths),
    /// The master sent messages that were not accepted, for this reason, in place of an answer.
    MasterUnaccepted(Unaccepted, Lengths),
    /// The client ended, or hung, within this time after GO_AWAY.
    EndedAfterGoAway(f64, &'static str),
    /// The answer was sent this long after the offer, and not confirmed. Whether the viewer has left.
    Unconfirmed(f64, bool),
    /// Offer and answer were exchanged. Whether the offer had waited for a master, and who confirmed the answer.
    SignalingDone(f64, bool, Option<IpAddr>),
}

/// The hint about missing candidates, where the master sent none and its answer contains none that is known of.
fn no_candidates(facts: &Facts) -> Option<Hint> {
    let of_viewer = facts.viewer_candidates + facts.in_offer.unwrap_or_default();
    let of_master = facts.master_candidates + facts.in_answer.unwrap_or_default();
    let is_known = facts.in_answer.is_some() && (of_viewer > 0 || facts.in_offer.is_some());
    let sentence = match (of_viewer > 0, is_known) {
        (true, true) => {
            "the master has sent no ICE candidates, and its answer contains none: ICE has no address of it to try"
        }
        (true, false) => NO_MASTER_CANDIDATES,
        (false, true) => {
            "neither side has sent ICE candidates, and neither offer nor answer contains any: ICE has no address to try"
        }
        (false, false) => {
            "neither side has sent ICE candidates: unless offer and answer contain them, ICE has no address to try"
        }
    };
    (of_master == 0).then_some(Hint::NoCandidates(sentence))
}

/// The master sent no candidates; what its answer contains is not known.
pub(crate) const NO_MASTER_CANDIDATES: &str = "the master has sent no ICE candidates: unless its answer contains \
                                               them, ICE has no address to try";

/// The hint about a client that ended soon after GO_AWAY, or hung.
pub(crate) fn ended_after_go_away(facts: &Facts) -> Option<Hint> {
    let span = facts.left? - facts.told_to_go?;
    let (within, how) = if facts.ended? == EndReason::Unanswered {
        (HUNG_MS, "answered no ping")
    } else {
        (GO_AWAY_MS, "ended")
    };
    let by_itself = matches!(
        facts.ended?,
        EndReason::PeerClosed | EndReason::PeerGone | EndReason::Unanswered
    );
    (by_itself && span <= within).then_some(Hint::EndedAfterGoAway(span, how))
}

/// The messages of a master in place of an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Instead {
    Nothing,
    /// This many ICE candidates.
    Candidates(usize),
    /// Messages that were not accepted.
    Unaccepted,
}

impl Instead {
    fn of(facts: &Facts) -> Self {
        match facts.master_candidates {
            0 if facts.of_master.is_empty() => Self::Nothing,
            0 => Self::Unaccepted,
            some => Self::Candidates(some),
        }
    }
}

/// All hints of one viewer, in the order of a session's life.
pub(crate) fn hints(facts: &Facts) -> Vec<Hint> {
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
    let left = facts.left.is_some();
    let silent = facts.whole && !facts.absent && facts.offer.is_none() && !facts.declined;
    let silent = silent && facts.answer.is_none() && facts.early.is_none();
    let done = facts.arrived.zip(facts.answer).map(|(arrived, answer)| {
        let began = match (waited, facts.offer) {
            (None, Some(offer)) => offer,
            (Some(_), _) | (None, None) => arrived,
        };
        answer - began
    });
    let trickles = facts
        .answer
        .is_some_and(|answer| until - answer >= CANDIDATES_MS);
    let of_master = facts.of_master.iter();
    let of_master = of_master.map(|(reason, lengths)| Hint::MasterUnaccepted(*reason, *lengths));
    let all = [
        (facts.role_by == Some(RoleBy::LastRequest)).then_some(Hint::NamedMaster),
        (facts.absent && (facts.call.is_none() || facts.missed.is_some()))
            .then_some(Hint::NeverConnected),
        facts.call.map(Hint::HttpCall),
        (silent && (left || until >= OFFER_MS)).then_some(Hint::NoOffer(until, left)),
        waited.map(Hint::WaitedForMaster),
        (waits.filter(|_| facts.expired.is_none() && (left || !facts.master)))
            .map(|offer| Hint::NoMaster(until - offer, left)),
        (waits.zip(facts.expired)).map(|(offer, expired)| Hint::Expired(expired - offer)),
        (facts.arrived.zip(facts.replaced))
            .map(|(arrived, (replaced, again))| Hint::MasterReplaced(replaced - arrived, again)),
        unanswered.map(|span| Hint::Unanswered(span, left, Instead::of(facts))),
        (facts.left.zip(facts.missed))
            .filter(|(left, missed)| missed >= left && facts.answer.is_none())
            .map(|(left, missed)| Hint::ViewerGaveUp(missed - left)),
        (facts.older_offer && facts.offer.is_none() && facts.early.is_some())
            .then_some(Hint::AnswerToNewConnection),
        (done.filter(|took| *took >= SLOW_MS)).map(Hint::SlowAnswer),
        no_candidates(facts).filter(|_| trickles),
        (facts.longest > LARGE_BYTES).then_some(Hint::LargeMessage(facts.longest)),
        ended_after_go_away(facts),
        done.map(|took| match facts.unconfirmed {
            true => Hint::Unconfirmed(took, left),
            false => Hint::SignalingDone(took, waited.is_some(), facts.confirmed_by),
        }),
    ];
    let [before @ .., done] = all;
    let before = before.into_iter().flatten();
    before
        .chain(of_master)
        .chain(facts.unaccepted.hints())
        .chain(done)
        .collect()
}

/// A shorter wait for a master is that of its connection coming in at the same time.
const WAIT_MS: f64 = 100.0;

/// An answer that comes later than this after its offer is slow.
pub(crate) const SLOW_MS: f64 = 3_000.0;

/// Within which a master usually answers.
const ANSWER_MS: f64 = 2_000.0;

/// Within which a viewer usually offers.
const OFFER_MS: f64 = 5_000.0;

/// Within which the first candidate follows an answer.
const CANDIDATES_MS: f64 = 2_000.0;

/// Within which a client ends that cannot take GO_AWAY.
const GO_AWAY_MS: f64 = 2_000.0;

/// Within which one is found that hangs: the time until a ping, and until its answer is missed.
const HUNG_MS: f64 = 120_000.0;

/// Bytes that the message buffer of C SDK builds from before it was enlarged holds; `heliograph_large_frames_total`
/// counts longer frames.
const LARGE_BYTES: usize = 10_240;

// The sentences in which hints are shown.

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
            Self::NamedMaster => to.write_str(
                "it is a viewer, though its client id is MASTER: its URL was not signed with the path /master of its \
                 endpoint, and its caller's last GetSignalingChannelEndpoint did not name Role MASTER",
            ),
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
            Self::HttpCall(call) => http_call(to, call),
            Self::MasterReplaced(ms, again) => write!(
                to,
                "the master connected again {} after the offer had gone to it: {again}",
                Span(ms)
            ),
            Self::Unanswered(ms, left, instead) => unanswered(to, ms, left, instead),
            Self::ViewerGaveUp(ms) => write!(to, "the viewer left {} before the answer", Span(ms)),
            Self::AnswerToNewConnection => to.write_str(
                "the answer is for an offer of an earlier connection of this client id; this one has sent none",
            ),
            Self::SlowAnswer(ms) => write!(to, "the answer came {} after the offer", Span(ms)),
            Self::NoCandidates(sentence) => to.write_str(sentence),
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
            Self::EndedAfterGoAway(ms, how) => ended(to, ms, how),
            Self::Unconfirmed(ms, left) => unconfirmed(to, ms, left),
            Self::SignalingDone(ms, waited, by) => signaling_done(to, ms, waited, by),
        }
    }
}

impl fmt::Display for Again {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Given(ms, candidates) => {
                let (ms, s) = (Span(ms), plural(candidates));
                write!(
                    to,
                    "its new connection got that offer again {ms} later, with {candidates} ICE candidate{s}"
                )
            }
            Self::Due(ms, open) => {
                let (ms, open) = (Span(ms), Span(open));
                write!(
                    to,
                    "its new connection gets that offer again in {ms}, when it has been open for {open}"
                )
            }
            Self::Next(open) => {
                let open = Span(open);
                write!(
                    to,
                    "the next connection that stays open for {open} gets that offer again"
                )
            }
            Self::Returned => {
                to.write_str("the former one had not confirmed it, so the new one got it")
            }
            Self::Not(because) => write!(
                to,
                "its new connection does not get that offer again, since {because}"
            ),
        }
    }
}

/// See [`Hint::EndedAfterGoAway`].
fn ended(to: &mut fmt::Formatter<'_>, ms: f64, how: &str) -> fmt::Result {
    write!(
        to,
        "the client {how} within {} of GO_AWAY, which asks it to connect again: if it does not come back, set \
         [clients] go_away = false for it",
        Span(ms)
    )
}

/// See [`Hint::HttpCall`].
fn http_call(to: &mut fmt::Formatter<'_>, call: HttpCall) -> fmt::Result {
    to.write_str("a call of SendAlexaOfferToMaster by this client id ")?;
    match call.answered {
        None => to.write_str("has got no answer")?,
        Some(None) => to.write_str("was answered")?,
        Some(Some(count)) => {
            let s = plural(count);
            write!(
                to,
                "was answered, with {count} ICE candidate{s} in the answer"
            )?;
        }
    }
    match call.dropped {
        0 => Ok(()),
        count => write!(
            to,
            "; of its master {count} ICE candidate{} apart from the answer came to nothing: a call takes none",
            plural(count)
        ),
    }
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// See [`Hint::Unconfirmed`].
fn unconfirmed(to: &mut fmt::Formatter<'_>, ms: f64, left: bool) -> fmt::Result {
    let then = if left {
        "it is kept for the viewer's next connection"
    } else {
        "the viewer may be cut off, or have another network"
    };
    write!(
        to,
        "the answer was sent {} after the offer, and the viewer's machine has not confirmed it: {then}",
        Span(ms)
    )
}

/// See [`Hint::SignalingDone`].
fn signaling_done(
    to: &mut fmt::Formatter<'_>,
    ms: f64,
    waited: bool,
    by: Option<IpAddr>,
) -> fmt::Result {
    let once = if waited {
        "once the master was connected, "
    } else {
        ""
    };
    write!(to, "{once}signaling took {}", Span(ms))?;
    if let Some(by) = by {
        write!(
            to,
            ", confirmed by {by}, which is the proxy where one ends TCP"
        )?;
    }
    write!(to, "; what fails after it is ICE or TURN, not the broker")
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

#[cfg(test)]
mod tests;
