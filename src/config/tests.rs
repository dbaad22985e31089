//! Faults as their readers see them, and where values come from.

mod tables;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::{CompatStyle, Loaded, Origin, RateLimit, assemble, parse_duration, parse_size, show_duration, show_size};

fn with(text: &str, environment: &[(&str, &str)]) -> Result<Loaded, String> {
    let environment = environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    assemble(Some(PathBuf::from("latchkey.toml")), text, environment).map_err(|faults| faults.to_string())
}

#[test]
fn no_file_and_no_environment_run_on_the_defaults() {
    let loaded = with("", &[("PATH", "/bin"), ("LATCHKEY_CLIENT_ID", "not a key")]).unwrap();
    let shown = |key: &str| loaded.effective.iter().find(|e| e.key == key).unwrap().value.clone();
    for (key, value) in [
        ("server.listen", "\"127.0.0.1:8420\""),
        ("server.issuer", "\"http://127.0.0.1:8420\""),
        ("server.trusted_proxies", "[]"),
        ("server.max_body", "\"64KiB\""),
        ("server.outbound_allow", "[]"),
        ("server.outbound_timeout", "\"5s\""),
        ("database.url", "\"sqlite://latchkey.db\""),
        ("keys.directory", "\"keys\""),
        ("keys.rotate_every", "\"30d\""),
        ("keys.jwks_max_age", "\"10m\""),
        ("keys.min_publication", "\"10m\""),
        ("keys.publication_margin", "\"1m\""),
        ("tokens.access_ttl", "\"10m\""),
        ("tokens.id_token_ttl", "\"1h\""),
        ("tokens.refresh_idle", "\"7d\""),
        ("tokens.refresh_absolute", "\"30d\""),
        ("tokens.refresh_retry_window", "\"1m\""),
        ("tokens.rotate_refresh", "true"),
        ("tokens.refresh_heal", "true"),
        ("tokens.late_retry", "\"15s\""),
        ("introspection.cache_entries", "100000"),
        ("introspection.revocation_staleness", "\"2s\""),
        ("passwords.memory", "\"19MiB\""),
        ("passwords.iterations", "2"),
        ("passwords.parallelism", "1"),
        ("passwords.ceiling_pbkdf2", "10000000"),
        ("passwords.ceiling_bcrypt", "16"),
        ("passwords.ceiling_memory", "\"256MiB\""),
        ("passwords.queue", "64"),
        ("passwords.account_failures", "5"),
        ("passwords.address_failures", "20"),
        ("passwords.client_failures", "1000"),
        ("sign_in.idle", "\"1d\""),
        ("sign_in.absolute", "\"14d\""),
        ("pages.name", "\"Latchkey\""),
        ("pages.accent", "\"#3451d1\""),
        ("pages.background", "\"#f4f5f9\""),
        ("pages.background_dark", "\"#0f1116\""),
    ] {
        assert_eq!(shown(key).as_deref(), Some(value), "{key}");
    }
    for key in [
        "server.admin_listen",
        "server.rate_limit",
        "keys.master_key",
        "pages.logo",
        "pages.accent_dark",
        "pages.support",
        "bootstrap.admin_secret",
        "bootstrap.file",
    ] {
        assert_eq!(shown(key), None, "{key}");
    }
}

