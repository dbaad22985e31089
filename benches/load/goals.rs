//! What each figure is held against, and how much of it is wanted: the goals, in one place. Pure.

use std::fmt;

use latchkey::domain::key::Alg;

/// RSA-2048 and P-256 signatures a second of one core of the machine that the peers were measured on.
const PEERS_RSA_CORE: f64 = 3917.0;
const PEERS_ECDSA_CORE: f64 = 40_000.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    Sqlite,
    Postgres,
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        })
    }
}

/// What is asked for in a closed loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Refresh(Alg),
    ClientCredentials(Alg),
    Introspection,
    Jwks,
    JwksNotModified,
    Password,
    Revoke,
    Userinfo,
}

impl Operation {
    pub const ALL: [Self; 10] = [
        Self::Refresh(Alg::ES256),
        Self::Refresh(Alg::RS256),
        Self::ClientCredentials(Alg::ES256),
        Self::ClientCredentials(Alg::RS256),
        Self::Introspection,
        Self::Jwks,
        Self::JwksNotModified,
        Self::Password,
        Self::Revoke,
        Self::Userinfo,
    ];

    /// What `--only` calls it: the beginning of it is enough.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refresh(Alg::ES256) => "refresh-es256",
            Self::Refresh(Alg::RS256) => "refresh-rs256",
            Self::ClientCredentials(Alg::ES256) => "client_credentials-es256",
            Self::ClientCredentials(Alg::RS256) => "client_credentials-rs256",
            Self::Introspection => "introspection",
            Self::Jwks => "jwks",
            Self::JwksNotModified => "jwks-304",
            Self::Password => "password",
            Self::Revoke => "revoke",
            Self::Userinfo => "userinfo",
        }
    }

    /// Whether the database has a part in it.
    pub const fn is_stored(self) -> bool {
        matches!(self, Self::Refresh(_) | Self::Password | Self::Revoke | Self::Userinfo)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refresh(Alg::ES256) => "refresh, ES256",
            Self::Refresh(Alg::RS256) => "refresh, RS256",
            Self::ClientCredentials(Alg::ES256) => "client_credentials, ES256",
            Self::ClientCredentials(Alg::RS256) => "client_credentials, RS256",
            Self::Introspection => "introspection, cached",
            Self::Jwks => "JWKS",
            Self::JwksNotModified => "JWKS, 304",
            Self::Password => "password",
            Self::Revoke => "revoke",
            Self::Userinfo => "userinfo",
        })
    }
}

/// What the machine does a second, whatever the database.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    pub cores: usize,
    /// RSA-2048 signatures of one core and of all; the same of P-256.
    pub rsa_core: f64,
    pub rsa_all: f64,
    pub ecdsa_core: f64,
    pub ecdsa_all: f64,
    /// Hashes of all cores.
    pub argon2: f64,
}

impl Machine {
    /// How fast it is, beside the one that the peers were measured on. Processors differ more in RSA than in all else, so
    /// the kind of signature counts in which this one does better: no peer is made slower than it would be.
    fn speed(&self) -> f64 {
        (self.rsa_core / PEERS_RSA_CORE).max(self.ecdsa_core / PEERS_ECDSA_CORE)
    }

    /// Each with its name.
    pub fn named(&self) -> [(String, f64); 5] {
        let Self { cores, rsa_core, rsa_all, ecdsa_core, ecdsa_all, argon2 } = *self;
        [
            ("RSA-2048 signatures, one core".to_owned(), rsa_core),
            (format!("RSA-2048 signatures, {cores} cores"), rsa_all),
            ("P-256 signatures, one core".to_owned(), ecdsa_core),
            (format!("P-256 signatures, {cores} cores"), ecdsa_all),
            (format!("argon2id hashes, {cores} cores"), argon2),
        ]
    }
}

impl Commits {
    /// Each with its name.
    pub fn named(&self, store: Store) -> [(String, f64); 2] {
        [
            (format!("durable rows, {store}, a commit each"), self.single),
            (format!("durable rows, {store}, group commits"), self.grouped),
        ]
    }
}

/// Durable rows a second: one in each commit, and several by group commit.
#[derive(Clone, Copy, Debug)]
pub struct Commits {
    pub single: f64,
    pub grouped: f64,
}

/// Everything that the rate of an operation may be held against.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub machine: Machine,
    pub commits: Commits,
    /// The bare endpoint's rate on the same request.
    pub bare: f64,
    /// The client's share of all cores while the operation was measured.
    pub client_share: f64,
}

impl Limits {
    /// Takes the limit that the operation's goal names as it was measured beside it.
    pub const fn set(&mut self, operation: Operation, rate: f64) {
        match operation {
            Operation::Refresh(Alg::ES256) | Operation::Revoke => self.commits.grouped = rate,
            Operation::Refresh(Alg::RS256) => self.machine.rsa_all = rate,
            Operation::ClientCredentials(Alg::RS256) => self.machine.rsa_core = rate,
            Operation::Password => self.machine.argon2 = rate,
            _ => {}
        }
    }
}

