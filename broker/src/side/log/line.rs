//! The format of log entries, which have structured fields instead of sentences. Text from clients is quoted, escaped
//! and truncated.

use broker_core::journal::{
    Audit, AuditCaller, Claims, ConnectionEnd, EndReason, Entry, Forbidden, Presented, Refused,
    Superseded, UnacceptedMessage,
};
use broker_core::{event::Outcome, id::Identity, shard::Connections};
use codec::signal::{Action, Role};
use std::net::SocketAddr;
use tracing::{error, info, warn};

/// Logs an entry with the installed tracing subscriber.
///
/// Client text is recorded as `str`, since both formatters quote `str` values and escape their control characters.
pub(crate) fn write(entry: &Entry) {
    match entry {
        Entry::ConnectionEnd(end) => connection_end(end),
        Entry::Refused(refused) => write_refused(refused),
        Entry::Suppressed { refusals, .. } => {
            warn!(target: TARGET, refusals, "too many refusals to log")
        }
        Entry::EndsSuppressed { ends } => {
            warn!(target: TARGET, ends, "too many ends of connections to log")
        }
        Entry::Unaccepted(message) => write_unaccepted(message),
        Entry::Superseded(superseded) => write_superseded(superseded),
        Entry::Audit(audit) => write_audit(audit),
        Entry::Forbidden(forbidden) => write_forbidden(*forbidden),
        Entry::NodeTrouble {
            node,
            why,
            requests,
        } => {
            warn!(target: TARGET,
                node = cut(node, ID_CHARS),
                why,
                requests,
                "a node does not answer"
            );
        }
        Entry::StoreTrouble { error } => {
            error!(target: TARGET,
                error = cut(error, ERROR_CHARS),
                "the registry takes no changes"
            );
        }
    }
}

fn connection_end(end: &ConnectionEnd) {
    let ConnectionEnd {
        role,
        client_id,
        channel,
        account: _,
        remote,
        duration_ms,
        messages_in,
        messages_out,
        returned,
        offered_ms,
        answered_ms,
        reason,
        refused_by,
    } = end;
    let broken = matches!(reason, EndReason::ProtocolError(_));
    info!(
        target: TARGET,
        role = role_word(*role),
        client_id = client_id.as_deref().map(|id| cut(id, ID_CHARS)),
        channel = channel.as_deref().map(|name| cut(name, ID_CHARS)),
        %remote,
        duration_ms,
        "in" = messages_in,
        out = messages_out,
        delivered = messages_out.saturating_sub(*returned),
        returned,
        offered_ms,
        answered_ms,
        %reason,
        says = broken.then(|| reason.says()).as_deref(),
        refused_by = refused_by.as_deref().map(|by| cut(by, REFUSED_BY_CHARS)),
        "connection ended"
    );
}

fn write_forbidden(sum: Forbidden) {
    let (connections, forbidden) = (sum.connections, sum.forbidden);
    if sum.waits {
        warn!(target: TARGET,
            forbidden,
            connections,
            "new credentials refuse more than half of the open connections: they are closed from 10 s after the reload \
             on, unless another reload allows them"
        );
    } else {
        info!(target: TARGET,
            forbidden,
            connections,
            "new credentials refuse open connections: they are closed within 5 s of the reload"
        );
    }
}

fn write_unaccepted(message: &UnacceptedMessage) {
    let UnacceptedMessage {
        channel,
        account: _,
        role,
        client_id,
        remote,
        action,
        reason,
        bytes,
        most,
        unlogged,
    } = message;
    info!(
        target: TARGET,
        outcome = Outcome::of(*reason).label(),
        reason = reason.label(),
        says = &*reason.says(*bytes, *most),
        action = action.map_or("unknown", Action::as_str),
        role = role_word(*role),
        client_id = client_id.as_deref().map(|id| cut(id, ID_CHARS)),
        channel = cut(channel, ID_CHARS),
        %remote,
        unlogged,
        "message not accepted"
    );
}

