//! The listeners of a shard. This module tracks which of them accept connections, and when paused listeners resume.

use crate::devices::{DeviceTls, Devices};
use crate::edge::limits::{ACCEPT_REST_MS, CROWDED_REST_MS};
use crate::edge::{io::Io, start::Listener, tls::Tls};
use broker_core::address_shares::Origin;
use ring::{Key, Ring};
use rustls::ServerConfig;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The listeners of a shard, and the certificates that TLS listeners present.
pub(crate) struct Listeners {
    all: Vec<Accepting>,
    tls: Option<Arc<ServerConfig>>,
    /// The devices that may sign in, if any.
    devices: Option<Arc<Devices>>,
    /// The server names for which a device certificate is requested, with the TLS configuration for their connections.
    door: Option<Arc<DeviceTls>>,
    /// Whether all listeners have been stopped permanently.
    stopped: bool,
}

/// A listener with its state.
struct Accepting {
    listener: Listener,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Armed,
    /// The accept operation has ended or is being cancelled, but its final completion has not arrived yet.
    Ending,
    /// Paused until this time.
    Resting(Instant),
    /// Closed permanently.
    Closed,
}

impl Listeners {
    /// Creates the listeners. They do not accept connections yet.
    pub(crate) fn new(
        listeners: Vec<Listener>,
        tls: Option<Arc<ServerConfig>>,
        devices: Option<Arc<Devices>>,
    ) -> Self {
        let accepting = |listener| Accepting {
            listener,
            state: State::Closed,
        };
        let all = listeners.into_iter().map(accepting).collect();
        let mut listeners = Self {
            all,
            tls,
            devices,
            door: None,
            stopped: false,
        };
        listeners.hang_door();
        listeners
    }

    /// Sets the TLS configuration for connections accepted from now on.
    pub(crate) fn present(&mut self, tls: Arc<ServerConfig>) {
        self.tls = Some(tls);
        self.hang_door();
    }

    /// Sets the devices that may sign in on connections accepted from now on. This also determines the server names for
    /// which a certificate is requested.
    pub(crate) fn ask(&mut self, devices: Option<Arc<Devices>>) {
        self.devices = devices;
        self.hang_door();
    }

    fn hang_door(&mut self) {
        let devices = self.devices.clone().zip(self.tls.as_deref());
        // Never fails, since the ordinary configuration was created with the same protocol versions.
        let door = devices.and_then(|(devices, tls)| DeviceTls::new(devices, tls).ok());
        self.door = door.map(Arc::new);
    }

    /// Creates a TLS engine for a connection from `origin`. Returns `None` if that fails.
    pub(crate) fn engine(&self, origin: Origin) -> Option<Box<Tls>> {
        let tls = self.tls.as_ref()?;
        match &self.door {
            None => Tls::new(tls, origin).ok(),
            Some(door) => Tls::behind(door, tls, origin).ok(),
        }
    }

    pub(crate) fn at(&self, place: usize) -> &Listener {
        &self.all[place].listener
    }

    /// Returns whether all listeners are closed.
    pub(crate) fn closed(&self) -> bool {
        let mut all = self.all.iter();
        all.all(|accepting| accepting.state == State::Closed)
    }

    /// Returns the earliest time at which a listener must be rearmed.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.all.iter().filter_map(Accepting::due).min()
    }

    /// Arms all listeners.
    pub(crate) fn listen(&mut self, ring: &mut Ring) {
        for place in 0..self.all.len() {
            self.arm(place, ring);
        }
    }

    /// Rearms listeners whose pause has ended.
    pub(crate) fn resume(&mut self, io: &mut Io) {
        for place in 0..self.all.len() {
            if self.all[place].due().is_none_or(|due| due > io.turn.now()) {
                continue;
            }
            // Rearms even if the limit has been reached. A new connection may evict another one, or is refused with a
            // response.
            self.arm(place, &mut io.ring);
        }
    }

    /// Handles the final completion of an accept operation. `error` is set if the operation failed. Rearms the
    /// listener, either immediately or after a pause.
    pub(crate) fn over(&mut self, place: usize, error: Option<&io::Error>, io: &mut Io) {
        let was_relieved = self.all[place].state == State::Ending;
        let rest_ms = match error {
            None if was_relieved => CROWDED_REST_MS,
            Some(error) if was_relieved && is_cancelled(error) => CROWDED_REST_MS,
            None => 0,
            Some(_) => ACCEPT_REST_MS,
        };
        if self.stopped {
            self.all[place].state = State::Closed;
        } else if rest_ms == 0 {
            self.arm(place, &mut io.ring);
        } else {
            let due = io.turn.now() + Duration::from_millis(rest_ms);
            self.all[place].state = State::Resting(due);
        }
    }

    /// Pauses a listener, if it is armed, because there is no capacity for more connections.
    pub(crate) fn relieve(&mut self, place: usize, ring: &mut Ring) {
        let accepting = &mut self.all[place];
        if accepting.state == State::Armed {
            let socket = accepting.listener.socket.as_fd();
            ring.cancel_accept(socket, listener_key(place));
            accepting.state = State::Ending;
        }
    }

    /// Stops all listeners. Connections may still be accepted until the final completions arrive.
    pub(crate) fn stop(&mut self, ring: &mut Ring) {
        self.stopped = true;
        for (place, accepting) in self.all.iter_mut().enumerate() {
            match accepting.state {
                State::Armed => {
                    let socket = accepting.listener.socket.as_fd();
                    ring.cancel_accept(socket, listener_key(place));
                    accepting.state = State::Ending;
                }
                State::Resting(_) => accepting.state = State::Closed,
                State::Ending | State::Closed => {}
            }
        }
    }

    fn arm(&mut self, place: usize, ring: &mut Ring) {
        let accepting = &mut self.all[place];
        ring.accept(accepting.listener.socket.as_fd(), listener_key(place));
        accepting.state = State::Armed;
    }
}

impl Accepting {
    /// Returns the time at which the listener must be rearmed, if it is paused.
    fn due(&self) -> Option<Instant> {
        match self.state {
            State::Resting(due) => Some(due),
            State::Armed | State::Ending | State::Closed => None,
        }
    }
}

/// Returns whether an accept operation failed only because it was cancelled.
fn is_cancelled(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ECANCELED)
}

/// Returns the index of the listener whose accept has this key.
pub(crate) fn listener_place(key: Key) -> usize {
    usize::try_from(key.bits()).expect("made by listener_key")
}

fn listener_key(place: usize) -> Key {
    Key::new(place as u64)
}
