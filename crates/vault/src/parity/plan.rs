//! Decides which files form groups. Changes nothing, and looks at nothing but what it is told.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::{
    kind::{self, Class},
    object::Group,
    scheme::ParityScheme,
};
use crate::id::Id;

/// A kept group with at most this part of its members is dissolved if others have room for them.
const SPARSE_PART: usize = 4;

/// A group as the decision sees it.
pub(super) struct KnownGroup<'a> {
    pub id: Id,
    pub group: &'a Group,
    /// Whether all its parity is there and sound.
    pub is_sound: bool,
}

/// What the decision is made from.
pub(super) struct Facts<'a> {
    pub scheme: ParityScheme,
    pub groups: Vec<KnownGroup<'a>>,
    /// Files that count, with their lengths.
    pub living: BTreeMap<&'a str, u64>,
    /// Files that are there, whether they count or not, with their lengths.
    pub there: &'a BTreeMap<String, u64>,
    /// Files that are gone and should not be.
    pub lost: BTreeSet<String>,
    /// Files that are about to be removed.
    pub leaving: &'a HashSet<String>,
    /// Files whose content is another than their groups know, and right.
    pub changed: &'a HashSet<String>,
}

/// A group to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Number of the group it is made from: its parity is read, and only those members that come or go.
    pub base: Option<usize>,
    pub data: u8,
    pub parity: u8,
    pub block_bytes: u32,
    /// Slot, key and length of each member, in order of slots.
    pub members: Vec<(u8, String, u64)>,
}

/// What is to be done: the steps, then the removals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub steps: Vec<Step>,
    /// Numbers of groups that stay as they are.
    pub kept: Vec<usize>,
    /// Numbers of groups that go when others protect what is left of their members.
    pub replaced: Vec<usize>,
    /// Files that could be protected but for their length.
    pub too_long: Vec<String>,
}

/// A group that stays, perhaps with other members.
struct Stays {
    number: usize,
    class: Class,
    slots: BTreeMap<u8, (String, u64)>,
    is_changed: bool,
}

impl Stays {
    fn free(&self, scheme: ParityScheme) -> usize {
        usize::from(scheme.data()).saturating_sub(self.slots.len())
    }

    fn fill(&mut self, scheme: ParityScheme, pool: &mut Vec<(String, u64)>) {
        for slot in 0..scheme.data() {
            if self.slots.contains_key(&slot) {
                continue;
            }
            let Some(member) = pool.pop() else {
                return;
            };
            self.slots.insert(slot, member);
            self.is_changed = true;
        }
    }
}

/// Decides.
pub(super) fn decide(facts: &Facts<'_>) -> Plan {
    let mut plan = Plan::default();
    let homes = homes(facts);
    let mut stays = Vec::new();
    let mut covered: HashSet<&str> = HashSet::new();
    for (number, known) in facts.groups.iter().enumerate() {
        let members = &known.group.members;
        if members.iter().any(|m| facts.is_lost(&m.key, m.bytes)) {
            // It may bring them back, so it stays as it is.
            plan.kept.push(number);
            covered.extend(members.iter().map(|member| member.key.as_str()));
            continue;
        }
        if let Some(group) = facts.keep(number, &homes) {
            covered.extend(
                members
                    .iter()
                    .map(|m| m.key.as_str())
                    .filter(|key| homes.get(key) == Some(&number)),
            );
            stays.push(group);
        } else {
            plan.replaced.push(number);
        }
    }
    dissolve_sparse(facts, &mut stays, &mut covered, &mut plan);
    for (class, pool) in pools(facts, &covered, &mut plan) {
        place(facts.scheme, class, pool, &mut stays, &mut plan);
    }
    for group in stays {
        if group.is_changed {
            plan.steps
                .push(facts.step(Some(group.number), group.class, group.slots));
            plan.replaced.push(group.number);
        } else {
            plan.kept.push(group.number);
        }
    }
    plan
}

impl Facts<'_> {
    /// Whether a member that counts is not as it was.
    fn is_lost(&self, key: &str, bytes: u64) -> bool {
        let cut = || self.living.get(key).is_some_and(|there| *there != bytes);
        !self.leaving.contains(key)
            && !self.changed.contains(key)
            && (self.lost.contains(key) || cut())
    }

    fn is_living(&self, key: &str, bytes: u64) -> bool {
        self.living.get(key) == Some(&bytes)
            && !self.leaving.contains(key)
            && !self.changed.contains(key)
    }

    /// What stays of a group; `None` if its parity cannot be used for what stays, or nothing does.
    fn keep(&self, number: usize, homes: &HashMap<&str, usize>) -> Option<Stays> {
        let known = self.groups.get(number)?;
        let group = known.group;
        let class = group.class()?;
        let fits = known.is_sound
            && (group.data, group.parity) == (self.scheme.data(), self.scheme.parity())
            && group.block_bytes == class.block_bytes();
        // What is gone cannot be taken out of the parity.
        let is_there =
            |key: &str, bytes| self.there.get(key) == Some(&bytes) && !self.changed.contains(key);
        if !fits || !group.members.iter().all(|m| is_there(&m.key, m.bytes)) {
            return None;
        }
        let stays = group
            .members
            .iter()
            .filter(|m| homes.get(m.key.as_str()) == Some(&number));
        let slots: BTreeMap<_, _> = stays.map(|m| (m.slot, (m.key.clone(), m.bytes))).collect();
        (!slots.is_empty()).then_some(Stays {
            number,
            class,
            is_changed: slots.len() < group.members.len(),
            slots,
        })
    }

    fn step(&self, base: Option<usize>, class: Class, slots: BTreeMap<u8, (String, u64)>) -> Step {
        Step {
            base,
            data: self.scheme.data(),
            parity: self.scheme.parity(),
            block_bytes: class.block_bytes(),
            members: slots
                .into_iter()
                .map(|(slot, (key, bytes))| (slot, key, bytes))
                .collect(),
        }
    }
}

