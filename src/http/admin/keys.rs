//! `/admin/v1/keys`

use std::sync::Arc;

use poem_openapi::param::Path;
use poem_openapi::types::Example;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi};

use super::{Topic, caller, location};
use crate::admin::keys::{self, Executed, ImportOrder, KeyStory, RefreshKeyStory, RotateOrder};
use crate::app::App;
use crate::domain::origin::Origin;
use crate::domain::units::show_duration;
use crate::http::authorization::{AdminScope, Bearer};
use crate::http::error::{ChangeFailure, CreateFailure, ItemFailure, ListFailure};
use crate::http::json::{Answer, JsonBody};
use crate::http::moment::Moment;
use crate::keys::plan::Action as Planned;

/// A key with what lies ahead of it.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none, example)]
struct Key {
    /// The RFC 7638 thumbprint; of the keys of refresh tokens, the number of their version.
    kid: String,
    /// `ES256`, `RS256`, or `refresh` for the keys of refresh tokens.
    alg: String,
    /// `standby` (published, does not sign yet), `active`, `retiring` (its tokens are still taken), `retired` or
    /// `compromised`.
    state: String,
    created_at: Moment,
    /// When a standby has been published for long enough.
    ripe_at: Option<Moment>,
    /// When it begins to sign.
    activates_at: Option<Moment>,
    /// When the last of its tokens has expired.
    retires_at: Option<Moment>,
    /// The longest lifetime of any token it made, as a span.
    longest_ttl: String,
    /// Why not sooner.
    reason: Option<String>,
    /// Whether it came from outside, so that someone else may hold its private half.
    imported: bool,
}

impl Example for Key {
    fn example() -> Self {
        Self {
            kid: "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s".into(),
            alg: "ES256".into(),
            state: "standby".into(),
            created_at: Moment::example("2026-01-31T09:30:00Z"),
            ripe_at: Some(Moment::example("2026-01-31T09:41:00Z")),
            activates_at: Some(Moment::example("2026-03-02T09:30:00Z")),
            retires_at: None,
            longest_ttl: "0s".into(),
            reason: Some("It is not ripe: published since 2026-01-31T09:30:00Z, for at least 10m".into()),
            imported: false,
        }
    }
}

impl From<&KeyStory> for Key {
    fn from(story: &KeyStory) -> Self {
        let (key, timeline) = (&story.key, &story.timeline);
        Self {
            kid: key.kid.to_string(),
            alg: key.alg.to_string(),
            state: key.state.as_str().to_owned(),
            created_at: key.created_at.into(),
            ripe_at: timeline.ripe_at.map(Moment::from),
            activates_at: timeline.activates_at.map(Moment::from),
            retires_at: timeline.retires_at.map(Moment::from),
            longest_ttl: show_duration(key.longest_ttl),
            reason: timeline.reason.clone(),
            imported: key.imported,
        }
    }
}

impl From<&RefreshKeyStory> for Key {
    fn from(story: &RefreshKeyStory) -> Self {
        Self {
            kid: story.version.to_string(),
            alg: "refresh".into(),
            state: story.state.to_owned(),
            created_at: story.created_at.into(),
            ripe_at: None,
            activates_at: None,
            retires_at: story.retires_at.map(Moment::from),
            longest_ttl: show_duration(story.longest_absolute),
            reason: story.reason.clone(),
            imported: false,
        }
    }
}

/// Every key.
#[derive(Debug, Object)]
#[oai(example)]
struct KeyList {
    /// Signing keys in the order of the key set, then those that are no longer published, then those of refresh tokens.
    items: Vec<Key>,
    /// Always `null`: there are few keys.
    #[oai(nullable)]
    next: Option<String>,
}

impl Example for KeyList {
    fn example() -> Self {
        Self { items: vec![Example::example()], next: None }
    }
}

/// Which keys.
#[derive(Clone, Copy, Debug, Enum)]
enum KeyAlg {
    ES256,
    RS256,
    /// Those of refresh tokens.
    #[oai(rename = "refresh")]
    Refresh,
}

/// How to rotate.
#[derive(Clone, Copy, Debug, Enum)]
#[oai(rename_all = "lowercase")]
enum RotateMode {
    /// As soon as no verifier can meet a key it does not know.
    Planned,
    /// At once; a standby that is not ripe is refused, unless forced.
    Now,
    /// At once, for a key that is lost: it leaves the key set and its tokens are inactive for ever.
    Compromise,
}

/// A rotation to carry out.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none, example)]
struct Rotation {
    alg: KeyAlg,
    mode: RotateMode,
    /// With `compromise`: the lost key; the active one where it is left out.
    kid: Option<String>,
    /// With `now`: take a standby that is not ripe. Some verifiers refuse its tokens for a while.
    force: Option<bool>,
    /// Only say what would be done.
    dry_run: Option<bool>,
}

