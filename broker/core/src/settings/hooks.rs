//! Receivers of what happens on channels: `[[hook]]` and `[presence]`, and the patterns of channel names.

use crate::{record::Tags, settings::Settings};
use std::path::PathBuf;

/// A receiver of events. What is secret stays in its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Name of the hook, one among all.
    pub name: String,
    /// The address that events are posted to. `{channel}` in its path or query stands for the channel's name.
    pub url: String,
    /// Whether it gets `channel.wake`.
    pub wakes: bool,
    /// Whether it gets `channel.presence`.
    pub presence: bool,
    /// Whether it gets `node.problem`.
    pub problems: bool,
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
    /// The time after which a master is doubtful that has not confirmed a message: it is called as if it were absent.
    pub doubt_ms: u64,
    /// The time after which a doubtful master is reported gone.
    pub gone_ms: u64,
}

/// The bit of an entry of the list.
#[must_use]
pub const fn mask_of(place: usize) -> u16 {
    if place < HOOKS_MAX { 1 << place } else { 0 }
}

/// Entries of `[[hook]]` at most: a channel has one bit for each.
pub const HOOKS_MAX: usize = 16;

// Patterns of names: `*` covers any text, `?` for any one byte. Names are ASCII.

/// A pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(Box<[u8]>);

impl Glob {
    /// The pattern of this text; what is neither `*` nor `?` covers itself.
    #[must_use]
    pub fn new(pattern: &str) -> Self {
        Self(pattern.as_bytes().into())
    }

    /// The text, if it covers nothing else.
    #[must_use]
    pub fn literal(&self) -> Option<&str> {
        let plain = !self.0.iter().any(|byte| matches!(byte, b'*' | b'?'));
        std::str::from_utf8(&self.0).ok().filter(|_| plain)
    }

    /// Whether it covers the whole of `text`. At most as many steps as both lengths multiplied.
    #[must_use]
    pub fn covers(&self, text: &str) -> bool {
        covers(&self.0, text.as_bytes())
    }
}

/// [`Glob::covers`] for a borrowed pattern.
pub(crate) fn covers(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut read) = (0, 0);
    // The place of the last star, and the text behind its part so far.
    let mut star: Option<(usize, usize)> = None;
    while read < text.len() {
        let byte = pattern.get(at);
        if byte == Some(&b'*') {
            star = Some((at, read));
            at += 1;
        } else if byte == Some(&b'?') || (byte.is_some() && byte == text.get(read)) {
            (at, read) = (at + 1, read + 1);
        } else if let Some((place, taken)) = &mut star {
            // The star covers one byte more.
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
