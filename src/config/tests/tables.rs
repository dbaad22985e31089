//! The arrays of tables, read and judged from text.

use super::*;

const TABLES: &str = "
[[claims]]
claim = 'user_id'
attribute = 'external_id'
as = 'integer'

[[claims]]
claim = 'https://example.com/roles'
value = ['a', { b = 1.5 }]
scope = 'profile'
clients = ['web', 'app']

[[claims]]
claim = 'name'
template = '{{{given_name}}} {attributes.dept.id}'

[[legacy_issuers]]
name = 'django'
algorithms = ['HS256', 'HS512']
secret = 'hunter2'
user_claim = 'user_id'
started_claim = 'orig_iat'
require = { token_type = 'refresh', v = 2 }
clients = ['web']
cut_off = 2027-03-01T00:00:00Z

[[legacy_issuers]]
name = 'node'
algorithms = ['ES256']
public_key_file = 'node.pem'
user_claim = 'sub'
user_by = 'username'
clients = ['web']
leeway = '10s'
cut_off = '2027-03-01T01:00:00+01:00'

[[compat]]
style = 'drf-jwt'
client_id = 'web'
obtain = '/api-token-auth/'
response = { token = '{token}', user = { id = '{external_id}' } }

[[compat]]
style = 'simplejwt'
client_id = 'web'
sliding_refresh = '/api/token/sliding/refresh/'
";

fn shown(loaded: &Loaded) -> Vec<String> {
    let tables = loaded.effective.iter().filter(|e| e.key.contains('['));
    tables.filter_map(|e| Some(format!("{} = {} # {}", e.key, e.value.as_ref()?, e.origin))).collect()
}

