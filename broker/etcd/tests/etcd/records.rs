//! Records on etcd: the contract of all stores, fencing, quotas, and changes while etcd does not answer.

use crate::clusters::{ALL, FIRST, One};
use crate::contract::{self, Open, Place};
use crate::proxy::Proxy;
use crate::server::{self, Etcd, Scratch};
use crate::world::{Node, World, never, wait, wait_or};
use broker_core::id::{ChannelKey, ShardId};
use broker_core::record::Record;
use broker_core::registry::{Change, Store, StoreError, Submitted, Ticket, encode};
use broker_etcd::operator::CommandError;
use broker_etcd::{EtcdStore, Existing, Options, export, import};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it waits for leases to end"]
fn records_outlive_the_store_that_took_them() {
    if let Some(mut place) = OnEtcd::new() {
        contract::records_outlive_the_store_that_took_them(&mut place);
    }
}

#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it waits for leases to end"]
fn changes_of_a_name_are_made_in_order() {
    if let Some(mut place) = OnEtcd::new() {
        contract::changes_of_a_name_are_made_in_order(&mut place);
    }
}

/// The store on etcd, with a single node. Closing it ends the node as a crash would.
struct OnEtcd {
    one: One,
    is_open: bool,
}

impl OnEtcd {
    fn new() -> Option<Self> {
        let is_open = true;
        One::start().map(|one| Self { one, is_open })
    }
}

impl Place for OnEtcd {
    type End = EtcdStore;

    const MAY_REFUSE: bool = true;

    fn open(&mut self) -> (Open<EtcdStore>, Vec<String>) {
        if !self.is_open {
            self.one.node.start(false);
            self.is_open = true;
        }
        wait("all slots are served", FIRST, || {
            self.one.node.serves() == ALL
        });
        let shards = [2, 5].map(ShardId);
        let shards = shards.map(|shard| (shard, self.one.node.handle().store(shard)));
        let (tell, results) = channel();
        let mut book = self.one.world.book();
        book.tell = Some(tell);
        (
            Open { shards, results },
            book.records_of(&self.one.node.process()),
        )
    }

    fn close(&mut self) {
        self.one.node.crash();
        self.is_open = false;
        self.one.world.sound();
    }
}

/// Submits changes of channels and waits for their outcomes.
pub(crate) struct Client {
    store: EtcdStore,
    world: World,
    next: u32,
}

impl Client {
    pub(crate) fn of(node: &Node, world: &World) -> Self {
        Self {
            store: node.handle().store(ShardId(0)),
            world: world.clone(),
            next: 0,
        }
    }

    fn submit(&mut self, change: Change<'_>) -> Ticket {
        let channel = ChannelKey::new(self.next, 1);
        self.next += 1;
        assert_eq!(self.store.submit(channel, change), Ok(Submitted::Later));
        let shard = ShardId(0);
        Ticket { shard, channel }
    }

    fn result(&self, ticket: Ticket) -> Option<Result<(), StoreError>> {
        let book = self.world.book();
        let mut written = book.written.iter();
        written
            .find(|(of, _)| *of == ticket)
            .map(|(_, result)| result.clone())
    }

    pub(crate) fn change(&mut self, change: Change<'_>) -> Result<(), StoreError> {
        let ticket = self.submit(change);
        wait("it is reported", Duration::from_secs(20), || {
            self.result(ticket).is_some()
        });
        self.result(ticket).expect("it is reported")
    }
}

