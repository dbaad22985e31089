//! `latchkey migration`: how many users have moved in, by the admin API.

use clap::Args;
use reqwest::Method;
use serde_json::Value;

use super::Globals;
use super::failure::Result;
use super::output::{Style, line};
use super::remote::{Remote, RemoteArgs, print_object};
use super::table;

#[derive(Debug, Args)]
pub(super) struct Migration {
    #[command(flatten)]
    remote: RemoteArgs,
}

pub(super) async fn run(Migration { remote }: Migration, globals: &Globals) -> Result<()> {
    let server = Remote::connect(&remote, globals, "admin:users:read").await?;
    let mut report = server.call(Method::GET, &["migration"], None).await?;
    if remote.json {
        return print_object(&report, &remote);
    }
    let issuers = report.as_object_mut().and_then(|members| members.remove("legacy_issuers"));
    print_object(&report, &remote)?;
    let issuers = issuers.as_ref().and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if !issuers.is_empty() {
        let columns = [
            ("LEGACY ISSUER", "name"),
            ("CUT-OFF", "cut_off"),
            ("TOKENS", "tokens"),
            ("USERS", "users"),
            ("LATEST", "latest"),
        ];
        line(format_args!("\n{}", table::list(&columns, issuers, Style::stdout())))?;
    }
    Ok(())
}
