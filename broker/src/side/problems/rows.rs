//! The incidents that cause problems, the rows of the table, and the documents that represent rows.

use crate::side::admin::http::{encoded, rfc3339};
use crate::side::log::line::role_word;
use crate::side::{Blamed, Cause};
use broker_core::id::Account;
use broker_core::journal::Prefix;
use broker_core::time::Wall;
use codec::limits::beginning;
use codec::signal::Role;
use serde_json::{Value, json as value};
use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum Kind {
    #[default]
    Refused,
    Session,
    Standing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum By {
    Key,
    Principal,
    Authority,
    Address,
    Channel,
    File,
    Node,
    Shard,
}

/// A failure, or a condition that persists.
#[derive(Default)]
pub(crate) struct Incident<'a> {
    pub(crate) kind: Kind,
    pub(crate) check: &'static str,
    pub(crate) at: Wall,
    pub(crate) channel: Option<&'a str>,
    pub(crate) channel_account: Option<Account>,
    pub(crate) role: Option<Role>,
    pub(crate) client_id: Option<&'a str>,
    pub(crate) key: Option<&'a str>,
    pub(crate) principal: Option<&'a str>,
    pub(crate) authority: Option<&'a str>,
    pub(crate) user_agent: Option<&'a str>,
    pub(crate) remote: Option<SocketAddr>,
    /// The entity to which a persistent cause is attributed, or `None` if it is attributed to a channel.
    pub(crate) thing: Option<(By, Cow<'a, str>)>,
    /// The account to which the row is charged when the table is full. Without an account, the row is charged to its
    /// network.
    pub(crate) account: Option<Account>,
    pub(crate) says: Cow<'a, str>,
    pub(crate) remedy: &'static str,
    /// Whether the incident has done no harm so far.
    pub(crate) is_mild: bool,
}

/// The state of a member's channel, as reported by the channel's shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) arn: Option<Box<str>>,
    /// The time when the master connected, or `None` if there is no master.
    pub(crate) master: Option<Wall>,
    pub(crate) has_viewer: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) place: (u64, u64),
    pub(crate) account: Option<Account>,
    pub(crate) channel: Box<str>,
    pub(crate) client_id: Option<Box<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Share {
    Account(Account),
    Network(Prefix),
    /// The node itself. Its problems are never evicted, since there are only a few kinds of them.
    Node,
}

#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) kind: Kind,
    pub(crate) check: &'static str,
    pub(crate) by: By,
    pub(crate) value: Box<str>,
    /// Hashes of the entities by which the row can be found.
    pub(crate) named: Vec<u64>,
    /// Hashes of the row's channels, including channels whose members are not stored. The row can also be found by
    /// these hashes.
    pub(crate) channels: BTreeSet<u64>,
    pub(crate) share: Share,
    pub(crate) account: Option<Account>,
    pub(crate) says: Box<str>,
    remedy: &'static str,
    is_mild: bool,
    pub(crate) first: Wall,
    pub(crate) last: Wall,
    /// When and why the row ended, if it has ended.
    pub(crate) ended: Option<(Wall, &'static str)>,
    pub(crate) events: u64,
    pub(crate) members: BTreeMap<u64, Member>,
    pub(crate) known: Option<Known>,
    /// The last record of the row in the history: the time of its last event, and whether it had ended.
    recorded: Option<(Wall, bool)>,
}

#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) channel: Option<Box<str>>,
    pub(crate) account: Option<Account>,
    /// The ARN of the channel, once the channel's shard has reported it.
    pub(crate) arn: Option<Box<str>>,
    pub(crate) role: Option<Role>,
    pub(crate) client_id: Option<Box<str>>,
    key: Option<Arc<str>>,
    principal: Option<Arc<str>>,
    user_agent: Option<Arc<str>>,
    remote: Option<SocketAddr>,
    pub(crate) events: u64,
    first: Wall,
    pub(crate) last: Wall,
    pub(crate) ended: Option<Wall>,
    pub(crate) state: MemberState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemberState {
    Unknown,
    Absent,
    /// No master is connected to the channel.
    Alone,
    Connected,
}

#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) until: Wall,
    pub(crate) by: Box<str>,
    pub(crate) why: Box<str>,
}

