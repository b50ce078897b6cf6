//! Receiving and sending bytes.

use super::{BUFFERS, KEY, bytes_of, next, small, small_ring, tcp_pair};
use ring::{Completion, Engine, Lent, Received, Ring, RingSettings};
use socket2::SockRef;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

super::on_both! {
    echoes_in_place_by_single_receives
    a_multishot_receive_goes_on_until_the_end
    an_empty_pool_ends_a_receive_and_a_new_one_goes_on
    a_pool_grows_when_it_is_empty_until_all_buffers_are_out
    memory_is_released_when_nothing_is_in_it
    a_cancelled_receive_loses_nothing
    what_is_behind_urgent_bytes_is_read
    shutdown_ends_an_armed_receive_and_close_sends_fin_only_then
    a_send_waits_for_room_and_is_whole
    a_send_to_a_peer_that_stops_reading_and_closes_is_partial_or_an_error
    #[should_panic(expected = "another ring")]
    a_buffer_of_another_ring_is_refused
}

fn echoes_in_place_by_single_receives(engine: Engine) {
    let mut ring = small_ring(engine);
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    for text in [&b"one"[..], b"two", b"three"] {
        ours.write_all(text).unwrap();
        ring.receive_once(theirs.as_fd(), KEY);
        let Completion::Received {
            key: KEY,
            received: Received::Bytes(mut lent),
            more: false,
        } = next(&mut ring)
        else {
            panic!("bytes were sent")
        };
        let bytes = ring.bytes(&mut lent);
        bytes.make_ascii_uppercase();
        let answer = bytes.to_vec();
        ring.give_back(lent);
        ring.send(theirs.as_fd(), KEY, answer, 0);
        let Completion::Sent {
            key: KEY,
            bytes,
            result,
        } = next(&mut ring)
        else {
            panic!("a send was armed")
        };
        assert_eq!(result.unwrap(), text.len());
        assert_eq!(bytes[..], text.to_ascii_uppercase()[..]);
        let mut echo = vec![0; text.len()];
        ours.read_exact(&mut echo).unwrap();
        assert_eq!(echo, text.to_ascii_uppercase());
    }
}

fn a_multishot_receive_goes_on_until_the_end(engine: Engine) {
    let mut ring = small_ring(engine);
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    ring.receive_many(theirs.as_fd(), KEY);
    for _ in 0..3 * u16::try_from(BUFFERS).unwrap() {
        ours.write_all(b"again").unwrap();
        assert_eq!(
            bytes_of(next(&mut ring), &mut ring),
            (b"again".to_vec(), true)
        );
    }
    drop(ours);
    assert!(matches!(
        next(&mut ring),
        Completion::Received {
            received: Received::End,
            more: false,
            ..
        }
    ));
}

fn an_empty_pool_ends_a_receive_and_a_new_one_goes_on(engine: Engine) {
    let mut ring = small_ring(engine);
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    ring.receive_many(theirs.as_fd(), KEY);
    let mut lent = Vec::new();
    use_up(&mut ring, &mut ours, &mut lent);
    assert_eq!(lent.len(), BUFFERS);
    for buffer in lent {
        ring.give_back(buffer);
    }
    ring.receive_many(theirs.as_fd(), KEY);
    assert_eq!(bytes_of(next(&mut ring), &mut ring), (b"x".to_vec(), true));
}

/// Writes one byte at a time, each of which takes a buffer, until a receive finds no buffer.
fn use_up(ring: &mut Ring, ours: &mut UnixStream, lent: &mut Vec<Lent>) {
    loop {
        ours.write_all(b"x").unwrap();
        match next(ring) {
            Completion::Received {
                received: Received::Bytes(buffer),
                more: true,
                ..
            } => lent.push(buffer),
            Completion::Received {
                received: Received::NoBuffers,
                more: false,
                ..
            } => return,
            other => panic!("{other:?}"),
        }
    }
}

/// Buffers that are never needed are never touched: the kernel gets them only once it has run out of others.
fn a_pool_grows_when_it_is_empty_until_all_buffers_are_out(engine: Engine) {
    let mut ring = Ring::new(&RingSettings {
        buffers: 8,
        buffers_at_start: 2,
        ..small(engine)
    })
    .unwrap();
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let (mut lent, mut grown_at) = (Vec::new(), Vec::new());
    ring.receive_many(theirs.as_fd(), KEY);
    use_up(&mut ring, &mut ours, &mut lent);
    while ring.add_buffers() {
        assert!(
            ring.add_buffers(),
            "once an enter, also for the second receive"
        );
        grown_at.push(lent.len());
        ring.receive_many(theirs.as_fd(), KEY);
        use_up(&mut ring, &mut ours, &mut lent);
    }
    assert_eq!((grown_at, lent.len()), (vec![2, 4], 8));
    lent.into_iter().for_each(|buffer| ring.give_back(buffer));
    ring.receive_many(theirs.as_fd(), KEY);
    let left = bytes_of(next(&mut ring), &mut ring).0;
    assert!(left.iter().all(|byte| *byte == b'x') && !left.is_empty());
}

