//! All shards' mailboxes, and functions that other threads use to post messages to them.

use crate::edge::Post;
use crate::failure::{Failure, Fallible};
use broker_core::limits::{mailbox_capacity, mailbox_reserve};
use broker_core::shard::Shard;
use mailbox::Mailbox;
use std::io;
use std::sync::Arc;

pub(crate) type Mailboxes = Arc<[Mailbox<Post<Shard>>]>;

/// Creates one mailbox per shard. Fails with [`Failure::Fatal`] if the process has no descriptors left.
pub(crate) fn mailboxes(shards: usize) -> Fallible<Mailboxes> {
    let one = |_| Mailbox::new(mailbox_capacity(shards), mailbox_reserve(shards));
    let all: io::Result<Vec<_>> = (0..shards).map(one).collect();
    Ok(all
        .map_err(|error| Failure::fatal("a mailbox cannot be created", &error))?
        .into())
}

/// Posts a message to a shard. If the mailbox is full, uses its reserved space.
pub(crate) fn post(mailboxes: &[Mailbox<Post<Shard>>], shard: usize, letter: Post<Shard>) {
    let mailbox = mailboxes.get(shard);
    if mailbox.is_none_or(|mailbox| mailbox.post_always(letter).is_err()) {
        tracing::error!(shard, "the mailbox is full");
    }
}

pub(crate) fn post_to_all(mailboxes: &[Mailbox<Post<Shard>>], letter: impl Fn() -> Post<Shard>) {
    (0..mailboxes.len()).for_each(|shard| post(mailboxes, shard, letter()));
}
