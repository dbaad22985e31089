//! What users see and end of their own: the browsers they are signed in with, what they have allowed clients, their
//! password.

use std::sync::Arc;

use serde_json::json;

use super::sign_in::{self, Entered, Visitor};
use crate::context::Context;
use crate::credentials::login::{self, LoggedIn, Login};
use crate::credentials::{Credentials, precis};
use crate::domain::audit::AuditType;
use crate::domain::client::Client;
use crate::domain::consent::Consent;
use crate::domain::error::{Code, OAuthError};
use crate::domain::ids::{ClientId, SignInId};
use crate::domain::secret::SecretText;
use crate::domain::session::EndReason;
use crate::domain::sign_in::SignIn;
use crate::domain::user::User;
use crate::storage::{ChangeOutcome, Page, RevokeConsent, SignInFilter, UserEffects};

/// Browsers shown. Who has more can still sign out of all at once.
const DEVICES_SHOWN: u32 = 100;

/// How often a change is planned again after somebody else was faster.
const ATTEMPTS: u32 = 4;

/// All that a user is shown.
#[derive(Debug)]
pub struct Overview {
    pub user: User,
    /// The sign-ins that count now: the one that looks first, then the newest.
    pub devices: Vec<SignIn>,
    /// What was allowed whom, the latest first.
    pub granted: Vec<(Consent, Arc<Client>)>,
}

/// What became of a password that was to be changed.
#[derive(Debug)]
pub enum PasswordChange {
    /// With the secret that the browser's cookie is to carry from now on; `None` where another tab has set one.
    Changed(Option<Box<Entered>>),
    /// The new one cannot be one. Nothing was changed.
    Unusable,
}

/// What the user of a sign-in has here; `None` where the user is gone.
///
/// # Errors
/// The database does not answer.
pub async fn overview(ctx: &Context, sign_in: &SignIn) -> Result<Option<Overview>, OAuthError> {
    let Some(user) = ctx.store.user(&sign_in.sub).await? else { return Ok(None) };
    let filter = SignInFilter { sub: Some(user.sub.clone()), live_at: Some(ctx.now()) };
    let listed = ctx.store.sign_ins(filter, Page { after: None, limit: DEVICES_SHOWN }).await?;
    let others = listed.items.into_iter().filter(|it| it.id != sign_in.id && it.is_live(&ctx.sign_ins, ctx.now()));
    let devices = std::iter::once(sign_in.clone()).chain(others).collect();
    let mut granted = Vec::new();
    for consent in ctx.store.consents_of(&user.sub).await? {
        if let Some(client) = ctx.replica.client(&consent.client_id).await? {
            granted.push((consent, client));
        }
    }
    Ok(Some(Overview { user, devices, granted }))
}

/// Signs the user out of one of their browsers. Another user's is none of theirs: nothing happens.
///
/// # Errors
/// The database does not answer.
pub async fn end_device(ctx: &Context, visitor: &Visitor, user: &SignIn, id: SignInId) -> Result<(), OAuthError> {
    sign_in::end(ctx, visitor, user, id, None).await.map(drop)
}

/// Ends everything: every sign-in of the user, and every session, those with offline access too.
///
/// # Errors
/// The database does not answer.
pub async fn log_out_everywhere(ctx: &Context, visitor: &Visitor, user: &SignIn) -> Result<(), OAuthError> {
    let audit = ctx.audit(AuditType::UserLoggedOut, visitor.actor(user)).about_user(&user.sub);
    let effects = UserEffects {
        end_sessions: Some(EndReason::LoggedOut),
        except: None,
        now: ctx.now(),
        horizon: ctx.horizon(),
        audit,
    };
    ctx.store.end_user_sessions(&user.sub, effects).await?;
    Ok(())
}

/// Takes back what a client was allowed, and ends its sessions of this user that came from it.
///
/// # Errors
/// The database does not answer.
pub async fn revoke(ctx: &Context, visitor: &Visitor, user: &SignIn, client_id: &ClientId) -> Result<(), OAuthError> {
    let audit = ctx.audit(AuditType::ConsentRevoked, visitor.actor(user)).about_user(&user.sub).about_client(client_id);
    let revocation = RevokeConsent {
        sub: user.sub.clone(),
        client_id: client_id.clone(),
        now: ctx.now(),
        horizon: ctx.horizon(),
        audit,
    };
    ctx.store.revoke_consent(revocation).await?;
    Ok(())
}

/// Gives the user another password and ends everything but this sign-in and its sessions. The browser gets another secret:
/// whoever had copied the old one is out.
///
/// # Errors
/// As [`login::check`], of the current password.
pub async fn change_password(
    ctx: &Context,
    credentials: &Credentials,
    visitor: &Visitor,
    sign_in: &SignIn,
    (current, new): (&SecretText, &SecretText),
) -> Result<PasswordChange, OAuthError> {
    let Ok(prepared) = precis::prepare_password(new.expose()) else { return Ok(PasswordChange::Unusable) };
    let user = ctx.store.user(&sign_in.sub).await?.ok_or_else(wrong)?;
    let login = Login {
        username: &user.username,
        password: current,
        client_id: None,
        user_address: Some(visitor.origin.address()),
        origin: &visitor.origin,
    };
    let LoggedIn { user, known_address } = login::check(ctx, credentials, login).await?;
    if user.sub != sign_in.sub {
        return Err(wrong());
    }
    let hash = credentials.hash(prepared).await?;
    let user = write(ctx, visitor, sign_in, user, &hash).await?;
    let entered = sign_in::renew(ctx, visitor, &LoggedIn { user, known_address }, sign_in).await?;
    Ok(PasswordChange::Changed(entered.map(Box::new)))
}

/// Writes the new hash in place of the one that was checked. Answers the user as it is now.
async fn write(
    ctx: &Context,
    visitor: &Visitor,
    sign_in: &SignIn,
    checked: User,
    hash: &str,
) -> Result<User, OAuthError> {
    for _ in 0..ATTEMPTS {
        // The check itself may have written the old password's hash anew.
        let base = ctx.store.user(&checked.sub).await?.ok_or_else(wrong)?;
        if base.credential_epoch != checked.credential_epoch || base.disabled {
            return Err(wrong());
        }
        let next = User {
            password_hash: Some(hash.to_owned()),
            updated_at: ctx.now(),
            credential_epoch: base.credential_epoch.saturating_add(1),
            ..base
        };
        let effects = UserEffects {
            end_sessions: Some(EndReason::PasswordChanged),
            except: Some(sign_in.id),
            now: ctx.now(),
            horizon: ctx.horizon(),
            audit: ctx
                .audit(AuditType::UserPasswordChanged, visitor.actor(sign_in))
                .about_user(&next.sub)
                .detail(json!({ "changed": ["password"] })),
        };
        match ctx.store.change_user(next.clone(), effects).await? {
            ChangeOutcome::Changed => return Ok(next),
            ChangeOutcome::NotFound => return Err(wrong()),
            ChangeOutcome::Conflict | ChangeOutcome::Exists(_) | ChangeOutcome::LastAdmin => {}
        }
    }
    Err(OAuthError::unavailable("the user is being changed by others all the time; try again"))
}

/// Given another password, disabled or deleted in between: the one that was typed is wrong by now.
fn wrong() -> OAuthError {
    OAuthError::new(Code::InvalidGrant, login::WRONG)
}