impl Row {
    pub(crate) fn new(
        by: By,
        value: Box<str>,
        named: Vec<u64>,
        share: Share,
        incident: &Incident<'_>,
    ) -> Self {
        Self {
            kind: incident.kind,
            check: incident.check,
            by,
            value,
            named,
            channels: BTreeSet::new(),
            share,
            account: incident.account,
            says: cut(&incident.says),
            remedy: incident.remedy,
            is_mild: incident.is_mild,
            first: incident.at,
            last: incident.at,
            ended: None,
            events: 0,
            members: BTreeMap::new(),
            known: None,
            recorded: None,
        }
    }

    /// Returns the cause to record in the history, and whether the row has started or ended since it was last recorded.
    /// Returns `None` if the record is up to date. An open row is recorded at most once a minute.
    pub(crate) fn take_changed(&mut self, id: u64) -> Option<(Cause, bool)> {
        let has_ended = self.ended.is_some();
        let is_news = self.recorded.is_none_or(|(_, had)| had != has_ended);
        let due = self.recorded.map(|(last, _)| last.0 + RECORD_EVERY_MS);
        if !is_news && due.is_some_and(|due| self.last.0 < due) {
            return None;
        }
        self.recorded = Some((self.last, has_ended));
        let mut cause = self.cause(id);
        cause.id.push_str(&format!(".{:x}", self.first.0)); // a later recurrence counts as a different cause
        Some((cause, is_news))
    }

    fn cause(&self, id: u64) -> Cause {
        Cause {
            id: format!("{id:016x}"),
            check: self.check.into(),
            cause: Blamed {
                by: <&str>::from(self.by).into(),
                value: self.value.clone().into(),
            },
            account: self.account.map(|account| account.to_string()),
            title: self.title(),
            says: sentence(&self.says),
            first: self.first.0,
            last: self.last.0,
            ended: self.ended.map(|(at, _)| at.0),
            channels: self.channels.len() as u64,
            events: self.events,
            look: self.look().into(),
        }
    }

    /// Creates the row's member for an incident. Members with the same key share the text of that key.
    pub(crate) fn member(&self, incident: &Incident<'_>) -> Member {
        let known = self.members.values().next();
        let shared = |text: Option<&str>, of: fn(&Member) -> &Option<Arc<str>>| {
            let text = text?;
            let known = known.and_then(|it| of(it).clone());
            known
                .filter(|it| **it == *text)
                .or_else(|| Some(text.into()))
        };
        Member {
            channel: incident.channel.map(Box::from),
            account: incident.channel_account,
            arn: None,
            role: incident.role,
            client_id: incident.client_id.map(Box::from),
            key: shared(incident.key, |it| &it.key),
            principal: shared(incident.principal, |it| &it.principal),
            user_agent: shared(incident.user_agent, |it| &it.user_agent),
            remote: incident.remote,
            events: 1,
            first: incident.at,
            last: incident.at,
            ended: None,
            state: MemberState::Unknown,
        }
    }

    /// Returns the conditions under which the row's members end. If the flag is set, viewer members also end when the
    /// camera connects. The number is a time in milliseconds: a member whose camera is connected ends once it has had
    /// no event for this long. If the number is 0, the camera must have connected after the last event.
    pub(crate) fn ends_by(&self) -> (bool, u64) {
        match (self.kind, self.check) {
            (Kind::Session, "unanswered" | "slow" | "no_candidates") => (true, 0),
            (Kind::Session, "twin" | "flapping") => (false, REPEATS_MS),
            _ => (false, 0),
        }
    }

    /// Returns whether the camera of this channel is currently being refused.
    pub(crate) fn is_dark(&self, account: Option<Account>, channel: &str) -> bool {
        self.members.values().any(|member| {
            let is_camera = member.role == Some(Role::Master) && member.ended.is_none();
            is_camera && member.account == account && member.channel.as_deref() == Some(channel)
        })
    }

