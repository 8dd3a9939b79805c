//! Decisions over made-up vaults.

use super::*;
use crate::parity::object::{Checksums, Member};

const BYTES: u64 = 9 << 20;

fn scheme() -> ParityScheme {
    ParityScheme::new(4, 2).unwrap()
}

fn key(number: u32) -> String {
    let id = Id::of(&number.to_le_bytes()).to_string();
    format!("data/{}/{id}", &id[..2])
}

/// A vault of made-up packs.
struct World {
    there: BTreeMap<String, u64>,
    groups: Vec<Group>,
    lost: BTreeSet<String>,
    leaving: HashSet<String>,
    unsound: HashSet<usize>,
}

impl World {
    fn of(packs: impl IntoIterator<Item = u32>) -> Self {
        Self {
            there: packs
                .into_iter()
                .map(|number| (key(number), BYTES))
                .collect(),
            groups: Vec::new(),
            lost: BTreeSet::new(),
            leaving: HashSet::new(),
            unsound: HashSet::new(),
        }
    }

    fn add(&mut self, packs: std::ops::Range<u32>) {
        self.there.extend(packs.map(|number| (key(number), BYTES)));
    }

    fn decide(&self) -> Plan {
        let known = |(number, group): (usize, &'_ Group)| {
            (group.id().unwrap(), !self.unsound.contains(&number))
        };
        let changed = HashSet::new();
        let facts = Facts {
            scheme: scheme(),
            groups: self
                .groups
                .iter()
                .enumerate()
                .map(|(number, group)| {
                    let (id, is_sound) = known((number, group));
                    KnownGroup {
                        id,
                        group,
                        is_sound,
                    }
                })
                .collect(),
            living: self
                .there
                .iter()
                .map(|(key, bytes)| (key.as_str(), *bytes))
                .collect(),
            there: &self.there,
            lost: self.lost.clone(),
            leaving: &self.leaving,
            changed: &changed,
        };
        decide(&facts)
    }

    /// Does what was decided.
    fn apply(&mut self, plan: &Plan) {
        let made = plan.steps.iter().map(|step| Group {
            data: step.data,
            parity: step.parity,
            block_bytes: step.block_bytes,
            members: step
                .members
                .iter()
                .map(|(slot, key, bytes)| Member {
                    slot: *slot,
                    key: key.clone(),
                    bytes: *bytes,
                    sha256: Id::of(key.as_bytes()),
                    blocks: Checksums(vec![0; 144]),
                })
                .collect(),
        });
        let kept = plan.kept.iter().map(|number| self.groups[*number].clone());
        self.groups = made.chain(kept).collect();
        self.unsound.clear();
    }

    /// That every pack that stays is in one group, and that nothing is left to do.
    fn assert_settled(&self) {
        let mut seen: HashMap<&str, usize> = HashMap::new();
        for member in self.groups.iter().flat_map(|group| &group.members) {
            *seen.entry(&member.key).or_default() += 1;
        }
        for key in self.there.keys() {
            let expected = usize::from(!self.leaving.contains(key));
            assert_eq!(
                seen.get(key.as_str()).copied().unwrap_or(0),
                expected,
                "{key}"
            );
        }
        let again = self.decide();
        assert!(
            again.steps.is_empty() && again.replaced.is_empty(),
            "{again:?}"
        );
    }
}

#[test]
fn every_file_is_in_one_group_and_then_nothing_is_left_to_do() {
    for packs in [0, 1, 3, 4, 5, 9, 40] {
        let mut world = World::of(0..packs);
        let plan = world.decide();
        assert_eq!(plan.steps.len(), packs.div_ceil(4) as usize);
        world.apply(&plan);
        world.assert_settled();
    }
}

#[test]
fn new_files_fill_the_open_group_and_leave_full_ones_alone() {
    let mut world = World::of(0..6);
    world.apply(&world.decide());
    world.add(6..7);
    let plan = world.decide();
    assert_eq!((plan.steps.len(), plan.kept.len()), (1, 1));
    assert!(plan.steps[0].base.is_some());
    world.apply(&plan);
    world.assert_settled();
}

#[test]
fn what_leaves_is_taken_out_while_it_is_there_and_others_fill_its_place() {
    let mut world = World::of(0..8);
    world.apply(&world.decide());
    world.leaving.insert(key(0));
    world.add(8..9);
    let plan = world.decide();
    assert_eq!(
        (plan.steps.len(), plan.kept.len(), plan.replaced.len()),
        (1, 1, 1)
    );
    assert!(plan.steps[0].base.is_some());
    world.apply(&plan);
    world.assert_settled();
}

#[test]
fn a_group_that_lost_a_file_for_good_is_made_anew_from_the_others() {
    let mut world = World::of(0..8);
    world.apply(&world.decide());
    world.there.remove(&key(3));
    let plan = world.decide();
    assert_eq!(plan.steps.len(), 1);
    assert_eq!((plan.steps[0].base, plan.steps[0].members.len()), (None, 3));
    world.apply(&plan);
    world.assert_settled();
}

#[test]
fn a_group_that_may_bring_back_what_is_lost_stays_as_it_is() {
    for is_cut in [true, false] {
        let mut world = World::of(0..8);
        world.apply(&world.decide());
        if is_cut {
            world.there.insert(key(3), 5);
        } else {
            world.there.remove(&key(3));
            world.lost.insert(key(3));
        }
        world.unsound.extend([0, 1]);
        let frozen = world
            .groups
            .iter()
            .position(|group| group.member(&key(3)).is_some());
        assert_eq!(world.decide().kept, [frozen.unwrap()], "{is_cut}");
    }
}

#[test]
fn of_two_groups_with_the_same_file_one_is_chosen() {
    let mut world = World::of(0..4);
    let plan = world.decide();
    world.apply(&plan);
    let mut other = world.groups[0].clone();
    other.members.pop();
    world.groups.push(other);
    let plan = world.decide();
    assert_eq!(
        (plan.kept.as_slice(), plan.replaced.as_slice()),
        ([0].as_slice(), [1].as_slice())
    );
    world.apply(&plan);
    world.assert_settled();
}

#[test]
fn groups_of_few_are_joined() {
    let mut world = World::of(0..16);
    world.apply(&world.decide());
    let gone: Vec<String> = world
        .groups
        .iter()
        .flat_map(|g| g.members[1..].iter().map(|m| m.key.clone()))
        .collect();
    world.leaving.extend(gone);
    let plan = world.decide();
    world.apply(&plan);
    assert_eq!(world.groups.len(), 1);
    world.assert_settled();
}
