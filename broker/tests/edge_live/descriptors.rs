//! Descriptors of connections: each is closed, and there are answers and a recovery when there are too many.

use crate::edge_live::support::{Bench, HEAD, close, connect, echo, open_files, pause, read_head};
use broker::edge::EdgeSettings;
use socket2::{Domain, Socket, Type};
use std::fs::File;
use std::io::{Read, Write};
use std::process::Command;
use std::time::Instant;
use testkit::until_true;
use tungstenite::Message;

#[test]
fn over_the_soft_limit_the_answer_is_503_and_accepting_recovers() {
    let settings = EdgeSettings {
        connections: 10,
        ..EdgeSettings::default()
    };
    let bench = Bench::with(1, settings, (64, 8));
    let mut open: Vec<_> = (0..10).map(|_| bench.tcp()).collect();
    for stream in &mut open {
        stream.write_all(HEAD).unwrap();
        read_head(stream);
    }
    let mut one_more = bench.tcp();
    let head = read_head(&mut one_more);
    testkit::assert_begins(&head, "HTTP/1.1 503 ");
    testkit::assert_has(&head, &["Connection: close"]);
    let mut rest = Vec::new();
    one_more.read_to_end(&mut rest).unwrap();
    assert!(rest.starts_with(b"{\"message\":"));
    // Nobody waits in the backlog without an answer while all places are taken.
    for _ in 0..3 {
        assert!(read_head(&mut bench.tcp()).starts_with("HTTP/1.1 503 "));
    }
    assert_eq!(bench.counts().accept_errors.limit, 4);
    drop(open.pop());
    until_true("room", || bench.server.descriptors.count() == 9);
    let mut next = bench.tcp();
    next.write_all(HEAD).unwrap();
    assert!(read_head(&mut next).starts_with("HTTP/1.1 101 "));
    drop((open, next));
    bench.finish();
}

#[test]
fn a_machine_without_handshake_room_closes() {
    let settings = EdgeSettings {
        handshakes: 2,
        ..EdgeSettings::default()
    };
    let bench = Bench::with(1, settings, (64, 8));
    let waiting: Vec<_> = (0..2).map(|_| connect(bench.server.addrs[1])).collect();
    until_true("two handshakes under way", || {
        bench.counts().handshaking == 2
    });
    let mut third = connect(bench.server.addrs[1]);
    assert!(matches!(third.read(&mut [0]), Ok(0) | Err(_)));
    assert_eq!(bench.counts().accept_errors.limit, 1);
    drop(waiting);
    bench.finish();
}

#[test]
fn descriptors_are_flat_after_many_connections() {
    alone("", "edge_live::descriptors::flat");
}

#[test]
#[ignore = "started by the test above, alone in a process: it counts descriptors"]
fn flat() {
    let bench = Bench::start(2);
    let round = || {
        for number in 0..50 {
            let mut socket = bench.websocket(number % 2 == 0);
            echo(&mut socket, &Message::text("hello"));
            close(socket);
        }
        until_true("all to be closed", || bench.server.descriptors.count() == 0);
    };
    round();
    let before = open_files();
    round();
    until_true("all descriptors to be free", || open_files() <= before);
    bench.finish();
}

#[test]
fn out_of_descriptors_accepting_pauses_and_recovers() {
    alone("ulimit -n 64;", "edge_live::descriptors::starved");
}

/// Runs an ignored test in a process of its own, after this of a shell.
fn alone(first: &str, test: &str) {
    let this = std::env::current_exe().unwrap();
    let child = format!(
        "{first} exec '{}' --exact {test} --ignored --nocapture",
        this.display()
    );
    let output = Command::new("sh").arg("-c").arg(child).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
}

#[test]
#[ignore = "started by the test above, under a low limit of descriptors"]
fn starved() {
    let bench = Bench::start(1);
    // Both ends are in this process: the clients' descriptors are made before the rest is used up, so that none is
    // left for what is accepted.
    let clients: Vec<Socket> = (0..8).map(|_| client()).collect();
    let mut held = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        held.push(file);
        assert!(held.len() < 100, "the limit holds");
    }
    let addr = bench.server.addrs[0].into();
    clients
        .iter()
        .for_each(|client| client.connect(&addr).unwrap());
    until_true("an accept to fail", || {
        // A scrape needs no descriptor.
        bench.counts().accept_errors.fd_limit > 0
    });
    let (before, start) = (bench.counts(), Instant::now());
    pause(std::time::Duration::from_millis(500));
    let (after, waited) = (
        bench.counts(),
        u64::try_from(start.elapsed().as_millis()).unwrap(),
    );
    let errors = after.accept_errors.fd_limit - before.accept_errors.fd_limit;
    assert!(
        errors <= waited / 50 * 2 + 2,
        "{errors} errors in {waited} ms"
    );
    assert!(after.turns - before.turns < 100, "it does not spin");
    drop(held);
    until_true("those who waited", || bench.server.descriptors.count() == 8);
    drop(clients);
    until_true("room", || bench.server.descriptors.count() == 0);
    let mut stream = bench.tcp();
    stream.write_all(HEAD).unwrap();
    assert!(read_head(&mut stream).starts_with("HTTP/1.1 101 "));
    drop(stream);
    bench.finish();
}

fn client() -> Socket {
    Socket::new(Domain::IPV4, Type::STREAM, None).unwrap()
}
