//! The program as a whole, against a small relay on loopback: exit codes, report, every mode.
#![expect(
    clippy::unwrap_used,
    reason = "a test that unwraps nothing fails, as it should"
)]

mod support;

use codec::ws::{self, Item, Opcode, Receiver, Rules, Side};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime};
use support::{Fault, Relay};

/// The sockets of all peers: channel by the ARN's text, place in it.
type Sockets = Arc<Mutex<HashMap<(String, u32), TcpStream>>>;

/// Where a service sends callers, and the heads of all requests that it received.
#[derive(Default)]
struct Reception {
    /// For the connection, and for the calls after it; none is where they asked.
    endpoints: Option<[String; 2]>,
    heads: Mutex<Vec<String>>,
    /// Upgrades whose head has this text are answered after so long, and that is noted among the heads.
    slow: Option<(&'static str, Duration)>,
    /// When each viewer came.
    viewers: Mutex<Vec<SystemTime>>,
}

impl Reception {
    /// The answer to a call that came to this address.
    fn answer(&self, own: SocketAddr) -> String {
        let own = || [format!("ws://{own}"), format!("http://{own}")];
        let [wss, https] = self.endpoints.clone().unwrap_or_else(own);
        let body = serde_json::json!({ "ResourceEndpointList": [
            { "Protocol": "HTTPS", "ResourceEndpoint": https },
            { "Protocol": "WSS", "ResourceEndpoint": wss },
        ] });
        let body = body.to_string();
        let length = body.len();
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}")
    }

    /// Notes when a viewer comes, and keeps those waiting who are to wait.
    fn receive_upgrade(&self, head: &str) {
        if head.contains("X-Amz-ClientId") {
            self.viewers.lock().unwrap().push(SystemTime::now());
        } else if let Some((_, span)) = self.slow.filter(|(text, _)| head.contains(text)) {
            thread::sleep(span);
            self.heads.lock().unwrap().push("answered".into());
        }
    }
}

/// A service with this fault, for as long as the test runs.
fn service(fault: Fault) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    serve_on(listener, fault);
    address
}

fn serve_on(listener: TcpListener, fault: Fault) {
    serve_from(listener, fault, Arc::default());
}

/// A sound service that sends those who ask to these endpoints; gives its address.
fn reception(endpoints: Option<[String; 2]>) -> (SocketAddr, Arc<Reception>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let reception = Arc::new(Reception {
        endpoints,
        ..Reception::default()
    });
    serve_from(listener, Fault::Nothing, Arc::clone(&reception));
    (address, reception)
}

fn serve_from(listener: TcpListener, fault: Fault, reception: Arc<Reception>) {
    let sockets = Sockets::default();
    let relay = Arc::new(Mutex::new(Relay::new(fault)));
    thread::spawn(move || {
        for socket in listener.incoming() {
            let (sockets, relay) = (Arc::clone(&sockets), Arc::clone(&relay));
            let reception = Arc::clone(&reception);
            thread::spawn(move || {
                let socket = socket.unwrap();
                serve(&socket, &sockets, &relay, &reception);
                // Others may hold a copy of it: it ends all the same.
                drop(socket.shutdown(Shutdown::Both));
            });
        }
    });
}

/// A sound service that does nothing at all for a while once ten connections have come.
fn serve_with_stall(listener: TcpListener, stall: Duration) {
    let sockets = Sockets::default();
    let relay = Arc::new(Mutex::new(Relay::new(Fault::Nothing)));
    thread::spawn(move || {
        for (number, socket) in listener.incoming().enumerate() {
            let stalled = (number == 10).then(|| (relay.lock().unwrap(), sockets.lock().unwrap()));
            if stalled.is_some() {
                thread::sleep(stall);
            }
            drop(stalled);
            let (sockets, relay) = (Arc::clone(&sockets), Arc::clone(&relay));
            thread::spawn(move || {
                let socket = socket.unwrap();
                serve(&socket, &sockets, &relay, &Reception::default());
                // Others may hold a copy of it: it ends all the same.
                drop(socket.shutdown(Shutdown::Both));
            });
        }
    });
}

