//! The clients' own knowledge: messages that they sent, to whom, and those that came. Shares nothing with the model.

use crate::sim::model::ConnId;
use crate::sim::socket::Role;
use std::collections::BTreeMap;

/// The clients' own knowledge: messages that they sent, to whom, and those that came. Independent of the model.
#[derive(Default)]
pub(crate) struct Ledger {
    sent: BTreeMap<String, Sent>,
    /// Per sender and recipient: the first step and the number of each first delivery.
    deliveries: BTreeMap<(ConnId, Role), Vec<(u64, u64)>>,
    /// Behind the number of the last one, per sender and connection.
    last: BTreeMap<(ConnId, ConnId), u64>,
    pub(crate) delivered: u64,
    repeats: bool,
}

struct Sent {
    number: u64,
    from: ConnId,
    role: Role,
    recipient: Option<String>,
    call: bool,
    delivered: Vec<ConnId>,
    confirmed: bool,
    repeated: bool,
}

impl Ledger {
    /// Nothing yet. `repeats`: an offer that was confirmed, and a candidate of it, may come once more.
    pub(crate) fn of(repeats: bool) -> Self {
        Self {
            repeats,
            ..Self::default()
        }
    }

    /// A client wrote a message, or a caller an offer in the name of `role`.
    pub(crate) fn wrote(
        &mut self,
        from: ConnId,
        role: Role,
        recipient: Option<String>,
        payload: &str,
        call: bool,
    ) {
        let sent = Sent {
            number: self.sent.len() as u64,
            from,
            role,
            recipient,
            call,
            delivered: Vec::new(),
            confirmed: false,
            repeated: false,
        };
        let payload = payload.replace('-', "+").replace('_', "/");
        let old = self.sent.insert(payload, sent);
        assert!(old.is_none(), "payloads are unique");
    }

    /// A client's machine has confirmed a message.
    ///
    /// # Panics
    /// When one has before: only an offer of a call goes to the next one all the same.
    pub(crate) fn confirmed(&mut self, payload: &str) {
        let sent = self.sent.get_mut(payload).expect("somebody sent it");
        let again = std::mem::replace(&mut sent.confirmed, true);
        assert!(sent.call || !again, "{payload} was confirmed twice");
    }

    /// A client got a message that a scripted fault had sent elsewhere: only its text is compared, by the model.
    pub(crate) fn misdirected(&mut self) {
        self.delivered += 1;
    }

    /// A whole message was handed to the kernel for a client, its first byte in step `begun`; `None` for one that a
    /// scripted fault may have doubled or held back.
    ///
    /// # Panics
    /// When it is not for this client, comes twice on one connection, behind its confirmation, or out of order.
    pub(crate) fn delivered(
        &mut self,
        conn: ConnId,
        role: &Role,
        begun: Option<u64>,
        text: &str,
        payload: &str,
    ) {
        let sent = self
            .sent
            .get_mut(payload)
            .unwrap_or_else(|| panic!("nobody sent {text}"));
        let lawful = match (&sent.role, role) {
            (Role::Viewer(from, sender), Role::Master(at)) => {
                from == at && text.ends_with(&format!(r#","senderClientId":"{sender}"}}"#))
            }
            (Role::Master(from), Role::Viewer(at, id)) => {
                from == at
                    && sent.recipient.as_ref() == Some(id)
                    && !text.contains("senderClientId")
            }
            (Role::Viewer(..) | Role::Master(_) | Role::Caller, _) => false,
        };
        assert!(lawful, "connection {conn} got {text}");
        let Some(begun) = begun else {
            return self.delivered += 1;
        };
        let twice = sent.delivered.contains(&conn);
        assert!(!twice, "connection {conn} got {text} twice");
        if sent.confirmed && !sent.call {
            let of_offer = [
                r#""messageType":"SDP_OFFER""#,
                r#""messageType":"ICE_CANDIDATE""#,
            ];
            let offer =
                of_offer.iter().any(|kind| text.contains(kind)) && matches!(role, Role::Master(_));
            let again = std::mem::replace(&mut sent.repeated, true);
            assert!(
                self.repeats && offer && !again,
                "{text} was confirmed before"
            );
        }
        let again = !sent.delivered.is_empty();
        sent.delivered.push(conn);
        self.delivered += 1;
        if sent.call {
            return;
        }
        let last = self.last.entry((sent.from, conn)).or_default();
        assert!(*last <= sent.number, "{text} came behind a newer one");
        *last = sent.number + 1;
        if again {
            return;
        }
        let others = self
            .deliveries
            .entry((sent.from, role.clone()))
            .or_default();
        for &(other_begun, other) in others.iter() {
            let in_order = (other < sent.number && other_begun <= begun)
                || (other > sent.number && other_begun >= begun);
            assert!(in_order, "{text} came out of order");
        }
        others.push((begun, sent.number));
    }
}
