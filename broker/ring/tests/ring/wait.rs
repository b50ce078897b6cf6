//! Connections coming and going, waiting and being woken, beginning and end of a ring.

use super::{KEY, SUBMISSIONS, bytes_of, eventfd, listener, next, small_ring, tcp_pair};
use ring::{Completion, Key, Received, Ring, Settings};
use socket2::{Domain, SockRef, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

#[test]
fn accepts_many_inherits_options_and_is_cancelled() {
    let mut ring = small_ring();
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
    ring.cancel_accept(KEY);
    assert!(matches!(
        next(&mut ring),
        Completion::Accepted {
            socket: Err(_),
            more: false,
            ..
        }
    ));
}

/// A backlog larger than the completion queue: an accept that is ended by that brings its connection, and is armed
/// again.
#[test]
fn a_backlog_that_runs_over_the_completions_is_accepted_whole() {
    let settings = Settings {
        submissions: 4,
        completions: 4,
        buffers: 2,
        buffer_bytes: 64,
        ..Settings::default()
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

#[test]
fn connects_or_says_why_not() {
    let mut ring = small_ring();
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

#[test]
fn a_bell_wakes_again_and_again_unread() {
    let mut ring = small_ring();
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

#[test]
fn one_timeout_is_armed_and_only_an_earlier_one_replaces_it() {
    let mut ring = small_ring();
    let now = Instant::now();
    ring.wake_by(now + Duration::from_secs(3600), now);
    ring.enter(0, None).unwrap();
    ring.wake_by(now + Duration::from_millis(20), now);
    ring.wake_by(now + Duration::from_secs(1800), now);
    assert!(matches!(next(&mut ring), Completion::TimedOut));
    assert!((Duration::from_millis(20)..Duration::from_secs(10)).contains(&now.elapsed()));
    // None is armed any more, so a later one is armed again.
    ring.wake_by(now + Duration::from_millis(40), now);
    assert!(matches!(next(&mut ring), Completion::TimedOut));
}

#[test]
fn a_limit_ends_a_wait_for_nothing() {
    let mut ring = small_ring();
    let before = Instant::now();
    ring.enter(1, Some(Duration::from_millis(20))).unwrap();
    assert!(before.elapsed() >= Duration::from_millis(20) && !ring.has_completions());
}

#[test]
fn a_registered_eventfd_announces_while_it_is_on() {
    let mut ring = small_ring();
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

#[test]
fn a_full_submission_queue_submits_by_itself() {
    let mut ring = small_ring();
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

#[test]
fn a_ring_is_dropped_with_everything_armed() {
    let (ours, theirs) = tcp_pair();
    let mut ring = small_ring();
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

#[test]
fn sizes_out_of_range_are_refused() {
    for wrong in [
        Settings {
            buffers: 3,
            ..Settings::default()
        },
        Settings {
            submissions: 0,
            ..Settings::default()
        },
        Settings {
            completions: 512,
            ..Settings::default()
        },
        Settings {
            buffer_bytes: 0,
            ..Settings::default()
        },
    ] {
        assert_eq!(
            Ring::new(&wrong).err().unwrap().kind(),
            ErrorKind::InvalidInput
        );
    }
}
