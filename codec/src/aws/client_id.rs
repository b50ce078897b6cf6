//! Client ids and correlation ids.

word_type! {
    /// A viewer's client id: 1 to 256 characters of `[a-zA-Z0-9_.-]`, borrowed from the text it was read in.
    ///
    /// Source: API reference, `ClientId`, `SenderClientId`; WebRTC guide, "ConnectAsViewer", `X-Amz-ClientId`.
    ClientId
}

impl ClientId<'_> {
    /// Whether the id begins with `AWS_` in any case, which viewers may not use.
    ///
    /// Source: WebRTC guide, "ConnectAsViewer".
    #[must_use]
    pub fn is_reserved(self) -> bool {
        self.0
            .get(..4)
            .is_some_and(|start| start.eq_ignore_ascii_case("AWS_"))
    }
}

word_type! {
    /// A message's correlation id: 1 to 256 characters of `[a-zA-Z0-9_.-]`. Safe to echo in JSON as it is.
    ///
    /// Source: WebRTC guide, "SendSdpOffer", `correlationId`.
    CorrelationId
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn ids_that_aws_keeps_for_itself_are_known() {
        for (id, reserved) in [
            ("AWS_x", true),
            ("aws_", true),
            ("aWs_1", true),
            ("AWS-x", false),
            ("AWS", false),
            ("xAWS_", false),
        ] {
            assert_eq!(ClientId::parse(id).unwrap().is_reserved(), reserved, "{id}");
        }
    }
}