impl Example for Rotation {
    fn example() -> Self {
        Self { alg: KeyAlg::ES256, mode: RotateMode::Planned, kid: None, force: None, dry_run: Some(true) }
    }
}

/// A private key to import.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none, example)]
struct NewKey {
    /// One unencrypted private key as PEM: PKCS#8, PKCS#1 or SEC1; RSA from 2,048 bits or P-256.
    pem: String,
    /// `standby`, the only one there is: it signs once it has been published for long enough.
    mode: Option<String>,
}

impl Example for NewKey {
    fn example() -> Self {
        Self { pem: "-----BEGIN PRIVATE KEY-----\nMIGH...\n-----END PRIVATE KEY-----\n".into(), mode: None }
    }
}

/// One step of a plan.
#[derive(Debug, PartialEq, Object)]
#[oai(skip_serializing_if_is_none)]
struct Action {
    /// `create_active`, `create_standby`, `import`, `request_rotation`, `activate`, `begin_retiring`, `retire`,
    /// `compromise`; of the keys of refresh tokens `create_refresh`, `retain_refresh`, `compromise_refresh`,
    /// `drop_refresh`.
    action: String,
    /// The key; of one that is made, only once it has been made.
    kid: Option<String>,
    alg: Option<String>,
}

/// What a rotation comes to.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none, example)]
struct RotationPlan {
    /// Whether nothing was done, because only the plan was asked for.
    dry_run: bool,
    /// What is done now, in order.
    actions: Vec<Action>,
    /// Whether what was asked for is still to come.
    waits: bool,
    /// When it will happen; absent where it has happened.
    waits_until: Option<Moment>,
    /// What verifiers meet, and until when.
    notes: Vec<String>,
}

impl Example for RotationPlan {
    fn example() -> Self {
        let kid = Some("cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s".into());
        Self {
            dry_run: true,
            actions: vec![Action { action: "request_rotation".into(), kid, alg: None }],
            waits: true,
            waits_until: Some(Moment::example("2026-01-31T09:41:00Z")),
            notes: vec!["The standby takes over once it is ripe.".into()],
        }
    }
}

impl RotationPlan {
    fn of(executed: &Executed, dry_run: bool) -> Self {
        let mut created = executed.created.iter().map(ToString::to_string);
        Self {
            dry_run,
            actions: executed.plan.actions.iter().map(|planned| action(planned, &mut created)).collect(),
            waits: executed.waits,
            waits_until: executed.plan.waits_until.filter(|_| executed.waits).map(Moment::from),
            notes: executed.plan.notes.clone(),
        }
    }
}

/// `created` gives the names of made keys, in the order of the plan.
fn action(planned: &Planned, created: &mut impl Iterator<Item = String>) -> Action {
    let (name, kid, alg) = match planned {
        Planned::CreateActive { alg, .. } => ("create_active", created.next(), Some(alg.to_string())),
        Planned::CreateStandby { alg, .. } => ("create_standby", created.next(), Some(alg.to_string())),
        Planned::Import { kid, alg, .. } => ("import", Some(kid.to_string()), Some(alg.to_string())),
        Planned::RecordRequest { kid } => ("request_rotation", Some(kid.to_string()), None),
        Planned::Activate { kid } => ("activate", Some(kid.to_string()), None),
        Planned::BeginRetiring { kid } => ("begin_retiring", Some(kid.to_string()), None),
        Planned::Retire { kid } => ("retire", Some(kid.to_string()), None),
        Planned::Compromise { kid } => ("compromise", Some(kid.to_string()), None),
        Planned::CreateRefresh { version, .. } => ("create_refresh", Some(version.to_string()), refresh()),
        Planned::RetainRefresh { version } => ("retain_refresh", Some(version.to_string()), refresh()),
        Planned::CompromiseRefresh { version } => ("compromise_refresh", Some(version.to_string()), refresh()),
        Planned::DropRefresh { version } => ("drop_refresh", Some(version.to_string()), refresh()),
    };
    Action { action: name.to_owned(), kid, alg }
}

fn refresh() -> Option<String> {
    Some("refresh".into())
}

#[derive(ApiResponse)]
enum Rotated {
    /// It is done; or, with `dry_run`, this would be done
    #[oai(status = 200)]
    Done(Answer<RotationPlan>),
    /// It waits until the standby is ripe
    #[oai(status = 202)]
    Waits(Answer<RotationPlan>),
}

#[derive(ApiResponse)]
enum Imported {
    /// The key is published as a standby
    #[oai(status = 201)]
    Created(
        Answer<Key>,
        /// Where it is found
        #[oai(header = "Location")]
        String,
    ),
}