#[test]
fn the_environment_wins_and_each_value_knows_where_it_came_from() {
    let text = "[server]\nlisten = '127.0.0.1:9000'\n[tokens]\naccess_ttl = '5m'\n[passwords]\nqueue = 7";
    let loaded = with(
        text,
        &[
            ("LATCHKEY__TOKENS__ACCESS_TTL", "1h"),
            ("LATCHKEY__SERVER__TRUSTED_PROXIES", "10.0.0.0/8, 192.0.2.7"),
            ("LATCHKEY__KEYS__PREVIOUS_MASTER_KEYS", "['a,b', 'c']"),
            ("LATCHKEY__TOKENS__REFRESH_HEAL", "false"),
            ("LATCHKEY__SERVER__RATE_LIMIT", "100/s"),
        ],
    )
    .unwrap();
    let settings = &loaded.settings;
    assert_eq!(settings.tokens.access_ttl, Duration::from_secs(3600));
    assert_eq!(settings.server.issuer, "http://127.0.0.1:9000");
    assert_eq!(settings.server.trusted_proxies.len(), 2);
    assert_eq!(settings.server.rate_limit.unwrap().replenish_interval(), Duration::from_millis(10));
    assert_eq!(settings.keys.previous_master_keys[0].expose(), "a,b");
    assert!(!settings.tokens.refresh_heal);
    assert_eq!(settings.passwords.queue, 7);
    let origin = |key: &str| loaded.effective.iter().find(|e| e.key == key).unwrap().origin.clone();
    assert_eq!(origin("tokens.access_ttl"), Origin::Environment("LATCHKEY__TOKENS__ACCESS_TTL".into()));
    assert_eq!(origin("passwords.queue"), Origin::File("latchkey.toml".into()));
    assert_eq!(origin("server.issuer"), Origin::Follows("server.listen"));
    assert_eq!(origin("keys.directory"), Origin::Default);
}