fn write_superseded(superseded: &Superseded) {
    let Superseded {
        channel,
        account: _,
        role,
        client_id,
        remote,
        by,
        after_ms,
        unnamed,
        unlogged,
    } = superseded;
    if *unnamed {
        warn!(
            target: TARGET,
            channel = cut(channel, ID_CHARS),
            remote = %by,
            "connected as master: no X-Amz-ClientId"
        );
    }
    info!(
        target: TARGET,
        role = role_word(*role),
        client_id = client_id.as_deref().map(|id| cut(id, ID_CHARS)),
        channel = cut(channel, ID_CHARS),
        %remote,
        %by,
        after_ms,
        unlogged,
        "superseded"
    );
}

pub(crate) fn role_word(role: Role) -> &'static str {
    match role {
        Role::Master => "master",
        Role::Viewer => "viewer",
    }
}

fn write_refused(refused: &Refused) {
    let Refused {
        request_id,
        at: _,
        status,
        error_type,
        check,
        remote,
        proxy,
        what,
        action: _,
        claims,
        fault: _,
        explain: _,
        policy,
    } = refused;
    let Claims {
        channel,
        channel_account: _,
        client_id,
        session,
        key_id,
        principal,
        account,
        source_identity,
        clock_skew_s,
        user_agent: _,
        sign_in,
    } = claims;
    let shown = sign_in.as_deref().map(Presented::named).unwrap_or_default();
    let [certificate, thing, issuer, subject, role] =
        shown.map(|(_, text)| text.map(|text| cut(text, ARN_CHARS)));
    let said = if *status < 400 { "noticed" } else { "refused" };
    info!(
        target: TARGET,
        what,
        status,
        error_type,
        check = check.id(),
        channel = channel.as_deref().map(|name| cut(name, ID_CHARS)),
        client_id = client_id.as_deref().map(|id| cut(id, ID_CHARS)),
        session = session.as_deref().map(|name| cut(name, ID_CHARS)),
        key_id = key_id.as_deref().map(|id| cut(id, ID_CHARS)),
        principal = principal.as_deref().map(|name| cut(name, ID_CHARS)),
        account = account.as_deref(),
        source_identity = source_identity.as_deref().map(|name| cut(name, ID_CHARS)),
        certificate, thing, issuer, subject, role,
        reason = policy.as_deref().map(|text| cut(text, 2 * ARN_CHARS)),
        clock_skew_s,
        proxy,
        %remote,
        request_id = &**request_id,
        "{said}"
    );
}

fn write_audit(audit: &Audit) {
    let Audit {
        caller,
        operation,
        channel_arn,
        session,
        new_key_id,
        outcome,
        request_id,
        remote,
    } = audit;
    let caller = caller.as_deref();
    let text = |text: fn(&AuditCaller) -> Option<&str>| caller.and_then(text);
    let shown = caller
        .map(|caller| caller.sign_in.named())
        .unwrap_or_default();
    let [certificate, thing, issuer, subject, _] =
        shown.map(|(_, text)| text.map(|text| cut(text, ARN_CHARS)));
    info!(
        target: TARGET,
        caller = caller.map(|caller| cut(&caller.name, ID_CHARS)),
        account = caller.map(|caller| &*caller.account),
        key_id = text(|caller| caller.key_id.as_deref()).map(|id| cut(id, ID_CHARS)),
        source_identity = text(|caller| caller.source_identity.as_deref()).map(|name| cut(name, ID_CHARS)),
        certificate, thing, issuer, subject,
        operation,
        channel_arn = channel_arn.as_deref().map(|arn| cut(arn, ARN_CHARS)),
        session = session.as_deref().map(|name| cut(name, ID_CHARS)),
        new_key_id = new_key_id.as_deref(),
        outcome,
        request_id = &**request_id,
        %remote,
        "audit"
    );
}

