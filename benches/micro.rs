//! How long the parts of a request take, each by itself: `cargo bench --bench micro -- [NAME]`.
//!
//! The times compare one tree with another on one machine. What must not grow unseen, `benches/instructions.rs` holds.

#![expect(clippy::expect_used, reason = "a benchmark that cannot be set up ends with its reason")]

mod bed;

use std::sync::OnceLock;

use bed::{Bed, CASES};

static BED: OnceLock<Bed> = OnceLock::new();

fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let bed = BED.get_or_init(|| Bed::new(folder.path()).expect("the service starts"));
    divan::main();
    bed.close();
    Ok(())
}

#[divan::bench(args = CASES.iter().map(|(name, _)| *name), min_time = 0.2)]
fn micro(bencher: divan::Bencher<'_, '_>, name: &str) {
    let (_, make) = CASES.iter().find(|(known, _)| *known == name).expect("the name is of the list");
    let mut case = make(BED.get().expect("main has set it")).expect("the case is made ready");
    // By the first calls divan judges how many make a sample: they are not to be slower than the others.
    (0..100).for_each(|_| assert!(case(), "{name} came to something else"));
    bencher.bench_local(|| assert!(case(), "{name} came to something else"));
}
