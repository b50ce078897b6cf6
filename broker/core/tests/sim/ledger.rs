//! The clients' own knowledge: messages that they sent, to whom, and those that came. Shares nothing with the model.

use crate::sim::model::ConnId;
use crate::sim::socket::Role;
use std::collections::BTreeMap;

/// The clients' own knowledge: messages that they sent, to whom, and those that came. Independent of the model.
#[derive(Default)]
pub(crate) struct Ledger {
    sent: BTreeMap<String, Sent>,
    /// Per sender and recipient: the first step and the number of each delivery.
    deliveries: BTreeMap<(ConnId, Role), Vec<(u64, u64)>>,
    pub(crate) delivered: u64,
}

struct Sent {
    number: u64,
    from: ConnId,
    role: Role,
    recipient: Option<String>,
    call: bool,
    delivered: Vec<ConnId>,
}

impl Ledger {
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
        };
        let payload = payload.replace('-', "+").replace('_', "/");
        let old = self.sent.insert(payload, sent);
        assert!(old.is_none(), "payloads are unique");
    }

    /// A client got a message that a scripted fault had sent elsewhere: only its text is compared, by the model.
    pub(crate) fn misdirected(&mut self) {
        self.delivered += 1;
    }

    /// A client got a whole message, whose first byte was taken in step `begun`; `None` for one that a scripted fault
    /// may have doubled or held back.
    ///
    /// # Panics
    /// When it is not for this client, comes twice, or out of order.
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
        assert!(!sent.delivered.contains(&conn), "twice on one connection");
        assert!(sent.call || sent.delivered.is_empty(), "delivered twice");
        sent.delivered.push(conn);
        self.delivered += 1;
        if sent.call {
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
