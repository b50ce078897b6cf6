//! Files that the program `documents` writes.

use clap::{Command, CommandFactory};
use std::fs;
use std::path::PathBuf;
use std::process;

#[test]
fn every_command_has_a_page_and_every_shell_its_completions() {
    let folder = written("pages");
    let mut commands = Vec::new();
    names(
        &broker::config::Arguments::command(),
        "heliograph",
        &mut commands,
    );
    names(
        &loadgen::options::CommandLine::command(),
        "heliograph-loadgen",
        &mut commands,
    );
    assert!(commands.len() > 20, "{commands:?}");
    for command in &commands {
        let page = folder.join("man").join(format!("{command}.1"));
        let text = fs::read_to_string(&page).expect("a page");
        assert!(text.contains(".SH NAME"), "{command}");
    }
    let pages = fs::read_dir(folder.join("man")).expect("pages").count();
    assert_eq!(pages, commands.len());
    #[rustfmt::skip] // a list
    let cases = ["heliograph.bash", "_heliograph", "heliograph.fish", "heliograph-loadgen.bash"];
    for file in cases {
        let text = fs::read_to_string(folder.join("completions").join(file)).expect("completions");
        assert!(text.contains("heliograph"), "{file}");
    }
    fs::remove_dir_all(&folder).expect("removed");
}

#[test]
fn licences_are_those_of_what_is_shipped() {
    let folder = written("licences");
    let text = fs::read_to_string(folder.join("licences.txt")).expect("licences");
    for shipped in [
        "\nglommio 0.9.0: ",
        "\naws-lc-sys ",
        "\nrustls ",
        "\nmaud ",
        "\nbitmaps 3.2.1: MPL-2.0+; https://github.com/bodil/bitmaps\n",
        "Permission is hereby granted",
        // Code that is linked and is no crate, and texts that crates are published without.
        "glommio 0.9.0 (liburing):",
        "(c_src/mimalloc/v2)",
        "(aws-lc/third_party/fiat)",
        "The standard library of Rust: ",
        "Copyright (c) 2021 Nugine",
        "Mozilla Public License",
    ] {
        assert!(text.contains(shipped), "{shipped}");
    }
    #[rustfmt::skip] // a list
    let cases = ["\ncriterion ", "\nproptest ", "\ntungstenite ", "\nclap_mangen "];
    for tests_only in cases {
        assert!(!text.contains(tests_only), "{tests_only}");
    }
    fs::remove_dir_all(&folder).expect("removed");
}

fn written(name: &str) -> PathBuf {
    let name = format!("heliograph-{name}-{}", process::id());
    let folder = std::env::temp_dir().join(name);
    let mut program = process::Command::new(env!("CARGO_BIN_EXE_documents"));
    let status = program.arg(&folder).status().expect("it starts");
    assert!(status.success(), "{status}");
    folder
}

fn names(command: &Command, name: &str, found: &mut Vec<String>) {
    found.push(name.to_owned());
    for below in command
        .get_subcommands()
        .filter(|below| !below.is_hide_set())
    {
        names(below, &format!("{name}-{}", below.get_name()), found);
    }
}
