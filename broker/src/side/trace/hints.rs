//! Hints about a connection. Each row of a table has a condition on the facts in the connection's trace, and a sentence
//! that is shown if the condition holds.
//!
//! Each row yields at most one sentence, except that unaccepted messages yield one sentence per reason. Rows follow the
//! order of events in a session. The sentences describe what the broker observes. ICE, TURN and media cannot be
//! observed, and are not mentioned until signaling is done.

use crate::side::trace::timeline::TraceMessage;
use crate::terminal::counted;
use broker_core::event::SHORT_MS;
use broker_core::journal::{EndReason, Unaccepted};
use broker_core::shard::RoleBy;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

/// Facts about a connection, derived from its own events and from the events of its channel's masters. Times are in
/// milliseconds since the connection joined.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) now: f64,
    pub(crate) left: Option<f64>,
    pub(crate) ended: Option<EndReason>,
    /// Whether all events since the connection joined are known.
    pub(crate) whole: bool,
    pub(crate) absent: bool,
    pub(crate) role_by: Option<RoleBy>,
    pub(crate) told_to_go: Option<f64>,
    /// Unaccepted messages from or to the connection: for each reason, their number and the last one.
    pub(crate) unaccepted: BTreeMap<Unaccepted, (usize, TraceMessage)>,
    /// Length of the longest message in either direction, in bytes.
    pub(crate) longest: usize,

    /// The time when the first offer arrived.
    pub(crate) offer: Option<f64>,
    /// The time when an offer was first delivered to a master.
    pub(crate) arrived: Option<f64>,
    pub(crate) expired: Option<f64>,
    pub(crate) declined: bool,
    pub(crate) newer_offer: bool,
    /// Whether the offer was requeued because a master had not confirmed it.
    pub(crate) returned: bool,
    /// The time when an offer was last redelivered to a later master, and how many candidates were sent with it.
    pub(crate) repeated: Option<(f64, usize)>,
    /// The time when an answer was first sent to the viewer. Answers sent before the viewer's offer, if known, do not
    /// count.
    pub(crate) answer: Option<f64>,
    /// The time when an answer was first sent to the viewer before the viewer had sent an offer.
    pub(crate) early: Option<f64>,
    /// The time when the first answer arrived while the viewer was not connected.
    pub(crate) missed: Option<f64>,
    /// Whether the viewer's machine failed to confirm an old message, or an answer that was then returned to the
    /// broker.
    pub(crate) unconfirmed: bool,
    /// Address of the machine that confirms messages by TCP: either the viewer's machine, or a proxy that terminates
    /// connections.
    pub(crate) confirmed_by: Option<IpAddr>,
    pub(crate) viewer_trickled: Option<f64>,
    pub(crate) master_trickled: Option<f64>,
    pub(crate) viewer_candidates: usize,
    pub(crate) master_candidates: usize,
    /// Number of candidates in the first offer that was inspected, or `None` if none was.
    pub(crate) in_offer: Option<usize>,
    /// Number of candidates in the first answer that was inspected, or `None` if none was.
    pub(crate) in_answer: Option<usize>,
    /// Set if a SendAlexaOfferToMaster call was answered. Contains the number of candidates in the answer, if
    /// inspected.
    pub(crate) call_answered: Option<Option<usize>>,
    /// Number of candidates sent for this call in addition to the answer.
    pub(crate) call_candidates: usize,
    pub(crate) player: Option<PlayerCall>,

    pub(crate) master: bool,
    /// The time when another master connected while the offer was still unanswered, although an earlier master had
    /// received it.
    pub(crate) replaced: Option<f64>,
    /// How long a new master must have been connected before the offer is redelivered to it, in milliseconds. `None` if
    /// offers are never redelivered.
    pub(crate) repeats_ms: Option<f64>,
    /// The time when the offer will be redelivered. `Some(None)` if this depends on when the next master connects.
    pub(crate) awaited: Option<Option<f64>>,
    pub(crate) older_offer: bool,
    /// For each reason, the first unaccepted message without a recipient that a master sent after the offer arrived.
    /// Empty if the offer was answered.
    pub(crate) of_master: Vec<(Unaccepted, TraceMessage)>,

    /// The time when another master took over, and that master's address.
    pub(crate) taken_over: Option<(f64, Option<IpAddr>)>,
    /// Whether this master took over from another one without having stated its role.
    pub(crate) unnamed: bool,
    pub(crate) remote: Option<IpAddr>,
    pub(crate) rivals: Rivals,
}

