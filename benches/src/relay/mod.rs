//! The programs that the broker is compared with. Relays do the same work on a message as the broker: frame, UTF-8,
//! JSON, checks, looking up the recipient, event, frame. Floors do none of this work.
//!
//! The binary `rival` serves one of these programs. `benches/relay.rs` runs `loadgen` against each of them and against
//! the broker.
//!
//! * `axum`: axum with tokio-tungstenite. Its best settings are a current-thread runtime, read buffers of 8 KiB, and
//!   one flush for all pending messages. Also answers API calls.
//! * `fastwebsockets`: fastwebsockets on tokio. Its best settings are a current-thread runtime, a task for each half of
//!   a connection, and one write for all pending frames.
//! * `tungstenite`: one thread per connection. Its best settings are that each thread writes directly to the
//!   recipient's socket, and small stacks.
//! * `floor-uring`: the floor on the broker's ring. Uses a multishot accept and receive, and one send per recipient and
//!   turn.
//! * `floor-epoll`: the floor on epoll. Uses one receive per wake-up, and one send per recipient and round.
//!
//! All of them use `TCP_NODELAY`, mimalloc and the broker's build profile, and none compresses. The relays share the
//! message checks in [`crate::rival::judge`]. None verifies the signatures of upgrades or has quotas, deadlines, memory
//! limits, metrics, logs, or queues for absent peers.

mod axum_ws;
mod directory;
mod fast;
mod floor;
mod place;
mod signed;
mod threads;
mod tls;
mod work;

use crate::relay::floor::{epoll, uring};
use clap::ValueEnum;
pub use place::Place;
pub use signed::{KEY_ID, SECRET};
use std::io;
use std::net::TcpListener;
pub use tls::Identity;

/// A relay that the binary `rival` can serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Rival {
    /// Floor on io_uring.
    FloorUring,
    /// Floor on epoll.
    FloorEpoll,
    /// fastwebsockets on tokio.
    Fastwebsockets,
    /// axum with tokio-tungstenite.
    Axum,
    /// tungstenite, one thread per connection.
    Tungstenite,
}

impl Rival {
    /// Returns the name of the relay as used on the command line and in records.
    #[must_use]
    pub fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Returns whether the relay supports TLS. Only the fastest relay does.
    #[must_use]
    pub const fn has_tls(self) -> bool {
        matches!(self, Self::Fastwebsockets)
    }

    /// Serves a listener until the process ends, over TLS 1.3 if `is_tls` is set.
    ///
    /// # Errors
    /// Returns an error if the listener fails, the kernel refuses a required feature, or the relay does not support
    /// TLS.
    pub fn serve(self, listener: TcpListener, is_tls: bool) -> io::Result<()> {
        match self {
            Self::Fastwebsockets if is_tls => fast::serve(listener, Some(tls::acceptor()?)),
            _ if is_tls => Err(io::Error::other("it has no TLS")),
            Self::Axum => axum_ws::serve(listener),
            Self::Fastwebsockets => fast::serve(listener, None),
            Self::Tungstenite => threads::serve(&listener),
            Self::FloorUring => uring::serve(&listener),
            Self::FloorEpoll => epoll::serve(&listener),
        }
    }
}
