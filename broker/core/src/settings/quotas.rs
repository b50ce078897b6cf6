//! Rates of clients, channels and accounts.

use super::Profile;

/// Rates that clients may use up. Source: KVS WebRTC service quotas; the burst is five seconds of the rate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quotas {
    /// No rate is limited.
    pub off: bool,
    /// ConnectAsMaster per channel.
    pub connect_master: Rate,
    /// ConnectAsViewer per channel.
    pub connect_viewer: Rate,
    /// SDP_OFFER per connection, and SDP_ANSWER separately.
    pub sdp: Rate,
    /// ICE_CANDIDATE per connection.
    pub ice: Rate,
    /// DescribeSignalingChannel per channel.
    pub describe: Rate,
    /// SendAlexaOfferToMaster per channel.
    pub alexa: Rate,
    /// GetIceServerConfig per channel.
    pub ice_server_config: Rate,
    /// Each operation that changes a channel, and the reading of its tags, per channel.
    pub change: Rate,
    /// CreateSignalingChannel per account.
    pub account_create: Rate,
    /// DescribeSignalingChannel per account.
    pub account_describe: Rate,
    /// GetSignalingChannelEndpoint per account.
    pub account_endpoint: Rate,
    /// ListSignalingChannels per account.
    pub account_list: Rate,
    /// Each operation that changes a channel, and the reading of its tags, per account.
    pub account_change: Rate,
    /// UpdateMediaStorageConfiguration per account.
    pub account_media_storage: Rate,
    /// SendAlexaOfferToMaster per account.
    pub account_alexa: Rate,
}

impl Quotas {
    /// The defaults of `profile`; `--dev` turns all rates off unless the profile is strict.
    #[must_use]
    pub fn of(profile: Profile, dev: bool) -> Self {
        // One account is what most servers have: its limits are those of the channels (codec/PROTOCOL.md, RATE-3).
        let of_account = |aws| match profile {
            Profile::Default => Rate::of(0),
            Profile::Strict => Rate::of(aws),
        };
        Self {
            off: dev && profile == Profile::Default,
            connect_master: Rate::of(3),
            connect_viewer: Rate::of(3),
            sdp: Rate::of(5),
            ice: Rate::of(20),
            describe: Rate::of(5),
            alexa: Rate::of(5),
            ice_server_config: Rate::of(5),
            change: Rate::of(5),
            account_create: of_account(50),
            account_describe: of_account(300),
            account_endpoint: of_account(300),
            account_list: of_account(50),
            account_change: of_account(50),
            account_media_storage: of_account(10),
            account_alexa: of_account(100),
        }
    }
}

/// A token bucket's numbers; a rate of 0 is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Tokens per second.
    pub rate: u32,
    /// Tokens of a full bucket.
    pub burst: u32,
}

impl Rate {
    fn of(rate: u32) -> Self {
        Self {
            rate,
            burst: 5 * rate,
        }
    }
}
