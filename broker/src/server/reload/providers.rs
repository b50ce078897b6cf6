//! The task that fetches keys of OpenID providers, and its way to the shards.

use crate::edge::Post;
use crate::providers::{Fetcher, fetcher};
use crate::server::mailboxes::post_to_all;
use crate::server::reload::credentials::InitialCredentials;
use crate::side::{InForce, Shows};
use broker_core::settings::Settings;
use broker_core::shard::{Letter, Shard};
use mailbox::Mailbox;
use std::sync::Arc;

/// The task, which is to be run on the side thread, and the credentials in force; `None` where no signature is asked
/// for.
pub(crate) fn fetcher(
    settings: &Settings,
    who: Option<&InitialCredentials>,
    mailboxes: &Arc<[Mailbox<Post<Shard>>]>,
    shows: &mut Shows,
) -> (Option<Fetcher>, Option<InForce>) {
    let Some(in_force) = who.map(|found| found.file.in_force()) else {
        return (None, None);
    };
    let mailboxes = Arc::clone(mailboxes);
    let hand_over = Box::new(move |keyring| {
        post_to_all(&mailboxes, || {
            Post::Letter(Letter::Keyring(Arc::clone(&keyring)))
        });
    });
    let place = (settings.data_dir.clone(), settings.dev);
    let (fetcher, figures, known) = fetcher::fetcher(in_force.clone(), place, hand_over);
    (shows.providers, shows.known) = (Some(figures), Some(known));
    (Some(fetcher), Some(in_force))
}
