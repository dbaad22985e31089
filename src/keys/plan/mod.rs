//! Rotation as a pure plan: what follows from the key table, the settings and the time, or from what an operator asks.
//!
//! For each algorithm there is an active key and a published standby. A standby is activated only when it is *ripe*:
//! when no verifier can still hold a key set without it. A retiring key leaves the key set only when the last token it
//! signed has expired. So every change that a verifier needs was published long before it is needed.
//!
//! [`plan`] decides, [`apply`] changes the rows; a job and the admin API only carry that out. The property test
//! `tests/rotation.rs` runs the two against simulated verifiers.
//!
//! What no plan can guard against is a clock that runs ahead by more than `publication_margin` for a while: a moment
//! is all it knows of the time that has passed.

mod apply;
mod notes;
mod refresh;
mod timeline;

use std::time::Duration;

use crate::domain::ids::Kid;
use crate::domain::key::{Alg, KeyState, KeyTable, SigningKey};
use crate::domain::time::Timestamp;

pub use apply::{NewKey, NewKeys, SealedKeys, apply};
pub use timeline::{Timeline, timeline};

/// The `keys.*` settings that rotation follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPolicy {
    /// How long a key signs before the standby follows it.
    pub rotate_every: Duration,
    /// The `max-age` that the key set is served with.
    pub jwks_max_age: Duration,
    /// The least time a standby is published: verifiers wait between fetches whatever `max-age` says.
    pub min_publication: Duration,
    /// Added to that: what slow answers and small steps of clocks may take.
    pub publication_margin: Duration,
    /// How far the clocks of nodes and verifiers may differ.
    pub clock_skew: Duration,
}

impl Default for KeyPolicy {
    fn default() -> Self {
        Self {
            rotate_every: Duration::from_secs(30 * 24 * 60 * 60),
            jwks_max_age: Duration::from_secs(600),
            min_publication: Duration::from_secs(600),
            publication_margin: Duration::from_secs(60),
            clock_skew: Duration::from_secs(60),
        }
    }
}

/// What a live node has reported. No nodes at all means that the planning node is the only one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// The revision of the key table it signs and verifies with.
    pub loaded_revision: i64,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// The job's regular question: what is due?
    Tick,
    /// Let the standby take over.
    Rotate { alg: Alg, mode: Mode },
    /// The private half is lost; `None` means the active key's.
    Compromise { alg: Alg, kid: Option<Kid> },
    /// Take in a key from outside as a standby; it is the next to be activated.
    Import { alg: Alg, kid: Kid },
    /// Derive new refresh tokens with new keys; the present ones stay valid.
    RotateRefresh,
    /// A version of the refresh keys is lost; `None` means the active one.
    CompromiseRefresh { version: Option<u8> },
}

/// When the standby takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As soon as it is ripe.
    Planned,
    /// Now; with `force` even where some verifiers will refuse its tokens for a while.
    Now { force: bool },
}

/// One change of the key table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A new key that is published and signs at once: there is none that could have been published before.
    CreateActive {
        alg: Alg,
        longest_max_age: Duration,
    },
    CreateStandby {
        alg: Alg,
        unseen_max_age: Duration,
        longest_max_age: Duration,
    },
    Import {
        kid: Kid,
        alg: Alg,
        unseen_max_age: Duration,
        longest_max_age: Duration,
    },
    /// Remember on the standby that it was asked to take over once ripe.
    RecordRequest {
        kid: Kid,
    },
    Activate {
        kid: Kid,
    },
    /// Stop signing; the private half is destroyed.
    BeginRetiring {
        kid: Kid,
    },
    /// Leave the key set.
    Retire {
        kid: Kid,
    },
    /// Leave the key set at once; the private half is destroyed.
    Compromise {
        kid: Kid,
    },
    /// `longest_absolute` is inherited: a session keeps its end when its token moves on to this version.
    CreateRefresh {
        version: u8,
        longest_absolute: Duration,
    },
    RetainRefresh {
        version: u8,
    },
    CompromiseRefresh {
        version: u8,
    },
    DropRefresh {
        version: u8,
    },
}

