//! Notes of what was done, and planned changes.

use super::support::{Store, again, at};
use millwork_manifest::DatePrefix;
use millwork_tracking::{AuditEntry, AuditFilter, PlanRecord, TrackingError, Via};

fn entry(number: i64) -> AuditEntry {
    AuditEntry {
        id: format!("note-{number}"),
        at: at(number),
        actor: "ops".to_owned(),
        via: Via::Api,
        action: "retry".to_owned(),
        reason: Some("an outage is over".to_owned()),
        plan: None,
        subjects: vec![format!("run-{}", number % 2), "\u{1b}[31m".to_owned()],
        before: Some("failed".to_owned()),
        after: Some("queued".to_owned()),
        outcome: None,
    }
}

pub(super) async fn notes_are_listed_and_completed(store: Store) {
    for number in 0..7 {
        again!(store.audit(&entry(number))).unwrap();
    }
    let done = AuditEntry { outcome: Some("done".to_owned()), ..entry(3) };
    again!(store.audit(&done)).unwrap();
    let day = DatePrefix::from(at(0).date_naive());
    let all = AuditFilter { day, subject: None, limit: 3, cursor: None };
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let page = again!(store.audits(&AuditFilter { cursor: cursor.clone(), ..all.clone() })).unwrap();
        assert!(page.items.len() <= 3);
        seen.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    let expected: Vec<_> = (0..7).rev().map(|n| if n == 3 { done.clone() } else { entry(n) }).collect();
    assert_eq!(seen, expected, "the newest is first, and each is there once");
    let of_one = AuditFilter { subject: Some("run-1".to_owned()), limit: 2, ..all.clone() };
    let first = again!(store.audits(&of_one)).unwrap();
    assert_eq!(first.items, [entry(5), done]);
    let second = again!(store.audits(&AuditFilter { cursor: first.next_cursor, ..of_one })).unwrap();
    assert_eq!(second.items, [entry(1)]);
    let other = AuditFilter { day: "2001-01-01".parse().unwrap(), ..all.clone() };
    assert!(again!(store.audits(&other)).unwrap().items.is_empty());
    let bad = again!(store.audits(&AuditFilter { cursor: Some("x".to_owned()), ..all }));
    assert!(matches!(bad, Err(TrackingError::BadCursor(_))), "{bad:?}");
}

pub(super) async fn a_plan_is_written_on_condition(store: Store) {
    let plan =
        PlanRecord { id: "abc".to_owned(), revision: 1, forget_after: at(900), document: "{\"a\":1}".to_owned() };
    assert_eq!(again!(store.plan("abc")).unwrap(), None);
    assert!(again!(store.put_plan(&plan, at(0))).unwrap());
    let other = PlanRecord { document: "{}".to_owned(), ..plan.clone() };
    assert!(!again!(store.put_plan(&other, at(0))).unwrap(), "an id is one plan's");
    let second = PlanRecord { revision: 2, document: "second".to_owned(), ..plan.clone() };
    assert!(again!(store.update_plan(&second)).unwrap());
    let stale = PlanRecord { revision: 2, document: "stale".to_owned(), ..plan.clone() };
    assert!(!again!(store.update_plan(&stale)).unwrap());
    let gone = PlanRecord { id: "none".to_owned(), ..second.clone() };
    assert!(!again!(store.update_plan(&gone)).unwrap());
    assert_eq!(again!(store.plan("abc")).unwrap(), Some(second));
}
