//! The slots that this shard serves its channels of, where slots go from one node to another: which are served, which
//! channels are in each, and what is still to be done about them.
//!
//! ```text
//!             Serve: channels come, with messages of a parcel        Pause: connections are closed
//!   Absent ──────────────────────────────────────────────► Served ────────────────────────────────► Still
//!     ▲                                                     │  ▲                                       │  │
//!     │          Release: connections are closed            │  │                 Resume                │  │
//!     ├─────────────────────────────────────────────────────┘  └───────────────────────────────────────┘  │
//!     └───────────────────────────────────────────────────────────────────────────────────────────────────┘
//!                                                     Release
//! ```
//! A slot's messages are *packed* when no connection of it has begun one and not ended it: what a connection did not
//! hand over is kept again by then, and goes along.

mod moves;
mod parcel;
