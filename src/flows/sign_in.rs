//! Signing in at Latchkey itself, by a password that a person types into its own page (OpenID Connect Core section
//! 3.1.2.3), and recognising the browser afterwards.
//!
//! The secret in a browser's cookie is drawn anew whenever a password was typed: whoever had put one there before is left
//! with nothing (session fixation).

use serde_json::json;

use crate::context::Context;
use crate::credentials::Credentials;
use crate::credentials::login::{self, LoggedIn, Login};
use crate::domain::audit::{Actor, AuditEvent, AuditType};
use crate::domain::error::{Code, OAuthError};
use crate::domain::ids::{ClientId, SignInId};
use crate::domain::origin::Origin;
use crate::domain::secret::{Secret32, SecretText};
use crate::domain::sign_in::{Browser, SignIn, SignInEnd};
use crate::domain::sources::random;
use crate::domain::user::User;
use crate::storage::{BeginOutcome, BeginSignIn, EndOutcome, EndSignIn, RenewSignIn, RenewSignInOutcome};

/// A browser at one of the pages.
#[derive(Clone, Debug)]
pub struct Visitor {
    /// What its cookie carries.
    pub secret: Option<Secret32>,
    pub user_agent: String,
    pub origin: Origin,
}

/// A name and a password, as they were typed.
#[derive(Debug)]
pub struct Typed {
    pub username: String,
    pub password: SecretText,
}

/// A browser that has just been signed in.
#[derive(Debug)]
pub struct Entered {
    pub sign_in: SignIn,
    /// What its cookie is to carry from now on.
    pub secret: Secret32,
}

impl Visitor {
    /// The same browser, with nobody signed in.
    pub fn nobody(&self) -> Self {
        Self { secret: None, ..self.clone() }
    }

    fn browser(&self) -> Browser {
        Browser::new(&self.user_agent, self.origin.address().to_string())
    }

    pub(super) fn secret_hash(&self) -> Option<[u8; 32]> {
        self.secret.as_ref().map(Secret32::sha256)
    }

    /// The user as an actor of the audit trail.
    pub fn actor(&self, sign_in: &SignIn) -> Actor {
        Actor { who: sign_in.sub.to_string(), via: None, address: Some(self.origin.address().to_string()) }
    }
}

/// Who is signed in at this browser. Notes the use of it.
///
/// # Errors
/// The database does not answer.
pub async fn current(ctx: &Context, visitor: &Visitor) -> Result<Option<SignIn>, OAuthError> {
    let Some(hash) = visitor.secret_hash() else { return Ok(None) };
    let found = ctx.store.sign_in_by_secret(&hash).await?;
    let Some(mut sign_in) = found.filter(|it| it.is_live(&ctx.sign_ins, ctx.now())) else { return Ok(None) };
    if sign_in.touch(&ctx.sign_ins, ctx.now()) {
        ctx.store.touch_sign_in(&sign_in).await?;
    }
    Ok(Some(sign_in))
}

/// Signs the browser in. Another user's sign-in there ends; the same user's goes on, with its limits begun anew.
///
/// # Errors
/// `invalid_grant` for every kind of wrong; 429 past the free failures; 503 where the queue is full or the database does
/// not answer.
pub async fn enter(
    ctx: &Context,
    credentials: &Credentials,
    visitor: &Visitor,
    typed: &Typed,
    client_id: Option<&ClientId>,
) -> Result<Entered, OAuthError> {
    let login = Login {
        username: &typed.username,
        password: &typed.password,
        client_id,
        user_address: Some(visitor.origin.address()),
        origin: &visitor.origin,
    };
    let LoggedIn { user, known_address } = login::check(ctx, credentials, login).await?;
    let secret = Secret32::new(random(&*ctx.entropy));
    let entering = Entering { ctx, visitor, user: &user, known_address, secret: &secret, client_id };
    let before = current(ctx, visitor).await?;
    let renewed = match before.as_ref().filter(|before| before.sub == user.sub) {
        Some(before) => entering.renew(before).await?,
        None => None,
    };
    let sign_in = match renewed {
        Some(renewed) => renewed,
        // Another tab of the same user may have renewed it a moment ago: that one is left alone.
        None => entering.begin(before.filter(|before| before.sub != user.sub).map(|before| before.id)).await?,
    };
    Ok(Entered { sign_in, secret })
}