/// What to do now, and what is told of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub actions: Vec<Action>,
    /// When what was asked for will happen; of a tick, when the next thing is due. `None` where that depends on nodes
    /// or there is nothing to wait for.
    pub waits_until: Option<Timestamp>,
    /// Sentences for the operator.
    pub notes: Vec<String>,
}

/// Why nothing is done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanRefusal {
    #[error("the {alg} standby {kid} is not ripe: {reason}; wait (`planned` does), or set `force`")]
    Unripe {
        alg: Alg,
        kid: Kid,
        /// `None` where nodes have yet to load it.
        ripe_at: Option<Timestamp>,
        reason: String,
    },
    #[error("there is no key {kid}: list the keys to see their names")]
    UnknownKid { kid: Kid },
    #[error("the key {kid} is for {alg}")]
    WrongAlg { kid: Kid, alg: Alg },
    #[error("the key {kid} is compromised already")]
    CompromisedBefore { kid: Kid },
    #[error("the key {kid} is here already and is {state}")]
    KnownKid { kid: Kid, state: &'static str },
    #[error("there is no active {alg} key yet: wait for the first start to finish")]
    NoActive { alg: Alg },
    #[error("there is no {alg} standby yet: the next tick of the rotation job makes one")]
    NoStandby { alg: Alg },
    #[error("there is no version {version} of the refresh keys")]
    UnknownVersion { version: u8 },
    #[error("version {version} of the refresh keys is compromised already")]
    VersionCompromisedBefore { version: u8 },
    #[error("there is no active version of the refresh keys yet: wait for the first start to finish")]
    NoRefreshKeys,
    #[error("all 255 versions of the refresh keys are in use: wait until the oldest is dropped")]
    NoVersionLeft,
}

/// Decides what follows from `request` at `now`. Pure; a plan holds for the revision of `table` only.
///
/// # Errors
/// The request cannot be met, or not now.
pub fn plan(
    now: Timestamp,
    table: &KeyTable,
    policy: &KeyPolicy,
    nodes: &[NodeView],
    request: &Request,
) -> Result<Plan, PlanRefusal> {
    let view = View { now, table, policy, nodes };
    match request {
        Request::Tick => view.tick(),
        Request::Rotate { alg, mode } => view.rotate(*alg, *mode),
        Request::Compromise { alg, kid } => view.compromise(*alg, kid.as_ref()),
        Request::Import { alg, kid } => view.import(*alg, kid),
        Request::RotateRefresh => view.rotate_refresh(),
        Request::CompromiseRefresh { version } => view.compromise_refresh(*version),
    }
}

/// Everything a decision looks at.
#[derive(Clone, Copy)]
struct View<'a> {
    now: Timestamp,
    table: &'a KeyTable,
    policy: &'a KeyPolicy,
    nodes: &'a [NodeView],
}

impl<'a> View<'a> {
    fn tick(&self) -> Result<Plan, PlanRefusal> {
        let mut plan = Plan::default();
        for key in &self.table.signing {
            if let KeyState::Retiring { since } = key.state {
                let at = self.retires_at(key, since);
                if self.now >= at {
                    plan.actions.push(Action::Retire { kid: key.kid.clone() });
                } else {
                    plan.wait_for(at);
                }
            }
        }
        for alg in Alg::ALL {
            self.tick_alg(alg, &mut plan);
        }
        self.tick_refresh(&mut plan)?;
        Ok(plan)
    }

    fn tick_alg(&self, alg: Alg, plan: &mut Plan) {
        match (self.active(alg), self.next_standby(alg)) {
            (Some(active), Some(standby)) => {
                if self.now < self.due_at(&active, standby) {
                    plan.wait_for(self.due_at(&active, standby).max(self.ripe_at(standby)));
                } else if self.is_ripe(standby) {
                    self.hand_over(&active, standby, plan);
                } else if self.now < self.ripe_at(standby) {
                    plan.wait_for(self.ripe_at(standby));
                }
            }
            (Some(_), None) => plan.actions.push(self.create_standby(alg)),
            (None, _) => self.fill_active(alg, self.replacement(alg), plan),
        }
    }

