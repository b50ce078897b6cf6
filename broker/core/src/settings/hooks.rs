//! Receivers of what happens on channels: `[[hook]]` and `[presence]`.

use crate::record::Tags;
use crate::settings::Settings;
use crate::settings::glob::covers;
use std::path::PathBuf;

/// A receiver of events. What is secret stays in its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Its name, one among all.
    pub name: String,
    /// The address that events are posted to. `{channel}` in its path or query stands for the channel's name.
    pub url: String,
    /// Whether it gets `channel.wake`.
    pub wakes: bool,
    /// Whether it gets `channel.presence`.
    pub presence: bool,
    /// A pattern of channel names, in which `*` stands for any text.
    pub channels: Option<String>,
    /// A tag that channels have, as `key=value`.
    pub tag: Option<(String, String)>,
    /// A file with the secret that its events are signed with; during a rotation a second line has the other one.
    pub secret_file: PathBuf,
    /// Certificate and key that it is shown.
    pub client: Option<(PathBuf, PathBuf)>,
    /// The authorities of its certificate, in place of the system's.
    pub ca: Option<PathBuf>,
    /// The longest time for one request.
    pub timeout_ms: u64,
    /// The time for which a failed delivery is tried again.
    pub retry_ms: u64,
    /// Whether events have the address of the master.
    pub include_remote: bool,
    /// Whether events have the ids of clients.
    pub include_client_id: bool,
    /// Whether plain HTTP may leave this machine.
    pub allow_plain: bool,
}

impl Hook {
    /// Whether it watches a channel of this name with these tags.
    #[must_use]
    pub fn watches(&self, name: &str, tags: &Tags) -> bool {
        let named = self.channels.as_deref();
        let tagged = self.tag.as_ref();
        named.is_none_or(|pattern| covers(pattern.as_bytes(), name.as_bytes()))
            && tagged.is_none_or(|(key, value)| {
                let mut tags = tags.iter();
                tags.any(|tag| *tag.key == **key && *tag.value == **value)
            })
    }
}

impl Settings {
    /// The hooks that watch a channel: bit n is entry n of the list.
    #[must_use]
    pub fn hooks_of(&self, name: &str, tags: &Tags) -> u16 {
        let all = self.hooks.iter().enumerate();
        let watching = all.filter(|(_, hook)| hook.watches(name, tags));
        watching.fold(0, |mask, (place, _)| mask | mask_of(place))
    }

    /// Whether viewers of a channel with these tags may be notified of its master.
    #[must_use]
    pub fn tells_viewers(&self, tags: &Tags) -> bool {
        let (key, value) = TELLS_VIEWERS;
        let tells = |tags: &Tags| {
            tags.iter()
                .any(|tag| *tag.key == *key && *tag.value == *value)
        };
        self.signaling.presence_messages && tells(tags)
    }

    /// The hooks that are sent `channel.wake`, in the same form.
    #[must_use]
    pub fn waking_hooks(&self) -> u16 {
        let all = self.hooks.iter().enumerate();
        let waking = all.filter(|(_, hook)| hook.wakes);
        waking.fold(0, |mask, (place, _)| mask | mask_of(place))
    }
}

/// The rules for all hooks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PresenceRules {
    /// The time for which the departure of a master is held back: one that comes again is no news.
    pub linger_ms: u64,
    /// The least time for which messages for an absent master are kept, on channels that a hook can wake.
    pub wake_ttl_ms: u64,
    /// Whether devices may ask with `GET /wake`.
    pub wake_poll: bool,
}

/// The bit of an entry of the list.
#[must_use]
pub const fn mask_of(place: usize) -> u16 {
    if place < HOOKS_MAX { 1 << place } else { 0 }
}

/// The tag by which the owner of a channel has its viewers notified of the master.
pub const TELLS_VIEWERS: (&str, &str) = ("heliograph:presence", "viewers");

/// Entries of `[[hook]]` at most: a channel has one bit for each.
pub const HOOKS_MAX: usize = 16;
