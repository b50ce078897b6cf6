//! A small service on loopback: a relay behind an HTTP listener that answers every API call alike.

use crate::support::{Fault, RULES, Relay, accepted};
use codec::ws::{self, Item, Receiver, Side};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime};

/// The sockets of all peers: channel by the ARN's text, place in it.
pub(crate) type Sockets = Arc<Mutex<HashMap<(String, u32), TcpStream>>>;

/// The endpoints to which a service sends callers, and the heads of all requests that it received.
#[derive(Default)]
pub(crate) struct Reception {
    /// For the connection, and for the calls after it; `None`: the address that was asked.
    pub(crate) endpoints: Option<[String; 2]>,
    pub(crate) heads: Mutex<Vec<String>>,
    /// Upgrades whose head has this text are answered after so long, and that is noted among the heads.
    pub(crate) slow: Option<(&'static str, Duration)>,
    /// When ten connections have come, nothing at all is done for so long.
    pub(crate) stall: Duration,
    /// When each viewer came.
    pub(crate) viewers: Mutex<Vec<SystemTime>>,
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

    /// Records when a viewer comes, and delays the upgrades that `slow` names.
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
pub(crate) fn service(fault: Fault) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    serve_from(listener, fault, Arc::default());
    address
}

/// A sound service that sends those who ask to these endpoints; gives its address.
pub(crate) fn reception(endpoints: Option<[String; 2]>) -> (SocketAddr, Arc<Reception>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let reception = Arc::new(Reception {
        endpoints,
        ..Reception::default()
    });
    serve_from(listener, Fault::Nothing, Arc::clone(&reception));
    (address, reception)
}

pub(crate) fn serve_from(listener: TcpListener, fault: Fault, reception: Arc<Reception>) {
    let sockets = Sockets::default();
    let relay = Arc::new(Mutex::new(Relay::new(fault)));
    thread::spawn(move || {
        for (number, socket) in listener.incoming().enumerate() {
            if number == 10 {
                let _all = (relay.lock().unwrap(), sockets.lock().unwrap());
                thread::sleep(reception.stall);
            }
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

pub(crate) fn read_head(mut socket: &TcpStream) -> Option<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        socket.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

/// One connection's life; ends when the peer does.
pub(crate) fn serve(
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
    let target = head.split(' ').nth(1)?;
    let (channel, place) = match target.split_once("&X-Amz-ClientId=viewer-") {
        Some((channel, place)) => (channel, place.parse().ok()?),
        None => (target, 0),
    };
    let answer = accepted(&head)?;
    let copy = socket.try_clone().ok()?;
    sockets
        .lock()
        .unwrap()
        .insert((channel.to_owned(), place), copy);
    socket.write_all(answer.as_bytes()).ok()?;
    let mut receiver = Receiver::new(Side::Server);
    let mut read = vec![0; 1 << 16];
    loop {
        let count = socket.read(&mut read).ok()?;
        let mut rest = &mut read[..count];
        while !rest.is_empty() {
            let (used, item) = receiver.next(&RULES, rest).ok()?;
            match item {
                Some(Item::Message { payload, .. }) => {
                    // Both locks are held while writing, so that the order of routing is the order of sending.
                    let (mut relay, mut sockets) = (relay.lock().unwrap(), sockets.lock().unwrap());
                    for delivery in relay.route(place, payload) {
                        let to = sockets.get_mut(&(channel.to_owned(), delivery.to))?;
                        to.write_all(&delivery.frame()).ok()?;
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
