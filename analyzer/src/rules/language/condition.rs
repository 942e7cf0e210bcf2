//! What is asked of fields: `where` and `not`.

use std::net::IpAddr;

use super::{
    error::{Wrong, unknown},
    table::{Item, integer, one_or_more, text, texts, unlike},
};
use crate::rules::{
    fields::{self, FILE_CLASSES, Field, FieldType},
    glob::Glob,
    kinds::Kinds,
    rule::{Comparison, Condition, Network, Test, TextTest},
};
use toml::de::DeValue;

/// The conditions in a table of fields that some of the events of `kinds` have; they hold for none
/// of the others.
pub(super) fn of_some(item: &Item<'_>, kinds: Kinds) -> Result<Vec<Condition>, Wrong> {
    let conditions = read(item, kinds, |field, kinds| field.kinds.meets(kinds))?;
    Ok(conditions.into_iter().flatten().collect())
}

/// The conditions in a table of fields, one list a field; all events of `kinds` have them.
pub(super) fn by_field(item: &Item<'_>, kinds: Kinds) -> Result<Vec<Vec<Condition>>, Wrong> {
    read(item, kinds, has_all)
}

fn read(
    item: &Item<'_>,
    kinds: Kinds,
    has: fn(&Field, Kinds) -> bool,
) -> Result<Vec<Vec<Condition>>, Wrong> {
    let DeValue::Table(entries) = item.get_ref() else {
        return Err(unlike(
            item,
            "a table of fields, as { uid = 0, path = { prefix = \"/tmp/\" } }",
        ));
    };
    let mut all = Vec::new();
    for (key, value) in entries {
        let known = || fields::FIELDS.iter().filter(|field| has(field, kinds));
        let name = key.get_ref().as_ref();
        let Some(field) = fields::find(name) else {
            let names = known().map(|field| field.name);
            return Err(Wrong::new(key.span(), unknown("field of this event", name, names)));
        };
        if !has(field, kinds) {
            let without: Vec<&str> = kinds
                .iter()
                .filter(|entry| !field.kinds.has(entry.kind))
                .map(|entry| entry.name)
                .collect();
            let names: Vec<&str> = known().map(|field| field.name).collect();
            let why = format!(
                "`{name}` is no field of {}: there are {}",
                without.join(", "),
                names.join(", ")
            );
            return Err(Wrong::new(key.span(), why));
        }
        let tests = tests(field, value)?;
        all.push(tests.into_iter().map(|test| Condition { field, test }).collect());
    }
    Ok(all)
}

fn has_all(field: &Field, kinds: Kinds) -> bool {
    kinds.iter().all(|entry| field.kinds.has(entry.kind))
}

fn tests(field: &Field, item: &Item<'_>) -> Result<Vec<Test>, Wrong> {
    let DeValue::Table(entries) = item.get_ref() else {
        return Ok(vec![test(field, Operator::Equal, item)?]);
    };
    let mut tests = Vec::new();
    for (key, value) in entries {
        let name = key.get_ref().as_ref();
        let known = || OPERATORS.iter().filter(|(_, operator)| operator.fits(field.of));
        let Some((_, operator)) = known().find(|(known, _)| *known == name) else {
            let what = format!("operator of `{}`", field.name);
            return Err(Wrong::new(
                key.span(),
                unknown(&what, name, known().map(|(name, _)| *name)),
            ));
        };
        tests.push(test(field, *operator, value)?);
    }
    if tests.is_empty() {
        return Err(Wrong::new(item.span(), format!("nothing is asked of `{}`", field.name)));
    }
    Ok(tests)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    OneOf,
    Compare(Comparison),
    Text(TextTest),
    Glob,
    Cidr,
}

/// All operators by name.
const OPERATORS: [(&str, Operator); 14] = [
    ("eq", Operator::Equal),
    ("ne", Operator::NotEqual),
    ("one_of", Operator::OneOf),
    ("gt", Operator::Compare(Comparison::Greater)),
    ("ge", Operator::Compare(Comparison::GreaterOrEqual)),
    ("lt", Operator::Compare(Comparison::Less)),
    ("le", Operator::Compare(Comparison::LessOrEqual)),
    ("bits_set", Operator::Compare(Comparison::BitsSet)),
    ("bits_clear", Operator::Compare(Comparison::BitsClear)),
    ("prefix", Operator::Text(TextTest::Prefix)),
    ("suffix", Operator::Text(TextTest::Suffix)),
    ("contains", Operator::Text(TextTest::Contains)),
    ("glob", Operator::Glob),
    ("cidr", Operator::Cidr),
];

