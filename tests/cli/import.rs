//! `latchkey user import`: files of every kind, rows of every kind, and an import that is cut short.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Served, Told, latchkey, place};

/// A hash that costs nothing to judge.
const HASH: &str = "pbkdf2_sha256$10000$N8JXEa2blpqpW36GgSlBqe$kNKXP9AyhxMH4J9/U9VZhcB5ndfPoYN51gX761lEB5w=";

fn import(served: &Served, place: &Path, arguments: &[&str]) -> Told {
    served.admin(place, &[&["user", "import", "--json"], arguments].concat(), "")
}

fn counts(told: &Told) -> [u64; 4] {
    let report: Value = serde_json::from_str(&told.out).unwrap_or_else(|_| panic!("{told:?}"));
    ["created", "exists", "refused", "skipped"].map(|name| report[name].as_u64().unwrap())
}

fn user(served: &Served, place: &Path, name: &str) -> Value {
    let shown = served.admin(place, &["user", "show", name, "--json"], "");
    assert_eq!(shown.status, Some(0), "{shown:?}");
    serde_json::from_str(&shown.out).unwrap()
}

#[test]
fn each_kind_of_file_brings_its_users_and_names_the_line_of_each_refusal() {
    let place = place();
    let place = place.path();
    let served = Served::start(place);
    let write = |name: &str, text: &str| fs::write(place.join(name), text).unwrap();

    write(
        "users.jsonl",
        &format!(
            "{{\"username\":\"ada\",\"external_id\":\"1\",\"password_hash\":\"{HASH}\",\"attributes\":{{\"n\":7}}}}\n\
             \n\
             {{\"username\":\"bob smith\"}}\n\
             hunter2\n\
             {{\"username\":\"bob\",\"password_hash\":\"{{noop}}hunter2\"}}\n\
             {{\"username\":\"bea\",\"pasword\":\"hunter2\"}}\n\
             {{\"username\":\"ADA\",\"external_id\":\"9\"}}\n\
             {{\"username\":\"eve\",\"password\":\"a plain password\"}}\n"
        ),
    );
    let rehearsed = import(&served, place, &["users.jsonl", "--dry-run"]);
    assert_eq!((rehearsed.status, counts(&rehearsed)), (Some(1), [2, 0, 5, 0]), "{rehearsed:?}");
    assert_eq!(served.admin(place, &["user", "show", "ada"], "").status, Some(1), "it was a rehearsal");
    let done = import(&served, place, &["users.jsonl", "--rejects", "rejects.jsonl"]);
    assert_eq!((done.status, counts(&done)), (Some(1), [2, 0, 5, 0]), "{done:?}");
    assert_eq!(done.err, rehearsed.err, "what was foretold came true");
    for (line, word) in [(3, "U+0020"), (4, "JSON"), (5, "bcrypt"), (6, "pasword"), (7, "line 1")] {
        let start = format!("users.jsonl:{line}: ");
        let told = done.err.lines().find(|told| told.starts_with(&start));
        assert!(told.is_some_and(|told| told.contains(word)), "{line} {word}: {}", done.err);
    }
    assert!(!done.err.contains("hunter2"), "{}", done.err);
    let rejects: Vec<Value> = fs::read_to_string(place.join("rejects.jsonl"))
        .unwrap()
        .lines()
        .map(|it| serde_json::from_str(it).unwrap())
        .collect();
    let lines: Vec<u64> = rejects.iter().map(|reject| reject["line"].as_u64().unwrap()).collect();
    assert_eq!(lines.len(), 5);
    assert!([3, 4, 5, 6, 7].iter().all(|line| lines.contains(line)), "{rejects:?}");
    assert_eq!(user(&served, place, "ada")["attributes"], json!({ "n": 7 }));
    assert_eq!(user(&served, place, "eve")["has_password"], true);

    write(
        "users.csv",
        "username,external_id,disabled,email,attributes.plan.name\r\n\
         kim,5,true,kim@example.com,gold\r\n\
         lea,6,perhaps,,\r\n\
         mia,7,,no address,\r\n\
         eve,8,,,\r\n",
    );
    let done = import(&served, place, &["users.csv"]);
    assert_eq!((done.status, counts(&done)), (Some(1), [1, 1, 2, 0]), "{done:?}");
    assert!(
        done.err.contains("users.csv:3: \"lea\": disabled") && done.err.contains("users.csv:4: \"mia\": email"),
        "{done:?}"
    );
    let kim = user(&served, place, "kim");
    assert_eq!((&kim["disabled"], &kim["attributes"]["plan"]["name"]), (&json!(true), &json!("gold")));
    assert_eq!(user(&served, place, "eve").get("external_id"), None, "who is there is left alone");

    let dump = json!([
        { "model": "contenttypes.contenttype", "pk": 1, "fields": { "app_label": "auth" } },
        { "model": "auth.user", "pk": 42, "fields": { "username": "nia", "password": HASH, "first_name": "Nia",
          "email": "nia@example.com", "is_staff": true, "is_active": true, "groups": [] } },
        { "model": "auth.user", "pk": 43, "fields": { "username": "oda", "password": "!unusable", "is_active": false } },
        { "model": "auth.user", "pk": 44, "fields": { "username": "pia", "password": "md5$a$b", "email": "" } },
    ]);
    write("dump.json", &serde_json::to_string_pretty(&dump).unwrap());
    let done = import(&served, place, &["dump.json"]);
    assert_eq!((done.status, counts(&done)), (Some(1), [2, 0, 1, 1]), "{done:?}");
    assert!(done.err.starts_with("dump.json:") && done.err.contains("\"pia\": password_hash: "), "{done:?}");
    let nia = user(&served, place, "nia");
    assert_eq!((&nia["external_id"], &nia["given_name"]), (&json!("42"), &json!("Nia")));
    assert_eq!(nia["attributes"], json!({ "is_staff": true }));
    let oda = user(&served, place, "oda");
    assert_eq!((&oda["disabled"], &oda["has_password"]), (&json!(true), &json!(false)));
    let again = import(&served, place, &["dump.json"]);
    assert_eq!(counts(&again), [0, 2, 1, 1], "{again:?}");

    let mut piped = latchkey(place, &["user", "import", "-", "--format", "jsonl", "--json"]);
    piped.args(["--server", &format!("http://{}", served.address), "--secret-file", "keys/admin.secret"]);
    let piped = super::told(&piped.stdin(fs::File::open(place.join("users.jsonl")).unwrap()).output().unwrap());
    assert_eq!(counts(&piped), [0, 2, 5, 0], "{piped:?}");

    for (arguments, word) in [
        (&["users.jsonl.gz"][..], "--format"),
        (&["-"], "--format"),
        (&["nothing.csv"], "nothing.csv"),
        (&["users.jsonl", "--format", "csv"], "no member of a user"),
        (&["users.jsonl", "--format", "django"], "dumpdata"),
    ] {
        let refused = import(&served, place, arguments);
        assert_eq!((refused.status, refused.out.as_str()), (Some(2), ""), "{arguments:?}: {refused:?}");
        assert!(refused.err.contains(word), "{arguments:?}: {refused:?}");
    }
    write(
        "cut.json",
        "[{\"model\":\"auth.user\",\"pk\":100,\"fields\":{\"username\":\"quin\",\"password\":\"\"}},{\"mod",
    );
    let cut = import(&served, place, &["cut.json"]);
    assert_eq!((cut.status, cut.out.as_str()), (Some(1), ""), "{cut:?}");
    assert!(cut.err.contains("1 created") && cut.err.contains("line 1 column"), "{cut:?}");
}

