//! Permissions: policies are checked before anything is revealed of a channel. See codec/PROTOCOL.md, AUTH.

use crate::auth::Caller;
use crate::channel::Life;
use crate::check::Check;
use crate::id::{CallerId, Identity};
use crate::shard::books::Books;
use crate::shard::calls::refusals::absent;
use crate::shard::directory::Directory;
use crate::shard::{Answer, Fault};
use codec::aws::ChannelArn;
use codec::aws::policy::Action;
use codec::control::{Call, Operation, StreamSelector};

impl Directory {
    /// Refuses a call that its caller may not make, or whose channel cannot exist for them; `None` lets it pass. A
    /// channel that is named is judged where it lives, by [`Directory::forbids_named`].
    pub(in crate::shard) fn forbids(
        &self,
        books: &mut Books,
        caller: &Caller,
        call: &Call,
    ) -> Option<Answer> {
        let operation = call.operation();
        if let Some(arn) = call.arn() {
            let client_id = if let Call::Ice(ice) = call {
                ice.client_id.as_ref().map(|id| id.as_str())
            } else {
                None
            };
            let denied = denial(books, caller, operation, arn.as_str(), client_id);
            let hidden = || absent(Check::AccountHidden).into();
            return denied.or_else(|| (!caller.sees(arn)).then(hidden));
        }
        let resource = if let Call::Create(create) = call {
            unborn(&self.named(caller, create.name.as_str()), "channel")
        } else if let Call::MappedResource(mapped) = call {
            match &mapped.stream {
                StreamSelector::ByArn(arn) => arn.as_ref().to_owned(),
                StreamSelector::ByName(name) => {
                    unborn(&self.named(caller, name.as_str()), "stream")
                }
            }
        } else if operation == Operation::ListSignalingChannels {
            "*".to_owned()
        } else {
            return None;
        };
        denial(books, caller, operation, &resource, None)
    }

    /// Refuses a call about a channel by name. Its resource is the channel's ARN if it exists, else one without a time.
    pub(in crate::shard) fn forbids_named(
        &self,
        books: &mut Books,
        caller: &Caller,
        operation: Operation,
        identity: &Identity,
    ) -> Option<Answer> {
        let channel = self.named_channel(identity);
        match channel.filter(|channel| channel.state != Life::Creating) {
            Some(channel) => denial(books, caller, operation, channel.record.arn.as_str(), None),
            None => denial(books, caller, operation, &unborn(identity, "channel"), None),
        }
    }

    /// The channel of a name in our region and the caller's account.
    pub(in crate::shard) fn named(&self, caller: &Caller, name: &str) -> Identity {
        Identity::new(&self.settings.region, caller.account(), name)
    }
}

/// The role in which a caller counts where those of a channel share something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::shard) enum CallerRole {
    /// As all others: no signature proves who calls.
    Anyone,
    /// As the channel's master, since it may connect as that.
    Master,
    /// For itself.
    Viewer(CallerId),
}

impl CallerRole {
    /// The caller, if it has a part of its own.
    pub(in crate::shard) fn caller(self) -> Option<CallerId> {
        match self {
            Self::Anyone | Self::Master => None,
            Self::Viewer(caller) => Some(caller),
        }
    }
}

impl Directory {
    /// The role of a caller on this channel. It follows from the rights of its key, not from what a request names:
    /// masters of the C SDK send a ClientId as viewers do.
    pub(in crate::shard) fn caller_role(
        &self,
        books: &mut Books,
        caller: &Caller,
        arn: &ChannelArn,
    ) -> CallerRole {
        let Some(identity) = caller.identity() else {
            return CallerRole::Anyone;
        };
        let ruling = caller.decide(Action::ConnectAsMaster, arn.as_str(), None);
        books.count_policy_steps(ruling.steps);
        match ruling.denied {
            None => CallerRole::Master,
            Some(_) => CallerRole::Viewer(CallerId::of_hash(self.hasher.hash_one(identity))),
        }
    }
}

fn denial(
    books: &mut Books,
    caller: &Caller,
    operation: Operation,
    resource: &str,
    client_id: Option<&str>,
) -> Option<Answer> {
    let action: Action = operation.policy_action();
    let ruling = caller.decide(action, resource, client_id);
    books.count_policy_steps(ruling.steps);
    let message = || caller.denial(action, resource);
    let denied = ruling.denied;
    denied.map(|check| Fault::new(check, operation.denied(), message()).into())
}

/// The resource of a channel that does not exist yet: policies say `channel/NAME/*`.
fn unborn(identity: &Identity, what: &str) -> String {
    let (region, account, name) = (identity.region(), identity.account(), identity.name());
    format!("arn:aws:kinesisvideo:{region}:{account}:{what}/{name}/*")
}
