//! Records of refused requests, which only operators can see, and the limits on logging them.

use crate::limits::{
    REFUSAL_GROUPS_MAX, REFUSAL_GROUPS_PER_NETWORK, REFUSAL_WINDOW_MS, REFUSALS_REPEATED_MAX,
    REFUSALS_REPEATED_PER_NETWORK,
};
use crate::time::{Now, Wall};
use crate::{check::Check, id::Account, journal::Prefix};
use codec::identifiers::ChannelName;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// A refused request or upgrade. Text from the client is kept as received, truncated to [`NAMED_CHARS_MAX`] characters.
/// None of it is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The request id in the response.
    pub request_id: Box<str>,
    /// When the response was sent.
    pub at: Wall,
    /// The status of the response.
    pub status: u16,
    /// The error type in the response, for example `ResourceNotFoundException`.
    pub error_type: &'static str,
    /// The check that failed.
    pub check: Check,
    /// The client's address.
    pub remote: SocketAddr,
    /// Why `remote` is a proxy's address rather than the client's.
    pub proxy: Option<&'static str>,
    /// The kind of request: the name of an operation, `upgrade`, or `head` if the head could not be parsed.
    pub what: &'static str,
    /// The action as named in policies: the name of an operation, `ConnectAsMaster` or `ConnectAsViewer`.
    pub action: Option<&'static str>,
    /// Unverified information from the request.
    pub claims: Claims,
    /// The number of the injected test fault that refused the request. Set only under `--dev`.
    pub fault: Option<u64>,
    /// The policy and the statement that denied the request, if any. For a TLS handshake without common parameters,
    /// states what the client offered and what the server would have accepted.
    pub policy: Option<Box<str>>,
    /// The texts from which the server computed its signature, if the one in the request differs.
    pub explain: Option<Box<Explain>>,
}

impl Refused {
    /// Creates the refusal of a request that could not be parsed. Only the client's address is known.
    #[must_use]
    pub fn unread(
        request_id: &str,
        at: Wall,
        status: u16,
        error_type: &'static str,
        check: Check,
        remote: SocketAddr,
    ) -> Self {
        Self {
            request_id: request_id.into(),
            at,
            status,
            error_type,
            check,
            remote,
            proxy: None,
            what: "head",
            action: None,
            claims: Claims::default(),
            fault: None,
            policy: None,
            explain: None,
        }
    }
}

/// The channel, the sender and the credentials that a refused request states. None of these has been verified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// The channel name, or the raw text if it is not an ARN.
    pub channel: Option<Box<str>>,
    /// The account in the channel's ARN, or the caller's account if only the channel's name is known.
    pub channel_account: Option<Account>,
    /// The viewer's client id.
    pub client_id: Option<Box<str>>,
    /// The session that temporary credentials were requested for: `ROLE/SESSION`, or the name of a federated user.
    pub session: Option<Box<str>>,
    /// The access key id that signed the request.
    pub key_id: Option<Box<str>>,
    /// The principal that signed the request. If the signature is invalid, the principal that the access key id belongs
    /// to.
    pub principal: Option<Box<str>>,
    /// The signer's account.
    pub account: Option<Box<str>>,
    /// Source identity: the person or program that the signer's session acts for.
    pub source_identity: Option<Box<str>>,
    /// Time of signing minus server time, in seconds. A presigned URL is used some time after it was signed, so a
    /// negative value may simply be the URL's age.
    pub clock_skew_s: Option<i64>,
    /// The user agent, if only the request head was read.
    pub user_agent: Option<Box<str>>,
    /// The certificate or token in the request, or the one with which the caller obtained the credentials that signed
    /// the request. Also contains the requested role.
    pub sign_in: Option<Box<Presented>>,
}

/// The certificate or token that a client signed in with, valid or not, and the role it requested. A token is
/// identified by its issuer and subject, and is never logged itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presented {
    /// SHA-256 hash of the DER-encoded certificate in hexadecimal, as in AWS's `certificateId`.
    pub certificate: Option<Box<str>>,
    /// The AWS IoT thing name that the device claims.
    pub thing: Option<Box<str>>,
    /// The token's issuer, without `https://`.
    pub issuer: Option<Box<str>>,
    /// The token's `sub` claim.
    pub subject: Option<Box<str>>,
    /// ARN of the requested role.
    pub role: Option<Box<str>>,
}

