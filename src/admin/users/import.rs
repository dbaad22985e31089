//! Users by the thousand: each row is the body of a creation and has an outcome of its own.
//!
//! Rows that are refused keep nobody else out. Users who are here are left alone, so that an import that was cut short
//! is finished by running it again.

use serde_json::json;
use serde_json::value::RawValue;

use super::spec::{UserSpec, refused};
use super::{draft, granted, hashed, judged, taken};
use crate::admin::AdminCaller;
use crate::admin::field::{Field, body};
use crate::context::Context;
use crate::credentials::Credentials;
use crate::domain::audit::AuditType;
use crate::domain::error::{Code, OAuthError};
use crate::domain::ids::Sub;
use crate::domain::newcomers::Verdict;
use crate::domain::user::User;
use crate::storage::{ImportUsers, UserName};

/// Rows of one call at most: what the database writes in one go, and others wait for.
pub const ROWS_MAX: usize = 1_000;

/// Rows with a password in clear at most. Each costs what a login costs.
pub const PASSWORDS_MAX: usize = 100;

/// How many rows are judged before others get their turn.
const AT_ONCE: usize = 64;

/// How the rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// One JSON array.
    Array,
    /// A JSON object on each line that is not blank.
    Lines,
}

/// What became of a row.
#[derive(Debug)]
pub enum Outcome {
    Created(Sub),
    /// Nothing was done: the user is here.
    Exists(Sub),
    Refused(OAuthError),
}

/// Brings users in, or only says what would become of them.
///
/// # Errors
/// [`Code::InvalidRequest`]: the body is no list of rows, or one that is too long. The password queue is full, or the
/// database does not answer; nothing is written then.
pub async fn import(
    ctx: &Context,
    credentials: &Credentials,
    caller: &AdminCaller,
    (body, rows): (&[u8], Rows),
    rehearse: bool,
) -> Result<Vec<Outcome>, OAuthError> {
    let specs = read(body, rows)?;
    let passwords = specs.iter().flatten().filter(|spec| matches!(spec.password, Field::Is(_))).count();
    if passwords > PASSWORDS_MAX {
        return Err(refused(format!(
            "{passwords} rows give a password, and at most {PASSWORDS_MAX} of one call may: each costs what a login \
             costs; send them in smaller parts, or hashes as password_hash"
        )));
    }
    let mut outcomes: Vec<Option<Outcome>> = Vec::with_capacity(specs.len());
    let mut users = Vec::with_capacity(specs.len());
    let mut denied = None;
    for (at, spec) in specs.into_iter().enumerate() {
        if at % AT_ONCE == AT_ONCE - 1 {
            tokio::task::yield_now().await;
        }
        let made = match spec {
            Ok(spec) => make(ctx, credentials, caller, &spec, rehearse).await,
            Err(fault) => Err(fault),
        };
        outcomes.push(match made {
            Ok(user) => {
                users.push(user);
                None
            }
            Err(fault) if matches!(fault.code, Code::InvalidRequest | Code::InsufficientScope) => {
                if fault.code == Code::InsufficientScope && denied.is_none() {
                    denied = Some(OAuthError::new(fault.code, fault.description.clone()));
                }
                Some(Outcome::Refused(fault))
            }
            Err(failure) => return Err(failure),
        });
    }
    // One entry tells of the attempt, however many rows it had.
    if let Some(fault) = denied
        && let Err(error) = caller.audited(ctx, Err::<(), _>(fault)).await
        && error.code != Code::InsufficientScope
    {
        return Err(error);
    }
    let verdicts = settle(ctx, caller, &users, rehearse).await?;
    let mut settled = users.iter().zip(verdicts).map(|(user, verdict)| match verdict {
        Verdict::New => Outcome::Created(user.sub.clone()),
        Verdict::Exists(sub) => Outcome::Exists(sub),
        Verdict::Taken(by) => {
            let fault = taken(UserName::Username, user);
            Outcome::Refused(OAuthError::new(
                fault.code,
                format!("{}: {by} has another external_id", fault.description),
            ))
        }
    });
    Ok(outcomes.into_iter().filter_map(|outcome| outcome.or_else(|| settled.next())).collect())
}

