//! Compares texts that users and scripts see with golden files in the repository.

use crate::program::run;
use std::fmt::Display;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::{env, fs};

/// Environment variable that causes golden files to be rewritten instead of compared.
const RENEW: &str = "RENEW";

/// Asserts that a text equals a golden file. On failure, prints the lines that differ and explains how to rewrite the
/// file.
pub fn assert_golden(folder: &str, name: &str, text: &str) {
    let path = Path::new(folder).join(name);
    if env::var_os(RENEW).is_some() {
        fs::create_dir_all(folder).expect("a folder of the repository");
        fs::write(&path, text).expect("a file of the repository");
    }
    if let Some(differs) = difference(&path, text) {
        panic!(
            "{name} is not what this build shows (-: in {folder}, +: shown):\n{differs}\nIf the change is intended, \
             write it anew and look at the difference: deploy/ci/golden.sh"
        );
    }
}

/// Returns the lines in which a text differs from a file, with one line of context, or `None` if they are equal. A
/// missing file is treated as empty.
fn difference(path: &Path, text: &str) -> Option<String> {
    if fs::read_to_string(path).is_ok_and(|kept| kept == text) {
        return None;
    }
    let mut diff = Command::new("diff")
        .args(["-N", "-U1", "--label", "kept", "--label", "shown"])
        .arg(path)
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("diff, of the package diffutils");
    // diff prints nothing until it has read both inputs, so this write cannot deadlock.
    let mut stdin = diff.stdin.take().expect("stdin is piped");
    stdin.write_all(text.as_bytes()).expect("it reads");
    drop(stdin);
    let printed = diff.wait_with_output().expect("it ends").stdout;
    Some(String::from_utf8_lossy(&printed).into_owned())
}

/// Asserts that a text contains all of these parts.
#[track_caller]
pub fn assert_has(text: &(impl Display + ?Sized), parts: &[&str]) {
    let text = text.to_string();
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

/// Asserts that a text begins with this one.
#[track_caller]
pub fn assert_begins(text: &(impl Display + ?Sized), begin: &str) {
    let text = text.to_string();
    assert!(
        text.starts_with(begin),
        "expected at the beginning: {begin:?}\n{text}"
    );
}

/// Returns the help of a program and of all its subcommands, each preceded by its command.
pub fn help(name: &str, program: impl Fn() -> Command) -> String {
    let mut all = String::new();
    let mut open = vec![String::new()];
    while let Some(words) = open.pop() {
        let command = format!("{name}{words} --help");
        let mut program = program();
        let program = program.stdin(Stdio::null()).env_remove("COLUMNS");
        let exit = run(program.args(words.split_whitespace()).arg("--help"));
        assert_eq!((exit.code, &*exit.stderr), (Some(0), ""), "{command}");
        all += &format!("$ {command}\n{}\n", exit.stdout);
        let below = subcommands(&exit.stdout);
        open.extend(below.iter().rev().map(|below| format!("{words} {below}")));
    }
    all
}

fn subcommands(help: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut is_listed = false;
    for line in help.lines() {
        if line.starts_with("Commands") && line.ends_with(':') {
            is_listed = true;
        } else if line.is_empty() {
            is_listed = false;
        }
        // Continuation lines of a description are indented further.
        let name = line.strip_prefix("  ").filter(|_| is_listed);
        names.extend(name.and_then(|line| line.split(' ').next()));
    }
    names.retain(|name| !name.is_empty() && *name != "help");
    names
}

#[cfg(test)]
mod tests {
    use super::{difference, subcommands};
    use std::{env, fs, process};

    #[test]
    fn lines_that_differ_are_shown() {
        let folder = env::temp_dir().join(format!("heliograph-golden-{}", process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (kept, absent) = (folder.join("kept.txt"), folder.join("absent.txt"));
        fs::write(&kept, "one\ntwo\nthree\n").unwrap();
        assert_eq!(difference(&kept, "one\ntwo\nthree\n"), None);
        let differs = difference(&kept, "one\n2\nthree\n").unwrap();
        assert!(differs.contains("\n one\n-two\n+2\n three\n"), "{differs}");
        assert!(difference(&kept, "one\ntwo\nthree").is_some());
        let differs = difference(&absent, "one\n").unwrap();
        assert!(differs.contains("\n+one\n"), "{differs}");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn commands_of_a_help_are_found() {
        let help = "Usage: a <COMMAND>\n\nCommands:\n  run   Runs,\n        and ends\n  help  Print this\n\nOptions:\n";
        assert_eq!(subcommands(help), ["run"]);
        let help = "Commands to look:\n  see  Sees\n\nCommands to run:\n  run  Runs\n\nOptions:\n  -h  Help\n";
        assert_eq!(subcommands(help), ["see", "run"]);
        assert_eq!(subcommands("Usage: a\n"), [""; 0]);
    }
}
