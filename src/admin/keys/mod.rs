//! Signing keys and refresh keys: the list with its timeline, rotation, compromise, import, and the one executor of
//! plans that the job uses too.
//!
//! What is done is decided by [`crate::keys::plan`], which is pure. Here it is carried out: new keys are made outside
//! any transaction, and the result is written only if the table is still the one that was planned on.

mod diff;
mod reseal;

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::clients::spec::Secret;
use super::{ATTEMPTS, contended, not_found};
use crate::context::Context;
use crate::domain::audit::{Actor, AuditType};
use crate::domain::error::{Code, OAuthError};
use crate::domain::ids::Kid;
use crate::domain::key::{Alg, KeyState, KeyTable, RefreshKey, RefreshKeyState, SigningKey};
use crate::domain::meter::Count;
use crate::domain::time::Timestamp;
use crate::keys::generate::GeneratedKey;
use crate::keys::import::from_pem;
use crate::keys::plan::{
    Action, Mode, NodeView, Plan, PlanRefusal, Request, SealedKeys, Timeline, apply, plan, timeline,
};
use crate::storage::KeyCommit;

pub use reseal::reseal;

/// Nodes besides this one that must have loaded a standby before it signs.
async fn other_nodes(ctx: &Context) -> Result<Vec<NodeView>, OAuthError> {
    let loaded = ctx.store.other_nodes(ctx.node).await?;
    Ok(loaded.into_iter().map(|loaded_revision| NodeView { loaded_revision }).collect())
}

/// Tells the other nodes which keys this one has loaded.
///
/// # Errors
/// The database does not answer.
pub async fn report(ctx: &Context) -> Result<(), OAuthError> {
    Ok(ctx.store.report_node(ctx.node, ctx.replica.keys().revision()).await?)
}

/// A signing key with what lies ahead of it.
#[derive(Clone, Debug)]
pub struct KeyStory {
    pub key: SigningKey,
    pub timeline: Timeline,
}

/// Every key there is.
#[derive(Clone, Debug)]
pub struct KeyList {
    /// In the order of the key set, then what is no longer published.
    pub signing: Vec<KeyStory>,
    /// Newest first.
    pub refresh: Vec<RefreshKeyStory>,
}

/// A version of the keys of refresh tokens with what lies ahead of it.
#[derive(Clone, Debug)]
pub struct RefreshKeyStory {
    pub version: u8,
    /// In the words for signing keys: a retained version is `retiring`.
    pub state: &'static str,
    pub created_at: Timestamp,
    /// The longest that a session of its tokens may last.
    pub longest_absolute: Duration,
    /// When the last of its tokens has expired; `None` while it is active.
    pub retires_at: Option<Timestamp>,
    pub reason: Option<String>,
}

/// Every key with its timeline, read from the database.
///
/// # Errors
/// The database does not answer.
pub async fn list(ctx: &Context) -> Result<KeyList, OAuthError> {
    let (table, nodes) = (ctx.store.keys().await?, other_nodes(ctx).await?);
    let mut signing: Vec<KeyStory> = table.signing.iter().map(|key| story(ctx, key, &table, &nodes)).collect();
    signing.sort_by(|a, b| order(&a.key).cmp(&order(&b.key)));
    let mut refresh: Vec<RefreshKeyStory> =
        table.refresh.iter().map(|key| refresh_story(key, ctx.key_policy.clock_skew)).collect();
    refresh.sort_by_key(|key| std::cmp::Reverse((key.created_at, key.version)));
    Ok(KeyList { signing, refresh })
}

fn refresh_story(key: &RefreshKey, skew: Duration) -> RefreshKeyStory {
    let (state, since) = match key.state {
        RefreshKeyState::Active => ("active", None),
        RefreshKeyState::Retained { since } => ("retiring", Some(since)),
        RefreshKeyState::Compromised { since } => ("compromised", Some(since)),
    };
    RefreshKeyStory {
        version: key.version,
        state,
        created_at: key.created_at,
        longest_absolute: key.longest_absolute,
        retires_at: since.map(|since| since.plus(key.longest_absolute).plus(skew)),
        reason: since.map(|_| "Sessions that may hold a token of it have not all reached their absolute limit.".into()),
    }
}

