//! Rotation that no verifier notices: the plan against simulated verifiers under a simulated clock.
//!
//! Random settings, rotations, clock steps and standstills; verifiers that obey `Cache-Control`, or cache by the habits
//! of the common libraries. Whatever happens, none of them meets a token whose key it does not know, unless that key
//! was declared compromised. Mutant planners show that the property can fail.

use std::collections::BTreeMap;
use std::time::Duration;

use latchkey::domain::ids::Kid;
use latchkey::domain::key::{Alg, KeyState, KeyTable};
use latchkey::domain::time::Timestamp;
use latchkey::keys::KeyError;
use latchkey::keys::jwks::JwksDocument;
use latchkey::keys::plan::{
    Action, KeyPolicy, Mode, NewKey, NewKeys, NodeView, Plan, PlanRefusal, Request, apply, plan, timeline,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// The signature of [`plan`], so that a mutant can stand in for it.
type Planner = fn(Timestamp, &KeyTable, &KeyPolicy, &[NodeView], &Request) -> Result<Plan, PlanRefusal>;

/// How far the server's clock may be off, in both directions, and how late the second node learns of a change. Four of
/// these are less than the 60 s of margin and of skew.
const WOBBLE: u64 = 14;

#[derive(Clone, Debug)]
enum Event {
    Rotate(Alg, Mode),
    /// Only where a standby is ripe: else verifiers must notice.
    CompromiseActive(Alg),
    CompromiseStandby(Alg),
    Import(Alg),
    JwksMaxAge(u64),
    AccessTtl(u64),
    RotateEvery(u64),
    /// The server's clock is set to this many seconds beside the true time.
    SetClock(i64),
    /// Nothing runs for this long.
    Standstill(u64),
}

#[derive(Clone, Debug)]
struct Scenario {
    policy: KeyPolicy,
    access_ttl: u64,
    /// Seconds until the event, and the event.
    events: Vec<(u64, Event)>,
    seed: u64,
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn algs() -> impl Strategy<Value = Alg> {
    prop_oneof![Just(Alg::ES256), Just(Alg::RS256)]
}

fn max_ages() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 1..120_u64, 300..1200_u64, 3600..20_000_u64]
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => algs().prop_map(|alg| Event::Rotate(alg, Mode::Planned)),
        4 => algs().prop_map(|alg| Event::Rotate(alg, Mode::Now { force: false })),
        2 => algs().prop_map(Event::CompromiseActive),
        1 => algs().prop_map(Event::CompromiseStandby),
        1 => algs().prop_map(Event::Import),
        2 => max_ages().prop_map(Event::JwksMaxAge),
        2 => (1..4000_u64).prop_map(Event::AccessTtl),
        1 => (900..20_000_u64).prop_map(Event::RotateEvery),
        3 => (-(WOBBLE as i64)..=WOBBLE as i64).prop_map(Event::SetClock),
        1 => (1..20_000_u64).prop_map(Event::Standstill),
    ]
}

fn scenarios() -> impl Strategy<Value = Scenario> {
    let policies =
        (900..20_000_u64, max_ages(), 600..1500_u64, 60..200_u64).prop_map(|(every, age, least, margin)| KeyPolicy {
            rotate_every: seconds(every),
            jwks_max_age: seconds(age),
            min_publication: seconds(least),
            publication_margin: seconds(margin),
            clock_skew: seconds(60),
        });
    let events = prop::collection::vec((0..4000_u64, events()), 4..24);
    (policies, 1..4000_u64, events, any::<u64>()).prop_map(|(policy, access_ttl, events, seed)| Scenario {
        policy,
        access_ttl,
        events,
        seed,
    })
}

/// A token of `kid` was refused for want of its key.
#[derive(Debug)]
#[expect(dead_code, reason = "read through Debug, where a test fails")]
struct Violation {
    at: u64,
    habit: Habit,
    kid: Kid,
}

/// What verifiers of the world do.
#[derive(Clone, Copy, Debug)]
enum Habit {
    /// Keeps the key set for its `max-age`, and fetches at no other time.
    ObeysMaxAge,
    /// PyJWT, jose: keeps it for `lifespan`, fetches on an unknown kid if the last fetch is `wait` ago.
    Cooldown { lifespan: u64, wait: u64 },
    /// keyfunc: fetches every hour, and on an unknown kid if the last such fetch is five minutes ago.
    Keyfunc,
    /// go-oidc: fetches on an unknown kid and at no other time.
    UntilUnknown,
}

const HABITS: [Habit; 5] = [
    Habit::ObeysMaxAge,
    Habit::Cooldown { lifespan: 300, wait: 30 },
    Habit::Cooldown { lifespan: 600, wait: 30 },
    Habit::Keyfunc,
    Habit::UntilUnknown,
];

