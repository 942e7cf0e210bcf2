//! Durations: a number and its unit.

const UNITS: [(&str, u64); 6] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];
/// A day, ns: state that is kept longer is a mistake.
const MAX: u64 = 86_400_000_000_000;

/// A duration in ns; `None` for what is none, is 0 or more than a day.
pub fn parse(text: &str) -> Option<u64> {
    let end = text.find(|character: char| !character.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(end)?;
    let (_, ns) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let ns = number.parse::<u64>().ok()?.checked_mul(*ns)?;
    (1..=MAX).contains(&ns).then_some(ns)
}

/// A duration of so many ns in its largest whole unit.
pub fn show(ns: u64) -> String {
    let whole = UNITS.iter().rev().find(|(_, unit)| ns.is_multiple_of(*unit));
    whole.map_or_else(|| format!("{ns}ns"), |(name, unit)| format!("{}{name}", ns / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_number_and_a_unit() {
        for (text, ns) in [
            ("500us", Some(500_000)),
            ("10s", Some(10_000_000_000)),
            ("5m", Some(300_000_000_000)),
            ("24h", Some(MAX)),
            ("25h", None),
            ("0s", None),
            ("10", None),
            ("s", None),
            ("1 s", None),
            ("-1s", None),
            ("1.5s", None),
            ("99999999999999999999s", None),
        ] {
            assert_eq!(parse(text), ns, "{text}");
            if let Some(ns) = ns {
                assert_eq!(parse(&show(ns)), Some(ns));
            }
        }
    }
}