/// Gives the browser of a user who has just proved the password another secret, and lets its limits begin anew. `None` where
/// the sign-in has just ended, or another tab was faster.
///
/// # Errors
/// `invalid_grant`: the user was changed in between. The database does not answer.
pub(super) async fn renew(
    ctx: &Context,
    visitor: &Visitor,
    LoggedIn { user, known_address }: &LoggedIn,
    before: &SignIn,
) -> Result<Option<Entered>, OAuthError> {
    let secret = Secret32::new(random(&*ctx.entropy));
    let known_address = *known_address;
    let entering = Entering { ctx, visitor, user, known_address, secret: &secret, client_id: None };
    Ok(entering.renew(before).await?.map(|sign_in| Entered { sign_in, secret }))
}

/// A user signs out: of this sign-in or another of their own, and of the sessions that do not outlive it. `client_id` is
/// the client that asked for it, where one did.
///
/// # Errors
/// The database does not answer.
pub(super) async fn end(
    ctx: &Context,
    visitor: &Visitor,
    user: &SignIn,
    id: SignInId,
    client_id: Option<&ClientId>,
) -> Result<EndOutcome, OAuthError> {
    let reason = SignInEnd::LoggedOut;
    let detail = json!({ "sign_in": id, "reason": reason.as_str() });
    let mut audit = ctx.audit(AuditType::SignInEnded, visitor.actor(user)).about_user(&user.sub).detail(detail);
    audit.client_id = client_id.cloned();
    let end = EndSignIn {
        id,
        of_user: Some(user.sub.clone()),
        reason,
        end_sessions: true,
        now: ctx.now(),
        horizon: ctx.horizon(),
        audit,
    };
    Ok(ctx.store.end_sign_in(end).await?.outcome)
}

/// What both ways in have in common.
struct Entering<'a> {
    ctx: &'a Context,
    visitor: &'a Visitor,
    user: &'a User,
    known_address: Option<[u8; 32]>,
    secret: &'a Secret32,
    client_id: Option<&'a ClientId>,
}

impl Entering<'_> {
    /// `None` where it has just ended, or another tab was faster.
    async fn renew(&self, before: &SignIn) -> Result<Option<SignIn>, OAuthError> {
        let ctx = self.ctx;
        let Some(old_secret_hash) = self.visitor.secret_hash() else { return Ok(None) };
        let sign_in = before.renewed(self.visitor.browser(), &ctx.sign_ins, ctx.now());
        let renewal = RenewSignIn {
            audit: self.event(AuditType::SignInRenewed, &sign_in),
            sign_in: sign_in.clone(),
            old_secret_hash,
            secret_hash: self.secret.sha256(),
            credential_epoch: self.user.credential_epoch,
            known_address: self.known_address,
        };
        match ctx.store.renew_sign_in(renewal).await? {
            RenewSignInOutcome::Renewed => Ok(Some(sign_in)),
            RenewSignInOutcome::Gone => Ok(None),
            RenewSignInOutcome::UserChanged => Err(changed()),
        }
    }

    async fn begin(&self, replaces: Option<SignInId>) -> Result<SignIn, OAuthError> {
        let ctx = self.ctx;
        let id = SignInId::generate(&*ctx.entropy);
        let sign_in = SignIn::begin(id, self.user.sub.clone(), self.visitor.browser(), &ctx.sign_ins, ctx.now());
        let login = BeginSignIn {
            audit: self.event(AuditType::SignInBegan, &sign_in),
            sign_in: sign_in.clone(),
            secret_hash: self.secret.sha256(),
            credential_epoch: self.user.credential_epoch,
            replaces,
            known_address: self.known_address,
            horizon: ctx.horizon(),
        };
        match ctx.store.begin_sign_in(login).await? {
            BeginOutcome::Begun { .. } => Ok(sign_in),
            BeginOutcome::UserChanged => Err(changed()),
        }
    }

    fn event(&self, kind: AuditType, sign_in: &SignIn) -> AuditEvent {
        let mut event = self
            .ctx
            .audit(kind, self.visitor.actor(sign_in))
            .about_user(&sign_in.sub)
            .detail(json!({ "sign_in": sign_in.id }));
        event.client_id = self.client_id.cloned();
        event
    }
}

/// Disabled, deleted or given another password while this one was checked: wrong by now.
fn changed() -> OAuthError {
    OAuthError::new(Code::InvalidGrant, login::WRONG)
}