/// One signing key with its timeline.
///
/// # Errors
/// [`Code::NotFound`]. The database does not answer.
pub async fn show(ctx: &Context, kid: &str) -> Result<KeyStory, OAuthError> {
    let (table, nodes) = (ctx.store.keys().await?, other_nodes(ctx).await?);
    let key = table.signing.iter().find(|key| key.kid.as_str() == kid).ok_or_else(|| not_found("key"))?;
    Ok(story(ctx, key, &table, &nodes))
}

fn story(ctx: &Context, key: &SigningKey, table: &KeyTable, nodes: &[NodeView]) -> KeyStory {
    let timeline = timeline(ctx.now(), key, table, &ctx.key_policy, nodes);
    KeyStory { key: key.clone(), timeline }
}

fn order(key: &SigningKey) -> (u8, Alg, Timestamp, &Kid) {
    let state = match key.state {
        KeyState::Active { .. } => 0,
        KeyState::Standby => 1,
        KeyState::Retiring { .. } => 2,
        KeyState::Retired { .. } => 3,
        KeyState::Compromised { .. } => 4,
    };
    (state, key.alg, key.created_at, &key.kid)
}

/// The body of a rotation.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotateOrder {
    /// `ES256`, `RS256` or `refresh`.
    pub alg: String,
    /// `planned`, `now` or `compromise`.
    pub mode: String,
    /// With `compromise`: the lost key, or the number of the lost version of the refresh keys; the active one where
    /// it is left out.
    pub kid: Option<String>,
    /// With `now`: go ahead with a standby that is not ripe.
    #[serde(default)]
    pub force: bool,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// The body of an import.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportOrder {
    /// One unencrypted private key.
    pub pem: Secret,
    /// `standby`, the default and the only one there is.
    pub mode: Option<String>,
}

impl RotateOrder {
    /// The request to the planner.
    ///
    /// # Errors
    /// [`Code::InvalidRequest`], naming the member, its value and what there is.
    pub fn request(&self) -> Result<Request, OAuthError> {
        let kid = self.kid.as_deref().filter(|kid| !kid.is_empty());
        if self.mode != "compromise" && kid.is_some() {
            return Err(refused("kid goes with mode compromise; a rotation always goes to the next standby".into()));
        }
        if self.mode != "now" && self.force {
            return Err(refused(
                "force goes with mode now: planned waits for ripeness, compromise waits for nothing".into(),
            ));
        }
        let mode = match self.mode.as_str() {
            "planned" => Some(Mode::Planned),
            "now" => Some(Mode::Now { force: self.force }),
            "compromise" => None,
            other => return Err(unknown("mode", other, "planned, now, compromise")),
        };
        match (self.alg.as_str(), Alg::parse(&self.alg), mode) {
            (_, Some(alg), Some(mode)) => Ok(Request::Rotate { alg, mode }),
            (_, Some(alg), None) => Ok(Request::Compromise { alg, kid: kid.map(Kid::new) }),
            ("refresh", None, Some(_)) => Ok(Request::RotateRefresh),
            ("refresh", None, None) => Ok(Request::CompromiseRefresh { version: kid.map(version).transpose()? }),
            (other, None, _) => Err(unknown("alg", other, "ES256, RS256, refresh")),
        }
    }
}

fn version(kid: &str) -> Result<u8, OAuthError> {
    kid.parse().map_err(|_| unknown("kid", kid, "with alg refresh, the numbers of its versions"))
}

fn unknown(member: &str, value: &str, known: &str) -> OAuthError {
    let shown: String = value.chars().take(80).collect();
    refused(format!("{member}: {shown:?} is none; these are: {known}"))
}

fn refused(description: String) -> OAuthError {
    OAuthError::new(Code::InvalidRequest, description)
}

/// What came of a request.
#[derive(Clone, Debug)]
pub struct Executed {
    pub plan: Plan,
    /// The keys that the plan made, in the order of its creating actions. Empty for a dry run.
    pub created: Vec<Kid>,
    /// Whether what was asked for is still to come.
    pub waits: bool,
}

/// Carries out what follows from the request now; with `dry_run` only says it.
///
/// # Errors
/// [`Code::Conflict`], [`Code::NotFound`], [`Code::InvalidRequest`]: the planner refuses. The database does not answer,
/// or no key could be made.
pub async fn execute(ctx: &Context, actor: &Actor, request: &Request, dry_run: bool) -> Result<Executed, OAuthError> {
    carry_out(ctx, actor, request, None, dry_run).await
}

