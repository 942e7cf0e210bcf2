//! TOML tables that are read key by key, each with its place in the file.

use std::ops::Range;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    duration,
    error::{Wrong, unknown},
};

/// A value and its place.
pub(crate) type Item<'t> = Spanned<DeValue<'t>>;

/// A table of which every key is known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Table<'t> {
    entries: &'t DeTable<'t>,
    /// Where it stands.
    start: usize,
    end: usize,
}

impl<'t> Table<'t> {
    /// Takes `item` as a table with no other keys than `known`; `what` has them.
    pub(crate) fn of(item: &'t Item<'t>, what: &str, known: &[&str]) -> Result<Self, Wrong> {
        let DeValue::Table(entries) = item.get_ref() else {
            return Err(unlike(item, &format!("a table with {}", known.join(", "))));
        };
        Self::with_keys(entries, item.span(), what, known)
    }

    /// Takes `entries`, which stand at `span`, likewise.
    pub(crate) fn with_keys(
        entries: &'t DeTable<'t>,
        span: Range<usize>,
        what: &str,
        known: &[&str],
    ) -> Result<Self, Wrong> {
        for key in entries.keys() {
            let name = key.get_ref().as_ref();
            if !known.contains(&name) {
                let why = unknown(&format!("key of {what}"), name, known.iter().copied());
                return Err(Wrong::new(key.span(), why));
            }
        }
        Ok(Self { entries, start: span.start, end: span.end })
    }

    /// The value of `key`.
    pub(crate) fn get(&self, key: &str) -> Option<&'t Item<'t>> {
        self.entries.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
    }

    /// The value of `key`, without which nothing goes.
    pub(crate) fn required(&self, key: &str) -> Result<&'t Item<'t>, Wrong> {
        self.get(key)
            .ok_or_else(|| Wrong::new(self.start..self.end, format!("`{key}` is missing here")))
    }

    /// The text of `key`.
    pub(crate) fn text(&self, key: &str) -> Result<Option<&'t str>, Wrong> {
        self.get(key).map(text).transpose()
    }

    /// The duration of `key`, ns.
    pub(crate) fn duration(&self, key: &str) -> Result<Option<u64>, Wrong> {
        let Some(item) = self.get(key) else { return Ok(None) };
        let parsed = item.get_ref().as_str().and_then(duration::parse);
        let what = "a duration up to 24h, as \"500us\", \"10ms\", \"10s\", \"5m\"";
        parsed.map(Some).ok_or_else(|| unlike(item, what))
    }

    /// The number of `key`, from 1 to `end`.
    pub(crate) fn count(&self, key: &str, end: u64) -> Result<Option<u64>, Wrong> {
        let Some(item) = self.get(key) else { return Ok(None) };
        let number = integer(item)
            .and_then(|number| u64::try_from(number).ok())
            .filter(|number| (1..=end).contains(number));
        number.map(Some).ok_or_else(|| unlike(item, &format!("a number from 1 to {end}")))
    }

    /// The items of the list that `key` is; none if it is missing.
    pub(crate) fn list(&self, key: &str) -> Result<&'t [Item<'t>], Wrong> {
        match self.get(key) {
            None => Ok(&[]),
            Some(item) => match item.get_ref() {
                DeValue::Array(items) => Ok(items),
                _ => Err(unlike(item, "a list")),
            },
        }
    }
}

/// A text, or a list of texts.
pub(crate) fn texts<'t>(item: &'t Item<'t>) -> Result<Vec<(&'t str, Range<usize>)>, Wrong> {
    one_or_more(item).iter().map(|item| Ok((text(item)?, item.span()))).collect()
}

/// The items of a list, or the item itself.
pub(crate) fn one_or_more<'t>(item: &'t Item<'t>) -> &'t [Item<'t>] {
    match item.get_ref() {
        DeValue::Array(items) => items,
        _ => std::slice::from_ref(item),
    }
}

/// A text.
pub(crate) fn text<'t>(item: &'t Item<'t>) -> Result<&'t str, Wrong> {
    item.get_ref().as_str().ok_or_else(|| unlike(item, "a text in quotes"))
}

/// A number, in any of TOML's forms.
pub(crate) fn integer(item: &Item<'_>) -> Option<i128> {
    let number = item.get_ref().as_integer()?;
    i128::from_str_radix(number.as_str(), number.radix()).ok()
}

/// `item` is something else than `wanted`.
pub(crate) fn unlike(item: &Item<'_>, wanted: &str) -> Wrong {
    let given = match item.get_ref() {
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    };
    Wrong::new(item.span(), format!("{given} stands where {wanted} belongs"))
}
