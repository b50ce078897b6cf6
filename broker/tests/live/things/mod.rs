//! Devices that sign in with certificates.
//!
//! * [`fleet`]: an authority, its devices, and a broker that knows them; [`device`]: one device's connection.
//! * [`sign_in`]: what devices get, and what is refused in which order; [`attacks`]: what must not let anybody in.
//! * [`commands`]: `things check` and `things import`.
//! * [`operators`]: those that ask too often, and ends of authorities.
//! * [`dev`]: the three commands of a newcomer.

mod attacks;
mod commands;
mod dev;
pub(crate) mod device;
pub(crate) mod fleet;
mod operators;
mod sign_in;
