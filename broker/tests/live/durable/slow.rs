//! A disk that is slow, and one that fails: only the store's thread is affected, by `strace`. Where that is not
//! installed or may not trace, the tests say so and pass.

use crate::durable::{Home, channels};
use crate::http::{Connection, call, create, get, request};
use crate::peer::HealthyPair;
use crate::process::Broker;
use serde_json::json;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use testkit::until;

#[test]
fn a_slow_disk_delays_changes_and_nothing_else() {
    let home = Home::new();
    let broker = home.start_dev(2);
    let mut pair = HealthyPair::new(&broker);
    let arn = create(broker.plain, "known", 60);
    let delay = format!("delay_enter={}", DELAY.as_micros());
    let Some(tracer) = Tracer::of(&broker, &delay) else {
        return;
    };
    let mut waiting = Connection::open(broker.plain);
    let begun = Instant::now();
    waiting.send(&request(
        "/createSignalingChannel",
        r#"{"ChannelName":"slow"}"#,
    ));
    for _ in 0..20 {
        pair.relay();
        call(
            broker.plain,
            "/describeSignalingChannel",
            &json!({"ChannelARN": arn}),
        )
        .ok();
        let slow = json!({"ChannelName": "slow"});
        call(broker.plain, "/describeSignalingChannel", &slow)
            .refused(404, "ResourceNotFoundException");
    }
    assert_eq!(get(broker.admin, "/ready").status, 200);
    let spent = begun.elapsed();
    assert!(spent < DELAY, "all that waited for the disk: {spent:?}");
    waiting.answer().expect("an answer").ok();
    assert!(begun.elapsed() >= DELAY, "the disk was not slow at all");
    drop(tracer);
    assert!(channels(broker.plain).contains_key("slow"));
}

#[test]
fn a_disk_that_fails_stops_changes_until_a_restart() {
    let home = Home::new();
    let mut broker = home.start_dev(2);
    let mut pair = HealthyPair::new(&broker);
    let arn = create(broker.plain, "known", 60);
    let Some(tracer) = Tracer::of(&broker, "error=EIO") else {
        return;
    };
    let change = |broker: &Broker, name: &str| {
        call(
            broker.plain,
            "/createSignalingChannel",
            &json!({"ChannelName": name}),
        )
    };
    change(&broker, "doubtful").refused(503, "ServiceUnavailable");
    drop(tracer);
    // The state that a failed sync left on the disk is unknown, also when the disk has recovered.
    change(&broker, "refused").refused(503, "ServiceUnavailable");
    call(
        broker.plain,
        "/deleteSignalingChannel",
        &json!({"ChannelARN": arn}),
    )
    .refused(503, "ServiceUnavailable");
    assert_eq!(
        get(broker.admin, "/ready").text(),
        r#"{"status":"store_failed"}"#
    );
    broker.logged(&["the store's disk failed", "restarted"], 1);
    pair.relay();
    let names = |at| -> Vec<String> { channels(at).into_keys().collect() };
    assert_eq!(names(broker.plain), ["healthy", "known"]);

    drop(pair);
    broker.signal("TERM");
    assert_eq!(broker.ended_within(Duration::from_secs(20)).code(), Some(0));
    drop(broker);
    let broker = home.start_dev(1);
    let found = names(broker.plain);
    assert!(
        found.contains(&"known".into()) && !found.contains(&"refused".into()),
        "{found:?}"
    );
    change(&broker, "refused").ok();
}

/// `strace` on the store's thread of a broker. Ends with its owner.
struct Tracer(Child);

impl Tracer {
    /// From here on, every sync of the store goes this way. `None`, and a word why, where nothing can be traced.
    fn of(broker: &Broker, injection: &str) -> Option<Self> {
        let tasks = format!("/proc/{}/task", broker.id());
        let thread = fs::read_dir(&tasks).expect("it runs").find_map(|task| {
            let task = task.expect("a task");
            let name = fs::read_to_string(task.path().join("comm")).ok()?;
            (name.trim() == "store").then(|| task.file_name().into_string().expect("a number"))
        });
        let mut command = Command::new("strace");
        command.args(["-o", "/dev/null", "-e", "trace=fdatasync,fsync", "-e"]);
        command.arg(format!("inject=fdatasync,fsync:{injection}"));
        command.args(["-p", &thread.expect("the store has a thread")]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) => {
                eprintln!("skipped: strace cannot be run: {error}");
                return None;
            }
        };
        let mut said = String::new();
        let errors = child.stderr.take().expect("it is piped");
        BufReader::new(errors).read_line(&mut said).expect("text");
        if said.contains("attached") {
            return Some(Self(child));
        }
        eprintln!("skipped: strace may not trace: {said}");
        let _ = child.wait();
        None
    }
}

impl Drop for Tracer {
    /// Lets the thread go on as usual.
    fn drop(&mut self) {
        // By the signal on which it detaches.
        let id = self.0.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &id]).status();
        until("the tracer's end", || {
            self.0.try_wait().expect("it can be asked")
        });
    }
}

/// Of one sync; a commit has two.
const DELAY: Duration = Duration::from_secs(3);
