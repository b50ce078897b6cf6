//! Pages for browsers on the listeners of clients, and which pages of others may use a broker.
//!
//! * [`welcome`]: the answer at `/`; [`try_page`]: `/try`; [`lan`]: pages for phones of the local network.
//! * [`origins`]: pages of other sites.

pub(crate) mod lan;
mod origins;
mod try_page;
mod welcome;