pub(crate) fn disconnected(
    channel: &Identity,
    which: &Connections,
    connections: u64,
    remote: SocketAddr,
) {
    let (role, client_id) = match which {
        Connections::All => ("all", None),
        Connections::Masters => ("master", None),
        Connections::Viewers => ("viewer", None),
        Connections::Viewer(id) => ("viewer", Some(cut(id, ID_CHARS))),
    };
    info!(
        target: TARGET,
        operation = "Disconnect",
        channel = cut(channel.name(), ID_CHARS),
        role,
        client_id,
        connections,
        outcome = "ok",
        %remote,
        "audit"
    );
}

/// Logs that the operator has erased a person's data on this node. The line does not name the person.
pub(crate) fn forgotten(removed: usize, remote: SocketAddr) {
    info!(
        target: TARGET,
        operation = "Forget",
        removed,
        outcome = "ok",
        %remote,
        "audit"
    );
}

/// Logs that the operator has marked a problem as known, or has removed that mark.
pub(crate) fn marked(problem: &str, by: &str, why: Option<&str>, remote: SocketAddr) {
    info!(
        target: TARGET,
        operation = if why.is_some() { "MarkProblem" } else { "UnmarkProblem" },
        problem,
        caller = cut(by, ARN_CHARS),
        reason = why,
        outcome = "ok",
        %remote,
        "audit"
    );
}

pub(crate) fn by_account(
    (issuer, subject): (&str, &str),
    operation: &str,
    outcome: &str,
    remote: SocketAddr,
) {
    info!(
        target: TARGET,
        issuer,
        subject,
        operation = cut(operation, ARN_CHARS),
        outcome,
        %remote,
        "audit"
    );
}

pub(crate) fn cut(text: &str, chars: usize) -> &str {
    let end = text
        .char_indices()
        .nth(chars)
        .map_or(text.len(), |(at, _)| at);
    text.get(..end).unwrap_or_default()
}

