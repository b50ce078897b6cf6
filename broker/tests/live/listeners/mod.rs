//! Listeners of clients: addresses and certificates.
//!
//! * [`loopback`]: both loopback addresses of a development server, and listeners on all addresses; [`remote`]: other
//!   machines.
//! * [`tls`], [`reload`]: certificates, and their replacement under way.

mod loopback;
mod reload;
pub(crate) mod remote;
pub(crate) mod tls;