#[test]
fn an_import_that_was_killed_is_finished_by_running_it_again() {
    const MANY: usize = 20_000;
    let place = place();
    let place = place.path();
    let served = Served::start(place);
    let mut text = String::new();
    for n in 0..MANY {
        writeln!(text, "{{\"username\":\"user{n}\",\"external_id\":\"{n}\",\"password_hash\":\"{HASH}\"}}").unwrap();
    }
    fs::write(place.join("users.jsonl"), text).unwrap();
    let mut child = latchkey(place, &["user", "import", "users.jsonl"]);
    child.args(["--server", &format!("http://{}", served.address), "--secret-file", "keys/admin.secret"]);
    let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for_batches(&served, place, 2);
    child.kill().unwrap();
    child.wait().unwrap();
    let before = batches(&served, place);
    assert!((2..MANY / 1000).contains(&before), "it was to be killed in the middle: {before} batches are in");

    let done = import(&served, place, &["users.jsonl"]);
    let [created, exists, refused, _] = counts(&done);
    assert_eq!((done.status, created + exists, refused), (Some(0), MANY as u64, 0), "{done:?}");
    assert!(exists >= before as u64 * 1000 && created > 0, "{done:?}");
    let again = import(&served, place, &["users.jsonl"]);
    assert_eq!(counts(&again), [0, MANY as u64, 0, 0]);
    let listed = served.admin(place, &["user", "list", "--json"], "");
    let listed: Value = serde_json::from_str(&listed.out).unwrap();
    assert_eq!(listed["items"].as_array().unwrap().len(), MANY);
}

