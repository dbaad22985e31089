//! Cursors of lists: where a page ended, as opaque text.
//!
//! Every list is ordered by a pair (a number, an id) that never changes and that no two rows share, so a page is stable
//! while rows come and go.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::sql::{DbResult, Row};
use super::{Listed, Page};

/// The key of a row within its list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    pub number: i64,
    pub id: String,
}

impl Cursor {
    /// Before every row of a list that ascends.
    pub fn lowest() -> Self {
        Self { number: i64::MIN, id: String::new() }
    }

    /// Before every row of a list that descends: no row is of that moment.
    pub fn highest() -> Self {
        Self { number: i64::MAX, id: String::new() }
    }

    pub fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(format!("{}.{}", self.number, self.id))
    }

    pub fn decode(text: &str) -> Option<Self> {
        let plain = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let (number, id) = plain.split_once('.')?;
        (!id.contains('\0')).then_some(())?;
        Some(Self { number: number.parse().ok()?, id: id.to_owned() })
    }
}

impl Page {
    /// The largest `limit`.
    pub const MAX_LIMIT: u32 = 1000;

    /// Whether `after` is one that a list has given. The store answers a page after any other text with no rows at all,
    /// so whoever takes it from outside asks this first and refuses it by name.
    pub fn is_legible(&self) -> bool {
        self.after.as_deref().is_none_or(|text| Cursor::decode(text).is_some())
    }

    /// Where to begin; `None` where the cursor is illegible.
    pub(super) fn start(&self, first: Cursor) -> Option<Cursor> {
        self.after.as_deref().map_or(Some(first), Cursor::decode)
    }

    /// How many rows to ask for: one more than wanted, to learn whether there is a next page.
    pub(super) fn probe(&self) -> i64 {
        i64::from(self.limit.clamp(1, Self::MAX_LIMIT)) + 1
    }

    /// Cuts the rows that [`Page::probe`] asked for into a page.
    pub(super) fn cut<T>(
        &self,
        rows: &[Row],
        read: impl Fn(&Row) -> DbResult<T>,
        key: impl Fn(&T) -> Cursor,
    ) -> DbResult<Listed<T>> {
        let limit = self.limit.clamp(1, Self::MAX_LIMIT) as usize;
        let items = rows.iter().take(limit).map(read).collect::<DbResult<Vec<T>>>()?;
        let next = if rows.len() > limit { items.last().map(|last| key(last).encode()) } else { None };
        Ok(Listed { items, next })
    }
}

impl<T> Listed<T> {
    pub(super) fn empty() -> Self {
        Self { items: Vec::new(), next: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_its_text_and_garbage_is_told_apart() {
        let cursor = Cursor { number: -7, id: "usr_a.b".into() };
        assert_eq!(Cursor::decode(&cursor.encode()), Some(cursor));
        for garbage in ["", "!", "AAAA", &URL_SAFE_NO_PAD.encode("x.y"), &URL_SAFE_NO_PAD.encode("1.\0")] {
            assert_eq!(Cursor::decode(garbage), None, "{garbage:?}");
            assert!(!Page { after: Some(garbage.into()), limit: 1 }.is_legible());
        }
        assert!(Page { after: None, limit: 1 }.is_legible());
    }
}
