//! The words of clients: requests and frames, each with its meaning. The bytes are the codec's client side or made by
//! hand.

use crate::shard_transcripts::words;
use broker_core::journal::Unaccepted;
use codec::control::Operation;
use codec::signal::Action;
use codec::ws::{self, Opcode};

/// One whole thing that a client writes.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    /// A WebSocket upgrade: as a viewer, or as the master.
    Upgrade {
        /// The channel's ARN.
        arn: String,
        /// The viewer's id.
        viewer: Option<String>,
        /// Whether it offers the subprotocol `wss`.
        wss: bool,
    },
    /// The head of a call; its body follows.
    Head,
    /// A call's body.
    Body(Call),
    /// A whole request to a path that does not exist.
    Lost,
    /// The same from a page of a foreign origin.
    Foreign,
    /// A text message.
    Message(Text),
    /// A text message of no bytes.
    Empty,
    /// A ping with its payload.
    Ping(Vec<u8>),
    /// A pong with its payload.
    Pong(Vec<u8>),
    /// A close frame with its code, 0 for none.
    Close(u16),
    /// A violation that ends the connection with this code and reason.
    Bad(u16, &'static str),
}

/// An API call.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    /// CreateSignalingChannel.
    Create(String, u32, Vec<(String, String)>),
    /// DescribeSignalingChannel by name.
    DescribeName(String),
    /// DescribeSignalingChannel by ARN.
    DescribeArn(String),
    /// DeleteSignalingChannel, with a version or with none.
    Delete(String, Option<String>),
    /// UpdateSignalingChannel, with a version.
    Update(String, String, u32),
    /// TagResource.
    Tag(String, Vec<(String, String)>),
    /// UntagResource.
    Untag(String, Vec<String>),
    /// ListTagsForResource.
    Tags(String),
    /// DescribeMediaStorageConfiguration by ARN, or by name.
    Storage(String, bool),
    /// UpdateMediaStorageConfiguration, to enable or disable it.
    UpdateStorage(String, bool),
    /// JoinStorageSession, or as a viewer.
    Join(String, bool),
    /// DescribeMappedResourceConfiguration.
    Mapped,
    /// ListSignalingChannels with this prefix and at most this many.
    List(String, usize),
    /// GetSignalingChannelEndpoint.
    Endpoint(String),
    /// GetIceServerConfig.
    Ice(String),
    /// SendAlexaOfferToMaster.
    Alexa(Offer),
    /// A body that is no JSON.
    Broken,
    /// A body without what it must have.
    Missing,
}

/// The body of SendAlexaOfferToMaster.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    /// The channel.
    pub(crate) arn: String,
    /// The sender's id.
    pub(crate) sender: String,
    /// The offer.
    pub(crate) payload: String,
}

/// A signaling message as it is meant.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    /// `None`: an action that does not exist.
    pub(crate) action: Option<Action>,
    /// As sent.
    pub(crate) payload: String,
    /// The recipient that a master means.
    pub(crate) recipient: Option<String>,
    /// The id of responses to faults.
    pub(crate) correlation: Option<String>,
    /// The form of its JSON.
    pub(crate) shape: Shape,
    /// The rule that it breaks.
    pub(crate) fault: Option<Unaccepted>,
}

/// The form of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// As the JavaScript SDK does.
    Plain,
    /// As the C SDK does: other spelling, white space, TURN servers.
    Spaced,
    /// In two fragments with a ping's worth of nothing between.
    Fragments,
    /// A member twice.
    Twice,
    /// A number where a string is due.
    WrongType,
    /// No JSON at all.
    Broken,
}