fn read_head(mut socket: &TcpStream) -> Option<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        socket.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

/// One connection's life; ends when the peer does.
fn serve(
    mut socket: &TcpStream,
    sockets: &Sockets,
    relay: &Mutex<Relay>,
    reception: &Reception,
) -> Option<()> {
    let listen = || {
        let head = read_head(socket)?;
        reception.heads.lock().unwrap().push(head.clone());
        Some(head)
    };
    let mut head = listen()?;
    // API calls come before, and are all answered alike.
    while head.starts_with("POST ") {
        let length = head.split("Content-Length: ").nth(1)?.split('\r').next()?;
        let mut body = vec![0; length.parse().ok()?];
        socket.read_exact(&mut body).ok()?;
        let own = socket.local_addr().ok()?;
        socket.write_all(reception.answer(own).as_bytes()).ok()?;
        head = listen()?;
    }
    reception.receive_upgrade(&head);
    let key = head.split("Key: ").nth(1)?.split('\r').next()?;
    let target = head.split(' ').nth(1)?;
    let (channel, place) = match target.split_once("&X-Amz-ClientId=viewer-") {
        Some((channel, place)) => (channel, place.parse().ok()?),
        None => (target, 0),
    };
    let accept = ws::accept_key(key);
    let accept = std::str::from_utf8(&accept).ok()?;
    let answer = format!("HTTP/1.1 101 OK\r\nSec-WebSocket-Accept: {accept}\r\n\r\n");
    let copy = socket.try_clone().ok()?;
    sockets
        .lock()
        .unwrap()
        .insert((channel.to_owned(), place), copy);
    socket.write_all(answer.as_bytes()).ok()?;
    let mut receiver = Receiver::new(Side::Server);
    let rules = Rules {
        message_bytes: 1 << 16,
        fragments: 1,
    };
    let mut read = vec![0; 1 << 16];
    loop {
        let count = socket.read(&mut read).ok()?;
        let mut rest = &mut read[..count];
        while !rest.is_empty() {
            let (used, item) = receiver.next(&rules, rest).ok()?;
            match item {
                Some(Item::Message { payload, .. }) => {
                    // Both locks are held while writing, so that the order of routing is the order of sending.
                    let (mut relay, mut sockets) = (relay.lock().unwrap(), sockets.lock().unwrap());
                    for delivery in relay.route(place, payload) {
                        let mut frame = Vec::new();
                        ws::frame(&mut frame, Opcode::Text, delivery.text.as_bytes());
                        let to = sockets.get_mut(&(channel.to_owned(), delivery.to))?;
                        to.write_all(&frame).ok()?;
                    }
                }
                Some(Item::Close(_)) => {
                    let mut close = Vec::new();
                    ws::close_frame(&mut close, 1000, "");
                    socket.write_all(&close).ok()?;
                    return Some(());
                }
                None => {}
                Some(Item::Ping(_) | Item::Pong(_)) => return None,
            }
            rest = &mut rest[used..];
        }
        if count == 0 {
            return None;
        }
    }
}

fn loadgen(flags: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    command.arg("run").args(flags.split_ascii_whitespace());
    command.output().unwrap()
}

/// Exit code and report of a short run.
fn run(target: &str, flags: &str) -> (Option<i32>, serde_json::Value) {
    let json = tempfile(flags);
    let duration = if flags.contains("--duration") {
        ""
    } else {
        "--duration 0.3"
    };
    let output = loadgen(&format!(
        "--target {target} {duration} --json {} {flags}",
        json.display()
    ));
    let text = std::fs::read_to_string(&json).unwrap_or_default();
    let _ = std::fs::remove_file(&json);
    let report = serde_json::from_str(&text).unwrap_or_default();
    (output.status.code(), report)
}

