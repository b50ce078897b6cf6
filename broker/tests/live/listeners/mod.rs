//! Listeners of clients: addresses and certificates.
//!
//! * [`loopback`]: both loopback addresses of a development server, and listeners on all addresses; [`remote`]: other
//!   machines.
//! * [`tls`], [`reload`]: certificates, and their replacement under way.
//! * [`proxy`]: what a proxy in front says of a client.

mod loopback;
mod proxy;
mod reload;
pub(crate) mod remote;
pub(crate) mod tls;
