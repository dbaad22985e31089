//! Making users, changing and removing them, and their passwords.

mod attributes;
pub mod import;
pub mod spec;

use serde::Deserialize;
use serde_json::json;

use spec::{UserSpec, refused};

use super::clients::spec::Secret;
use super::field::Field;
use super::rights::{loses_admin, may_grant, may_touch};
use super::{ATTEMPTS, AdminCaller, contended, last_admin, not_found, page};
use crate::context::Context;
use crate::credentials::{Credentials, precis};
use crate::domain::audit::{AuditEvent, AuditType};
use crate::domain::error::{Code, OAuthError};
use crate::domain::ids::Sub;
use crate::domain::scope::Scope;
use crate::domain::secret::SecretText;
use crate::domain::session::EndReason;
use crate::domain::user::User;
use crate::storage::{ChangeOutcome, CreateUserOutcome, Listed, UserEffects, UserName};

/// The body of a password's replacement: one of the two.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NewPassword {
    pub password: Field<Secret>,
    pub password_hash: Field<Secret>,
}

/// Makes a user. Without a password the user cannot log in by one.
///
/// # Errors
/// [`Code::InvalidRequest`]: a member is refused. [`Code::InsufficientScope`]: `admin_scopes` names what the caller
/// lacks. [`Code::Conflict`]: the username or the `external_id` is taken. The password queue is full, or the database
/// does not answer.
pub async fn create(
    ctx: &Context,
    credentials: &Credentials,
    caller: &AdminCaller,
    spec: &UserSpec,
) -> Result<User, OAuthError> {
    let drafted = draft(ctx, caller, spec);
    let mut user = caller.audited(ctx, drafted).await?;
    user.password_hash = hashed(credentials, &spec.password, &spec.password_hash).await?;
    match ctx.store.create_user(user.clone(), granted(ctx, caller, &user)).await? {
        CreateUserOutcome::Created => Ok(user),
        CreateUserOutcome::Exists(name) => Err(taken(name, &user)),
    }
}

/// The user that a body describes, without the password, as far as the caller may make one.
fn draft(ctx: &Context, caller: &AdminCaller, spec: &UserSpec) -> Result<User, OAuthError> {
    spec.one_password()?;
    let Field::Is(username) = &spec.username else {
        return Err(refused("username is missing; every user has one".into()));
    };
    let mut user = blank(ctx, username)?;
    spec.merge_into(&mut user)?;
    may_grant(&caller.scope, &Scope::default(), &user.admin_scopes)?;
    Ok(user)
}

/// The entry about a user who was made, with the rights that were handed out.
fn granted(ctx: &Context, caller: &AdminCaller, user: &User) -> AuditEvent {
    ctx.audit(AuditType::UserCreated, caller.actor.clone())
        .about_user(&user.sub)
        .detail(json!({ "username": user.username, "admin_scopes": user.admin_scopes }))
}

fn blank(ctx: &Context, username: &str) -> Result<User, OAuthError> {
    Ok(User {
        sub: Sub::generate(ctx.entropy.as_ref()),
        username: username.to_owned(),
        username_key: username_key(username)?,
        external_id: None,
        password_hash: None,
        claims: serde_json::Map::new(),
        attributes: serde_json::Map::new(),
        admin_scopes: Scope::default(),
        disabled: false,
        created_at: ctx.now(),
        updated_at: ctx.now(),
        version: 0,
        credential_epoch: 0,
    })
}

/// Which users a list is of, as it came in.
#[derive(Clone, Debug, Default)]
pub struct UserQuery {
    /// The one user of this name, as usernames are compared.
    pub username: Option<String>,
    /// The one user of this id in the system they came from. Beside a username, one who has both.
    pub external_id: Option<String>,
    pub after: Option<String>,
    pub limit: Option<u32>,
}

/// One page of the users.
///
/// # Errors
/// [`Code::InvalidRequest`]: the limit or cursor is none. The database does not answer.
pub async fn list(ctx: &Context, query: UserQuery) -> Result<Listed<User>, OAuthError> {
    let page = page(query.after, query.limit)?;
    // A text that cannot be a username is nobody's.
    let key = query.username.map(|username| precis::username_key(&username).unwrap_or_default());
    let found = match (&key, &query.external_id) {
        (None, None) => return Ok(ctx.store.users(page).await?),
        (Some(key), _) => ctx.store.user_by_username(key).await?,
        (None, Some(external_id)) => ctx.store.user_by_external_id(external_id).await?,
    };
    let found = found.filter(|user| query.external_id.is_none() || user.external_id == query.external_id);
    Ok(Listed { items: found.into_iter().collect(), next: None })
}

/// One user.
///
/// # Errors
/// [`Code::NotFound`]. The database does not answer.
pub async fn show(ctx: &Context, sub: &str) -> Result<User, OAuthError> {
    ctx.store.user(&Sub::new(sub)).await?.ok_or_else(|| not_found("user"))
}

