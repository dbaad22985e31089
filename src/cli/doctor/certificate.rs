//! `server.tls`: is the pair whole, in date, for the issuer's host, and kept to itself?

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::Finding;
use crate::config::Settings;
use crate::domain::sources::{Clock as _, SystemClock};
use crate::domain::time::Timestamp;
use crate::http::tls;
use crate::http::tls::pair::Pair;

const ABOUT: &str = "server.tls";

/// Nothing where TLS ends in front, or nowhere.
pub(super) fn look(settings: &Settings) -> Vec<Finding> {
    let server = &settings.server;
    match tls::read_pair(&server.tls) {
        Ok(None) => Vec::new(),
        Ok(Some(pair)) => {
            let mut findings = judge(&pair, &server.issuer, SystemClock.now());
            findings.extend(server.tls.files().and_then(|(_, private_key)| open_to_others(private_key)));
            findings
        }
        Err(faults) => {
            let told = faults.0.into_iter();
            told.map(|fault| {
                Finding::fail(fault.key, format!("\"{}\": {}", fault.path.display(), fault.reason), fault.mend)
            })
            .collect()
        }
    }
}

fn judge(pair: &Pair, issuer: &str, now: Timestamp) -> Vec<Finding> {
    let concerns = pair.concerns(issuer, now);
    if concerns.is_empty() {
        let what = format!("the certificate for {} is good until {}", pair.names.join(", "), pair.not_after.rfc3339());
        return vec![Finding::ok(ABOUT, what)];
    }
    let told = concerns.into_iter();
    told.map(|concern| match concern.is_grave {
        true => Finding::fail(ABOUT, concern.what, concern.mend),
        false => Finding::warn(ABOUT, concern.what, concern.mend),
    })
    .collect()
}

/// A group may read it: that is how machines with several services share one certificate.
fn open_to_others(private_key: &Path) -> Option<Finding> {
    let mode = fs::metadata(private_key).ok()?.permissions().mode() & 0o777;
    (mode & 0o007 != 0).then(|| {
        let path = private_key.display();
        let what = format!("{path} is open to everyone on this machine (mode {mode:04o})");
        Finding::warn("server.tls.private_key", what, format!("chmod o= {path}"))
    })
}
