//! Accepting and closing connections, waiting and waking up, and creating and dropping a ring.

use super::{KEY, SUBMISSIONS, bytes_of, eventfd, listener, next, small_ring, tcp_pair};
use ring::{Completion, Engine, Key, Received, Ring, RingSettings};
use socket2::{Domain, SockRef, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

super::on_both! {
    accepts_many_inherits_options_and_is_cancelled
    a_backlog_that_runs_over_the_completions_is_accepted_whole
    connects_or_says_why_not
    a_bell_wakes_again_and_again_unread
    one_timeout_is_armed_and_only_an_earlier_one_replaces_it
    a_limit_ends_a_wait_for_nothing
    a_full_submission_queue_submits_by_itself
    a_ring_is_dropped_with_everything_armed
    a_number_that_is_given_out_again_is_another_descriptor
    a_released_connection_goes_on_in_another_ring
    a_cancelled_connect_is_an_error_unless_it_was_over
}

fn accepts_many_inherits_options_and_is_cancelled(engine: Engine) {
    let mut ring = small_ring(engine);
    let (listener, addr) = listener();
    ring.accept(listener.as_fd(), KEY);
    let clients: Vec<_> = (0..5).map(|_| TcpStream::connect(addr).unwrap()).collect();
    for _ in &clients {
        let Completion::Accepted {
            key: KEY,
            socket: Ok(socket),
            more: true,
        } = next(&mut ring)
        else {
            panic!("five connected")
        };
        let socket = SockRef::from(&socket);
        assert!(socket.tcp_nodelay().unwrap());
        assert_eq!(
            socket.tcp_user_timeout().unwrap(),
            Some(Duration::from_secs(30))
        );
    }
    ring.cancel_accept(listener.as_fd(), KEY);
    assert!(matches!(
        next(&mut ring),
        Completion::Accepted {
            socket: Err(_),
            more: false,
            ..
        }
    ));
}

/// The backlog is larger than the completion queue. An accept that ends for this reason still delivers its connection,
/// and is armed again.
fn a_backlog_that_runs_over_the_completions_is_accepted_whole(engine: Engine) {
    let settings = RingSettings {
        submissions: 4,
        engine,
        completions: 4,
        buffers: 2,
        buffer_bytes: 64,
        ..RingSettings::default()
    };
    let mut ring = Ring::new(&settings).unwrap();
    let (listener, addr) = listener();
    let clients: Vec<_> = (0..16).map(|_| TcpStream::connect(addr).unwrap()).collect();
    ring.accept(listener.as_fd(), KEY);
    let mut accepted = Vec::new();
    while accepted.len() < clients.len() {
        let Completion::Accepted { socket, more, .. } = next(&mut ring) else {
            panic!("only an accept is armed")
        };
        accepted.push(socket.unwrap());
        if !more {
            ring.accept(listener.as_fd(), KEY);
        }
    }
}

fn connects_or_says_why_not(engine: Engine) {
    let mut ring = small_ring(engine);
    let (listener, addr) = listener();
    let there = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    ring.connect(there.as_fd(), KEY, addr);
    assert!(matches!(
        next(&mut ring),
        Completion::Connected {
            key: KEY,
            result: Ok(())
        }
    ));
    drop(listener);
    let nowhere = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    ring.connect(nowhere.as_fd(), KEY, addr);
    let Completion::Connected {
        result: Err(error), ..
    } = next(&mut ring)
    else {
        panic!("nobody listens")
    };
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

fn a_bell_wakes_again_and_again_unread(engine: Engine) {
    let mut ring = small_ring(engine);
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    ring.bell(theirs.as_fd(), KEY);
    for _ in 0..3 {
        ours.write_all(b"!").unwrap();
        assert!(matches!(
            next(&mut ring),
            Completion::Rang {
                key: KEY,
                more: true
            }
        ));
    }
}

fn one_timeout_is_armed_and_only_an_earlier_one_replaces_it(engine: Engine) {
    let mut ring = small_ring(engine);
    let now = Instant::now();
    ring.wake_by(now + Duration::from_secs(3600), now);
    ring.enter(0, None).unwrap();
    ring.wake_by(now + Duration::from_millis(20), now);
    ring.wake_by(now + Duration::from_secs(1800), now);
    assert!(matches!(next(&mut ring), Completion::TimedOut));
    assert!((Duration::from_millis(20)..Duration::from_secs(10)).contains(&now.elapsed()));
    // No timeout is armed any more, so a later time is armed again.
    ring.wake_by(now + Duration::from_millis(40), now);
    assert!(matches!(next(&mut ring), Completion::TimedOut));
}

fn a_limit_ends_a_wait_for_nothing(engine: Engine) {
    let mut ring = small_ring(engine);
    let before = Instant::now();
    ring.enter(1, Some(Duration::from_millis(20))).unwrap();
    assert!(before.elapsed() >= Duration::from_millis(20) && !ring.has_completions());
}

#[test]
fn a_registered_eventfd_announces_while_it_is_on() {
    let mut ring = small_ring(Engine::IoUring);
    let (mut ours, theirs) = UnixStream::pair().unwrap();

    let eventfd = eventfd();
    ring.register_eventfd(eventfd.as_fd()).unwrap();
    ring.receive_many(theirs.as_fd(), KEY);
    ring.eventfd_on();
    ring.enter(0, None).unwrap();
    ours.write_all(b"x").unwrap();
    let mut count = [0; 8];
    std::fs::File::from(eventfd).read_exact(&mut count).unwrap();
    assert!(u64::from_ne_bytes(count) >= 1);
    assert!(
        !ring.has_completions(),
        "deferred work is done by an enter only"
    );
    assert_eq!(bytes_of(next(&mut ring), &mut ring), (b"x".to_vec(), true));
}

fn a_full_submission_queue_submits_by_itself(engine: Engine) {
    let mut ring = small_ring(engine);
    let pairs: Vec<_> = (0..SUBMISSIONS * 4)
        .map(|_| UnixStream::pair().unwrap())
        .collect();
    for (number, (_, theirs)) in pairs.iter().enumerate() {
        ring.receive_once(theirs.as_fd(), Key::new(number as u64));
    }
    for (number, (ours, _)) in pairs.iter().enumerate() {
        (&*ours).write_all(b"x").unwrap();
        let Completion::Received {
            key,
            received: Received::Bytes(lent),
            ..
        } = next(&mut ring)
        else {
            panic!("sent")
        };
        assert_eq!(key, Key::new(number as u64));
        ring.give_back(lent);
    }
}

fn a_ring_is_dropped_with_everything_armed(engine: Engine) {
    let (ours, theirs) = tcp_pair();
    let mut ring = small_ring(engine);
    ring.receive_many(theirs.as_fd(), KEY);
    ring.send(theirs.as_fd(), KEY, vec![1; 32 << 20], 0);
    let now = Instant::now();
    ring.wake_by(now + Duration::from_secs(3600), now);
    ring.enter(0, None).unwrap();
    drop(ring);
    assert!(
        now.elapsed() < Duration::from_secs(10),
        "cancelling does not wait for the peer"
    );
    drop(ours);
}

/// A release drops all state of a descriptor, including unread readiness, so its number can be reused.
fn a_number_that_is_given_out_again_is_another_descriptor(engine: Engine) {
    let mut ring = small_ring(engine);
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let mut theirs = OwnedFd::from(theirs);
    ours.write_all(&[b'a'; 200]).unwrap();
    ring.receive_many(theirs.as_fd(), KEY);
    bytes_of(next(&mut ring), &mut ring);
    ring.cancel_receive(theirs.as_fd(), KEY);
    loop {
        match next(&mut ring) {
            Completion::Received { more: false, .. } => break,
            other => drop(bytes_of(other, &mut ring)),
        }
    }
    drop(ours);
    ring.release(theirs.as_fd());
    let (mut ours, other) = UnixStream::pair().unwrap();
    rustix::io::dup2(&other, &mut theirs).unwrap();
    let young = Key::new(2);
    ring.receive_once(theirs.as_fd(), young);
    ring.enter(0, None).unwrap();
    assert!(ring.next().is_none(), "nothing was sent to it");
    ours.write_all(b"second").unwrap();
    let Completion::Received { key, received, .. } = next(&mut ring) else {
        panic!("a receive is armed")
    };
    assert!(key == young && matches!(received, Received::Bytes(lent) if lent.len() == 6));
}

/// Each connection gets one buffer per enter, no matter how much data is ready. While data is left, the ring does not
/// sleep.
#[test]
fn on_epoll_connections_are_read_in_turn_and_what_is_unread_is_work() {
    let mut ring = small_ring(Engine::Epoll);
    let pairs: Vec<_> = (0..2).map(|_| UnixStream::pair().unwrap()).collect();
    for ((ours, theirs), key) in pairs.iter().zip(0..) {
        (&*ours).write_all(&[b'x'; 200]).unwrap();
        ring.receive_many(theirs.as_fd(), Key::new(key));
    }
    let mut sizes = vec![Vec::new(); 2];
    for round in 1..=4 {
        ring.enter(0, None).unwrap();
        while let Some(completion) = ring.next() {
            let Completion::Received { key, .. } = completion else {
                panic!("receives are armed")
            };
            let place = usize::try_from(key.bits()).unwrap();
            sizes[place].push(bytes_of(completion, &mut ring).0.len());
        }
        assert_eq!(ring.has_completions(), round < 4, "round {round}");
    }
    assert_eq!(sizes, [[64, 64, 64, 8], [64, 64, 64, 8]]);
}

/// Hands a connection back and forth: bytes that one ring has not read are received by the other.
fn a_released_connection_goes_on_in_another_ring(engine: Engine) {
    let (mut one, mut other) = (small_ring(engine), small_ring(engine));
    let (mut client, server) = tcp_pair();
    for round in 0..3_u8 {
        client.write_all(&[round; 40]).unwrap();
        for ring in [&mut one, &mut other] {
            ring.receive_once(server.as_fd(), KEY);
            assert_eq!(bytes_of(next(ring), ring), (vec![round; 40], false));
            client.write_all(&[round; 40]).unwrap();
            ring.release(server.as_fd());
        }
        one.receive_once(server.as_fd(), KEY);
        assert_eq!(bytes_of(next(&mut one), &mut one), (vec![round; 40], false));
        one.release(server.as_fd());
    }
}

fn a_cancelled_connect_is_an_error_unless_it_was_over(engine: Engine) {
    let mut ring = small_ring(engine);
    let (_listener, addr) = listener();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    ring.connect(socket.as_fd(), KEY, addr);
    ring.cancel_connect(socket.as_fd(), KEY);
    let Completion::Connected { key: KEY, result } = next(&mut ring) else {
        panic!("a connect was armed")
    };
    if let Err(error) = result {
        assert_eq!(error.raw_os_error(), Some(libc::ECANCELED));
    }
    ring.cancel_connect(socket.as_fd(), KEY);
    ring.enter(0, None).unwrap();
    assert!(ring.next().is_none(), "nothing is armed to be cancelled");
}

#[test]
fn sizes_out_of_range_are_refused() {
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        RingSettings { buffers: 3, ..RingSettings::default() },
        RingSettings { submissions: 0, ..RingSettings::default() },
        RingSettings { completions: 512, ..RingSettings::default() },
        RingSettings { buffer_bytes: 0, ..RingSettings::default() },
    ];
    for wrong in cases {
        assert_eq!(
            Ring::new(&wrong).err().unwrap().kind(),
            ErrorKind::InvalidInput
        );
    }
}
