//! A shard's listeners. Tracks which of them accept connections, and when paused listeners resume.

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

/// A shard's listeners, and the certificates that the TLS listeners present.
pub(crate) struct Listeners {
    all: Vec<Accepting>,
    tls: Option<Arc<ServerConfig>>,
    /// The devices that may authenticate with a certificate, if any.
    devices: Option<Arc<Devices>>,
    /// The server names for which a device certificate is requested, and the TLS configuration that requests it.
    door: Option<Arc<DeviceTls>>,
    /// Whether accepting has stopped for good.
    stopped: bool,
}

/// A listener and its state.
struct Accepting {
    listener: Listener,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Armed,
    /// The accept is finishing or being cancelled. Its final completion has not arrived yet.
    Ending,
    /// Paused until this time.
    Resting(Instant),
    /// Closed permanently.
    Closed,
}

impl Listeners {
    /// Creates the listeners, which do not accept connections yet.
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

    /// Sets the devices, and with them the server names for which a certificate is requested, for connections accepted
    /// from now on.
    pub(crate) fn ask(&mut self, devices: Option<Arc<Devices>>) {
        self.devices = devices;
        self.hang_door();
    }

    fn hang_door(&mut self) {
        let devices = self.devices.clone().zip(self.tls.as_deref());
        // This cannot fail: the ordinary configuration was created with the same protocol versions.
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

    /// Returns the time at which the next paused listener must be rearmed.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.all.iter().filter_map(Accepting::due).min()
    }

    /// Arms all listeners.
    pub(crate) fn listen(&mut self, ring: &mut Ring) {
        for place in 0..self.all.len() {
            self.arm(place, ring);
        }
    }

    /// Rearms the listeners whose pause is over.
    pub(crate) fn resume(&mut self, io: &mut Io) {
        for place in 0..self.all.len() {
            if self.all[place].due().is_none_or(|due| due > io.turn.now()) {
                continue;
            }
            // Rearms even at the connection limit. A new connection may evict another one, or gets a response that
            // refuses it.
            self.arm(place, &mut io.ring);
        }
    }

    /// Handles an accept's final completion. `error` is set if the accept failed. Rearms the listener, immediately or
    /// after a pause.
    pub(crate) fn over(&mut self, place: usize, error: Option<&io::Error>, io: &mut Io) {
        let was_relieved = self.all[place].state == State::Ending;
        let rest_ms = match error {
            None if was_relieved => CROWDED_REST_MS,
            None => 0,
            Some(error) => match error.raw_os_error() {
                Some(libc::ECANCELED) if was_relieved => CROWDED_REST_MS,
                Some(_) | None => ACCEPT_REST_MS,
            },
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

    /// Pauses an armed listener because there is no capacity for more connections.
    pub(crate) fn relieve(&mut self, place: usize, ring: &mut Ring) {
        let accepting = &mut self.all[place];
        if accepting.state == State::Armed {
            let socket = accepting.listener.socket.as_fd();
            ring.cancel_accept(socket, listener_key(place));
            accepting.state = State::Ending;
        }
    }

    /// Stops all listeners. Until the final completions arrive, connections may still be accepted.
    pub(crate) fn stop(&mut self, ring: &mut Ring) {
        self.stopped = true;
        for place in 0..self.all.len() {
            self.relieve(place, ring);
            let accepting = &mut self.all[place];
            if accepting.due().is_some() {
                accepting.state = State::Closed;
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

/// Returns the index of the listener whose accept uses this key.
pub(crate) fn listener_place(key: Key) -> usize {
    usize::try_from(key.bits()).expect("made by listener_key")
}

fn listener_key(place: usize) -> Key {
    Key::new(place as u64)
}