/// A player's call over HTTP. Times are in milliseconds since its offer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlayerCall {
    pub(crate) answered: Option<f64>,
    /// The number of candidates sent in addition to the answer.
    pub(crate) candidates: usize,
    /// The time when the last of these candidates was sent.
    pub(crate) last: f64,
    pub(crate) status: Option<usize>,
}

/// Connections of a channel's master that take over from one another, or that end soon after connecting.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rivals {
    pub(crate) takeovers: usize,
    pub(crate) within: f64,
    pub(crate) short: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hint {
    pub(crate) kind: HintKind,
    pub(crate) says: String,
}

/// The kinds of hints that the code distinguishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HintKind {
    NoCandidates,
    /// Offer and answer were exchanged: signaling is complete, and no problems occurred.
    SignalingDone,
    Other,
}

/// The kind of a hint, and a function that returns the hint's sentence if the condition holds.
type HintRow = (HintKind, fn(&Facts) -> Option<String>);

pub(crate) fn of_viewer(facts: &Facts) -> Vec<Hint> {
    hints(
        OF_VIEWER,
        facts,
        &[
            (HintKind::Other, unconfirmed),
            (HintKind::SignalingDone, signaling_done),
        ],
    )
}

pub(crate) fn of_master(facts: &Facts) -> Vec<Hint> {
    hints(OF_MASTER, facts, &[(HintKind::Other, ended_after_go_away)])
}

fn hints(table: &[HintRow], facts: &Facts, last: &[HintRow]) -> Vec<Hint> {
    let hint = |(kind, says): &HintRow| {
        Some(Hint {
            kind: *kind,
            says: says(facts)?,
        })
    };
    let of_master = facts.of_master.iter().map(|(reason, message)| {
        let says = reason.says(message.bytes, message.most);
        format!("the master's messages were not accepted: {says}")
    });
    let own = facts.unaccepted.iter();
    let own = own
        .map(|(reason, (count, message))| unaccepted(*count, *reason, message.bytes, message.most));
    let other = |says| Hint {
        kind: HintKind::Other,
        says,
    };
    let mut hints: Vec<Hint> = table.iter().filter_map(hint).collect();
    hints.extend(of_master.chain(own).map(other));
    hints.extend(last.iter().filter_map(hint));
    hints
}

/// Describes the messages that were not accepted for a given reason. `bytes` is the length of one such message, and
/// `most` is the maximum.
pub(crate) fn unaccepted(count: usize, reason: Unaccepted, bytes: usize, most: usize) -> String {
    let were = if count == 1 { " was" } else { "s were" };
    format!(
        "{count} message{were} not accepted: {}",
        reason.says(bytes, most)
    )
}

const OF_VIEWER: &[HintRow] = &[
    (HintKind::Other, |it| {
        let is_viewer = "it is a viewer, though its client id is MASTER: its URL was not signed with the path \
                         /master of its endpoint, and its caller's last GetSignalingChannelEndpoint did not name Role \
                         MASTER";
        (it.role_by == Some(RoleBy::LastRequest)).then(|| is_viewer.into())
    }),
    (HintKind::Other, |it| {
        let unknown = "no connection of this client id is known: the master sent to it before it came, or after it \
                       left";
        (it.absent && (!it.is_called() || it.missed.is_some())).then(|| unknown.into())
    }),
    (HintKind::Other, http_call),
    (HintKind::Other, |it| {
        let is_silent = it.whole && !it.absent && !it.declined;
        let is_silent = is_silent && [it.offer, it.answer, it.early] == [None; 3];
        let span = Span(it.until());
        match it.left {
            _ if !is_silent => None,
            Some(_) => Some(format!(
                "the viewer left after {span} and had sent no offer"
            )),
            None if it.now < OFFER_MS => None,
            None => Some(format!(
                "the viewer has been connected for {span} and has sent no offer"
            )),
        }
    }),
    (HintKind::Other, |it| {
        let waited = Span(it.waited()?);
        Some(format!(
            "the offer waited {waited}: no master was connected"
        ))
    }),
    (HintKind::Other, |it| {
        let offer = it.waits().filter(|_| it.expired.is_none())?;
        let span = Span(it.until() - offer);
        if it.left.is_some() {
            Some(format!(
                "the viewer left {span} after its offer, and no master had connected"
            ))
        } else {
            let waits = format!("the offer has waited {span} so far: no master is connected");
            (!it.master).then_some(waits)
        }
    }),
    (HintKind::Other, |it| {
        let span = Span(it.expired? - it.waits()?);
        Some(format!(
            "the offer was dropped after {span}, the channel's MessageTtlSeconds: no master connected"
        ))
    }),
    (HintKind::Other, master_replaced),
    (HintKind::Other, unanswered),
    (HintKind::Other, |it| {
        let span = it.missed? - it.left?;
        let is_late = span >= 0.0 && it.answer.is_none();
        is_late.then(|| format!("the viewer left {} before the answer", Span(span)))
    }),
    (HintKind::Other, |it| {
        let of_another = "the answer is for an offer of an earlier connection of this client id; this one has sent \
                          none";
        (it.older_offer && it.offer.is_none() && it.early.is_some()).then(|| of_another.into())
    }),
    (HintKind::Other, |it| {
        let took = it.took().filter(|took| *took >= SLOW_MS)?;
        Some(format!("the answer came {} after the offer", Span(took)))
    }),
    (HintKind::NoCandidates, no_candidates),
    (HintKind::Other, |it| {
        let bytes = it.longest;
        let says = format!(
            "a message of {bytes} bytes: old builds of the C SDK take {LARGE_BYTES} at most"
        );
        (bytes > LARGE_BYTES).then_some(says)
    }),
    (HintKind::Other, ended_after_go_away),
];

