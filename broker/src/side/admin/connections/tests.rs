use super::*;
use crate::side::admin::connections;
use std::io::{Read, Write};
use std::net::TcpStream as Client;

/// Serves "hello" for `life` while `clients` talk to it. Afterwards, no slot may be taken.
fn serve(life: Duration, clients: impl FnOnce(SocketAddr) + Send + 'static) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let door = Door::of(vec![listener], life, PLACES);
        let Source::Listeners { descriptors, .. } = &door.source else {
            unreachable!("it has a listener");
        };
        let descriptors = Arc::clone(descriptors);
        let routes = axum::Router::new()
            .route("/long", axum::routing::get(|| async { vec![0; LONG] }))
            .fallback(|| async { "hello" });
        tokio::spawn(connections::serve(door, routes));
        tokio::task::spawn_blocking(move || clients(address))
            .await
            .unwrap();
        // All permits except that of the accept that is in progress.
        let free = || descriptors.available_permits() == PLACES + LEAVING_MAX - 1;
        for _ in 0..1000 {
            if free() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("a descriptor is still in use");
    });
}

const PLACES: usize = 24;

/// More bytes than the buffers of a socket hold.
const LONG: usize = 64 << 20;

fn connect(to: SocketAddr) -> Client {
    let client = Client::connect(to).unwrap();
    client
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    client
}

fn ended(client: &mut Client) -> bool {
    matches!(client.read(&mut [0; 64]), Ok(0) | Err(_))
}

#[test]
fn the_oldest_makes_room_and_a_prompt_request_is_answered() {
    serve(LIFE, |to| {
        let mut idle: Vec<_> = (0..PLACES).map(|_| connect(to)).collect();
        for _ in 0..3 {
            let mut client = connect(to);
            client
                .write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                .unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap();
            assert!(answer.ends_with("hello"), "{answer}");
            idle.push(connect(to));
        }
        assert!(idle[..3].iter_mut().all(ended), "the oldest are gone");
    });
}

/// Reading a long response extends the life of its connection. A client that stops reading gets no more time than
/// others.
#[test]
fn a_long_answer_lasts_for_as_long_as_it_is_read() {
    // Much longer than a busy machine can delay the thread that reads.
    let life = Duration::from_secs(2);
    serve(life, move |to| {
        let ask = || {
            let mut client = connect(to);
            client
                .write_all(b"GET /long HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                .unwrap();
            client
        };
        let (mut reads, mut stops) = (ask(), ask());
        let (began, mut read) = (Instant::now(), 0);
        let mut part = vec![0; 1 << 20];
        loop {
            // The parts are small at first, so that reading takes longer than one lifetime.
            let slow = began.elapsed() < life + life / 2;
            let most = if slow { 64 << 10 } else { part.len() };
            match reads.read(&mut part[..most]).unwrap() {
                0 => break,
                bytes => read += bytes,
            }
            if slow {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        assert!(began.elapsed() > life, "it was read for longer than a life");
        assert!(read > LONG, "{read}");
        let mut rest = 0;
        while let Ok(bytes @ 1..) = stops.read(&mut part) {
            rest += bytes;
        }
        assert!(rest < LONG, "who does not read is not waited for");
    });
}

#[test]
fn nobody_stays_for_longer_than_a_life() {
    serve(Duration::from_millis(200), |to| {
        let mut silent = connect(to);
        let mut half = connect(to);
        half.write_all(b"GET / HTTP/1.1\r\n").unwrap();
        assert!(ended(&mut silent) && ended(&mut half));
    });
}
