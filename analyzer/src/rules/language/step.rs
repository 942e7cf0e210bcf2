//! Steps and the events that they mean.

use super::{
    condition,
    error::{Wrong, unknown},
    table::{Item, Table, integer, texts, unlike},
};
use crate::rules::{
    kinds::{CLASSES, KINDS, Kinds},
    rule::{Absence, Binding, Common, Condition, Description, Outcome, Relation, Repeat, Step},
};

/// Times that a step may be asked for.
const MAX_COUNT: u64 = 128;
const MAX_DISTANCE: u64 = 1_000_000;

const STEP: &[&str] = &[
    "name", "event", "where", "not", "outcome", "process", "same", "within", "distance", "count",
    "per", "without",
];

/// The step after `earlier`, seen from a rule.
pub(super) fn parse(item: &Item<'_>, earlier: &[Step]) -> Result<Step, Wrong> {
    let table = Table::of(item, "a step", STEP)?;
    let name = table.text("name")?.map(ToOwned::to_owned);
    if earlier.iter().any(|step| step.name.is_some() && step.name == name) {
        return Err(Wrong::new(item.span(), "an earlier step has this name"));
    }
    if earlier.is_empty() {
        for key in ["process", "same", "within", "distance", "without"] {
            if let Some(item) = table.get(key) {
                let why = format!("`{key}` is about an earlier step, and the first step has none");
                return Err(Wrong::new(item.span(), why));
            }
        }
    }
    let relation = relation(&table)?;
    let distance = table.count("distance", MAX_DISTANCE)?;
    if let Some(item) = table.get("distance").filter(|_| relation != Relation::SameProcess) {
        let why =
            "`distance` counts one process's events: it goes with process = \"same_process\" only";
        return Err(Wrong::new(item.span(), why));
    }
    let without = table.get("without").map(absence).transpose()?;
    let by_lineage = without.as_ref().is_some_and(|one| one.relation == Relation::Lineage);
    if let Some(item) = table.get("without").filter(|_| by_lineage) {
        let why = "process = \"lineage\" is for steps, not for `without`";
        return Err(Wrong::new(item.span(), why));
    }
    let looks_everywhere = without.as_ref().is_some_and(|one| one.relation == Relation::Any);
    if let Some(item) =
        table.get("without").filter(|_| looks_everywhere && relation != Relation::Any)
    {
        let why = "process = \"any\" goes in `without` only where the step itself has it";
        return Err(Wrong::new(item.span(), why));
    }
    Ok(Step {
        name,
        event: description(&table)?,
        relation,
        bindings: bindings(&table, earlier)?,
        within: table.duration("within")?,
        distance,
        repeat: repeat(&table)?,
        without,
    })
}

fn relation(table: &Table<'_>) -> Result<Relation, Wrong> {
    let Some(item) = table.get("process") else { return Ok(Relation::SameProcess) };
    let name = super::table::text(item)?;
    Relation::ALL.into_iter().find(|relation| relation.name() == name).ok_or_else(|| {
        let known = Relation::ALL.into_iter().map(Relation::name);
        Wrong::new(item.span(), unknown("relation of processes", name, known))
    })
}

fn repeat(table: &Table<'_>) -> Result<Option<Repeat>, Wrong> {
    let (count, per) = (table.count("count", MAX_COUNT)?, table.duration("per")?);
    let of = |key| table.get(key).map(Item::span).unwrap_or_default();
    match (count, per) {
        (None, None) => Ok(None),
        (Some(count), Some(per)) => {
            Ok(Some(Repeat { count: usize::try_from(count).unwrap_or(1), per }))
        }
        (Some(_), None) => {
            Err(Wrong::new(of("count"), "`count` goes with `per`, as per = \"10s\""))
        }
        (None, Some(_)) => Err(Wrong::new(of("per"), "`per` goes with `count`")),
    }
}

fn absence(item: &Item<'_>) -> Result<Absence, Wrong> {
    let table = Table::of(item, "an absence", &["event", "where", "not", "outcome", "process"])?;
    Ok(Absence { event: description(&table)?, relation: relation(&table)? })
}

fn description(table: &Table<'_>) -> Result<Description, Wrong> {
    let mut event = Vec::new();
    let mut only = Vec::new();
    for (name, span) in texts(table.required("event")?)? {
        let kind = KINDS.iter().find(|entry| entry.name == name);
        let class = CLASSES.iter().find(|class| class.name == name);
        only.push(match (kind, class) {
            (Some(entry), _) => (Kinds::of(&[entry.kind]), None),
            (None, Some(class)) => (class.kinds, class.only),
            (None, None) => {
                let classes = CLASSES.iter().map(|class| class.name);
                let known = classes.chain(KINDS.iter().map(|entry| entry.name));
                return Err(Wrong::new(span, unknown("event or class of events", name, known)));
            }
        });
        event.push(name.to_owned());
    }
    let kinds = only.iter().fold(Kinds::default(), |all, (kinds, _)| all.with(*kinds));
    let by_field =
        |key| table.get(key).map_or(Ok(Vec::new()), |item| condition::by_field(item, kinds));
    let mut conditions: Vec<Condition> = by_field("where")?.into_iter().flatten().collect();
    conditions.sort_by_key(|condition| condition.test.cost());
    let exceptions = by_field("not")?;
    let asks_for_outcome = conditions
        .iter()
        .chain(exceptions.iter().flatten())
        .any(|condition| ["result", "errno"].contains(&condition.field.name));
    let outcome = match table.get("outcome") {
        None if asks_for_outcome => Outcome::Any,
        None => Outcome::Success,
        Some(item) => outcome(item)?,
    };
    Ok(Description { kinds, event, only, conditions, exceptions, outcome })
}

fn outcome(item: &Item<'_>) -> Result<Outcome, Wrong> {
    let name = super::table::text(item)?;
    let found = Outcome::ALL.into_iter().find(|(known, _)| *known == name);
    found.map(|(_, outcome)| outcome).ok_or_else(|| {
        let known = Outcome::ALL.into_iter().map(|(name, _)| name);
        Wrong::new(item.span(), unknown("outcome", name, known))
    })
}

fn bindings(table: &Table<'_>, earlier: &[Step]) -> Result<Vec<Binding>, Wrong> {
    let Some(item) = table.get("same") else { return Ok(Vec::new()) };
    let names = Common::ALL.map(|(name, _)| name);
    let same = Table::of(item, "`same`", &names)?;
    let mut bindings = Vec::new();
    for (name, common) in Common::ALL {
        let Some(item) = same.get(name) else { continue };
        let by_number = integer(item)
            .and_then(|number| usize::try_from(number).ok()?.checked_sub(1))
            .filter(|place| *place < earlier.len());
        let by_name = item
            .get_ref()
            .as_str()
            .and_then(|name| earlier.iter().position(|step| step.name.as_deref() == Some(name)));
        let wanted = "the name or number of an earlier step";
        let step = by_number.or(by_name).ok_or_else(|| unlike(item, wanted))?;
        bindings.push(Binding { common, step });
    }
    Ok(bindings)
}
