//! Kills a broker again and again while its channels change. What was answered is there afterwards; what was not is
//! there wholly or not at all. `KILLS=500 cargo test -p broker --test live durable::kills` kills more often.
//!
//! Each client has names of its own, of which it knows all states; all clients quarrel over one further name.

use crate::durable::{Home, channels, time_of};
use crate::http::request;
use crate::process::Broker;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

#[test]
fn kills_lose_no_change_that_was_answered() {
    let kills = std::env::var("KILLS").map_or(KILLS, |kills| kills.parse().expect("a number"));
    let home = Home::new();
    let mut random = fastrand::Rng::with_seed(20);
    let mut clients: Vec<Client> = (0..CLIENTS).map(Client::new).collect();
    let mut quarrel = Quarrel::default();
    let mut answered = 0;
    for kill in 0..kills {
        let broker = home.start([1, 3, 2][kill % 3]);
        verify(&broker, &mut clients, &mut quarrel);
        let (acks, enough) = (AtomicU64::new(0), random.u64(1..150));
        thread::scope(|scope| {
            let spawn = |client| {
                let (own, acks, to) = (quarrel.own.take(), &acks, broker.plain);
                scope.spawn(move || Client::run(client, to, own, acks))
            };
            let running: Vec<_> = clients.iter_mut().map(spawn).collect();
            while acks.load(Ordering::Relaxed) < enough {
                thread::sleep(Duration::from_micros(random.u64(50..500)));
                assert!(
                    running.iter().any(|client| !client.is_finished()),
                    "all gave up"
                );
            }
            broker.signal("KILL");
            for client in running {
                quarrel.add(client.join().expect("no client panicked"));
            }
        });
        answered += acks.load(Ordering::Relaxed);
    }
    let broker = home.start(2);
    verify(&broker, &mut clients, &mut quarrel);
    let unsure: u32 = clients.iter().map(|client| client.unsure).sum();
    eprintln!("{kills} kills, {answered} changes answered, {unsure} not");
    assert!(answered > kills as u64 * 10 && unsure > 0);
}

/// Compares what is there with what each client knows; what a client could not know, it learns.
fn verify(broker: &Broker, clients: &mut [Client], quarrel: &mut Quarrel) {
    let mut found = channels(broker.plain);
    let shared = found
        .remove(SHARED)
        .map(|(info, _)| text(&info, "ChannelARN"));
    quarrel.verify(shared);
    for client in clients {
        for (key, name) in &mut client.names {
            let seen = found
                .remove(key)
                .map(|(info, tags)| Known::of(&info, &tags));
            client.unsure += u32::from(name.perhaps.is_some());
            name.verify(key, seen);
        }
    }
    assert_eq!(found.keys().next(), None, "nobody made these");
}

/// One client's names; it changes one after the other.
struct Client {
    number: usize,
    random: fastrand::Rng,
    names: BTreeMap<String, Name>,
    /// Changes that were not answered, over all lives.
    unsure: u32,
}

impl Client {
    fn new(number: usize) -> Self {
        Self {
            number,
            random: fastrand::Rng::with_seed(number as u64),
            names: BTreeMap::new(),
            unsure: 0,
        }
    }

