//! What will become of a key when, and why not sooner: what the admin list shows.

use super::{Active, KeyPolicy, NodeView, View};
use crate::domain::key::{KeyState, KeyTable, SigningKey};
use crate::domain::time::Timestamp;

/// What lies ahead of one key, if nobody asks for anything else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    /// When a standby has been published long enough.
    pub ripe_at: Option<Timestamp>,
    /// When a standby begins to sign; `None` where another goes first or nodes have yet to load it.
    pub activates_at: Option<Timestamp>,
    /// When it leaves the key set because its last token has expired.
    pub retires_at: Option<Timestamp>,
    /// Why not sooner, as a sentence for the operator.
    pub reason: Option<String>,
}

/// The timeline of `key`, a row of `table`.
pub fn timeline(
    now: Timestamp,
    key: &SigningKey,
    table: &KeyTable,
    policy: &KeyPolicy,
    nodes: &[NodeView],
) -> Timeline {
    let view = View { now, table, policy, nodes };
    match key.state {
        KeyState::Standby => view.of_standby(key),
        KeyState::Active { since } => view.of_active(&Active { key, since }),
        KeyState::Retiring { since } => Timeline {
            retires_at: Some(view.retires_at(key, since)),
            reason: Some(format!(
                "Tokens it signed are valid until {}; the clocks of verifiers may lag.",
                since.plus(key.longest_ttl).rfc3339()
            )),
            ..Timeline::default()
        },
        KeyState::Retired { .. } | KeyState::Compromised { .. } => Timeline::default(),
    }
}

impl View<'_> {
    fn of_standby(&self, key: &SigningKey) -> Timeline {
        let ripe_at = Some(self.ripe_at(key));
        let first = self.next_standby(key.alg).is_some_and(|next| next.kid == key.kid);
        if !first {
            let reason = Some("Another standby is activated first.".to_owned());
            return Timeline { ripe_at, reason, ..Timeline::default() };
        }
        Timeline {
            ripe_at,
            activates_at: self.activates_at(key),
            retires_at: None,
            reason: Some(self.why_not_active(key)),
        }
    }

    fn of_active(&self, active: &Active<'_>) -> Timeline {
        let activates_at = self.next_standby(active.key.alg).and_then(|standby| self.activates_at(standby));
        Timeline {
            retires_at: activates_at.map(|at| self.retires_at(active.key, at)),
            reason: Some(match activates_at {
                Some(at) => format!("It signs until the standby takes over at {}.", at.rfc3339()),
                None => "It signs until a standby can take over.".to_owned(),
            }),
            ..Timeline::default()
        }
    }

    /// When the next standby begins to sign; `None` where that depends on nodes.
    fn activates_at(&self, standby: &SigningKey) -> Option<Timestamp> {
        let due = self.active(standby.alg).map_or(self.now, |active| self.due_at(&active, standby));
        let at = due.max(self.ripe_at(standby));
        if at > self.now {
            return Some(at);
        }
        (self.nodes_behind() == 0).then_some(self.now)
    }

    fn why_not_active(&self, standby: &SigningKey) -> String {
        if !self.is_ripe(standby) {
            return format!("It is not ripe: {}.", self.unripe(standby));
        }
        match self.active(standby.alg) {
            Some(active) if self.now < self.due_at(&active, standby) => format!(
                "It is ripe; the active key {} signs until {} (keys.rotate_every).",
                active.key.kid,
                self.due_at(&active, standby).rfc3339()
            ),
            _ => "It is ripe and takes over with the next tick of the rotation job.".to_owned(),
        }
    }
}
