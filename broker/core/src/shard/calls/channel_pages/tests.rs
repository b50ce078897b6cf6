use crate::id::{Identity, SessionKey, ShardId};
use crate::limits::{LIST_PAGE_MAX, RECORDS_PER_TURN};
use crate::machine::{Input, Machine, Output, Peer};
use crate::placement::Placement;
use crate::record::{Record, Records, Version};
use crate::settings::{Profile, Settings};
use crate::shard::{Letter, Shard, Start};
use crate::testing::TestCatalog;
use crate::time::{Moment, Wall};
use codec::{control::Tag, identifiers::ChannelArn};
use std::sync::Arc;

/// Shards with channels, and a caller connected to the first shard.
struct Shards {
    all: Vec<Shard>,
    caller: SessionKey,
    /// The highest number of records that a shard read for a single input.
    looked_at: u64,
    /// The current time, which advances with each request.
    at: Moment,
}

/// Returns 50 KiB of tags. A page that copied them would take milliseconds.
fn tags() -> Vec<Tag> {
    let tag = |number: usize| Tag {
        key: format!("key-{number}").into(),
        value: "v".repeat(1000).into(),
    };
    (0..50).map(tag).collect()
}

fn record(account: &str, name: &str, tags: &[Tag]) -> Record {
    let arn = format!("arn:aws:kinesisvideo:us-west-2:{account}:channel/{name}/1700000000000");
    Record {
        arn: ChannelArn::parse(&arn, true).unwrap(),
        ttl_seconds: 60,
        created: Wall(1_700_000_000_000),
        version: Version::draw(&mut fastrand::Rng::with_seed(1)),
        tags: tags.to_vec().into(),
    }
}

impl Shards {
    fn new(shards: u16, records: impl Iterator<Item = Record>) -> Self {
        let mut settings = Settings::new(Profile::Default, false);
        settings.shards = usize::from(shards);
        let settings = Arc::new(settings);
        let placement = Placement::new([1, 2, 3, 4], shards);
        let mut homes: Vec<Records> = (0..shards).map(|_| Records::default()).collect();
        for record in records {
            homes[placement.shard(&Identity::of(&record.arn)).index()].push(record);
        }
        let homes = homes.into_iter().enumerate();
        let shared = Arc::new(TestCatalog::default());
        let all = homes.map(|(id, records)| {
            let id = ShardId(u16::try_from(id).unwrap());
            let bare = Start::bare(settings.clone(), id, placement.clone(), [5, 6, 7, 8]);
            let catalog = shared.clone();
            Shard::new(Start {
                records,
                catalog,
                ..bare
            })
        });
        let mut all: Vec<Shard> = all.collect();
        let peer = Peer {
            remote: ([127, 0, 0, 1], 4000).into(),
            listener: 0,
            tls: false,
            inner: false,
        };
        let caller = all[0].open(peer, Moment::default()).unwrap();
        Self {
            all,
            caller,
            looked_at: 0,
            at: Moment::default(),
        }
    }