fn tempfile(flags: &str) -> std::path::PathBuf {
    let name: String = flags.chars().filter(char::is_ascii_alphanumeric).collect();
    let unique = format!(
        "{}-{:?}-{name}.json",
        std::process::id(),
        thread::current().id()
    );
    std::env::temp_dir().join(unique)
}

#[test]
fn a_sound_service_is_all_well() {
    let target = format!("http://{}", service(Fault::Nothing));
    let (code, report) = run(
        &target,
        "--mode relay --channels 3 --viewers-per-channel 2 --window 2",
    );
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["ok"], true);
    assert_eq!(report["connections"]["opened"], 9);
    let messages = &report["messages"];
    assert!(messages["sent"].as_u64().unwrap() > 100);
    assert_eq!(messages["sent"], messages["received"]);
    assert!(report["latency_us"]["message"]["hdr"].is_string());
    // The load ran before it was measured; the log and the spans are those of the measured time.
    let intervals = report["intervals"].as_array().unwrap();
    let logged: u64 = intervals
        .iter()
        .map(|one| one["messages"].as_u64().unwrap())
        .sum();
    assert_eq!(report["latency_us"]["message"]["count"], logged, "{report}");
    assert!(messages["received"].as_u64().unwrap() > logged);
    assert!(report["cpu"]["driver_us_per_message"].is_number());
    assert!(report["cpu"]["server_us_per_message"].is_null());
    assert!(report["latency_us"]["tls"].is_null());
}

#[test]
fn each_fault_ends_in_exit_code_1_under_its_name() {
    for (fault, name) in [
        (Fault::Loses, "lost"),
        (Fault::Duplicates, "duplicated"),
        (Fault::Reorders, "reordered"),
        (Fault::Corrupts, "corrupted"),
        (Fault::Misroutes, "misrouted"),
    ] {
        let target = format!("http://{}", service(fault));
        let flags = "--mode relay --channels 1 --viewers-per-channel 2 --window 8 --payload 400";
        let (code, report) = run(&target, flags);
        assert_eq!(code, Some(1), "{fault:?} {report}");
        assert!(report["messages"][name].as_u64().unwrap() > 0, "{name}");
    }
}

#[test]
fn connections_are_held_and_churned() {
    let target = format!("http://{}", service(Fault::Nothing));
    let own = std::process::id(); // the service is a part of this process
    let flags =
        format!("--mode idle --channels 20 --source-addresses 127.0.1.1/24 --server-pid {own}");
    let (code, report) = run(&target, &flags);
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["connections"]["peak"], 40);
    assert!(report["memory"]["server_bytes_per_connection"].is_number());
    let (code, report) = run(&target, "--mode connect --channels 4");
    assert_eq!(code, Some(0), "{report}");
    assert!(report["connections"]["cycles"].as_u64().unwrap() > 4);
}

#[test]
fn a_target_that_is_not_there_is_exit_code_3() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    for mode in ["relay", "idle", "connect", "sessions --rate 10"] {
        let (code, report) = run(&target, &format!("--mode {mode} --channels 2"));
        assert_eq!(code, Some(3), "{mode} {report}");
        assert!(report["errors"]["connect_refused"].as_u64().unwrap() > 0);
    }
}

#[test]
fn ctrl_c_ends_gently_with_the_report() {
    let target = format!("http://{}", service(Fault::Nothing));
    let json = tempfile("ctrl-c");
    let flags = format!("--target {target} --mode relay --channels 3 --duration 60 --json");
    let mut child = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .arg("run")
        .args(flags.split(' '))
        .arg(&json)
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "measuring"));
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let report: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
    let _ = std::fs::remove_file(&json);
    assert_eq!(report["messages"]["lost"], 0, "{report}");
    assert!(report["messages"]["sent"].as_u64().unwrap() > 0);
}

