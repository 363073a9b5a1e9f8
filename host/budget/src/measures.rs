//! What is to be done at a reading. Pure.

use crate::reading::Reading;

/// Whether kinds that are not watched yet may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NewTables {
    /// They may.
    #[default]
    Admit,
    /// They are refused until there is room.
    Refuse,
}

/// What becomes of the largest first list that is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BackFill {
    /// It goes on.
    #[default]
    GoOn,
    /// It is stopped, and its table refused until there is room.
    Stop,
}

/// What becomes of the largest statement that runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Queries {
    /// It goes on.
    #[default]
    GoOn,
    /// It is cancelled.
    CancelLargest,
}

/// What is to be done. There is no measure against ingest of kinds that are watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measures {
    /// About kinds that are not watched yet.
    pub tables: NewTables,
    /// Bytes of caches to drop.
    pub evict: u64,
    /// About first lists.
    pub back_fill: BackFill,
    /// About statements.
    pub queries: Queries,
}

impl Measures {
    /// Whether there is nothing to do.
    pub fn are_none(&self) -> bool {
        *self == Measures::default()
    }
}

/// What is dropped of the caches beyond need, as a part of the budget: else each column that is
/// read again would be over it again.
const EVICT_BEYOND: u64 = 16;

/// A statement that holds less than this part of the budget is never cancelled. It would free
/// nothing that counts, and a host whose tables alone exceed the budget would answer nothing.
const WORTH_CANCELLING: u64 = 64;