/// Takes in a private key from outside, as a standby: it signs once it has been published long enough.
///
/// # Errors
/// [`Code::InvalidRequest`]: there is no usable key in the text. [`Code::Conflict`]: it is here already. The database
/// does not answer.
pub async fn import(ctx: &Context, actor: &Actor, order: &ImportOrder) -> Result<KeyStory, OAuthError> {
    if let Some(mode) = order.mode.as_deref().filter(|mode| *mode != "standby") {
        return Err(unknown("mode", mode, "standby"));
    }
    // Checking the primes of a large RSA key takes a while.
    let pem = order.pem.0.clone();
    let read = tokio::task::spawn_blocking(move || from_pem(pem.expose())).await.map_err(OAuthError::internal)?;
    let key = read.map_err(|error| refused(format!("pem: {error}")))?;
    let kid = key.kid.clone();
    let request = Request::Import { alg: key.alg, kid: kid.clone() };
    carry_out(ctx, actor, &request, Some(key), false).await?;
    show(ctx, kid.as_str()).await
}

/// Carries out what is due. Where nothing is, the database is not asked.
///
/// # Errors
/// The database does not answer, or no key could be made; the next tick tries again.
pub async fn tick(ctx: &Context) -> Result<(), OAuthError> {
    if !is_due(ctx)? {
        return Ok(());
    }
    execute(ctx, &Actor::system(), &Request::Tick, false).await.map(drop)
}

/// Whether there is something for [`tick`] to do, as far as this node knows. Other nodes may hold an action up, and never
/// bring one about.
///
/// # Errors
/// None that is known of: a tick asks for nothing that can be refused.
pub fn is_due(ctx: &Context) -> Result<bool, OAuthError> {
    let known = ctx.replica.keys();
    let due = plan(ctx.now(), known.table(), &ctx.key_policy, &[], &Request::Tick).map_err(refusal)?;
    Ok(!due.actions.is_empty())
}

async fn carry_out(
    ctx: &Context,
    actor: &Actor,
    request: &Request,
    importing: Option<GeneratedKey>,
    dry_run: bool,
) -> Result<Executed, OAuthError> {
    for _ in 0..ATTEMPTS {
        let (before, nodes) = (ctx.store.keys().await?, other_nodes(ctx).await?);
        let planned = plan(ctx.now(), &before, &ctx.key_policy, &nodes, request).map_err(refusal)?;
        let waits = waits(request, &planned);
        if dry_run || planned.actions.is_empty() {
            return Ok(Executed { plan: planned, created: Vec::new(), waits });
        }
        let after = applied(ctx, &before, &planned, importing.as_ref().map(copy)).await?;
        let changes = diff::changes(&before, &after);
        let events = changes.events.iter().map(|event| event.audit(ctx, actor, request)).collect();
        match ctx.store.commit_keys(before.revision, changes.writes, events).await? {
            KeyCommit::Committed(_) => {
                ctx.replica.reload_keys().await?;
                count(ctx, &planned);
                return Ok(Executed { created: diff::created(&before, &after), plan: planned, waits });
            }
            KeyCommit::Outdated => {}
        }
    }
    Err(contended())
}

/// The table as the plan makes it. Keys are made on a blocking thread: an RSA pair takes a core for 100 ms.
async fn applied(
    ctx: &Context,
    before: &KeyTable,
    planned: &Plan,
    importing: Option<GeneratedKey>,
) -> Result<KeyTable, OAuthError> {
    let (masters, entropy, now) = (Arc::clone(&ctx.masters), Arc::clone(&ctx.entropy), ctx.now());
    let (mut table, planned) = (before.clone(), planned.clone());
    let work = tokio::task::spawn_blocking(move || {
        let mut keys = SealedKeys { importing, ..SealedKeys::new(&masters, entropy.as_ref()) };
        apply(&mut table, &planned, &mut keys, now).map(|()| table)
    });
    work.await.map_err(OAuthError::internal)?.map_err(OAuthError::internal)
}

/// A second attempt needs the imported key again.
fn copy(key: &GeneratedKey) -> GeneratedKey {
    GeneratedKey {
        kid: key.kid.clone(),
        alg: key.alg,
        public_jwk: key.public_jwk.clone(),
        private_der: key.private_der.clone(),
    }
}