const OF_MASTER: &[HintRow] = &[
    (HintKind::Other, |it| {
        let named = "it is the master, though it names the client id MASTER: its caller's last \
                     GetSignalingChannelEndpoint named Role MASTER";
        (it.role_by == Some(RoleBy::LastRequest)).then(|| named.into())
    }),
    (HintKind::Other, |it| {
        it.unnamed
            .then(|| "connected as master: no X-Amz-ClientId".into())
    }),
    (HintKind::Other, taken_over),
    (HintKind::Other, |it| {
        let (left, short) = (Span(it.left?), it.rivals.short);
        (it.is_short() && short >= TWINS).then(|| {
            format!(
                "it left {left} after it joined; {short} connections of this master ended within 10 s: its power, its \
                 network or its software"
            )
        })
    }),
];

impl Facts {
    fn until(&self) -> f64 {
        self.left.unwrap_or(self.now)
    }

    /// Returns the time at which the offer arrived, or `None` if a master has already received it.
    fn waits(&self) -> Option<f64> {
        self.offer.filter(|_| self.arrived.is_none())
    }

    /// Returns how long the offer waited for a master, or `None` if the wait was negligible.
    fn waited(&self) -> Option<f64> {
        let waited = self.arrived? - self.offer?;
        Some(waited).filter(|waited| *waited >= WAIT_MS)
    }

    /// Returns the time from the offer to the answer, not counting the wait for a master.
    fn took(&self) -> Option<f64> {
        let (arrived, answer) = self.arrived.zip(self.answer)?;
        let began = self.offer.filter(|_| self.waited().is_none());
        Some(answer - began.unwrap_or(arrived))
    }

    fn is_called(&self) -> bool {
        self.call_answered.is_some() || self.call_candidates > 0 || self.player.is_some()
    }

    /// Returns whether the connection ended soon after it started, without being taken over.
    pub(crate) fn is_short(&self) -> bool {
        let is_soon = self.left.is_some_and(|left| left <= SHORT_MS as f64);
        is_soon && self.taken_over.is_none()
    }
}

fn http_call(it: &Facts) -> Option<String> {
    if let Some(call) = it.player {
        let answered = call.answered.map_or_else(
            || "not answered".into(),
            |ms| format!("answered after {}", Span(ms)),
        );
        let candidates = match call.candidates {
            0 => String::new(),
            count => format!(
                ", {} within {}",
                counted(count, "candidate"),
                Span(call.last)
            ),
        };
        let status = call
            .status
            .map_or_else(String::new, |status| format!(", {status}"));
        return Some(format!("a call over HTTP: {answered}{candidates}{status}"));
    }
    let answered = match it.call_answered {
        None => "has got no answer".into(),
        Some(None) => "was answered".into(),
        Some(Some(count)) => {
            format!(
                "was answered, with {} in the answer",
                counted(count, "ICE candidate")
            )
        }
    };
    let dropped = match it.call_candidates {
        0 => String::new(),
        count => format!(
            "; of its master {} apart from the answer came to nothing: a call takes none",
            counted(count, "ICE candidate")
        ),
    };
    let by = "a call of SendAlexaOfferToMaster by this client id";
    it.is_called().then(|| format!("{by} {answered}{dropped}"))
}