/// Quiet runs say nothing if all is well, and in one line why it is not.
#[test]
fn quiet_runs_say_why_they_failed() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = gone.local_addr().unwrap();
    drop(gone);
    let flags = "--mode idle --channels 2 --duration 0.3 --quiet";
    for (target, code, words) in [
        (service(Fault::Nothing), 0, ""),
        (
            closed,
            3,
            "loadgen: The target failed: 4 connections failed.\n",
        ),
    ] {
        let output = loadgen(&format!("--target http://{target} {flags}"));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.as_str()), (Some(code), words));
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn wrong_usage_is_exit_code_2_and_says_what_is_allowed() {
    for (flags, word) in [
        ("", "--target"),
        (
            "--target http://192.0.2.1:80 --mode idle",
            "--i-own-this-target",
        ),
        (
            "--target https://127.0.0.1:1 --mode idle --insecure --tls-ca x",
            "--tls-ca",
        ),
        (
            "--target https://127.0.0.1:1 --mode idle --tls-ca /nowhere",
            "/nowhere",
        ),
        (
            "--target http://127.0.0.1:1 --mode idle --payload 10",
            "multiple of 4",
        ),
        (
            "--target http://127.0.0.1:1 --mode idle --channels 1000000",
            "descriptors",
        ),
        (
            "--target http://127.0.0.1:1 --mode idle --server-pid 4294967295",
            "--server-pid",
        ),
        (
            "--target http://127.0.0.1:1 --mode storm --rate 5",
            "--rate: a storm",
        ),
        (
            "--target http://127.0.0.1:1 --mode idle --cores 1023",
            "--cores",
        ),
    ] {
        let output = loadgen(flags);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{flags}: {error}");
        assert!(error.contains(word), "{flags}: {error}");
    }
}

/// Sessions over a sound service: all of them complete, whatever the arrival, in one process and in several.
#[test]
fn sessions_go_all_the_way() {
    let target = format!("http://{}", service(Fault::Nothing));
    for (flags, sessions) in [
        ("--rate 100 --channels 3", 30),
        (
            "--rate 100 --channels 3 --arrival poisson --hold 0.1 --candidates 0 --cores 0",
            30,
        ),
        (
            "--sessions 20 --channels 4 --processes 2 --arrival ramp --sdp-payload 2000",
            20,
        ),
        ("--sessions 20 --channels 4 --part 2/4 --payload 400", 5),
        ("--rate 100 --channels 3 --discover", 30),
    ] {
        let (code, report) = run(&target, flags);
        assert_eq!(code, Some(0), "{flags}: {report}");
        assert_eq!(
            report["sessions"]["scheduled"], sessions,
            "{flags}: {report}"
        );
        assert_eq!(report["sessions"]["completed"], sessions);
        let candidates = if flags.contains("--candidates 0") {
            0
        } else {
            4
        };
        assert_eq!(
            report["messages"]["received"],
            sessions * 2 * (candidates + 1)
        );
        for name in ["upgrade", "offer_answer", "setup"] {
            assert_eq!(report["latency_us"][name]["count"], sessions, "{name}");
        }
        // Its API calls have a connection of their own.
        let connects = if flags.contains("--discover") { 2 } else { 1 };
        assert_eq!(
            report["latency_us"]["connect"]["count"],
            sessions * connects
        );
        assert!(report["schedule_lag_us"]["p99"].is_number());
    }
}

/// Processes wait for each other: no session begins before the last master of any of them is open. All the while the
/// whole run is shown.
#[test]
fn processes_start_in_step_and_show_their_progress() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let reception = Arc::new(Reception {
        slow: Some(("loadgen-1%2F", Duration::from_millis(700))),
        ..Reception::default()
    });
    serve_from(listener, Fault::Nothing, Arc::clone(&reception));
    let flags = "--processes 2 --channels 2 --rate 20 --duration 1.5";
    let output = loadgen(&format!("--target http://{address} {flags}"));
    assert_eq!(output.status.code(), Some(0));
    let heads = reception.heads.lock().unwrap();
    let place = |text: &str| heads.iter().position(|head| head.contains(text)).unwrap();
    assert!(place("answered") < place("X-Amz-ClientId"), "{heads:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    let shows = |line: &str| line.starts_with("measuring ") && line.contains(" sessions/s");
    assert!(said.lines().any(shows), "{said}");
    assert_eq!(said.matches("\nmeasuring\n").count(), 1, "{said}");
}

