//! The plan, request by request.

use super::*;
use crate::domain::key::RefreshKeyState;
use crate::keys::KeyError;

/// Keys without any cryptography.
#[derive(Default)]
struct Named(u32);

impl NewKeys for Named {
    fn signing(&mut self, alg: Alg) -> Result<NewKey, KeyError> {
        self.0 += 1;
        self.imported(&Kid::new(format!("{alg}-{}", self.0)))
    }

    fn imported(&mut self, kid: &Kid) -> Result<NewKey, KeyError> {
        Ok(NewKey { kid: kid.clone(), public_jwk: String::new(), sealed_private: vec![1] })
    }

    fn refresh(&mut self, version: u8) -> Result<Vec<u8>, KeyError> {
        Ok(vec![version])
    }
}

const MINUTE: Duration = Duration::from_secs(60);
const START: Timestamp = Timestamp::from_seconds(1_800_000_000);

struct Bench {
    table: KeyTable,
    policy: KeyPolicy,
    nodes: Vec<NodeView>,
    keys: Named,
    now: Timestamp,
}

impl Bench {
    /// After the first start.
    fn new() -> Self {
        let mut bench = Self {
            table: KeyTable::default(),
            policy: KeyPolicy::default(),
            nodes: Vec::new(),
            keys: Named::default(),
            now: START,
        };
        bench.carry_out(&Request::Tick).unwrap();
        bench
    }

    fn plan(&self, request: &Request) -> Result<Plan, PlanRefusal> {
        plan(self.now, &self.table, &self.policy, &self.nodes, request)
    }

    fn carry_out(&mut self, request: &Request) -> Result<Plan, PlanRefusal> {
        let plan = self.plan(request)?;
        apply(&mut self.table, &plan, &mut self.keys, self.now).unwrap();
        self.table.revision += i64::from(!plan.actions.is_empty());
        Ok(plan)
    }

    fn after(&mut self, span: Duration) -> &mut Self {
        self.now = self.now.plus(span);
        self
    }

    fn states(&self, alg: Alg) -> Vec<(&str, &str)> {
        let keys = self.table.signing.iter().filter(|key| key.alg == alg);
        keys.map(|key| (key.kid.as_str(), key.state.as_str())).collect()
    }

    fn key(&mut self, kid: &str) -> &mut SigningKey {
        self.table.signing.iter_mut().find(|key| key.kid.as_str() == kid).unwrap()
    }

    fn timeline(&self, kid: &str) -> Timeline {
        let key = self.table.signing.iter().find(|key| key.kid.as_str() == kid).unwrap();
        timeline(self.now, key, &self.table, &self.policy, &self.nodes)
    }
}

fn rotate(mode: Mode) -> Request {
    Request::Rotate { alg: Alg::ES256, mode }
}

fn compromise(kid: Option<&str>) -> Request {
    Request::Compromise { alg: Alg::ES256, kid: kid.map(Kid::new) }
}

#[test]
fn a_first_start_makes_an_active_key_and_a_standby_of_each_kind() {
    let mut bench = Bench::new();
    assert_eq!(bench.states(Alg::ES256), [("ES256-1", "active"), ("ES256-2", "standby")]);
    assert_eq!(bench.states(Alg::RS256), [("RS256-3", "active"), ("RS256-4", "standby")]);
    assert_eq!(bench.table.refresh.len(), 1);
    assert_eq!((bench.table.refresh[0].version, bench.table.refresh[0].state), (1, RefreshKeyState::Active));
    let again = bench.carry_out(&Request::Tick).unwrap();
    assert_eq!(again.actions, []);
    assert_eq!(again.waits_until, Some(START.plus(bench.policy.rotate_every)));
}

#[test]
fn a_key_is_followed_when_its_time_is_over_and_retires_after_its_last_token() {
    let mut bench = Bench::new();
    bench.key("ES256-1").longest_ttl = 10 * MINUTE;
    let every = bench.policy.rotate_every;
    bench.after(every).carry_out(&Request::Tick).unwrap();
    assert_eq!(bench.states(Alg::ES256), [("ES256-1", "retiring"), ("ES256-2", "active"), ("ES256-5", "standby")]);
    assert_eq!(bench.key("ES256-1").sealed_private, None);
    assert_eq!(bench.timeline("ES256-1").retires_at, Some(bench.now.plus(11 * MINUTE)));
    bench.after(11 * MINUTE - Duration::from_millis(1)).carry_out(&Request::Tick).unwrap();
    assert_eq!(bench.states(Alg::ES256)[0], ("ES256-1", "retiring"));
    bench.after(Duration::from_millis(1)).carry_out(&Request::Tick).unwrap();
    assert_eq!(bench.states(Alg::ES256)[0], ("ES256-1", "retired"));
}

