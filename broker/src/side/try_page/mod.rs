//! `/try`: a camera and a viewer in one browser.

pub(super) mod page;
pub(super) mod session;
