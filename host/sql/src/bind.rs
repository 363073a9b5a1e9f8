//! Binds a cached plan to parameter values and one snapshot: one walk.

use std::error::Error;
use std::sync::Arc;

use datafusion::catalog::default_table_source::{provider_as_source, source_as_provider};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::{Expr, LogicalPlan};
use kybern_table::Snapshot;

use crate::growth::{Room, bounded};
use crate::lookup::Lookup;
use crate::now::{NOW, now_type};
use crate::planner::{kind_source, rewrite_expressions};
use crate::source::BoundSource;
use crate::system::SystemSource;
use crate::{HostFacts, Param, SqlError};

/// Values for the parameters of one execution, and what it may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Values<'a> {
    pub params: &'a [Param],
    /// Microseconds since 1970.
    pub now: Option<i64>,
    /// Where functions ask for memory; none where nothing but the plan is wanted.
    pub room: Option<&'a Room>,
}

impl Values<'_> {
    /// The value of a parameter, as the type that the plan gives it.
    pub(crate) fn of(&self, placeholder: &Placeholder) -> Result<ScalarValue, SqlError> {
        let id = &placeholder.id;
        let Some(field) = &placeholder.field else {
            return Err(SqlError::Internal {
                message: format!("parameter {id} has no type"),
            });
        };
        if id == NOW {
            let Some(now) = self.now else {
                return Err(SqlError::Params {
                    message: "now() has no value here: pass the time as a parameter".to_owned(),
                });
            };
            let value = ScalarValue::TimestampMicrosecond(Some(now), Some("UTC".into()));
            return value
                .cast_to(&now_type())
                .map_err(|error| SqlError::execution(&error));
        }
        let number = id
            .strip_prefix('$')
            .and_then(|number| number.parse::<usize>().ok());
        let param = number.and_then(|number| self.params.get(number.checked_sub(1)?));
        match param {
            Some(param) => param.scalar(id, field.data_type()),
            None => Err(SqlError::Params {
                message: format!("parameter {id} has no value"),
            }),
        }
    }

    /// The expression without parameters, whose functions ask for memory.
    pub(crate) fn substitute(&self, expr: Expr) -> Result<Transformed<Expr>> {
        expr.transform_up(|expr| self.one(expr))
    }

    /// The same for the outermost of an expression.
    fn one(&self, expr: Expr) -> Result<Transformed<Expr>> {
        match (expr, self.room) {
            (Expr::Placeholder(placeholder), _) => {
                let value = self.of(&placeholder).map_err(external)?;
                Ok(Transformed::yes(Expr::Literal(value, None)))
            }
            (other, Some(room)) => Ok(bounded(other, Some(room))),
            (other, None) => Ok(Transformed::no(other)),
        }
    }
}

pub(crate) fn external(error: SqlError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// Our own error, when that is what DataFusion's is about, however it is wrapped.
pub(crate) fn own(error: &DataFusionError, other: fn(&DataFusionError) -> SqlError) -> SqlError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(own) = current.downcast_ref::<SqlError>() {
            return own.clone();
        }
        cause = current.source();
    }
    other(error)
}

/// The plan with values for its parameters and a snapshot behind every scan,
/// those of subqueries included. What `partners` knows of each scan, in the
/// order of the plan, goes before its own keys.
pub(crate) fn bind(
    plan: &LogicalPlan,
    values: Values<'_>,
    snapshot: &Snapshot,
    namespace: Option<&Arc<str>>,
    host: Option<&Arc<dyn HostFacts>>,
    partners: Vec<Option<Lookup>>,
) -> Result<LogicalPlan, SqlError> {
    let mut partners = partners.into_iter();
    let bound = plan.clone().transform_up_with_subqueries(|node| {
        let node = bind_scan(node, snapshot, namespace, host, &mut partners)?;
        node.transform_data(|node| rewrite_expressions(node, |expr| values.one(expr)))
    });
    bound
        .map(|bound| bound.data)
        .map_err(|error| own(&error, SqlError::planning))
}

fn bind_scan(
    node: LogicalPlan,
    snapshot: &Snapshot,
    namespace: Option<&Arc<str>>,
    host: Option<&Arc<dyn HostFacts>>,
    partners: &mut impl Iterator<Item = Option<Lookup>>,
) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::TableScan(mut scan) = node else {
        return Ok(Transformed::no(node));
    };
    if let Some(source) = kind_source(&scan.source) {
        let view = view(snapshot, &source)?;
        let namespace = namespace.cloned();
        let source = match partners.next().flatten() {
            Some(partner) => Arc::new(source.with_known(Some(partner))),
            None => source,
        };
        scan.source = provider_as_source(Arc::new(BoundSource {
            source,
            view,
            namespace,
            past: None,
        }));
    } else if let Ok(provider) = source_as_provider(&scan.source)
        && let Some(system) = provider.downcast_ref::<SystemSource>()
    {
        scan.source = provider_as_source(Arc::new(system.bind(snapshot, host)));
    }
    Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
}

/// The table of a source at the snapshot.
pub(crate) fn view(
    snapshot: &Snapshot,
    source: &crate::source::KindSource,
) -> Result<kybern_table::TableView> {
    snapshot.table(source.table.key()).ok_or_else(|| {
        external(SqlError::NotReady {
            table: source.table.key().clone(),
            name: source.table.full_name(),
            reason: "it is not watched yet".to_owned(),
        })
    })
}
