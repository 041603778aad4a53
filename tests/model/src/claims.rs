use loom::{sync::Arc, thread};

use super::claim::{Begun, Claim};

/// An application answers while the watchdog tells it that its time is up, and takes the request away.
#[test]
fn a_request_has_one_answer() {
    loom::model(|| {
        let claim = Arc::new(Claim::default());
        let applications = claim.clone();
        let application = thread::spawn(move || {
            let begun = applications.begin(200);
            applications.progressed(13);
            (begun, applications.is_late(), applications.settle())
        });
        claim.mark_late();
        let taken = claim.revoke();
        let sent = claim.sent();
        let (begun, late, settled) = application.join().unwrap();

        assert_ne!(taken.is_some(), settled, "one of them ends the answer");
        match taken {
            // The watchdog writes a head of its own.
            Some(Begun::No) => assert!(!begun && late),
            // It breaks the answer off, and knows what it has begun with.
            Some(Begun::Yes) => assert!(begun && sent.0 == 200),
            None => assert!(begun),
        }
        assert_eq!(claim.is_revoked(), taken.is_some());
        assert_eq!(claim.is_settled(), settled);
        assert!(!claim.is_the_applications());
    });
}