/// The operations on keys.
pub struct KeysApi {
    app: Arc<App>,
}

impl KeysApi {
    pub fn new(app: Arc<App>) -> Self {
        Self { app }
    }
}

#[OpenApi(prefix_path = "/admin/v1", tag = "Topic::Keys")]
impl KeysApi {
    /// List keys with their timeline
    ///
    /// Every key, what will happen to it when, and why not sooner.
    #[oai(path = "/keys", method = "get", operation_id = "listKeys")]
    async fn list(
        &self,
        #[oai(scope = "AdminScope::KeysRead")] bearer: Bearer,
        origin: Origin,
    ) -> Result<Answer<KeyList>, ListFailure> {
        caller(&self.app, &bearer, "admin:keys:read", &origin).await?;
        let keys = keys::list(&self.app.context).await?;
        let items = keys.signing.iter().map(Key::from).chain(keys.refresh.iter().map(Key::from)).collect();
        Ok(Answer(KeyList { items, next: None }))
    }

    /// Show a signing key with its timeline
    #[oai(path = "/keys/:kid", method = "get", operation_id = "getKey")]
    async fn show(
        &self,
        #[oai(scope = "AdminScope::KeysRead")] bearer: Bearer,
        origin: Origin,
        /// The key.
        kid: Path<String>,
    ) -> Result<Answer<Key>, ItemFailure> {
        caller(&self.app, &bearer, "admin:keys:read", &origin).await?;
        Ok(Answer(Key::from(&keys::show(&self.app.context, &kid).await?)))
    }

    /// Rotate keys, or declare one lost
    ///
    /// `planned` waits until the standby has been published long enough that no verifier refuses its tokens (202);
    /// `now` refuses to go sooner (409), unless forced; `compromise` goes at once and says what offline verifiers meet.
    /// After a compromise the caller's own token may be inactive: ask for a new one.
    #[oai(path = "/keys/rotate", method = "post", operation_id = "rotateKeys")]
    async fn rotate(
        &self,
        #[oai(scope = "AdminScope::Keys")] bearer: Bearer,
        origin: Origin,
        body: JsonBody<Rotation>,
    ) -> Result<Rotated, ChangeFailure> {
        let caller = caller(&self.app, &bearer, "admin:keys", &origin).await?;
        let order: RotateOrder = body.read()?;
        let executed = keys::execute(&self.app.context, &caller.actor, &order.request()?, order.dry_run).await?;
        let plan = Answer(RotationPlan::of(&executed, order.dry_run));
        Ok(if executed.waits && !order.dry_run { Rotated::Waits(plan) } else { Rotated::Done(plan) })
    }

    /// Import a signing key
    ///
    /// It becomes the standby that signs next. Whoever holds its private half can then make tokens that are accepted
    /// everywhere, so the scope `admin:keys` equals full power.
    #[oai(path = "/keys/import", method = "post", operation_id = "importKey")]
    async fn import(
        &self,
        #[oai(scope = "AdminScope::Keys")] bearer: Bearer,
        origin: Origin,
        body: JsonBody<NewKey>,
    ) -> Result<Imported, CreateFailure> {
        let caller = caller(&self.app, &bearer, "admin:keys", &origin).await?;
        let order: ImportOrder = body.read()?;
        let story = keys::import(&self.app.context, &caller.actor, &order).await?;
        let location = location(&self.app, "keys", story.key.kid.as_str());
        Ok(Imported::Created(Answer(Key::from(&story)), location))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::Kid;
    use crate::domain::key::Alg;
    use crate::http::json::agreement;
    use crate::keys::plan::Plan;

    #[test]
    fn what_is_documented_is_what_is_read() {
        agreement::check::<Rotation, RotateOrder>(&[]);
        agreement::check::<NewKey, ImportOrder>(&[]);
    }

    #[test]
    fn made_keys_are_named_once_they_are_made() {
        let standby = Planned::CreateStandby {
            alg: Alg::ES256,
            unseen_max_age: std::time::Duration::ZERO,
            longest_max_age: std::time::Duration::ZERO,
        };
        let plan = Plan { actions: vec![Planned::Activate { kid: Kid::new("a") }, standby], ..Plan::default() };
        let dry = Executed { plan: plan.clone(), created: Vec::new(), waits: false };
        let done = Executed { plan, created: vec![Kid::new("b")], waits: false };
        let kids = |executed| RotationPlan::of(executed, false).actions.into_iter().map(|a| a.kid).collect::<Vec<_>>();
        assert_eq!(kids(&dry), [Some("a".to_owned()), None]);
        assert_eq!(kids(&done), [Some("a".to_owned()), Some("b".to_owned())]);
    }
}
