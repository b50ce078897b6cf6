//! A balancer before the nodes of a cluster: it passes connections on to those that accept, in turn, and ends those to
//! a node that accepts no more.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Duration;

#[expect(
    clippy::disallowed_types,
    reason = "a thread for each connection, of a test: no shard waits for it"
)]
type Mutex<T> = std::sync::Mutex<T>;

/// Serves until the process ends: its threads wait for connections.
pub(crate) struct Balancer {
    pub(crate) address: SocketAddr,
}

struct Node {
    address: SocketAddr,
    /// Whether it accepted lately, and the connections to it.
    state: Mutex<(bool, Vec<TcpStream>)>,
}

impl Balancer {
    /// On loopback of the calling thread's host, at the port of the nodes: endpoints have that. On both addresses:
    /// clients that try one address alone take the first of `localhost`.
    pub(crate) fn before(nodes: Vec<SocketAddr>) -> Self {
        let port = nodes[0].port();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("a host of its own");
        let address = listener.local_addr().expect("it is bound");
        let state = |address| Node {
            address,
            state: Mutex::new((true, Vec::new())),
        };
        let nodes: Arc<[Node]> = nodes.into_iter().map(state).collect();
        for number in 0..nodes.len() {
            let nodes = Arc::clone(&nodes);
            thread::spawn(move || nodes[number].look());
        }
        // Without IPv6, `localhost` has no such address either.
        let other = TcpListener::bind((Ipv6Addr::LOCALHOST, port)).ok();
        for listener in [Some(listener), other].into_iter().flatten() {
            let nodes = Arc::clone(&nodes);
            thread::spawn(move || {
                for (turn, client) in listener.incoming().enumerate() {
                    let Ok(client) = client else { return };
                    let nodes = Arc::clone(&nodes);
                    thread::spawn(move || pass_on(&nodes, turn, client));
                }
            });
        }
        Self { address }
    }
}

impl Node {
    /// Twice a second: does it accept? When it does not, what it had ends.
    fn look(&self) {
        loop {
            let accepts = TcpStream::connect_timeout(&self.address, ACCEPTS_WITHIN).is_ok();
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.0 = accepts;
            if !accepts {
                for connection in state.1.drain(..) {
                    let _ = connection.shutdown(Shutdown::Both);
                }
            }
            drop(state);
            thread::sleep(ACCEPTS_WITHIN / 2);
        }
    }

    fn connect(&self) -> Option<TcpStream> {
        let stream = TcpStream::connect_timeout(&self.address, ACCEPTS_WITHIN).ok()?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.1.push(stream.try_clone().ok()?);
        state.0.then_some(stream)
    }
}

fn pass_on(nodes: &[Node], turn: usize, client: TcpStream) {
    let mut inquired = (0..nodes.len()).map(|next| &nodes[(turn + next) % nodes.len()]);
    let Some(node) = inquired.find_map(Node::connect) else {
        return;
    };
    let (Ok(from), Ok(to)) = (client.try_clone(), node.try_clone()) else {
        return;
    };
    thread::spawn(move || copy(from, to));
    copy(node, client);
}

/// One direction, to its end; then the other side learns of the end.
fn copy(mut from: TcpStream, mut to: TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

const ACCEPTS_WITHIN: Duration = Duration::from_secs(1);
