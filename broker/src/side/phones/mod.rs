//! Devices of the local network, under `--lan`: how one is paired, and what it may see then.

pub(crate) mod lan;
pub(crate) mod page;
pub(crate) mod pairing;