#[test]
fn a_load_begins_at_its_moment() {
    let (address, reception) = reception(None);
    let flags = format!("--target http://{address} --sessions 5 --duration 0.3 --channels 1");
    let moment = SystemTime::now() + Duration::from_secs(2);
    let text = loadgen::result::words::rfc3339(moment);
    let output = loadgen(&format!("{flags} --start-at {text}"));
    assert_eq!(output.status.code(), Some(0));
    let first = *reception.viewers.lock().unwrap().iter().min().unwrap();
    // The text has whole seconds.
    let whole = text.parse::<loadgen::schedule::Moment>().unwrap().time();
    assert!(first >= whole, "{first:?} is before {whole:?}");

    for processes in ["1", "2"] {
        let past = "--start-at 2024-01-01T00:00:00Z --channels 2";
        let output = loadgen(&format!("{flags} {past} --processes {processes}"));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(
            said.contains("--start-at: allowed is a moment to come"),
            "{said}"
        );
    }
}

/// Calls and connections go where the service says, under the name that it says; nothing but the first call goes to the
/// target.
#[test]
fn sessions_go_where_discovery_says() {
    let (connections, relay) = reception(None);
    let (calls, desk) = reception(None);
    let named = format!("localhost:{}", connections.port());
    let endpoints = [format!("ws://{named}"), format!("http://{calls}/")];
    let (target, front) = reception(Some(endpoints));
    let flags = "--rate 100 --channels 3 --discover";
    let (code, report) = run(&format!("http://{target}"), flags);
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["sessions"]["completed"], 30, "{report}");
    // One for each step: endpoint, TURN servers, messages.
    assert_eq!(report["latency_us"]["connect"]["count"], 90, "{report}");

    let wanted = [
        (
            &front,
            "POST /getSignalingChannelEndpoint ",
            target.to_string(),
            33,
        ),
        (
            &desk,
            "POST /v1/get-ice-server-config ",
            calls.to_string(),
            30,
        ),
        (&relay, "GET /?X-Amz-ChannelARN=", named, 33),
    ];
    for (place, line, host, count) in wanted {
        let heads = place.heads.lock().unwrap();
        assert_eq!(heads.len(), count, "{line}");
        let host = format!("\r\nHost: {host}\r\n");
        for head in heads.iter() {
            assert!(head.starts_with(line) && head.contains(&host), "{head}");
        }
    }
}

/// Discovery leads no load to another machine, and says why it leads nowhere.
#[test]
fn bad_endpoints_fail_by_name() {
    for (wss, name) in [
        ("ws://192.0.2.1:9", "endpoint_not_loopback"),
        ("no url", "bad_endpoint_in_answer"),
        ("ws://127.0.0.1:1", "refused"),
    ] {
        let (calls, _) = reception(None);
        let endpoints = [wss.to_owned(), format!("http://{calls}")];
        let (target, _) = reception(Some(endpoints));
        let flags = "--rate 20 --channels 1 --discover --patience 5";
        let (code, report) = run(&format!("http://{target}"), flags);
        assert_eq!(code, Some(3), "{wss}: {report}");
        assert!(report.to_string().contains(name), "{wss}: {report}");
    }
}

/// A faulty service spoils sessions: what is missing is waited for, named, and ends in its exit code.
#[test]
fn faults_in_sessions_end_in_exit_code_1() {
    for (fault, name) in [
        (Fault::Duplicates, "duplicated"),
        (Fault::Corrupts, "corrupted"),
    ] {
        let target = format!("http://{}", service(fault));
        let (code, report) = run(&target, "--rate 60 --channels 2 --payload 400 --patience 1");
        assert_eq!(code, Some(1), "{fault:?} {report}");
        assert!(report["messages"][name].as_u64().unwrap() > 0, "{name}");
    }
}