#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it waits for leases to end"]
fn without_etcd_changes_are_refused_within_a_second() {
    let Some(One {
        mut etcd,
        world,
        node,
    }) = One::start()
    else {
        return;
    };
    let mut client = Client::of(&node, &world);
    let one = contract::record("one", 1);
    assert_eq!(client.change(Change::Put(&one)), Ok(()));

    etcd.kill();
    let mut longest = Duration::ZERO;
    let mut unknown = Vec::new();
    // Submits changes from the first moment on, while the node notices what has happened, and afterwards.
    for number in 0..40 {
        let other = contract::record(&format!("other{number}"), 2);
        let ticket = client.submit(Change::Put(&other));
        let known = wait_or(Duration::from_secs(2), || client.result(ticket).is_some());
        let Some(took) = known else {
            // The change was sent before the node noticed that the connection was closed. Its outcome is not known yet.
            unknown.push((ticket, other));
            continue;
        };
        let refused = client.result(ticket).expect("it is reported").unwrap_err();
        assert!(refused.to_string().contains("try again"), "{refused}");
        longest = longest.max(took);
    }
    assert!(unknown.len() <= 1, "{unknown:?}");
    eprintln!("without etcd: changes refused after {longest:?} at most");
    assert!(longest <= Duration::from_secs(1), "{longest:?}");
    assert_eq!(world.served(), ALL);

    etcd.restart();
    wait("it has etcd again", Duration::from_secs(20), || {
        node.inspect().has_etcd
    });
    assert_eq!(client.change(Change::Remove(&one.arn)), Ok(()));
    for (ticket, record) in unknown {
        wait("it is known", Duration::from_secs(20), || {
            client.result(ticket).is_some()
        });
        if client.result(ticket) == Some(Ok(())) {
            assert_eq!(client.change(Change::Remove(&record.arn)), Ok(()));
        }
    }
    let left = etcd.ctl(&["get", "--prefix", "--keys-only", "/heliograph/test/c/"]);
    assert_eq!(left.trim(), "", "nothing that was refused is there");
    world.sound();
}

#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it waits for leases to end"]
fn a_change_without_an_answer_is_reported_once_its_outcome_is_known() {
    let Some(One { etcd, world, node }) = One::start() else {
        return;
    };
    let mut client = Client::of(&node, &world);
    etcd.freeze();
    let [one, two] = ["one", "two"].map(|name| contract::record(name, 1));
    let sent = client.submit(Change::Put(&one));
    // Longer than the node waits for the connection, so the change is sent again over another one.
    wait("it notices", Duration::from_secs(10), || {
        !node.inspect().has_etcd
    });
    let refused = client.change(Change::Put(&two)).unwrap_err();
    assert!(refused.to_string().contains("try again"), "{refused}");
    assert_eq!(client.result(sent), None, "nobody knows what became of it");
    etcd.thaw();
    wait("its outcome is known", Duration::from_secs(20), || {
        client.result(sent).is_some()
    });
    assert_eq!(client.result(sent), Some(Ok(())));
    wait("it has etcd again", Duration::from_secs(20), || {
        node.inspect().has_etcd
    });
    let there = etcd.ctl(&["get", "--prefix", "--keys-only", "/heliograph/test/c/"]);
    let fine = there.contains(one.arn.identity()) && !there.contains("two");
    assert!(fine, "{there}");
    assert_eq!(client.change(Change::Remove(&one.arn)), Ok(()));
    world.sound();
}

/// A node that reaches etcd through a proxy, and one of its records.
struct Proxied {
    etcd: Etcd,
    proxy: Proxy,
    world: World,
    node: Node,
    client: Client,
    record: Record,
    /// The key of the record in etcd.
    key: String,
}

impl Proxied {
    fn start() -> Self {
        let etcd = Etcd::start();
        let proxy = Proxy::to(etcd.client_port());
        let world = World::default();
        let endpoints = vec![proxy.endpoint().into()];
        let node = world.node_with(
            "n1",
            Options {
                endpoints,
                ..Options::default()
            },
        );
        world.all_served(FIRST);
        let mut client = Client::of(&node, &world);
        let record = contract::record("one", 1);
        assert_eq!(client.change(Change::Put(&record)), Ok(()));
        let key = etcd
            .ctl(&["get", "--prefix", "--keys-only", "/heliograph/test/c/"])
            .trim()
            .to_owned();
        Self {
            etcd,
            proxy,
            world,
            node,
            client,
            record,
            key,
        }
    }
}

