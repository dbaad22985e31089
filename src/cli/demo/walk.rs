//! `demo --once`: the newcomer's path, walked by the program itself.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::caller::{Caller, Tokens, USER, short};
use super::verify::verify;
use crate::cli::failure::{self, Failure};
use crate::cli::output::{Style, line};
use crate::domain::sources::Clock;

/// Walks all steps and prints each with its time and what came back.
///
/// # Errors
/// The first step that failed, by number and name.
pub(super) async fn walk(caller: &Caller, clock: &dyn Clock) -> failure::Result<()> {
    let mut steps = Steps { clock, style: Style::stdout(), number: 0 };

    let first = steps
        .take("login", "POST /oauth2/token, grant_type=password", async {
            let tokens = caller.login().await?;
            let said = told(&tokens);
            Ok((tokens, said))
        })
        .await?;

    let old_kid =
        steps.take("verify", "offline, by /.well-known/jwks.json and p256", check(caller, clock, &first)).await?;

    let second = steps
        .take("refresh", "grant_type=refresh_token", async {
            let tokens = caller.refresh(&first.refresh).await?;
            ensure!(tokens.refresh != first.refresh, "the refresh token did not move on");
            let said = told(&tokens);
            Ok((tokens, said))
        })
        .await?;

    steps
        .take("lost answer, and its retry", "the first refresh token again, as if the answer had been lost", async {
            let retried = caller.refresh(&first.refresh).await?;
            ensure!(retried.refresh == second.refresh, "the retry got another refresh token");
            Ok((
                (),
                vec![
                    format!("refresh_token  {}  the very same: nobody is logged out", short(&retried.refresh)),
                    format!("access_token   {}  a fresh one", short(&retried.access)),
                ],
            ))
        })
        .await?;

    steps
        .take("rotate the signing key", "POST /admin/v1/keys/rotate, mode=now, force", async {
            let plan = caller.rotate(false).await?;
            Ok(((), steps_of(&plan)))
        })
        .await?;

    let third = steps
        .take("refresh under the new key", "grant_type=refresh_token", async {
            let tokens = caller.refresh(&second.refresh).await?;
            let said = told(&tokens);
            Ok((tokens, said))
        })
        .await?;

    steps
        .take("verify again", "the token of the old key and one of the new", async {
            let (before, _) = check(caller, clock, &first).await.context("the old token")?;
            let (after, _) = check(caller, clock, &third).await.context("the new token")?;
            ensure!(before == old_kid && after != old_kid, "the new token is signed by the old key");
            Ok((
                (),
                vec![
                    format!("kid {}  retiring, its tokens still verify", short(&before)),
                    format!("kid {}  active", short(&after)),
                ],
            ))
        })
        .await?;

    steps
        .take("introspect", "POST /oauth2/introspect", async {
            let answer = caller.introspect(&third.access).await?;
            ensure!(answer["active"] == true, "the token is not active");
            let said = ["active", "sub", "client_id", "scope"].map(|name| format!("{name}={}", text(&answer[name])));
            Ok(((), vec![said.join("  ")]))
        })
        .await?;

    steps
        .take("revoke", "POST /oauth2/revoke with the refresh token", async {
            caller.revoke(&third.refresh).await?;
            Ok(((), vec![format!("the session of {USER} has ended")]))
        })
        .await?;

    steps
        .take("introspect again", "the very next call", async {
            for token in [&third.access, &third.refresh] {
                let answer = caller.introspect(token).await?;
                ensure!(answer["active"] == false, "a revoked token is still active");
            }
            Ok(((), vec!["active=false for the access token and for the refresh token".into()]))
        })
        .await?;

    line(format_args!("\n{}", steps.style.green("all steps done")))?;
    Ok(())
}

/// Verifies a token by the key set as it is now.
async fn check(caller: &Caller, clock: &dyn Clock, tokens: &Tokens) -> Result<(String, Vec<String>)> {
    let jwks = caller.jwks().await.context("the key set")?;
    let checked = verify(&tokens.access, &jwks, &caller.base, clock.now())?;
    let said = format!("signature good, kid {}, sub {}", short(&checked.kid), text(&checked.claims["sub"]));
    Ok((checked.kid, vec![said]))
}

fn told(tokens: &Tokens) -> Vec<String> {
    vec![
        format!("access_token   {}  for {} s", short(&tokens.access), tokens.expires_in),
        format!("refresh_token  {}", short(&tokens.refresh)),
    ]
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// What a rotation did, a step a line.
fn steps_of(plan: &Value) -> Vec<String> {
    let actions = plan["actions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let step = |action: &Value| {
        let kid = action["kid"].as_str().map(short).unwrap_or_default();
        format!("{:<15} {kid}", text(&action["action"]).replace('_', " "))
    };
    actions.iter().map(step).collect()
}

struct Steps<'a> {
    clock: &'a dyn Clock,
    style: Style,
    number: usize,
}

impl Steps<'_> {
    async fn take<T>(
        &mut self,
        name: &str,
        what: &str,
        work: impl Future<Output = Result<(T, Vec<String>)>>,
    ) -> failure::Result<T> {
        self.number += 1;
        let number = self.number;
        let begun = self.clock.uptime();
        let outcome = work.await;
        let took = millis(self.clock.uptime().saturating_sub(begun));
        let style = self.style;
        match outcome {
            Ok((value, said)) => {
                let (mark, title, what) = (style.green("ok"), style.bold(&format!("{name:<28}")), style.dim(what));
                line(format_args!("{mark} {number:>2}  {title} {took:>9}  {what}"))?;
                for text in said {
                    line(format_args!("       {text}"))?;
                }
                Ok(value)
            }
            Err(error) => Err(Failure::failed(error.context(format!("step {number}, {name}, failed after {took}")))),
        }
    }
}

fn millis(span: Duration) -> String {
    format!("{:.1} ms", span.as_secs_f64() * 1_000.0)
}
