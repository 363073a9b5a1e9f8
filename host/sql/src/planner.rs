//! From a statement to an optimised logical plan that knows no snapshot and no
//! parameter values: what the plan cache keeps.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::catalog::default_table_source::provider_as_source;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchemaRef, Result, TableReference, plan_datafusion_err};
use datafusion::execution::SessionState;
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner};
use datafusion::logical_expr::{
    AggregateUDF, Cast, Expr, ExprSchemable, HigherOrderUDF, LogicalPlan, LogicalPlanBuilder,
    ScalarUDF, TableSource, TryCast, WindowUDF,
};
use datafusion::sql::planner::{ParserOptions, SqlToRel};
use kybern_statement::{Kind, Rewritten, TableUse, ast, parse};
use kybern_table::KindKey;

use crate::SqlError;
use crate::access::Grants;
use crate::answer::Layout;
use crate::catalog::Catalog;
use crate::functions::Functions;
use crate::growth;
use crate::in_list;
use crate::lane::{Lane, lane};
use crate::names::Granted;
use crate::now::{NOW, Now, now_type};
use crate::read_set::Reads;
use crate::source::KindSource;
use crate::spans::by_length;
use crate::subqueries;
use crate::system::{SystemSource, SystemTable};

/// A planned statement.
#[derive(Debug)]
pub(crate) struct Planned {
    pub kind: Kind,
    /// Optimised; without snapshot and parameter values.
    pub plan: LogicalPlan,
    pub lane: Lane,
    pub reads: Reads,
    /// The tables that it names, each once.
    pub tables: Vec<(KindKey, String)>,
    pub parameters: usize,
    /// Of its answers.
    pub layout: Layout,
    pub arbitrary_limit: bool,
    pub uses_now: bool,
    pub reads_system_tables: bool,
}

/// Plans a statement for one asker.
pub(crate) fn plan(
    sql: &str,
    catalog: &Arc<Catalog>,
    grants: &Grants,
    state: &SessionState,
    functions: &Functions,
) -> Result<Planned, SqlError> {
    let statement = parse(sql)?;
    let rewritten = statement.rewrite(&Granted { catalog, grants })?;
    plan_rewritten(
        statement.kind(),
        rewritten,
        catalog,
        grants,
        state,
        functions,
    )
}

/// Plans a statement whose names were resolved with the same catalog and grants.
pub(crate) fn plan_rewritten(
    kind: Kind,
    rewritten: Rewritten,
    catalog: &Arc<Catalog>,
    grants: &Grants,
    state: &SessionState,
    functions: &Functions,
) -> Result<Planned, SqlError> {
    let sources = Sources::new(&rewritten, catalog, grants)?;
    let tables = sources.kinds.clone();
    let reads_system_tables = sources.system;
    let Rewritten {
        query,
        parameters,
        ordered,
        arbitrary_limit,
        ..
    } = rewritten;
    let context = Context {
        sources,
        state,
        functions,
    };
    let options = ParserOptions::new()
        .with_enable_ident_normalization(true)
        .with_parse_float_as_decimal(false);
    let plan = SqlToRel::new_with_options(&context, options)
        .sql_statement_to_plan(ast::Statement::Query(query))
        .and_then(|plan| subqueries::check(&plan).map(|()| plan))
        .and_then(bind_now)
        .and_then(|(plan, uses_now)| Ok((optimise(plan, state)?, uses_now)));
    let (plan, uses_now) = plan.map_err(|error| SqlError::planning(&error))?;
    Ok(Planned {
        kind,
        lane: lane(&plan, state.execution_props()),
        reads: Reads::of(&plan),
        layout: Layout::new(plan.schema().as_arrow(), ordered),
        plan,
        tables,
        parameters,
        arbitrary_limit,
        uses_now,
        reads_system_tables,
    })
}

/// The tables of one statement, each with every path that the statement uses of it.
struct Sources {
    by_name: HashMap<(String, String), Arc<dyn TableSource>>,
    kinds: Vec<(KindKey, String)>,
    system: bool,
}

