//! The pages of channels, and what operators do to them.

pub(super) mod disconnect;
pub(super) mod pages;
pub(super) mod sessions;