/// The one group that each living member is counted to. Two may have it after an interrupted run, or two at once: the
/// one that protects more of what is living, so that whoever looks decides alike.
fn homes<'a>(facts: &'a Facts<'_>) -> HashMap<&'a str, usize> {
    let living = |known: &KnownGroup<'_>| {
        let members = known.group.members.iter();
        members.filter(|m| facts.is_living(&m.key, m.bytes)).count()
    };
    let mut order: Vec<_> = (0..facts.groups.len()).collect();
    order.sort_by_key(|&number| {
        let known = &facts.groups[number];
        (std::cmp::Reverse((known.is_sound, living(known))), known.id)
    });
    let mut homes = HashMap::new();
    for number in order {
        for member in &facts.groups[number].group.members {
            if facts.is_living(&member.key, member.bytes) {
                homes.entry(member.key.as_str()).or_insert(number);
            }
        }
    }
    homes
}

/// Gives up groups of few members whose members others have room for, so that parity does not pile up.
fn dissolve_sparse<'a>(
    facts: &'a Facts<'_>,
    stays: &mut Vec<Stays>,
    covered: &mut HashSet<&'a str>,
    plan: &mut Plan,
) {
    let mut at = 0;
    while at < stays.len() {
        let group = &stays[at];
        let others = stays
            .iter()
            .enumerate()
            .filter(|(other, g)| *other != at && g.class == group.class);
        let room: usize = others.map(|(_, other)| other.free(facts.scheme)).sum();
        let is_sparse = group.slots.len() * SPARSE_PART <= usize::from(facts.scheme.data());
        if is_sparse && room >= group.slots.len() {
            let group = stays.remove(at);
            for (key, _) in group.slots.values() {
                covered.remove(key.as_str());
            }
            plan.replaced.push(group.number);
        } else {
            at += 1;
        }
    }
}

/// Files that no group protects, by class.
fn pools(
    facts: &Facts<'_>,
    covered: &HashSet<&str>,
    plan: &mut Plan,
) -> BTreeMap<Class, Vec<(String, u64)>> {
    let mut pools: BTreeMap<Class, Vec<(String, u64)>> = BTreeMap::new();
    for (key, bytes) in &facts.living {
        if covered.contains(key) || facts.leaving.contains(*key) {
            continue;
        }
        match kind::class(key, *bytes) {
            Some(class) => pools
                .entry(class)
                .or_default()
                .push(((*key).to_owned(), *bytes)),
            None if *bytes > kind::MOST_MEMBER_BYTES => plan.too_long.push((*key).to_owned()),
            None => {}
        }
    }
    pools
}

/// Full groups of what is many; the rest where there is room, or in a group of its own.
fn place(
    scheme: ParityScheme,
    class: Class,
    pool: Vec<(String, u64)>,
    stays: &mut [Stays],
    plan: &mut Plan,
) {
    let data = usize::from(scheme.data());
    let mut groups: Vec<Vec<(String, u64)>> = Vec::new();
    let full = pool.len() / data * data;
    groups.extend(pool[..full].chunks(data).map(<[_]>::to_vec));
    // From the end is taken, so that order stays.
    let mut rest: Vec<_> = pool[full..].iter().rev().cloned().collect();
    let mut open: Vec<&mut Stays> = stays
        .iter_mut()
        .filter(|group| group.class == class && group.free(scheme) > 0)
        .collect();
    open.sort_by_key(|group| {
        (
            !group.is_changed,
            std::cmp::Reverse(group.free(scheme)),
            group.number,
        )
    });
    for group in open {
        if rest.is_empty() {
            break;
        }
        group.fill(scheme, &mut rest);
    }
    rest.reverse();
    groups.extend((!rest.is_empty()).then_some(rest));
    plan.steps.extend(groups.into_iter().map(|members| {
        Step {
            base: None,
            data: scheme.data(),
            parity: scheme.parity(),
            block_bytes: class.block_bytes(),
            members: (0..)
                .zip(members)
                .map(|(slot, (key, bytes))| (slot, key, bytes))
                .collect(),
        }
    }));
}

#[cfg(test)]
mod tests;
