//! Records of refused requests, for operators only, and the limits of their log entries.

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

/// A refused request or upgrade. Text from the client is unchanged but truncated to [`NAMED_CHARS_MAX`] characters;
/// none of it is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Request id of the response.
    pub request_id: Box<str>,
    /// Time of the response.
    pub at: Wall,
    /// Status of the response.
    pub status: u16,
    /// Error type of the response, such as `ResourceNotFoundException`.
    pub error_type: &'static str,
    /// The check that failed.
    pub check: Check,
    /// Address of the client.
    pub remote: SocketAddr,
    /// Why `remote` is the address of a proxy instead of the client's.
    pub proxy: Option<&'static str>,
    /// Kind of request: an operation's name, `upgrade`, or `head` if the head could not be parsed.
    pub what: &'static str,
    /// Action in policies: an operation's name, `ConnectAsMaster` or `ConnectAsViewer`.
    pub action: Option<&'static str>,
    /// Unverified claims that the request makes about itself.
    pub claims: Claims,
    /// Number of the injected test fault behind the refusal; only under `--dev`.
    pub fault: Option<u64>,
    /// Policy and statement that denied the request, if any; for a TLS handshake without common parameters, what the
    /// client offered and what would have matched.
    pub policy: Option<Box<str>>,
    /// Texts over which the signature was computed, if it did not match.
    pub explain: Option<Box<Explain>>,
}

impl Refused {
    /// Creates a refusal of a request that could not be parsed; only the client's address is known.
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

/// Unverified claims that a refused request makes about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// Name of the channel; raw text if it is not an ARN.
    pub channel: Option<Box<str>>,
    /// Account in the channel's ARN, or the caller's account if only the name is known.
    pub channel_account: Option<Account>,
    /// Client id of the viewer.
    pub client_id: Option<Box<str>>,
    /// Requested session of temporary credentials: `ROLE/SESSION`, or a federated user's name.
    pub session: Option<Box<str>>,
    /// Access key id of the signature.
    pub key_id: Option<Box<str>>,
    /// Signer of the request; if the signature is invalid, the owner of the access key id.
    pub principal: Option<Box<str>>,
    /// Account of the signer.
    pub account: Option<Box<str>>,
    /// Source identity: the person or program on whose behalf the signer's session acts.
    pub source_identity: Option<Box<str>>,
    /// Time of the signature minus the server's clock, in seconds. A presigned URL is used some time after it is
    /// signed, so a negative value may be its age.
    pub clock_skew_s: Option<i64>,
    /// User agent, if only the request head was read.
    pub user_agent: Option<Box<str>>,
    /// Certificate or token that the request presents or from which its credentials originate, and the requested role.
    pub sign_in: Option<Box<Presented>>,
}

/// Certificate or token of a sign-in, valid or not, and the requested role. A token appears as its issuer and subject;
/// the token itself is never logged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presented {
    /// SHA-256 of the DER-encoded certificate in hexadecimal, like AWS's `certificateId`.
    pub certificate: Option<Box<str>>,
    /// Name of the thing that a device claims to be.
    pub thing: Option<Box<str>>,
    /// The issuer of the token, without `https://`.
    pub issuer: Option<Box<str>>,
    /// The `sub` claim of the token.
    pub subject: Option<Box<str>>,
    /// ARN of the requested role.
    pub role: Option<Box<str>>,
}

impl Presented {
    /// Returns the names and values of the five fields.
    #[must_use]
    pub fn named(&self) -> [(&'static str, Option<&str>); 5] {
        let Self {
            certificate,
            thing,
            issuer,
            subject,
            role,
        } = self;
        [
            ("certificate", certificate.as_deref()),
            ("thing", thing.as_deref()),
            ("issuer", issuer.as_deref()),
            ("subject", subject.as_deref()),
            ("role", role.as_deref()),
        ]
    }
}

/// Texts over which a signature was computed. Secret values are truncated to eight characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explain {
    /// Canonical request, truncated to [`EXPLAINED_BYTES_MAX`] bytes; incomplete if a signed header was missing.
    pub canonical_request: Box<str>,
    /// Scope in the string to sign: day, region and service.
    pub scope: Box<str>,
}

