//! What operators do: keys, clients, users, sessions, the audit trail, and the first start.
//!
//! Use cases below the admin API and `bootstrap.file`. Who may do what is in [`rights`], pure; a call's own right is
//! checked by [`authorize`]. Changes are planned on a reading and refused by the store if somebody was faster; they
//! are then planned again. Every change is one audit event, written in the transaction of the change.

pub mod audit;
pub mod authorize;
pub mod bootstrap;
pub mod clients;
pub mod consents;
pub mod field;
pub mod keys;
pub mod lifetimes;
pub mod migration;
pub mod rights;
pub mod sessions;
pub mod sign_ins;
pub mod test_clock;
pub mod users;

pub use authorize::{AdminCaller, authorize};
pub use field::body;

use crate::domain::error::{Code, OAuthError};
use crate::storage::Page;

/// How often a change is planned again after somebody else was faster.
const ATTEMPTS: u32 = 8;

/// Items of a page that names no `limit`.
pub const PAGE_DEFAULT: u32 = 100;
/// Items of a page at most.
pub const PAGE_MAX: u32 = Page::MAX_LIMIT;

/// The page that a list's `after` and `limit` ask for.
///
/// # Errors
/// [`Code::InvalidRequest`]: the limit is not between 1 and [`PAGE_MAX`], or the cursor is not one of a list.
pub fn page(after: Option<String>, limit: Option<u32>) -> Result<Page, OAuthError> {
    let limit = limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(OAuthError::new(
            Code::InvalidRequest,
            format!("limit is {limit}; it must be 1 to {PAGE_MAX}, and {PAGE_DEFAULT} where it is left out"),
        ));
    }
    let page = Page { after: after.filter(|cursor| !cursor.is_empty()), limit };
    if !page.is_legible() {
        return Err(OAuthError::new(Code::InvalidRequest, "after is not the next of any page; leave it out to begin"));
    }
    Ok(page)
}

/// The change lost every race.
fn contended() -> OAuthError {
    OAuthError::new(Code::Conflict, "somebody else keeps changing this at the same time; read it again and try again")
}

/// It would leave nobody who can grant rights.
fn last_admin() -> OAuthError {
    OAuthError::new(
        Code::Conflict,
        "this would leave no client that holds the scope admin and can get it by client_credentials; make another \
         one first",
    )
}

fn not_found(what: &str) -> OAuthError {
    OAuthError::new(Code::NotFound, format!("there is no such {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_a_sane_size() {
        for (limit, taken) in [(None, Some(100)), (Some(1), Some(1)), (Some(1_000), Some(1_000)), (Some(0), None)] {
            assert_eq!(page(None, limit).ok().map(|page| page.limit), taken, "{limit:?}");
        }
        assert!(page(None, Some(1_001)).is_err());
        assert!(page(Some("no cursor".into()), None).is_err());
        assert_eq!(page(Some(String::new()), None).unwrap().after, None);
    }
}