    /// Ends the row if all of its members have ended. If any member has a channel, members without one are ignored.
    pub(crate) fn settle(&mut self, by: &'static str) {
        let has_channel = self.members.values().any(|member| member.channel.is_some());
        let counts = self
            .members
            .values()
            .filter(|it| it.channel.is_some() || !has_channel);
        let ends: Option<Vec<Wall>> = counts.map(|member| member.ended).collect();
        if let (None, Some(last)) = (self.ended, ends.and_then(|ends| ends.into_iter().max())) {
            self.ended = Some((last, by));
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        let members: usize = self.members.values().map(Member::bytes).sum();
        ROW_BYTES + members + self.channels.len() * CHANNEL_BYTES
    }

    pub(crate) fn texts(&self) -> String {
        let why = self.known.as_ref().map_or("", |known| &known.why);
        format!("{}\n{}\n{why}", self.value, self.says)
    }

    pub(crate) fn is_open(&self) -> bool {
        self.ended.is_none() && self.known.is_none()
    }

    pub(crate) fn look(&self) -> &'static str {
        let is_nameless =
            self.by == By::Address && self.members.values().all(|it| it.channel.is_none());
        let is_mild = self.is_mild || (self.kind == Kind::Refused && is_nameless);
        if is_mild { "warn" } else { "bad" }
    }

    /// Returns the sort key for the list: open rows first, then by severity, by number of channels (descending) and by
    /// start time.
    pub(crate) fn order(&self) -> impl Ord + use<> {
        let is_camera = self
            .members
            .values()
            .any(|it| it.role == Some(Role::Master));
        let harm = match (self.look(), self.kind) {
            ("warn", _) => 4,
            (_, Kind::Standing) => 0,
            (_, Kind::Refused) if is_camera => 1,
            (_, Kind::Session) => 2,
            (_, Kind::Refused) => 3,
        };
        (
            self.ended.is_some(),
            harm,
            Reverse(self.channels.len()),
            self.first,
        )
    }

    fn remedy(&self) -> &'static str {
        let is_any = |state| self.members.values().any(|it| it.state == state);
        match (self.kind, self.check) {
            (Kind::Session, "unanswered") if is_any(MemberState::Connected) => {
                "The camera is connected and answers no offer: read its log, and restart its software."
            }
            (Kind::Session, "unanswered") if is_any(MemberState::Alone) => {
                "No camera is connected: check its power, its network and its credentials."
            }
            _ => self.remedy,
        }
    }

    pub(crate) fn json(&self, id: u64, members: usize) -> Value {
        let kind: &str = self.kind.into();
        let mut order: Vec<&Member> = self.members.values().collect();
        order.sort_by_key(|it| (it.ended.is_some(), it.role != Some(Role::Master), it.first));
        let cause = self.cause(id);
        let mut document = cause.json();
        document["account"] = cause.account.into();
        document["kind"] = kind.into();
        document["do"] = self.remedy().into();
        document["endedBy"] = self.ended.map(|(_, by)| by).into();
        document["members"] = order.iter().take(members).map(|it| it.json()).collect();
        document["shared"] = self.shared();
        let known = self.known.as_ref();
        let known =
            known.map(|it| value!({ "until": rfc3339(it.until), "by": it.by, "why": it.why }));
        document["known"] = known.into();
        document["href"] = self.href().into();
        document
    }

    fn title(&self) -> String {
        let check = self.check.replace('_', " ");
        let by: &str = self.by.into();
        let by = by.get(..1).unwrap_or_default().to_uppercase() + by.get(1..).unwrap_or_default();
        format!("{by} {}: {check}", self.value)
    }

    fn href(&self) -> String {
        match (self.kind, self.by) {
            (Kind::Standing, By::File) => "#/log".into(),
            (Kind::Standing, By::Node) => "#/cluster".into(),
            (_, By::Channel) => format!("#/channels/{}", encoded(&self.value)),
            (Kind::Refused, _) => format!("#/why?check={}", encoded(self.check)),
            (Kind::Session | Kind::Standing, _) => "#/".into(),
        }
    }

    /// Returns the values that members share: for each kind of value, the most frequent one, if at least two members
    /// have it. `/problems/{id}` compares these values with the values of healthy cameras.
    fn shared(&self) -> Value {
        type TextOf = fn(&Member) -> Option<Cow<'_, str>>;
        let kinds: [(&str, TextOf); 4] = [
            ("key", |it| it.key.as_deref().map(Cow::from)),
            ("principal", |it| it.principal.as_deref().map(Cow::from)),
            ("userAgent", |it| it.user_agent.as_deref().map(Cow::from)),
            ("network", |it| it.remote.map(|it| network(it).into())),
        ];
        let top = kinds.into_iter().filter_map(|(what, text_of)| {
            let mut counts = BTreeMap::<Cow<'_, str>, usize>::new();
            for text in self.members.values().filter_map(text_of) {
                *counts.entry(text).or_default() += 1;
            }
            let (text, members) = counts.into_iter().max_by_key(|(_, members)| *members)?;
            let of = self.members.len();
            (members > 1).then(|| {
                value!({ "what": what, "value": text, "members": members, "of": of, "healthy": null,
                         "ofHealthy": null })
            })
        });
        top.collect()
    }
}