#[test]
fn each_bad_value_is_told_with_its_reason_and_its_mend() {
    let issuer = "[server]\nissuer";
    let cases: [(&str, String); 58] = [
        ("there is no such key; did you mean server.listen?", "[server]\nlisen = ''".into()),
        ("there is no such key; remove it", "[metrics]\nport = 1".into()),
        ("nothing (file latchkey.toml): there is no such key", "nothing = 1".into()),
        (
            "server.tls.certificate = \"a\" (file latchkey.toml): server.tls.private_key is not set",
            "[server.tls]\ncertificate = 'a'".into(),
        ),
        (
            "server.tls.private_key = \"a\" (file latchkey.toml): server.tls.certificate is not set",
            "[server.tls]\nprivate_key = 'a'".into(),
        ),
        ("did you mean server.tls.certificate?", "[server.tls]\ncertificat = 'a'".into()),
        (
            "write https://127.0.0.1:8420, or leave server.tls out",
            format!("{issuer} = 'http://127.0.0.1:8420'\n[server.tls]\ncertificate = 'a'\nprivate_key = 'b'"),
        ),
        (
            "stands for all of this machine's; set server.issuer",
            "[server]\nlisten = '0.0.0.0:443'\n[server.tls]\ncertificate = 'a'\nprivate_key = 'b'".into(),
        ),
        ("latchkey.toml: it is not TOML", "[server".into()),
        ("a section", "[server.listen]\na = 1".into()),
        ("server.listen = 8420 (file latchkey.toml): a text is wanted here", "[server]\nlisten = 8420".into()),
        ("no host names", "[server]\nlisten = 'localhost:8420'".into()),
        ("it is empty; give a value, or leave the key out", "[server]\nlisten = ''".into()),
        (
            "plain http on an address that is not loopback; set server.issuer",
            "[server]\nlisten = '0.0.0.0:8420'".into(),
        ),
        ("a port that the system picks; set server.issuer", "[server]\nlisten = '127.0.0.1:0'".into()),
        ("write https://id.example.com", format!("{issuer} = 'http://id.example.com'")),
        ("a trailing slash makes another issuer of it", format!("{issuer} = 'https://id.example.com/'")),
        ("neither query nor fragment", format!("{issuer} = 'https://id.example.com?a=b'")),
        ("neither query nor fragment", format!("{issuer} = 'https://id.example.com#a'")),
        ("it is not a URL", format!("{issuer} = 'id.example.com'")),
        ("neither https nor http", format!("{issuer} = 'ftp://id.example.com'")),
        ("without user and password", format!("{issuer} = 'https://a:b@id.example.com'")),
        ("small letters", format!("{issuer} = 'https://ID.example.com'")),
        ("its port is not one", format!("{issuer} = 'https://id.example.com:80801'")),
        ("its port is not one", format!("{issuer} = 'https://id.example.com:'")),
        ("its host is not one", format!("{issuer} = 'https://:80'")),
        ("leave the port out", format!("{issuer} = 'https://id.example.com:443'")),
        ("its path must read the same", format!("{issuer} = 'https://id.example.com/a//b'")),
        ("its path must read the same", format!("{issuer} = 'https://id.example.com/%61'")),
        ("same port as server.listen", "[server]\nadmin_listen = '127.0.0.1:8420'".into()),
        ("same port as server.listen", "[server]\nadmin_listen = '0.0.0.0:8420'".into()),
        ("bits beyond its prefix; write 10.0.0.0/8", "[server]\ntrusted_proxies = ['10.1.0.0/8']".into()),
        ("it is not a range of addresses", "[server]\ntrusted_proxies = ['proxy']".into()),
        ("a list is wanted here", "[server]\ntrusted_proxies = '10.0.0.0/8'".into()),
        ("it is not a colour; write", "[pages]\naccent = 'blue'".into()),
        ("it is not a colour; write", "[pages]\nbackground = '#12345'".into()),
        ("more than 40 characters", format!("[pages]\nname = '{}'", "x".repeat(41))),
        ("a control character", "[pages]\nname = \"a\\u0007\"".into()),
        ("pages.support = \"javascript:alert(1)\"", "[pages]\nsupport = 'javascript:alert(1)'".into()),
        ("neither https:// nor mailto:", "[pages]\nsupport = 'http://example.com'".into()),
        ("it names nobody", "[pages]\nsupport = 'mailto:'".into()),
        ("a size needs a unit", "[server]\nmax_body = 65536".into()),
        ("it must be between 1KiB and 16MiB", "[server]\nmax_body = '1B'".into()),
        ("it is not a rate; write", "[server]\nrate_limit = '100'".into()),
        ("neither sqlite:// nor postgres://", "[database]\nurl = 'mysql://user:hunter2@host/db'".into()),
        ("would forget every key", "[database]\nurl = 'sqlite://:memory:'".into()),
        ("only one can be the master key", "[keys]\nmaster_key = 'abc'\nmaster_key_file = 'f'".into()),
        ("takes 11m to ripen", "[keys]\nrotate_every = '5m'".into()),
        ("it goes out in whole seconds", "[keys]\njwks_max_age = '1500ms'".into()),
        ("a span of time needs a unit", "[tokens]\naccess_ttl = 600".into()),
        ("it must be between 1s and 1d; write 1d", "[tokens]\naccess_ttl = '25h'".into()),
        ("longer than tokens.refresh_absolute = \"30d\"", "[tokens]\nrefresh_idle = '40d'".into()),
        ("longer than tokens.refresh_idle = \"7d\"", "[tokens]\nrefresh_retry_window = '8d'".into()),
        (
            "tokens.refresh_retry_window = \"10s\" (file latchkey.toml): tokens.late_retry = \"15s\" is longer",
            "[tokens]\nrefresh_retry_window = '10s'".into(),
        ),
        ("neither true nor false", "[tokens]\nrefresh_heal = 'yes'".into()),
        ("it must be between 100ms and 1m; write 1m", "[introspection]\nrevocation_staleness = '2m'".into()),
        ("between 8MiB and 1GiB", "[passwords]\nmemory = '1MiB'".into()),
        ("32 or more printable ASCII", "[bootstrap]\nadmin_secret = 'hunter2'".into()),
    ];
    for (expected, text) in cases {
        let faults = with(&text, &[]).unwrap_err();
        assert!(faults.contains(expected), "{text}\nwanted: {expected}\ngot: {faults}");
        assert_eq!(
            faults.lines().count(),
            if expected.contains("TOML") { faults.lines().count() } else { 1 },
            "{faults}"
        );
        assert!(!faults.contains("hunter2"), "{faults}");
    }
}

#[test]
fn all_faults_are_told_at_once() {
    let text = "[server]\nlisten = 1\nissuer = 'x'\n[tokens]\naccess_ttl = 'soon'\nnew = 1\n[nope]\na = 1";
    let environment = [("LATCHKEY__SERVER__LISTENS", "x"), ("LATCHKEY__PASSWORDS__QUEUE", "many")];
    let faults = with(text, &environment).unwrap_err();
    assert_eq!(faults.lines().count(), 7, "{faults}");
    assert!(faults.contains("LATCHKEY__SERVER__LISTENS: there is no such key; did you mean LATCHKEY__SERVER__LISTEN?"));
    assert!(faults.contains("passwords.queue = \"many\" (environment LATCHKEY__PASSWORDS__QUEUE): it is not a whole"));
}