impl Piece {
    /// Appends its bytes. `mask` is the key of a frame.
    pub(crate) fn write(&self, out: &mut Vec<u8>, mask: [u8; 4]) {
        match self {
            Self::Upgrade { arn, viewer, wss } => upgrade(out, arn, viewer.as_deref(), *wss),
            Self::Head => panic!("a head is written with its body"),
            Self::Body(call) => out.extend_from_slice(call.body().as_bytes()),
            Self::Lost => out.extend_from_slice(
                b"POST /nowhere HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
            ),
            Self::Foreign => out.extend_from_slice(
                b"POST /nowhere HTTP/1.1\r\nHost: h\r\nOrigin: https://evil.example\r\nContent-Length: 0\r\n\r\n",
            ),
            Self::Message(text) => text.write(out, mask),
            Self::Empty => ws::frame_masked(out, Opcode::Text, b"", mask),
            Self::Ping(payload) => ws::frame_masked(out, Opcode::Ping, payload, mask),
            Self::Pong(payload) => ws::frame_masked(out, Opcode::Pong, payload, mask),
            Self::Close(0) => ws::frame_masked(out, Opcode::Close, b"", mask),
            Self::Close(code) => ws::close_frame_masked(out, *code, "bye", mask),
            Self::Bad(1002, _) => ws::frame(out, Opcode::Text, b"unmasked"),
            Self::Bad(1003, _) => ws::frame_masked(out, Opcode::Binary, b"binary", mask),
            Self::Bad(1007, _) => ws::frame_masked(out, Opcode::Text, b"\xff\xfe", mask),
            Self::Bad(..) => {
                out.extend_from_slice(&[0x81, 0xff, 0, 0, 0, 0, 0, 0xff, 0, 0, 1, 2, 3, 4]);
            }
        }
    }
}

fn upgrade(out: &mut Vec<u8>, arn: &str, viewer: Option<&str>, wss: bool) {
    out.extend(words::upgrade(arn, viewer));
    if wss {
        out.truncate(out.len() - 2);
        out.extend_from_slice(b"Sec-WebSocket-Protocol: wss\r\n\r\n");
    }
}

impl Call {
    /// The operation that it asks for.
    pub(crate) fn operation(&self) -> Operation {
        match self {
            Self::Create(..) | Self::Broken | Self::Missing => Operation::CreateSignalingChannel,
            Self::DescribeName(_) | Self::DescribeArn(_) => Operation::DescribeSignalingChannel,
            Self::Delete(..) => Operation::DeleteSignalingChannel,
            Self::Update(..) => Operation::UpdateSignalingChannel,
            Self::Tag(..) => Operation::TagResource,
            Self::Untag(..) => Operation::UntagResource,
            Self::Tags(_) => Operation::ListTagsForResource,
            Self::Storage(..) => Operation::DescribeMediaStorageConfiguration,
            Self::UpdateStorage(..) => Operation::UpdateMediaStorageConfiguration,
            Self::Join(_, false) => Operation::JoinStorageSession,
            Self::Join(_, true) => Operation::JoinStorageSessionAsViewer,
            Self::Mapped => Operation::DescribeMappedResourceConfiguration,
            Self::List(..) => Operation::ListSignalingChannels,
            Self::Endpoint(_) => Operation::GetSignalingChannelEndpoint,
            Self::Ice(_) => Operation::GetIceServerConfig,
            Self::Alexa(_) => Operation::SendAlexaOfferToMaster,
        }
    }