/// How many batches are in, as the trail has it.
fn batches(served: &Served, place: &Path) -> usize {
    let listed = served.admin(place, &["audit", "list", "--type", "users_imported", "--limit", "1000", "--json"], "");
    let listed: Value = serde_json::from_str(&listed.out).unwrap();
    listed["items"].as_array().unwrap().len()
}

/// Returns when so many are in, or after a while: what follows then tells.
fn wait_for_batches(served: &Served, place: &Path, enough: usize) {
    for _ in 0..600 {
        if batches(served, place) >= enough {
            break;
        }
        sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_import_outlives_its_token_and_grants_no_right_that_is_lacking() {
    let place = place();
    let place = place.path();
    let served = Served::start_with(place, &["serve", "--test-clock"]);
    let operator = ["client", "add", "--client-id", "ops", "--grant", "client_credentials", "--scope", "admin:users"];
    let made = served.admin(place, &[&operator[..], &["--access-ttl", "1s", "--json"]].concat(), "");
    let made: Value = serde_json::from_str(&made.out).unwrap();
    fs::write(place.join("ops.secret"), made["client_secret"].as_str().unwrap()).unwrap();
    let server = format!("http://{}", served.address);
    let mut command = latchkey(place, &["user", "import", "-", "--format", "jsonl", "--json", "--server", &server]);
    command.args(["--as", "ops", "--secret-file", "ops.secret"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let batch =
        |from: usize| (from..from + 1000).map(|n| format!("{{\"username\":\"user{n}\"}}\n")).collect::<String>();
    use std::io::Write as _;
    stdin.write_all(batch(0).as_bytes()).unwrap();
    stdin.write_all(batch(1000).as_bytes()).unwrap();
    // The token expires while the file goes on.
    wait_for_batches(&served, place, 1);
    served.asked("POST", "/test/clock", r#"{"advance":"2s"}"#);
    stdin.write_all(batch(2000).as_bytes()).unwrap();
    stdin.write_all(b"{\"username\":\"boss\",\"admin_scopes\":[\"admin\"]}\n").unwrap();
    drop(stdin);
    let told = super::told(&child.wait_with_output().unwrap());
    assert_eq!((told.status, counts(&told)), (Some(1), [3000, 0, 1, 0]), "{told:?}");
    assert!(told.err.contains("-:3001: \"boss\": you cannot grant admin"), "{told:?}");

    fs::write(place.join("boss.jsonl"), "{\"username\":\"boss\",\"admin_scopes\":[\"admin\"]}\n").unwrap();
    assert_eq!(counts(&import(&served, place, &["boss.jsonl"])), [1, 0, 0, 0], "who has the right hands it out");
    assert_eq!(user(&served, place, "boss")["admin_scopes"], json!(["admin"]));
}
