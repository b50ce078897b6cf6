//! The closed loop: faults of a relay.

use crate::run::program::run;
use crate::run::service::service;
use crate::support::Fault;

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
