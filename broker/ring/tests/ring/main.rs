//! Tests every operation of a ring on both engines, against the running kernel, with socket pairs and loopback. No test
//! sleeps.
#![expect(clippy::unwrap_used, reason = "the helpers below are tests too")]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test awaits one completion and fails on any other"
)]

/// Runs each of the tests on both engines.
macro_rules! on_both {
    ($($(#[$attribute:meta])* $name:ident)*) => {
        mod io_uring {
            $(#[test] $(#[$attribute])* fn $name() { super::$name(ring::Engine::IoUring) })*
        }
        mod epoll {
            $(#[test] $(#[$attribute])* fn $name() { super::$name(ring::Engine::Epoll) })*
        }
    };
}
use on_both;

mod any_order;
mod transfer;
mod wait;

use ring::{Completion, Engine, Key, Received, Ring, RingSettings};
use rustix::event::EventfdFlags;
use socket2::{Domain, Socket, Type};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

const KEY: Key = Key::new(0x00ab_cdef_1234_5678);
const BUFFERS: usize = 4;
const SUBMISSIONS: usize = 4;

fn small(engine: Engine) -> RingSettings {
    RingSettings {
        engine,
        submissions: 4,
        completions: 64,
        buffers: 4,
        buffer_bytes: 64,
        ..RingSettings::default()
    }
}

fn small_ring(engine: Engine) -> Ring {
    Ring::new(&small(engine)).unwrap()
}

/// Returns the next completion, waiting up to 10 s.
fn next(ring: &mut Ring) -> Completion {
    for _ in 0..100 {
        if let Some(completion) = ring.next() {
            return completion;
        }
        ring.enter(1, Some(Duration::from_millis(100))).unwrap();
    }
    panic!("no completion came");
}

fn bytes_of(completion: Completion, ring: &mut Ring) -> (Vec<u8>, bool) {
    match completion {
        Completion::Received {
            received: Received::Bytes(mut lent),
            more,
            ..
        } => {
            let bytes = ring.bytes(&mut lent).to_vec();
            assert_eq!(bytes.len(), lent.len());
            ring.give_back(lent);
            (bytes, more)
        }
        other => panic!("{other:?}"),
    }
}

fn listener() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_tcp_nodelay(true).unwrap();
    socket
        .set_tcp_user_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    socket
        .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    socket.listen(16).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, addr)
}

fn tcp_pair() -> (TcpStream, OwnedFd) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0.into())
}

fn eventfd() -> OwnedFd {
    rustix::event::eventfd(0, EventfdFlags::CLOEXEC).unwrap()
}
