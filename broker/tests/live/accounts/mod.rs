//! People who use the console with an account of an OpenID provider.
//!
//! * [`browser`] is a browser as far as cookies go, with a provider beside it.
//! * [`chromium`]: the same in a real one. Ignored unless its packages are installed.
//! * [`sign_in`]: what an account may do; [`refused`]: whom and what is not let in; [`ended`]: ends of sessions.

pub(crate) mod browser;
pub(crate) mod chromium;
mod ended;
mod refused;
mod sign_in;