impl Member {
    pub(crate) fn again(&mut self, incident: &Incident<'_>) {
        self.events += 1;
        self.last = self.last.max(incident.at);
        self.remote = incident.remote.or(self.remote);
        let is_later = self.ended.is_none_or(|ended| incident.at > ended);
        if is_later || incident.kind == Kind::Standing {
            self.ended = None;
        }
    }

    pub(crate) fn end(&mut self, at: Wall) {
        self.ended.get_or_insert(at);
    }

    pub(crate) fn bytes(&self) -> usize {
        let texts = self.named().map(str::len).sum::<usize>();
        let agent = self.user_agent.as_deref().map_or(0, str::len);
        let arn = self.channel.as_deref().map_or(0, str::len);
        size_of::<Self>() + MEMBER_PLACES_BYTES + texts + agent + arn
    }

    fn named(&self) -> impl Iterator<Item = &str> {
        let (key, principal) = (self.key.as_deref(), self.principal.as_deref());
        let own = [&self.channel, &self.client_id].map(Option::as_deref);
        own.into_iter().chain([key, principal]).flatten()
    }

    pub(crate) fn texts(&self) -> String {
        let remote = self
            .remote
            .map(|remote| remote.ip().to_canonical().to_string());
        let texts: Vec<&str> = self.named().chain(remote.as_deref()).collect();
        texts.join("\n")
    }

    fn json(&self) -> Value {
        value!({
            "channel": self.channel,
            "arn": self.arn,
            "role": self.role.map(role_word),
            "clientId": self.client_id,
            "keyId": self.key.as_deref(),
            "userAgent": self.user_agent.as_deref(),
            "remote": self.remote.map(|remote| remote.to_string()),
            "events": self.events,
            "first": rfc3339(self.first),
            "last": rfc3339(self.last),
            "ended": self.ended.map(rfc3339),
        })
    }
}

pub(crate) fn id_of(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16)
        .ok()
        .filter(|_| text.len() == 16)
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first: String = letters
        .next()
        .map(|letter| letter.to_uppercase().collect())
        .unwrap_or_default();
    let end = if text.ends_with(['.', '!', '?']) {
        ""
    } else {
        "."
    };
    first + letters.as_str() + end
}

/// Returns the network of an address: a /24 for IPv4, and a /48 for IPv6.
pub(crate) fn network(remote: SocketAddr) -> String {
    match Prefix::of(remote.ip()) {
        Prefix::V4([a, b, c]) => format!("{}/24", Ipv4Addr::new(a, b, c, 0)),
        Prefix::V6(bytes) => {
            let mut octets = [0; 16];
            octets
                .iter_mut()
                .zip(bytes)
                .for_each(|(to, byte)| *to = byte);
            format!("{}/48", IpAddr::from(Ipv6Addr::from(octets)))
        }
    }
}

pub(crate) fn cut(text: &str) -> Box<str> {
    beginning(text, TEXT_BYTES).into()
}

/// Maximum length of a text in a row, in bytes.
const TEXT_BYTES: usize = 384;
/// Size of a row in bytes, including its texts and table entries, but not its members.
pub(crate) const ROW_BYTES: usize = size_of::<Row>() + 2 * TEXT_BYTES;
/// Size, in bytes, of a member's entry in its row, its ARN (apart from the channel name) and the allocation overhead.
const MEMBER_PLACES_BYTES: usize = 160;
pub(crate) const CHANNEL_BYTES: usize = 48;
/// Interval at which an open row is recorded in the history, in milliseconds.
const RECORD_EVERY_MS: u64 = 60_000;
/// Time from the last repeated event until a member ends if its camera is connected, in milliseconds.
const REPEATS_MS: u64 = 60_000;
