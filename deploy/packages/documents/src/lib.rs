//! Documents that packages hold beside the programs: man pages, completions of shells, licences of dependencies.

mod licences;

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use std::error::Error;
use std::fs;
use std::path::Path;

/// Writes `man/` with a page for each command, `completions/` with those of bash, zsh and fish, and `licences.txt` with
/// the texts of the licences of every crate that the programs are built from.
///
/// # Errors
///
/// One of them cannot be written, or cargo cannot tell the dependencies.
pub fn write(folder: &Path) -> Result<(), Box<dyn Error>> {
    let programs = [
        broker::config::Arguments::command(),
        // A package has it beside other programs, where `loadgen` says too little.
        loadgen::options::CommandLine::command().name("heliograph-loadgen"),
    ];
    for program in programs {
        pages(program.clone(), &folder.join("man"))?;
        completions(program, &folder.join("completions"))?;
    }
    fs::write(folder.join("licences.txt"), licences::text()?)?;
    Ok(())
}

/// A page for the program and each of its commands, `heliograph-serve.1` for `heliograph serve`.
fn pages(program: Command, folder: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    clap_mangen::generate_to(program.disable_help_subcommand(true), folder)?;
    Ok(())
}

fn completions(mut program: Command, folder: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    let name = program.get_name().to_owned();
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut program, &name, folder)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_and_every_shell_its_completions() {
        let folder =
            std::env::temp_dir().join(format!("heliograph-documents-{}", std::process::id()));
        write(&folder).expect("written");
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
        assert_eq!(
            fs::read_dir(folder.join("man")).expect("pages").count(),
            commands.len()
        );
        for file in [
            "heliograph.bash",
            "_heliograph",
            "heliograph.fish",
            "heliograph-loadgen.bash",
        ] {
            let text =
                fs::read_to_string(folder.join("completions").join(file)).expect("completions");
            assert!(text.contains("heliograph"), "{file}");
        }
        fs::remove_dir_all(&folder).expect("removed");
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

    #[test]
    fn licences_are_those_of_what_is_shipped() {
        let text = licences::text().expect("licences");
        for shipped in [
            "\nglommio 0.9.0: ",
            "\naws-lc-sys ",
            "\nrustls ",
            "\nmaud ",
            "Permission is hereby granted",
        ] {
            assert!(text.contains(shipped), "{shipped}");
        }
        for tests_only in [
            "\ncriterion ",
            "\nproptest ",
            "\ntungstenite ",
            "\nclap_mangen ",
        ] {
            assert!(!text.contains(tests_only), "{tests_only}");
        }
    }
}
