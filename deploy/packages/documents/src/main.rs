//! `documents DIR` writes the files that packages contain in addition to the programs. Exits with code 1 and a message
//! on stderr if a file cannot be written, and with code 2 if no directory is given.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [folder] = arguments.as_slice() else {
        eprintln!("documents takes one argument, the directory to write to");
        return ExitCode::from(2);
    };
    match documents::write(Path::new(folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", folder.display());
            ExitCode::FAILURE
        }
    }
}
