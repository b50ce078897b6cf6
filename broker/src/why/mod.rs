//! `broker why`: why a request was refused, as its broker's admin listener tells it.

mod text;

use crate::admin_client::{self, REFUSAL_BYTES_MAX};
use crate::config::WhyFlags;
use crate::server::Failure;
use codec::http::encode;
use serde_json::Value;

/// Asks for one refusal by its id, or for those that fit. What was found, with a line's end.
///
/// # Errors
/// [`Failure::Configuration`] when something asked for cannot be meant, [`Failure::Fatal`] when nothing was found, or
/// nobody answers.
pub fn run(flags: &WhyFlags) -> Result<String, Failure> {
    let document = ask(flags)?;
    let found = match &flags.id {
        Some(_) => vec![&document],
        None => document["refusals"]
            .as_array()
            .into_iter()
            .flatten()
            .collect(),
    };
    if found.is_empty() {
        let kept = text::plain(&document["since"]).unwrap_or_else(|| "the start".into());
        return Err(Failure::Fatal(format!(
            "no such refusal since {kept}: the log, the metric heliograph_refusals_total and the request id of the \
             answer (broker why ID) go further back"
        )));
    }
    Ok(if flags.json {
        format!("{document}\n")
    } else {
        let texts: Vec<String> = found.into_iter().map(text::refusal).collect();
        texts.join("\n")
    })
}

fn ask(flags: &WhyFlags) -> Result<Value, Failure> {
    let host = admin_client::host(&flags.admin);
    let token = admin_client::token_of(flags.token_file.as_deref())?;
    let token = token.as_ref().map(|token| token.as_str());
    let answer = admin_client::ask(host, "GET", &target(flags), token).map_err(|error| {
        Failure::Fatal(format!(
            "the broker at http://{host} does not answer: {error}: if its admin listener is elsewhere, --admin URL"
        ))
    })?;
    let status = answer.status.clone();
    let most = if status == "200" {
        ANSWER_BYTES_MAX
    } else {
        REFUSAL_BYTES_MAX
    };
    let document = answer.text(most).ok();
    let document = document.and_then(|text| serde_json::from_str::<Value>(&text).ok());
    match (status.as_str(), document) {
        ("200", Some(document)) => Ok(document),
        ("200", None) => Err(Failure::Fatal(format!(
            "the broker at http://{host} does not answer as one does: is --admin its admin listener?"
        ))),
        ("404", Some(document)) if flags.id.is_some() => {
            let why = text::plain(&document["error"]).unwrap_or_default();
            Err(Failure::Fatal(why))
        }
        (_, document) => {
            let why = document.and_then(|document| text::plain(&document["error"]));
            let why = why.unwrap_or_default();
            Err(Failure::Fatal(format!(
                "the broker at http://{host} refuses: {status}: {why}"
            )))
        }
    }
}

fn target(flags: &WhyFlags) -> String {
    let mut target = String::from("/refusals");
    if let Some(id) = &flags.id {
        target.push('/');
        encode(&mut target, id.trim());
        return target;
    }
    target.push_str(&format!("?limit={}", flags.limit));
    for (name, text) in [
        ("channel", &flags.channel),
        ("client", &flags.client),
        ("key", &flags.key),
        ("remote", &flags.remote),
        ("check", &flags.check),
        ("since", &flags.since),
    ] {
        if let Some(text) = text {
            target.push_str(&format!("&{name}="));
            encode(&mut target, text);
        }
    }
    target
}

/// Longest answer: 1,000 refusals with the longest names.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Arguments, Command};
    use clap::Parser;

    fn flags(line: &[&str]) -> Box<WhyFlags> {
        let line = ["broker", "why"].iter().chain(line);
        let Command::Why(flags) = Arguments::try_parse_from(line).unwrap().command else {
            panic!("it is why")
        };
        flags.into()
    }

    #[test]
    fn what_is_asked_for_is_escaped() {
        assert_eq!(target(&flags(&["a/b?c "])), "/refusals/a%2Fb%3Fc");
        assert_eq!(target(&flags(&[])), "/refusals?limit=20");
        let line = ["--client", "v&1", "--remote", "::1", "--limit", "3"];
        assert_eq!(
            target(&flags(&line)),
            "/refusals?limit=3&client=v%261&remote=%3A%3A1"
        );
    }
}