    /// Requests a page. Returns the names on it, and the token for the next page.
    fn list(&mut self, request_body: &str) -> (Vec<String>, Option<String>) {
        let body = request_body;
        self.at.micros += 1;
        let length = body.len();
        let mut request = format!(
            "POST /listSignalingChannels HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .into_bytes();
        let session = self.caller;
        let bytes = &mut request[..];
        self.input(Input::Received { session, bytes });
        let answer = self.all[0].unsent(session).to_vec();
        let bytes = answer.len();
        self.input(Input::Sent {
            session,
            bytes,
            on_wire: bytes,
        });
        let answer = String::from_utf8(answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(!body.contains("key-"), "no tags");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        let infos = body["ChannelInfoList"].as_array();
        let infos = infos.unwrap_or_else(|| panic!("{request_body}: {body}"));
        let names = infos
            .iter()
            .map(|info| info["ChannelName"].as_str().unwrap().to_owned());
        (
            names.collect(),
            body["NextToken"].as_str().map(str::to_owned),
        )
    }

    /// Passes an input to the caller's shard, which must answer without sending a message to another shard.
    fn input(&mut self, input: Input<'_, Letter>) {
        let machine = &mut self.all[0];
        let before = machine.snapshot().records_read;
        machine.handle(input, self.at);
        self.looked_at = self.looked_at.max(machine.snapshot().records_read - before);
        while let Some(output) = machine.poll_output() {
            assert!(!matches!(output, Output::Post(..)), "{output:?}");
        }
    }

    /// Requests all pages. Returns the names on them, and the number of pages.
    fn pages(&mut self, condition: &str, most: usize) -> (Vec<String>, usize) {
        let (mut names, mut token, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let body = format!(r#"{{"MaxResults":{most}{condition}{token}}}"#);
            let (page, next) = self.list(&body);
            assert!(page.len() <= most && (next.is_none() || !page.is_empty()));
            names.extend(page);
            pages += 1;
            match next {
                Some(next) => token = format!(r#","NextToken":"{next}""#),
                None => return (names, pages),
            }
        }
    }
}

const OURS: &str = "123456789012";

#[test]
fn a_page_looks_at_no_more_records_than_it_sends() {
    let tags = tags();
    let name = |number: usize| format!("channel-{number:05}");
    let ours = (0..1500).map(|number| record(OURS, &name(number), &tags));
    // Channels of accounts before and after ours, and channels of ours with names before the prefix.
    let others = (0..9000).flat_map(|number| {
        ["000000000001", "999999999999"].map(|account| record(account, &name(number), &[]))
    });
    let before = (0..2000).map(|number| record(OURS, &format!("aaa-{number}"), &[]));
    let mut shards = Shards::new(2, ours.chain(others).chain(before));
    let condition = r#","ChannelNameCondition":{"ComparisonOperator":"BEGINS_WITH","ComparisonValue":"channel"}"#;
    let (names, pages) = shards.pages(condition, 1000);
    assert_eq!(names, (0..1500).map(name).collect::<Vec<_>>());
    assert_eq!(pages, 2);
    let most = LIST_PAGE_MAX as u64 + 1;
    assert!(shards.looked_at <= most, "{} in one turn", shards.looked_at);
    let none = shards.pages(&condition.replace(r#":"channel""#, r#":"zzz""#), 1000);
    assert_eq!(none, (Vec::new(), 1));
}

#[test]
fn a_storm_of_lists_has_bounded_turns_and_is_answered_in_order() {
    let tags = tags();
    let records = (0..3000).map(|number| record(OURS, &format!("c-{number:04}"), &tags[..1]));
    let mut shards = Shards::new(1, records);
    let shard = &mut shards.all[0];
    let body = r#"{"MaxResults":1000}"#;
    let length = body.len();
    let request = format!(
        "POST /listSignalingChannels HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    let peer = Peer {
        remote: ([127, 0, 0, 1], 4000).into(),
        listener: 0,
        tls: false,
        inner: false,
    };
    let mut at = Moment::default();
    let callers: Vec<_> = (0..30).map(|_| shard.open(peer, at).unwrap()).collect();
    for &session in &callers {
        let bytes = &mut request.clone().into_bytes()[..];
        shard.handle(Input::Received { session, bytes }, at);
    }
    // A page may begin when the turn's budget is almost used up.
    let most = RECORDS_PER_TURN + LIST_PAGE_MAX as u64 + 1;
    let mut answered = 0;
    for turn in 0..60 {
        at.micros += 1;
        let before = shard.snapshot().records_read;
        for _ in 0..4 {
            shard.handle(Input::Tick, at);
        }
        let read = shard.snapshot().records_read - before;
        assert!(read <= most, "{read} records in turn {turn}");
        let has_answer = |session: &&SessionKey| !shard.unsent(**session).is_empty();
        let now = callers.iter().take_while(has_answer).count();
        assert!(now >= answered, "in order");
        answered = now;
    }
    assert_eq!(answered, callers.len());
    assert!(
        shard.deadline().is_none_or(|due| due > at.now),
        "nothing waits"
    );
}
