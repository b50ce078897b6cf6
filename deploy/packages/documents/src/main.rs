//! `documents DIR`: writes what packages hold beside the programs. Exit code 1 with the reason on stderr where one
//! cannot be written, 2 without a directory.

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
