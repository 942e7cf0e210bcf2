//! What is asked of fields.

use std::{fmt, net::IpAddr, str::FromStr};

use crate::rules::{
    fields::{Field, Seen, Value},
    glob::Glob,
};

/// Something that is asked of a field.
#[derive(Debug)]
pub struct Condition {
    /// Which field.
    pub field: &'static Field,
    /// What.
    pub test: Test,
}

/// A field goes by its name.
impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.field.name == other.field.name && self.test == other.test
    }
}

impl Eq for Condition {}

impl Condition {
    /// Whether it holds; what the kernel did not know fulfils nothing.
    pub fn holds(&self, seen: &Seen<'_>) -> bool {
        (self.field.read)(seen).is_some_and(|value| self.test.accepts(value))
    }
}

/// What is asked of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    /// As numbers compare.
    Number(Comparison, i128),
    /// One of these numbers; `false`: none of them.
    Numbers(Box<[i128]>, bool),
    /// As texts compare, with any of these.
    Texts(TextTest, Box<[Box<[u8]>]>),
    /// One of these globs.
    Globs(Box<[Glob]>),
    /// In one of these networks; `false`: in none of them.
    Networks(Box<[Network]>, bool),
    /// Yes or no.
    Flag(bool),
    /// Of one of these file classes; `false`: of none of them.
    Classes(Box<[u32]>, bool),
}

/// How numbers compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// Greater.
    Greater,
    /// Greater or equal.
    GreaterOrEqual,
    /// Less.
    Less,
    /// Less or equal.
    LessOrEqual,
    /// All of these bits are set.
    BitsSet,
    /// None of these bits is set.
    BitsClear,
}

/// How texts compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextTest {
    /// Equal to one of them.
    Equal,
    /// Equal to none of them.
    NotEqual,
    /// Begins with one of them.
    Prefix,
    /// Ends with one of them.
    Suffix,
    /// Has one of them in it.
    Contains,
}

/// An IP network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    given: IpAddr,
    bits: u32,
    address: u128,
    mask: u128,
    is_v4: bool,
}

impl fmt::Display for Network {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}/{}", self.given, self.bits)
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split_once('/')
            .and_then(|(address, bits)| Self::new(address.parse().ok()?, bits.parse().ok()?))
            .ok_or_else(|| "it must be a network, as \"10.0.0.0/8\"".to_owned())
    }
}

impl Network {
    /// Of an address and the length of its prefix in bits; `None` if that is too long.
    pub fn new(address: IpAddr, bits: u32) -> Option<Self> {
        let (is_v4, width) = (address.is_ipv4(), if address.is_ipv4() { 32 } else { 128 });
        let free = u32::checked_sub(width, bits)?;
        let mask = u128::MAX.checked_shl(free).unwrap_or(0);
        Some(Self { given: address, bits, address: number(address) & mask, mask, is_v4 })
    }

    /// Whether `address` is in it.
    pub fn has(&self, address: IpAddr) -> bool {
        self.is_v4 == address.is_ipv4() && number(address) & self.mask == self.address
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

impl Test {
    /// Whether a value is as asked; one of another type is not.
    pub fn accepts(&self, value: Value<'_>) -> bool {
        match (self, value) {
            (Self::Number(how, other), Value::Integer(number)) => how.holds(number, *other),
            (Self::Numbers(numbers, is_in), Value::Integer(number)) => {
                numbers.contains(&number) == *is_in
            }
            (Self::Classes(classes, is_in), Value::Integer(number)) => {
                classes.iter().any(|class| is_of_class(number, *class)) == *is_in
            }
            (Self::Texts(how, texts), Value::Text(text)) => how.holds(text, texts),
            (Self::Globs(globs), Value::Text(text)) => globs.iter().any(|glob| glob.matches(text)),
            (Self::Networks(networks, is_in), Value::Address(address)) => {
                networks.iter().any(|network| network.has(address)) == *is_in
            }
            (Self::Flag(wanted), Value::Flag(flag)) => *wanted == flag,
            _ => false,
        }
    }

    /// How much work it is, lowest first.
    pub fn cost(&self) -> u8 {
        match self {
            Self::Number(..) | Self::Numbers(..) | Self::Flag(_) | Self::Classes(..) => 0,
            Self::Networks(..) => 1,
            Self::Texts(TextTest::Contains, _) => 3,
            Self::Texts(..) => 2,
            Self::Globs(_) => 4,
        }
    }
}

fn is_of_class(number: i128, class: u32) -> bool {
    use sentinel_ipc::file_class::{SECRET, number as place};
    let Ok(found) = u32::try_from(number) else { return false };
    // What is written may be a secret besides.
    if class == SECRET { found & SECRET != 0 } else { place(found) == place(class) }
}

impl Comparison {
    fn holds(self, number: i128, other: i128) -> bool {
        match self {
            Self::Greater => number > other,
            Self::GreaterOrEqual => number >= other,
            Self::Less => number < other,
            Self::LessOrEqual => number <= other,
            Self::BitsSet => number & other == other,
            Self::BitsClear => number & other == 0,
        }
    }
}

impl TextTest {
    fn holds(self, text: &[u8], others: &[Box<[u8]>]) -> bool {
        let any = |holds: fn(&[u8], &[u8]) -> bool| others.iter().any(|other| holds(text, other));
        match self {
            Self::Equal => any(|text, other| text == other),
            Self::NotEqual => !any(|text, other| text == other),
            Self::Prefix => any(<[u8]>::starts_with),
            Self::Suffix => any(<[u8]>::ends_with),
            Self::Contains => any(|text, other| {
                other.is_empty() || text.windows(other.len()).any(|window| window == other)
            }),
        }
    }
}

/// Whether all of them hold.
pub(super) fn all_hold(conditions: &[Condition], seen: &Seen<'_>) -> bool {
    conditions.iter().all(|condition| condition.holds(seen))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_their_addresses() {
        let network = |address: &str, bits| Network::new(address.parse().unwrap(), bits);
        for (address, bits, other, has) in [
            ("10.0.0.0", 8, "10.255.0.1", true),
            ("10.0.0.0", 8, "11.0.0.1", false),
            ("0.0.0.0", 0, "11.0.0.1", true),
            ("0.0.0.0", 0, "::1", false),
            ("10.0.0.1", 32, "10.0.0.1", true),
            ("fe80::", 10, "febf::1", true),
            ("::", 0, "febf::1", true),
        ] {
            assert_eq!(network(address, bits).unwrap().has(other.parse().unwrap()), has);
        }
        assert_eq!((network("10.0.0.0", 33), network("::", 129)), (None, None));
    }

    #[test]
    fn a_value_of_another_type_is_never_accepted() {
        let not_equal = Test::Texts(TextTest::NotEqual, Box::default());
        assert!(!not_equal.accepts(Value::Integer(1)) && not_equal.accepts(Value::Text(b"x")));
        assert!(!Test::Numbers(Box::default(), false).accepts(Value::Flag(true)));
    }
}