impl Sources {
    fn new(
        rewritten: &Rewritten,
        catalog: &Arc<Catalog>,
        grants: &Grants,
    ) -> Result<Self, SqlError> {
        let mut all: BTreeMap<(String, String), TableUse> = BTreeMap::new();
        for used in &rewritten.tables {
            let name = (used.shape.schema.clone(), used.name());
            let known = all.entry(name).or_insert_with(|| used.clone());
            known.paths.extend(used.paths.clone());
            known.elements.extend(used.elements.clone());
        }
        let mut sources = Self {
            by_name: HashMap::new(),
            kinds: Vec::new(),
            system: false,
        };
        for ((schema, name), used) in all {
            let table = used.shape.table.clone();
            let source: Arc<dyn TableSource> = match SystemTable::named(&schema, &table) {
                Some(system) if !system.exists_for(grants) => {
                    return Err(SqlError::Internal {
                        message: format!("{schema}.{table} was resolved but is not granted"),
                    });
                }
                Some(system) => {
                    sources.system = true;
                    let catalog = Arc::clone(catalog);
                    provider_as_source(Arc::new(SystemSource::new(system, catalog, grants.clone())))
                }
                None => {
                    // Resolution has looked at the grants already; this is the second lock.
                    let found = catalog.named(&schema, &table);
                    let granted = found.and_then(|t| Some((t, grants.scope(t.key())?.clone())));
                    let Some((found, scope)) = granted else {
                        return Err(SqlError::Internal {
                            message: format!("{schema}.{table} was resolved but is not granted"),
                        });
                    };
                    let kind = (found.key().clone(), found.full_name());
                    if !sources.kinds.contains(&kind) {
                        sources.kinds.push(kind);
                    }
                    let source = KindSource::new(Arc::clone(found), &used.paths, scope);
                    let source = source.with_lists(&used.unnested, &used.elements);
                    provider_as_source(Arc::new(source))
                }
            };
            sources.by_name.insert((schema, name), source);
        }
        Ok(sources)
    }
}

/// What DataFusion's planner may know: these tables, these functions.
struct Context<'a> {
    sources: Sources,
    state: &'a SessionState,
    functions: &'a Functions,
}

impl ContextProvider for Context<'_> {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        let key = (
            name.schema().unwrap_or_default().to_owned(),
            name.table().to_owned(),
        );
        self.sources
            .by_name
            .get(&key)
            .cloned()
            .ok_or_else(|| plan_datafusion_err!("there is no table {name}"))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        self.state.expr_planners()
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.functions.scalar.get(name).cloned()
    }

    fn get_higher_order_meta(&self, _: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.functions.aggregate.get(name).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.functions.window.get(name).cloned()
    }

    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        self.state.config_options()
    }

    fn udf_names(&self) -> Vec<String> {
        self.functions.scalar.keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.functions.aggregate.keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        self.functions.window.keys().cloned().collect()
    }
}

/// Replaces `now()` by a parameter and gives every parameter a type.
fn bind_now(plan: LogicalPlan) -> Result<(LogicalPlan, bool)> {
    let mut uses_now = false;
    let plan = plan.transform_up_with_subqueries(|node| {
        // A LIMIT is a number; elsewhere a parameter that nothing gives a type is text.
        let untyped = match &node {
            LogicalPlan::Limit(_) => DataType::Int64,
            _ => DataType::Utf8View,
        };
        rewrite_expressions(node, |expr| {
            Ok(match expr {
                Expr::ScalarFunction(call) if call.func.name() == Now::NAME => {
                    uses_now = true;
                    Transformed::yes(placeholder(NOW.to_owned(), now_type()))
                }
                Expr::Placeholder(Placeholder { id, field: None }) => {
                    Transformed::yes(placeholder(id, untyped.clone()))
                }
                other => Transformed::no(other),
            })
        })
    })?;
    let plan = recompute(plan.data)?;
    Ok((plan, uses_now))
}

