//! Clients that sign another path than they ask for, and what their role is then (codec/PROTOCOL.md, CON-2, SIG-13).

use crate::signed::service::{MISMATCH, Service, on_signed_shards, relay, temporary};
use crate::signed::signer::{Call, Signer};

on_signed_shards!(
    each_client_gets_in_as_it_signs,
    a_path_that_is_only_asked_for_makes_no_master
);

/// An upgrade signed with a path, as it asks for another one.
fn upgrade(signer: &Signer, call: Call, signed: &str, asked: &str) -> Call {
    let path = signed.to_owned();
    let call = signer.presign(Call { path, ..call }, 299);
    Call {
        path: asked.to_owned(),
        ..call
    }
}

/// The clients are those of `deploy/CLIENTS.md`.
fn each_client_gets_in_as_it_signs(service: &Service) {
    for signer in [Signer::new("admin"), temporary()] {
        // Channels of their own: connects are counted by channel.
        let channel = |name: &str| service.create(&signer, &format!("{name}-{}", signer.id));
        for (name, signed, asked) in [
            ("sdk", "/", "/"),
            ("viewer", "/viewer", "/viewer"),
            ("swift", "/viewer", "/viewer/"),
            ("home", "/", "/viewer/"),
            ("dart", "/viewer/", "/"),
        ] {
            let arn = channel(name);
            let call = Call::master(&service.broker, &arn);
            let mut camera = service.connect(&upgrade(&signer, call, "/", "/"));
            let call = Call::viewer(&service.broker, &arn, "v1");
            let mut page = service.connect(&upgrade(&signer, call, signed, asked));
            relay(&mut camera, &mut page);
        }
        // Cameras that sign a client id: their role is the path that they signed.
        for (name, signed, asked) in [
            ("c", "/master", "/"),
            ("slash", "/master", "/master/"),
            ("slashed", "/master/", "/"),
        ] {
            let arn = channel(name);
            let viewer = || Call::viewer(&service.broker, &arn, "v1");
            let mut other = service.connect(&upgrade(&signer, viewer(), signed, asked));
            let mut page = service.connect(&upgrade(&signer, viewer(), "/", "/"));
            relay(&mut other, &mut page);
        }
    }
}

fn a_path_that_is_only_asked_for_makes_no_master(service: &Service) {
    let signer = Signer::new("admin");
    let arn = service.create(&signer, "attack");
    let viewer = || Call::viewer(&service.broker, &arn, "v1");
    let mut camera = service.master(&signer, &arn);
    for asked in ["/master", "/master/"] {
        let mut page = service.connect(&upgrade(&signer, viewer(), "/", asked));
        relay(&mut camera, &mut page);
        for signed in ["/viewer", "/viewer/"] {
            let call = upgrade(&signer, viewer(), signed, asked);
            service.refuses(&call, &MISMATCH, signed);
        }
        // A key that may be a viewer alone is one wherever it asks; one that may not, is refused as that.
        let camera_key = Signer::new("camera");
        let call = upgrade(&camera_key, viewer(), "/", asked);
        let told = service.send(&call).refused(403, "AccessDeniedException");
        assert!(told.contains("kinesisvideo:ConnectAsViewer"), "{told}");
    }
    // The master is who it was.
    let mut page = service.connect(&signer.presign(viewer(), 299));
    relay(&mut camera, &mut page);
}
