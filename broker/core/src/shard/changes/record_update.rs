//! The record of a channel after an alteration.

use crate::check::Check;
use crate::record::{Record, Version};
use crate::shard::{Alteration, Fault};
use codec::control::{ErrorKind, TAGS_MAX, Tag};

/// The record that an alteration makes of another; `None` when the channel ends.
pub(crate) fn altered(
    record: &Record,
    alteration: Alteration,
    version: impl FnOnce() -> Version,
) -> Result<Option<Record>, Fault> {
    let mut next = record.clone();
    match alteration {
        Alteration::Update(current, ttl_seconds) => {
            check_version(record, Some(&current))?;
            next.ttl_seconds = ttl_seconds;
            next.version = version();
        }
        Alteration::Tag(tags) => {
            let mut all = next.tags.into_vec();
            for tag in tags {
                set_tag(&mut all, tag);
            }
            next.tags = all.into();
            if next.tags.len() > TAGS_MAX {
                let message = format!("A channel has at most {TAGS_MAX} tags.");
                let kind = ErrorKind::TagsPerResourceExceededLimit;
                return Err(Fault::new(Check::TagsFull, kind, message));
            }
        }
        Alteration::Untag(keys) => {
            let mut left = next.tags.into_vec();
            left.retain(|tag| !keys.contains(&tag.key));
            next.tags = left.into();
        }
        Alteration::Delete(version) => {
            check_version(record, version.as_deref())?;
            return Ok(None);
        }
    }
    Ok(Some(next))
}

fn set_tag(tags: &mut Vec<Tag>, tag: Tag) {
    match tags.iter_mut().find(|old| old.key == tag.key) {
        Some(old) => old.value = tag.value,
        None => tags.push(tag),
    }
}

fn check_version(record: &Record, version: Option<&str>) -> Result<(), Fault> {
    if version.is_none_or(|version| version == record.version.as_str()) {
        return Ok(());
    }
    let message = "CurrentVersion is not the version of the channel. Describe it again.";
    let check = Check::ChannelVersionStale;
    Err(Fault::new(check, ErrorKind::VersionMismatch, message))
}