#[test]
fn a_planned_rotation_waits_for_ripeness_and_is_remembered() {
    let mut bench = Bench::new();
    let ripe = START.plus(11 * MINUTE);
    let plan = bench.carry_out(&rotate(Mode::Planned)).unwrap();
    assert_eq!(plan.actions, [Action::RecordRequest { kid: Kid::new("ES256-2") }]);
    assert_eq!(plan.waits_until, Some(ripe));
    assert!(plan.notes[0].contains(&ripe.rfc3339()), "{:?}", plan.notes);
    let again = bench.carry_out(&rotate(Mode::Planned)).unwrap();
    assert_eq!((again.actions, again.waits_until), (vec![], Some(ripe)));
    assert_eq!(bench.timeline("ES256-2").activates_at, Some(ripe));

    bench.after(11 * MINUTE - Duration::from_millis(1)).carry_out(&Request::Tick).unwrap();
    assert_eq!(bench.states(Alg::ES256)[1], ("ES256-2", "standby"));
    bench.after(Duration::from_millis(1)).carry_out(&Request::Tick).unwrap();
    assert_eq!(bench.states(Alg::ES256)[1], ("ES256-2", "active"));
    assert_eq!(bench.key("ES256-2").rotation_requested_at, None);
    assert_eq!(bench.states(Alg::RS256)[0], ("RS256-3", "active"), "the other algorithm was not asked for");
}

#[test]
fn now_refuses_an_unripe_standby_and_says_when_it_will_be_ripe() {
    let mut bench = Bench::new();
    let refusal = bench.plan(&rotate(Mode::Now { force: false })).unwrap_err();
    let ripe = START.plus(11 * MINUTE);
    assert!(matches!(&refusal, PlanRefusal::Unripe { ripe_at: Some(at), .. } if *at == ripe));
    assert!(refusal.to_string().contains(&ripe.rfc3339()), "{refusal}");

    let forced = bench.plan(&rotate(Mode::Now { force: true })).unwrap();
    assert!(forced.notes[0].contains("refuse its tokens"), "{:?}", forced.notes);
    assert_eq!(forced.actions.len(), 3);

    let ripe = bench.after(11 * MINUTE).carry_out(&rotate(Mode::Now { force: false })).unwrap();
    assert_eq!((ripe.actions.len(), ripe.notes.len()), (3, 0));
}

#[test]
fn a_longer_max_age_served_before_delays_ripeness_and_is_forgotten_in_time() {
    let mut bench = Bench::new();
    for key in &mut bench.table.signing {
        key.longest_max_age = 120 * MINUTE;
    }
    bench.after(11 * MINUTE).carry_out(&rotate(Mode::Planned)).unwrap();
    assert_eq!(bench.key("ES256-5").unseen_max_age, 120 * MINUTE);
    assert_eq!(bench.timeline("ES256-5").ripe_at, Some(bench.now.plus(121 * MINUTE)));
    bench.after(121 * MINUTE).carry_out(&rotate(Mode::Now { force: false })).unwrap();
    assert_eq!(bench.key("ES256-6").unseen_max_age, 120 * MINUTE);
    // RS256's keys are still those that were served for two hours.
    bench.carry_out(&Request::Rotate { alg: Alg::RS256, mode: Mode::Planned }).unwrap();
    bench.after(200 * MINUTE).carry_out(&Request::Tick).unwrap();
    bench.after(200 * MINUTE).carry_out(&rotate(Mode::Planned)).unwrap();
    bench.carry_out(&Request::Rotate { alg: Alg::RS256, mode: Mode::Planned }).unwrap();
    bench.after(200 * MINUTE).carry_out(&Request::Tick).unwrap();
    bench.after(200 * MINUTE).carry_out(&rotate(Mode::Planned)).unwrap();
    let newest = bench.table.signing.iter().rfind(|key| key.alg == Alg::ES256).unwrap();
    assert_eq!(newest.unseen_max_age, 10 * MINUTE);
}

