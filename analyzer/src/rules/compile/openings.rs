//! Which rules an event may begin: found by what their first steps ask of one field, so that rules that
//! ask for something else cost nothing.

use crate::{
    keyed_hash::{HashMap, HashSet},
    rules::{
        fields::{Field, Seen, Value},
        rule::{Condition, Description, Test, TextTest},
    },
};

/// Rules, by their numbers, that events of one kind may begin.
#[derive(Debug, Default)]
pub struct Openings {
    /// Those that ask for nothing that can be looked up.
    others: Vec<usize>,
    by_field: Vec<ByField>,
}

/// Rules by what they ask of a field.
#[derive(Debug)]
struct ByField {
    field: &'static Field,
    numbers: HashMap<i128, Vec<usize>>,
    texts: HashMap<Box<[u8]>, Vec<usize>>,
    prefixes: Ends,
    suffixes: Ends,
}

/// Rules by how a text begins or ends.
#[derive(Debug)]
struct Ends {
    side: Side,
    /// From the least on.
    lengths: Vec<usize>,
    /// Of each rule's text as much as the shortest has: a text with none of these, as most are, has no longer one either.
    least: HashSet<Box<[u8]>>,
    rules: HashMap<Box<[u8]>, Vec<usize>>,
}

/// Where a part of a text is.
#[derive(Debug, Clone, Copy)]
enum Side {
    Front,
    Back,
}

impl Side {
    /// So many bytes of `text`, if it has them.
    fn part(self, text: &[u8], length: usize) -> Option<&[u8]> {
        match self {
            Self::Front => text.get(..length),
            Self::Back => text.get(text.len().checked_sub(length)?..),
        }
    }
}

impl Openings {
    /// Adds a rule whose first step is `description`.
    pub fn add(&mut self, rule: usize, description: &Description) {
        let best = description.conditions.iter().max_by_key(|condition| worth(&condition.test));
        match best.filter(|condition| worth(&condition.test) > 0) {
            Some(condition) => self.add_to_field(rule, condition),
            None => self.others.push(rule),
        }
    }

    /// Puts into `found` the rules that the event may begin, each once and in their order; of most others
    /// it is known that they do not begin.
    pub fn find(&self, seen: &Seen<'_>, found: &mut Vec<usize>) {
        found.clear();
        found.extend(&self.others);
        for by_field in &self.by_field {
            match (by_field.field.read)(seen) {
                Some(Value::Integer(number)) => {
                    found.extend(by_field.numbers.get(&number).into_iter().flatten());
                }
                Some(Value::Text(text)) => by_field.find(text, found),
                Some(Value::Address(_) | Value::Flag(_)) | None => {}
            }
        }
        if !self.by_field.is_empty() {
            found.sort_unstable();
            found.dedup();
        }
    }

    fn add_to_field(&mut self, rule: usize, condition: &Condition) {
        let is_it = |one: &&mut ByField| one.field.name == condition.field.name;
        if let Some(known) = self.by_field.iter_mut().find(is_it) {
            return known.add(rule, condition);
        }
        let mut by_field = ByField {
            field: condition.field,
            numbers: HashMap::default(),
            texts: HashMap::default(),
            prefixes: Ends::of(Side::Front),
            suffixes: Ends::of(Side::Back),
        };
        by_field.add(rule, condition);
        self.by_field.push(by_field);
    }
}

/// How few events a condition lets through, as a rule; 0: it cannot be looked up.
fn worth(test: &Test) -> u8 {
    match test {
        Test::Texts(TextTest::Equal, _) => 4,
        Test::Texts(TextTest::Prefix | TextTest::Suffix, _) => 3,
        Test::Globs(globs) if globs.iter().all(|glob| !glob.beginning().is_empty()) => 2,
        Test::Numbers(_, true) => 1,
        Test::Texts(TextTest::NotEqual | TextTest::Contains, _)
        | Test::Number(..)
        | Test::Numbers(_, false)
        | Test::Globs(_)
        | Test::Networks(..)
        | Test::Flag(_)
        | Test::Classes(..) => 0,
    }
}

impl ByField {
    fn add(&mut self, rule: usize, condition: &Condition) {
        match &condition.test {
            Test::Numbers(numbers, true) => {
                for number in numbers {
                    self.numbers.entry(*number).or_default().push(rule);
                }
            }
            Test::Texts(how, texts) => {
                for text in texts {
                    match how {
                        TextTest::Prefix => self.prefixes.add(rule, text),
                        TextTest::Suffix => self.suffixes.add(rule, text),
                        TextTest::Equal | TextTest::NotEqual | TextTest::Contains => {
                            self.texts.entry(text.clone()).or_default().push(rule);
                        }
                    }
                }
            }
            Test::Globs(globs) => {
                globs.iter().for_each(|glob| self.prefixes.add(rule, &glob.beginning()));
            }
            Test::Number(..)
            | Test::Numbers(_, false)
            | Test::Networks(..)
            | Test::Flag(_)
            | Test::Classes(..) => {}
        }
    }

    fn find(&self, text: &[u8], found: &mut Vec<usize>) {
        found.extend(self.texts.get(text).into_iter().flatten());
        self.prefixes.find(text, found);
        self.suffixes.find(text, found);
    }
}

impl Ends {
    fn of(side: Side) -> Self {
        let (least, rules) = (HashSet::default(), HashMap::default());
        Self { side, lengths: Vec::new(), least, rules }
    }

    fn add(&mut self, rule: usize, text: &[u8]) {
        let before = self.lengths.first().copied();
        if let Err(place) = self.lengths.binary_search(&text.len()) {
            self.lengths.insert(place, text.len());
        }
        self.rules.entry(text.into()).or_default().push(rule);
        let (side, least) = (self.side, self.lengths.first().copied());
        let part = |text: &[u8]| side.part(text, least?).map(Box::from);
        if before == least {
            self.least.extend(part(text));
        } else {
            self.least = self.rules.keys().filter_map(|text| part(text)).collect();
        }
    }

    fn find(&self, text: &[u8], found: &mut Vec<usize>) {
        let least = self.lengths.first().and_then(|least| self.side.part(text, *least));
        if least.is_none_or(|part| !self.least.contains(part)) {
            return;
        }
        for part in self.lengths.iter().map_while(|length| self.side.part(text, *length)) {
            found.extend(self.rules.get(part).into_iter().flatten());
        }
    }
}

#[cfg(test)]
mod tests;
