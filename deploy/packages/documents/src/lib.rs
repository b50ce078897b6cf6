//! Generates the files that packages contain in addition to the programs: man pages, shell completions, and the
//! licences of dependencies.

mod licences;

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use std::error::Error;
use std::fs;
use std::path::Path;

/// Writes `man/` with a page for each command, `completions/` for bash, zsh and fish, and `licences.txt` with the
/// licence texts of all crates that the programs are built from.
///
/// # Errors
///
/// Returns an error if a file cannot be written, or if cargo cannot list the dependencies.
pub fn write(folder: &Path) -> Result<(), Box<dyn Error>> {
    let programs = [
        broker::config::program(),
        // Packages install it next to other programs, where the name `loadgen` would be too vague.
        loadgen::options::CommandLine::command().name("heliograph-loadgen"),
    ];
    for program in programs {
        pages(program.clone(), &folder.join("man"))?;
        completions(program, &folder.join("completions"))?;
    }
    fs::write(folder.join("licences.txt"), licences::text()?)?;
    Ok(())
}

/// Writes man pages for a program and each of its commands, such as `heliograph-serve.1` for `heliograph serve`.
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
