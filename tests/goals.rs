//! Holds what the load benchmark calls met and missed against figures whose verdict is known.

#[path = "../benches/load/goals.rs"]
mod goals;

use latchkey::domain::key::Alg;

use self::goals::*;

/// RSA signatures of a core where the peers were measured.
const PEERS: f64 = 3917.0;

fn limits() -> Limits {
    let machine = Machine {
        cores: 2,
        rsa_core: PEERS,
        rsa_all: 7000.0,
        ecdsa_core: 40_000.0,
        ecdsa_all: 70_000.0,
        argon2: 100.0,
    };
    Limits { machine, commits: Commits { single: 500.0, grouped: 20_000.0 }, bare: 30_000.0, client_share: 0.1 }
}

fn met(operation: Operation, store: Store, rate: f64) -> Vec<bool> {
    judge(operation, store, rate, &limits()).iter().filter_map(Held::is_met).collect()
}

#[test]
fn a_durable_refresh_is_ten_times_the_best_peer_and_near_the_lower_limit() {
    let refresh = Operation::Refresh(Alg::ES256);
    assert_eq!(met(refresh, Store::Sqlite, 16_000.0), [true, true]);
    assert_eq!(met(refresh, Store::Sqlite, 15_999.0), [true, false]);
    assert_eq!(met(refresh, Store::Sqlite, 8269.0), [false, false]);
    assert_eq!(met(refresh, Store::Postgres, 12_000.0), [true, true]);
    assert_eq!(met(refresh, Store::Postgres, 6859.0), [false, false]);
    // Where HTTP is the lower limit, it is the one that counts.
    let http = Limits { bare: 10_000.0, ..limits() };
    let held = judge(refresh, Store::Sqlite, 8300.0, &http);
    assert_eq!(held.iter().filter_map(Held::is_met).collect::<Vec<_>>(), [true, true]);
    // What was measured beside it counts.
    let mut beside = limits();
    beside.set(refresh, 25_000.0);
    assert_eq!(judge(refresh, Store::Sqlite, 16_000.0, &beside)[1].is_met(), Some(false));
    // On a machine of half the speed, so are the peers.
    let mut slow = limits();
    slow.machine = Machine { rsa_core: PEERS / 2.0, ecdsa_core: 20_000.0, ..slow.machine };
    assert_eq!(judge(refresh, Store::Sqlite, 4135.0, &slow)[0].is_met(), Some(true));
    // One that is slow at RSA alone is not a slow machine.
    slow.machine.ecdsa_core = 40_000.0;
    assert_eq!(judge(refresh, Store::Sqlite, 8269.0, &slow)[0].is_met(), Some(false));
}

#[test]
fn signatures_bound_what_rs256_can_reach() {
    assert_eq!(met(Operation::Refresh(Alg::RS256), Store::Sqlite, 5040.0), [true]);
    assert_eq!(met(Operation::Refresh(Alg::RS256), Store::Sqlite, 5039.0), [false]);
    assert_eq!(met(Operation::ClientCredentials(Alg::RS256), Store::Sqlite, 3526.0), [true]);
    assert_eq!(met(Operation::ClientCredentials(Alg::RS256), Store::Sqlite, 3525.0), [false]);
}

#[test]
fn every_operation_but_userinfo_has_a_goal() {
    for operation in Operation::ALL {
        for store in [Store::Sqlite, Store::Postgres] {
            assert_eq!(met(operation, store, 1e6).is_empty(), operation == Operation::Userinfo, "{operation}");
            assert!(met(operation, store, 1e6).iter().all(|met| *met), "{operation}");
            assert!(met(operation, store, 1.0).iter().all(|met| !met), "{operation}");
        }
    }
}

#[test]
fn what_must_be_small_is() {
    assert_eq!(judge_memory(38.1).is_met(), Some(true));
    assert_eq!(judge_memory(38.2).is_met(), Some(false));
    assert_eq!(judge_start(50.0).is_met(), Some(true));
    assert_eq!(judge_under_logins(2.1, 1.0).is_met(), Some(false));
    assert_eq!(judge_growth(1.3, 1.0).is_met(), Some(true));
    assert_eq!(judge_sweep(51.0).is_met(), Some(false));
}

#[test]
fn a_further_node_is_only_compared() {
    let [of_one, of_commits] = hold_nodes(300.0, 400.0, 1200.0);
    assert_eq!((of_one.ratio, of_commits.ratio), (0.75, 0.25));
    assert_eq!((of_one.is_met(), of_commits.is_met()), (None, None));
}

#[test]
fn everything_has_a_name_of_its_own() {
    let mut names: Vec<String> = Operation::ALL.iter().map(|operation| operation.name().to_owned()).collect();
    names.extend(limits().machine.named().map(|(name, _)| name));
    names.extend(
        [Store::Sqlite, Store::Postgres]
            .into_iter()
            .flat_map(|store| limits().commits.named(store))
            .map(|(name, _)| name),
    );
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count);
    let stored = Operation::ALL.into_iter().filter(|operation| operation.is_stored()).count();
    assert_eq!(stored, 5, "both refreshes, password, revoke, userinfo");
}

/// What was published is what its own figures say, and a goal that was missed shows where the rest goes.
#[test]
fn the_published_verdicts_follow_from_their_ratios() {
    let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let published = std::fs::read_to_string(docs.join("performance.md")).unwrap();
    let mut judged = 0;
    for line in published.lines().filter(|line| line.starts_with('|')) {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let Some(at) = cells.iter().position(|cell| cell.starts_with(['≥', '≤'])) else { continue };
        let number = |text: &str| text.trim_matches(['≥', '≤', ' ']).parse::<f64>().unwrap();
        let (ratio, wanted) = (number(cells[at - 1]), number(cells[at]));
        let is_met = if cells[at].starts_with('≥') { ratio >= wanted } else { ratio <= wanted };
        if is_met {
            assert_eq!(cells[at + 1], "met", "{line}");
        } else {
            let profile = cells[at + 1].strip_prefix("[missed](").and_then(|rest| rest.strip_suffix(')'));
            let profile = profile.unwrap_or_else(|| panic!("no profile: {line}"));
            assert!(docs.join(profile).exists(), "{profile} is not there: {line}");
        }
        judged += 1;
    }
    assert!(judged > 20, "{judged} verdicts were found");
}