/// Describes that another master has connected, and what happens to the offer. See KEEP-9 in `codec/PROTOCOL.md`.
fn master_replaced(it: &Facts) -> Option<String> {
    let (arrived, replaced) = it.arrived.zip(it.replaced)?;
    let spoke = it.master_trickled.is_some_and(|at| at >= arrived);
    let reasons = [
        (it.repeats_ms.is_none(), "[signaling] repeat_offers is off"),
        (spoke, "the master has sent this viewer an ICE candidate"),
        (it.answer.is_some(), "the master answered it before"),
        (it.newer_offer, "the viewer has sent a newer one"),
        (it.left.is_some(), "the viewer has left"),
        (
            it.awaited.is_none(),
            "it expired, or was evicted for others",
        ),
    ];
    let because = reasons.into_iter().find(|(holds, _)| *holds);
    let open = Span(it.repeats_ms.unwrap_or_default());
    let again = match (it.repeated, because, it.awaited.flatten()) {
        (Some((at, candidates)), ..) if at >= replaced => format!(
            "its new connection got that offer again {} later, with {}",
            Span(at - replaced),
            counted(candidates, "ICE candidate")
        ),
        _ if it.returned => "the former one had not confirmed it, so the new one got it".into(),
        (_, Some((_, because)), _) => {
            format!("its new connection does not get that offer again, since {because}")
        }
        (_, None, Some(due)) => format!(
            "its new connection gets that offer again in {}, when it has been open for {open}",
            Span(due - it.now)
        ),
        (_, None, None) => {
            format!("the next connection that stays open for {open} gets that offer again")
        }
    };
    let span = Span(replaced - arrived);
    Some(format!(
        "the master connected again {span} after the offer had gone to it: {again}"
    ))
}

fn unanswered(it: &Facts) -> Option<String> {
    let is_answered = it.answer.is_some() || it.missed.is_some();
    let span = it.until() - it.arrived.filter(|_| !is_answered)?;
    let (when, whom) = match it.left {
        Some(_) => ("before this viewer left", "it"),
        None if span < ANSWER_MS => return None,
        None => ("ago", "this viewer"),
    };
    let instead = match it.master_candidates {
        0 if it.of_master.is_empty() => format!("it has sent nothing to {whom}"),
        0 => "nothing that it has sent since was accepted".into(),
        some => format!(
            "it has sent {whom} {} and no answer",
            counted(some, "ICE candidate")
        ),
    };
    Some(format!(
        "the offer went to the master {} {when}, and {instead}",
        Span(span)
    ))
}

/// Describes that a master sent no candidates. Returns `None` if its answer contains candidates.
fn no_candidates(it: &Facts) -> Option<String> {
    let of_viewer = it.viewer_candidates + it.in_offer.unwrap_or_default();
    let of_master = it.master_candidates + it.in_answer.unwrap_or_default();
    let is_known = it.in_answer.is_some() && (of_viewer > 0 || it.in_offer.is_some());
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
    let is_due = it.until() - it.answer? >= CANDIDATES_MS;
    (is_due && of_master == 0).then(|| sentence.into())
}

/// The hint about a master that has sent no candidates, although its answer may contain candidates.
pub(crate) const NO_MASTER_CANDIDATES: &str = "the master has sent no ICE candidates: unless its answer contains \
                                               them, ICE has no address to try";

/// Describes that a client disconnected or stopped responding soon after GO_AWAY.
fn ended_after_go_away(it: &Facts) -> Option<String> {
    let (span, ended) = (it.left? - it.told_to_go?, it.ended?);
    let (within, how) = if ended == EndReason::Unanswered {
        (HUNG_MS, "answered no ping")
    } else {
        (GO_AWAY_MS, "ended")
    };
    let by_itself = matches!(
        ended,
        EndReason::PeerClosed | EndReason::PeerGone | EndReason::Unanswered
    );
    (by_itself && span <= within).then(|| {
        format!(
            "the client {how} within {} of GO_AWAY, which asks it to connect again: if it does not come back, set \
             [clients] go_away = false for it",
            Span(span)
        )
    })
}

fn unconfirmed(it: &Facts) -> Option<String> {
    let took = Span(it.took().filter(|_| it.unconfirmed)?);
    let then = match it.left {
        Some(_) => "it is kept for the viewer's next connection",
        None => "the viewer may be cut off, or have another network",
    };
    let sent = format!("the answer was sent {took} after the offer");
    Some(format!(
        "{sent}, and the viewer's machine has not confirmed it: {then}"
    ))
}

fn signaling_done(it: &Facts) -> Option<String> {
    let took = Span(it.took().filter(|_| !it.unconfirmed)?);
    let once = it
        .waited()
        .map_or("", |_| "once the master was connected, ");
    let by = it.confirmed_by.map_or_else(String::new, |by| {
        format!(", confirmed by {by}, which is the proxy where one ends TCP")
    });
    Some(format!(
        "{once}signaling took {took}{by}; what fails after it is ICE or TURN, not the broker"
    ))
}