#[test]
fn a_standby_waits_for_every_node_to_load_it() {
    let mut bench = Bench::new();
    bench.nodes = vec![NodeView { loaded_revision: 1 }, NodeView { loaded_revision: 0 }];
    bench.after(60 * MINUTE);
    let refusal = bench.plan(&rotate(Mode::Now { force: false })).unwrap_err();
    assert!(matches!(&refusal, PlanRefusal::Unripe { ripe_at: None, .. }), "{refusal}");
    let every = bench.policy.rotate_every;
    bench.after(every);
    assert_eq!(bench.plan(&Request::Tick).unwrap().actions, []);
    assert!(bench.timeline("ES256-2").reason.unwrap().contains("one node"));
    assert_eq!(bench.timeline("ES256-2").activates_at, None);
    bench.nodes[1].loaded_revision = 1;
    assert_eq!(bench.plan(&Request::Tick).unwrap().actions.len(), 6);
}

#[test]
fn a_compromised_active_key_goes_at_once_and_the_standby_takes_over() {
    let mut bench = Bench::new();
    let plan = bench.carry_out(&compromise(None)).unwrap();
    assert_eq!(bench.states(Alg::ES256), [("ES256-1", "compromised"), ("ES256-2", "active"), ("ES256-5", "standby")]);
    let notes = plan.notes.join("\n");
    assert!(notes.contains("Introspection refuses"), "{notes}");
    assert!(notes.contains(&bench.now.plus(10 * MINUTE).rfc3339()), "{notes}");
    assert!(notes.contains("is not ripe"), "{notes}");
    assert_eq!(
        bench.plan(&compromise(Some("ES256-1"))).unwrap_err(),
        PlanRefusal::CompromisedBefore { kid: Kid::new("ES256-1") }
    );
}

#[test]
fn keys_that_do_not_sign_can_be_compromised_too() {
    let mut bench = Bench::new();
    bench.carry_out(&compromise(Some("ES256-2"))).unwrap();
    assert_eq!(bench.states(Alg::ES256), [("ES256-1", "active"), ("ES256-2", "compromised"), ("ES256-5", "standby")]);
    bench.after(11 * MINUTE).carry_out(&rotate(Mode::Planned)).unwrap();
    bench.carry_out(&compromise(Some("ES256-1"))).unwrap();
    assert_eq!(bench.states(Alg::ES256)[0], ("ES256-1", "compromised"));
    bench.after(11 * MINUTE).carry_out(&rotate(Mode::Planned)).unwrap();
    bench.after(11 * MINUTE).carry_out(&Request::Tick).unwrap();
    assert_eq!(bench.states(Alg::ES256)[2], ("ES256-5", "retired"));
    bench.carry_out(&compromise(Some("ES256-5"))).unwrap();
    assert_eq!(bench.states(Alg::ES256)[2], ("ES256-5", "compromised"));
}

#[test]
fn without_a_standby_a_compromise_makes_an_active_key() {
    let mut bench = Bench::new();
    bench.table.signing.retain(|key| key.kid.as_str() != "ES256-2");
    let plan = bench.carry_out(&compromise(None)).unwrap();
    assert_eq!(bench.states(Alg::ES256), [("ES256-1", "compromised"), ("ES256-5", "active"), ("ES256-6", "standby")]);
    assert!(plan.notes.iter().any(|note| note.contains("a new key signs at once")), "{:?}", plan.notes);
}

#[test]
fn names_that_mean_nothing_are_refused() {
    let bench = Bench::new();
    let refusal = |request| bench.plan(&request).unwrap_err();
    assert_eq!(refusal(compromise(Some("x"))), PlanRefusal::UnknownKid { kid: Kid::new("x") });
    assert_eq!(
        refusal(compromise(Some("RS256-3"))),
        PlanRefusal::WrongAlg { kid: Kid::new("RS256-3"), alg: Alg::RS256 }
    );
    assert_eq!(refusal(Request::CompromiseRefresh { version: Some(9) }), PlanRefusal::UnknownVersion { version: 9 });
    let known = Request::Import { alg: Alg::ES256, kid: Kid::new("ES256-1") };
    assert_eq!(refusal(known), PlanRefusal::KnownKid { kid: Kid::new("ES256-1"), state: "active" });
    let empty = plan(START, &KeyTable::default(), &bench.policy, &[], &rotate(Mode::Planned));
    assert_eq!(empty.unwrap_err(), PlanRefusal::NoActive { alg: Alg::ES256 });
}