    /// Appends the head of the call.
    pub(crate) fn write_head(&self, out: &mut Vec<u8>) {
        let length = self.body().len();
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nContent-Type: application/json\r\nContent-Length: \
             {length}\r\n\r\n",
            self.operation().path()
        );
        out.extend_from_slice(head.as_bytes());
    }

    fn body(&self) -> String {
        match self {
            Self::Create(name, ttl, tags) => format!(
                r#"{{"ChannelName":"{name}","SingleMasterConfiguration":{{"MessageTtlSeconds":{ttl}}},"Tags":[{}]}}"#,
                json(tags)
            ),
            Self::DescribeName(name) => format!(r#"{{"ChannelName":"{name}"}}"#),
            Self::DescribeArn(arn)
            | Self::Ice(arn)
            | Self::Delete(arn, None)
            | Self::Storage(arn, false) => format!(r#"{{"ChannelARN":"{arn}"}}"#),
            Self::Storage(name, true) => format!(r#"{{"ChannelName":"{name}"}}"#),
            Self::Delete(arn, Some(version)) => {
                format!(r#"{{"ChannelARN":"{arn}","CurrentVersion":"{version}"}}"#)
            }
            Self::Update(arn, version, ttl) => format!(
                r#"{{"ChannelARN":"{arn}","CurrentVersion":"{version}","SingleMasterConfiguration":{{"MessageTtlSeconds":{ttl}}}}}"#
            ),
            Self::Tag(arn, tags) => {
                format!(r#"{{"ResourceARN":"{arn}","Tags":[{}]}}"#, json(tags))
            }
            Self::Untag(arn, keys) => format!(
                r#"{{"ResourceARN":"{arn}","TagKeyList":["{}"]}}"#,
                keys.join(r#"",""#)
            ),
            Self::Tags(arn) => format!(r#"{{"ResourceARN":"{arn}"}}"#),
            Self::UpdateStorage(arn, false) => format!(
                r#"{{"ChannelARN":"{arn}","MediaStorageConfiguration":{{"Status":"DISABLED"}}}}"#
            ),
            Self::UpdateStorage(arn, true) => format!(
                r#"{{"ChannelARN":"{arn}","MediaStorageConfiguration":{{"Status":"ENABLED","StreamARN":"arn:aws:kinesisvideo:us-west-2:123456789012:stream/s/1"}}}}"#
            ),
            Self::Join(arn, false) => format!(r#"{{"channelArn":"{arn}"}}"#),
            Self::Join(arn, true) => format!(r#"{{"channelArn":"{arn}","clientId":"v"}}"#),
            Self::Mapped => r#"{"StreamName":"s"}"#.to_owned(),
            Self::List(prefix, most) if prefix.is_empty() => format!(r#"{{"MaxResults":{most}}}"#),
            Self::List(prefix, most) => format!(
                r#"{{"MaxResults":{most},"ChannelNameCondition":{{"ComparisonOperator":"BEGINS_WITH","ComparisonValue":"{prefix}"}}}}"#
            ),
            Self::Endpoint(arn) => format!(
                r#"{{"ChannelARN":"{arn}","SingleMasterChannelEndpointConfiguration":{{"Protocols":["WSS","HTTPS"],"Role":"MASTER"}}}}"#
            ),
            Self::Alexa(offer) => format!(
                r#"{{"ChannelARN":"{}","SenderClientId":"{}","MessagePayload":"{}"}}"#,
                offer.arn, offer.sender, offer.payload
            ),
            Self::Broken => r#"{"ChannelName":"#.to_owned(),
            Self::Missing => "{}".to_owned(),
        }
    }
}

fn json(tags: &[(String, String)]) -> String {
    let tag = |(key, value): &(String, String)| format!(r#"{{"Key":"{key}","Value":"{value}"}}"#);
    tags.iter().map(tag).collect::<Vec<_>>().join(",")
}

impl Text {
    fn write(&self, out: &mut Vec<u8>, mask: [u8; 4]) {
        let text = self.json();
        if self.shape != Shape::Fragments {
            return ws::frame_masked(out, Opcode::Text, text.as_bytes(), mask);
        }
        let (first, second) = text.as_bytes().split_at(text.len() / 2);
        for (opcode, part) in [(0x01, first), (0x80, second)] {
            let mut frame = Vec::new();
            ws::frame_masked(&mut frame, Opcode::Text, part, mask);
            frame[0] = opcode;
            out.extend_from_slice(&frame);
        }
    }

    fn json(&self) -> String {
        let action = self.action.map_or("SDP_NONSENSE", Action::as_str);
        let (open, colon, comma, close) = match self.shape {
            Shape::Spaced => ("{\n\t", ": ", ",\n\t", "\n}"),
            Shape::Plain | Shape::Fragments | Shape::Twice | Shape::WrongType | Shape::Broken => {
                ("{", ":", ",", "}")
            }
        };
        let big = self.shape == Shape::Spaced;
        let name = |small: &'static str, capital: &'static str| if big { capital } else { small };
        let mut members = vec![format!(r#""action"{colon}"{action}""#)];
        if let Some(recipient) = &self.recipient {
            members.push(format!(
                r#""{}"{colon}"{recipient}""#,
                name("recipientClientId", "RecipientClientId")
            ));
        }
        if let Some(correlation) = &self.correlation {
            members.push(format!(
                r#""{}"{colon}"{correlation}""#,
                name("correlationId", "CorrelationId")
            ));
        }
        let payload = name("messagePayload", "MessagePayload");
        members.push(format!(r#""{payload}"{colon}"{}""#, self.payload));
        match self.shape {
            Shape::Spaced => members.push(
                r#""IceServerList": [{"Password":"p","Ttl":300,"Uris":["turn:x"],"Username":"u"}]"#
                    .to_owned(),
            ),
            Shape::Twice => members.push(r#""Action":"SDP_OFFER""#.to_owned()),
            Shape::WrongType => {
                members.pop();
                members.push(r#""messagePayload":7"#.to_owned());
            }
            Shape::Broken => return "{\"action\":\"SDP_OFFER\",".to_owned(),
            Shape::Plain | Shape::Fragments => {}
        }
        format!("{open}{}{close}", members.join(comma))
    }
}