/// What is to be done at this reading.
pub fn measures(reading: &Reading) -> Measures {
    let over = reading.over();
    if over == 0 {
        return Measures::default();
    }
    let evict = over
        .saturating_add(reading.budget / EVICT_BEYOND)
        .min(reading.caches);
    let mut left = over
        .saturating_sub(reading.caches)
        .saturating_sub(reading.ending);
    let mut measures = Measures {
        tables: NewTables::Refuse,
        evict,
        ..Measures::default()
    };
    if left > 0 && reading.filling > 0 {
        measures.back_fill = BackFill::Stop;
        left = left.saturating_sub(reading.filling);
    }
    let floor = (reading.budget / WORTH_CANCELLING).max(1);
    if left > 0 && reading.largest_query >= floor {
        measures.queries = Queries::CancelLargest;
    }
    measures
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BUDGET: u64 = 6400;

    fn reading(store: u64, queries: u64, caches: u64) -> Reading {
        Reading {
            budget: BUDGET,
            store,
            queries,
            caches,
            largest_query: queries,
            ..Reading::default()
        }
    }

    #[test]
    fn up_to_the_last_byte_nothing_is_done() {
        assert!(measures(&reading(3000, 3000, 400)).are_none());
        assert!(reading(3000, 3000, 400).admits(0));
        assert!(!reading(3000, 3000, 401).admits(0));
    }

    #[test]
    fn caches_go_before_anything_is_stopped() {
        let full = Reading {
            filling: 500,
            ..reading(3000, 3000, 500)
        };
        let wanted = Measures {
            tables: NewTables::Refuse,
            evict: 500,
            ..Measures::default()
        };
        assert_eq!(measures(&full), wanted);
        // A little more than needed, so that the next column that is read does not evict again.
        assert_eq!(measures(&reading(3000, 3000, 3000)).evict, 2600 + 400);
        assert_eq!(measures(&reading(0, 0, 6401)).evict, 401);
    }

    #[test]
    fn a_back_fill_goes_before_a_query_and_both_where_one_is_not_enough() {
        let over = |filling| Reading {
            filling,
            ..reading(4000, 3000, 0)
        };
        assert_eq!(measures(&over(600)).back_fill, BackFill::Stop);
        assert_eq!(measures(&over(600)).queries, Queries::GoOn);
        assert_eq!(measures(&over(599)).queries, Queries::CancelLargest);
        assert_eq!(measures(&over(0)).back_fill, BackFill::GoOn);
    }

    #[test]
    fn no_second_query_is_cancelled_while_the_first_still_holds_enough() {
        let ending = |ending| Reading {
            ending,
            largest_query: 1000,
            ..reading(4000, 3000, 0)
        };
        assert_eq!(measures(&ending(600)).queries, Queries::GoOn);
        assert_eq!(measures(&ending(599)).queries, Queries::CancelLargest);
    }

    #[test]
    fn a_host_whose_tables_alone_exceed_the_budget_still_answers_small_questions() {
        let large = |largest_query| Reading {
            largest_query,
            ..reading(9000, 500, 0)
        };
        assert_eq!(measures(&large(99)).queries, Queries::GoOn);
        assert_eq!(measures(&large(100)).queries, Queries::CancelLargest);
    }

    /// What a host holds, piece by piece.
    #[derive(Clone, Debug)]
    struct Host {
        budget: u64,
        tables: u64,
        fillings: Vec<u64>,
        queries: Vec<u64>,
        guests: u64,
        caches: u64,
    }

    impl Host {
        fn reading(&self) -> Reading {
            let largest = |of: &Vec<u64>| of.iter().copied().max().unwrap_or_default();
            Reading {
                budget: self.budget,
                store: self.tables + self.fillings.iter().sum::<u64>(),
                queries: self.queries.iter().sum(),
                guests: self.guests,
                caches: self.caches,
                filling: largest(&self.fillings),
                largest_query: largest(&self.queries),
                ending: 0,
            }
        }
    }

    fn host() -> impl Strategy<Value = Host> {
        let bytes = || 0..2000_u64;
        let many = || proptest::collection::vec(bytes(), 0..5);
        (1..8000_u64, bytes(), many(), many(), bytes(), bytes()).prop_map(
            |(budget, tables, fillings, queries, guests, caches)| Host {
                budget,
                tables,
                fillings,
                queries,
                guests,
                caches,
            },
        )
    }

    fn remove_largest(of: &mut Vec<u64>) {
        let largest = of.iter().copied().max();
        if let Some(at) = of.iter().position(|bytes| Some(*bytes) == largest) {
            of.remove(at);
        }
    }

    proptest! {
        /// Carried out again and again, the measures come to an end: within the budget, or with
        /// nothing left that may go. What is watched and what guests hold was never touched.
        #[test]
        fn the_measures_end_within_the_budget_or_with_nothing_left_to_give(before in host()) {
            let mut host = before.clone();
            for _ in 0..=12 {
                let reading = host.reading();
                let measures = measures(&reading);
                prop_assert_eq!(measures.tables == NewTables::Refuse, reading.over() > 0);
                prop_assert_eq!(measures.tables == NewTables::Admit, reading.admits(0));
                prop_assert!(measures.evict <= host.caches);
                if measures.queries == Queries::CancelLargest {
                    let rest = reading.over() - host.caches - reading.filling;
                    prop_assert!(rest > 0, "nothing else is enough");
                }
                if measures.are_none() {
                    break;
                }
                host.caches -= measures.evict;
                if measures.back_fill == BackFill::Stop {
                    remove_largest(&mut host.fillings);
                }
                if measures.queries == Queries::CancelLargest {
                    remove_largest(&mut host.queries);
                }
            }
            let reading = host.reading();
            let floor = (host.budget / WORTH_CANCELLING).max(1);
            let given = host.caches == 0 && reading.filling == 0 && reading.largest_query < floor;
            prop_assert!(reading.over() == 0 || given, "{:?} from {:?}", host, before);
            prop_assert_eq!((host.tables, host.guests), (before.tables, before.guests));
        }

        /// A table that does not fit is tried only so often.
        #[test]
        fn the_tries_of_a_table_that_does_not_fit_come_to_an_end(budget in 64..100_000u64, others in 0..100_000u64) {
            let reading = |table| Reading { budget, store: others + table, ..Reading::default() };
            let mut need = 0;
            let mut tries = 0;
            while reading(0).admits(need) {
                tries += 1;
                // It grows until the budget is exceeded, and is stopped there.
                let reached = budget + 1 - others;
                need = reading(reached).need_after(reached);
                prop_assert!(tries <= 1, "twice over the same budget");
            }
        }
    }
}
