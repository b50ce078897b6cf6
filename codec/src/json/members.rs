//! The known members of a message, and the places of their values.

/// A part of a text, in bytes. Always within the text it was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// Offset of the first byte.
    pub(crate) start: usize,
    /// Offset behind the last byte.
    pub(crate) end: usize,
}

impl Span {
    /// Whether nothing is in it.
    pub(crate) const fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// The bytes; empty for a text it was not made for.
    pub(crate) fn of(self, text: &[u8]) -> &[u8] {
        text.get(self.start..self.end).unwrap_or_default()
    }
}

/// The value of a known member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Member {
    /// Not there, or null, which means the same.
    #[default]
    Absent,
    /// A string, unescaped.
    Text(Span),
    /// A number, boolean, array or object.
    Other,
}

/// The members that the service knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemberName {
    Action,
    Payload,
    Recipient,
    Correlation,
}

impl MemberName {
    /// The known member of a name: the first letter in either case, the rest exact.
    pub(crate) fn of(name: &[u8]) -> Option<Self> {
        match name {
            [b'a' | b'A', b'c', b't', b'i', b'o', b'n'] => Some(Self::Action),
            [b'm' | b'M', rest @ ..] if rest == PAYLOAD_TAIL => Some(Self::Payload),
            [b'r' | b'R', rest @ ..] if rest == RECIPIENT_TAIL => Some(Self::Recipient),
            [b'c' | b'C', rest @ ..] if rest == CORRELATION_TAIL => Some(Self::Correlation),
            _ => None,
        }
    }
}

/// The known members of one message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Members {
    pub(crate) action: Member,
    pub(crate) payload: Member,
    pub(crate) recipient: Member,
    pub(crate) correlation: Member,
    /// The payload is known to be well-formed base64 of the standard alphabet; saves the check of its alphabet. Means
    /// nothing when `twice` is set, for then it may be the other one.
    pub(crate) payload_proven: bool,
    /// Some known member occurs twice, in whatever spelling, null or not.
    pub(crate) twice: bool,
    /// The correlation id is one of them, so that none of the two can be echoed.
    pub(crate) correlation_twice: bool,
    /// Which members were seen, a bit for each [`MemberName`].
    seen: u8,
}

impl Members {
    /// Adds a member.
    pub(crate) fn set(&mut self, key: MemberName, value: Member) {
        let bit = 1 << key as u8;
        if self.seen & bit != 0 {
            self.twice = true;
            self.correlation_twice |= key == MemberName::Correlation;
            return;
        }
        self.seen |= bit;
        *match key {
            MemberName::Action => &mut self.action,
            MemberName::Payload => &mut self.payload,
            MemberName::Recipient => &mut self.recipient,
            MemberName::Correlation => &mut self.correlation,
        } = value;
    }
}

const PAYLOAD_TAIL: &[u8] = b"essagePayload";
const RECIPIENT_TAIL: &[u8] = b"ecipientClientId";
const CORRELATION_TAIL: &[u8] = b"orrelationId";

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn only_the_first_letter_is_folded() {
        for (name, key) in [
            ("action", Some(MemberName::Action)),
            ("Action", Some(MemberName::Action)),
            ("messagePayload", Some(MemberName::Payload)),
            ("MessagePayload", Some(MemberName::Payload)),
            ("recipientClientId", Some(MemberName::Recipient)),
            ("RecipientClientId", Some(MemberName::Recipient)),
            ("correlationId", Some(MemberName::Correlation)),
            ("CorrelationId", Some(MemberName::Correlation)),
            ("ACTION", None),
            ("actionx", None),
            ("actio", None),
            ("messagepayload", None),
            ("correlationID", None),
            ("senderClientId", None),
            ("", None),
        ] {
            assert_eq!(MemberName::of(name.as_bytes()), key, "{name}");
        }
    }

    #[test]
    fn a_second_value_is_noticed_and_not_taken() {
        let mut members = Members::default();
        members.set(MemberName::Action, Member::Absent);
        assert!(!members.twice);
        members.set(MemberName::Action, Member::Other);
        assert!(members.twice && members.action == Member::Absent && !members.correlation_twice);
        members.set(MemberName::Correlation, Member::Other);
        members.set(MemberName::Correlation, Member::Absent);
        assert!(members.correlation_twice && members.correlation == Member::Other);
    }
}