/// Merges a body into a user (RFC 7396): absent members stay, `null` is the default.
///
/// Disabling a user, and taking an `admin*` scope from one, end all the user's sessions.
///
/// # Errors
/// [`Code::InvalidRequest`], [`Code::NotFound`]. [`Code::InsufficientScope`]: the user holds, or would hold, an
/// `admin*` scope that the caller lacks. [`Code::Conflict`]: the new username or `external_id` is taken. The database
/// does not answer.
pub async fn patch(ctx: &Context, caller: &AdminCaller, sub: &str, spec: &UserSpec) -> Result<User, OAuthError> {
    if spec.password.is_present() || spec.password_hash.is_present() {
        return Err(refused(format!("a password is changed by PUT /admin/v1/users/{sub}/password")));
    }
    change(ctx, caller, sub, AuditType::UserUpdated, |base| {
        let mut next = base.clone();
        match &spec.username {
            Field::Absent => {}
            Field::Null => return Err(refused("username cannot be null; every user has one".into())),
            Field::Is(username) => {
                next.username_key = username_key(username)?;
                next.username.clone_from(username);
            }
        }
        spec.merge_into(&mut next)?;
        may_grant(&caller.scope, &base.admin_scopes, &next.admin_scopes)?;
        Ok(next)
    })
    .await
}

/// Gives a user another password and ends all the user's sessions.
///
/// # Errors
/// [`Code::InvalidRequest`]: not exactly one of the two members, or it is refused. [`Code::InsufficientScope`]: the
/// user holds an `admin*` scope that the caller lacks. [`Code::NotFound`]. The password queue is full, or the database
/// does not answer.
pub async fn set_password(
    ctx: &Context,
    credentials: &Credentials,
    caller: &AdminCaller,
    sub: &str,
    body: &NewPassword,
) -> Result<(), OAuthError> {
    if matches!((&body.password, &body.password_hash), (Field::Is(_), Field::Is(_))) {
        return Err(refused("give password or password_hash, not both".into()));
    }
    // Rights first: a hash costs what a login costs.
    let user = show(ctx, sub).await?;
    caller.audited(ctx, may_touch(&caller.scope, &user.admin_scopes)).await?;
    let Some(hash) = hashed(credentials, &body.password, &body.password_hash).await? else {
        return Err(refused("give the new password as password, or its hash as password_hash".into()));
    };
    change(ctx, caller, sub, AuditType::UserPasswordChanged, |base| {
        Ok(User { password_hash: Some(hash.clone()), ..base.clone() })
    })
    .await
    .map(drop)
}

/// Removes a user; all the user's sessions end.
///
/// # Errors
/// [`Code::NotFound`]. [`Code::InsufficientScope`]: the user holds an `admin*` scope that the caller lacks. The
/// database does not answer.
pub async fn delete(ctx: &Context, caller: &AdminCaller, sub: &str) -> Result<(), OAuthError> {
    for _ in 0..ATTEMPTS {
        let user = show(ctx, sub).await?;
        caller.audited(ctx, may_touch(&caller.scope, &user.admin_scopes)).await?;
        let detail = json!({ "username": user.username });
        let audit = ctx.audit(AuditType::UserDeleted, caller.actor.clone()).about_user(&user.sub).detail(detail);
        let effects = UserEffects {
            end_sessions: Some(EndReason::UserDeleted),
            except: None,
            now: ctx.now(),
            horizon: ctx.horizon(),
            audit,
        };
        if settled(ctx.store.delete_user(&user.sub, user.version, effects).await?, &user)? {
            return Ok(());
        }
    }
    Err(contended())
}

/// Ends all the user's sessions and answers how many that were. The password stays what it is.
///
/// # Errors
/// [`Code::NotFound`]. The database does not answer.
pub async fn logout(ctx: &Context, caller: &AdminCaller, sub: &str) -> Result<u64, OAuthError> {
    let user = show(ctx, sub).await?;
    let effects = UserEffects {
        end_sessions: Some(EndReason::RevokedByAdmin),
        except: None,
        now: ctx.now(),
        horizon: ctx.horizon(),
        audit: ctx.audit(AuditType::UserLoggedOut, caller.actor.clone()).about_user(&user.sub),
    };
    Ok(ctx.store.end_user_sessions(&user.sub, effects).await?)
}

/// Plans and writes a change of one user, again while somebody else is faster. Answers the user as it is now.
async fn change(
    ctx: &Context,
    caller: &AdminCaller,
    sub: &str,
    kind: AuditType,
    plan: impl Fn(&User) -> Result<User, OAuthError>,
) -> Result<User, OAuthError> {
    for _ in 0..ATTEMPTS {
        let base = show(ctx, sub).await?;
        let planned = may_touch(&caller.scope, &base.admin_scopes).and_then(|()| plan(&base));
        let mut next = caller.audited(ctx, planned).await?;
        next.updated_at = ctx.now();
        let end_sessions = ends_sessions(&base, &next);
        if end_sessions.is_some() {
            // A login under way read the old epoch, so it opens no session.
            next.credential_epoch = base.credential_epoch.saturating_add(1);
        }
        let effects = UserEffects {
            end_sessions,
            except: None,
            now: ctx.now(),
            horizon: ctx.horizon(),
            audit: ctx.audit(kind, caller.actor.clone()).about_user(&base.sub).detail(detail(&base, &next)),
        };
        if settled(ctx.store.change_user(next.clone(), effects).await?, &next)? {
            return Ok(next);
        }
    }
    Err(contended())
}