/// Maximum number of logged characters of a text from a client.
pub const NAMED_CHARS_MAX: usize = 256;

/// Maximum number of logged bytes of a canonical request or a scope.
pub const EXPLAINED_BYTES_MAX: usize = 2048;

// Budget of logged refusals: which of them a shard logs, and how it counts the others.
//
// A refusal belongs to a group: its network, its check, and its channel or, if it has none, its key. Unknown names of a
// network form one group, since anybody can invent more. Within a window, the first refusal of each group is logged, so
// a flooding client does not hide others at its address; a network may also repeat a few, so that each manual attempt
// is visible. Groups count their suppressed refusals, and the counts are logged at the end of the window. Groups beyond
// a network's share are counted together.

/// Subject of a refusal, if known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject<'a> {
    /// A channel, by its account (if known) and name.
    Channel(Option<Account>, Cow<'a, str>),
    /// The access key of a request without a channel; its id has at most [`KEY_ID_BYTES_MAX`] bytes.
    Key(Cow<'a, str>),
    /// None, or several subjects that are counted together.
    Other,
}

/// Address, check and subject of a refusal, which decide whether it is logged.
#[derive(Clone, Debug)]
pub struct LogShare<'a> {
    /// Address of the client.
    pub remote: IpAddr,
    /// The check that failed.
    pub check: Check,
    /// The subject of the request.
    pub subject: Subject<'a>,
}

/// Number of suppressed refusals with the same check and subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusalCount {
    /// The check; `None` if several groups are counted together.
    pub check: Option<Check>,
    /// The subject of the requests.
    pub subject: Subject<'static>,
    /// Number of suppressed refusals.
    pub refusals: u64,
}

/// Refusals that one shard logs in a window: the first of each group, for up to [`REFUSAL_GROUPS_MAX`] groups, and
/// [`REFUSALS_REPEATED_MAX`] repeats.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    window: u64,
    networks: BTreeMap<Prefix, Network>,
    groups: usize,
    repeated: u32,
    /// Refusals of groups that did not fit into the table.
    others: u64,
    untold: u64,
}

/// Refusals from one network, in at most [`REFUSAL_GROUPS_PER_NETWORK`] groups.
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
    /// Returns the subject of a request for this account's channel that was signed, validly or not, with this key.
    /// Ignores texts that are not valid names.
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

    /// Converts the subject to one with owned texts.
    #[must_use]
    pub fn into_owned(self) -> Subject<'static> {
        match self {
            Self::Channel(account, name) => Subject::Channel(account, name.into_owned().into()),
            Self::Key(id) => Subject::Key(id.into_owned().into()),
            Self::Other => Subject::Other,
        }
    }

    /// Whether a refusal by this check means that the name is unknown.
    #[must_use]
    pub fn is_absent(&self, check: Check) -> bool {
        let absent_channel = matches!(check, Check::ChannelAbsent | Check::AccountHidden);
        let absent_key = check == Check::UnknownKey && !matches!(self, Self::Channel(..));
        absent_channel || absent_key
    }
}

impl Budget {
    /// Returns the refusals suppressed in the last window, in total and by group, once; `None` if there were none.
    pub(crate) fn counts_until(&mut self, now: Now) -> Option<(u64, Box<[RefusalCount]>)> {
        let window = now.0 / REFUSAL_WINDOW_MS;
        if window == self.window {
            return None;
        }
        let over = std::mem::replace(
            self,
            Self {
                window,
                ..Self::default()
            },
        );
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

    /// Whether one more refusal may be logged; otherwise, counts it as suppressed.
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

/// Maximum length of an access key id, in bytes.
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

    /// Counts of the first window.
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
        // The same name in all of them is reported.
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
