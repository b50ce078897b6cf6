//! The parameters of a request for a page of `/dev`. A fault names the parameter and what is allowed.

use crate::side::dev::nearest::nearest;
use broker_core::settings::value::duration;
use broker_core::shard::Glob;
use codec::http::{decode, pairs};
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

/// Parameters by name, decoded. Each is there once.
#[derive(Debug)]
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads a query that may have these parameters.
    ///
    /// # Errors
    /// The text for the client.
    pub(crate) fn parse(query: Option<&str>, allowed: &[&str]) -> Result<Self, String> {
        let mut found: Vec<(String, String)> = Vec::new();
        for (name, value) in pairs(query.unwrap_or_default()) {
            let bad = |_| "the query is not percent-encoded UTF-8".to_owned();
            let (name, value) = (decode(name).map_err(bad)?, decode(value).map_err(bad)?);
            if !allowed.contains(&&*name) {
                let nearest = nearest(&name, allowed);
                let name: String = name.chars().take(SHOWN_MAX).collect();
                let allowed = allowed.join(", ");
                return Err(format!(
                    "{name}: unknown parameter; allowed {allowed}{nearest}"
                ));
            }
            if found.iter().any(|(other, _)| *other == name) {
                return Err(format!("{name}: allowed once"));
            }
            found.push((name.into(), value.into()));
        }
        Ok(Self(found))
    }

    /// The text of a parameter; an empty one is as good as none.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(other, _)| other == name);
        found
            .map(|(_, value)| &**value)
            .filter(|value| !value.is_empty())
    }

    /// A pattern.
    pub(crate) fn glob(&self, name: &str) -> Option<Glob> {
        self.text(name).map(Glob::new)
    }

    /// A whole number.
    ///
    /// # Errors
    /// It is none, or out of range.
    pub(crate) fn number<T: FromStr + PartialOrd + Display>(
        &self,
        name: &str,
        range: RangeInclusive<T>,
    ) -> Result<Option<T>, String> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let number = text.parse().ok().filter(|number| range.contains(number));
        let rule = || format!("{name}: allowed {} to {}", range.start(), range.end());
        number.map(Some).ok_or_else(rule)
    }

    /// The time to wait: at most [`WAIT_MAX`], by default none.
    ///
    /// # Errors
    /// It is no span of time, or too long.
    pub(crate) fn wait(&self) -> Result<Duration, String> {
        let most = u64::try_from(WAIT_MAX.as_millis()).unwrap_or(u64::MAX);
        let ms = self.text("wait").map(|text| duration(text, 0..=most));
        let ms = ms.transpose().map_err(|rule| format!("wait: {rule}"))?;
        Ok(Duration::from_millis(ms.unwrap_or_default()))
    }
}

/// The longest wait of a request. Its connection has some seconds more.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(25);

/// Characters of a wrong name that its answer repeats.
const SHOWN_MAX: usize = 80;

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn faults_name_the_parameter_and_what_is_allowed() {
        let allowed = ["limit", "wait"];
        for (query, fault) in [
            (
                "limt=1",
                "limt: unknown parameter; allowed limit, wait; the nearest is limit",
            ),
            ("limit=1&limit=2", "limit: allowed once"),
            ("limit=0", "limit: allowed 1 to 9"),
            ("limit=x", "limit: allowed 1 to 9"),
            (
                "wait=26s",
                "wait: allowed a duration from \"1ms\" to \"25s\", or \"off\"",
            ),
            ("wait=%FF", "the query is not percent-encoded UTF-8"),
        ] {
            let read = Parameters::parse(Some(query), &allowed).and_then(|parameters| {
                parameters.number("limit", 1..=9)?;
                parameters.wait()
            });
            assert_eq!(read, Err(fault.to_owned()), "{query}");
        }
        let parameters = Parameters::parse(Some("limit=&wait=5s"), &allowed).unwrap();
        assert_eq!(parameters.number("limit", 1..=9), Ok(None));
        assert_eq!(parameters.wait(), Ok(Duration::from_secs(5)));
        assert_eq!(
            Parameters::parse(None, &allowed).unwrap().text("wait"),
            None
        );
    }
}