    /// Changes channels until the broker is gone; returns its part of the quarrel.
    fn run(&mut self, to: SocketAddr, own: Option<String>, acks: &AtomicU64) -> Quarrel {
        let mut quarrel = Quarrel {
            own,
            ..Quarrel::default()
        };
        let Some(mut wire) = Wire::open(to) else {
            return quarrel;
        };
        loop {
            let done = match self.random.u8(..10) {
                0 => quarrel.step(&mut wire),
                // A name that was never used before.
                1 => self.change(self.names.len() + REPEATED, &mut wire),
                _ => {
                    let name = self.random.usize(..REPEATED);
                    self.change(name, &mut wire)
                }
            };
            if done.is_none() {
                return quarrel;
            }
            acks.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn change(&mut self, name: usize, wire: &mut Wire) -> Option<()> {
        let key = format!("client-{}-{name:04}", self.number);
        let name = self.names.entry(key.clone()).or_default();
        name.change(&key, wire, &mut self.random)
    }
}

/// One name: what is there, what may be there instead, and the time of the last channel that bore it.
#[derive(Debug, Default)]
struct Name {
    now: Option<Known>,
    /// The result of the change that was not answered, if there is one.
    perhaps: Option<Option<Known>>,
    last_time: u64,
}

/// A channel as its client knows it. An empty text is not known, since the answer that has it did not come.
#[derive(Clone, Debug, Default)]
struct Known {
    arn: String,
    version: String,
    ttl_seconds: u64,
    tags: BTreeMap<String, String>,
}

impl Known {
    fn of(info: &Value, tags: &Value) -> Self {
        let ttl = &info["SingleMasterConfiguration"]["MessageTtlSeconds"];
        Self {
            arn: text(info, "ChannelARN"),
            version: text(info, "Version"),
            ttl_seconds: ttl.as_u64().expect("a number"),
            tags: serde_json::from_value(tags.clone()).expect("texts"),
        }
    }

    /// Whether this is what was `seen`, where `before` has what an unknown text is not.
    fn is(&self, seen: &Self, before: Option<&Self>) -> bool {
        let other = |part: fn(&Self) -> &String| before.is_none_or(|old| part(old) != part(seen));
        let same = |part: fn(&Self) -> &String| {
            part(self) == part(seen) || (part(self).is_empty() && other(part))
        };
        same(|known| &known.arn)
            && same(|known| &known.version)
            && (self.ttl_seconds, &self.tags) == (seen.ttl_seconds, &seen.tags)
    }
}

impl Name {
    /// Makes one change. `None` when the broker did not answer.
    fn change(&mut self, name: &str, wire: &mut Wire, random: &mut fastrand::Rng) -> Option<()> {
        let ttl_seconds = random.u64(5..=120);
        let ttl = json!({"MessageTtlSeconds": ttl_seconds});
        let Some(now) = &mut self.now else {
            let tag = random.u8(..).to_string();
            let create = json!({"ChannelName": name, "SingleMasterConfiguration": ttl,
                "Tags": [{"Key": "first", "Value": tag}]});
            let next = Known {
                ttl_seconds,
                tags: BTreeMap::from([("first".into(), tag)]),
                ..Known::default()
            };
            let answer = self.make(wire, "/createSignalingChannel", &create, Some(next))?;
            let arn = text(&answer, "ChannelARN");
            self.grow(&arn);
            self.now.as_mut()?.arn = arn;
            return Some(());
        };
        let arn = now.arn.clone();
        let mut next = now.clone();
        match random.u8(..4) {
            0 => {
                let described =
                    wire.ok("/describeSignalingChannel", &json!({"ChannelARN": arn}))?;
                let version = text(&described["ChannelInfo"], "Version");
                now.version.clone_from(&version);
                next.version = String::new();
                next.ttl_seconds = ttl_seconds;
                let update = json!({"ChannelARN": arn, "CurrentVersion": version, "SingleMasterConfiguration": ttl});
                self.make(wire, "/updateSignalingChannel", &update, Some(next))?;
            }
            1 => {
                let (key, value) = (random.u8(..9).to_string(), random.u32(..).to_string());
                let tag = json!({"ResourceARN": arn, "Tags": [{"Key": key, "Value": value}]});
                next.tags.insert(key, value);
                self.make(wire, "/TagResource", &tag, Some(next))?;
            }
            2 => {
                let keys: Vec<String> = next.tags.keys().take(2).cloned().collect();
                next.tags.retain(|key, _| !keys.contains(key));
                let keys = if keys.is_empty() {
                    vec!["none".into()]
                } else {
                    keys
                };
                let untag = json!({"ResourceARN": arn, "TagKeyList": keys});
                self.make(wire, "/UntagResource", &untag, Some(next))?;
            }
            _ => {
                let delete = json!({"ChannelARN": arn});
                self.make(wire, "/deleteSignalingChannel", &delete, None)?;
            }
        }
        Some(())
    }

    fn make(
        &mut self,
        wire: &mut Wire,
        path: &str,
        body: &Value,
        next: Option<Known>,
    ) -> Option<Value> {
        self.perhaps = Some(next);
        let answer = wire.ok(path, body)?;
        self.now = self.perhaps.take()?;
        Some(answer)
    }

    fn verify(&mut self, name: &str, seen: Option<Known>) {
        let is = |expected: &Option<Known>, before| match (expected, &seen) {
            (None, None) => true,
            (Some(expected), Some(seen)) => expected.is(seen, before),
            (Some(_), None) | (None, Some(_)) => false,
        };
        let changed = self
            .perhaps
            .as_ref()
            .is_some_and(|after| is(after, self.now.as_ref()));
        assert!(
            changed || is(&self.now, None),
            "{name}: {seen:?} is there instead of {self:?}"
        );
        if let (None, Some(seen)) = (&self.now, &seen) {
            self.grow(&seen.arn);
        }
        (self.now, self.perhaps) = (seen, None);
    }

    fn grow(&mut self, arn: &str) {
        let time = time_of(arn);
        assert!(
            time > self.last_time,
            "{arn} after one of {}",
            self.last_time
        );
        self.last_time = time;
    }
}

/// The known history of the name that all clients create and delete.
#[derive(Debug, Default)]
struct Quarrel {
    created: BTreeSet<String>,
    /// Deleted, or perhaps deleted.
    condemned: BTreeSet<String>,
    deleted: BTreeSet<String>,
    /// Creations that were not answered.
    unsure: bool,
    /// The one that the holder of this may delete.
    own: Option<String>,
}

impl Quarrel {
    fn step(&mut self, wire: &mut Wire) -> Option<()> {
        if let Some(arn) = self.own.take() {
            self.condemned.insert(arn.clone());
            wire.ok("/deleteSignalingChannel", &json!({"ChannelARN": arn}))?;
            self.deleted.insert(arn);
            return Some(());
        }
        self.unsure = true;
        let (status, body) =
            wire.call("/createSignalingChannel", &json!({"ChannelName": SHARED}))?;
        self.unsure = false;
        match status {
            200 => {
                let arn = text(&body, "ChannelARN");
                assert!(self.created.insert(arn.clone()), "{arn} was given twice");
                self.own = Some(arn);
            }
            400 => {}
            _ => panic!("{status} {body}"),
        }
        Some(())
    }

    fn add(&mut self, part: Self) {
        for arn in &part.created {
            assert!(self.created.insert(arn.clone()), "{arn} was given twice");
        }
        self.condemned.extend(part.condemned);
        self.deleted.extend(part.deleted);
        self.unsure |= part.unsure;
    }

    fn verify(&mut self, seen: Option<String>) {
        let alive: Vec<&String> = self.created.difference(&self.condemned).collect();
        assert!(alive.len() <= 1, "two bear one name: {alive:?}");
        if let Some(alive) = alive.first() {
            assert_eq!(seen.as_ref(), Some(*alive), "an answered creation is lost");
        }
        if let Some(seen) = &seen {
            assert!(!self.deleted.contains(seen), "{seen} was deleted");
            assert!(
                self.unsure || self.created.contains(seen),
                "nobody created {seen}"
            );
        }
        *self = Self {
            created: seen.iter().cloned().collect(),
            own: seen,
            condemned: std::mem::take(&mut self.condemned),
            deleted: std::mem::take(&mut self.deleted),
            ..Self::default()
        };
    }
}

/// A connection that may end at any moment.
pub(crate) struct Wire(BufReader<TcpStream>);

impl Wire {
    pub(crate) fn open(to: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect(to).ok()?;
        let limit = Some(Duration::from_secs(15));
        stream
            .set_read_timeout(limit)
            .expect("a socket takes the option");
        Some(Self(BufReader::new(stream)))
    }

    /// `None` when the broker is gone.
    ///
    /// # Panics
    /// When it refuses.
    fn ok(&mut self, path: &str, body: &Value) -> Option<Value> {
        let (status, answer) = self.call(path, body)?;
        assert_eq!(status, 200, "{path} {body}: {answer}");
        Some(answer)
    }

    /// The status and the body; `None` when the broker is gone before the answer is whole.
    pub(crate) fn call(&mut self, path: &str, body: &Value) -> Option<(u16, Value)> {
        let bytes = request(path, &body.to_string());
        self.0.get_mut().write_all(&bytes).ok()?;
        let status = self.line()?.split(' ').nth(1)?.parse().ok()?;
        let mut length = 0;
        loop {
            let line = self.line()?.to_ascii_lowercase();
            match line.split_once(':') {
                Some(("content-length", value)) => length = value.trim().parse().ok()?,
                Some(_) => {}
                None => break,
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).ok()?;
        Some((status, serde_json::from_slice(&body).expect("JSON")))
    }

    /// A whole line without its end.
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        self.0.read_line(&mut line).map_or_else(
            |error| {
                let kind = error.kind();
                assert_ne!(kind, std::io::ErrorKind::WouldBlock, "no answer in time");
            },
            drop,
        );
        line.ends_with('\n').then(|| line.trim_end().to_owned())
    }
}

fn text(of: &Value, key: &str) -> String {
    let text = of[key].as_str();
    text.unwrap_or_else(|| panic!("no {key} in {of}"))
        .to_owned()
}

/// This many unless KILLS says otherwise: some 20 seconds.
const KILLS: usize = 20;
const CLIENTS: usize = 6;
/// Names that each client uses again and again.
const REPEATED: usize = 8;
const SHARED: &str = "shared";