/// Describes takeovers: of this master by other connections, or of other connections by this master.
fn taken_over(it: &Facts) -> Option<String> {
    let (many, within) = (it.rivals.takeovers, it.rivals.within);
    let often = match many >= TWINS {
        false => String::new(),
        true => format!(
            "; this happened {many} times within {}: two devices, or processes of one, are this channel's master",
            Span(within)
        ),
    };
    let Some((after, newer)) = it.taken_over else {
        return (many >= TWINS)
            .then(|| format!("it took the place of an earlier connection{often}"));
    };
    let from = match newer {
        Some(newer) if Some(newer) == it.remote => ", from the same address".into(),
        Some(newer) => format!(", from {newer}"),
        None => String::new(),
    };
    let after = Span(after);
    Some(format!(
        "another connection took its place {after} after it joined{from}{often}"
    ))
}

/// Minimum number of takeovers or short connections that network problems cannot explain. A client that reconnects
/// takes over from itself only once.
const TWINS: usize = 3;

/// Minimum wait for a master that is worth mentioning, in milliseconds. After a shorter wait, viewer and master count
/// as having connected at the same time.
const WAIT_MS: f64 = 100.0;

/// Time from the offer to the answer above which an answer counts as slow, in milliseconds.
pub(crate) const SLOW_MS: f64 = 3_000.0;

/// Time within which a master usually answers, in milliseconds.
const ANSWER_MS: f64 = 2_000.0;

/// Time within which a viewer usually sends its offer after connecting, in milliseconds.
const OFFER_MS: f64 = 5_000.0;

/// Time within which the first candidate usually follows an answer, in milliseconds.
pub(crate) const CANDIDATES_MS: f64 = 2_000.0;

/// Time within which a client that cannot handle GO_AWAY disconnects after receiving it, in milliseconds.
const GO_AWAY_MS: f64 = 2_000.0;

/// Time within which an unresponsive client is detected, in milliseconds. A client is unresponsive if it does not
/// answer a ping in time.
const HUNG_MS: f64 = 120_000.0;

/// Size of the message buffer in old builds of the C SDK, in bytes. `heliograph_large_frames_total` counts larger
/// frames.
const LARGE_BYTES: usize = 10_240;

// Connections that were closed by a proxy.

/// Idle timeouts of proxies, in seconds. The entry with [`WHOLE_LIFE_S`] limits a connection's age instead. See
/// deploy/PROXY.md.
const PROXIES: [(u64, &str); 6] = [
    (
        WHOLE_LIFE_S,
        "application load balancers of Google Cloud (timeoutSec)",
    ),
    (
        50,
        "HAProxy as Debian configures it (timeout client, timeout server)",
    ),
    (
        60,
        "nginx (proxy_read_timeout) and AWS' application load balancers (idle timeout)",
    ),
    (100, "Cloudflare"),
    (300, "Envoy (stream_idle_timeout)"),
    (350, "AWS' network load balancers"),
];
const WHOLE_LIFE_S: u64 = 30;

/// Maximum delay with which the end of a connection is detected, in milliseconds.
const PROXY_LATE_MS: u64 = 1_000;

/// Names the proxies that close connections at this age or after this idle time. Applies to a connection whose peer
/// disconnected without a close frame. `ping_ms` is the idle time after which the broker sends a ping, or 0 if it sends
/// none. Pings that are more frequent than a proxy's idle timeout keep the connection open.
pub(crate) fn ended_by_proxy(age_ms: u64, quiet_ms: u64, ping_ms: u64) -> Option<String> {
    let (seconds, proxies) = PROXIES.iter().find(|(seconds, _)| {
        let ms = seconds * 1000;
        let fits = |span: u64| (ms..ms + PROXY_LATE_MS).contains(&span);
        fits(age_ms) && *seconds == WHOLE_LIFE_S
            || fits(quiet_ms) && (ping_ms == 0 || ping_ms >= ms)
    })?;
    let says = EndReason::PeerGone.says();
    Some(format!(
        "{says}, {seconds} s after its last message, or its beginning: {proxies} do that to what they pass on; see \
         deploy/PROXY.md and `[timeouts] ping`"
    ))
}

/// A duration in milliseconds. Displayed as `62 ms`, `12.4 s` or `3 min 5 s`.
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
            let seconds = ((ms - minutes * 60_000.0) / 1000.0).floor();
            write!(to, "{minutes:.0} min {seconds:.0} s")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
