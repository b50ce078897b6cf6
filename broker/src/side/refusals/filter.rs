//! Which refusals are wanted, as `/refusals` is asked for them.

use crate::side::admin::answer::Fault;
use crate::side::admin::request::moment;
use broker_core::check::Check;
use broker_core::journal::{Presented, Refused};
use broker_core::limits::LIST_PAGE_MAX;
use broker_core::time::Wall;
use codec::http::{decode, pairs};
use codec::identifiers::ChannelArn;
use std::net::{IpAddr, SocketAddr};

/// Which refusals are wanted. All that is named must fit.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    id: Option<String>,
    channel: Option<String>,
    client: Option<String>,
    key: Option<String>,
    remote: Option<IpAddr>,
    check: Option<Check>,
    since: Option<Wall>,
    /// A part of any name, id or address, in any case.
    text: Option<String>,
    /// Those before this number, which the page before names.
    pub(crate) before: Option<u64>,
    pub(crate) limit: Option<usize>,
}

impl Filter {
    pub(crate) fn parse(query: &str) -> Result<Self, Fault> {
        let mut filter = Self::default();
        for (name, text) in pairs(query) {
            let decoded =
                decode(text).map_err(|_| Fault::bad("the query is not percent-encoded UTF-8"))?;
            let text = decoded.into_owned();
            if text.is_empty() {
                continue;
            }
            match name {
                "id" => filter.id = Some(plain_id(&text)),
                "channel" => filter.channel = Some(channel_name(text)),
                "client" => filter.client = Some(text),
                "key" => filter.key = Some(text),
                "remote" => filter.remote = Some(address(&text).ok_or(BAD_REMOTE)?),
                "check" => filter.check = Some(text.parse().map_err(|_| BAD_CHECK)?),
                "since" => filter.since = Some(moment(&text).ok_or(BAD_SINCE)?),
                "text" => filter.text = Some(text.to_lowercase()),
                "before" => filter.before = Some(text.parse().map_err(|_| BAD_BEFORE)?),
                "limit" => {
                    let limit = text.parse().ok();
                    let limit = limit.filter(|limit| (1..=LIST_PAGE_MAX).contains(limit));
                    filter.limit = Some(limit.ok_or(BAD_LIMIT)?);
                }
                _ => return Err(BAD_NAME),
            }
        }
        Ok(filter)
    }

    pub(crate) fn fits(&self, refused: &Refused) -> bool {
        let text = |wanted: &Option<String>, found: &Option<Box<str>>| {
            wanted.is_none() || wanted.as_deref() == found.as_deref()
        };
        let id = self.id.as_deref();
        let remote = refused.remote.ip().to_canonical();
        id.is_none_or(|id| id == &*refused.request_id)
            && text(&self.channel, &refused.claims.channel)
            && text(&self.client, &refused.claims.client_id)
            && text(&self.key, &refused.claims.key_id)
            && self.remote.is_none_or(|wanted| wanted == remote)
            && self.check.is_none_or(|check| check == refused.check)
            && self.since.is_none_or(|since| refused.at >= since)
            && self.has_text(refused)
    }

    /// Whether a group fits by its check, and the newest refusal that was noted of it.
    pub(crate) fn fits_group(&self, check: Check, newest: Option<&Refused>) -> bool {
        match newest {
            Some(refused) => self.fits(refused),
            None => {
                let others = Self {
                    check: self.check,
                    limit: self.limit,
                    ..Self::default()
                };
                *self == others && self.check.is_none_or(|wanted| wanted == check)
            }
        }
    }

    /// Whether the text is a part of what the refusal names.
    fn has_text(&self, refused: &Refused) -> bool {
        let Some(part) = &self.text else { return true };
        let claims = &refused.claims;
        let names = [
            &claims.channel,
            &claims.client_id,
            &claims.session,
            &claims.key_id,
            &claims.principal,
        ];
        let has = |name: &str| name.to_lowercase().contains(part);
        let shown = claims.sign_in.as_deref().map(Presented::named);
        let mut shown = shown.into_iter().flatten().filter_map(|(_, text)| text);
        names.into_iter().flatten().any(|name| has(name))
            || shown.any(has)
            || refused.policy.as_deref().is_some_and(has)
            || has(refused.check.id())
            || has(&refused.request_id)
            || refused.remote.to_string().contains(part)
    }
}

/// An id as people paste it.
pub(crate) fn plain_id(text: &str) -> String {
    text.trim().to_ascii_lowercase()
}

/// A channel by its name, or by its ARN.
fn channel_name(text: String) -> String {
    match ChannelArn::parse(&text, false) {
        Ok(arn) => arn.name().to_owned(),
        Err(_) => text,
    }
}

/// An address, with a port or without.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let socket = || text.parse().ok().map(|socket: SocketAddr| socket.ip());
    let address = bare.parse().ok().or_else(socket)?;
    Some(IpAddr::to_canonical(&address))
}

const BAD_NAME: Fault = Fault::bad(
    "allowed parameters: id, channel, client, key, remote, check, text, since, before, limit",
);
const BAD_BEFORE: Fault = Fault::bad("before: must be the number that the page before has as next");
const BAD_LIMIT: Fault = Fault::bad("limit: allowed 1 to 1000");
const BAD_REMOTE: Fault = Fault::bad("remote: must be an IP address");
const BAD_CHECK: Fault = Fault::bad(
    "check: must be an id of the table in deploy/REFUSALS.md, such as signature_expired",
);
const BAD_SINCE: Fault = Fault::bad("since: must be a moment in UTC, such as 2026-01-02T03:04:05Z");

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn an_arn_is_as_good_as_the_name() {
        let arn = "arn%3Aaws%3Akinesisvideo%3Aus-west-2%3A123456789012%3Achannel%2Fcam-1%2F17";
        let filter = Filter::parse(&format!("channel={arn}")).unwrap();
        assert_eq!(filter.channel.as_deref(), Some("cam-1"));
    }

    #[test]
    fn a_part_of_any_name_fits() {
        let (check, from) = (Check::SignatureMismatch, ([10, 7, 0, 1], 9).into());
        let mut refused = Refused::unread("0-1f", Wall(1), 403, "E", check, from);
        refused.claims.channel = Some("Porch-17".into());
        refused.claims.principal = Some("fleet".into());
        for (part, fits) in [
            ("ORCH-1", true),
            ("lee", true),
            ("mismatch", true),
            ("10.7.0", true),
            ("0-1F", true),
            ("garage", false),
        ] {
            let filter = Filter::parse(&format!("text={part}")).unwrap();
            assert_eq!(filter.fits(&refused), fits, "{part}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_is_allowed() {
        for query in [
            "remote=x",
            "remote=10.0.0",
            "check=nonsense",
            "check=Draining",
            "since=yesterday",
            "since=2026-01-02T03:04:05%2B01:00",
            "limit=0",
            "limit=1001",
            "limit=x",
            "before=x",
            "channel=%FF",
            "chanel=x",
        ] {
            let Fault(code, text) = Filter::parse(query).unwrap_err();
            assert_eq!(code, 400);
            assert!(
                ["allowed", "must be", "UTF-8"]
                    .iter()
                    .any(|it| text.contains(it)),
                "{query}: {text}"
            );
        }
    }
}
