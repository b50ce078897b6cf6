//! Rivals of the broker as programs: relays that do the same work on a message (frame, UTF-8, JSON, checks, look-up of
//! the recipient, event, frame), and floors, which do none of it.
//!
//! The binary `rival` serves one of them; `benches/relay.rs` drives all of them with `loadgen`, beside the broker.
//!
//! * `axum`: axum with tokio-tungstenite. Best settings: a current-thread runtime, read buffers of 8 KiB, one flush for
//!   all pending messages. Also answers API calls.
//! * `fastwebsockets`: fastwebsockets on tokio. Best settings: a current-thread runtime, a task for each half of a
//!   connection, one write for all pending frames.
//! * `tungstenite`: one thread per connection. Best settings: each thread writes to its recipient's socket; small
//!   stacks.
//! * `floor-uring`: the floor on the broker's ring. Multishot accept and receive, one send per recipient and turn.
//! * `floor-epoll`: the floor on epoll. One receive per wake-up, one send per recipient and round.
//!
//! All use `TCP_NODELAY`, no compression, mimalloc and the broker's build profile, and share the message checks in
//! [`crate::rival::judge`]. None has signatures of upgrades, quotas, deadlines, memory limits, metrics, logs, or queues
//! for absent peers.

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

/// Relay served by the binary `rival`.
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
    /// Name of the relay on the command line and in records.
    #[must_use]
    pub fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Whether the relay supports TLS. Only the fastest one does.
    #[must_use]
    pub const fn has_tls(self) -> bool {
        matches!(self, Self::Fastwebsockets)
    }

    /// Serves a listener until the process ends, over TLS 1.3 if requested.
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
