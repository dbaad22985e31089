//! Holds the picture of the layers: imports run one way, and each heavy library has one home.

#![expect(clippy::expect_used, reason = "sources that cannot be read fail the test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Layers from the bottom up. A module may know every module of a layer below its own.
const LAYERS: &[&[&str]] = &[
    &["domain"],
    &["keys", "tokens", "storage"],
    &["replica"],
    &["context"],
    &["introspection", "credentials", "outbound"],
    &["client_auth", "grants", "flows", "admin"],
    &["app"],
    &["http", "jobs"],
    &["cli"],
    &["main"],
];

/// What may look sideways within its layer.
const SIDEWAYS: &[(&str, &str)] = &[("tokens", "keys"), ("grants", "client_auth"), ("flows", "client_auth")];

/// They know only `domain`, and are known from `app` upward.
const OUTSIDE: &[&str] = &["config", "telemetry"];

/// Where a library may be named: a folder or a file below `src`.
const CONFINED: &[(&str, &[&str])] = &[
    ("sqlx", &["storage"]),
    ("poem", &["http"]),
    ("poem_openapi", &["http"]),
    ("hyper", &["http"]),
    ("hyper_util", &["http"]),
    ("rustls", &["http/tls"]),
    ("tokio_rustls", &["http/tls"]),
    ("openssl", &["http/tls"]),
    ("josekit", &["keys", "tokens"]),
    ("rsa", &["keys"]),
    ("moka", &["introspection/cache.rs", "outbound/key_sets.rs"]),
    ("argon2", &["credentials"]),
    ("bcrypt", &["credentials/legacy"]),
    ("pbkdf2", &["credentials/legacy"]),
    ("scrypt", &["credentials/legacy"]),
    ("sha1", &["credentials/legacy"]),
    ("aes_gcm", &["keys/seal.rs"]),
    ("askama", &["http/pages"]),
    ("governor", &["http"]),
    ("clap", &["cli", "main.rs"]),
    ("reqwest", &["cli", "outbound"]),
    ("prometheus_client", &["telemetry"]),
];

#[test]
fn imports_run_one_way() {
    let mut faults = Vec::new();
    for source in sources() {
        for used in modules_used(&source.text) {
            if let Some(fault) = judge(&source.module, &used) {
                faults.push(format!("{}: {fault}", source.path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "the layers are broken:\n{}", faults.join("\n"));
}

#[test]
fn libraries_stay_where_they_live() {
    let mut faults = Vec::new();
    for source in sources() {
        for (library, homes) in CONFINED {
            let at_home = homes.iter().any(|home| source.path.starts_with(home));
            if !at_home && names_crate(&source.text, library) {
                faults.push(format!("{} names {library}, which lives in {homes:?}", source.path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_module_says_what_it_owns_and_stays_readable() {
    let mut faults = Vec::new();
    for source in sources() {
        if !source.text.starts_with("//!") {
            faults.push(format!("{} does not open with what it owns", source.path.display()));
        }
        let before_tests = source.text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        let lines = before_tests.lines().count();
        if lines > 560 {
            faults.push(format!("{} has {lines} lines before its tests", source.path.display()));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_broken_layer_would_be_seen() {
    assert!(judge("domain", "storage").is_some(), "upward");
    assert!(judge("storage", "keys").is_some(), "sideways");
    assert!(judge("grants", "config").is_some(), "settings below app");
    assert!(judge("config", "keys").is_some(), "config knows only domain");
    assert!(judge("tokens", "keys").is_none() && judge("http", "grants").is_none() && judge("cli", "config").is_none());
    assert_eq!(
        modules_used("use crate::{domain::ids, storage::Store};\nfn f() { crate::http::x() }"),
        ["domain", "http", "storage"]
    );
    assert!(names_crate("let x = sqlx::query();", "sqlx") && !names_crate("my_sqlx::query()", "sqlx"));
}

struct Source {
    path: PathBuf,
    module: String,
    text: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("src is readable") {
            let path = entry.expect("src is readable").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = fs::read_to_string(&path).expect("source is text");
                let path = path.strip_prefix(&root).expect("below src").to_owned();
                let first = path.iter().next().expect("has a name").to_string_lossy();
                let module = first.trim_end_matches(".rs").to_owned();
                found.push(Source { path, module, text });
            }
        }
    }
    assert!(found.len() > 40, "the sources were not found");
    found
}

fn judge(from: &str, to: &str) -> Option<String> {
    if from == to || from == "lib" {
        return None;
    }
    let rank = |module: &str| LAYERS.iter().position(|layer| layer.contains(&module));
    if OUTSIDE.contains(&from) {
        return (to != "domain").then(|| format!("{from} knows only domain, not {to}"));
    }
    let mine = rank(from)?;
    if OUTSIDE.contains(&to) {
        return (rank("app")? > mine).then(|| format!("{from} lies below app and may not know {to}"));
    }
    let theirs = rank(to)?;
    let allowed = theirs < mine || SIDEWAYS.contains(&(from, to));
    (!allowed).then(|| format!("{from} may not know {to}"))
}

/// The top-level modules that a text names through `crate::` or `latchkey::`.
fn modules_used(text: &str) -> Vec<String> {
    let mut used = BTreeMap::new();
    for prefix in ["crate::", "latchkey::"] {
        for (at, _) in text.match_indices(prefix) {
            let rest = &text[at + prefix.len()..];
            if let Some(group) = rest.strip_prefix('{') {
                let mut depth = 0;
                let mut word = String::new();
                let mut taking = true;
                for c in group.chars() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => taking = true,
                        c if taking && (c.is_alphanumeric() || c == '_') => {
                            word.push(c);
                            continue;
                        }
                        c if c.is_whitespace() => {}
                        _ => taking = false,
                    }
                    if !word.is_empty() {
                        used.insert(std::mem::take(&mut word), ());
                        taking = c == ',';
                    }
                }
                if !word.is_empty() {
                    used.insert(word, ());
                }
            } else {
                let word: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                used.insert(word, ());
            }
        }
    }
    used.into_keys()
        .filter(|word| LAYERS.concat().contains(&word.as_str()) || OUTSIDE.contains(&word.as_str()))
        .collect()
}

fn names_crate(text: &str, library: &str) -> bool {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let mut lines = code;
    lines.any(|line| {
        line.match_indices(&format!("{library}::"))
            .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'))
    })
}