struct Served {
    kids: Vec<Kid>,
    max_age_ms: u64,
}

impl Served {
    fn by(table: &KeyTable, policy: &KeyPolicy) -> Self {
        let document = JwksDocument::of(table, policy.jwks_max_age);
        let published = table.signing.iter().filter(|key| document.body.contains(&format!("{:?}", key.kid)));
        Self { kids: published.map(|key| key.kid.clone()).collect(), max_age_ms: document.max_age.as_millis() as u64 }
    }
}

struct Verifier {
    habit: Habit,
    kids: Vec<Kid>,
    fetched_at: u64,
    fetched_for_unknown_at: Option<u64>,
    max_age_ms: u64,
}

impl Verifier {
    fn fetch(&mut self, now: u64, served: &Served) {
        self.kids.clone_from(&served.kids);
        self.fetched_at = now;
        self.max_age_ms = served.max_age_ms;
    }

    /// Whether it finds the key of a token it is shown.
    fn finds(&mut self, kid: &str, now: u64, served: &Served) -> bool {
        let age = now - self.fetched_at;
        let stale = match self.habit {
            Habit::ObeysMaxAge => age >= self.max_age_ms,
            Habit::Cooldown { lifespan, .. } => age >= lifespan * 1000,
            Habit::Keyfunc => age >= 3_600_000,
            Habit::UntilUnknown => false,
        };
        if stale {
            self.fetch(now, served);
        }
        if self.knows(kid) {
            return true;
        }
        let may_fetch = match self.habit {
            Habit::ObeysMaxAge => false,
            Habit::Cooldown { wait, .. } => now - self.fetched_at >= wait * 1000,
            Habit::Keyfunc => self.fetched_for_unknown_at.is_none_or(|at| now - at >= 300_000),
            Habit::UntilUnknown => true,
        };
        if may_fetch {
            self.fetch(now, served);
            self.fetched_for_unknown_at = Some(now);
        }
        self.knows(kid)
    }

    fn knows(&self, kid: &str) -> bool {
        self.kids.iter().any(|known| known.as_str() == kid)
    }
}

/// Keys without any cryptography.
#[derive(Default)]
struct NamedKeys(u32);

impl NamedKeys {
    fn named(kid: Kid) -> NewKey {
        NewKey { public_jwk: format!("{{\"kid\":{kid:?}}}"), kid, sealed_private: vec![1] }
    }
}

impl NewKeys for NamedKeys {
    fn signing(&mut self, alg: Alg) -> Result<NewKey, KeyError> {
        self.0 += 1;
        Ok(Self::named(Kid::new(format!("{alg}-{}", self.0))))
    }

    fn imported(&mut self, kid: &Kid) -> Result<NewKey, KeyError> {
        Ok(Self::named(kid.clone()))
    }

    fn refresh(&mut self, version: u8) -> Result<Vec<u8>, KeyError> {
        Ok(vec![version])
    }
}

/// SplitMix64: fast, and the same for every run of a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

/// A service of two nodes, the second of which learns of changes late, and its verifiers.
struct World {
    planner: Planner,
    policy: KeyPolicy,
    access_ttl: u64,
    /// True time, in milliseconds.
    now: u64,
    /// The server's clock beside it.
    offset_ms: i64,
    table: KeyTable,
    second_node: KeyTable,
    second_node_loads_at: u64,
    keys: NamedKeys,
    verifiers: Vec<Verifier>,
    /// When the last token of each key expires, by the server's clock.
    tokens: BTreeMap<Kid, u64>,
    activations: u32,
    dice: Dice,
}

impl World {
    fn start(scenario: &Scenario, planner: Planner) -> Self {
        let mut world = Self {
            planner,
            policy: scenario.policy.clone(),
            access_ttl: scenario.access_ttl,
            now: 1_800_000_000_000,
            offset_ms: 0,
            table: KeyTable::default(),
            second_node: KeyTable::default(),
            second_node_loads_at: 0,
            keys: NamedKeys::default(),
            verifiers: Vec::new(),
            tokens: BTreeMap::new(),
            activations: 0,
            dice: Dice(scenario.seed),
        };
        world.ask(&Request::Tick);
        world.second_node = world.table.clone();
        let served = Served::by(&world.table, &world.policy);
        world.verifiers = HABITS
            .into_iter()
            .map(|habit| Verifier {
                habit,
                kids: served.kids.clone(),
                fetched_at: world.now,
                fetched_for_unknown_at: None,
                max_age_ms: served.max_age_ms,
            })
            .collect();
        world
    }

    fn clock(&self) -> Timestamp {
        Timestamp::from_millis(self.now as i64 + self.offset_ms)
    }

    fn nodes(&self) -> [NodeView; 2] {
        [self.table.revision, self.second_node.revision].map(|loaded_revision| NodeView { loaded_revision })
    }

