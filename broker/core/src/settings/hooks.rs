//! Receivers of channel events (`[[hook]]` and `[presence]`), and patterns for channel names.

use crate::{record::Tags, settings::Settings};
use std::path::PathBuf;

/// A webhook that receives channel events. Contains paths of secret files, but no secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// The unique name of the hook.
    pub name: String,
    /// The URL that events are posted to. A `{channel}` in its path or query is replaced with the channel name.
    pub url: String,
    /// Whether the hook receives `channel.wake`.
    pub wakes: bool,
    /// Whether the hook receives `channel.presence`.
    pub presence: bool,
    /// Whether the hook receives `node.problem`.
    pub problems: bool,
    /// The pattern for channel names, where `*` matches any text.
    pub channels: Option<String>,
    /// The tag (`key=value`) that a channel must have for the hook to watch it.
    pub tag: Option<(String, String)>,
    /// The file with the secret that signs this hook's events. During a rotation, the second line contains the other
    /// secret.
    pub secret_file: PathBuf,
    /// The client certificate and key that the broker presents to the hook's server.
    pub client: Option<(PathBuf, PathBuf)>,
    /// The authorities that may issue the certificate of the hook's server. They replace the system's authorities.
    pub ca: Option<PathBuf>,
    /// Timeout for a single request, in milliseconds.
    pub timeout_ms: u64,
    /// How long a failed delivery is retried, in milliseconds.
    pub retry_ms: u64,
    /// Whether events include the master's address.
    pub include_remote: bool,
    /// Whether events include client ids.
    pub include_client_id: bool,
    /// Whether plain HTTP may be used for a hook on another machine.
    pub allow_plain: bool,
}

impl Hook {
    /// Returns `true` if the hook watches a channel with this name and these tags.
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
    /// Returns the bitmask of the hooks that watch a channel, where bit n is entry n of the list.
    #[must_use]
    pub fn hooks_of(&self, name: &str, tags: &Tags) -> u16 {
        let all = self.hooks.iter().enumerate();
        let watching = all.filter(|(_, hook)| hook.watches(name, tags));
        watching.fold(0, |mask, (place, _)| mask | mask_of(place))
    }

    /// Returns the bitmask of the hooks that receive `channel.wake`, where bit n is entry n of the list.
    #[must_use]
    pub fn waking_hooks(&self) -> u16 {
        let all = self.hooks.iter().enumerate();
        let waking = all.filter(|(_, hook)| hook.wakes);
        waking.fold(0, |mask, (place, _)| mask | mask_of(place))
    }
}

/// Presence settings that apply to all hooks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PresenceRules {
    /// Delay in milliseconds before the broker reports that a master has left. If the master reconnects by then,
    /// nothing is reported.
    pub linger_ms: u64,
    /// Minimum time in milliseconds for which messages for an absent master are kept on channels whose master a hook
    /// can wake.
    pub wake_ttl_ms: u64,
    /// Whether devices may wait with `GET /wake`.
    pub wake_poll: bool,
    /// How long a master may leave a message unacknowledged, in milliseconds, before it becomes suspect and is woken as
    /// if it were absent.
    pub doubt_ms: u64,
    /// How long a master must have been suspect, in milliseconds, before it is reported as gone.
    pub gone_ms: u64,
}

/// Returns the bitmask for the hook with this index.
#[must_use]
pub const fn mask_of(place: usize) -> u16 {
    if place < HOOKS_MAX { 1 << place } else { 0 }
}

/// Maximum number of `[[hook]]` entries, each of which is one bit in a channel's mask.
pub const HOOKS_MAX: usize = 16;

// Patterns for names, in which `*` matches any text and `?` any single byte. Names are ASCII.

/// A wildcard pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(Box<[u8]>);

impl Glob {
    /// Creates a pattern in which `*` and `?` are wildcards and all other characters match themselves.
    #[must_use]
    pub fn new(pattern: &str) -> Self {
        Self(pattern.as_bytes().into())
    }

    /// Returns the only text that the pattern matches, or `None` if it has wildcards.
    #[must_use]
    pub fn literal(&self) -> Option<&str> {
        let plain = !self.0.iter().any(|byte| matches!(byte, b'*' | b'?'));
        std::str::from_utf8(&self.0).ok().filter(|_| plain)
    }

    /// Returns `true` if the pattern matches the whole text, in at most as many steps as the product of both lengths.
    #[must_use]
    pub fn covers(&self, text: &str) -> bool {
        covers(&self.0, text.as_bytes())
    }
}

pub(crate) fn covers(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut read) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while read < text.len() {
        let byte = pattern.get(at);
        if byte == Some(&b'*') {
            star = Some((at, read));
            at += 1;
        } else if byte == Some(&b'?') || (byte.is_some() && byte == text.get(read)) {
            (at, read) = (at + 1, read + 1);
        } else if let Some((place, taken)) = &mut star {
            *taken += 1;
            (at, read) = (*place + 1, *taken);
        } else {
            return false;
        }
    }
    let rest = pattern.get(at..).unwrap_or_default();
    rest.iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod glob_tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stars_and_question_marks() {
        for (pattern, text, covers) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "cam-1", true),
            ("cam-*", "cam-", true),
            ("cam-*", "cam", false),
            ("cam-?", "cam-1", true),
            ("cam-?", "cam-12", false),
            ("*-1", "cam-1-1", true),
            ("*a*b", "xaxxbxb", true),
            ("a*b", "abc", false),
            ("a*a", "a", false),
            ("cam-1", "cam-1", true),
            ("cam-1", "cam-12", false),
            ("cam-*", "a-cam-1", false),
            ("a**c", "abc", true),
        ] {
            assert_eq!(Glob::new(pattern).covers(text), covers, "{pattern} {text}");
        }
        assert_eq!(Glob::new("cam-1").literal(), Some("cam-1"));
        assert_eq!(Glob::new("cam-?").literal(), None);
    }

    #[test]
    fn many_stars_take_no_longer_than_both_lengths_multiplied() {
        let pattern = "a*".repeat(128) + "b";
        assert!(!Glob::new(&pattern).covers(&"a".repeat(256)));
    }

    fn by_the_book(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (None, Some(_)) => false,
            (Some((b'*', rest)), _) => {
                by_the_book(rest, text)
                    || text
                        .split_first()
                        .is_some_and(|(_, later)| by_the_book(pattern, later))
            }
            (Some(_), None) => false,
            (Some((b'?', rest)), Some((_, later))) => by_the_book(rest, later),
            (Some((one, rest)), Some((other, later))) => one == other && by_the_book(rest, later),
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(pattern in "[ab*?]{0,8}", text in "[ab]{0,10}") {
            let expected = by_the_book(pattern.as_bytes(), text.as_bytes());
            prop_assert_eq!(Glob::new(&pattern).covers(&text), expected);
        }
    }
}

#[cfg(test)]
mod hook_tests {
    use super::*;
    use codec::control::Tag;

    #[test]
    fn a_hook_watches_channels_by_name_and_by_a_tag_with_its_value() {
        let tag = |value: &str| Tag {
            key: "site".into(),
            value: value.into(),
        };
        let tags = |value: &str| Tags::from(vec![tag(value)]);
        let mut hook = Hook::bare("one");
        assert!(hook.watches("cam-1", &Tags::default()));
        hook.tag = Some(("site".into(), "north".into()));
        assert!(hook.watches("cam-1", &tags("north")));
        assert!(!hook.watches("cam-1", &tags("south")));
        hook.channels = Some("door-*".into());
        assert!(!hook.watches("cam-1", &tags("north")));
        assert!(hook.watches("door-1", &tags("north")));
    }
}
