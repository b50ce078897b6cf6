//! A broker with a credentials file, and what must hold of it whatever was asked.

use crate::http::{Answer, Connection};
use crate::peer::{Peer, answer, offer, to_master, to_viewer};
use crate::process::{Broker, fresh_directory};
use crate::signed::signer::{Call, Signer};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Makes a test of one and one of three shards out of each `fn scenario(service: &Service)` named; after each, the
/// broker must have kept every secret to itself, and the books must balance.
macro_rules! on_signed_shards {
    ($($scenario:ident),+ $(,)?) => {
        on_signed_shards!(two_shards 2 #[cfg(test)] $($scenario)+);
        on_signed_shards!(one_shard 1 #[ignore = "the long check all-shard-counts runs it"] $($scenario)+);
        on_signed_shards!(four_shards 4 #[ignore = "the long check all-shard-counts runs it"] $($scenario)+);
    };
    ($count:ident $shards:literal #[$when:meta] $($scenario:ident)+) => {
        mod $count {
            $(
                #[test]
                #[$when]
                fn $scenario() {
                    let service = crate::signed::service::Service::start($shards);
                    super::$scenario(&service);
                    service.end();
                }
            )+
        }
    };
}
pub(crate) use on_signed_shards;

/// The principals in the credentials file, and the policies they have.
const PRINCIPALS: &[(&str, &str)] = &[
    ("admin", r#"["all"]"#),
    ("camera", r#"["cameras"]"#),
    ("nobody", "[]"),
    ("barred", r#"["all", "barred"]"#),
    ("late", r#"["all"]"#),
    ("temporary", r#"["all"]"#),
    ("ended", r#"["all"]"#),
    ("neighbour", r#"["all"]"#),
];

/// The policy `all`, of those who may do everything.
pub(crate) const ALL: &str = r#"
[policy.all]
document = '{"Statement": [{"Effect": "Allow", "Action": ["kinesisvideo:*", "sts:*"], "Resource": "*"}]}'
"#;

const POLICIES: &str = r#"
[policy.cameras]
document = '''{"Statement": [{"Effect": "Allow", "Resource": "arn:aws:kinesisvideo:us-west-2:123456789012:channel/cam-*/*",
    "Action": ["kinesisvideo:ConnectAsMaster", "kinesisvideo:DescribeSignalingChannel"]}]}'''
[policy.barred]
document = '''{"Statement": [{"Effect": "Deny", "Action": "kinesisvideo:Delete*", "Resource": "*"},
    {"Effect": "Deny", "Action": "kinesisvideo:ConnectAsMaster", "Resource": "arn:aws:kinesisvideo:*:channel/cam-2/*"}]}'''
"#;

/// The session token of principal `temporary`.
const TOKEN: &str = "FwoGZXIvYXdzTESTTOKEN//of+temporary/odd==chars";

/// The session token of principal `ended`, which ended long ago.
const ENDED: &str = "FwoGZXIvYXdzTESTTOKEN//of+ended/odd==chars";

/// A broker that asks for signatures.
pub(crate) struct Service {
    /// The process.
    pub(crate) broker: Broker,
    /// The directory of its credentials file.
    pub(crate) directory: PathBuf,
    secrets: RefCell<BTreeSet<String>>,
}

impl Service {
    /// With everybody in its credentials file.
    pub(crate) fn start(shards: u16) -> Self {
        Self::with(&credentials(), &[], shards)
    }

    /// With this credentials file and further arguments.
    pub(crate) fn with(credentials: &str, arguments: &[&str], shards: u16) -> Self {
        let directory = fresh_directory();
        let path = directory.join("credentials.toml");
        fs::write(&path, credentials).expect("a file under target/");
        let path = path.to_str().expect("a path in UTF-8");
        let own = ["--auth", "sigv4", "--listen", "http://127.0.0.1:0"];
        let file = ["--credentials", path];
        let service = Self {
            broker: Broker::talkative(&[&own[..], &file[..], arguments].concat(), shards),
            directory,
            secrets: RefCell::default(),
        };
        for (name, _) in PRINCIPALS {
            service.keep(&Signer::new(name).secret);
        }
        service
    }

    /// With this credentials file, and the `broker.toml` and the data of this directory, which outlives the broker.
    pub(crate) fn in_directory(directory: &Path, credentials: &str, shards: u16) -> Self {
        fs::write(directory.join("credentials.toml"), credentials).expect("a file under target/");
        let service = Self {
            broker: Self::broker_in(directory, shards),
            directory: directory.to_owned(),
            secrets: RefCell::default(),
        };
        for (name, _) in PRINCIPALS {
            service.keep(&Signer::new(name).secret);
        }
        service
    }

    /// With this credentials file and a `broker.toml` of this text, in a directory of its own.
    pub(crate) fn configured(text: &str, credentials: &str, shards: u16) -> Self {
        let directory = fresh_directory();
        fs::write(directory.join("broker.toml"), text).expect("a file under target/");
        Self::in_directory(&directory, credentials, shards)
    }

    fn broker_in(directory: &Path, shards: u16) -> Broker {
        let path = |name: &str| {
            let path = directory.join(name);
            path.to_str().expect("a path in UTF-8").to_owned()
        };
        let (config, file) = (path("broker.toml"), path("credentials.toml"));
        let arguments = ["--auth", "sigv4", "--listen", "http://127.0.0.1:0"];
        let files = ["--config", &config, "--credentials", &file];
        Broker::talkative_again(directory, &[&arguments[..], &files[..]].concat(), shards)
    }

    /// Ends the broker, as [`Service::end`] does, and starts another one with its data.
    pub(crate) fn restart(self, then: &mut dyn FnMut(&Broker)) {
        let (directory, shards) = (self.directory.clone(), self.broker.shards);
        self.assert_kept_to_itself();
        drop(self);
        then(&Self::broker_in(&directory, shards));
    }

    /// Notes what nobody may see.
    pub(crate) fn keep(&self, secret: &str) {
        self.secrets.borrow_mut().insert(secret.to_owned());
    }

    /// Sends a request on a connection of its own; the answer, and the connection.
    pub(crate) fn open(&self, call: &Call) -> (Answer, Connection) {
        self.secrets.borrow_mut().extend(call.secrets());
        let mut connection = Connection::open(self.broker.plain);
        connection.send(&call.bytes());
        let answer = connection
            .answer()
            .unwrap_or_else(|| panic!("no answer to {call:?}"));
        (answer, connection)
    }

    /// Sends a request on a connection of its own.
    pub(crate) fn send(&self, call: &Call) -> Answer {
        self.open(call).0
    }

    /// A WebSocket by a signed request.
    pub(crate) fn connect(&self, call: &Call) -> Peer {
        let (answer, connection) = self.open(call);
        assert_eq!(answer.status, 101, "{} {call:?}", answer.text());
        Peer::after_upgrade(connection)
    }

    /// A master by a presigned URL.
    pub(crate) fn master(&self, signer: &Signer, arn: &str) -> Peer {
        self.connect(&signer.presign(Call::master(&self.broker, arn), 60))
    }

    /// A viewer by a presigned URL.
    pub(crate) fn viewer(&self, signer: &Signer, arn: &str, client_id: &str) -> Peer {
        self.connect(&signer.presign(Call::viewer(&self.broker, arn, client_id), 60))
    }

    /// An API call signed in its headers.
    pub(crate) fn call(&self, signer: &Signer, path: &str, body: &Value) -> Answer {
        self.send(&signer.sign(Call::api(&self.broker, path, body)))
    }

    /// A new channel's ARN.
    pub(crate) fn create(&self, signer: &Signer, name: &str) -> String {
        let created = self.call(
            signer,
            "/createSignalingChannel",
            &json!({"ChannelName": name}),
        );
        let created = created.ok();
        created["ChannelARN"].as_str().expect("an ARN").to_owned()
    }

    /// `heliograph_auth_failures_total`, by reason.
    pub(crate) fn failures(&self) -> Vec<(&'static str, u64)> {
        let scrape = self.broker.scrape();
        let series = |reason| format!("heliograph_auth_failures_total{{reason=\"{reason}\"}}");
        #[expect(
            clippy::cast_possible_truncation,
            reason = "counters of a test are small"
        )]
        #[expect(clippy::cast_sign_loss, reason = "a counter")]
        let count = |reason: &&'static str| (*reason, scrape.sum(&series(*reason)) as u64);
        REASONS.iter().map(count).collect()
    }

    /// Asserts that what is done counts one failure under `reason`, and under no other; without one, none at all.
    pub(crate) fn counts<T>(&self, reason: Option<&str>, what: impl FnOnce() -> T) -> T {
        let mut wanted = self.failures();
        let done = what();
        for (name, count) in &mut wanted {
            *count += u64::from(Some(*name) == reason);
        }
        assert_eq!(self.failures(), wanted, "one more of {reason:?} alone");
        done
    }

    /// Asserts that the request is refused with this status, type and text, and counted so.
    pub(crate) fn refuses(&self, call: &Call, refusal: &Refusal, what: &str) {
        let Refusal {
            status,
            kind,
            text,
            reason,
        } = *refusal;
        let answer = self.counts(reason, || self.send(call));
        let told = answer.refused(status, kind);
        assert!(told.contains(text), "{what}: {told}");
        assert!(answer.json().get("message").is_some(), "{what}: {told}");
    }

    /// Asserts that no secret, token or signature was revealed, and that the counters balance.
    pub(crate) fn end(self) {
        self.assert_kept_to_itself();
        let _ = fs::remove_dir_all(&self.directory);
    }

    fn assert_kept_to_itself(&self) {
        self.broker.assert_balanced();
        let shown = ["/metrics", "/config", "/channels"];
        let shown = shown.map(|path| self.broker.page(path).text());
        assert!(shown.iter().all(|text| text.len() > 20), "{shown:?}");
        let shown = [&shown[..], &refusals(&self.broker)].concat();
        // At the lowest level only the executor has something to say, which epoll does without.
        let on_epoll = self.broker.ready.ends_with("engine=epoll");
        let lowest = if on_epoll { "DEBUG" } else { "TRACE" };
        assert!(self.broker.log().contains(lowest), "a log that says all");
        for secret in self.secrets.borrow().iter() {
            let spellings = [secret.clone(), crate::peer::percent_encoded(secret)];
            for text in shown.iter().chain([&self.broker.log()]) {
                let found = spellings.iter().any(|secret| text.contains(secret));
                assert!(!found, "{secret} in\n{text}");
            }
        }
    }
}

/// The pages about refusals: the list, and each one in full.
fn refusals(broker: &Broker) -> Vec<String> {
    let list = broker.page("/refusals?limit=1000");
    let rows = list.json();
    let rows = rows["refusals"].as_array().expect("a list").iter();
    let ids = rows.map(|row| row["requestId"].as_str().expect("an id").to_owned());
    let page = |id: String| broker.page(&format!("/refusals/{id}")).text();
    ids.map(page).chain([list.text()]).collect()
}

/// The form of a refusal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) kind: &'static str,
    /// A part of its text.
    pub(crate) text: &'static str,
    /// The label under which it is counted.
    pub(crate) reason: Option<&'static str>,
}

/// The refusal of a signature that is not of its request and secret.
pub(crate) const MISMATCH: Refusal = Refusal {
    status: 403,
    kind: "InvalidSignatureException",
    text: "The request signature we calculated does not match the signature you provided.",
    reason: Some("mismatch"),
};

/// A signature or a token with another last character.
pub(crate) fn forge(text: &str) -> String {
    let (rest, last) = text.split_at(text.len() - 1);
    format!("{rest}{}", if last == "0" { "1" } else { "0" })
}

/// The labels of `heliograph_auth_failures_total`.
#[rustfmt::skip] // a list
const REASONS: [&str; 9] = [
    "missing", "malformed", "expired", "early", "scope", "unknown_key", "token", "mismatch", "policy",
];

/// The text of a credentials file with everybody.
pub(crate) fn credentials() -> String {
    let more = |name: &str| match name {
        "late" => "clock_tolerance = \"3600s\"\n".to_owned(),
        "temporary" => format!("session_token = \"{TOKEN}\"\n"),
        "ended" => format!("session_token = \"{ENDED}\"\nexpires = 2026-01-01T00:00:00Z\n"),
        "neighbour" => "account = \"999999999999\"\n".to_owned(),
        _ => String::new(),
    };
    let principals = PRINCIPALS.iter();
    let principals = principals.map(|(name, policies)| principal(name, policies, &more(name)));
    principals.collect::<String>() + ALL + POLICIES
}

/// A credentials file with these principals, who may do everything.
pub(crate) fn of_all(names: &[&str]) -> String {
    let entries = names.iter().map(|name| principal(name, r#"["all"]"#, ""));
    entries.collect::<String>() + ALL
}

/// An entry of a credentials file.
pub(crate) fn principal(name: &str, policies: &str, more: &str) -> String {
    let Signer { id, secret, .. } = Signer::new(name);
    format!(
        "[[principal]]\nname = \"{name}\"\naccess_key_id = \"{id}\"\nsecret_access_key = \"{secret}\"\n\
         policies = {policies}\n{more}\n"
    )
}

/// The principal with the session token.
pub(crate) fn temporary() -> Signer {
    Signer {
        token: Some(TOKEN.to_owned()),
        ..Signer::new("temporary")
    }
}

/// The principal whose session token has ended.
pub(crate) fn ended() -> Signer {
    Signer {
        token: Some(ENDED.to_owned()),
        ..Signer::new("ended")
    }
}

/// An offer and its answer.
pub(crate) fn relay(master: &mut Peer, viewer: &mut Peer) {
    viewer.send(&offer("b2ZmZXI="));
    master.expect(&to_master("SDP_OFFER", "b2ZmZXI=", "v1"));
    master.send(&answer("v1", "YW5zd2Vy"));
    viewer.expect(&to_viewer("SDP_ANSWER", "YW5zd2Vy"));
}
