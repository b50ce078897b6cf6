//! The floor on the broker's ring. It uses a multishot accept and receives into provided buffers, which needs no system
//! call per receive. Each turn ends with one send(2) per socket.

use crate::relay::floor::passing::{Passing, Step};
use ring::{Completion, Key, Received, Ring, RingSettings};
use rustix::net::{SendFlags, send};
use socket2::SockRef;
use std::io;
use std::net::{Shutdown, TcpListener};
use std::os::fd::{AsFd, OwnedFd};

pub(crate) fn serve(listener: &TcpListener) -> io::Result<()> {
    // Accepted sockets inherit this option.
    SockRef::from(listener).set_tcp_nodelay(true)?;
    let mut floor = Floor {
        ring: Ring::new(&RingSettings::default())?,
        passing: Passing::default(),
        peers: Vec::new(),
        free: Vec::new(),
        rearm: Vec::new(),
        ended: Vec::new(),
    };
    floor.ring.accept(listener.as_fd(), LISTENER);
    loop {
        floor.ring.enter(1, None)?;
        while let Some(completion) = floor.ring.next() {
            floor.complete(completion)?;
        }
        floor.flush();
    }
}

struct Floor {
    ring: Ring,
    passing: Passing,
    peers: Vec<Option<Peer>>,
    free: Vec<u32>,
    /// Peers whose receive must be rearmed after the buffers of this turn have been returned.
    rearm: Vec<u32>,
    ended: Vec<u32>,
}

struct Peer {
    socket: OwnedFd,
    /// Whether receives on this socket are multishot. They are single until the first message arrives, so that a short
    /// connection can be closed without a cancellation.
    is_many: bool,
}

impl Floor {
    fn complete(&mut self, completion: Completion) -> io::Result<()> {
        match completion {
            Completion::Accepted { socket, .. } => {
                let peer = self.free.pop().unwrap_or_else(|| {
                    self.peers.push(None);
                    u32::try_from(self.peers.len() - 1).unwrap_or(u32::MAX)
                });
                self.passing.enter(peer);
                self.peers[peer as usize] = Some(Peer {
                    socket: socket?,
                    is_many: false,
                });
                self.arm(peer);
            }
            Completion::Received {
                key,
                received,
                more,
            } => {
                let peer = u32::try_from(key.bits()).unwrap_or(u32::MAX);
                self.received(peer, received, more);
            }
            Completion::Sent { .. }
            | Completion::Connected { .. }
            | Completion::Rang { .. }
            | Completion::TimedOut => {}
        }
        Ok(())
    }

    fn received(&mut self, peer: u32, received: Received, more: bool) {
        match received {
            Received::Bytes(mut lent) => {
                let step = self.passing.receive(peer, self.ring.bytes(&mut lent));
                self.ring.give_back(lent);
                match step {
                    Step::Opened => self.rearm.push(peer),
                    Step::Passed if more => {}
                    Step::Passed => {
                        if let Some(peer) = &mut self.peers[peer as usize] {
                            peer.is_many = true;
                        }
                        self.rearm.push(peer);
                    }
                    // A receive is still armed and must complete before the socket may be closed.
                    Step::Closed if more => self.shut(peer),
                    Step::Closed => self.ended.push(peer),
                }
            }
            Received::NoBuffers => self.rearm.push(peer),
            Received::End | Received::Cancelled | Received::Failed(_) => self.ended.push(peer),
        }
    }

    fn flush(&mut self) {
        for peer in std::mem::take(&mut self.passing.dirty) {
            let out = self.passing.take_out(peer);
            if let Some(peer) = &self.peers[peer as usize] {
                // This call blocks while the peer's window is full, which is brief because the driver runs a closed
                // loop. If the connection is closed, the next receive detects it.
                let _ = send(&peer.socket, &out, SendFlags::NOSIGNAL);
            }
            self.passing.give_back(peer, out);
        }
        for peer in std::mem::take(&mut self.rearm) {
            self.arm(peer);
        }
        for peer in std::mem::take(&mut self.ended) {
            if self.peers[peer as usize].take().is_some() {
                self.passing.leave(peer);
                self.free.push(peer);
            }
        }
    }

    fn shut(&mut self, peer: u32) {
        let out = self.passing.take_out(peer);
        if let Some(peer) = &self.peers[peer as usize] {
            let _ = send(&peer.socket, &out, SendFlags::NOSIGNAL);
            let _ = SockRef::from(&peer.socket).shutdown(Shutdown::Both);
        }
        self.passing.give_back(peer, out);
    }

    fn arm(&mut self, peer: u32) {
        let key = Key::new(peer.into());
        match &self.peers[peer as usize] {
            Some(peer) if peer.is_many => self.ring.receive_many(peer.socket.as_fd(), key),
            Some(peer) => self.ring.receive_once(peer.socket.as_fd(), key),
            None => {}
        }
    }
}

const LISTENER: Key = Key::new(u32::MAX as u64);
