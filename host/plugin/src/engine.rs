//! The engine: what guests may use of WebAssembly, and where their instances live.

use crate::runtime::{RuntimeConfig, RuntimeError};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

/// Core instances of one component. Interpreters are linked from some dozens.
const CORE_INSTANCES: u32 = 64;
const MEMORIES: u32 = 4;
const TABLES: u32 = 16;
const TABLE_ELEMENTS: usize = 20_000;
/// Bytes of a memory that stay resident when its instance is gone: what a small guest touches.
const KEEP_RESIDENT: usize = 512 * 1024;
const INSTANCE_BYTES: usize = 4 * 1024 * 1024;
/// Without a pool address space is scarce: memories start small and may move.
const SMALL_RESERVATION: u64 = 16 * 1024 * 1024;
const SMALL_GUARD: u64 = 64 * 1024;

/// Where instances live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allocation {
    /// In a pool that was reserved at start.
    Pooling,
    /// Mapped for each call: the address space is too small for a pool.
    OnDemand,
}

/// The engine, with a pool if the address space has room for it.
pub(crate) fn engine(config: &RuntimeConfig) -> Result<(Engine, Allocation), RuntimeError> {
    let mut pooling = settings(config.max_stack);
    pooling.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(config)));
    match Engine::new(&pooling) {
        Ok(engine) => Ok((engine, Allocation::Pooling)),
        Err(error) => {
            tracing::warn!(
                instances = config.instances,
                effects = config.effects,
                error = format!("{error:#}"),
                "no room for a pool of plugin instances; each call maps its own memory"
            );
            match Engine::new(&on_demand(config.max_stack)) {
                Ok(engine) => Ok((engine, Allocation::OnDemand)),
                Err(error) => Err(RuntimeError::Engine {
                    reason: format!("{error:#}"),
                }),
            }
        }
    }
}

/// An engine whose code is that of [`engine`], and which runs nothing: a pool decides about no code.
pub(crate) fn for_compiling(scarce: bool, max_stack: usize) -> wasmtime::Result<Engine> {
    let settings = match scarce {
        true => on_demand(max_stack),
        false => settings(max_stack),
    };
    Engine::new(&settings)
}

fn on_demand(max_stack: usize) -> Config {
    let mut on_demand = settings(max_stack);
    on_demand
        .allocation_strategy(InstanceAllocationStrategy::OnDemand)
        .memory_reservation(SMALL_RESERVATION)
        .memory_reservation_for_growth(SMALL_RESERVATION)
        .memory_guard_size(SMALL_GUARD)
        .guard_before_linear_memory(false);
    on_demand
}

/// Everything that makes a hook a pure function, and nothing that is not needed.
fn settings(max_stack: usize) -> Config {
    let mut settings = Config::new();
    settings
        .wasm_component_model(true)
        .concurrency_support(false)
        .epoch_interruption(true)
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        .max_wasm_stack(max_stack);
    settings
}

/// Room for as many components as the gate lets in, whatever they are made of.
fn pool(config: &RuntimeConfig) -> PoolingAllocationConfig {
    let instances = config.instances.saturating_add(config.effects);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .max_component_instance_size(INSTANCE_BYTES)
        .total_core_instances(instances.saturating_mul(CORE_INSTANCES))
        .max_core_instances_per_component(CORE_INSTANCES)
        .max_core_instance_size(INSTANCE_BYTES)
        .total_memories(instances.saturating_mul(MEMORIES))
        .max_memories_per_component(MEMORIES)
        .max_memory_size(config.max_memory)
        .total_tables(instances.saturating_mul(TABLES))
        .max_tables_per_component(TABLES)
        .max_tables_per_module(TABLES)
        .table_elements(TABLE_ELEMENTS)
        .linear_memory_keep_resident(KEEP_RESIDENT)
        .table_keep_resident(KEEP_RESIDENT)
        .pagemap_scan(Enabled::Auto);
    pool
}
