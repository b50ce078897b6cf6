//! `heliograph why`: why a request was refused, as its broker's admin listener reports it.

mod text;

use crate::admin_client::AdminListener;
use crate::config::WhyFlags;
use crate::failure::Failure;
use crate::terminal;
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
        let elsewhere = flags.channel.as_deref().map_or_else(String::new, |channel| {
            let channel = terminal::plain(channel);
            format!(
                "an API call with a wrong signature names no channel, but its key and address (--key, --remote), and a \
                 TLS handshake that failed its address alone (--check tls_distrusted); `heliograph trace {channel}` \
                 says what happened in its sessions; "
            )
        });
        return Err(Failure::Fatal(format!(
            "no such refusal since {kept}: {elsewhere}the log, the metric heliograph_refusals_total and the request id \
             of the answer (heliograph why ID) go further back"
        )));
    }
    Ok(if flags.json {
        format!("{}\n", terminal::json(&document))
    } else {
        let texts: Vec<String> = found.into_iter().map(text::refusal).collect();
        texts.join("\n")
    })
}

fn ask(flags: &WhyFlags) -> Result<Value, Failure> {
    AdminListener::of(&flags.asked)?
        .get(&target(flags))?
        .map_err(|refusal| {
            if refusal.status == "404" && flags.id.is_some() {
                Failure::Fatal(refusal.why)
            } else {
                refusal.into()
            }
        })
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
        ("text", &flags.text),
        ("since", &flags.since),
    ] {
        if let Some(text) = text {
            target.push_str(&format!("&{name}="));
            encode(&mut target, text);
        }
    }
    target
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::config::{Arguments, Command};
    use clap::Parser;

    fn flags(line: &[&str]) -> Box<WhyFlags> {
        let line = ["heliograph", "why"].iter().chain(line);
        let Command::Why(flags) = Arguments::try_parse_from(line).unwrap().command else {
            panic!("it is why")
        };
        flags.into()
    }

    #[test]
    fn parameters_are_escaped() {
        assert_eq!(target(&flags(&["a/b?c "])), "/refusals/a%2Fb%3Fc");
        assert_eq!(target(&flags(&[])), "/refusals?limit=20");
        let line = ["--client", "v&1", "--remote", "::1", "--limit", "3"];
        assert_eq!(
            target(&flags(&line)),
            "/refusals?limit=3&client=v%261&remote=%3A%3A1"
        );
    }
}