impl Operator {
    fn fits(self, of: FieldType) -> bool {
        match self {
            Self::Equal => true,
            Self::NotEqual | Self::OneOf => of != FieldType::Flag,
            Self::Compare(_) => matches!(of, FieldType::Integer(_)),
            Self::Text(_) | Self::Glob => of == FieldType::Text,
            Self::Cidr => of == FieldType::Address,
        }
    }
}

fn test(field: &Field, operator: Operator, item: &Item<'_>) -> Result<Test, Wrong> {
    let is_in = operator != Operator::NotEqual;
    let items = one_or_more(item);
    if items.is_empty() {
        return Err(Wrong::new(item.span(), "the list is empty"));
    }
    match field.of {
        FieldType::Flag => match item.get_ref() {
            DeValue::Boolean(flag) => Ok(Test::Flag(*flag)),
            _ => Err(unlike(item, "true or false")),
        },
        FieldType::Integer(names) => match operator {
            Operator::Compare(how) => Ok(Test::Number(how, number(names, item)?)),
            _ => {
                let numbers: Result<_, _> = items.iter().map(|item| number(names, item)).collect();
                Ok(Test::Numbers(numbers?, is_in))
            }
        },
        FieldType::Class => {
            let classes: Result<_, _> = items.iter().map(class).collect();
            Ok(Test::Classes(classes?, is_in))
        }
        FieldType::Address => {
            let networks: Result<_, _> =
                items.iter().map(|item| network(item, operator == Operator::Cidr)).collect();
            Ok(Test::Networks(networks?, is_in))
        }
        FieldType::Text => text_test(operator, item),
    }
}

fn text_test(operator: Operator, item: &Item<'_>) -> Result<Test, Wrong> {
    let how = match operator {
        Operator::Glob => {
            let glob = |item| {
                Glob::new(text(item)?)
                    .ok_or_else(|| unlike(item, "a glob of at most 127 characters"))
            };
            let globs: Result<_, _> = one_or_more(item).iter().map(glob).collect();
            return Ok(Test::Globs(globs?));
        }
        Operator::Text(how) => how,
        Operator::NotEqual => TextTest::NotEqual,
        Operator::Equal | Operator::OneOf | Operator::Compare(_) | Operator::Cidr => {
            TextTest::Equal
        }
    };
    let texts = texts(item)?.into_iter().map(|(text, _)| text.as_bytes().into()).collect();
    Ok(Test::Texts(how, texts))
}

fn number(names: &[(&str, i128)], item: &Item<'_>) -> Result<i128, Wrong> {
    if let Some(number) = integer(item) {
        return Ok(number);
    }
    let by_name = item.get_ref().as_str().filter(|_| !names.is_empty());
    let Some(name) = by_name else { return Err(unlike(item, "a number")) };
    let found = names.iter().find(|(known, _)| *known == name);
    found.map(|(_, number)| *number).ok_or_else(|| {
        let known = names.iter().map(|(name, _)| *name);
        Wrong::new(item.span(), unknown("name of a number here", name, known))
    })
}

fn class(item: &Item<'_>) -> Result<u32, Wrong> {
    let name = text(item)?;
    let found = FILE_CLASSES.iter().find(|(known, _)| *known == name);
    found.map(|(_, class)| *class).ok_or_else(|| {
        let known = FILE_CLASSES.iter().map(|(name, _)| *name);
        Wrong::new(item.span(), unknown("class of files", name, known))
    })
}

fn network(item: &Item<'_>, is_cidr: bool) -> Result<Network, Wrong> {
    let given = text(item)?;
    let parsed = if is_cidr {
        given.parse().ok()
    } else {
        given.parse().ok().and_then(|address: IpAddr| {
            Network::new(address, if address.is_ipv4() { 32 } else { 128 })
        })
    };
    let wanted = if is_cidr { "a network, as \"10.0.0.0/8\"" } else { "an IP address" };
    parsed.ok_or_else(|| unlike(item, wanted))
}