    fn rotate(&self, alg: Alg, mode: Mode) -> Result<Plan, PlanRefusal> {
        let active = self.active(alg).ok_or(PlanRefusal::NoActive { alg })?;
        let standby = self.next_standby(alg).ok_or(PlanRefusal::NoStandby { alg })?;
        let mut plan = Plan::default();
        if self.is_ripe(standby) {
            self.hand_over(&active, standby, &mut plan);
            return Ok(plan);
        }
        match mode {
            Mode::Planned => {
                if standby.rotation_requested_at.is_none() {
                    plan.actions.push(Action::RecordRequest { kid: standby.kid.clone() });
                }
                plan.waits_until = Some(self.ripe_at(standby)).filter(|at| *at > self.now);
                plan.notes.push(format!(
                    "The standby {} takes over once it is ripe: {}.",
                    standby.kid,
                    self.unripe(standby)
                ));
            }
            Mode::Now { force: true } => {
                plan.notes.push(self.early_note(standby));
                self.hand_over(&active, standby, &mut plan);
            }
            Mode::Now { force: false } => {
                return Err(PlanRefusal::Unripe {
                    alg,
                    kid: standby.kid.clone(),
                    ripe_at: Some(self.ripe_at(standby)).filter(|at| *at > self.now),
                    reason: self.unripe(standby),
                });
            }
        }
        Ok(plan)
    }

    fn compromise(&self, alg: Alg, kid: Option<&Kid>) -> Result<Plan, PlanRefusal> {
        let key = match kid {
            Some(kid) => self.key(kid).ok_or_else(|| PlanRefusal::UnknownKid { kid: kid.clone() })?,
            None => self.active(alg).map(|active| active.key).ok_or(PlanRefusal::NoActive { alg })?,
        };
        if key.alg != alg {
            return Err(PlanRefusal::WrongAlg { kid: key.kid.clone(), alg: key.alg });
        }
        if matches!(key.state, KeyState::Compromised { .. }) {
            return Err(PlanRefusal::CompromisedBefore { kid: key.kid.clone() });
        }

        let mut plan = Plan { notes: self.lost_notes(key), ..Plan::default() };
        plan.actions.push(Action::Compromise { kid: key.kid.clone() });
        match key.state {
            KeyState::Active { .. } => self.fill_active(alg, self.replacement(alg), &mut plan),
            KeyState::Standby if self.standbys(alg).count() == 1 => plan.actions.push(self.create_standby(alg)),
            _ => {}
        }
        Ok(plan)
    }

    fn import(&self, alg: Alg, kid: &Kid) -> Result<Plan, PlanRefusal> {
        if let Some(known) = self.key(kid) {
            return Err(PlanRefusal::KnownKid { kid: kid.clone(), state: known.state.as_str() });
        }
        let action = Action::Import {
            kid: kid.clone(),
            alg,
            unseen_max_age: self.unseen_max_age(),
            longest_max_age: self.policy.jwks_max_age,
        };
        Ok(Plan { actions: vec![action], waits_until: None, notes: vec![notes::imported(kid)] })
    }

    /// The standby signs from now on, the active key retires, and there is a standby again.
    fn hand_over(&self, active: &Active<'_>, standby: &SigningKey, plan: &mut Plan) {
        plan.actions.push(Action::Activate { kid: standby.kid.clone() });
        plan.actions.push(Action::BeginRetiring { kid: active.key.kid.clone() });
        self.restock(standby.alg, plan);
    }

    /// Gives an algorithm whose active key is missing or lost another one, ripe or not: refusing to sign at all
    /// would be worse.
    fn fill_active(&self, alg: Alg, standby: Option<&SigningKey>, plan: &mut Plan) {
        match standby {
            Some(standby) => {
                if !self.is_ripe(standby) {
                    plan.notes.push(self.early_note(standby));
                }
                plan.actions.push(Action::Activate { kid: standby.kid.clone() });
                self.restock(alg, plan);
            }
            None => {
                if self.table.signing.iter().any(|key| key.alg == alg) {
                    plan.notes.push(notes::unannounced(alg, self.now, self.unseen_max_age()));
                }
                plan.actions.push(Action::CreateActive { alg, longest_max_age: self.policy.jwks_max_age });
                plan.actions.push(self.create_standby(alg));
            }
        }
    }

