//! The admin listener itself: who gets in, what each may ask for, and how a connection is served. What it shows is in
//! the folders beside this one.

pub(crate) mod access;
pub(crate) mod answer;
pub(crate) mod door;
pub(crate) mod request;
pub(crate) mod serve;
mod unread;
