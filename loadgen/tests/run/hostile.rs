//! Services that mean harm: what they send is counted, and takes no memory.

use crate::run::program::run;
use crate::run::service::read_head;
use crate::support::accepted;
use codec::ws::{self, Opcode};
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

/// A service that accepts each upgrade and then calls `then`.
fn service(then: impl Fn(&TcpStream, &[u8]) + Copy + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for socket in listener.incoming() {
            thread::spawn(move || {
                let socket = socket.unwrap();
                if let Some(answer) = read_head(&socket).as_deref().and_then(accepted) {
                    then(&socket, answer.as_bytes());
                }
            });
        }
    });
    address
}

#[test]
fn pings_of_a_service_that_reads_nothing_end_the_connection() {
    let target = service(|mut socket, answer| {
        let mut pings = Vec::new();
        for _ in 0..512 {
            ws::frame(&mut pings, Opcode::Ping, &[b'p'; 125]);
        }
        let mut sent = socket.write_all(answer);
        while sent.is_ok() {
            sent = socket.write_all(&pings);
        }
    });
    let flags = "--mode idle --channels 1";
    let (code, report) = run(&format!("http://{target}"), flags);
    assert_ne!(code, Some(0), "{report}");
    let ended = report["errors"]["answers_not_read"].as_u64();
    assert!(ended.is_some_and(|ended| ended > 0), "{report}");
}

#[test]
fn connections_that_are_closed_with_the_answer_are_counted_once() {
    let target = service(|mut socket, answer| {
        let mut all = answer.to_vec();
        ws::close_frame(&mut all, 1001, "");
        let _ = socket.write_all(&all);
    });
    #[rustfmt::skip] // a list
    let cases = ["idle --channels 3", "sessions --rate 40 --channels 2", "connect --channels 2"];
    for mode in cases {
        let (code, report) = run(&format!("http://{target}"), &format!("--mode {mode}"));
        let fine = code.is_some_and(|code| (1..=3).contains(&code));
        assert!(fine, "{mode}: {code:?} {report}");
        let peak = report["connections"]["peak"].as_u64();
        assert!(peak.is_some_and(|peak| peak < 1_000), "{mode}: {report}");
    }
}
