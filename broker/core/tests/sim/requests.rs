//! Requests over HTTP: answered in their order, each once, as the records allow it, and refused for a reason that
//! holds.

use crate::sim::records::{Life, Record, name_of};
use crate::sim::socket::ConnId;
use crate::sim::store::{Kind, Put};
use crate::sim::wire::Response;
use crate::sim::words::{Call, Offer, Piece};
use crate::sim::world::World;
use broker_core::check::Check;
use broker_core::limits::REPLY_MS_MAX;
use broker_core::refusal_id::RefusalId;
use broker_core::time::Wall;
use std::collections::VecDeque;

/// The requests of one connection.
#[derive(Default)]
pub(crate) struct Requests {
    /// Unanswered requests.
    pub(crate) waiting: VecDeque<Request>,
    /// When its last answer was queued, or it was accepted or secured.
    pub(crate) answered: u64,
    /// An answer has said that the connection ends.
    pub(crate) closes: bool,
    /// When the first byte of one came that is not whole.
    pub(crate) begun: Option<u64>,
    /// When the kernel took some of the answers last, or there were none.
    pub(crate) taken: u64,
}

/// A request, or its head, as far as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) piece: Piece,
    pub(crate) at: u64,
    /// The step before the one in which it came.
    pub(crate) since: u64,
}

/// Error types that an answer may have.
const LIMIT: &str = "ClientLimitExceededException";
const ACCOUNT_LIMIT: &str = "AccountChannelLimitExceededException";
const NOT_FOUND: &str = "ResourceNotFoundException";
const IN_USE: &str = "ResourceInUseException";
const INVALID: &str = "InvalidArgumentException";
const UNAVAILABLE: &str = "ServiceUnavailable";

/// Some days before a world begins.
const NO_EARLIER: Wall = Wall(1_699_000_000_000);

/// Tags of one channel.
const TAGS: usize = 50;

/// Longest MessagePayload of SendAlexaOfferToMaster.
const OFFER_BYTES: usize = 10_000;

impl World {
    /// Reads a refusal from its request id.
    pub(crate) fn id_says(&self, id: &str) -> Option<RefusalId> {
        let shards = u16::try_from(self.shards.len()).expect("few");
        let said = self.reader.read(id, Wall(self.wall), shards);
        said.filter(|said| said.at >= NO_EARLIER) // one random id in some hundred million reads as one, of any time
    }