    /// A new standby, if the one that is being activated was the last.
    fn restock(&self, alg: Alg, plan: &mut Plan) {
        if self.standbys(alg).count() <= 1 {
            plan.actions.push(self.create_standby(alg));
        }
    }

    fn create_standby(&self, alg: Alg) -> Action {
        Action::CreateStandby { alg, unseen_max_age: self.unseen_max_age(), longest_max_age: self.policy.jwks_max_age }
    }

    /// How long a verifier that obeys `Cache-Control` may still hold a key set that was served before now.
    ///
    /// No key set is ever served with more than what is recorded on each key in it, so the longest of the published
    /// keys bounds every set that holds one of them; a set of which none is published any more was served before the
    /// last of them left.
    fn unseen_max_age(&self) -> Duration {
        let held = self.table.signing.iter().filter(|key| match key.state {
            KeyState::Retired { since } | KeyState::Compromised { since } => {
                self.now < since.plus(key.longest_max_age).plus(self.policy.clock_skew)
            }
            KeyState::Standby | KeyState::Active { .. } | KeyState::Retiring { .. } => true,
        });
        held.map(|key| key.longest_max_age).max().unwrap_or(Duration::ZERO)
    }

    /// When a standby has been published long enough.
    fn ripe_at(&self, standby: &SigningKey) -> Timestamp {
        let published = self.policy.min_publication.max(standby.unseen_max_age);
        standby.created_at.plus(published).plus(self.policy.publication_margin)
    }

    fn is_ripe(&self, standby: &SigningKey) -> bool {
        self.now >= self.ripe_at(standby) && self.nodes_behind() == 0
    }

    /// Live nodes that may not have loaded the newest standby: it came no later than the table's revision.
    fn nodes_behind(&self) -> usize {
        self.nodes.iter().filter(|node| node.loaded_revision < self.table.revision).count()
    }

    /// When the active key is to be followed by the standby, if that is ripe.
    fn due_at(&self, active: &Active<'_>, standby: &SigningKey) -> Timestamp {
        match standby.rotation_requested_at {
            // Not the moment of the request: after a step back of the clock that lies ahead.
            Some(_) => Timestamp::MIN,
            None => active.since.plus(self.policy.rotate_every),
        }
    }

    /// When the last token of a retiring key has expired everywhere.
    fn retires_at(&self, key: &SigningKey, since: Timestamp) -> Timestamp {
        since.plus(key.longest_ttl).plus(self.policy.clock_skew)
    }

    fn key(&self, kid: &Kid) -> Option<&'a SigningKey> {
        self.table.signing.iter().find(|key| key.kid == *kid)
    }

    fn active(&self, alg: Alg) -> Option<Active<'a>> {
        self.table.signing.iter().filter(|key| key.alg == alg).find_map(|key| match key.state {
            KeyState::Active { since } => Some(Active { key, since }),
            _ => None,
        })
    }

    fn standbys(&self, alg: Alg) -> impl Iterator<Item = &'a SigningKey> {
        self.table.signing.iter().filter(move |key| key.alg == alg && key.state == KeyState::Standby)
    }

    /// The standby that is activated next: the one an operator asked for, else one an operator brought, else the one
    /// that was published first.
    fn next_standby(&self, alg: Alg) -> Option<&'a SigningKey> {
        self.standbys(alg).min_by_key(|key| turn(key))
    }

    /// The standby that takes over at once where the active key is gone: a ripe one, whoever's turn it is.
    fn replacement(&self, alg: Alg) -> Option<&'a SigningKey> {
        self.standbys(alg).min_by_key(|key| (!self.is_ripe(key), turn(key)))
    }
}

/// Where a standby stands in line: requested, imported, oldest first.
fn turn(key: &SigningKey) -> impl Ord {
    (key.rotation_requested_at.is_none(), !key.imported, key.created_at, key.kid.clone())
}

/// The key that signs.
struct Active<'a> {
    key: &'a SigningKey,
    since: Timestamp,
}

impl Plan {
    fn wait_for(&mut self, at: Timestamp) {
        self.waits_until = Some(self.waits_until.map_or(at, |known| known.min(at)));
    }
}

#[cfg(test)]
mod tests;