fn memory_is_released_when_nothing_is_in_it(engine: Engine) {
    let mut ring = Ring::new(&RingSettings {
        buffer_bytes: 1 << 16,
        ..small(engine)
    })
    .unwrap();
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    assert!(!ring.release_buffers(), "none was used");
    for _ in 0..2 * BUFFERS {
        ring.receive_once(theirs.as_fd(), KEY);
        ours.write_all(b"x").unwrap();
        ring.enter(1, None).unwrap();
        assert!(!ring.release_buffers(), "a completion waits");
        let Completion::Received {
            received: Received::Bytes(mut buffer),
            ..
        } = next(&mut ring)
        else {
            panic!("no bytes");
        };
        assert!(!ring.release_buffers(), "a buffer is lent");
        assert_eq!(*ring.bytes(&mut buffer), *b"x");
        ring.give_back(buffer);
        assert!(ring.release_buffers() && !ring.release_buffers());
    }
}

fn a_cancelled_receive_loses_nothing(engine: Engine) {
    let mut ring = small_ring(engine);
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    ring.receive_many(theirs.as_fd(), KEY);
    ring.enter(0, None).unwrap();
    ours.write_all(b"before").unwrap();
    ring.cancel_receive(theirs.as_fd(), KEY);
    let (mut got, mut cancelled) = (Vec::new(), false);
    while !cancelled {
        match next(&mut ring) {
            Completion::Received {
                received: Received::Cancelled,
                more: false,
                ..
            } => cancelled = true,
            other => got.extend(bytes_of(other, &mut ring).0),
        }
    }
    ours.write_all(b"after").unwrap();
    while got.len() < 11 {
        ring.receive_once(theirs.as_fd(), KEY);
        got.extend(bytes_of(next(&mut ring), &mut ring).0);
    }
    assert_eq!(got, b"beforeafter");
}

/// A receive ends at an urgent byte and leaves room in its buffer. The bytes after the urgent byte are received all the
/// same.
fn what_is_behind_urgent_bytes_is_read(engine: Engine) {
    let mut ring = small_ring(engine);
    let (mut client, server) = tcp_pair();
    client.write_all(b"one").unwrap();
    SockRef::from(&client).send_out_of_band(b"!").unwrap();
    client.write_all(b"two").unwrap();
    ring.receive_many(server.as_fd(), KEY);
    let mut got = Vec::new();
    while got.len() < 6 {
        got.extend(bytes_of(next(&mut ring), &mut ring).0);
    }
    assert_eq!(got, b"onetwo");
}

fn shutdown_ends_an_armed_receive_and_close_sends_fin_only_then(engine: Engine) {
    let mut ring = small_ring(engine);
    let (mut client, server) = tcp_pair();
    ring.receive_many(server.as_fd(), KEY);
    ring.enter(0, None).unwrap();
    SockRef::from(&server).shutdown(Shutdown::Both).unwrap();
    assert!(matches!(
        next(&mut ring),
        Completion::Received {
            received: Received::End,
            more: false,
            ..
        }
    ));
    drop(server);
    assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
}

fn a_send_waits_for_room_and_is_whole(engine: Engine) {
    let mut ring = small_ring(engine);
    let (mut client, server) = tcp_pair();
    let bytes: Vec<u8> = (0..8_u32 << 20)
        .map(|at| u8::try_from(at % 251).unwrap())
        .collect();
    ring.send(server.as_fd(), KEY, bytes.clone(), 1000);
    ring.enter(0, None).unwrap();
    let reader = std::thread::spawn(move || {
        let mut all = vec![0; (8 << 20) - 1000];
        client.read_exact(&mut all).map(|()| all)
    });
    let Completion::Sent {
        bytes: back,
        result,
        ..
    } = next(&mut ring)
    else {
        panic!("a send was armed")
    };
    assert_eq!(result.unwrap(), bytes.len() - 1000);
    assert_eq!(back.len(), bytes.len());
    assert!(reader.join().unwrap().unwrap() == bytes[1000..]);
}

fn a_send_to_a_peer_that_stops_reading_and_closes_is_partial_or_an_error(engine: Engine) {
    let mut ring = small_ring(engine);
    let (client, server) = tcp_pair();
    ring.send(server.as_fd(), KEY, vec![7; 32 << 20], 0);
    ring.enter(0, None).unwrap();
    drop(client); // with unread bytes: a reset
    let Completion::Sent { bytes, result, .. } = next(&mut ring) else {
        panic!("a send was armed")
    };
    assert_eq!(bytes.len(), 32 << 20);
    assert!(result.map_or_else(
        |error| error.kind() != ErrorKind::Other,
        |sent| sent < bytes.len()
    ));
}

fn a_buffer_of_another_ring_is_refused(engine: Engine) {
    let (mut one, mut other) = (small_ring(engine), small_ring(engine));
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    ours.write_all(b"x").unwrap();
    one.receive_once(theirs.as_fd(), KEY);
    let Completion::Received {
        received: Received::Bytes(lent),
        ..
    } = next(&mut one)
    else {
        panic!("sent")
    };
    other.give_back(lent);
}