    fn ask(&mut self, request: &Request) {
        let clock = self.clock();
        let Ok(plan) = (self.planner)(clock, &self.table, &self.policy, &self.nodes(), request) else { return };
        if plan.actions.is_empty() {
            return;
        }
        if let Err(error) = apply(&mut self.table, &plan, &mut self.keys, clock) {
            unreachable!("named keys are never missing: {error}");
        }
        self.table.revision += 1;
        self.second_node_loads_at = self.now + self.dice.below(WOBBLE * 1000);
        for action in &plan.actions {
            match action {
                Action::Activate { .. } => self.activations += 1,
                Action::Compromise { kid } => {
                    self.tokens.remove(kid);
                }
                _ => {}
            }
        }
        self.assert_sound();
    }

    /// What must hold of every table, whatever was asked.
    fn assert_sound(&self) {
        for alg in Alg::ALL {
            let count = |wanted: fn(KeyState) -> bool| {
                self.table.signing.iter().filter(|key| key.alg == alg && wanted(key.state)).count()
            };
            assert_eq!(count(|state| matches!(state, KeyState::Active { .. })), 1, "{alg}: {:?}", self.table);
            assert!(count(|state| state == KeyState::Standby) >= 1, "{alg}: {:?}", self.table);
        }
        for key in &self.table.signing {
            let signs = matches!(key.state, KeyState::Standby | KeyState::Active { .. });
            assert_eq!(key.sealed_private.is_some(), signs, "{key:?}");
        }
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Rotate(alg, mode) => self.ask(&Request::Rotate { alg: *alg, mode: *mode }),
            Event::CompromiseActive(alg) if self.has_ripe_standby(*alg) => {
                self.ask(&Request::Compromise { alg: *alg, kid: None });
            }
            Event::CompromiseActive(_) => {}
            Event::CompromiseStandby(alg) => {
                let standby = self.table.signing.iter().find(|key| key.alg == *alg && key.state == KeyState::Standby);
                let kid = standby.map(|key| key.kid.clone());
                self.ask(&Request::Compromise { alg: *alg, kid });
            }
            Event::Import(alg) => {
                let kid = Kid::new(format!("{alg}-from-outside-{}", self.dice.below(1_000_000)));
                self.ask(&Request::Import { alg: *alg, kid });
            }
            Event::JwksMaxAge(age) if self.second_node.revision == self.table.revision => {
                self.policy.jwks_max_age = seconds(*age);
                // Recorded before its first use, as the service does at its start.
                for key in self.table.signing.iter_mut().chain(&mut self.second_node.signing) {
                    if key.state.is_published() {
                        key.longest_max_age = key.longest_max_age.max(seconds(*age));
                    }
                }
            }
            Event::JwksMaxAge(_) => {}
            Event::AccessTtl(ttl) => self.access_ttl = *ttl,
            Event::RotateEvery(every) => self.policy.rotate_every = seconds(*every),
            Event::SetClock(offset) => self.offset_ms = offset * 1000,
            Event::Standstill(span) => self.now += span * 1000,
        }
    }

    fn has_ripe_standby(&self, alg: Alg) -> bool {
        let clock = self.clock();
        let synced = self.second_node.revision == self.table.revision;
        let mut standbys = self.table.signing.iter().filter(|key| key.alg == alg && key.state == KeyState::Standby);
        standbys.any(|key| {
            let timeline = timeline(clock, key, &self.table, &self.policy, &self.nodes());
            synced && timeline.ripe_at.is_some_and(|at| at <= clock)
        })
    }

    /// Lets time pass: the job ticks, both nodes mint, verifiers are shown tokens.
    fn pass(&mut self, span_ms: u64) -> Result<(), Violation> {
        let end = self.now + span_ms;
        while self.now < end {
            self.now += 1000 + self.dice.below(40_000);
            if self.now >= self.second_node_loads_at {
                self.second_node = self.table.clone();
            }
            self.ask(&Request::Tick);
            self.mint();
            self.show_tokens()?;
        }
        Ok(())
    }

    fn mint(&mut self) {
        let exp = (self.now as i64 + self.offset_ms) as u64 + self.access_ttl * 1000;
        let node = if self.dice.below(2) == 0 { &self.table } else { &self.second_node };
        let active = node.signing.iter().filter(|key| matches!(key.state, KeyState::Active { .. }));
        let active: Vec<Kid> = active.map(|key| key.kid.clone()).collect();
        for kid in active {
            let Some(key) = self.table.signing.iter_mut().find(|key| key.kid == kid) else { continue };
            if matches!(key.state, KeyState::Compromised { .. }) {
                continue;
            }
            key.longest_ttl = key.longest_ttl.max(seconds(self.access_ttl));
            let latest = self.tokens.entry(kid).or_default();
            *latest = exp.max(*latest);
        }
    }

    fn show_tokens(&mut self) -> Result<(), Violation> {
        let now = self.now;
        self.tokens.retain(|_, exp| *exp > now);
        let served = [&self.table, &self.second_node].map(|table| Served::by(table, &self.policy));
        for verifier in &mut self.verifiers {
            let served = &served[self.dice.below(2) as usize];
            if self.dice.below(30) == 0 {
                // Somebody else's token: it uses up the patience for unknown kids.
                verifier.finds("nobody's", now, served);
            }
            for kid in self.tokens.keys() {
                if self.dice.below(3) == 0 && !verifier.finds(kid.as_str(), now, served) {
                    return Err(Violation { at: now, habit: verifier.habit, kid: kid.clone() });
                }
            }
        }
        Ok(())
    }
}