pub(crate) const TARGET: &str = "broker::journal";
const ID_CHARS: usize = 64;
/// Maximum number of characters to show, in a log line, from an ARN or from a request's method and path. Enough for an
/// ARN with a channel name of up to 190 characters.
const ARN_CHARS: usize = 256;
/// Maximum number of characters to show, in a log line, from the list of policies that refused a connection.
const REFUSED_BY_CHARS: usize = 256;
const ERROR_CHARS: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use broker_core::id::Account;
    use broker_core::journal::Unaccepted;
    use codec::ws::{Excess, FrameError};
    use std::io;
    use std::sync::mpsc::{Sender, channel};
    use tracing::subscriber::with_default;

    struct Taken(Sender<Vec<u8>>);

    impl io::Write for Taken {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Returns the line of an entry in both formats.
    fn lines(entry: &Entry) -> [String; 2] {
        let (to, from) = channel();
        let writer = move || Taken(to.clone());
        let lines = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(writer.clone());
        with_default(lines.finish(), || write(entry));
        let lines = tracing_subscriber::fmt().with_writer(writer).json();
        with_default(lines.finish(), || write(entry));
        let mut all = from.try_iter().map(|line| String::from_utf8(line).unwrap());
        [all.next().unwrap(), all.next().unwrap()]
    }

    fn ended(client_id: &str, reason: EndReason) -> Entry {
        Entry::ConnectionEnd(ConnectionEnd {
            role: Role::Viewer,
            client_id: Some(client_id.into()),
            channel: Some("demo".into()),
            account: Account(1),
            remote: ([127, 0, 0, 1], 9).into(),
            duration_ms: 1234,
            messages_in: 2,
            messages_out: 3,
            returned: 0,
            offered_ms: Some(4),
            answered_ms: None,
            reason,
            refused_by: (reason == EndReason::Forbidden).then(|| "camera, statement 1".into()),
        })
    }

    #[test]
    fn a_connection_leaves_a_line_of_fields() {
        let [text, json] = lines(&ended("v1", EndReason::SlowConsumer));
        #[rustfmt::skip] // a list
        let cases = [
            "role=\"viewer\"", "client_id=\"v1\"", "channel=\"demo\"", "remote=127.0.0.1:9", "duration_ms=1234", "in=2",
            "out=3", "offered_ms=4", "reason=slow_consumer",
        ];
        for field in cases {
            assert!(text.contains(field), "{field}: {text}");
        }
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["level"], "INFO");
        let fields = &json["fields"];
        assert_eq!(fields["in"], 2);
        assert_eq!(fields["role"], "viewer");
        assert_eq!(fields["reason"], "slow_consumer");
        assert_eq!(fields["offered_ms"], 4);
        assert!(!text.contains("says"), "{text}");
        assert!(!text.contains("answered_ms") && fields.get("answered_ms").is_none());
    }

    #[test]
    fn a_broken_protocol_is_said_in_words() {
        let error = FrameError::MessageTooBig(Excess::new(70_112, 65_536));
        let [text, _] = lines(&ended("v1", EndReason::ProtocolError(error)));
        let wanted = "says=\"a message of 70,112 bytes; expected at most 65,536\"";
        testkit::assert_has(&text, &[wanted, "reason=protocol_error:1009"]);
    }

    #[test]
    fn a_message_that_is_not_accepted_leaves_its_reason() {
        let [text, json] = lines(&Entry::Unaccepted(Box::new(UnacceptedMessage {
            channel: "demo".into(),
            account: Account(1),
            role: Role::Viewer,
            client_id: Some("v1".into()),
            remote: ([127, 0, 0, 1], 9).into(),
            action: None,
            reason: Unaccepted::TooLong,
            bytes: 40_112,
            most: 32_768,
            unlogged: 3,
        })));
        for field in [
            "message not accepted",
            "outcome=\"refused\"",
            "reason=\"too_long\"",
            "says=\"messagePayload of 40,112 characters; expected at most 32,768\"",
            "client_id=\"v1\"",
            "unlogged=3",
        ] {
            assert!(text.contains(field), "{field}: {text}");
        }
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["fields"]["action"], "unknown");
    }

    #[test]
    fn a_connection_whose_place_was_taken_leaves_both_addresses() {
        let [text, json] = lines(&Entry::Superseded(Box::new(Superseded {
            channel: "demo".into(),
            account: Account(1),
            role: Role::Master,
            client_id: None,
            remote: ([127, 0, 0, 1], 9).into(),
            by: ([127, 0, 0, 2], 7).into(),
            after_ms: 5_000,
            unnamed: false,
            unlogged: 0,
        })));
        for field in ["remote=127.0.0.1:9", "by=127.0.0.2:7", "after_ms=5000"] {
            assert!(text.contains(field), "{field}: {text}");
        }
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["fields"]["message"], "superseded");
    }

    #[test]
    fn wire_texts_cannot_begin_a_line_or_a_terminal_sequence() {
        let wild = "v\r\nINFO forged\x1b[2J\0\x7f\u{9b}1m\"end";
        for line in lines(&ended(wild, EndReason::PeerGone)) {
            let line = line.strip_suffix('\n').unwrap();
            let raw = |c: char| c < ' ' || ('\x7f'..='\u{9f}').contains(&c) && c != '\u{9b}';
            assert!(!line.contains(|c| c < ' '), "{line:?}");
            assert!(
                !line.starts_with('{') || serde_json::from_str::<serde_json::Value>(line).is_ok()
            );
            assert!(line.starts_with('{') || !line.contains(raw), "{line:?}");
        }
        let audit = Entry::Audit(Audit {
            caller: Some(Box::new(AuditCaller {
                name: wild.into(),
                source_identity: Some(wild.into()),
                ..AuditCaller::default()
            })),
            operation: "DeleteSignalingChannel",
            channel_arn: Some(wild.into()),
            session: Some(wild.into()),
            new_key_id: Some(wild.into()),
            outcome: "ok",
            request_id: "id".into(),
            remote: ([127, 0, 0, 1], 9).into(),
        });
        for line in lines(&audit) {
            assert!(
                !line.trim_end_matches('\n').contains(|c| c < ' '),
                "{line:?}"
            );
        }
    }

    #[test]
    fn ids_are_cut_at_64_characters() {
        let [text, _] = lines(&ended(&"ä".repeat(65), EndReason::Age));
        assert_eq!(text.matches('ä').count(), 64, "{text}");
    }
}
