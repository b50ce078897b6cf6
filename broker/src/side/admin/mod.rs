//! The admin listener itself: who gets in, what each may ask for, and how a connection is served. What it shows is in
//! the folders beside this one.

pub(super) mod access;
pub(super) mod answer;
pub(super) mod door;
pub(super) mod request;
pub(super) mod serve;
mod unread;
