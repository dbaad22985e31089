//! The versions of the refresh keys: one makes new tokens, earlier ones are kept until no session can hold a token of
//! theirs.

use std::time::Duration;

use super::{Action, Plan, PlanRefusal, View};
use crate::domain::key::{RefreshKey, RefreshKeyState};
use crate::domain::time::Timestamp;

impl View<'_> {
    pub(super) fn tick_refresh(&self, plan: &mut Plan) -> Result<(), PlanRefusal> {
        for key in &self.table.refresh {
            let Some(at) = self.dropped_at(key) else { continue };
            if self.now > at {
                plan.actions.push(Action::DropRefresh { version: key.version });
            } else {
                plan.wait_for(at);
            }
        }
        if self.active_refresh().is_none() {
            plan.actions.push(self.create_refresh()?);
        }
        Ok(())
    }

    pub(super) fn rotate_refresh(&self) -> Result<Plan, PlanRefusal> {
        let active = self.active_refresh().ok_or(PlanRefusal::NoRefreshKeys)?;
        let note = format!(
            "New refresh tokens are made with a new version; those of version {} stay valid and move over as they are \
             used. It is dropped when the last session that may hold one has ended.",
            active.version
        );
        let actions = vec![Action::RetainRefresh { version: active.version }, self.create_refresh()?];
        Ok(Plan { actions, waits_until: None, notes: vec![note] })
    }

    pub(super) fn compromise_refresh(&self, version: Option<u8>) -> Result<Plan, PlanRefusal> {
        let key = match version {
            Some(version) => {
                let found = self.table.refresh.iter().find(|key| key.version == version);
                found.ok_or(PlanRefusal::UnknownVersion { version })?
            }
            None => self.active_refresh().ok_or(PlanRefusal::NoRefreshKeys)?,
        };
        if matches!(key.state, RefreshKeyState::Compromised { .. }) {
            return Err(PlanRefusal::VersionCompromisedBefore { version: key.version });
        }
        let mut actions = vec![Action::CompromiseRefresh { version: key.version }];
        if key.state == RefreshKeyState::Active {
            actions.push(self.create_refresh()?);
        }
        let note = format!(
            "Refresh tokens of version {0} are taken only where the session's stored hash proves them, and are \
             exchanged for tokens of the new version; nobody is logged out. After a restore from a backup they are not \
             healed. Who holds a copy of the keys and of a client's token can still renew that session until it is used \
             again or revoked.",
            key.version
        );
        Ok(Plan { actions, waits_until: None, notes: vec![note] })
    }

    fn active_refresh(&self) -> Option<&RefreshKey> {
        self.table.refresh.iter().find(|key| key.state == RefreshKeyState::Active)
    }

    /// A new version. It inherits the longest absolute lifetime: a session that was opened under an earlier version
    /// keeps its end when its token moves on to this one.
    fn create_refresh(&self) -> Result<Action, PlanRefusal> {
        let newest = self.table.refresh.iter().max_by_key(|key| (key.created_at, key.version));
        let newest = newest.map_or(0, |key| key.version);
        let version = (1..=u8::MAX)
            .map(|step| newest.wrapping_add(step))
            .find(|version| *version != 0 && self.table.refresh.iter().all(|key| key.version != *version))
            .ok_or(PlanRefusal::NoVersionLeft)?;
        let longest_absolute =
            self.table.refresh.iter().map(|key| key.longest_absolute).max().unwrap_or(Duration::ZERO);
        Ok(Action::CreateRefresh { version, longest_absolute })
    }

    /// When the last session that may hold a token of this version has ended; `None` of the active one.
    fn dropped_at(&self, key: &RefreshKey) -> Option<Timestamp> {
        match key.state {
            RefreshKeyState::Active => None,
            RefreshKeyState::Retained { since } | RefreshKeyState::Compromised { since } => {
                Some(since.plus(key.longest_absolute).plus(self.policy.clock_skew))
            }
        }
    }
}
