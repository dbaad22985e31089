//! Lists: whole, in order, and stable while rows come and go.

use latchkey::domain::audit::{AuditEvent, AuditType};
use latchkey::domain::ids::{ClientId, SessionId, Sub};
use latchkey::storage::{AuditFilter, Page, SessionFilter};

use crate::bed::{Bed, NOW, client, contract, event, login, seconds};

contract!(
    sessions_are_listed_newest_first_and_by_owner,
    users_and_clients_are_listed_oldest_first,
    the_trail_is_read_both_ways_and_by_what_it_is_about,
    an_illegible_cursor_is_no_page,
);

fn page(after: Option<String>, limit: u32) -> Page {
    Page { after, limit }
}

async fn session_ids(bed: &Bed, filter: SessionFilter, limit: u32) -> Vec<SessionId> {
    let (mut ids, mut after) = (Vec::new(), None);
    loop {
        let listed = bed.store.sessions(filter.clone(), page(after, limit)).await.unwrap();
        assert!(listed.items.len() <= limit as usize);
        ids.extend(listed.items.into_iter().map(|session| session.id));
        after = listed.next;
        if after.is_none() {
            return ids;
        }
    }
}

async fn sessions_are_listed_newest_first_and_by_owner(bed: Bed) {
    let (ada, bob) = (bed.user("ada").await, bed.user("bob").await);
    let mut expected = Vec::new();
    for n in 0..9 {
        let (mut login, _) = login(if n % 3 == 0 { &ada } else { &bob }, &bed.policy);
        // Three at a time began in the same millisecond.
        login.session.started_at = NOW.plus(seconds(n / 3));
        login.session.client_id = ClientId::new(if n % 2 == 0 { "even" } else { "odd" });
        expected.push(login.session.clone());
        bed.store.open_session(login).await.unwrap();
    }
    expected.sort_by_key(|session| std::cmp::Reverse((session.started_at, session.id.to_string())));
    let of = |sub: Option<&Sub>, client: Option<&str>| {
        let matching = expected.iter().filter(|it| {
            sub.is_none_or(|sub| it.sub == *sub) && client.is_none_or(|client| it.client_id.as_str() == client)
        });
        matching.map(|session| session.id).collect::<Vec<_>>()
    };
    for limit in [1, 2, 9, 100] {
        for sub in [None, Some(&ada.sub)] {
            for client in [None, Some("even")] {
                let filter = SessionFilter { sub: sub.cloned(), client_id: client.map(ClientId::new) };
                assert_eq!(session_ids(&bed, filter, limit).await, of(sub, client), "{sub:?} {client:?} {limit}");
            }
        }
    }

    let first = bed.store.sessions(SessionFilter::default(), page(None, 4)).await.unwrap();
    let (mut newer, _) = login(&ada, &bed.policy);
    newer.session.started_at = NOW.plus(seconds(99));
    bed.store.open_session(newer).await.unwrap();
    let second = bed.store.sessions(SessionFilter::default(), page(first.next, 4)).await.unwrap();
    let ids: Vec<_> = second.items.iter().map(|session| session.id).collect();
    assert_eq!(ids, of(None, None)[4..8], "a new row does not shift the pages");
}

async fn users_and_clients_are_listed_oldest_first(bed: Bed) {
    let (mut users, mut clients) = (Vec::new(), Vec::new());
    for n in 0..5 {
        users.push(bed.user(&format!("user {n}")).await);
        let client = client(&format!("client {n}"), "read");
        bed.store.create_client(client.clone(), event(AuditType::ClientCreated)).await.unwrap();
        clients.push(client);
    }
    users.sort_by(|a, b| a.sub.cmp(&b.sub));
    let first = bed.store.users(page(None, 3)).await.unwrap();
    let second = bed.store.users(page(first.next, 3)).await.unwrap();
    assert_eq!(second.next, None);
    assert_eq!([first.items, second.items].concat(), users);
    let first = bed.store.list_clients(page(None, 5)).await.unwrap();
    assert_eq!((first.items, first.next), (clients, None));
}

async fn the_trail_is_read_both_ways_and_by_what_it_is_about(bed: Bed) {
    let sid = SessionId::from_bytes([7; 16]);
    let of = |kind| AuditEvent::new(NOW, kind, Default::default());
    let events = vec![
        of(AuditType::LoginFailed).about_user(&Sub::new("usr_a")),
        of(AuditType::LoginSucceeded).about_user(&Sub::new("usr_a")).about_session(sid),
        of(AuditType::LoginSucceeded).about_client(&ClientId::new("app")),
        of(AuditType::RefreshReused).about_client(&ClientId::new("app")).about_session(sid),
    ];
    bed.store.record(events.clone()).await.unwrap();
    let read = async |filter: AuditFilter| {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let listed = bed.store.audit(filter.clone(), page(after, 1)).await.unwrap();
            found.extend(listed.items.into_iter().map(|record| record.event));
            after = listed.next;
            if after.is_none() {
                return found;
            }
        }
    };
    let all = AuditFilter::default();
    assert_eq!(read(all.clone()).await, events);
    let reversed: Vec<_> = events.iter().rev().cloned().collect();
    assert_eq!(read(AuditFilter { newest_first: true, ..all.clone() }).await, reversed);
    let succeeded = Some(AuditType::LoginSucceeded);
    let user = Some(Sub::new("usr_a"));
    let client = Some(ClientId::new("app"));
    assert_eq!(read(AuditFilter { kind: succeeded, ..all.clone() }).await, events[1..3]);
    assert_eq!(read(AuditFilter { sub: user.clone(), ..all.clone() }).await, events[0..2]);
    assert_eq!(read(AuditFilter { client_id: client.clone(), ..all.clone() }).await, events[2..4]);
    let of_session = AuditFilter { sid: Some(sid), ..all.clone() };
    assert_eq!(read(of_session).await, [events[1].clone(), events[3].clone()]);
    assert_eq!(read(AuditFilter { kind: succeeded, sub: user, ..all.clone() }).await, events[1..2]);
    assert_eq!(read(AuditFilter { kind: succeeded, client_id: client, ..all }).await, events[2..3]);
}

async fn an_illegible_cursor_is_no_page(bed: Bed) {
    bed.login().await;
    let garbled = page(Some("garbled".into()), 10);
    assert!(!garbled.is_legible());
    assert!(bed.store.sessions(SessionFilter::default(), garbled.clone()).await.unwrap().items.is_empty());
    assert!(bed.store.users(garbled.clone()).await.unwrap().items.is_empty());
    assert!(bed.store.audit(AuditFilter::default(), garbled).await.unwrap().items.is_empty());
}