#[test]
fn an_imported_key_is_next_but_a_ripe_standby_replaces_a_lost_key() {
    let mut bench = Bench::new();
    bench.after(60 * MINUTE);
    bench.carry_out(&Request::Import { alg: Alg::ES256, kid: Kid::new("outside") }).unwrap();
    assert!(bench.timeline("ES256-2").reason.unwrap().contains("Another standby"));
    assert!(bench.plan(&rotate(Mode::Now { force: false })).is_err());
    let lost = bench.plan(&compromise(None)).unwrap();
    assert!(lost.actions.contains(&Action::Activate { kid: Kid::new("ES256-2") }), "{lost:?}");
    bench.after(11 * MINUTE).carry_out(&rotate(Mode::Planned)).unwrap();
    assert_eq!(
        bench.states(Alg::ES256),
        [("ES256-1", "retiring"), ("ES256-2", "standby"), ("outside", "active")],
        "the other standby is still there, so no third is made"
    );
}

#[test]
fn a_clock_that_is_set_back_hastens_nothing() {
    let mut bench = Bench::new();
    bench.key("ES256-1").longest_ttl = 30 * MINUTE;
    bench.table.refresh[0].longest_absolute = 60 * MINUTE;
    bench.after(60 * MINUTE).carry_out(&Request::RotateRefresh).unwrap();
    let right = bench.now;
    // An hour back: what is stamped now must not look an hour old once the clock is right again.
    bench.now = START.plus(15 * MINUTE);
    bench.carry_out(&rotate(Mode::Planned)).unwrap();
    assert_eq!(bench.key("ES256-1").state, KeyState::Retiring { since: right });
    assert_eq!(bench.key("ES256-5").created_at, right);
    bench.now = START.minus(60 * MINUTE);
    assert_eq!(bench.plan(&Request::Tick).unwrap().actions, []);
    bench.now = right.plus(10 * MINUTE);
    assert_eq!(bench.plan(&Request::Tick).unwrap().actions, []);
}

#[test]
fn a_stamp_of_a_clock_that_was_far_ahead_is_not_followed() {
    let mut bench = Bench::new();
    bench.key("RS256-4").created_at = START.plus(365 * 24 * 60 * MINUTE);
    bench.after(11 * MINUTE).carry_out(&rotate(Mode::Planned)).unwrap();
    let now = bench.now;
    assert_eq!(bench.key("ES256-5").created_at, now);
}

#[test]
fn refresh_keys_are_kept_until_no_session_can_hold_a_token_of_theirs() {
    let mut bench = Bench::new();
    let month = 30 * 24 * 60 * MINUTE;
    bench.table.refresh[0].longest_absolute = month;
    bench.carry_out(&Request::RotateRefresh).unwrap();
    let states =
        |bench: &Bench| -> Vec<_> { bench.table.refresh.iter().map(|key| (key.version, key.state.as_str())).collect() };
    assert_eq!(states(&bench), [(1, "retained"), (2, "active")]);
    assert_eq!(bench.table.refresh[1].longest_absolute, month, "its tokens may be of sessions opened before");
    bench.after(month).carry_out(&Request::CompromiseRefresh { version: None }).unwrap();
    assert_eq!(states(&bench), [(1, "retained"), (2, "compromised"), (3, "active")]);
    bench.after(2 * MINUTE).carry_out(&Request::Tick).unwrap();
    assert_eq!(states(&bench), [(2, "compromised"), (3, "active")]);
    assert_eq!(
        bench.plan(&Request::CompromiseRefresh { version: Some(2) }).unwrap_err(),
        PlanRefusal::VersionCompromisedBefore { version: 2 }
    );
}

#[test]
fn version_numbers_start_over_and_zero_is_never_one() {
    let mut bench = Bench::new();
    bench.table.refresh[0].version = 255;
    bench.carry_out(&Request::RotateRefresh).unwrap();
    assert_eq!(bench.table.refresh[1].version, 1);
}