    /// A response was queued for a connection.
    pub(crate) fn answered(&mut self, conn: ConnId, response: &Response) {
        self.trace(self.sockets[conn].shard, &(conn, response));
        let fine = self.sockets[conn].ws.is_none();
        assert!(fine, "no response on a WebSocket");
        let request = self.take_request(conn, response);
        let says = self.id_says(&response.request_id);
        let upgrade = matches!(request.piece, Piece::Upgrade { .. });
        self.sockets[conn].requests.answered = self.now;
        let shard = self.sockets[conn].shard;
        match says {
            Some(says) => {
                let told = (usize::from(says.shard.0), says.status);
                assert_eq!(told, (shard, response.status), "what its id says");
                let early = !upgrade && self.drains[shard].is_none();
                let check = says.check;
                let ends = !early
                    || matches!(
                        check,
                        Check::HeadTimeout | Check::BodyTimeout | Check::OriginForeign
                    );
                assert_eq!(response.close, ends, "{response:?}");
                let fits = types_of(check).contains(&(response.status, &*response.error));
                let fits = fits || check == Check::FaultInjected;
                assert!(
                    fits && self.refusal_holds(&request, check, shard),
                    "connection {conn} got {response:?} for {request:?}: {check:?}"
                );
                let text = response.body.to_ascii_lowercase();
                assert!(text.starts_with(r#"{"message":""#), "{response:?}");
                self.hit(check.id());
                self.gauges[shard].refusals.count(check);
            }
            None if response.status == 101 => return self.upgraded(conn, &request),
            None => {
                assert_eq!((response.status, &*response.error), (200, ""));
                assert_eq!(response.close, self.drains[shard].is_some());
                self.success_holds(&request, response);
            }
        }
        let gauges = &mut self.gauges[shard];
        match upgrade {
            true => gauges.upgrades += 1,
            false => gauges.requests += 1,
        }
        let requests = &mut self.sockets[conn].requests;
        requests.closes |= response.close;
        if response.close {
            requests.waiting.clear();
            requests.begun = None;
        }
        let check = says.map(|says| says.check);
        self.note_answer(conn, response, &request, check);
    }

    /// The request that a response answers: the oldest one; a 408 one that is not whole.
    fn take_request(&mut self, conn: ConnId, response: &Response) -> Request {
        let (now, timeouts) = (self.now, &self.settings.timeouts);
        let requests = &mut self.sockets[conn].requests;
        assert!(!requests.closes, "an answer behind the last one");
        let first = requests.waiting.pop_front();
        if let Some(Request {
            piece: Piece::Head, ..
        }) = &first
        {
            let body = requests.waiting.pop_front();
            if let Some(body) = body {
                return Request {
                    at: first.expect("just seen").at,
                    ..body
                };
            }
        }
        let early = first
            .as_ref()
            .is_none_or(|it| matches!(it.piece, Piece::Head));
        if early && response.status == 408 {
            assert!(requests.begun.is_some() || first.is_some(), "nothing came");
            let least = timeouts.head_ms.min(timeouts.body_ms);
            let least = requests.answered + least.min(timeouts.keep_alive_ms);
            assert!(now >= least, "too early");
        }
        first.unwrap_or_else(|| {
            assert_eq!(response.status, 408, "nobody asked for {response:?}");
            Request {
                piece: Piece::Empty,
                at: now,
                since: 0,
            }
        })
    }

    /// Whether a refusal has a cause.
    fn refusal_holds(&self, request: &Request, check: Check, shard: usize) -> bool {
        let Request { piece, since, at } = request;
        let (plan, limits) = (&self.plan, &self.settings.limits);
        let call = match piece {
            Piece::Body(call) => Some(call),
            _ => None,
        };
        let upgrade = matches!(piece, Piece::Upgrade { .. });
        match check {
            Check::OperationUnknown => matches!(piece, Piece::Lost | Piece::Foreign),
            Check::OriginForeign => matches!(piece, Piece::Foreign),
            Check::BodyMalformed => matches!(call, Some(Call::Broken)),
            Check::ArgumentInvalid => match call {
                Some(Call::Alexa(offer)) => offer.payload.len() > OFFER_BYTES,
                _ => matches!(call, Some(Call::Missing)),
            },
            Check::RecordsFull => {
                let small = limits.record_bytes_per_account < 1 << 20;
                small && matches!(call, Some(Call::Create(..) | Call::Tag(..)))
            }
            Check::ChannelsFull => {
                limits.channels_per_account > 0 && matches!(call, Some(Call::Create(..)))
            }
            Check::RateAccount | Check::RateChannel => !self.settings.quotas.off && call.is_some(),
            Check::RateConnect => !self.settings.quotas.off && upgrade,
            Check::ViewersFull => {
                let viewers = arn_of(piece).map_or(0, |arn| self.viewers_of(shard, arn));
                let is_viewer = matches!(
                    piece,
                    Piece::Upgrade {
                        viewer: Some(_),
                        ..
                    }
                );
                is_viewer && viewers >= limits.viewers_per_channel
            }
            Check::ConnectionsFull => upgrade && limits.connections < 1000,
            Check::ChangesFull => call.is_some_and(changes),
            Check::StoreFailed => {
                let fails = matches!(self.plan.verdicts(0).kind, Kind::Failing | Kind::Refusing);
                fails && call.is_some_and(changes)
            }
            Check::AuditFull => plan.audits < 1000 && call.is_some_and(changes),
            Check::MailboxFull => self.shards.len() > 1 || call.is_some_and(changes),
            Check::AlexaCallsFull => matches!(call, Some(Call::Alexa(_))),
            Check::MediaStorageAbsent => {
                matches!(call, Some(Call::UpdateStorage(_, true) | Call::Join(..)))
            }
            Check::ReplyTimeout => call.is_some() && self.now >= at + REPLY_MS_MAX,
            Check::Draining => {
                let home = subject(piece).map_or(shard, |name| self.home(name));
                self.drains[shard].or(self.drains[home]).is_some()
            }
            Check::HeadTimeout | Check::BodyTimeout => {
                matches!(piece, Piece::Empty | Piece::Head)
            }
            Check::FaultInjected => self.is_scripted(),
            _ => self.record_forbids(piece, *since, check),
        }
    }

    /// Whether a state that the channel of a request has had since then is the cause of a refusal.
    fn record_forbids(&self, piece: &Piece, since: u64, check: Check) -> bool {
        let call = match piece {
            Piece::Body(call) => Some(call),
            _ => None,
        };
        let arn = arn_of(piece);
        let states = |test: &dyn Fn(Option<&Record>) -> bool| {
            let name = subject(piece);
            let states = name.map(|name| self.records.states(name, since));
            states.is_some_and(|mut states| states.any(test))
        };
        let life = |life| move |it: Option<&Record>| it.is_some_and(|it| it.life == life);
        match check {
            Check::ChannelAbsent => states(&|it| it.is_none_or(|it| it.life == Life::Creating)),
            Check::ChannelStaleArn => states(&|it| it.is_some_and(|it| Some(&*it.arn) != arn)),
            Check::ChannelDeleting => states(&life(Life::Deleting)) || states(&|it| it.is_none()),
            Check::ChannelExists => {
                matches!(call, Some(Call::Create(..))) && states(&|it| it.is_some())
            }
            Check::ChannelVersionStale => match call {
                Some(Call::Update(_, version, _) | Call::Delete(_, Some(version))) => {
                    states(&|it| it.is_some_and(|it| it.put.version != *version))
                }
                _ => false,
            },
            Check::TagsFull => match call {
                Some(Call::Tag(_, tags)) => {
                    states(&|it| it.is_some_and(|it| it.put.tags.len() + tags.len() > TAGS))
                }
                _ => false,
            },
            _ => false,
        }
    }

    /// A successful response states what the records are, or were since the request.
    ///
    /// # Panics
    /// When it is not.
    fn success_holds(&mut self, request: &Request, response: &Response) {
        let Request {
            piece: Piece::Body(call),
            since,
            ..
        } = request
        else {
            panic!("{response:?} for {request:?}");
        };
        let text = &*response.body;
        let holds = match call {
            Call::Create(..)
            | Call::Update(..)
            | Call::Delete(..)
            | Call::Tag(..)
            | Call::Untag(..) => self.is_made(call, *since, text),
            Call::List(prefix, most) => self.list_holds(prefix, *most, *since, text),
            Call::Mapped => text == r#"{"MappedResourceConfigurationList":[]}"#,
            Call::Alexa(offer) => text
                .strip_prefix(r#"{"Answer":"#)
                .and_then(|rest| rest.strip_suffix('}'))
                .is_some_and(|answer| answer == "null" || self.ledger.answers(offer, answer)),
            _ => {
                let name = subject(&request.piece).expect("of a channel");
                let states = self.records.states(name, *since).flatten();
                let mut seen = states.filter(|record| record.life != Life::Creating);
                let arn = arn_of(&request.piece);
                seen.any(|record| {
                    arn.is_none_or(|arn| arn == record.arn) && says(call, record, text)
                })
            }
        };
        assert!(holds, "{response:?} for {request:?}");
        if matches!(call, Call::Alexa(_)) {
            self.hit(match response.body.contains("null") {
                true => "Alexa call not answered",
                false => "Alexa call answered",
            });
        }
    }

    /// Whether the store holds the change that a response acknowledges; each change is acknowledged once.
    fn is_made(&mut self, call: &Call, since: u64, text: &str) -> bool {
        // Of two changes of tags either may fit both calls.
        let once = !matches!(call, Call::Tag(..) | Call::Untag(..));
        let mut made = self.records.made.iter_mut();
        let found = made.find(|made| {
            let put = made.put.as_ref();
            let same = |arn: &str| made.arn == arn;
            let fits = match call {
                Call::Create(name, ttl, tags) => {
                    let like = |put: &Put| put.ttl == u64::from(*ttl) && put.tags == *tags;
                    // A name may be made twice, the first time for a caller that hung up.
                    let named = name_of(&made.arn) == name && text.contains(&made.arn);
                    made.created && named && put.is_some_and(like)
                }
                Call::Update(arn, _, ttl) => {
                    same(arn) && put.is_some_and(|put| put.ttl == u64::from(*ttl))
                }
                Call::Delete(arn, _) => same(arn) && put.is_none(),
                Call::Tag(arn, tags) => {
                    same(arn) && put.is_some_and(|put| tags.iter().all(|it| put.tags.contains(it)))
                }
                Call::Untag(arn, keys) => {
                    let gone = |put: &Put| put.tags.iter().all(|(key, _)| !keys.contains(key));
                    same(arn) && put.is_some_and(gone)
                }
                _ => false,
            };
            fits && !(once && made.told) && made.step > since
        });
        let Some(made) = found else { return false };
        made.told |= once;
        match call {
            Call::Create(..) => text == format!(r#"{{"ChannelARN":"{}"}}"#, made.arn),
            _ => text == "{}",
        }
    }

    /// Whether a list has channels that are or were there, in order, and none is missing that always was.
    fn list_holds(&self, prefix: &str, most: usize, since: u64, text: &str) -> bool {
        let cut = |rest: &str| rest.split('"').next().map(str::to_owned);
        let names = text.split(r#""ChannelName":""#).skip(1).filter_map(cut);
        let names: Vec<String> = names.collect();
        let states = text.split(r#""ChannelStatus":""#).skip(1).filter_map(cut);
        let more = text.contains("NextToken");
        let seen = |name: &str, status: &str| {
            let mut states = self.records.states(name, since).flatten();
            states.any(|record| status_of(record) == Some(status))
        };
        let ordered = names.windows(2).all(|pair| pair[0] < pair[1]);
        let there = names
            .iter()
            .zip(states)
            .all(|(name, status)| name.starts_with(prefix) && seen(name, &status));
        let always = self.records.all().map(|(name, _)| name).filter(|name| {
            let own = self.identity(name) == self.identity("channel0")
                || crate::sim::clients::account_of(name, self.plan.accounts) == "123456789012";
            let mut states = self.records.states(name, since);
            own && name.starts_with(prefix)
                && states.all(|it| it.is_some_and(|it| it.life != Life::Creating))
        });
        let complete = always.into_iter().all(|name| {
            let behind = more && names.last().is_none_or(|last| name > &**last);
            behind || names.iter().any(|it| it == name)
        });
        names.len() <= most && ordered && there && complete
    }
}

/// The status and the error types of a check's refusals.
fn types_of(check: Check) -> &'static [(u16, &'static str)] {
    match check {
        Check::ChannelAbsent | Check::ChannelStaleArn => &[(404, NOT_FOUND)],
        Check::ChannelDeleting => &[(404, NOT_FOUND), (400, IN_USE)],
        Check::ChannelExists => &[(400, IN_USE)],
        Check::ChannelVersionStale => &[(400, "VersionMismatchException")],
        Check::TagsFull => &[(400, "TagsPerResourceExceededLimitException")],
        Check::RecordsFull => &[(400, ACCOUNT_LIMIT), (400, LIMIT)],
        Check::ChannelsFull => &[(400, ACCOUNT_LIMIT)],
        Check::RateAccount
        | Check::RateChannel
        | Check::RateConnect
        | Check::ViewersFull
        | Check::AlexaCallsFull => &[(400, LIMIT)],
        Check::ChangesFull => &[(400, LIMIT), (503, UNAVAILABLE)],
        Check::StoreFailed
        | Check::MailboxFull
        | Check::AuditFull
        | Check::ReplyTimeout
        | Check::Draining
        | Check::ConnectionsFull => &[(503, UNAVAILABLE)],
        Check::BodyMalformed => &[(400, "SerializationException")],
        Check::ArgumentInvalid | Check::MediaStorageAbsent => &[(400, INVALID)],
        Check::OperationUnknown => &[(404, "UnknownOperationException")],
        Check::OriginForeign => &[(403, INVALID)],
        Check::HeadTimeout | Check::BodyTimeout => &[(408, INVALID)],
        _ => &[],
    }
}

/// Whether a call changes something.
pub(crate) fn changes(call: &Call) -> bool {
    matches!(
        call,
        Call::Create(..)
            | Call::Delete(..)
            | Call::Update(..)
            | Call::Tag(..)
            | Call::Untag(..)
            | Call::UpdateStorage(..)
    )
}

/// The ARN that a request names.
fn arn_of(piece: &Piece) -> Option<&str> {
    match piece {
        Piece::Upgrade { arn, .. } => Some(arn),
        Piece::Body(
            Call::DescribeArn(arn)
            | Call::Delete(arn, _)
            | Call::Endpoint(arn)
            | Call::Ice(arn)
            | Call::Update(arn, ..)
            | Call::Tag(arn, _)
            | Call::Untag(arn, _)
            | Call::Tags(arn)
            | Call::Storage(arn, false)
            | Call::UpdateStorage(arn, _)
            | Call::Join(arn, _)
            | Call::Alexa(Offer { arn, .. }),
        ) => Some(arn),
        _ => None,
    }
}

/// The name of the channel that a request is about.
pub(crate) fn subject(piece: &Piece) -> Option<&str> {
    match piece {
        Piece::Body(
            Call::Create(name, ..) | Call::DescribeName(name) | Call::Storage(name, true),
        ) => Some(name),
        other => arn_of(other).map(name_of),
    }
}

fn status_of(record: &Record) -> Option<&'static str> {
    match record.life {
        Life::Creating => None,
        Life::Active => Some("ACTIVE"),
        Life::Deleting => Some("DELETING"),
    }
}

/// Whether an answer is what a record says.
fn says(call: &Call, record: &Record, text: &str) -> bool {
    let active = record.life == Life::Active;
    match call {
        Call::DescribeName(_) | Call::DescribeArn(_) => [
            format!(r#""ChannelName":"{}""#, name_of(&record.arn)),
            format!(r#""ChannelARN":"{}""#, record.arn),
            format!(r#""MessageTtlSeconds":{}"#, record.put.ttl),
            format!(
                r#""ChannelStatus":"{}""#,
                status_of(record).unwrap_or_default()
            ),
            format!(r#""Version":"{}""#, record.put.version),
        ]
        .iter()
        .all(|part| text.contains(part)),
        Call::Endpoint(_) => {
            active && text.contains(r#""Protocol":"WSS""#) && text.contains(r#""Protocol":"HTTPS""#)
        }
        Call::Ice(_) => active && text.starts_with(r#"{"IceServerList":[{"#),
        Call::Tags(_) => {
            let tags = record.put.tags.iter();
            let tags: Vec<String> = tags
                .map(|(key, value)| format!(r#""{key}":"{value}""#))
                .collect();
            text == format!(r#"{{"Tags":{{{}}}}}"#, tags.join(","))
        }
        Call::Storage(..) => {
            text == r#"{"MediaStorageConfiguration":{"StreamARN":null,"Status":"DISABLED"}}"#
        }
        Call::UpdateStorage(_, false) => text == "{}",
        _ => false,
    }
}
