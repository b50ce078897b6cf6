//! One direction of a connection between two nodes, and what may be written into it.

use broker_core::cluster::limits::LINK_WRITE_BYTES;
use broker_core::cluster::link::{Death, Role};
use codec::link::{Frame, PAYLOAD_BYTES_MAX, Reader};
use std::collections::{BTreeSet, VecDeque};

/// Bytes in order, each piece with its arrival; then the end.
#[derive(Default)]
pub(crate) struct Pipe {
    flight: VecDeque<(u64, Vec<u8>)>,
    /// Bytes that have arrived and were not read.
    pub(crate) arrived: Vec<u8>,
    end: Option<(u64, Death)>,
    last: u64,
    /// Bytes so far, and after how many the connection is reset.
    written: usize,
    pub(crate) dies_at: Option<usize>,
    reader: Reader,
    newest: u32,
}

/// Bytes that the kernels of both sides take before a writer waits.
const CAPACITY: usize = 200_000;

impl Pipe {
    /// Takes as many bytes as fit. True: the connection was reset behind some of them.
    pub(crate) fn write(&mut self, bytes: &mut Vec<u8>, at: u64) -> bool {
        if self.end.is_some() {
            bytes.clear(); // nobody has them
            return false;
        }
        let queued: usize = self.flight.iter().map(|(_, piece)| piece.len()).sum();
        let mut room = CAPACITY.saturating_sub(queued + self.arrived.len());
        if let Some(dies_at) = self.dies_at {
            room = room.min(dies_at - self.written);
        }
        let taken: Vec<u8> = bytes.drain(..room.min(bytes.len())).collect();
        self.written += taken.len();
        self.last = self.last.max(at);
        if !taken.is_empty() {
            self.flight.push_back((self.last, taken));
        }
        self.dies_at == Some(self.written)
    }

    /// What arrives by now, unless the way is cut.
    pub(crate) fn arrive(&mut self, now: u64, is_cut: bool) {
        while !is_cut && self.flight.front().is_some_and(|(at, _)| *at <= now) {
            let (_, piece) = self.flight.pop_front().unwrap_or_default();
            self.arrived.extend(piece);
        }
    }

    /// The end, once all bytes before it are read.
    pub(crate) fn end(&self, now: u64, is_cut: bool) -> Option<Death> {
        let all_read = self.flight.is_empty() && self.arrived.is_empty() && !is_cut;
        let (_, why) = self.end.filter(|(at, _)| all_read && *at <= now)?;
        Some(why)
    }

    /// The writer's end: it sends nothing again, so that on a way that is cut the rest is lost.
    pub(crate) fn close(&mut self, why: Death, at: u64, is_cut: bool) {
        if is_cut {
            self.flight.clear();
        }
        let end = (at.max(self.last), why);
        self.end.get_or_insert(end);
    }

    /// Checks one write: control frames first, one DATA of each stream, and ids that rise.
    pub(crate) fn check(&mut self, bytes: &[u8], from: Role) {
        let (mut rest, mut had) = (bytes, BTreeSet::new());
        let mut is_behind_data = false;
        assert!(bytes.len() < LINK_WRITE_BYTES + 2 * PAYLOAD_BYTES_MAX);
        while let Ok((used, Some((id, frame)))) = self.reader.next(rest) {
            rest = &rest[used..];
            match frame {
                Frame::Open(_) => {
                    assert!(from == Role::Front && id > self.newest, "id {id}");
                    self.newest = id;
                    is_behind_data = true;
                }
                Frame::Data { .. } => {
                    assert!(had.insert(id), "two pieces of {id} in one write");
                    is_behind_data = true;
                }
                Frame::Ping(_) | Frame::Pong(_) | Frame::Away | Frame::Ask => {
                    assert!(!is_behind_data, "{frame:?} behind DATA");
                }
                // Behind the last DATA of its own stream.
                Frame::End(_) | Frame::Ack(_) => {
                    assert!(!is_behind_data || had.contains(&id) || id == self.newest);
                }
            }
        }
        assert!(rest.is_empty(), "a write ends with a whole frame");
    }
}