/// The rows of a body, each read or refused by itself.
fn read(bytes: &[u8], rows: Rows) -> Result<Vec<Result<UserSpec, OAuthError>>, OAuthError> {
    let texts: Vec<&[u8]> = match rows {
        Rows::Lines => bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).collect(),
        Rows::Array => {
            let items: Vec<&RawValue> = serde_json::from_slice(bytes).map_err(|error| {
                // Nothing of the body is quoted: syntax errors name places, and an array has no other faults here.
                let place = format!("line {} column {}", error.line(), error.column());
                refused(format!("the body is no JSON array of users, at {place}"))
            })?;
            items.into_iter().map(|item| item.get().as_bytes()).collect()
        }
    };
    if texts.is_empty() || texts.len() > ROWS_MAX {
        let many = texts.len();
        return Err(refused(format!(
            "the body has {many} users; send 1 to {ROWS_MAX}, and the others in further calls"
        )));
    }
    Ok(texts.into_iter().map(body).collect())
}

async fn make(
    ctx: &Context,
    credentials: &Credentials,
    caller: &AdminCaller,
    spec: &UserSpec,
    rehearse: bool,
) -> Result<User, OAuthError> {
    let mut user = draft(ctx, caller, spec)?;
    if rehearse {
        judged(credentials, &spec.password, &spec.password_hash)?;
    } else {
        user.password_hash = hashed(credentials, &spec.password, &spec.password_hash).await?;
    }
    Ok(user)
}

async fn settle(
    ctx: &Context,
    caller: &AdminCaller,
    users: &[User],
    rehearse: bool,
) -> Result<Vec<Verdict>, OAuthError> {
    if users.is_empty() {
        return Ok(Vec::new());
    }
    if rehearse {
        return Ok(ctx.store.rehearse_import(users).await?);
    }
    let job = ImportUsers {
        users: users.to_vec(),
        audit: ctx.audit(AuditType::UsersImported, caller.actor.clone()).detail(json!({})),
        granted: users
            .iter()
            .filter(|user| !user.admin_scopes.is_empty())
            .map(|user| granted(ctx, caller, user))
            .collect(),
    };
    Ok(ctx.store.import_users(job).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_lines_or_items() {
        let names = |body: &str, rows| -> Option<Vec<Option<String>>> {
            let specs = read(body.as_bytes(), rows).ok()?;
            Some(specs.into_iter().map(|spec| spec.ok()?.username.value()).collect())
        };
        let (ada, bob) = (Some("ada".to_owned()), Some("bob".to_owned()));
        let both = Some(vec![ada.clone(), bob.clone()]);
        assert_eq!(names("{\"username\":\"ada\"}\r\n\n  \n{\"username\":\"bob\"}", Rows::Lines), both);
        assert_eq!(names("[{\"username\":\"ada\"},\n{\"username\":\"bob\"}]", Rows::Array), both);
        let bad = "{\"username\":\"ada\"}\n{\"usernmae\":1}\n[]\n{\nnull\n{\"username\":\"bob\"}";
        assert_eq!(names(bad, Rows::Lines), Some(vec![ada.clone(), None, None, None, None, bob]));
        assert_eq!(names("[{\"username\":\"ada\"},7]", Rows::Array), Some(vec![ada, None]));
        for (body, rows) in [("", Rows::Lines), ("\n \n", Rows::Lines), ("[]", Rows::Array), ("{}", Rows::Array)] {
            assert_eq!(names(body, rows), None, "{body:?}");
        }
        assert_eq!(names(&"{}\n".repeat(ROWS_MAX), Rows::Lines).map(|rows| rows.len()), Some(ROWS_MAX));
        assert_eq!(names(&"{}\n".repeat(ROWS_MAX + 1), Rows::Lines), None);
    }

    #[test]
    fn no_fault_of_a_list_quotes_it() {
        for text in ["[{\"password\":\"hunter2\"}", "[{\"password\":\"hunter2\"} x]", "\"hunter2\"", "hunter2"] {
            let fault = read(text.as_bytes(), Rows::Array).expect_err(text);
            assert!(!fault.description.contains("hunter2"), "{}", fault.description);
        }
    }
}