#[test]
fn arrays_of_tables_are_read_in_their_order() {
    let loaded = with(TABLES, &[]).unwrap();
    let settings = &loaded.settings;
    let rules: Vec<_> = settings.claims.iter().map(|claim| claim.rule().unwrap()).collect();
    assert_eq!(
        rules.iter().map(|rule| rule.claim.as_str()).collect::<Vec<_>>(),
        ["user_id", "https://example.com/roles", "name"]
    );
    assert_eq!(rules[1].clients.len(), 2);
    let [django, node] = settings.legacy_issuers.as_slice() else { panic!("two were given") };
    assert_eq!(django.cut_off, node.cut_off, "a zone is reckoned with");
    assert_eq!((django.leeway, node.leeway), (Duration::ZERO, Duration::from_secs(10)));
    assert_eq!(serde_json::to_string(&django.require).unwrap(), r#"{"token_type":"refresh","v":2}"#);
    assert_eq!(settings.compat[0].paths()[0], ("obtain", Some("/api-token-auth/")));
    assert_eq!(settings.compat[1].style, CompatStyle::SimpleJwt);
}

#[test]
fn tables_are_shown_key_by_key_with_their_origin_and_without_secrets() {
    let lines = shown(&with(TABLES, &[]).unwrap());
    for line in [
        "claims[0].as = \"integer\" # file latchkey.toml",
        "legacy_issuers[0].leeway = \"0s\" # default",
        "claims[1].value = [\"a\", { b = 1.5 }] # file latchkey.toml",
        "claims[2].template = \"{{{given_name}}} {attributes.dept.id}\" # file latchkey.toml",
        "legacy_issuers[0].secret = \"***\" # file latchkey.toml",
        "legacy_issuers[0].secret_encoding = \"text\" # default",
        "legacy_issuers[1].cut_off = 2027-03-01T00:00:00Z # file latchkey.toml",
        "compat[0].response = { token = \"{token}\", user = { id = \"{external_id}\" } } # file latchkey.toml",
    ] {
        assert!(lines.iter().any(|shown| shown == line), "wanted: {line}\ngot: {lines:#?}");
    }
    assert!(!format!("{lines:?}").contains("hunter2"));
}

#[test]
fn the_environment_gives_an_array_as_json() {
    let environment = [
        ("LATCHKEY__CLAIMS", r#"[{"claim": "v", "value": {"a": [1, true]}}, {"claim": "w", "attribute": "email"}]"#),
        ("LATCHKEY__COMPAT", "[]"),
    ];
    let loaded = with(TABLES, &environment).unwrap();
    assert_eq!(loaded.settings.claims.len(), 2, "the environment wins over the whole array");
    assert_eq!(loaded.settings.claims[0].value, Some(serde_json::json!({ "a": [1, true] })));
    assert!(loaded.settings.compat.is_empty());
    assert_eq!(loaded.settings.legacy_issuers.len(), 2);
    assert!(shown(&loaded)[0].ends_with("# environment LATCHKEY__CLAIMS"));
}

/// A table of one of the arrays, with one more line or another one in place of a key.
fn table(array: &str, line: &str) -> String {
    let (key, _) = line.split_once('=').unwrap_or((line, ""));
    let good: &[&str] = match array {
        "claims" => &["claim = 'c'", "attribute = 'email'"],
        "legacy_issuers" => &[
            "name = 'old'",
            "algorithms = ['HS256']",
            "secret = 'hunter2-hunter2-hunter2-hunter2-'",
            "user_claim = 'sub'",
            "clients = ['web']",
            "cut_off = 2027-03-01T00:00:00Z",
        ],
        _ => &["style = 'drf-jwt'", "client_id = 'web'", "obtain = '/a/'"],
    };
    let kept = good.iter().filter(|known| known.split('=').next() != Some(key)).copied();
    let lines: Vec<&str> = kept.chain((!line.starts_with('-')).then_some(line)).collect();
    let lines: Vec<&str> = lines.into_iter().filter(|known| !line.starts_with(&format!("-{}", &known[..3]))).collect();
    format!("[[{array}]]\n{}\n", lines.join("\n"))
}

#[test]
fn the_tables_that_are_held_against_faults_are_good_themselves() {
    for array in ["claims", "legacy_issuers", "compat"] {
        with(&table(array, "-xxx"), &[]).unwrap();
    }
}

#[test]
fn each_fault_of_a_table_is_told_with_its_key_and_its_mend() {
    let deep = format!("value = {}1{}", "[".repeat(9), "]".repeat(9));
    let long = format!("value = '{}'", "x".repeat(2_048));
    let cases: [(&str, &str, &str); 61] = [
        ("claims", "clam = 1", "claims[0].clam (file latchkey.toml): there is no such key; did you mean claim?"),
        (
            "claims",
            "nothing = 1",
            "claims[0].nothing (file latchkey.toml): there is no such key; remove it; what there is",
        ),
        (
            "claims",
            "-cla",
            "claims[0].claim (file latchkey.toml): it is missing, and there is no default for it; give claim",
        ),
        (
            "claims",
            "claim = 'iss'",
            "claims[0].claim = \"iss\" (file latchkey.toml): the claim has a meaning of its own",
        ),
        ("claims", "claim = ''", "claims[0].claim = \"\" (file latchkey.toml): it is empty"),
        ("claims", "claim = \"a\\u0000\"", "no control characters"),
        ("claims", "-att", "it has nothing for its value; give one of attribute, value and template"),
        ("claims", "value = 1", "it has 2 sources for its value"),
        (
            "claims",
            "attribute = 'pasword'",
            "claims[0].attribute = \"pasword\" (file latchkey.toml): nothing of that name",
        ),
        ("claims", "as = 'number'", "there is no such word here; write text, integer or boolean"),
        ("claims", "in = []", "claims[0].in = [] (file latchkey.toml): the claim is told nowhere; leave it out"),
        ("claims", "in = ['tokens']", "there is no such word here; write access_token, id_token or userinfo"),
        ("claims", "scope = 'a b'", "it is not one scope"),
        ("claims", "clients = []", "claims[0].clients = [] (file latchkey.toml): it names nobody; leave it out"),
        ("claims", "clients = ['']", "it is empty"),
        ("claims!", "value = 2027-03-01T00:00:00Z", "JSON has no dates; put the date in quotes"),
        ("claims!", "value = inf", "it is no number that JSON has"),
        ("claims!", &deep, "nests 8 deep; shorten it"),
        ("claims!", &long, "at most 2048 bytes as JSON"),
        ("claims!", "value = 1\nas = 'integer'", "claims[0].as = \"integer\" (file latchkey.toml): a constant is what"),
        ("claims!", "template = '{email'", "the brace at character 1 is never closed; write {name} for a value"),
        ("claims!", "template = '{emails}'", "nothing named emails is known of a user"),
        ("legacy_issuers", "-nam", "legacy_issuers[0].name (file latchkey.toml): it is missing"),
        ("legacy_issuers", "name = 'a b'", "letters, digits and - _ ."),
        ("legacy_issuers", "algorithms = []", "it names none; write [\"HS256\"]"),
        ("legacy_issuers", "algorithms = ['none']", "there is no such word here; write HS256, HS384"),
        ("legacy_issuers", "algorithms = ['HS256', 'RS256']", "no key serves them all"),
        (
            "legacy_issuers",
            "algorithms = ['RS256']",
            "legacy_issuers[0].secret = \"***\" (file latchkey.toml): RS256 takes a public key",
        ),
        ("legacy_issuers", "-sec", "HS256 takes a secret, and there is none; give secret or secret_file"),
        ("legacy_issuers", "secret_file = 'f'", "there is one too many"),
        (
            "legacy_issuers",
            "public_key_file = 'f'",
            "nothing of one kind is ever taken for the other; give secret or secret_file",
        ),
        ("legacy_issuers", "secret = '-----BEGIN PUBLIC KEY-----'", "a public key taken for one lets anybody sign"),
        ("legacy_issuers", "secret_encoding = 'base64'", "it is not base64"),
        ("legacy_issuers", "secret_encoding = 'hex'", "write text or base64"),
        ("legacy_issuers", "user_claim = ''", "legacy_issuers[0].user_claim = \"\""),
        ("legacy_issuers", "user_by = 'email'", "write external_id, username or sub"),
        ("legacy_issuers", "require = { exp = 1 }", "exp is not compared here"),
        ("legacy_issuers", "require = { a = [1] }", "a is not compared here"),
        ("legacy_issuers", "require = 'a'", "a table is wanted here"),
        ("legacy_issuers", "clients = []", "it names nobody; name the clients"),
        (
            "legacy_issuers",
            "cut_off = 2027-03-01",
            "it is not a moment (RFC 3339); write a date and a time with its zone",
        ),
        ("legacy_issuers", "cut_off = 2027-03-01T00:00:00", "it is not a moment (RFC 3339)"),
        ("legacy_issuers", "cut_off = 1", "a text is wanted here"),
        ("legacy_issuers", "leeway = '61s'", "it must be between 0s and 1m"),
        ("legacy_issuers", "leeway = '1ms'", "whole seconds"),
        ("legacy_issuers!", "-xxx", "HS256 takes a secret, and there is one too many"),
        ("compat", "style = 'jwt'", "write drf-jwt, djangorestframework-jwt or simplejwt"),
        ("compat", "-cli", "compat[0].client_id (file latchkey.toml): it is missing"),
        ("compat", "-obt", "none of its endpoints has a path; give obtain, refresh or verify"),
        ("compat", "blacklist = '/b/'", "drf-jwt has no such endpoint; it has obtain, refresh, verify"),
        ("compat", "refresh = '/a'", "compat[0].obtain has this path"),
        ("compat", "obtain = 'a'", "a path begins with a slash; write /a"),
        ("compat", "obtain = '/'", "a path must read the same however it is encoded"),
        ("compat", "obtain = '/a//b'", "a path must read the same"),
        ("compat", "obtain = '/{a}'", "a path must read the same"),
        ("compat", "obtain = '/oauth2/token'", "/oauth2 is Latchkey's own; take another path"),
        ("compat", "response = { a = ['{b'] }", "\"{b\": the brace at character 1 is never closed"),
        ("compat", "response = { a = ['{b}'] }", "nothing is known by the name \"b\"; write {sub}, {username}"),
        ("compat", "response = { a = '{session.started_at}' }", "or one of token, access, refresh, expires_in"),
        ("compat", "username_field = 'password'", "no login can be read with it; write what requests call it"),
        ("compat!", "response = { a = '{token}' }", "no answer of these paths is made of it; give obtain or"),
    ];
    for (array, line, expected) in cases {
        let text = match array {
            "claims!" => format!("[[claims]]\nclaim = 'c'\n{line}\n"),
            "compat!" => format!("[[compat]]\nstyle = 'simplejwt'\nclient_id = 'web'\nrefresh = '/r/'\n{line}\n"),
            "legacy_issuers!" => format!("{}secret_file = 'f'", table("legacy_issuers", line)),
            array => table(array, line),
        };
        let faults = with(&text, &[]).unwrap_err();
        assert!(faults.contains(expected), "{text}\nwanted: {expected}\ngot: {faults}");
        assert_eq!(faults.lines().count(), 1, "{text}\n{faults}");
        assert!(!faults.contains("hunter2"), "{faults}");
    }
}

#[test]
fn tables_are_held_against_each_other_and_all_faults_told_at_once() {
    let claim = |more: &str| format!("[[claims]]\nclaim = 'c'\n{more}\n");
    let hidden = [claim("attribute = 'email'"), claim("value = 1")].concat();
    assert!(with(&hidden, &[]).unwrap_err().contains("claims[1].claim = \"c\" (file latchkey.toml): this rule always"));
    with(&[claim("value = 1"), claim("attribute = 'email'")].concat(), &[]).unwrap();
    with(&[claim("value = 1"), claim("value = 2\nscope = 'x'")].concat(), &[]).unwrap();
    with(&[claim("attribute = 'email'"), claim("value = 1\nin = ['userinfo']")].concat(), &[]).unwrap();
    let covered = [claim("value = 1\nin = ['id_token']"), claim("value = 2\nin = ['id_token', 'userinfo']")].concat();
    assert!(with(&covered, &[]).unwrap_err().contains("this rule always applies"));

    let twice = [table("legacy_issuers", "-xxx"), table("legacy_issuers", "-xxx")].concat();
    assert!(with(&twice, &[]).unwrap_err().contains("legacy_issuers[1].name = \"old\""));
    let many = table("claims", "-xxx").repeat(101);
    assert!(with(&many, &[]).unwrap_err().contains("there are 101 of [[claims]]; keep 100 at most"));

    let bad = [table("claims", "claim = 'sub'"), table("legacy_issuers", "name = '?'"), table("compat", "obtain = ''")];
    assert_eq!(with(&bad.concat(), &[]).unwrap_err().lines().count(), 3);
}

#[test]
fn the_paths_of_latchkey_are_its_own_below_the_issuers_path_too() {
    let with_issuer = |path: &str| {
        let text = format!("{}server = {{ issuer = 'https://id.example.com/auth' }}", "");
        with(&format!("{text}\n{}", table("compat", &format!("obtain = '{path}'"))), &[])
    };
    assert!(with_issuer("/auth/oauth2/token").unwrap_err().contains("/oauth2 is Latchkey's own"));
    for path in ["/auth", "/auth/"] {
        assert!(with_issuer(path).unwrap_err().contains("/auth is the issuer's own path"));
    }
    assert!(with_issuer("/.well-known/x").is_err());
    with_issuer("/auth/token/").unwrap();
}

#[test]
fn what_is_no_array_of_tables_is_told_without_its_secrets() {
    for (environment, text, expected) in [
        (
            None,
            "claims = 1",
            "claims = 1 (file latchkey.toml): a list of tables is wanted here; begin each of them with [[claims]]",
        ),
        (
            None,
            "[legacy_issuers]\nsecret = 'hunter2'",
            "legacy_issuers (file latchkey.toml): a list of tables is wanted",
        ),
        (None, "legacy_issuers = ['hunter2']", "a table is wanted here, this is a text"),
        (Some(("LATCHKEY__LEGACY_ISSUERS", "hunter2")), "", "(environment LATCHKEY__LEGACY_ISSUERS): it is not JSON"),
        (Some(("LATCHKEY__CLAIMS", "{}")), "", "it is not a JSON array"),
        (Some(("LATCHKEY__CLAIMS", "[null]")), "", "null is no value"),
        (Some(("LATCHKEY__CLAIMS__0__CLAIM", "x")), "", "give all of it as one JSON array in LATCHKEY__CLAIMS"),
    ] {
        let faults = with(text, environment.as_slice()).unwrap_err();
        assert!(faults.contains(expected), "wanted: {expected}\ngot: {faults}");
        assert!(!faults.contains("hunter2"), "{faults}");
    }
}
