//! The closed loop: relay, idle and connect.

use crate::run::program::run;
use crate::run::service::service;
use crate::support::Fault;

#[test]
fn a_sound_service_is_all_well() {
    let target = format!("http://{}", service(Fault::Nothing));
    let (code, report) = run(
        &target,
        "--mode relay --channels 3 --viewers-per-channel 2 --window 2",
    );
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["ok"], true);
    assert_eq!(report["connections"]["opened"], 9);
    let messages = &report["messages"];
    assert!(messages["sent"].as_u64().unwrap() > 100);
    assert_eq!(messages["sent"], messages["received"]);
    assert!(report["latency_us"]["message"]["hdr"].is_string());
    // The load ran before it was measured; the log and the spans are those of the measured time.
    let intervals = report["intervals"].as_array().unwrap();
    let logged: u64 = intervals
        .iter()
        .map(|one| one["messages"].as_u64().unwrap())
        .sum();
    assert_eq!(report["latency_us"]["message"]["count"], logged, "{report}");
    assert!(messages["received"].as_u64().unwrap() > logged);
    assert!(report["cpu"]["driver_us_per_message"].is_number());
    assert!(report["cpu"]["server_us_per_message"].is_null());
    assert!(report["latency_us"]["tls"].is_null());
}

#[test]
fn each_fault_ends_in_exit_code_1_under_its_name() {
    for (fault, name) in [
        (Fault::Loses, "lost"),
        (Fault::Duplicates, "duplicated"),
        (Fault::Reorders, "reordered"),
        (Fault::Corrupts, "corrupted"),
        (Fault::Misroutes, "misrouted"),
    ] {
        let target = format!("http://{}", service(fault));
        let flags = "--mode relay --channels 1 --viewers-per-channel 2 --window 8 --payload 400";
        let (code, report) = run(&target, flags);
        assert_eq!(code, Some(1), "{fault:?} {report}");
        assert!(report["messages"][name].as_u64().unwrap() > 0, "{name}");
    }
}

#[test]
fn connections_are_held_and_churned() {
    let target = format!("http://{}", service(Fault::Nothing));
    let own = std::process::id(); // the service is a part of this process
    let flags =
        format!("--mode idle --channels 20 --source-addresses 127.0.1.1/24 --server-pid {own}");
    let (code, report) = run(&target, &flags);
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["connections"]["peak"], 40);
    assert!(report["memory"]["server_bytes_per_connection"].is_number());
    let (code, report) = run(&target, "--mode connect --channels 4");
    assert_eq!(code, Some(0), "{report}");
    assert!(report["connections"]["cycles"].as_u64().unwrap() > 4);
}