impl Presented {
    /// Returns the five fields as name-value pairs.
    #[must_use]
    pub fn named(&self) -> [(&'static str, Option<&str>); 5] {
        [
            ("certificate", self.certificate.as_deref()),
            ("thing", self.thing.as_deref()),
            ("issuer", self.issuer.as_deref()),
            ("subject", self.subject.as_deref()),
            ("role", self.role.as_deref()),
        ]
    }
}

/// The texts from which a signature was computed. Secret values are cut to eight characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explain {
    /// The canonical request, truncated to [`EXPLAINED_BYTES_MAX`] bytes. Incomplete if a signed header is missing.
    pub canonical_request: Box<str>,
    /// The scope in the string to sign: day, region and service.
    pub scope: Box<str>,
}

/// Maximum number of characters logged from a client-supplied text.
pub const NAMED_CHARS_MAX: usize = 256;

/// Maximum number of bytes logged from a canonical request or scope.
pub const EXPLAINED_BYTES_MAX: usize = 2048;

// The budget for logged refusals decides which refusals a shard logs and how it counts the rest.
//
// Refusals are grouped by network, check and channel. If a request names no channel, its access key takes the channel's
// place. Because anybody can invent names, all unknown names from one network share a group. In each window, the first
// refusal of every group is logged, so a client that floods the server does not hide others at its address. A network
// may also log a few repeats, so that an operator sees each manual attempt. Groups count the refusals that were not
// logged, and these counts are logged when the window ends. Groups beyond a network's share are counted together.

/// The channel or access key that a refusal relates to, if known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject<'a> {
    /// A channel, by account (if known) and name.
    Channel(Option<Account>, Cow<'a, str>),
    /// The access key of a request that names no channel. The key id has at most [`KEY_ID_BYTES_MAX`] bytes.
    Key(Cow<'a, str>),
    /// No subject, or several subjects that are counted together.
    Other,
}

/// The properties that determine whether a refusal is logged: the client's address, the failed check and the subject.
#[derive(Clone, Debug)]
pub struct LogShare<'a> {
    /// The client's address.
    pub remote: IpAddr,
    /// The check that failed.
    pub check: Check,
    /// The subject of the request.
    pub subject: Subject<'a>,
}

/// The number of suppressed refusals with the same check and subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusalCount {
    /// The failed check; `None` if several groups of refusals are counted together.
    pub check: Option<Check>,
    /// The subject of the requests.
    pub subject: Subject<'static>,
    /// Number of suppressed refusals.
    pub refusals: u64,
}

/// Decides which refusals a shard logs in a window: the first one of each of up to [`REFUSAL_GROUPS_MAX`] groups, plus
/// up to [`REFUSALS_REPEATED_MAX`] repeats. Counts the rest.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    window: u64,
    networks: BTreeMap<Prefix, Network>,
    groups: usize,
    repeated: u32,
    /// Number of refusals whose group did not fit into the table.
    others: u64,
    untold: u64,
}

/// The logged refusals of one network, in at most [`REFUSAL_GROUPS_PER_NETWORK`] groups.
#[derive(Debug, Default)]
struct Network {
    groups: Vec<RefusalGroup>,
    repeated: u32,
}

#[derive(Debug)]
struct RefusalGroup {
    check: Check,
    subject: Subject<'static>,
    untold: u64,
}

impl<'a> Subject<'a> {
    /// Returns the subject of a request: the channel that it names or, failing that, its access key. Ignores invalid
    /// names. The signature need not be valid.
    #[must_use]
    pub fn of(account: Option<Account>, channel: Option<&'a str>, key_id: Option<&'a str>) -> Self {
        let channel = channel.filter(|name| ChannelName::parse(name).is_ok());
        let key_id = key_id.filter(|id| !id.is_empty() && id.len() <= KEY_ID_BYTES_MAX);
        match (channel, key_id) {
            (Some(name), _) => Self::Channel(account, name.into()),
            (None, Some(id)) => Self::Key(id.into()),
            (None, None) => Self::Other,
        }
    }

