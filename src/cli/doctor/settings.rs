//! Settings that are allowed and still worth a second thought. Contradictions are refused before this is reached.

use std::time::Duration;

use super::Finding;
use crate::app::legacy;
use crate::config::{Loaded, Origin, Settings, show_duration};
use crate::domain::sources::{Clock as _, SystemClock};

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Every finding about values; a single good one where there is nothing to say.
pub(super) fn unsafe_ones(loaded: &Loaded) -> Vec<Finding> {
    let mut findings = Vec::new();
    server(&loaded.settings, &mut findings);
    lifetimes(&loaded.settings, &mut findings);
    passwords(&loaded.settings, &mut findings);
    secrets(loaded, &mut findings);
    legacy_issuers(&loaded.settings, &mut findings);
    if findings.is_empty() {
        findings.push(Finding::ok("settings", "nothing unsafe in them"));
    }
    findings
}

fn server(settings: &Settings, findings: &mut Vec<Finding>) {
    let server = &settings.server;
    let is_public = !server.listen.ip().is_loopback();
    if let Some(net) = server.trusted_proxies.iter().find(|net| net.prefix_len() == 0) {
        findings.push(Finding::fail(
            "server.trusted_proxies",
            format!("{net} trusts every address there is, so that anyone may claim to be anyone"),
            "name the addresses of your proxies alone",
        ));
    }
    if let Some(net) = server.outbound_allow.iter().find(|net| net.prefix_len() == 0) {
        findings.push(Finding::fail(
            "server.outbound_allow",
            format!("{net} lets whoever registers a client have this machine ask any other in its network"),
            "name the networks that clients publish their keys in, and nothing wider",
        ));
    }
    if is_public && server.issuer.starts_with("http://") {
        findings.push(Finding::warn(
            "server.issuer",
            format!("{} is loopback, but server.listen = \"{}\" is not", server.issuer, server.listen),
            "set server.issuer to the https URL that clients use",
        ));
    }
    if is_public && server.admin_listen.is_none() {
        findings.push(Finding::warn(
            "server.admin_listen",
            "the admin API answers on the public listener",
            "give it a listener of its own on an address that only operators reach",
        ));
    }
    if server.admin_listen.is_some_and(|admin| admin.ip().is_unspecified()) {
        findings.push(Finding::warn(
            "server.admin_listen",
            "it listens on every address of this machine",
            "name the one that operators use",
        ));
    }
    let ends_in_front = server.issuer.starts_with("https://") && server.tls.files().is_none();
    if is_public && server.trusted_proxies.is_empty() && ends_in_front {
        findings.push(Finding::warn(
            "server.trusted_proxies",
            "the issuer is https and server.tls is not set, so a proxy ends TLS in front, but none is trusted: every user \
             shares its address, and its limits",
            "name the proxy's addresses",
        ));
    }
}

fn lifetimes(settings: &Settings, findings: &mut Vec<Finding>) {
    let (tokens, keys) = (&settings.tokens, &settings.keys);
    let mut long = |key: &str, span: Duration, limit: Duration, what: &str, mend: &str| {
        if span > limit {
            let what = format!("\"{}\" is long: {what}", show_duration(span));
            findings.push(Finding::warn(key, what, mend));
        }
    };
    long(
        "tokens.access_ttl",
        tokens.access_ttl,
        HOUR,
        "services that verify offline accept a revoked token until it expires",
        "10m costs one refresh every ten minutes and nothing else",
    );
    long(
        "tokens.refresh_retry_window",
        tokens.refresh_retry_window,
        HOUR,
        "within it, a thief and a retry look alike",
        "lengthen it only for the clients that need it, under their lifetimes",
    );
    long(
        "tokens.refresh_absolute",
        tokens.refresh_absolute,
        365 * DAY,
        "a stolen session lives as long",
        "a year is much even for a phone",
    );
    long(
        "introspection.revocation_staleness",
        settings.introspection.revocation_staleness,
        Duration::from_secs(10),
        "another node may call a revoked token active for so long",
        "the default, 2s, costs one small query a second",
    );
    long("keys.rotate_every", keys.rotate_every, 365 * DAY, "a lost key signs as long", "rotation is free: write 30d");
    let habit = Duration::from_secs(5 * 60);
    if keys.min_publication < habit {
        findings.push(Finding::warn(
            "keys.min_publication",
            format!(
                "\"{}\" is short: common verifiers wait up to 5 minutes between two looks at the key set, and would \
                 meet keys they do not know",
                show_duration(keys.min_publication)
            ),
            "write 10m",
        ));
    }
    if tokens.access_ttl > tokens.refresh_absolute {
        findings.push(Finding::warn(
            "tokens.access_ttl",
            "access tokens outlive the session that gave them",
            "keep it below tokens.refresh_absolute",
        ));
    }
    if !tokens.rotate_refresh {
        findings.push(Finding::warn(
            "tokens.rotate_refresh",
            "a stolen refresh token is never noticed",
            "turn it off for single clients, not for all",
        ));
    }
    if !tokens.refresh_heal {
        findings.push(Finding::warn(
            "tokens.refresh_heal",
            "after a restore from a backup, whoever refreshed since then is logged out",
            "leave it on unless your database never loses its tail",
        ));
    }
}

