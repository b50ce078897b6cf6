//! Devices of the local network, under `--lan`: how one is paired, and what it may see then.

pub(super) mod lan;
pub(super) mod page;
pub(super) mod pairing;
