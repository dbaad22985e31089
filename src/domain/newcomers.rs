//! Which of many users who come in are new, and which are here already: what lets an import that was cut short be run
//! again.

use std::collections::HashMap;

use super::ids::Sub;
use super::user::User;

/// A user who is here, by the names they go by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    pub sub: Sub,
    pub username_key: String,
    pub external_id: Option<String>,
}

/// What becomes of one who comes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    New,
    /// The same person is here, and stays as they are.
    Exists(Sub),
    /// Somebody else goes by this username.
    Taken(Sub),
}

/// Those who are here, as far as they could be met.
#[derive(Debug, Default)]
pub struct Residents {
    by_username: HashMap<String, Known>,
    by_external_id: HashMap<String, Known>,
}

impl Residents {
    pub fn add(&mut self, known: Known) {
        if let Some(id) = &known.external_id {
            self.by_external_id.insert(id.clone(), known.clone());
        }
        self.by_username.insert(known.username_key.clone(), known);
    }

    /// Judges users in their order; who is new counts as here for those after.
    ///
    /// Who has the same `external_id` is the same person, by whatever username. Who has the same username is, too,
    /// unless both have an `external_id`: another system may have told `Ada` and `ada` apart, and losing one of them
    /// must not look like a success.
    pub fn judge(&mut self, users: &[User]) -> Vec<Verdict> {
        users
            .iter()
            .map(|user| {
                let verdict = self.judge_one(user);
                if verdict == Verdict::New {
                    self.add(Known {
                        sub: user.sub.clone(),
                        username_key: user.username_key.clone(),
                        external_id: user.external_id.clone(),
                    });
                }
                verdict
            })
            .collect()
    }

    fn judge_one(&self, user: &User) -> Verdict {
        let of_name = self.by_username.get(&user.username_key);
        let of_id = user.external_id.as_ref().and_then(|id| self.by_external_id.get(id));
        match (of_id, of_name) {
            (None, None) => Verdict::New,
            (Some(same), Some(other)) if same.sub != other.sub => Verdict::Taken(other.sub.clone()),
            (None, Some(other)) if user.external_id.is_some() && other.external_id.is_some() => {
                Verdict::Taken(other.sub.clone())
            }
            (Some(same), _) | (None, Some(same)) => Verdict::Exists(same.sub.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::scope::Scope;
    use crate::domain::time::Timestamp;

    fn user(sub: &str, name: &str, external_id: Option<&str>) -> User {
        User {
            sub: Sub::new(sub),
            username: name.into(),
            username_key: name.into(),
            external_id: external_id.map(str::to_owned),
            password_hash: None,
            claims: serde_json::Map::new(),
            attributes: serde_json::Map::new(),
            admin_scopes: Scope::default(),
            disabled: false,
            created_at: Timestamp::from_seconds(0),
            updated_at: Timestamp::from_seconds(0),
            version: 0,
            credential_epoch: 0,
        }
    }

    fn known(sub: &str, name: &str, external_id: Option<&str>) -> Known {
        Known { sub: Sub::new(sub), username_key: name.into(), external_id: external_id.map(str::to_owned) }
    }

    #[test]
    fn who_is_here_is_told_from_who_has_the_same_name() {
        let exists = |sub: &str| Verdict::Exists(Sub::new(sub));
        let taken = |sub: &str| Verdict::Taken(Sub::new(sub));
        for (name, id, verdict) in [
            ("eve", None, Verdict::New),
            ("eve", Some("9"), Verdict::New),
            ("ada", Some("1"), exists("usr_a")),
            ("ada", None, exists("usr_a")),
            ("renamed", Some("1"), exists("usr_a")),
            ("ada", Some("9"), taken("usr_a")),
            ("bob", Some("1"), taken("usr_b")),
            ("bob", Some("9"), exists("usr_b")),
            ("bob", None, exists("usr_b")),
        ] {
            let mut residents = Residents::default();
            residents.add(known("usr_a", "ada", Some("1")));
            residents.add(known("usr_b", "bob", None));
            assert_eq!(residents.judge(&[user("usr_new", name, id)]), [verdict], "{name} {id:?}");
        }
    }

    #[test]
    fn those_before_count_for_those_after() {
        let users = [
            user("usr_1", "ada", Some("1")),
            user("usr_2", "ada", Some("1")),
            user("usr_3", "ada", Some("2")),
            user("usr_4", "bob", Some("1")),
            user("usr_5", "bob", None),
        ];
        let first = Sub::new("usr_1");
        let taken = Verdict::Taken(first.clone());
        assert_eq!(
            Residents::default().judge(&users),
            [Verdict::New, Verdict::Exists(first.clone()), taken, Verdict::Exists(first), Verdict::New]
        );
    }
}
