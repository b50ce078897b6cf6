//! Checks that `broker/etcd/src/rpc/generated.rs` matches `proto/rpc.proto`. After changing the latter or the version
//! of the generator, run `RENEW=1 cargo test -p etcd-generator` and review the difference.

use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn the_generated_code_is_that_of_the_proto_file() {
    let protoc = std::env::var_os("PROTOC").unwrap_or_else(|| "protoc".into());
    if Command::new(protoc).arg("--version").output().is_err() {
        return eprintln!("skipped: no protoc, of the package protobuf-compiler");
    }
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join("generated");
    fs::create_dir_all(&made).expect("a directory under target/");
    tonic_prost_build::configure()
        .build_client(false)
        .build_server(false)
        // These messages contain secrets, so they must not be printable.
        .skip_debug(["AuthenticateRequest", "AuthenticateResponse"])
        .emit_rerun_if_changed(false)
        .out_dir(&made)
        .compile_protos(&[package.join("proto/rpc.proto")], &[package.join("proto")])
        .expect("protoc reads the file");
    let made = fs::read_to_string(made.join("etcdserverpb.rs")).expect("generated code");
    let kept = package.join("src/rpc/generated.rs");
    if std::env::var_os("RENEW").is_some() {
        fs::write(&kept, &made).expect("the file is written");
    }
    let kept = fs::read_to_string(kept).expect("the file");
    assert!(
        kept == made,
        "not what is in the repository: RENEW=1 cargo test -p etcd-generator"
    );
}