/// Runs the scenario to its end, or to the first verifier that meets an unknown or missing key.
fn simulate(scenario: &Scenario, planner: Planner) -> Result<World, Violation> {
    let mut world = World::start(scenario, planner);
    for (gap, event) in &scenario.events {
        world.pass(gap * 1000)?;
        world.happen(event);
    }
    // Long enough for the last keys to retire.
    world.pass(6 * 3_600_000)?;
    Ok(world)
}

fn holds_for(planner: Planner, cases: u32) -> Result<(), String> {
    let config = Config { cases, max_shrink_iters: 64, failure_persistence: None, ..Config::default() };
    let rng = proptest::test_runner::TestRng::deterministic_rng(config.rng_algorithm);
    TestRunner::new_with_rng(config, rng)
        .run(&scenarios(), |scenario| match simulate(&scenario, planner) {
            Ok(_) => Ok(()),
            Err(violation) => Err(TestCaseError::fail(format!("{violation:?}"))),
        })
        .map_err(|error| error.to_string())
}

proptest! {
    #![proptest_config(Config { cases: 96, ..Config::default() })]

    #[test]
    fn no_verifier_meets_an_unknown_or_missing_key(scenario in scenarios()) {
        if let Err(violation) = simulate(&scenario, plan) {
            return Err(TestCaseError::fail(format!("{violation:?}")));
        }
    }
}

#[test]
fn the_plan_passes_where_its_mutants_fail() {
    holds_for(plan, 48).unwrap();
}

#[test]
fn a_planner_that_signs_too_early_is_caught() {
    fn mutant(
        now: Timestamp,
        table: &KeyTable,
        policy: &KeyPolicy,
        nodes: &[NodeView],
        request: &Request,
    ) -> Result<Plan, PlanRefusal> {
        let hasty = KeyPolicy { min_publication: Duration::ZERO, publication_margin: Duration::ZERO, ..policy.clone() };
        plan(now, table, &hasty, nodes, request)
    }
    let caught = holds_for(mutant, 48).unwrap_err();
    assert!(caught.contains("Violation"), "{caught}");
}

#[test]
fn a_planner_that_forgets_the_max_age_served_before_is_caught() {
    fn mutant(
        now: Timestamp,
        table: &KeyTable,
        policy: &KeyPolicy,
        nodes: &[NodeView],
        request: &Request,
    ) -> Result<Plan, PlanRefusal> {
        let mut forgetful = table.clone();
        for key in &mut forgetful.signing {
            key.unseen_max_age = key.unseen_max_age.min(policy.jwks_max_age);
        }
        plan(now, &forgetful, policy, nodes, request)
    }
    let caught = holds_for(mutant, 200).unwrap_err();
    assert!(caught.contains("ObeysMaxAge"), "{caught}");
}

#[test]
fn a_planner_that_retires_too_early_is_caught() {
    fn mutant(
        now: Timestamp,
        table: &KeyTable,
        policy: &KeyPolicy,
        nodes: &[NodeView],
        request: &Request,
    ) -> Result<Plan, PlanRefusal> {
        let mut forgetful = table.clone();
        for key in &mut forgetful.signing {
            key.longest_ttl /= 2;
        }
        plan(now, &forgetful, policy, nodes, request)
    }
    let caught = holds_for(mutant, 48).unwrap_err();
    assert!(caught.contains("Violation"), "{caught}");
}

#[test]
fn rotations_do_happen() {
    let policy = KeyPolicy { rotate_every: seconds(3600), ..KeyPolicy::default() };
    let scenario = Scenario { policy, access_ttl: 600, events: vec![(24 * 3600, Event::SetClock(0))], seed: 1 };
    let world = simulate(&scenario, plan).unwrap();
    assert!((56..=60).contains(&world.activations), "{} in 30 hours of two algorithms", world.activations);
    let published = world.table.signing.iter().filter(|key| key.state.is_published()).count();
    assert!(published <= 6, "{published} keys stay published");
}
