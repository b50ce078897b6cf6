//! The channel and the role of a client, by the target of its upgrade.

/// A channel and a role in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The channel's name.
    pub channel: String,
    /// The client id of a viewer; `None` for a master.
    pub viewer: Option<String>,
}

impl Place {
    /// Reads path and query of an upgrade; `None` if it names no channel.
    #[must_use]
    pub fn of_target(target: &str) -> Option<Self> {
        let (_, query) = target.split_once('?')?;
        let value = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
        };
        let arn = decoded(value("X-Amz-ChannelARN")?);
        Some(Self {
            channel: arn.split('/').nth(1)?.to_owned(),
            viewer: value("X-Amz-ClientId").map(decoded),
        })
    }
}

/// Percent escapes undone; one that is none stays as it is.
fn decoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut parts = text.split('%');
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let byte = part
            .get(..2)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
            .filter(u8::is_ascii);
        match byte {
            Some(byte) => {
                out.push(char::from(byte));
                out.push_str(&part[2..]);
            }
            None => {
                out.push('%');
                out.push_str(part);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_name_channel_and_role() {
        let arn = "arn%3Aaws%3Akinesisvideo%3Aus-west-2%3A123456789012%3Achannel%2Fdemo-4%2F17";
        let master = format!("/?X-Amz-ChannelARN={arn}");
        let viewer = format!("{master}&X-Amz-ClientId=a%2Db%zz");
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
                viewer: Some("a-b%zz".into())
            })
        );
        assert_eq!(Place::of_target("/?X-Amz-ClientId=a"), None);
        assert_eq!(Place::of_target("/"), None);
    }
}