/// A rotation that activates nothing now does so later.
fn waits(request: &Request, plan: &Plan) -> bool {
    let activates = plan.actions.iter().any(|action| matches!(action, Action::Activate { .. }));
    matches!(request, Request::Rotate { .. }) && !activates
}

fn count(ctx: &Context, plan: &Plan) {
    for action in &plan.actions {
        match action {
            Action::Activate { .. } | Action::CreateActive { .. } => ctx.meter.count(Count::KeyActivated),
            Action::Compromise { .. } => ctx.meter.count(Count::KeyCompromised),
            _ => {}
        }
    }
}

fn refusal(refusal: PlanRefusal) -> OAuthError {
    let code = match refusal {
        PlanRefusal::UnknownKid { .. } | PlanRefusal::UnknownVersion { .. } => Code::NotFound,
        PlanRefusal::WrongAlg { .. } => Code::InvalidRequest,
        PlanRefusal::Unripe { .. }
        | PlanRefusal::CompromisedBefore { .. }
        | PlanRefusal::KnownKid { .. }
        | PlanRefusal::NoActive { .. }
        | PlanRefusal::NoStandby { .. }
        | PlanRefusal::VersionCompromisedBefore { .. }
        | PlanRefusal::NoRefreshKeys
        | PlanRefusal::NoVersionLeft => Code::Conflict,
    };
    OAuthError::new(code, refusal.to_string())
}

/// The word for a request in the audit trail.
fn asked(request: &Request) -> &'static str {
    match request {
        Request::Tick => "tick",
        Request::Rotate { mode: Mode::Planned, .. } => "planned",
        Request::Rotate { mode: Mode::Now { force: false }, .. } => "now",
        Request::Rotate { mode: Mode::Now { force: true }, .. } => "now, forced",
        Request::Compromise { .. } | Request::CompromiseRefresh { .. } => "compromise",
        Request::Import { .. } => "import",
        Request::RotateRefresh => "rotate",
    }
}

impl diff::KeyEvent {
    fn audit(&self, ctx: &Context, actor: &Actor, request: &Request) -> crate::domain::audit::AuditEvent {
        let mut detail = self.detail.clone();
        detail["asked"] = asked(request).into();
        ctx.audit(self.kind, actor.clone()).detail(detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(alg: &str, mode: &str, kid: Option<&str>, force: bool) -> Result<Request, Code> {
        let kid = kid.map(str::to_owned);
        let order = RotateOrder { alg: alg.into(), mode: mode.into(), kid, force, dry_run: false };
        order.request().map_err(|error| error.code)
    }

    #[test]
    fn an_order_is_one_request_or_refused() {
        let lost = || Some(Kid::new("k"));
        for (asked, request) in [
            (order("ES256", "planned", None, false), Request::Rotate { alg: Alg::ES256, mode: Mode::Planned }),
            (order("RS256", "now", None, true), Request::Rotate { alg: Alg::RS256, mode: Mode::Now { force: true } }),
            (order("ES256", "compromise", Some("k"), false), Request::Compromise { alg: Alg::ES256, kid: lost() }),
            (order("ES256", "compromise", Some(""), false), Request::Compromise { alg: Alg::ES256, kid: None }),
            (order("refresh", "planned", None, false), Request::RotateRefresh),
            (order("refresh", "now", None, false), Request::RotateRefresh),
            (order("refresh", "compromise", None, false), Request::CompromiseRefresh { version: None }),
            (order("refresh", "compromise", Some("3"), false), Request::CompromiseRefresh { version: Some(3) }),
        ] {
            assert_eq!(asked, Ok(request));
        }
        for refused in [
            order("HS256", "planned", None, false),
            order("ES256", "later", None, false),
            order("ES256", "planned", Some("k"), false),
            order("ES256", "planned", None, true),
            order("ES256", "compromise", None, true),
            order("refresh", "compromise", Some("x"), false),
            order("refresh", "compromise", Some("256"), false),
        ] {
            assert_eq!(refused, Err(Code::InvalidRequest));
        }
    }

    #[test]
    fn only_a_rotation_that_activates_nothing_waits() {
        let planned = Request::Rotate { alg: Alg::ES256, mode: Mode::Planned };
        let activate = Plan { actions: vec![Action::Activate { kid: Kid::new("k") }], ..Plan::default() };
        assert!(waits(&planned, &Plan::default()));
        assert!(!waits(&planned, &activate));
        assert!(!waits(&Request::RotateRefresh, &Plan::default()));
    }
}
