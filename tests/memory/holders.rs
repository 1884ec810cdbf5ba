//! What a publisher remembers of each holder.

use vodozemac::olm::{Account, SessionConfig};

use super::{crowd::Crowd, figures::kept};

const MANY: usize = 1000;
/// What a holder may take beyond vodozemac's session, in bytes.
const HOLDER: usize = 4096;

#[test]
fn a_holder_takes_at_most_4_kib_beyond_its_olm_session() {
    // An Olm session as a handover leaves it.
    let ours = Account::new();
    let theirs: Vec<_> = (0..MANY)
        .map(|_| {
            let mut account = Account::new();
            (account.generate_one_time_keys(1).created[0], account.curve25519_key())
        })
        .collect();
    let (_sessions, bare) = kept(|| {
        let sessions = theirs.iter().map(|(one_time_key, curve)| {
            let config = SessionConfig::default();
            let mut olm = ours.create_outbound_session(config, *curve, *one_time_key).unwrap();
            olm.encrypt([7; 343]).unwrap();
            olm
        });
        sessions.collect::<Vec<_>>()
    });

    for claim in [20, 2048] {
        let mut crowd = Crowd::of(0);
        let questions: Vec<_> = (0..MANY)
            .map(|_| {
                let mut newcomer = crowd.newcomer();
                newcomer.claim = "x".repeat(claim);
                newcomer.subscribe()
            })
            .collect();
        let ((), holders) = kept(|| {
            for question in &questions {
                crowd.endpoint.handle_message(question, crowd.now).unwrap();
            }
            drop(crowd.work());
        });
        assert_eq!(crowd.endpoint.holders(crowd.stream).len(), MANY);
        let beyond = (holders - bare) / MANY;
        eprintln!(
            "a holder with a claim of {claim} bytes: {} bytes of heap, {beyond} beyond its session",
            holders / MANY
        );
        assert!((1..=HOLDER).contains(&beyond), "{beyond}");
    }
}
