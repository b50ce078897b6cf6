//! A proxy for connections to etcd that can be blocked. Data sent in the meantime arrives late.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

/// Forwards connections to a port until it is dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    port: u16,
    gate: Arc<Gate>,
    connections: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_held: bool,
    has_ended: bool,
}

impl Proxy {
    pub(crate) fn to(target: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let gate = Arc::new(Gate::default());
        let shared = Arc::clone(&gate);
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        thread::spawn(move || {
            for client in listener.incoming() {
                if shared.state.lock().unwrap().has_ended {
                    return;
                }
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)) else {
                    continue;
                };
                counted.fetch_add(1, Ordering::Relaxed);
                let client = client.unwrap();
                let ways = [(&client, &server), (&server, &client)];
                for (from, to) in ways.map(|(from, to)| (from.try_clone(), to.try_clone())) {
                    let (from, to, gate) = (from.unwrap(), to.unwrap(), Arc::clone(&shared));
                    thread::spawn(move || pass(from, to, &gate));
                }
            }
        });
        Self {
            port,
            gate,
            connections,
        }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Returns the number of connections forwarded so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Stops forwarding in both directions. Connections are still accepted.
    pub(crate) fn hold(&self) {
        self.gate.set(|state| state.is_held = true);
    }

    /// Forwards everything that was held back, including data from connections that have been closed since.
    pub(crate) fn release(&self) {
        self.gate.set(|state| state.is_held = false);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.gate.set(|state| {
            *state = State {
                is_held: false,
                has_ended: true,
            }
        });
        // Wakes the thread that accepts connections.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

impl Gate {
    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
        self.changed.notify_all();
    }

    fn wait(&self) {
        let state = self.state.lock().unwrap();
        drop(
            self.changed
                .wait_while(state, |state| state.is_held)
                .unwrap(),
        );
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, gate: &Gate) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        gate.wait();
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