#[test]
fn a_storm_comes_back_until_everybody_is_there() {
    // The service is not there when the storm begins.
    let place = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = place.local_addr().unwrap();
    drop(place);
    let json = tempfile("storm");
    let flags = format!(
        "--target http://{address} --mode storm --channels 2 --viewers-per-channel 3 --duration 6 --json"
    );
    let mut child = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .arg("run")
        .args(flags.split(' '))
        .arg(&json)
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let has_failed = |line: String| {
        let failures = line.split_once("  failed: ");
        line.starts_with("measuring ")
            && failures.is_some_and(|(_, kinds)| kinds.contains(" refused"))
    };
    assert!(lines.any(|line| has_failed(line.unwrap())));
    let listener = TcpListener::bind(address).unwrap();
    serve_on(listener, Fault::Nothing);
    thread::spawn(move || lines.for_each(drop));
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let report: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
    let _ = std::fs::remove_file(&json);
    assert_eq!(report["sessions"]["completed"], 6, "{report}");
    assert!(report["errors"]["connect_refused"].as_u64().unwrap() > 0);
    // All attempts count into what a viewer waited.
    assert!(report["latency_us"]["setup"]["p50"].as_u64().unwrap() > 100_000);
}

/// Latency counts from the moment that was due: a service that stalls shows in every session that was due meanwhile.
#[test]
fn a_stall_shows_in_all_sessions_that_were_due() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("http://{}", listener.local_addr().unwrap());
    serve_with_stall(listener, Duration::from_millis(400));
    let (code, report) = run(
        &target,
        "--rate 100 --duration 1 --channels 1 --candidates 0",
    );
    assert_eq!(code, Some(0), "{report}");
    let setup = &report["latency_us"]["setup"];
    assert_eq!(setup["count"], 100);
    assert!(setup["max"].as_u64().unwrap() > 300_000, "{setup}");
    assert!(
        setup["p90"].as_u64().unwrap() > 100_000,
        "about a third of them waited: {setup}"
    );
}

#[test]
fn plans_and_reports_are_told_without_a_target() {
    let tell = |words: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
            .args(words.split(' '))
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, text) = tell("plan --target http://127.0.0.1:1 --rate 10 --duration 5");
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("50 over all parts") && text.contains("this machine allows it"),
        "{text}"
    );
    let (code, text) = tell(
        "plan --target http://127.0.0.1:1 --mode idle --channels 1000000 --viewers-per-channel 1000",
    );
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("ulimit -Hn"), "{text}");
    let (code, text) = tell("report /nowhere.json");
    assert_eq!(code, Some(2));
    assert!(text.contains("/nowhere.json"), "{text}");

    let target = format!("http://{}", service(Fault::Nothing));
    let parts: Vec<_> = ["1/2", "2/2"]
        .iter()
        .map(|part| {
            let json = tempfile(part);
            let output = loadgen(&format!(
                "--target {target} --sessions 20 --duration 0.3 --channels 2 --part {part} \
                                           --json {}",
                json.display()
            ));
            assert_eq!(output.status.code(), Some(0));
            json
        })
        .collect();
    let whole = tempfile("whole");
    let files = format!("{} {}", parts[0].display(), parts[1].display());
    let (code, text) = tell(&format!(
        "report --merge --json {} {files}",
        whole.display()
    ));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("All well"), "{text}");
    let (code, text) = tell(&format!("report {files} {}", whole.display()));
    assert_eq!(code, Some(0), "{text}");
    let row = text
        .lines()
        .find(|line| line.trim_start().starts_with("sessions completed"))
        .unwrap();
    assert_eq!(
        row.split_ascii_whitespace().collect::<Vec<_>>(),
        ["sessions", "completed", "10", "10", "20"]
    );
    parts
        .iter()
        .chain([&whole])
        .for_each(|file| drop(std::fs::remove_file(file)));
}