/// Why the change ends the user's sessions, if it does.
fn ends_sessions(base: &User, next: &User) -> Option<EndReason> {
    if base.password_hash != next.password_hash {
        Some(EndReason::PasswordChanged)
    } else if next.disabled && !base.disabled {
        Some(EndReason::UserDisabled)
    } else if loses_admin(&base.admin_scopes, &next.admin_scopes) {
        // Tokens that carry the lost scope must stop counting now, not when they expire.
        Some(EndReason::RevokedByAdmin)
    } else {
        None
    }
}

fn detail(base: &User, next: &User) -> serde_json::Value {
    let mut detail = json!({ "changed": spec::changed(base, next) });
    if base.admin_scopes != next.admin_scopes {
        detail["admin_scopes"] = json!({ "from": base.admin_scopes, "to": next.admin_scopes });
    }
    detail
}

/// Whether the change is written; `false` asks for another attempt.
fn settled(outcome: ChangeOutcome, user: &User) -> Result<bool, OAuthError> {
    match outcome {
        ChangeOutcome::Changed => Ok(true),
        ChangeOutcome::Conflict => Ok(false),
        ChangeOutcome::NotFound => Err(not_found("user")),
        ChangeOutcome::Exists(name) => Err(taken(name, user)),
        ChangeOutcome::LastAdmin => Err(last_admin()),
    }
}

/// What another user is called already.
fn taken(name: UserName, user: &User) -> OAuthError {
    let which = match name {
        UserName::Username => format!("the username {:?} is taken, as usernames are compared", user.username),
        UserName::ExternalId => {
            format!("the external_id {:?} is taken by another user", user.external_id.as_deref().unwrap_or_default())
        }
    };
    OAuthError::new(Code::Conflict, which)
}

fn username_key(username: &str) -> Result<String, OAuthError> {
    precis::username_key(username).map_err(|error| refused(error.to_string()))
}

/// What a body gives of a password, judged at no price.
enum Given {
    Nothing,
    Password(SecretText),
    Hash(SecretText),
}

fn judged(credentials: &Credentials, password: &Field<Secret>, hash: &Field<Secret>) -> Result<Given, OAuthError> {
    match (password, hash) {
        (Field::Is(Secret(password)), _) => {
            precis::prepare_password(password.expose()).map(Given::Password).map_err(|error| refused(error.to_string()))
        }
        (_, Field::Is(Secret(hash))) => match credentials.check_importable(hash.expose()) {
            Ok(()) => Ok(Given::Hash(hash.clone())),
            Err(fault) => Err(refused(format!("password_hash: {fault}"))),
        },
        _ => Ok(Given::Nothing),
    }
}

/// The hash to store for what a body gives; `None` where it gives neither.
async fn hashed(
    credentials: &Credentials,
    password: &Field<Secret>,
    hash: &Field<Secret>,
) -> Result<Option<String>, OAuthError> {
    match judged(credentials, password, hash)? {
        Given::Password(prepared) => Ok(Some(credentials.hash(prepared).await?)),
        Given::Hash(hash) => Ok(Some(hash.expose().to_owned())),
        Given::Nothing => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Timestamp;

    fn user() -> User {
        User {
            sub: Sub::new("usr_1"),
            username: "ada".into(),
            username_key: "ada".into(),
            external_id: None,
            password_hash: Some("a".into()),
            claims: serde_json::Map::new(),
            attributes: serde_json::Map::new(),
            admin_scopes: Scope::parse("admin:keys").unwrap(),
            disabled: false,
            created_at: Timestamp::from_seconds(1),
            updated_at: Timestamp::from_seconds(1),
            version: 1,
            credential_epoch: 0,
        }
    }

    #[test]
    fn what_takes_something_from_a_user_ends_the_sessions() {
        let base = user();
        for (next, reason) in [
            (user(), None),
            (User { username: "eda".into(), ..user() }, None),
            (User { password_hash: Some("b".into()), ..user() }, Some(EndReason::PasswordChanged)),
            (User { disabled: true, ..user() }, Some(EndReason::UserDisabled)),
            (User { admin_scopes: Scope::default(), ..user() }, Some(EndReason::RevokedByAdmin)),
            (User { admin_scopes: Scope::parse("admin:keys admin:users").unwrap(), ..user() }, None),
        ] {
            assert_eq!(ends_sessions(&base, &next), reason, "{next:?}");
        }
        assert_eq!(ends_sessions(&User { disabled: true, ..user() }, &user()), None, "enabling again ends nothing");
    }

    #[test]
    fn the_trail_names_what_changed_and_no_values_of_it() {
        let next = User { password_hash: Some("secret hash".into()), ..user() };
        assert_eq!(detail(&user(), &next), json!({ "changed": ["password"] }));
    }
}
