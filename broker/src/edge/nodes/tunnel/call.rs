//! A call on a connection to its owner that is kept: its state, and the frames of the owner.

use crate::edge::nodes::tunnel::half::Half;
use broker_core::machine::Machine;
use codec::proxy::{CHALLENGE_BYTES, CallEntry, FRAME_BYTES, NotFrame, OwnerFrame, read_frame};
use std::net::SocketAddr;

/// A call on a connection that is kept, or is to be.
pub(crate) struct Kept {
    /// The owner's, of the connection.
    pub(crate) challenge: [u8; CHALLENGE_BYTES],
    /// The number of the call on it.
    pub(crate) number: u64,
    /// The address that the connection goes to, once it has waited.
    pub(crate) address: Option<SocketAddr>,
    /// The client's bytes behind the call.
    pub(crate) rest: Vec<u8>,
    pub(crate) progress: Progress,
    /// The owner's bytes, while no frame of them is whole; then the answer.
    pub(crate) bytes: Vec<u8>,
    /// The part of them that is counted in [`Tunnel::stalled`].
    pub(crate) counted: usize,
    /// The owner has ended the connection behind its answer, or said more.
    pub(crate) spoiled: bool,
}

/// The progress of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
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
pub(crate) struct Rested {
    pub(crate) challenge: [u8; CHALLENGE_BYTES],
    /// The number of that.
    pub(crate) next: u64,
}

/// One that a call or an upgrade takes: its number, the connection, where that goes, and what it knows.
pub(crate) struct Taken {
    pub(crate) place: u32,
    pub(crate) owner: Half,
    pub(crate) address: SocketAddr,
    pub(crate) rested: Rested,
}

/// A client whose call was answered, for the machine to go on with.
pub(crate) struct Answered<M: Machine> {
    pub(crate) client: Half,
    /// The client's address.
    pub(crate) remote: SocketAddr,
    pub(crate) parcel: M::Parcel,
    pub(crate) answer: Vec<u8>,
    /// The client's bytes behind the call.
    pub(crate) rest: Vec<u8>,
}

impl Kept {
    pub(crate) fn new(
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
    pub(crate) fn entry(&self, length: usize) -> CallEntry {
        CallEntry {
            number: self.number,
            length: u32::try_from(length).unwrap_or(u32::MAX),
        }
    }

    /// Its bytes are on their way.
    pub(crate) fn is_sent(&mut self) {
        self.progress = Progress::Sent;
    }

    /// Whether the request is kept until the owner has it, which may have ended the connection.
    pub(crate) fn may_be_declined(&self) -> bool {
        self.number > 0
    }

    /// Takes the bytes of its answer, or those that are no frame.
    pub(crate) fn take_bytes(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// Reads the frames that are whole. Whether the owner has just taken the call.
    pub(crate) fn read(&mut self) -> Result<bool, NotFrame> {
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
