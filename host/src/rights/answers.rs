//! What was answered to rights that were asked for one by one.
//!
//! *Why.* One look asks for so many at most. The next goes on with those that were asked for longest
//! ago, so that several looks together ask for all.
//!
//! *Limits.* One answer for each right that one account needs for one registration.

use kybern_kube::Right;
use std::collections::BTreeMap;

/// What is remembered from look to look of a registration.
#[derive(Debug, Default)]
pub(crate) struct Answered {
    /// Of the host.
    pub(super) host: Answers,
    /// Of the service account.
    pub(super) account: Answers,
}

/// One answer.
#[derive(Debug)]
struct Answer {
    allowed: bool,
    /// Which look asked.
    look: u64,
}

/// Answers to one account.
#[derive(Debug, Default)]
pub(super) struct Answers {
    looks: u64,
    /// The look that began to doubt what rules give.
    doubting: u64,
    all: BTreeMap<Right, Answer>,
}

impl Answers {
    /// Begins a look: which rights to ask for, those first that were asked for longest ago or
    /// never, and of these the ones that no rule gives (`open`). What was answered to others is
    /// forgotten.
    pub(super) fn begin<'a>(
        &mut self,
        open: &[&'a Right],
        doubted: &[&'a Right],
        most: usize,
    ) -> Vec<&'a Right> {
        self.looks = self.looks.saturating_add(1);
        let mut former = std::mem::take(&mut self.all);
        let mut rights: Vec<&Right> = open.iter().chain(doubted).copied().collect();
        let kept = rights
            .iter()
            .filter_map(|right| former.remove_entry(*right));
        self.all = kept.collect();
        // Stable: what no rule gives stays first.
        rights.sort_by_key(|right| self.all.get(*right).map(|answer| answer.look));
        rights.truncate(most);
        rights
    }

    /// From the next look on, what rules give is doubted: what was answered before does not count.
    pub(super) fn doubt(&mut self) {
        self.doubting = self.looks.saturating_add(1);
    }

    /// How many of these were not asked for since they are doubted.
    pub(super) fn unsure(&self, doubted: &[&Right]) -> usize {
        let sure = |right: &Right| {
            let answer = self.all.get(right);
            answer.is_some_and(|answer| answer.look >= self.doubting)
        };
        doubted.iter().filter(|right| !sure(right)).count()
    }

    /// Takes in an answer of this look.
    pub(super) fn note(&mut self, right: &Right, allowed: bool) {
        let look = self.looks;
        self.all.insert(right.clone(), Answer { allowed, look });
    }

    /// Nothing that was answered counts any more.
    pub(super) fn forget(&mut self) {
        self.all.clear();
    }

    /// Those that were refused, in order.
    pub(super) fn missing(&self) -> Vec<Right> {
        let refused = self.all.iter().filter(|(_, answer)| !answer.allowed);
        refused.map(|(right, _)| right.clone()).collect()
    }

    /// How many of these were never asked for.
    pub(super) fn unasked(&self, open: &[&Right]) -> usize {
        let unasked = open.iter().filter(|right| !self.all.contains_key(**right));
        unasked.count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rights() -> Vec<Right> {
        let of = |n: usize| Right {
            group: String::new(),
            resource: format!("r{n}"),
            name: None,
            namespace: None,
            verb: "get",
        };
        (0..5).map(of).collect()
    }

    /// Asks for two of them, and names those.
    fn look(answers: &mut Answers, open: &[&Right], doubted: &[&Right]) -> Vec<String> {
        let asked = answers.begin(open, doubted, 2);
        asked.iter().for_each(|right| {
            answers.note(right, right.resource != "r1");
        });
        asked.iter().map(|right| right.resource.clone()).collect()
    }

    #[test]
    fn several_looks_ask_for_all_and_keep_what_was_answered() {
        let (mut answers, all) = (Answers::default(), rights());
        let open: Vec<&Right> = all.iter().collect();
        assert_eq!(look(&mut answers, &open, &[]), ["r0", "r1"]);
        assert_eq!(answers.unasked(&open), 3);
        assert_eq!(look(&mut answers, &open, &[]), ["r2", "r3"]);
        assert_eq!(answers.missing(), [all[1].clone()]);
        assert_eq!(look(&mut answers, &open, &[]), ["r4", "r0"]);
        assert_eq!(answers.unasked(&open), 0);
        assert_eq!(look(&mut answers, &open, &[]), ["r1", "r2"]);
        // What a rule gives from now on is no longer missing.
        let others = [&all[0], &all[2]];
        look(&mut answers, &others, &[]);
        assert_eq!((answers.missing(), answers.all.len()), (vec![], 2));
    }

    #[test]
    fn what_no_rule_gives_is_asked_for_first_and_holds_nothing_up() {
        let (mut answers, all) = (Answers::default(), rights());
        let (open, doubted) = ([&all[3], &all[4]], [&all[0], &all[1]]);
        assert_eq!(look(&mut answers, &open, &doubted), ["r3", "r4"]);
        assert_eq!(look(&mut answers, &open, &doubted), ["r0", "r1"]);
        assert_eq!(answers.missing(), [all[1].clone()]);
    }
}
