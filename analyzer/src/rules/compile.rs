//! Rules made ready: which kinds of events concern which rules, and what is remembered between steps.

use sentinel_ipc::{frame::KindSet, kernel_abi::kind};

mod openings;

pub use openings::Openings;

use super::{
    kinds::{EventKind, KINDS, Kinds},
    rule::{Common, Relation, Rule},
};

/// A value that a step's event has and later steps ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// The step that fills it.
    pub step: usize,
    /// What it holds.
    pub common: Common,
    /// The last step that asks for it.
    pub last_use: usize,
}

/// A rule, and what the engine keeps for it.
#[derive(Debug)]
pub struct CompiledRule {
    /// The rule.
    pub rule: Rule,
    /// What is remembered between its steps.
    pub slots: Vec<Slot>,
}

/// What an event of one kind may concern.
#[derive(Debug, Default)]
pub struct Dispatch {
    /// Rules that it may begin.
    pub openings: Openings,
    /// Rule and step that anyone may take with it.
    pub by_anyone: Vec<(usize, usize)>,
    /// Whether it may concern a sequence whose last step the same process took.
    pub own: bool,
    /// … its parent took.
    pub parent: bool,
    /// … an ancestor took.
    pub ancestors: bool,
}

/// Rules that are looked for together.
#[derive(Debug, Default)]
pub struct Compiled {
    rules: Vec<CompiledRule>,
    by_kind: Vec<Dispatch>,
    kinds: Kinds,
}

impl Compiled {
    /// Makes `rules` ready.
    pub fn new(rules: Vec<Rule>) -> Self {
        let rules: Vec<CompiledRule> = rules.into_iter().map(CompiledRule::new).collect();
        let by_kind = KINDS.iter().map(|entry| Dispatch::of(entry.kind, &rules)).collect();
        let kinds = rules.iter().fold(Kinds::default(), |all, one| all.with(one.rule.kinds()));
        Self { rules, by_kind, kinds }
    }

    /// The rules, each at its number.
    pub fn rules(&self) -> &[CompiledRule] {
        &self.rules
    }

    /// What an event of this kind may concern.
    pub fn dispatch(&self, kind: EventKind) -> Option<&Dispatch> {
        self.by_kind.get(kind.number())
    }

    /// What the sensor must be asked for.
    pub fn needs(&self) -> KindSet {
        let mut steps = self.rules.iter().flat_map(|one| &one.rule.steps);
        // Data that are no secret's are followed: by what goes through pipes and connections as well.
        let follows = steps.any(|step| step.relation == Relation::Lineage);
        let traffic = if follows { KindSet::of(&[kind::ALL_TRAFFIC]) } else { KindSet::default() };
        self.kinds.needs().with(traffic)
    }
}

impl CompiledRule {
    fn new(rule: Rule) -> Self {
        let mut slots: Vec<Slot> = Vec::new();
        for (number, step) in rule.steps.iter().enumerate() {
            for binding in &step.bindings {
                let known = slots
                    .iter_mut()
                    .find(|slot| slot.step == binding.step && slot.common == binding.common);
                match known {
                    Some(slot) => slot.last_use = number,
                    None => slots.push(Slot {
                        step: binding.step,
                        common: binding.common,
                        last_use: number,
                    }),
                }
            }
        }
        Self { rule, slots }
    }
}

impl Dispatch {
    fn of(kind: EventKind, rules: &[CompiledRule]) -> Self {
        let mut dispatch = Self::default();
        for (number, CompiledRule { rule, .. }) in rules.iter().enumerate() {
            for (place, step) in rule.steps.iter().enumerate() {
                let mut is_asked = false;
                if step.event.kinds.has(kind) {
                    is_asked = true;
                    match place {
                        0 => dispatch.openings.add(number, &step.event),
                        _ => dispatch.look_for(step.relation),
                    }
                }
                if let Some(absence) = step.without.as_ref()
                    && absence.event.kinds.has(kind)
                {
                    is_asked = true;
                    dispatch.look_for(absence.relation);
                }
                if is_asked && place > 0 && step.relation.is_looked_for_everywhere() {
                    dispatch.by_anyone.push((number, place));
                }
            }
        }
        dispatch
    }

    fn look_for(&mut self, relation: Relation) {
        match relation {
            Relation::SameProcess => self.own = true,
            Relation::Child => self.parent = true,
            Relation::Tree => (self.own, self.parent, self.ancestors) = (true, true, true),
            Relation::Lineage | Relation::Any => {}
        }
    }
}