#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it waits for leases to end"]
fn a_change_that_comes_after_the_slot_moved_is_not_made() {
    if !server::is_installed() {
        return;
    }
    let mut all = Proxied::start();
    let slot = all.key.split('/').nth(4).expect("the slot").to_owned();
    all.proxy.hold();
    let late = all.client.submit(Change::Remove(&all.record.arn));
    let other = contract::record("one", 2);
    let later = all.client.submit(Change::Put(&other));
    let owner = r#"{"format":1,"owner":{"node":"n9","directory":9,"start":9}}"#;
    all.etcd
        .ctl(&["put", &format!("/heliograph/test/s/{slot}"), owner]);
    all.proxy.release();
    for ticket in [late, later] {
        wait("it is reported", Duration::from_secs(20), || {
            all.client.result(ticket).is_some()
        });
        let refused = all
            .client
            .result(ticket)
            .expect("it is reported")
            .unwrap_err();
        assert!(refused.to_string().contains("node"), "{refused}");
    }
    wait("the slot is released", Duration::from_secs(10), || {
        all.node.serves() == ALL - 1
    });
    let there = all.etcd.ctl(&["get", "--write-out", "json", &all.key]);
    assert!(there.contains(r#""version":1,"#), "written once: {there}");
    all.world.sound();
}

#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it waits for leases to end"]
fn copies_of_a_change_that_come_late_change_nothing() {
    if !server::is_installed() {
        return;
    }
    let mut all = Proxied::start();
    let two = contract::record("two", 1);
    all.proxy.hold();
    let created = all.client.submit(Change::Put(&two));
    let removed = all.client.submit(Change::Remove(&all.record.arn));
    // The connection is abandoned, and each change is sent again over the next one.
    never("anything is known", Duration::from_secs(8), || {
        [created, removed]
            .iter()
            .any(|ticket| all.client.result(*ticket).is_some())
    });
    all.proxy.release();
    for ticket in [created, removed] {
        wait("it is known", Duration::from_secs(20), || {
            all.client.result(ticket).is_some()
        });
        assert_eq!(all.client.result(ticket), Some(Ok(())));
    }
    // Removes the record and creates it again. Copies of the earlier changes may still arrive.
    let again = contract::record("one", 3);
    wait("it is registered again", Duration::from_secs(20), || {
        all.client.change(Change::Put(&again)) == Ok(())
    });
    assert_eq!(all.client.change(Change::Remove(&two.arn)), Ok(()));
    let there = || {
        all.etcd
            .ctl(&["get", "--prefix", "--keys-only", "/heliograph/test/c/"])
    };
    never("a late copy is made", Duration::from_secs(3), || {
        there().trim() != all.key
    });
    all.world.sound();
}

#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it waits for leases to end"]
fn with_its_quota_used_up_etcd_takes_removals_and_everything_else_goes_on() {
    if !server::is_installed() {
        return;
    }
    let small = ["--quota-backend-bytes", "16777216"];
    let One { etcd, world, node } = One::on(Etcd::start_with("http", &small));
    let before = node.epochs();
    let mut client = Client::of(&node, &world);
    let one = contract::record("one", 1);
    assert_eq!(client.change(Change::Put(&one)), Ok(()));

    let large = "x".repeat(1 << 20);
    let fill = |number: u32| etcd.try_ctl(&["put", &format!("/other/{number}"), &large]);
    let full = (0..400).find(|number| fill(*number).is_err());
    assert!(full.is_some(), "etcd has a quota");
    let other = contract::record("other", 1);
    let refused = client.change(Change::Put(&other)).unwrap_err();
    assert!(refused.to_string().contains("try again"), "{refused}");
    assert_eq!(client.change(Change::Remove(&one.arn)), Ok(()));
    assert!(node.inspect().has_etcd);
    // The registration stays alive, and no slot moves.
    never("a slot moved", Duration::from_secs(13), || {
        node.epochs() != before || world.served() != ALL
    });
    assert!(
        etcd.ctl(&["get", "/heliograph/test/live/n1"])
            .contains("directory")
    );
    assert!(
        node.inspect()
            .trouble
            .is_some_and(|why| why.contains("space exceeded"))
    );
    world.sound();
}

#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it waits for leases to end"]
fn a_record_that_cannot_be_read_keeps_its_slot_from_being_served() {
    let Some(etcd) = Etcd::found() else { return };
    #[rustfmt::skip] // a list
    etcd.ctl(&["put", "/heliograph/test/c/007/eu-1:1:channel/x", "no record"]);
    let world = World::default();
    let node = world.node("n1", &etcd);
    wait("all other slots", FIRST, || world.served() == ALL - 1);
    never("it is served", Duration::from_secs(3), || {
        world.served() == ALL
    });
    etcd.ctl(&["del", "/heliograph/test/c/007/eu-1:1:channel/x"]);
    // The node gives the slot up after 10 s, then leaves it to others for 30 s.
    wait("all slots", Duration::from_secs(60), || {
        node.serves() == ALL
    });
    world.sound();
}

fn assert_refused(result: &Result<u64, CommandError>, why: &str) {
    let fits = matches!(result, Err(CommandError::Refused(said)) if said.contains(why));
    assert!(fits, "{result:?}");
}

#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it waits for leases to end"]
fn ten_thousand_records_come_from_a_disk_into_etcd_and_back() {
    const RECORDS: u32 = 10_000;
    let Some(etcd) = Etcd::found() else { return };
    let (from, to, other) = (
        Scratch::new("from"),
        Scratch::new("to"),
        Scratch::new("other"),
    );
    let rows = |number: u32| {
        let record = contract::record(&format!("camera-{number:05}"), 1_700_000_000_000);
        (record.arn.identity().to_owned(), encode(&record))
    };
    let all: Vec<_> = (0..RECORDS).map(rows).collect();
    let fill = |rows: &[(String, Box<[u8]>)], scratch: &Scratch| {
        let filled = store::create(&scratch.0, &mut |put| {
            rows.iter().try_for_each(|(key, value)| put(key, value))
        });
        filled.unwrap();
    };
    fill(&all, &from);
    fill(&all[..5], &other);
    let options = etcd.options();
    let began = Instant::now();
    let got = import(&options, "test", (&from.0, FAR), Existing::Refuse).unwrap();
    assert_eq!(got, u64::from(RECORDS));
    let imported = began.elapsed();
    let again = import(&options, "test", (&other.0, 0), Existing::Refuse);
    assert_refused(&again, "has channels");

    // A node serves the records, each in its slot, and finds them under the keys that it would write itself.
    let one = One::on(etcd);
    let (etcd, world, mut node) = (one.etcd, one.world, one.node);
    let loaded = world.book().records_of(&node.process());
    assert_eq!(
        loaded,
        all.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>()
    );
    let refused = import(&options, "test", (&other.0, 0), Existing::Replace);
    assert_refused(&refused, "is registered");
    let removed = contract::record("camera-00007", 1_700_000_000_000);
    let mut client = Client::of(&node, &world);
    assert_eq!(client.change(Change::Remove(&removed.arn)), Ok(()));

    let began = Instant::now();
    let (count, epoch) = export(&options, "test", &to.0).unwrap();
    assert_eq!(count, u64::from(RECORDS) - 1);
    assert!(epoch > FAR, "presence goes on where it was: {epoch}");
    let exported = began.elapsed();
    eprintln!("{RECORDS} records: import {imported:?}, export {exported:?}");
    let mut found = Vec::new();
    let opened = store::Store::open(&to.0).unwrap();
    opened
        .load(|key, value| found.push((key.to_owned(), value.into())))
        .unwrap();
    let expected = all.iter().filter(|(key, _)| key != removed.arn.identity());
    assert!(found.iter().eq(expected), "the same rows");

    node.crash();
    wait("its registration ends", Duration::from_secs(20), || {
        etcd.ctl(&["get", "--prefix", "/heliograph/test/live/"])
            .is_empty()
    });
    let got = import(&options, "test", (&other.0, 0), Existing::Replace).unwrap();
    assert_eq!(got, 5);
    let left = etcd.ctl(&["get", "--prefix", "--keys-only", "/heliograph/test/c/"]);
    assert_eq!(left.split_whitespace().count(), 5, "{left}");
}

/// A presence epoch that lies in the future of this machine's clock.
const FAR: u64 = 4_000_000_000_000;

/// etcd closes connections that send pings while no call is in flight.
#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it waits for etcd's patience to end"]
fn a_connection_without_calls_stays() {
    if !server::is_installed() {
        return;
    }
    let mut all = Proxied::start();
    let before = all.proxy.connections();
    let is_another = || all.proxy.connections() != before;
    never("another connection", Duration::from_secs(30), is_another);
    let other = contract::record("two", 2);
    assert_eq!(all.client.change(Change::Put(&other)), Ok(()));
    assert_eq!(all.proxy.connections(), before);
}