#[test]
fn good_issuers_pass() {
    for issuer in
        ["https://id.example.com", "https://id.example.com:8443/tenants/a", "http://localhost:8080", "http://[::1]:1"]
    {
        let loaded = with("", &[("LATCHKEY__SERVER__ISSUER", issuer), ("LATCHKEY__SERVER__LISTEN", "0.0.0.0:1")]);
        assert_eq!(loaded.unwrap().settings.server.issuer, issuer);
    }
}

#[test]
fn the_issuer_follows_the_listener_with_the_scheme_that_it_speaks() {
    let tls = "[server.tls]\ncertificate = 'a'\nprivate_key = 'b'";
    for (text, listen, issuer) in [
        ("", "127.0.0.1:8420", "http://127.0.0.1:8420"),
        ("", "127.0.0.1:80", "http://127.0.0.1"),
        (tls, "127.0.0.1:8420", "https://127.0.0.1:8420"),
        (tls, "192.0.2.7:443", "https://192.0.2.7"),
        (tls, "[::1]:443", "https://[::1]"),
    ] {
        let loaded = with(text, &[("LATCHKEY__SERVER__LISTEN", listen)]).unwrap();
        assert_eq!(loaded.settings.server.issuer, issuer, "{text} {listen}");
        assert_eq!(loaded.settings.server.tls.files().is_some(), text == tls);
    }
    // TLS may end in front all the same.
    let ended = with("[server]\nissuer = 'https://id.example.com'", &[]).unwrap();
    assert!(ended.settings.server.tls.files().is_none());
    let own = with(&format!("[server]\nissuer = 'https://id.example.com'\n{tls}"), &[]).unwrap();
    assert_eq!(own.settings.server.issuer, "https://id.example.com");
}

#[test]
fn nothing_secret_is_shown() {
    let text = "[database]\nurl = 'postgres://lk:hunter2@db:5432/latchkey?password=hunter2'\n\
                [keys]\nmaster_key = 'hunter2'\nprevious_master_keys = ['hunter2']\n\
                [bootstrap]\nadmin_secret = 'hunter2-hunter2-hunter2-hunter2-hunter2'";
    let loaded = with(text, &[]).unwrap();
    assert!(!format!("{loaded:?}").contains("hunter2"));
    let shown = |key: &str| loaded.effective.iter().find(|e| e.key == key).unwrap().value.clone().unwrap();
    assert_eq!(shown("database.url"), "\"postgres://lk:***@db:5432/latchkey?***\"");
    assert_eq!(shown("keys.previous_master_keys"), "[\"***\"]");
}

#[test]
fn spans_sizes_and_rates_read_and_show() {
    for (text, millis) in
        [("0s", 0), ("500ms", 500), ("1500ms", 1500), ("30s", 30_000), ("10m", 600_000), ("7d", 604_800_000)]
    {
        assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)));
        assert_eq!(show_duration(Duration::from_millis(millis)), text);
    }
    for bad in ["", "s", "10", "10 s", "-1s", "1.5s", "10S", "1w", "99999999999999999999s", "9999999999999999999d"] {
        assert_eq!(parse_duration(bad), None, "{bad}");
    }
    for (text, bytes) in [("512B", 512), ("64KiB", 65_536), ("19MiB", 19 << 20), ("1GiB", 1 << 30)] {
        assert_eq!(parse_size(text), Some(bytes));
        assert_eq!(show_size(bytes), text);
    }
    for bad in ["", "64", "64KB", "64kib", "KiB"] {
        assert_eq!(parse_size(bad), None, "{bad}");
    }
    assert_eq!(RateLimit::parse("600/m").unwrap().replenish_interval(), Duration::from_millis(100));
    assert_eq!(RateLimit::parse("600/m").unwrap().to_string(), "600/m");
    for bad in ["0/s", "1/ms", "1/w", "/s", "1"] {
        assert_eq!(RateLimit::parse(bad), None, "{bad}");
    }
}
