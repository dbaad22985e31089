//! Assertions: each counts once, whichever node it is shown, and is forgotten when it could not count any more.

use std::sync::Arc;

use latchkey::storage::{AssertionOutcome, AssertionUse, Store, Swept};

use crate::bed::{Bed, NOW, all, contract, seconds};

contract!(
    an_assertion_counts_once,
    of_many_uses_at_once_one_counts,
    batches_of_the_same_assertions_on_several_nodes_never_wait_in_a_circle,
    what_can_not_count_any_more_is_swept,
);

fn using(number: u8) -> AssertionUse {
    AssertionUse { hash: [number; 32], keep_until: NOW.plus(seconds(120)) }
}

async fn an_assertion_counts_once(bed: Bed) {
    let store = &bed.store;
    assert_eq!(store.use_assertion(using(1)).await.unwrap(), AssertionOutcome::Fresh);
    assert_eq!(store.use_assertion(using(1)).await.unwrap(), AssertionOutcome::Replayed);
    assert_eq!(store.use_assertion(using(2)).await.unwrap(), AssertionOutcome::Fresh);
    assert_eq!(bed.count("assertion_ids").await, 2);
}

/// Uses of one assertion, each on the next node in turn.
async fn race(nodes: &[Arc<dyn Store>], uses: Vec<AssertionUse>) -> usize {
    let calls = uses.into_iter().enumerate().map(|(n, using)| {
        let store = Arc::clone(&nodes[n % nodes.len()]);
        async move { store.use_assertion(using).await.unwrap() }
    });
    let outcomes = all(calls.collect()).await;
    outcomes.iter().filter(|outcome| **outcome == AssertionOutcome::Fresh).count()
}

async fn of_many_uses_at_once_one_counts(bed: Bed) {
    let nodes = bed.nodes().await;
    for round in 0..20 {
        assert_eq!(race(&nodes, vec![using(round); 64]).await, 1);
    }
}

async fn batches_of_the_same_assertions_on_several_nodes_never_wait_in_a_circle(bed: Bed) {
    let nodes = bed.nodes().await;
    // Each node gets all of them, in another order.
    let uses =
        (0..200).map(|n: usize| using(u8::try_from(if n.is_multiple_of(2) { n / 2 } else { 99 - n / 2 }).unwrap()));
    assert_eq!(race(&nodes, uses.collect()).await, 100);
}

async fn what_can_not_count_any_more_is_swept(bed: Bed) {
    bed.store.use_assertion(using(1)).await.unwrap();
    let last = NOW.plus(seconds(119));
    assert_eq!(bed.sweep(last, 100).await, Swept::default());
    assert_eq!(bed.store.use_assertion(using(1)).await.unwrap(), AssertionOutcome::Replayed);
    let swept = bed.sweep(NOW.plus(seconds(120)), 100).await;
    assert_eq!(swept, Swept { assertion_ids: 1, ..Swept::default() });
}
