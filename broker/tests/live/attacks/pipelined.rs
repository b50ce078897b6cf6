//! Peers that ask without end and never read what they are answered: requests on HTTP connections, bad messages on
//! WebSockets.

use super::{ATTACKER, Attack, Trial, broker, most_unread};
use crate::peer::{Peer, tcp_from, viewer_query};
use crate::process::{Broker, arn};
use socket2::{Domain, Socket, Type};
use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use testkit::{until, until_true};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Bytes that the kernel holds for one connection at most before it is a WebSocket.
const KERNEL_BYTES: usize = 128 << 10;

/// Answers that wait on one connection at most: the bound, and one answer.
const ANSWER_BYTES: f64 = 66_000.0;

#[test]
fn requests_without_reading_are_bounded_and_cut_off() {
    let broker = broker("[timeouts]\nanswer = \"1s\"", 2);
    let outcome = Trial::new("pipelined GET, never read", &broker)
        .lasting(Duration::from_secs(4))
        .run(|attack| {
            let crowd = 4;
            std::thread::scope(|scope| {
                for _ in 0..crowd {
                    scope.spawn(|| flood(&broker, attack));
                }
                while !attack.over() {
                    let waiting = control_bytes(&broker);
                    let most = f64::from(crowd) * ANSWER_BYTES + 100_000.0;
                    assert!(waiting <= most, "{waiting} bytes of answers wait");
                    let unread = most_unread(&broker);
                    assert!(unread <= KERNEL_BYTES, "the kernel holds {unread} bytes");
                    std::thread::sleep(Duration::from_millis(50));
                }
            });
            assert!(attack.count() > 0, "nobody was cut off");
        });
    let grew = outcome
        .peak
        .resident_bytes
        .saturating_sub(outcome.before.resident_bytes);
    assert!(grew < 24 << 20, "{grew} bytes more: {outcome:?}");
    broker.assert_balanced();
}

/// Their answers fit into the kernel, so nothing waits here: they are charged all the same, and free soon after the
/// connection has ended, whether or not its peer has.
#[test]
fn answers_that_the_kernel_holds_are_charged_and_freed() {
    let broker = broker("[timeouts]\nkeep_alive = \"3s\"\nclose = \"3s\"", 1);
    let charged = || broker.scrape().sum("heliograph_request_bytes");
    for ends in [false, true] {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.bind(&SocketAddr::new(ATTACKER, 0).into()).unwrap();
        socket.connect(&broker.plain.into()).unwrap();
        let mut stream = TcpStream::from(socket);
        stream.write_all(&GET.repeat(120)).unwrap();
        if ends {
            stream.shutdown(Shutdown::Write).unwrap();
        }
        until_true("answers in the kernel", || most_unread(&broker) > 16 << 10);
        until_true("their charge", || charged() > f64::from(16 << 10));
        let since = Instant::now();
        until_true("the end of what nobody reads", || most_unread(&broker) == 0);
        // Two deadlines; else the kernel keeps them for half a minute.
        assert!(since.elapsed() < Duration::from_secs(10), "{ends}");
        until_true("the end of its charge", || charged() == 0.0);
        drop(stream);
    }
    broker.assert_balanced();
}

/// Asks until it is cut off, and again; counts how often it was.
fn flood(broker: &Broker, attack: &Attack) {
    let burst = GET.repeat(500);
    while !attack.over() {
        let mut stream = tcp_from(ATTACKER, broker.plain);
        while !attack.over() {
            if stream.write_all(&burst).is_err() {
                attack.did(1);
                break;
            }
        }
    }
}

/// Answers and control frames that wait; 0 when a busy machine did not answer the scrape in time.
fn control_bytes(broker: &Broker) -> f64 {
    let scrape = broker.try_scrape();
    scrape.map_or(0.0, |scrape| scrape.sum("heliograph_control_bytes"))
}

#[test]
fn bad_messages_without_reading_are_bounded_and_cut_off() {
    let broker = broker("", 1);
    let trial = Trial::new("bad messages, status never read", &broker);
    trial.run(|attack| {
        let query = viewer_query(&arn("attacked"), "attacker");
        while !attack.over() {
            let mut viewer = Peer::plain_from(ATTACKER, &broker, &query);
            let bad = |number: u32| {
                format!(
                    r#"{{"action":"NONE","messagePayload":"AAAA","correlationId":"c{number}"}}"#
                )
            };
            let mut sent = 0;
            while !attack.over() && viewer.try_send(&bad(sent)) {
                sent += 1;
                attack.did(1);
                if sent % 1000 == 0 {
                    let waiting = broker.scrape().sum("heliograph_control_bytes");
                    assert!(
                        waiting < 400_000.0,
                        "{waiting} bytes of status responses wait"
                    );
                }
            }
        }
    });
    until("the end of the one who floods or does not read", || {
        let log = broker.log();
        let cut = log.contains("reason=flood") || log.contains("reason=slow_consumer");
        cut.then_some(())
    });
    broker.assert_balanced();
}