fn passwords(settings: &Settings, findings: &mut Vec<Finding>) {
    let passwords = &settings.passwords;
    // OWASP's equally strong pairs, from 19 MiB twice up to 46 MiB once.
    let is_weak = u64::from(passwords.memory_kib) * u64::from(passwords.iterations) < 2 * (19 << 10);
    if is_weak {
        findings.push(Finding::warn(
            "passwords.memory",
            format!(
                "{} KiB in {} passes is below what OWASP recommends for argon2id",
                passwords.memory_kib, passwords.iterations
            ),
            "write memory = \"19MiB\" and iterations = 2, or more",
        ));
    }
    if passwords.account_failures > 100 {
        findings.push(Finding::warn(
            "passwords.account_failures",
            format!("{} free guesses in 15 minutes are many", passwords.account_failures),
            "5 is enough for people who mistype",
        ));
    }
}

fn secrets(loaded: &Loaded, findings: &mut Vec<Finding>) {
    let in_file = loaded.effective.iter().filter(|e| e.value.is_some() && matches!(e.origin, Origin::File(_)));
    for key in in_file.map(|e| e.key.as_str()) {
        let mend = match key {
            "keys.master_key" | "bootstrap.admin_secret" => {
                "give it in the environment, or let Latchkey keep it in keys.directory"
            }
            key if key.starts_with("legacy_issuers[") && key.ends_with("].secret") => "put it into a secret_file",
            _ => continue,
        };
        findings.push(Finding::warn(
            key,
            "the secret stands in the configuration file, which travels in backups and repositories",
            mend,
        ));
    }
    if !loaded.settings.keys.previous_master_keys.is_empty() {
        findings.push(Finding::warn(
            "keys.previous_master_keys",
            "an older master key is still taken",
            "run `latchkey key rotate-master`, then remove it",
        ));
    }
}

fn legacy_issuers(settings: &Settings, findings: &mut Vec<Finding>) {
    match legacy::verifiers(settings) {
        Err(error) => findings.push(Finding::fail("legacy_issuers", error.to_string(), "")),
        Ok(verifiers) => {
            findings.extend(
                legacy::warnings(&verifiers).into_iter().map(|(about, what, mend)| Finding::warn(about, what, mend)),
            );
        }
    }
    for (index, issuer) in settings.legacy_issuers.iter().enumerate() {
        if issuer.cut_off <= SystemClock.now() {
            let what =
                format!("{} has passed: none of the tokens of {} is taken", issuer.cut_off.rfc3339(), issuer.name);
            findings.push(Finding::warn(format!("legacy_issuers[{index}].cut_off"), what, "remove the issuer"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::super::Verdict;
    use super::*;

    fn diagnose(environment: &[(&str, &str)]) -> Vec<Finding> {
        let environment = environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        unsafe_ones(&crate::config::load(None, environment).unwrap())
    }

    #[test]
    fn the_defaults_are_fine() {
        let findings = diagnose(&[]);
        assert!(findings.iter().all(|finding| finding.verdict == Verdict::Ok), "{findings:?}");
    }

    #[test]
    fn trusting_everyone_is_a_failure_and_habits_are_warnings() {
        let findings = diagnose(&[
            ("LATCHKEY__SERVER__TRUSTED_PROXIES", "0.0.0.0/0"),
            ("LATCHKEY__TOKENS__ACCESS_TTL", "2h"),
            ("LATCHKEY__PASSWORDS__ITERATIONS", "1"),
        ]);
        let about =
            |verdict| findings.iter().filter(|f| f.verdict == verdict).map(|f| f.about.as_str()).collect::<Vec<_>>();
        assert_eq!(about(Verdict::Fail), ["server.trusted_proxies"]);
        assert_eq!(about(Verdict::Warn), ["tokens.access_ttl", "passwords.memory"]);
    }

    #[test]
    fn a_weak_secret_and_a_cut_off_that_has_passed_are_warnings_and_a_missing_key_is_a_failure() {
        let issuers = |key: &str, cut_off: &str| {
            let issuer = format!(
                r#"[{{"name": "old", "algorithms": ["HS256"], {key}, "user_claim": "sub", "clients": ["web"],
                     "cut_off": "{cut_off}"}}]"#
            );
            diagnose(&[("LATCHKEY__LEGACY_ISSUERS", &issuer)])
        };
        let (future, past) = ("2999-01-01T00:00:00Z", "2020-01-01T00:00:00Z");
        let strong = format!(r#""secret": "{}""#, "s".repeat(32));
        assert_eq!(issuers(&strong, future)[0].verdict, Verdict::Ok);
        let weak = issuers(r#""secret": "hunter2""#, future);
        assert_eq!((weak[0].verdict, weak[0].about.as_str()), (Verdict::Warn, "legacy_issuers[0]"));
        assert!(weak[0].what.contains("has 7 bytes, and HS256 wants 32"), "{weak:?}");
        let over = issuers(&strong, past);
        assert_eq!((over[0].verdict, over[0].about.as_str()), (Verdict::Warn, "legacy_issuers[0].cut_off"));
        assert_eq!(issuers(r#""secret_file": "/nonexistent""#, future)[0].verdict, Verdict::Fail);
    }
}
