//! Joins without what answers the sets that they do not answer.

use kybern_table::Snapshot;

use super::rewrite::rewrite;
use super::sets::{Sets, parameters, values};
use super::{Alike, Trouble};
use crate::bind::{Values, bind};
use crate::{Answer, Engine, Param, Prepared, SqlError};

impl Engine {
    /// The answers of one join, or why there are none: what the sets alone are answered is not
    /// asked. All sets must fit the statement.
    pub(crate) async fn execute_joined(
        &self,
        prepared: &Prepared,
        sets: &[Vec<Param>],
        snapshot: &Snapshot,
    ) -> Result<Vec<Result<Answer, SqlError>>, String> {
        let batch = each(prepared, sets);
        let answers = self.join(prepared, &batch, snapshot).await;
        answers.map_err(|trouble| match trouble {
            Trouble::Ended(error) => error.to_string(),
            Trouble::TooMuch => "too much".to_owned(),
            Trouble::Alone(why) => why,
        })
    }

    /// The physical plan of a join.
    pub(crate) async fn joined_plan(
        &self,
        prepared: &Prepared,
        sets: &[Vec<Param>],
        snapshot: &Snapshot,
    ) -> String {
        let values = each(prepared, sets).into_iter().map(|alike| alike.values);
        let sets = Sets::new(parameters(&prepared.planned.plan), values.collect()).unwrap();
        let plan = rewrite(&prepared.planned.plan, &sets).unwrap();
        let values = Values {
            params: &[],
            now: None,
            room: None,
        };
        let namespace = prepared.namespace.as_ref();
        let plan = bind(&plan, values, snapshot, namespace, None, Vec::new()).unwrap();
        let (_ticket, end) = self.begin();
        let plan = self.physical_of(plan, &end).await.unwrap();
        let shown = datafusion::physical_plan::display::DisplayableExecutionPlan::new(&*plan);
        shown.indent(false).to_string()
    }
}

fn each(prepared: &Prepared, sets: &[Vec<Param>]) -> Vec<Alike> {
    let parameters = parameters(&prepared.planned.plan);
    let of = |(place, params): (usize, &Vec<Param>)| Alike {
        values: values(&parameters, params).unwrap(),
        places: vec![place],
    };
    sets.iter().enumerate().map(of).collect()
}
