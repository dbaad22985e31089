//! What an operator is told: which verifiers will meet what, and until when.

use std::time::Duration;

use super::View;
use crate::domain::ids::Kid;
use crate::domain::key::{Alg, KeyState, SigningKey};
use crate::domain::time::Timestamp;

/// The longest that a common verification library waits between two fetches for unknown kids (keyfunc).
const SLOWEST_REFETCH: Duration = Duration::from_secs(300);

impl View<'_> {
    /// Why the standby is not ripe, as half a sentence.
    pub(super) fn unripe(&self, standby: &SigningKey) -> String {
        let ripe_at = self.ripe_at(standby);
        if self.now >= ripe_at {
            return match self.nodes_behind() {
                0 => "it is".to_owned(),
                1 => "one node has yet to load it".to_owned(),
                nodes => format!("{nodes} nodes have yet to load it"),
            };
        }
        let since = standby.created_at.rfc3339();
        let why = if standby.unseen_max_age > self.policy.min_publication {
            format!("published since {since}, and key sets without it were served for {}", span(standby.unseen_max_age))
        } else {
            format!(
                "published since {since}, for at least {} (keys.min_publication)",
                span(self.policy.min_publication)
            )
        };
        format!("{why}, and {} of margin, so ripe at {}", span(self.policy.publication_margin), ripe_at.rfc3339())
    }

    /// Which verifiers refuse the tokens of a standby that is activated before it is ripe, and for how long.
    pub(super) fn early_note(&self, standby: &SigningKey) -> String {
        format!(
            "The standby {} is not ripe ({}). {}",
            standby.kid,
            self.unripe(standby),
            refusals(standby.created_at, standby.unseen_max_age, self.now)
        )
    }

    /// What becomes of the tokens of a lost key.
    pub(super) fn lost_notes(&self, key: &SigningKey) -> Vec<String> {
        let kid = &key.kid;
        let mut notes = vec![match key.state {
            KeyState::Standby => format!("{kid} leaves the key set at once. It has signed no token here."),
            _ => format!(
                "Introspection refuses every token that {kid} signed, from now on and for ever. Sessions live on: the \
                 next refresh of each gives an access token of another key. Clients that exchange their access token \
                 and have no refresh token log in again."
            ),
        }];
        if key.state.is_published() {
            let until = self.now.plus(key.longest_max_age);
            notes.push(format!(
                "Verifiers that work offline keep accepting tokens of {kid}, a thief's too, while they hold a key set \
                 with it: those that obey Cache-Control until {} at the latest; those that fetch only when they meet an \
                 unknown kid, until they meet one or are restarted. Restart those that matter.",
                until.rfc3339()
            ));
            if !matches!(key.state, KeyState::Standby) {
                notes.push(
                    "Verifiers that have fetched the new key set refuse the tokens of it that clients still hold, until \
                     each client has refreshed."
                        .to_owned(),
                );
            }
        }
        if key.imported {
            notes.push(format!("{kid} was imported: what else uses it goes on trusting it."));
        }
        notes
    }
}

/// Of an algorithm that signs with a key nobody could have seen.
pub(super) fn unannounced(alg: Alg, now: Timestamp, unseen_max_age: Duration) -> String {
    format!("There is no {alg} standby, so a new key signs at once. {}", refusals(now, unseen_max_age, now))
}

pub(super) fn imported(kid: &Kid) -> String {
    format!(
        "{kid} is published as a standby and is the next to sign once it is ripe. Whoever else holds its private half \
         can then make tokens that are accepted everywhere. Until it has signed here, no token of it is accepted by \
         introspection."
    )
}

fn refusals(published: Timestamp, unseen_max_age: Duration, now: Timestamp) -> String {
    let obeying = published.plus(unseen_max_age).max(now);
    let waiting = now.plus(SLOWEST_REFETCH);
    format!(
        "Verifiers that hold a key set from before {} refuse its tokens until they fetch again: those that fetch when \
         they meet an unknown kid do so within {} at most ({}), those that only obey Cache-Control by {}.",
        published.rfc3339(),
        span(SLOWEST_REFETCH),
        waiting.rfc3339(),
        obeying.rfc3339()
    )
}

/// A span as settings spell it: `30s`, `10m`, `1h30m`, `7d`.
fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let parts = [(seconds / 86_400, 'd'), (seconds / 3600 % 24, 'h'), (seconds / 60 % 60, 'm'), (seconds % 60, 's')];
    let text: String = parts.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n}{unit}")).collect();
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_as_settings_do() {
        let texts = [(0, "0s"), (30, "30s"), (600, "10m"), (5400, "1h30m"), (7 * 86_400, "7d"), (90_061, "1d1h1m1s")];
        for (seconds, text) in texts {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }
}
