//! Requests for a channel whose owner does not answer: they wait for it, three seconds at most, and a bounded number of
//! them.

use super::nodes::Nodes;
use super::signed;
use super::signed::{channel_of, describe, master, start};
use crate::http::Connection;
use crate::process::Broker;
use broker_core::limits::OWNER_WAITERS_MAX;
use serde_json::json;
use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};
use testkit::{until, until_true};

#[test]
#[ignore = "needs etcd"]
fn requests_wait_three_seconds_for_their_owner() {
    // Requests wait twice for an owner that is gone, before others have its slots.
    let Some(mut nodes) = start(&[], "lease = '10s'\n") else {
        return;
    };
    let owner = nodes.largest();
    let [one, other] = nodes.others(owner);
    let arn = &channel_of(&nodes, owner);

    stop(nodes.node(owner));
    let asked = Asked::through(nodes.node(one), arn);
    sleep(Duration::from_secs(1));
    nodes.node(owner).signal("CONT");
    assert_eq!(asked.answers(), WELL, "it stood still for a second");

    stop(nodes.node(owner));
    let asked = Asked::through(nodes.node(one), arn);
    assert_eq!(asked.answers(), REFUSED, "it stands still");
    nodes.node(owner).signal("CONT");
    until_well(nodes.node(one), arn);

    // Its next process has its slots at once, within three seconds unless the machine has far more to do than it can:
    // then a request that is passed on to it waits there as well.
    until("a process that comes back in time", || {
        kill(&mut nodes, owner, one);
        let asked = Asked::through(nodes.node(one), arn);
        nodes.start_one(owner, 1);
        let answers = asked.answers_within(*REFUSED_AFTER.end() * 2);
        until_well(nodes.node(one), arn);
        (answers == WELL).then_some(())
    });
    nodes.until_served();

    kill(&mut nodes, owner, one);
    let asked = Asked::through(nodes.node(one), arn);
    assert_eq!(asked.answers(), REFUSED, "it is gone");
    many_wait(nodes.node(other), arn);
    nodes.until_served();
    until_well(nodes.node(other), arn);
    nodes.journal().assert_sound();
}

/// Stops a process; its threads stop one after the other, when each is scheduled.
fn stop(node: &Broker) {
    node.signal("STOP");
    until("all threads stand still", || {
        let threads = fs::read_dir(format!("/proc/{}/task", node.id())).ok()?;
        let is_stopped = |stat: PathBuf| {
            let stat = fs::read_to_string(stat).unwrap_or_default();
            stat.rsplit(") ")
                .next()
                .is_some_and(|rest| rest.starts_with('T'))
        };
        let mut threads = threads.filter_map(Result::ok);
        threads
            .all(|thread| is_stopped(thread.path().join("stat")))
            .then_some(())
    });
}

/// Kills a process. Until another one has noticed, calls that it passes on are refused: they may have been done.
fn kill(nodes: &mut Nodes, node: usize, by: usize) {
    let deaths = |nodes: &Nodes| {
        let scrape = nodes.node(by).scrape();
        scrape.sum("heliograph_cluster_link_deaths_total")
    };
    let before = deaths(nodes);
    nodes.node(node).signal("KILL");
    nodes.take(node).ended_within(Duration::from_secs(5));
    until_true("a link that has ended", || deaths(nodes) > before);
}

fn until_well(node: &Broker, arn: &str) {
    until_true("an answer of the owner", || {
        describe(node, arn).status == 200
    });
}

/// A master's connect and a call, under way at the same time.
struct Asked {
    began: Instant,
    connections: [Connection; 2],
}

impl Asked {
    fn through(node: &Broker, arn: &str) -> Self {
        let call = json!({ "ChannelARN": arn });
        let requests = [
            master(node, arn),
            signed::api(node, "/describeSignalingChannel", &call),
        ];
        let began = Instant::now();
        let connections = requests.map(|request| {
            let mut connection = Connection::open(node.plain);
            connection.send(&request);
            connection
        });
        Self { began, connections }
    }

    /// Their status codes; what is refused waited as long as it may, and no longer.
    fn answers(self) -> [u16; 2] {
        self.answers_within(*REFUSED_AFTER.end())
    }

    /// The same, where it may wait longer.
    fn answers_within(self, most: Duration) -> [u16; 2] {
        let Self { began, connections } = self;
        connections.map(|mut connection| {
            let answer = connection.answer().expect("an answer");
            if answer.status == 503 {
                let after = began.elapsed();
                let is_in_time = after >= *REFUSED_AFTER.start() && after <= most;
                assert!(is_in_time, "refused after {after:?}");
            }
            answer.status
        })
    }
}

/// More connects than may wait: some are refused at once, and all others when their time is over.
fn many_wait(node: &Broker, arn: &str) {
    let request = master(node, arn);
    let began = Instant::now();
    let connections = (0..OWNER_WAITERS_MAX + MORE).map(|_| {
        let mut connection = Connection::open(node.plain);
        connection.send(&request);
        let (stream, _) = connection.into_parts();
        stream.set_nonblocking(true).expect("a socket of ours");
        stream
    });
    let connections: Vec<TcpStream> = connections.collect();
    // One that tries to reach the owner leaves its place for as long as that takes.
    let refused = until("a refusal", || {
        let has_answer = |stream: &&TcpStream| stream.peek(&mut [0]).is_ok();
        let refused = connections.iter().filter(has_answer).count();
        (refused == MORE || began.elapsed() >= *REFUSED_AFTER.start()).then_some(refused)
    });
    let after = began.elapsed();
    eprintln!(
        "{refused} of {} refused {after:?} after the first came",
        connections.len()
    );
    assert!(after < *REFUSED_AFTER.start(), "{refused} refused so far");
    for mut stream in connections {
        stream.set_nonblocking(false).expect("a socket of ours");
        let mut answer = String::new();
        stream
            .read_to_string(&mut answer)
            .expect("an answer, and the end");
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    }
    let after = began.elapsed();
    eprintln!("all refused {after:?} after the first came");
    assert!(
        after >= *REFUSED_AFTER.start() && after <= Duration::from_secs(6),
        "{after:?}"
    );
}

const WELL: [u16; 2] = [101, 200];
const REFUSED: [u16; 2] = [503; 2];

/// The wait, less a turn of the shard; what follows is for a busy machine.
const REFUSED_AFTER: RangeInclusive<Duration> =
    Duration::from_millis(2_900)..=Duration::from_millis(3_500);

/// Requests beyond those that may wait.
const MORE: usize = 64;