    /// Converts the subject into one that owns its text.
    #[must_use]
    pub fn into_owned(self) -> Subject<'static> {
        match self {
            Self::Channel(account, name) => Subject::Channel(account, name.into_owned().into()),
            Self::Key(id) => Subject::Key(id.into_owned().into()),
            Self::Other => Subject::Other,
        }
    }

    /// Returns `true` if a failure of this check means that the channel or key does not exist.
    #[must_use]
    pub fn is_absent(&self, check: Check) -> bool {
        let absent_channel = matches!(check, Check::ChannelAbsent | Check::AccountHidden);
        let absent_key = check == Check::UnknownKey && !matches!(self, Self::Channel(..));
        absent_channel || absent_key
    }
}

impl Budget {
    /// Returns the refusals that were suppressed in the last window, in total and by group, and resets the counts.
    /// Returns `None` if there are none.
    pub(crate) fn counts_until(&mut self, now: Now) -> Option<(u64, Box<[RefusalCount]>)> {
        let window = now.0 / REFUSAL_WINDOW_MS;
        if window == self.window {
            return None;
        }
        let over = std::mem::take(self);
        self.window = window;
        let groups = over.networks.into_values().flat_map(|it| it.groups);
        let of_groups = groups.map(|group| RefusalCount {
            check: Some(group.check),
            subject: group.subject,
            refusals: group.untold,
        });
        let others = RefusalCount {
            check: None,
            subject: Subject::Other,
            refusals: over.others,
        };
        let counts = of_groups.chain([others]).filter(|count| count.refusals > 0);
        let counts: Box<[RefusalCount]> = counts.collect();
        (over.untold > 0).then_some((over.untold, counts))
    }

    pub(crate) fn next_due(&self) -> Option<Now> {
        (self.untold > 0).then_some(Now((self.window + 1) * REFUSAL_WINDOW_MS))
    }

    /// Returns `true` if another refusal may be logged. Otherwise, counts it as suppressed.
    pub(crate) fn lets(&mut self, share: LogShare<'_>) -> bool {
        let noted = self.has_place(share);
        self.untold += u64::from(!noted);
        noted
    }

    fn has_place(&mut self, share: LogShare<'_>) -> bool {
        let absent = share.subject.is_absent(share.check);
        let prefix = Prefix::of(share.remote);
        let has_room = self.groups < REFUSAL_GROUPS_MAX;
        if !has_room && !self.networks.contains_key(&prefix) {
            self.others += 1;
            return false;
        }
        let network = self.networks.entry(prefix).or_default();
        let mut known = network.groups.iter_mut();
        let known = known
            .find(|group| group.check == share.check && (absent || group.subject == share.subject));
        let Some(group) = known else {
            if !has_room || network.groups.len() >= REFUSAL_GROUPS_PER_NETWORK {
                self.others += 1;
                return false;
            }
            network.groups.push(RefusalGroup {
                check: share.check,
                subject: share.subject.into_owned(),
                untold: 0,
            });
            self.groups += 1;
            return true;
        };
        if group.subject != share.subject {
            group.subject = Subject::Other;
        }
        let lets = network.repeated < REFUSALS_REPEATED_PER_NETWORK
            && self.repeated < REFUSALS_REPEATED_MAX;
        if lets {
            network.repeated += 1;
            self.repeated += 1;
        } else {
            group.untold += 1;
        }
        lets
    }
}

/// Maximum length of an access key id in bytes.
pub const KEY_ID_BYTES_MAX: usize = 128;

#[cfg(test)]
mod budget_tests {
    use super::*;

