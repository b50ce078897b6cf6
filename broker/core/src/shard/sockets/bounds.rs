//! The configured bounds of connections, in the form in which the codec takes them.

mod origins;

use crate::settings::Settings;
use codec::http::HeadLimits;
use origins::Origins;

/// The URL of the page that says why a request was refused, up to its id; `None` except in development.
fn why_url(settings: &Settings) -> Option<Box<str>> {
    let url = settings.admin_url("localhost")?;
    settings.dev.then(|| format!("{url}/#/why/").into())
}

/// The configured bounds in the form in which the codec takes them.
#[derive(Debug)]
pub(crate) struct Bounds {
    pub(crate) head: HeadLimits,
    pub(crate) frames: codec::ws::FrameRules,
    pub(crate) messages: codec::signal::MessageRules,
    pub(crate) calls: codec::control::BodyRules,
    /// This shard's part of `limits.request_bytes`.
    pub(crate) request_bytes: usize,
    pub(crate) origins: Origins,
    /// Bytes that wait for the connections of this shard.
    pub(crate) outbox_bytes: usize,
    /// In development, the page of refusals, up to their id.
    pub(crate) why_url: Option<Box<str>>,
}

impl Bounds {
    pub(crate) fn of(settings: &Settings) -> Self {
        let limits = &settings.limits;
        let strict = settings.strict();
        Self {
            head: HeadLimits {
                head_bytes: limits.head_bytes,
                header_lines: limits.header_lines,
            },
            frames: codec::ws::FrameRules {
                message_bytes: limits.message_bytes,
                fragments: crate::limits::FRAGMENTS_PER_MESSAGE_MAX,
            },
            messages: codec::signal::MessageRules {
                payload_bytes: limits.payload_bytes,
                url_safe: !strict,
                master_offers: settings.options.master_offers,
            },
            calls: codec::control::BodyRules { strict },
            request_bytes: settings.request_bytes_per_shard(),
            origins: Origins::of(settings),
            outbox_bytes: settings.outbox_bytes_of_shard(),
            why_url: why_url(settings),
        }
    }
}
