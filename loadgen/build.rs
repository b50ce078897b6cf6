//! The error of a build for another system than Linux, in place of what its crates would say.

fn main() {
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("linux") {
        println!(
            "cargo::error=loadgen runs on Linux: in WSL2, or in a container of Docker Desktop; see \"On a Mac or on \
             Windows\" in deploy/INSTALL.md"
        );
    }
    println!("cargo::rerun-if-changed=build.rs");
}