/// A figure beside what it is held against.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// What the limit is.
    pub against: String,
    pub limit: f64,
    /// The figure, divided by the limit.
    pub ratio: f64,
    pub goal: Option<Goal>,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What this machine can reach.
    Limit,
    /// What another product has reached, scaled to this machine.
    Peer,
    /// A number that was set, or another figure of the run.
    Mark,
}

/// What the ratio must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

impl Held {
    fn new(figure: f64, limit: f64, against: impl Into<String>, goal: Option<Goal>) -> Self {
        Self { against: against.into(), limit, ratio: figure / limit, goal, kind: Kind::Mark }
    }

    /// `None` where nothing is wanted of it.
    pub fn is_met(&self) -> Option<bool> {
        self.goal.map(|goal| match goal {
            Goal::AtLeast(wanted) => self.ratio >= wanted,
            Goal::AtMost(wanted) => self.ratio <= wanted,
        })
    }
}

/// What the rate of an operation comes to.
pub fn judge(operation: Operation, store: Store, rate: f64, limits: &Limits) -> Vec<Held> {
    let Limits { machine, commits, bare, client_share } = *limits;
    let speed = machine.speed();
    let limit = |at: f64, against: &str, wanted: Option<f64>| Held {
        kind: Kind::Limit,
        ..Held::new(rate, at, against, wanted.map(Goal::AtLeast))
    };
    let peer = |name: &str, reached: f64, wanted: Option<f64>| {
        let at = reached * speed;
        Held { kind: Kind::Peer, ..Held::new(rate, at, format!("{name}, scaled"), wanted.map(Goal::AtLeast)) }
    };
    let bare = |wanted| limit(bare, "bare Poem endpoint", wanted);
    let commit = |wanted| limit(commits.grouped, "group commits", wanted);
    let single = limit(commits.single, "single commits", None);
    match (operation, store) {
        (Operation::Refresh(Alg::ES256), Store::Sqlite) => {
            let (of_commits, of_http) =
                if commits.grouped < limits.bare { (Some(0.8), None) } else { (None, Some(0.8)) };
            vec![peer("Keycloak", 827.0, Some(10.0)), commit(of_commits), bare(of_http), single]
        }
        (Operation::Refresh(Alg::ES256), Store::Postgres) => {
            vec![peer("Hydra", 686.0, Some(10.0)), commit(Some(0.6)), bare(None), single]
        }
        (Operation::Refresh(Alg::RS256), _) => {
            let left = machine.rsa_all * (1.0 - client_share);
            vec![limit(left, "RSA signatures beside the client", Some(0.8)), peer("Keycloak", 827.0, None)]
        }
        (Operation::ClientCredentials(Alg::RS256), _) => {
            let core = limit(machine.rsa_core, "RSA signatures of one core", Some(0.9));
            vec![core, peer("Keycloak", 1215.0, None)]
        }
        (Operation::ClientCredentials(Alg::ES256), _) => {
            let signatures = limit(machine.ecdsa_all, "P-256 signatures of all cores", None);
            vec![bare(Some(0.8)), signatures, peer("oidc-provider", 2492.0, None)]
        }
        (Operation::Introspection, _) => vec![bare(Some(0.8)), peer("Rauthy", 4851.0, None)],
        (Operation::Jwks, _) => vec![bare(Some(0.95)), peer("Rauthy", 25072.0, None)],
        (Operation::JwksNotModified, _) => vec![bare(Some(0.95))],
        (Operation::Password, _) => vec![limit(machine.argon2, "bare argon2", Some(0.95))],
        (Operation::Revoke, _) => vec![commit(Some(0.8)), bare(None), single],
        (Operation::Userinfo, _) => vec![bare(None)],
    }
}

/// MiB resident after 100,000 requests: 40 MB.
pub fn judge_memory(mebibytes: f64) -> Held {
    Held::new(mebibytes, 40e6 / f64::from(1 << 20), "40 MB", Some(Goal::AtMost(1.0)))
}

/// Milliseconds from exec to ready.
pub fn judge_start(milliseconds: f64) -> Held {
    Held::new(milliseconds, 50.0, "50 ms", Some(Goal::AtMost(1.0)))
}

/// A request's p99 while logins queue, against its own without them.
pub fn judge_under_logins(p99: f64, idle: f64) -> Held {
    Held::new(p99, idle, "its p99 without logins", Some(Goal::AtMost(2.0)))
}

/// A request's p99 in a large table, against its own in a small one.
pub fn judge_growth(p99: f64, small: f64) -> Held {
    Held::new(p99, small, "its p99 with 1,000 sessions", Some(Goal::AtMost(1.3)))
}

/// A rate over several nodes, against that of one and PostgreSQL's bare commits. No goal: nodes of one machine share its
/// cores.
pub fn hold_nodes(rate: f64, of_one: f64, commits: f64) -> [Held; 2] {
    [Held::new(rate, of_one, "one node", None), Held::new(rate, commits, "pgbench commits", None)]
}

/// The longest request while expired rows are swept, in milliseconds.
pub fn judge_sweep(longest: f64) -> Held {
    Held::new(longest, 50.0, "50 ms", Some(Goal::AtMost(1.0)))
}