/// Types of parameters may have changed the types of what is computed from them.
pub(crate) fn recompute(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = plan.transform_up_with_subqueries(|node| {
        Ok(Transformed::yes(match node {
            // Its own schema is kept by `recompute_schema`, also where it was made before the types
            // of its parameters were known.
            LogicalPlan::Values(values) => LogicalPlanBuilder::values(values.values)?.build()?,
            other => other.recompute_schema()?,
        }))
    })?;
    Ok(plan.data)
}

fn placeholder(id: String, data_type: DataType) -> Expr {
    let field = Arc::new(Field::new(&id, data_type, true));
    Expr::Placeholder(Placeholder::new_with_field(id, Some(field)))
}

/// Rewrites the expressions of one node; their names stay.
pub(crate) fn rewrite_expressions(
    node: LogicalPlan,
    mut rewrite: impl FnMut(Expr) -> Result<Transformed<Expr>>,
) -> Result<Transformed<LogicalPlan>> {
    let names = NamePreserver::new(&node);
    node.map_expressions(|expr| {
        let name = names.save(&expr);
        let rewritten = expr.transform_up(&mut rewrite)?;
        Ok(rewritten.update_data(|expr| name.restore(expr)))
    })
}

/// The same for all nodes of a plan, subqueries included.
pub(crate) fn each_expression(
    plan: LogicalPlan,
    mut rewrite: impl FnMut(Expr) -> Result<Transformed<Expr>>,
) -> Result<LogicalPlan> {
    let plan = plan.transform_up_with_subqueries(|node| rewrite_expressions(node, &mut rewrite))?;
    Ok(plan.data)
}

fn optimise(plan: LogicalPlan, state: &SessionState) -> Result<LogicalPlan> {
    let options = Arc::clone(state.config_options());
    let analysed = state
        .analyzer()
        .execute_and_check(plan, &options, |_, _| {})?;
    let lenient = lenient_casts(by_length(analysed)?)?;
    let hidden = growth::hide(in_list::hide(lenient)?)?;
    let optimised = state.optimizer().optimize(hidden, state, |_, _| {})?;
    in_list::reveal(growth::reveal(optimised)?)
}

/// What the expressions of a node are about.
pub(crate) fn inputs(node: &LogicalPlan) -> Vec<DFSchemaRef> {
    match node {
        LogicalPlan::TableScan(scan) => vec![Arc::clone(&scan.projected_schema)],
        other => other
            .inputs()
            .iter()
            .map(|input| Arc::clone(input.schema()))
            .collect(),
    }
}

/// Text that is no number, boolean or timestamp is NULL when it is compared
/// with one, like every other mismatch of a path; constants still fail.
fn lenient_casts(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = plan.transform_up_with_subqueries(|node| {
        let schemas = inputs(&node);
        let is_text = |expr: &Expr| {
            schemas.iter().any(|schema| {
                expr.get_type(schema.as_ref()).is_ok_and(|of| {
                    matches!(
                        of,
                        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
                    )
                })
            })
        };
        rewrite_expressions(node, |expr| {
            Ok(match expr {
                Expr::Cast(Cast { expr, field })
                    if lenient(field.data_type()) && !is_constant(&expr) && is_text(&expr) =>
                {
                    Transformed::yes(Expr::TryCast(TryCast { expr, field }))
                }
                other => Transformed::no(other),
            })
        })
    })?;
    recompute(plan.data)
}

fn lenient(to: &DataType) -> bool {
    to.is_numeric() || to.is_temporal() || *to == DataType::Boolean
}

fn is_constant(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(..) | Expr::Placeholder(_))
}

/// The rows of a scan that exist for the asker, with the source it reads.
pub(crate) fn kind_source(source: &Arc<dyn TableSource>) -> Option<Arc<KindSource>> {
    let provider = datafusion::catalog::default_table_source::source_as_provider(source).ok()?;
    let any: Arc<dyn std::any::Any + Send + Sync> = provider;
    any.downcast::<KindSource>().ok()
}
