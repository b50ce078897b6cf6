//! The channel and role of a client, parsed from the request target of its upgrade.

use codec::http::{decode, pairs};

/// The channel and role of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Name of the channel.
    pub channel: String,
    /// Client id of a viewer, or `None` for a master.
    pub viewer: Option<String>,
}

impl Place {
    /// Parses the path and query of an upgrade. Returns `None` if they do not name a channel.
    #[must_use]
    pub fn of_target(target: &str) -> Option<Self> {
        let (_, query) = target.split_once('?')?;
        let value = |name: &str| pairs(query).find(|(key, _)| *key == name);
        let (_, arn) = value("X-Amz-ChannelARN")?;
        let viewer = value("X-Amz-ClientId").map(|(_, id)| decode(id));
        Some(Self {
            channel: decode(arn).ok()?.split('/').nth(1)?.to_owned(),
            viewer: viewer.transpose().ok()?.map(String::from),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_name_channel_and_role() {
        let arn = "arn%3Aaws%3Akinesisvideo%3Aus-west-2%3A123456789012%3Achannel%2Fdemo-4%2F17";
        let master = format!("/?X-Amz-ChannelARN={arn}");
        let viewer = format!("{master}&X-Amz-ClientId=a%2Db");
        let channel = "demo-4".to_owned();
        assert_eq!(
            Place::of_target(&master),
            Some(Place {
                channel: channel.clone(),
                viewer: None
            })
        );
        assert_eq!(
            Place::of_target(&viewer),
            Some(Place {
                channel,
                viewer: Some("a-b".into())
            })
        );
        assert_eq!(Place::of_target("/?X-Amz-ClientId=a"), None);
        assert_eq!(Place::of_target("/"), None);
    }
}