    fn share(network: u8, check: Check, channel: &str) -> LogShare<'static> {
        LogShare {
            remote: [192, 0, network, 7].into(),
            check,
            subject: Subject::of(None, Some(channel), None).into_owned(),
        }
    }

    fn mismatch(network: u8, channel: &str) -> LogShare<'static> {
        share(network, Check::SignatureMismatch, channel)
    }

    /// Returns the counts of the first window.
    fn counts(mut budget: Budget) -> Vec<(Option<Check>, Subject<'static>, u64)> {
        let (sum, counts) = budget.counts_until(Now(REFUSAL_WINDOW_MS)).unwrap();
        assert_eq!(budget.counts_until(Now(REFUSAL_WINDOW_MS + 1)), None);
        let counts: Vec<_> = counts
            .into_iter()
            .map(|count| (count.check, count.subject, count.refusals))
            .collect();
        assert_eq!(sum, counts.iter().map(|(_, _, count)| count).sum::<u64>());
        counts
    }

    #[test]
    fn a_client_that_storms_hides_no_other_behind_its_address() {
        let mut budget = Budget::default();
        let storm = (0..1000).filter(|_| budget.lets(mismatch(1, "stormy")));
        let storm = storm.count();
        assert_eq!(storm, 1 + REFUSALS_REPEATED_PER_NETWORK as usize);
        for number in 1..REFUSAL_GROUPS_PER_NETWORK {
            assert!(budget.lets(mismatch(1, &format!("cam-{number}"))));
        }
        assert!(!budget.lets(mismatch(1, "one-too-many")));
        assert!(budget.lets(mismatch(2, "one-too-many")));
        let stormy = Subject::Channel(None, "stormy".into());
        let wanted = [
            (Some(Check::SignatureMismatch), stormy, 1000 - storm as u64),
            (None, Subject::Other, 1),
        ];
        assert_eq!(counts(budget), wanted);
    }

    #[test]
    fn another_check_of_the_same_channel_is_another_group() {
        let mut budget = Budget::default();
        let noted = (0..1000)
            .filter(|_| budget.lets(mismatch(1, "cam")))
            .count();
        assert!(noted < 1000);
        assert!(budget.lets(share(1, Check::RateConnect, "cam")));
    }

    #[test]
    fn names_that_do_not_exist_are_one_group() {
        let mut budget = Budget::default();
        let noted = (0..1000)
            .filter(|number| {
                budget.lets(share(
                    1,
                    Check::ChannelAbsent,
                    &format!("invented-{number}"),
                ))
            })
            .count();
        assert_eq!(noted, 1 + REFUSALS_REPEATED_PER_NETWORK as usize);
        assert_eq!(budget.groups, 1);
        assert!(budget.lets(mismatch(1, "cam")));
        let rest = 1000 - noted as u64;
        let found = counts(budget);
        assert_eq!(found, [(Some(Check::ChannelAbsent), Subject::Other, rest)]);
        // If all refusals are for the same name, the name is reported.
        let mut budget = Budget::default();
        let gone = (0..1000).filter(|_| budget.lets(share(1, Check::ChannelAbsent, "gone")));
        assert_eq!(gone.count(), noted);
        let gone = Subject::Channel(None, "gone".into());
        assert_eq!(counts(budget), [(Some(Check::ChannelAbsent), gone, rest)]);
    }

    #[test]
    fn groups_and_repeats_are_bounded_and_a_window_gives_them_back() {
        let mut budget = Budget::default();
        let networks = || (0..=255).flat_map(|network| (0..3).map(move |number| (network, number)));
        for _ in 0..50 {
            for (network, number) in networks() {
                budget.lets(mismatch(network, &format!("cam-{number}")));
            }
        }
        assert_eq!(budget.groups, REFUSAL_GROUPS_MAX);
        assert_eq!(budget.repeated, REFUSALS_REPEATED_MAX);
        let all = 50 * networks().count() as u64;
        let noted = REFUSAL_GROUPS_MAX as u64 + u64::from(REFUSALS_REPEATED_MAX);
        let (sum, counts) = budget.counts_until(Now(REFUSAL_WINDOW_MS)).unwrap();
        assert_eq!(sum, all - noted);
        assert!(counts.len() <= REFUSAL_GROUPS_MAX + 1);
        assert!(budget.lets(mismatch(255, "cam-2")));
    }

    #[test]
    fn texts_that_are_no_names_are_nothing() {
        let long = "x".repeat(KEY_ID_BYTES_MAX + 1);
        assert_eq!(Subject::of(None, Some("%zz"), Some(&long)), Subject::Other);
        let found = Subject::of(Some(Account(1)), None, Some("AKID"));
        assert_eq!(found, Subject::Key("AKID".into()));
        let cam = Subject::Channel(Some(Account(1)), "cam".into());
        let found = Subject::of(Some(Account(1)), Some("cam"), Some("AKID"));
        assert_eq!(found, cam);
    }
}
