//! Refusals brought about by clients, and found again by whatever is known of them.

use crate::http::{Answer, Connection, get};
use crate::peer::percent_encoded;
use crate::process::Broker;
use crate::signed::signer::{Call, now_s};
use broker_core::check::Check;
use codec::sigv4::Stamp;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use testkit::until;

/// A refusal as its client saw it.
pub(crate) struct Refusal {
    pub(crate) check: Check,
    pub(crate) id: String,
    pub(crate) status: u16,
    pub(crate) from: IpAddr,
    pub(crate) channel: Option<String>,
}

/// Clients that are refused, each in a network of its own: the log shares its lines out among networks.
pub(crate) struct Clients<'b> {
    pub(crate) broker: &'b Broker,
    pub(crate) seen: RefCell<Vec<Refusal>>,
}

impl<'b> Clients<'b> {
    pub(crate) fn new(broker: &'b Broker) -> Self {
        Self {
            broker,
            seen: RefCell::default(),
        }
    }

    pub(crate) fn network(&self) -> IpAddr {
        let number = u8::try_from(self.seen.borrow().len() + 1).expect("few");
        Ipv4Addr::new(127, 9, number, 1).into()
    }

    pub(crate) fn open(&self) -> Connection {
        Connection::open_from(self.network(), self.broker.plain)
    }

    pub(crate) fn note(&self, check: Check, channel: Option<&str>, answer: &Answer) {
        assert!(answer.status >= 400, "{check:?}: {answer:?}");
        let id = answer.header("x-amzn-requestid").expect("an id").to_owned();
        let seen = Refusal {
            check,
            id,
            status: answer.status,
            from: self.network(),
            channel: channel.map(str::to_owned),
        };
        self.seen.borrow_mut().push(seen);
    }

    /// These bytes are refused.
    pub(crate) fn bytes(&self, check: Check, channel: Option<&str>, bytes: &[u8]) {
        let mut connection = self.open();
        connection.send(bytes);
        let answer = connection.answer();
        let answer = answer.unwrap_or_else(|| panic!("no answer: {check:?}"));
        self.note(check, channel, &answer);
    }

    pub(crate) fn call(&self, check: Check, channel: Option<&str>, call: &Call) {
        self.bytes(check, channel, &call.bytes());
    }

    /// This is refused sooner or later.
    pub(crate) fn often(&self, check: Check, channel: Option<&str>, call: impl Fn() -> Call) {
        let answer = until("a refusal", || {
            let mut connection = self.open();
            connection.send(&call().bytes());
            connection.answer().filter(|answer| answer.status >= 400)
        });
        self.note(check, channel, &answer);
    }

    /// Each refusal is kept, and found by whatever is known of it.
    pub(crate) fn assert_kept(&self) {
        let admin = self.broker.admin;
        for seen in self.seen.borrow().iter() {
            let row = until("the refusal", || {
                let row = refusal(admin, &seen.id)?;
                (row["source"] == "kept").then_some(row)
            });
            seen.assert_is(&row);
            assert_eq!(row["channel"], json!(seen.channel), "{row}");
            let ids = |query: String| -> Vec<String> {
                let list = get(admin, &format!("/refusals?{query}")).json();
                let rows = list["refusals"].as_array().expect("a list").iter();
                rows.map(|row| row["requestId"].as_str().expect("an id").to_owned())
                    .collect()
            };
            assert_eq!(
                ids(format!("remote={}", seen.from)),
                std::slice::from_ref(&seen.id),
                "{row}"
            );
            assert!(
                ids(format!("check={}&limit=1000", seen.check.id())).contains(&seen.id),
                "{row}"
            );
            if let Some(channel) = &seen.channel {
                let channel = percent_encoded(channel);
                assert!(
                    ids(format!("channel={channel}&limit=1000")).contains(&seen.id),
                    "{row}"
                );
            }
        }
    }

    /// The ids alone say why, to this broker.
    pub(crate) fn assert_by_ids(self, admin: SocketAddr) {
        assert_eq!(get(admin, "/refusals").json()["kept"], 0, "nothing is kept");
        for seen in self.seen.into_inner() {
            let row = refusal(admin, &seen.id).expect("an id that says why");
            assert_eq!(row["source"], "id");
            seen.assert_is(&row);
            assert!(row["channel"].is_null() && row["remote"].is_null(), "{row}");
        }
    }
}

impl Refusal {
    pub(crate) fn assert_is(&self, row: &Value) {
        let found = (&row["check"], &row["status"], &row["requestId"]);
        assert_eq!(
            found,
            (
                &json!(self.check.id()),
                &json!(self.status),
                &json!(self.id)
            ),
            "{row}"
        );
        let says = row["says"].as_str().expect("text");
        let offset = says.strip_suffix(self.check.says());
        // The id alone does not tell by how much a clock was off.
        let is_of_time = row["source"] != "id"
            && matches!(
                self.check,
                Check::SignatureExpired | Check::SignatureEarly | Check::UrlExpired
            );
        let wanted = if is_of_time { "Its clock is " } else { "" };
        let begins = |text: &str| text.starts_with(wanted) && text.is_empty() != is_of_time;
        assert!(offset.is_some_and(begins), "{says}");
        assert_eq!(row["do"], json!(self.check.remedy()));
        let at = row["at"].as_str().expect("a moment");
        let now = Stamp::from_epoch(now_s()).to_string();
        assert_eq!(at.get(..4), now.get(..4), "of this year: {row}");
    }

    pub(crate) fn copy(&self) -> Self {
        Self {
            id: self.id.clone(),
            channel: self.channel.clone(),
            ..*self
        }
    }
}

pub(crate) fn refusal(admin: SocketAddr, id: &str) -> Option<Value> {
    let answer = get(admin, &format!("/refusals/{id}"));
    (answer.status == 200).then(|| answer.json())
}
