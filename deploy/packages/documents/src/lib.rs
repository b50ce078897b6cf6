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
        broker::config::program(),
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
