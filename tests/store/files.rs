//! SQLite's own: the file, its lock, its mode, its copies. And what `open` says when it cannot.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use latchkey::domain::session::Outcome;
use latchkey::storage::{OpenError, Store, migrate};

use crate::bed::{Bed, NOW, seconds, token_of, try_open};

fn refusal(opened: Result<Arc<dyn Store>, OpenError>) -> String {
    match opened {
        Ok(_) => panic!("it was opened"),
        Err(error) => error.to_string(),
    }
}

fn path_of(bed: &Bed) -> PathBuf {
    PathBuf::from(bed.url().replacen("sqlite://", "", 1))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_served_by_one() {
    let bed = Bed::sqlite().await;
    let text = refusal(try_open(&bed.url()).await);
    let pid = std::process::id();
    assert!(text.contains(&format!("is in use by process {pid} (latchkey serve since 20")), "{text}");
    assert!(text.ends_with("stop it first"), "{text}");
    assert!(matches!(migrate(&bed.url()).await, Err(OpenError::Locked { .. })));

    // The same file by another name is the same file.
    let link = path_of(&bed).with_file_name("link.db");
    std::os::unix::fs::symlink(path_of(&bed), &link).unwrap();
    assert!(matches!(try_open(&format!("sqlite://{}", link.display())).await, Err(OpenError::Locked { .. })));

    bed.store.close().await;
    let url = bed.url();
    let crate::bed::Backend::Sqlite(_folder) = bed.backend else { unreachable!() };
    drop(bed.store);
    migrate(&url).await.unwrap();
    try_open(&url).await.unwrap().close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_their_owners_alone() {
    let bed = Bed::sqlite().await;
    bed.login().await;
    let folder = path_of(&bed).parent().unwrap().to_owned();
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, ["latchkey.db", "latchkey.db-shm", "latchkey.db-wal", "latchkey.db.lock"]);
}

/// Back from a backup: the clients hold tokens that the database has never seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_copy_heals() {
    let bed = Bed::sqlite().await;
    let first = bed.login().await;
    let second = bed.rotate(&first, NOW).await;
    let copy = path_of(&bed).with_file_name("copy.db");
    bed.raw().await.run(&format!("VACUUM INTO '{}'", copy.display())).await;
    let mut newest = second;
    for _ in 0..3 {
        newest = bed.rotate(&newest, NOW).await;
    }

    let restored = try_open(&format!("sqlite://{}", copy.display())).await.unwrap();
    let healed = restored.refresh(bed.request(&newest, NOW.plus(seconds(5)))).await.unwrap().outcome;
    assert!(matches!(healed, Outcome::Healed { from: 1, to: 4, .. }), "{healed:?}");
    let next = token_of(&healed).unwrap();
    // The answer to the heal got lost: the retry gets the same one.
    let again = restored.refresh(bed.request(&newest, NOW.plus(seconds(6)))).await.unwrap().outcome;
    assert_eq!(token_of(&again), Some(next));
    restored.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_survives_reopening() {
    let bed = Bed::sqlite().await;
    let first = bed.login().await;
    let second = bed.rotate(&first, NOW).await;
    let bed = bed.with_queue(10).await;
    bed.rotate(&second, NOW).await;
}

/// Long before a commit would see to it by itself: that is after four thousand pages.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_folded_into_the_file_beside_the_writer() {
    let bed = Bed::sqlite().await;
    let size = |path: &std::path::Path| std::fs::metadata(path).unwrap().len();
    let (file, log) = (path_of(&bed), path_of(&bed).with_extension("db-wal"));
    let before = size(&file);
    while size(&file) == before {
        bed.login().await;
        assert!(size(&log) < 4000 * 4096, "{} bytes wait in the log", size(&log));
    }
}

#[tokio::test]
async fn an_unusable_url_says_why_and_what_to_write() {
    for (url, said) in [
        ("latchkey.db", "it begins with neither sqlite:// nor postgres://; write sqlite://FILE"),
        ("sqlite::memory:", "neither sqlite:// nor postgres://"),
        ("sqlite://", "it names no file"),
        ("sqlite:///nowhere/at/all.db", "the database /nowhere/at/all.db cannot be created: No such file or directory"),
        ("postgres://me:hunter2@127.0.0.1:1/x", "the database postgres://me@127.0.0.1:1/x does not answer: "),
    ] {
        let text = refusal(try_open(url).await);
        assert!(text.contains(said), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}
