//! Remarks on those parts of a policy that are valid but may have unexpected effects.

use crate::policy::condition::KeyName;
use crate::policy::operator::{Comparison, Quantifier};
use crate::policy::statement::{KeyUse, Statement};
use crate::policy::{Action, Policy, rules::Effect};
use std::collections::BTreeSet;

impl Policy {
    /// Returns remarks for the operator, without duplicates. They point out keys that never have a value in this
    /// service, keys whose value the client chooses, denials that do not apply if a key has no value, and statements
    /// that let viewers use any client id.
    #[must_use]
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = BTreeSet::new();
        for statement in self.statements() {
            let denies = statement.effect == Effect::Deny;
            // This cannot fail, because every statement has already been decoded once.
            let _ = statement.each_key(|key, used| {
                if key.name == KeyName::Foreign {
                    remarks.insert(format!("{key} never has a value in this service"));
                } else if matches!(key.name, KeyName::UserAgent | KeyName::Referer) {
                    remarks.insert(format!("{key} is chosen by the client"));
                } else if denies && needs(key.name, used) {
                    remarks.insert(format!(
                        "a denial with {key} does not apply to requests that have no value of it"
                    ));
                }
            });
        }
        if self.allows_any_viewer() {
            remarks.insert(ANY_VIEWER.to_owned());
        }
        remarks.into_iter().collect()
    }

    /// Returns whether the policy allows ConnectAsViewer with any client id. Returns `false` if the policy also allows
    /// ConnectAsMaster, since a master can occupy all viewer slots anyway.
    fn allows_any_viewer(&self) -> bool {
        let is_open = |statement: &Statement<'_>| {
            let mut others = statement.conditions().flatten();
            statement.effect == Effect::Allow
                && statement.actions.has(Action::ConnectAsViewer)
                && statement.equals.is_empty()
                && statement.like.is_empty()
                && !others.any(|other| other.key.name == KeyName::ClientId)
        };
        let is_master = |action| action == Action::ConnectAsMaster;
        self.statements().any(|statement| is_open(&statement))
            && !self.allowed_somewhere().any(is_master)
    }
}

const ANY_VIEWER: &str = "allows ConnectAsViewer without a condition on kinesisvideo:ClientId, so one caller can \
                          occupy all free viewer slots of a channel";

fn needs(name: KeyName, used: KeyUse) -> bool {
    match used {
        KeyUse::Variable { has_default } => !has_default && !always_has_value(name),
        KeyUse::Condition(operator) => {
            let is_met_without = operator.if_exists
                || operator.is_negated()
                || operator.quantifier == Quantifier::All
                || operator.comparison() == Comparison::Presence;
            !is_met_without && is_of_sign_in(name)
        }
    }
}

fn always_has_value(name: KeyName) -> bool {
    matches!(
        name,
        KeyName::CurrentTime
            | KeyName::EpochTime
            | KeyName::SourceIp
            | KeyName::SecureTransport
            | KeyName::UserId
            | KeyName::PrincipalArn
            | KeyName::PrincipalAccount
            | KeyName::PrincipalType
            | KeyName::PrincipalIsAwsService
    )
}

fn is_of_sign_in(name: KeyName) -> bool {
    matches!(
        name,
        KeyName::UserName
            | KeyName::PrincipalTag
            | KeyName::SourceIdentity
            | KeyName::FederatedProvider
            | KeyName::ThingName
            | KeyName::ThingTypeName
            | KeyName::AwsCertificateId
            | KeyName::Claim
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_surprise_is_named_once() {
        let policy = Policy::parse(
            r#"{"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": "*", "Resource": "arn:aws:kinesisvideo:*:*:channel/${aws:username}/*",
             "Condition": {"Bool": {"AWS:multifactorauthpresent": true}, "StringLike": {"aws:UserAgent": "x*"}}},
            {"Effect": "Deny", "Action": "*", "Resource": "arn:aws:kinesisvideo:*:*:channel/${aws:PrincipalTag/a, 'b'}/*"},
            {"Effect": "Deny", "Action": "*", "Resource": "arn:aws:kinesisvideo:*:*:channel/${aws:PrincipalTag/c}/*"},
            {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": {
              "StringEquals": {"id.example.com:sub": "x", "aws:ResourceTag/locked": "yes"},
              "StringNotEquals": {"credentials-iot:ThingName": "${aws:PrincipalAccount}"},
              "StringEqualsIfExists": {"aws:username": "x"}, "StringLike": {"aws:UserAgent": "y*"}}}]}"#,
        );
        let wanted = [
            "AWS:multifactorauthpresent never has a value in this service",
            "a denial with aws:PrincipalTag/c does not apply to requests that have no value of it",
            "a denial with id.example.com:sub does not apply to requests that have no value of it",
            "aws:UserAgent is chosen by the client",
        ];
        assert_eq!(policy.unwrap().remarks(), wanted);
    }

    #[test]
    fn a_viewer_with_any_client_id_is_remarked_on() {
        let remarks = |action: &str, condition: &str| {
            let text = format!(
                r#"{{"Statement": [{{"Effect": "Allow", "Action": {action}, "Resource": "*"{condition}}},
                    {{"Effect": "Deny", "Action": "kinesisvideo:ConnectAsMaster", "Resource": "*"}}]}}"#
            );
            Policy::parse(&text).unwrap().remarks()
        };
        let (viewer, any) = (r#""kinesisvideo:ConnectAsViewer""#, "");
        let on = |operator: &str| {
            format!(r#", "Condition": {{"{operator}": {{"kinesisvideo:ClientId": "v"}}}}"#)
        };
        let elsewhere = r#", "Condition": {"StringEquals": {"aws:ResourceTag/a": "b"}}"#;
        assert_eq!(remarks(viewer, any), [ANY_VIEWER]);
        assert_eq!(remarks(viewer, elsewhere), [ANY_VIEWER]);
        assert_eq!(remarks(viewer, &on("StringEquals")), [""; 0]);
        assert_eq!(remarks(viewer, &on("StringLike")), [""; 0]);
        let others = [r#""kinesisvideo:*""#, r#""*""#, r#""kinesisvideo:Get*""#];
        for others in others {
            assert_eq!(remarks(others, any), [""; 0], "{others}");
        }
    }
}
