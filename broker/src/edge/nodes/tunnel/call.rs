//! A call on a connection to its owner that is kept: its state, and the frames of the owner.

use super::half::Half;
use broker_core::machine::Machine;
use codec::proxy::{CHALLENGE_BYTES, CallEntry, FRAME_BYTES, NotFrame, OwnerFrame, read_frame};
use std::net::SocketAddr;

/// A call on a connection that is kept, or is to be.
pub(super) struct Kept {
    /// The owner's, of the connection.
    pub(super) challenge: [u8; CHALLENGE_BYTES],
    /// The number of the call on it.
    pub(super) number: u64,
    /// The address that the connection goes to, once it has waited.
    pub(super) address: Option<SocketAddr>,
    /// The client's bytes behind the call.
    pub(super) rest: Vec<u8>,
    pub(super) progress: Progress,
    /// The owner's bytes, while no frame of them is whole; then the answer.
    pub(super) bytes: Vec<u8>,
    /// The part of them that is counted in [`Tunnel::stalled`].
    pub(super) counted: usize,
    /// The owner has ended the connection behind its answer, or said more.
    pub(super) spoiled: bool,
}

/// The progress of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nothing of it has gone to the owner.
    Unsent,
    Sent,
    /// The owner has all of it.
    Taken,
    /// The owner has ended the connection without it.
    Declined,
    Answered,
}

/// One that waits for a call or an upgrade.
#[derive(Clone, Copy)]
pub(super) struct Rested {
    pub(super) challenge: [u8; CHALLENGE_BYTES],
    /// The number of that.
    pub(super) next: u64,
}

/// One that a call or an upgrade takes: its number, the connection, where that goes, and what it knows.
pub(in crate::edge) struct Taken {
    pub(super) place: u32,
    pub(super) owner: Half,
    pub(super) address: SocketAddr,
    pub(super) rested: Rested,
}

/// A client whose call was answered, for the machine to go on with.
pub(in crate::edge) struct Answered<M: Machine> {
    pub(in crate::edge) client: Half,
    /// The client's address.
    pub(in crate::edge) remote: SocketAddr,
    pub(in crate::edge) parcel: M::Parcel,
    pub(in crate::edge) answer: Vec<u8>,
    /// The client's bytes behind the call.
    pub(in crate::edge) rest: Vec<u8>,
}

impl Kept {
    pub(super) fn new(
        challenge: [u8; CHALLENGE_BYTES],
        number: u64,
        address: Option<SocketAddr>,
    ) -> Self {
        Self {
            challenge,
            number,
            address,
            rest: Vec::new(),
            progress: Progress::Unsent,
            bytes: Vec::new(),
            counted: 0,
            spoiled: false,
        }
    }

    /// Its entry in the header, of a request of this length.
    pub(super) fn entry(&self, length: usize) -> CallEntry {
        CallEntry {
            number: self.number,
            length: u32::try_from(length).unwrap_or(u32::MAX),
        }
    }

    /// Its bytes are on their way.
    pub(super) fn is_sent(&mut self) {
        self.progress = Progress::Sent;
    }

    /// Whether the request is kept until the owner has it, which may have ended the connection.
    pub(super) fn may_be_declined(&self) -> bool {
        self.number > 0
    }

    /// Takes the bytes of its answer, or those that are no frame.
    pub(super) fn take_bytes(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// Reads the frames that are whole. Whether the owner has just taken the call.
    pub(super) fn read(&mut self) -> Result<bool, NotFrame> {
        let before = self.progress;
        while let Some((frame, length)) = read_frame(&self.bytes, self.number)? {
            match (frame, self.progress) {
                (OwnerFrame::Taken, Progress::Sent) => {
                    self.bytes.drain(..length);
                    self.progress = Progress::Taken;
                }
                (OwnerFrame::Answer(_), Progress::Sent | Progress::Taken) => {
                    self.spoiled = self.bytes.len() > length;
                    self.bytes.truncate(length);
                    self.bytes.drain(..FRAME_BYTES);
                    self.progress = Progress::Answered;
                    break;
                }
                (OwnerFrame::Done, Progress::Sent) if self.number > 0 => {
                    self.progress = Progress::Declined;
                    break;
                }
                (
                    OwnerFrame::Taken | OwnerFrame::Answer(_) | OwnerFrame::Done | OwnerFrame::Free,
                    _,
                ) => return Err(NotFrame),
            }
        }
        Ok(before == Progress::Sent && self.progress == Progress::Taken)
    }
}
