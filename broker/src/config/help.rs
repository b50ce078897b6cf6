//! Help texts: the list of commands by group and, below each command's flags, its exit codes and an example.

use crate::config::Arguments;
use crate::terminal;
use clap::error::{ContextKind, ContextValue};
use clap::{Command, CommandFactory, FromArgMatches};
use clap_complete::Shell;
use std::ffi::OsString;

impl Arguments {
    /// Parses the process's command line. On a request for help or a usage error, prints the text and exits.
    #[must_use]
    pub fn of_process() -> Self {
        let words: Vec<OsString> = std::env::args_os().collect();
        let matches = program().try_get_matches_from(&words);
        let matches = matches.unwrap_or_else(|error| hinted(error, &words).exit());
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

/// Adds a hint to the error if another command would accept the unknown word.
fn hinted(mut error: clap::Error, words: &[OsString]) -> clap::Error {
    let kinds = [ContextKind::InvalidSubcommand, ContextKind::InvalidArg];
    let written = kinds.into_iter().find_map(|kind| match error.get(kind) {
        Some(ContextValue::String(word)) => Some(word.clone()),
        _ => None,
    });
    let command = words
        .get(1)
        .and_then(|word| word.to_str())
        .unwrap_or_default();
    let hint = ELSEWHERE.iter().find(|(of, word, _)| {
        (of.is_empty() || *of == command) && written.as_deref() == Some(*word)
    });
    let hint = match (hint, written) {
        (Some((.., hint)), _) => (*hint).to_owned(),
        (None, Some(written)) => nearest_of(command, &written),
        (None, None) => String::new(),
    };
    if !hint.is_empty() {
        let hint = ContextValue::StyledStrs(vec![hint.into()]);
        error.insert(ContextKind::Suggested, hint);
    }
    error
}

fn nearest_of(command: &str, written: &str) -> String {
    let program = program();
    let of = program.find_subcommand(command).unwrap_or(&program);
    let flags = of.get_arguments().filter_map(|it| it.get_long());
    let commands = of.get_subcommands().map(Command::get_name);
    let names: Vec<&str> = if written.starts_with('-') {
        flags.collect()
    } else {
        commands.collect()
    };
    let nearest = terminal::nearest(written, &names);
    let name = nearest.rsplit(' ').next().unwrap_or_default();
    let dashes = if written.starts_with('-') { "--" } else { "" };
    if name.is_empty() {
        return String::new();
    }
    format!("the nearest is {dashes}{name}")
}

/// Words that users may know from other programs. Each entry contains the command (empty for any command), the word,
/// and what to use instead.
const ELSEWHERE: [(&str, &str, &str); 6] = [
    (
        "",
        "--port",
        "the port is a part of --listen: heliograph serve --listen http://127.0.0.1:8080",
    ),
    (
        "channels",
        "list",
        "a running broker lists them: http://127.0.0.1:8090/channels; a stopped one: heliograph channels export",
    ),
    (
        "",
        "logs",
        "heliograph tail prints refusals and warnings, with -v the log",
    ),
    (
        "",
        "log",
        "heliograph tail prints refusals and warnings, with -v the log",
    ),
    (
        "",
        "status",
        "heliograph top shows load and problems; heliograph doctor looks at this machine",
    ),
    ("", "ps", "heliograph top shows load and problems"),
];

/// Declares the program with all its commands.
#[must_use]
pub fn program() -> Command {
    let mut program = Arguments::command();
    for (path, text) in BELOW {
        let words: Vec<&str> = path.split(' ').collect();
        program = below(program, &words, text);
    }
    let groups = groups(&program);
    program.help_template(TEMPLATE).before_help(groups)
}

/// Generates shell completions from the program's declaration.
#[must_use]
pub fn completions(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut program(), "heliograph", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

fn below(command: Command, path: &[&str], text: &'static str) -> Command {
    match path {
        [] => command.after_help(text),
        [first, rest @ ..] => command.mut_subcommand(first, |it| below(it, rest, text)),
    }
}

fn groups(program: &Command) -> String {
    let mut out = String::new();
    for (title, names) in GROUPS {
        // Bold and underlined, like clap's own headings.
        out.push_str(&format!("\u{1b}[1m\u{1b}[4m{title}:\u{1b}[0m\n"));
        for name in names {
            let about = program.find_subcommand(name).and_then(Command::get_about);
            let about = about.map(ToString::to_string).unwrap_or_default();
            out.push_str(&format!("  \u{1b}[1m{name:<15}\u{1b}[0m  {about}\n"));
        }
        out.push('\n');
    }
    out.trim_end().to_owned()
}

const TEMPLATE: &str = "\
{about-with-newline}
{usage-heading} {usage}

{before-help}\u{1b}[1m\u{1b}[4mOptions:\u{1b}[0m
{options}

heliograph COMMAND --help has the flags of each, and an example.";

/// The command groups. Each command belongs to exactly one of them.
const GROUPS: [(&str, &[&str]); 3] = [
    (
        "Commands to run a broker",
        &[
            "serve",
            "check-config",
            "doctor",
            "backup",
            "bundle",
            "cluster",
            "version",
        ],
    ),
    (
        "Commands to see what it does",
        &[
            "top",
            "tail",
            "why",
            "trace",
            "report",
            "forget",
            "hook-test",
        ],
    ),
    (
        "Commands for channels, devices and clients",
        &[
            "channels",
            "things",
            "policy",
            "presign",
            "env",
            "seccomp-profile",
            "completions",
        ],
    ),
];

const BELOW: &[(&str, &str)] = &[
    (
        "serve",
        "Example: a server to try it, with its page in the browser\n  heliograph serve --dev --open",
    ),
    (
        "check-config",
        "The checks and flags are those of serve. Exit code 0: the summary is printed; 2: every error is, with its \
         place.\n\nExample:\n  heliograph check-config /etc/heliograph/broker.toml",
    ),
    (
        "doctor",
        "Kernel, limits, ports, certificate, files, clock, etcd. Exit code 0: all is well; 1: a warning; 2: something \
         must be set right.\n\nExample:\n  heliograph doctor --config /etc/heliograph/broker.toml",
    ),
    (
        "backup",
        "Example:\n  heliograph backup /var/backups/heliograph-monday",
    ),
    (
        "bundle",
        "Configuration without secrets, doctor, log, causes, history of a day, metrics and version, as a tar archive \
         of mode 0600. A broker that does not answer is no failure: the archive says so.\n\nExample:\n  heliograph \
         bundle --config /etc/heliograph/broker.toml",
    ),
    (
        "cluster",
        "By what etcd has of it. Exit code 0: done; 2: the operator must correct something; else 1.\n\nExample:\n  \
         heliograph cluster status --config /etc/heliograph/broker.toml",
    ),
    (
        "cluster status",
        "Example:\n  heliograph cluster status --config broker.toml",
    ),
    (
        "cluster check",
        "etcd (versions, quota, compaction, keys), the secret, the clocks of the nodes and the links between them, \
         and whether the names of endpoints resolve. Warnings leave the exit code at 0.\n\nExample:\n  heliograph \
         cluster check --config broker.toml",
    ),
    (
        "cluster remove",
        "Nodes no longer ask for it or wait for it.\n\nExample:\n  heliograph cluster remove n3 --config broker.toml",
    ),
    (
        "cluster drain",
        "The messages that wait go along; the node ends as after SIGTERM. How far it is, is printed.\n\nExample:\n  \
         heliograph cluster drain n3 --config broker.toml",
    ),
    (
        "cluster rebalance",
        "The parts before and after are printed.\n\nExample:\n  heliograph cluster rebalance --config broker.toml",
    ),
    (
        "cluster finish-upgrade",
        "To that of all nodes.\n\nExample:\n  heliograph cluster finish-upgrade --config broker.toml",
    ),
    (
        "cluster import",
        "Of a stopped broker's data directory, or of files that channels import takes, while no node \
         runs.\n\nExample:\n  heliograph cluster import /var/lib/heliograph --config broker.toml",
    ),
    (
        "cluster export",
        "All channels of one moment.\n\nExample:\n  heliograph cluster export exported --config broker.toml",
    ),
    ("version", "Example:\n  heliograph version --json"),
    (
        "trace",
        "Who joined, offered, answered and left, and what that suggests.\n\nExample:\n  heliograph trace cam-17 \
         --follow",
    ),
    (
        "why",
        "By the request id of its answer, or by what the request named; without a flag the kind is found out.\n\n\
         Example:\n  heliograph why cam-17",
    ),
    (
        "report",
        "As text of 80 columns for a ticket, with what the broker has kept over restarts.\n\nExample:\n  heliograph \
         report --since yesterday",
    ),
    (
        "forget",
        "By client id, address, subject of a token, or thing.\n\nExample:\n  heliograph forget phone-of-alice",
    ),
    ("tail", "Example:\n  heliograph tail --channel cam-17"),
    (
        "top",
        "Connections, messages, delivery, refusals and problems, drawn again each second; q ends. Into a pipe it is \
         printed once.\n\nExample:\n  heliograph top",
    ),
    (
        "completions",
        "Example: for bash, until the shell ends\n  source <(heliograph completions bash)",
    ),
    (
        "hook-test",
        "What the receiver answered is printed.\n\nExample:\n  heliograph hook-test wake",
    ),
    (
        "channels",
        "Example:\n  heliograph channels export > channels.json",
    ),
    (
        "channels import",
        "With their ARNs, TTL and tags. All files are checked before anything is written.\n\nExample:\n  heliograph \
         channels import channels.json --dry-run",
    ),
    (
        "channels export",
        "As documents that import takes.\n\nExample:\n  heliograph channels export > channels.json",
    ),
    ("things", "Example:\n  heliograph things issue cam-17"),
    (
        "things issue",
        "For serve --dev. The variables of the C SDK for them are printed.\n\nExample:\n  heliograph things issue \
         cam-17",
    ),
    (
        "things check",
        "And which role aliases it may use, or why it is refused.\n\nExample:\n  heliograph things check cam-17.pem \
         --credentials credentials.toml",
    ),
    (
        "things import",
        "What the AWS CLI prints of things and certificates.\n\nExample:\n  heliograph things import things.json *.pem \
         --out registry.json",
    ),
    ("policy", "Example: see heliograph policy test --help"),
    (
        "policy test",
        "Of a credentials file: a principal, or a session of a role, and the statement that decides. With a thing or a \
         claim, also whether the role lets that one sign in. Whether the channel exists is not looked at. Exit code 0: \
         it may; 1: it may not; 2: the question or the file is wrong.\n\nExample:\n  heliograph policy test \
         --credentials credentials.toml --as viewer \\\n    --action ConnectAsViewer --resource \
         'arn:aws:kinesisvideo:us-west-2:123456789012:channel/cam-17/*'",
    ),
    (
        "presign",
        "The keys come from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN.\n\nExample:\n  heliograph \
         presign --endpoint wss://signal.example --channel-arn ARN --client-id phone-1\n  heliograph presign \
         --endpoint https://signal.example --whep cam-17 --client-id wall-1 --for 90d",
    ),
    (
        "env",
        "Endpoints, region, keys and trust, of one that runs.\n\nExample:\n  eval \"$(heliograph env)\"",
    ),
    (
        "seccomp-profile",
        "The default ones forbid io_uring.\n\nExample:\n  heliograph seccomp-profile --output seccomp.json",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Collects a command and all commands below it in `found`, each with its path.
    fn all(command: &Command, path: &str, found: &mut Vec<(String, Command)>) {
        for below in command.get_subcommands() {
            let path = format!("{path} {}", below.get_name()).trim().to_owned();
            all(below, &path, found);
            found.push((path, below.clone()));
        }
    }

    #[test]
    fn every_command_is_in_one_group_says_itself_in_ten_words_and_has_an_example() {
        let program = program();
        let mut grouped: Vec<&str> = GROUPS
            .iter()
            .flat_map(|(_, names)| *names)
            .copied()
            .collect();
        grouped.sort_unstable();
        let mut names: Vec<&str> = program.get_subcommands().map(Command::get_name).collect();
        names.sort_unstable();
        assert_eq!(grouped, names);
        let mut commands = Vec::new();
        all(&program, "", &mut commands);
        for (path, command) in commands {
            let about = command
                .get_about()
                .map(ToString::to_string)
                .unwrap_or_default();
            let words = about.split_whitespace().count();
            assert!((2..=10).contains(&words), "{path}: {about}");
            let below = command.get_after_help().map(ToString::to_string);
            let below = below.unwrap_or_default();
            assert!(below.contains("Example:"), "{path}: {below}");
            assert!(
                below.contains(&format!("heliograph {path}")),
                "{path}: {below}"
            );
        }
    }

    #[test]
    fn the_help_fits_a_terminal_of_80_columns() {
        let mut program = program().term_width(80);
        let mut open = vec![("heliograph".to_owned(), program.render_help().to_string())];
        for below in program.get_subcommands_mut() {
            let help = below.clone().term_width(80).render_help().to_string();
            open.push((below.get_name().to_owned(), help));
        }
        for (name, help) in open {
            let wide = help.lines().find(|line| line.chars().count() > 80);
            assert_eq!(wide, None, "{name}");
        }
    }
}
