//! Makes the engine's module start where its start-up ended: in a tenth of a millisecond.
//!
//! *Why.* Go's runtime and the packages' variables take most of the time of a small render. They are
//! made once, when the module is built, with a chart of nobody's rendered on top, and kept as the
//! module's data.
//!
//! *Contract.* Time and random numbers of the start-up are fixed: the same module gives the same bytes
//! on each machine. What a start-up leaves behind has to be in one memory and in globals that are
//! numbers; a module that has more is refused.
//!
//! *Why not Wizer.* Go's modules have as many data segments as engines take at most, and Wizer adds to
//! them. Leaving one dependency out is the rest.

use crate::wasi::{self, HasWasi, Wasi};
use wasm_encoder::{
    ConstExpr, DataSection, ExportKind, ExportSection, GlobalSection, GlobalType, MemorySection,
    MemoryType, RawSection, ValType,
};
use wasmparser::{BinaryReader, ExternalKind, Parser, Payload, Validator};
use wasmtime::{Config, Engine, Instance, Linker, Module, Store, Val};

/// Called before the snapshot is taken, and gone after it.
const CALLED: [&str; 2] = ["_initialize", "helm_warm_up"];
const MEMORY: &str = "memory";
const STACK: usize = 2 * 1024 * 1024;
/// Numbers of the sections that a snapshot changes.
const MEMORIES: u8 = 5;
const GLOBALS: u8 = 6;
const EXPORTS: u8 = 7;
const DATA: u8 = 11;
/// Zeroes that are cheaper to write than a new segment.
const GAP: usize = 64;

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// It is no module that a snapshot can be taken of.
    #[error("no snapshot can be taken of this module: {0}")]
    Unfit(String),
    /// Its start-up failed.
    #[error("the module's start-up failed: {said}")]
    StartUp {
        /// What it printed.
        said: String,
        /// How it ended.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

fn unfit(why: impl ToString) -> SnapshotError {
    SnapshotError::Unfit(why.to_string())
}

struct State(Wasi);

impl HasWasi for State {
    fn wasi(&mut self) -> &mut Wasi {
        &mut self.0
    }
}

/// The module, started. Blocks, for as long as it takes to compile it.
///
/// # Errors
/// It cannot be done with this module.
pub fn snapshot(module: &[u8]) -> Result<Vec<u8>, SnapshotError> {
    let parts = Parts::read(module)?;
    let started = std::thread::scope(|scope| {
        let started = std::thread::Builder::new()
            .stack_size(3 * STACK)
            .spawn_scoped(scope, || start(&parts))
            .map_err(unfit)?;
        match started.join() {
            Ok(started) => started,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })?;
    let written = parts.write(&started)?;
    Validator::new().validate_all(&written).map_err(unfit)?;
    Ok(written)
}

/// What a start-up leaves behind.
struct Started {
    globals: Vec<Val>,
    memory: Vec<u8>,
}

fn start(parts: &Parts<'_>) -> Result<Started, SnapshotError> {
    let mut config = Config::new();
    config.max_wasm_stack(STACK);
    let engine = Engine::new(&config).map_err(unfit)?;
    let module = Module::new(&engine, parts.opened()).map_err(unfit)?;
    let mut linker = Linker::new(&engine);
    wasi::link(&mut linker, &module).map_err(unfit)?;
    let mut store = Store::new(&engine, State(Wasi::for_snapshot()));
    let run = |store: &mut Store<State>| {
        let instance = linker.instantiate(&mut *store, &module)?;
        for name in CALLED {
            if let Some(function) = instance.get_func(&mut *store, name) {
                function.typed::<(), ()>(&*store)?.call(&mut *store, ())?;
            }
        }
        Ok::<Instance, wasmtime::Error>(instance)
    };
    let instance = run(&mut store).map_err(|source| SnapshotError::StartUp {
        said: store.data().0.said(),
        source: source.into(),
    })?;
    let globals = (0..parts.globals.len())
        .map(|index| {
            let global = instance.get_global(&mut store, &opened_name(index));
            global.map(|global| global.get(&mut store))
        })
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| unfit("a global is hidden"))?;
    let memory = instance.get_memory(&mut store, MEMORY);
    let memory = memory.ok_or_else(|| unfit("it exports no memory"))?;
    Ok(Started {
        globals,
        memory: memory.data(&store).to_vec(),
    })
}

/// The name under which a global is exported while the start-up runs.
fn opened_name(index: usize) -> String {
    format!("snapshot global {index}")
}

/// A module in its sections.
struct Parts<'a> {
    /// Number and contents, in their order.
    sections: Vec<(u8, &'a [u8])>,
    exports: Vec<wasmparser::Export<'a>>,
    globals: Vec<wasmparser::GlobalType>,
    memory: wasmparser::MemoryType,
}

impl<'a> Parts<'a> {
    fn read(module: &'a [u8]) -> Result<Self, SnapshotError> {
        let mut parts = Self {
            sections: Vec::new(),
            exports: Vec::new(),
            globals: Vec::new(),
            memory: wasmparser::MemoryType {
                memory64: false,
                shared: false,
                initial: 0,
                maximum: None,
                page_size_log2: None,
            },
        };
        let mut memories = 0_u32;
        for payload in Parser::new(0).parse_all(module) {
            let payload = payload.map_err(unfit)?;
            match &payload {
                Payload::StartSection { .. } => return Err(unfit("it has a start function")),
                Payload::DataCountSection { .. } => {
                    return Err(unfit("it uses its data after the start"));
                }
                Payload::ImportSection(imports) => {
                    for import in imports.clone().into_imports() {
                        let import = import.map_err(unfit)?;
                        if !matches!(import.ty, wasmparser::TypeRef::Func(_)) {
                            return Err(unfit("it imports what is no function"));
                        }
                    }
                }
                Payload::MemorySection(section) => {
                    for memory in section.clone() {
                        parts.memory = memory.map_err(unfit)?;
                        memories = memories.saturating_add(1);
                    }
                }
                Payload::GlobalSection(section) => {
                    for global in section.clone() {
                        parts.globals.push(global.map_err(unfit)?.ty);
                    }
                }
                Payload::ExportSection(section) => {
                    for export in section.clone() {
                        parts.exports.push(export.map_err(unfit)?);
                    }
                }
                _ => {}
            }
            if let Some((id, range)) = payload.as_section() {
                let contents = module.get(range).ok_or_else(|| unfit("it is cut"))?;
                parts.sections.push((id, contents));
            }
        }
        match memories {
            1 => Ok(parts),
            _ => Err(unfit(format!("it has {memories} memories"))),
        }
    }

    /// The module with its globals exported.
    fn opened(&self) -> Vec<u8> {
        let mut exports = self.exports(&[]);
        for (index, at) in (0..self.globals.len()).zip(0..) {
            exports.export(&opened_name(index), ExportKind::Global, at);
        }
        let exports = body(&exports);
        self.rewritten(|id| (id == EXPORTS).then_some(&exports))
    }

    /// The module as it was when its start-up had ended.
    fn write(&self, started: &Started) -> Result<Vec<u8>, SnapshotError> {
        let globals = self.started_globals(&started.globals)?;
        let data = data(&started.memory)?;
        let memory = self.started_memory(started.memory.len())?;
        let exports = body(&self.exports(&CALLED));
        Ok(self.rewritten(|id| match id {
            MEMORIES => Some(&memory),
            GLOBALS => Some(&globals),
            EXPORTS => Some(&exports),
            DATA => Some(&data),
            _ => None,
        }))
    }

    /// All sections, some of them with other contents.
    fn rewritten<'b>(&self, other: impl Fn(u8) -> Option<&'b Vec<u8>>) -> Vec<u8> {
        let mut module = wasm_encoder::Module::new();
        for (id, contents) in &self.sections {
            let data = other(*id).map_or(*contents, Vec::as_slice);
            module.section(&RawSection { id: *id, data });
        }
        module.finish()
    }

    fn exports(&self, without: &[&str]) -> ExportSection {
        let mut section = ExportSection::new();
        for export in &self.exports {
            let kind = match export.kind {
                ExternalKind::Func | ExternalKind::FuncExact => ExportKind::Func,
                ExternalKind::Table => ExportKind::Table,
                ExternalKind::Memory => ExportKind::Memory,
                ExternalKind::Global => ExportKind::Global,
                ExternalKind::Tag => ExportKind::Tag,
            };
            if !without.contains(&export.name) {
                section.export(export.name, kind, export.index);
            }
        }
        section
    }

    fn started_globals(&self, values: &[Val]) -> Result<Vec<u8>, SnapshotError> {
        let mut section = GlobalSection::new();
        for (kind, value) in self.globals.iter().zip(values) {
            let (val_type, value) = match value {
                Val::I32(value) => (ValType::I32, ConstExpr::i32_const(*value)),
                Val::I64(value) => (ValType::I64, ConstExpr::i64_const(*value)),
                _ => return Err(unfit("it has a global that is no whole number")),
            };
            let kind = GlobalType {
                val_type,
                mutable: kind.mutable,
                shared: false,
            };
            section.global(kind, &value);
        }
        Ok(body(&section))
    }

    fn started_memory(&self, bytes: usize) -> Result<Vec<u8>, SnapshotError> {
        const PAGE: usize = 64 * 1024;
        let mut section = MemorySection::new();
        section.memory(MemoryType {
            minimum: u64::try_from(bytes / PAGE).map_err(unfit)?,
            maximum: self.memory.maximum,
            memory64: false,
            shared: false,
            page_size_log2: None,
        });
        Ok(body(&section))
    }
}

/// What is in a section, without its length.
fn body(section: &impl wasm_encoder::Encode) -> Vec<u8> {
    let mut with_length = Vec::new();
    section.encode(&mut with_length);
    let mut reader = BinaryReader::new(&with_length, 0);
    // A length is always there: it was written the line before.
    let _ = reader.read_var_u32();
    let at = reader.original_position();
    with_length.split_off(at)
}

/// All of a memory that is not zero.
fn data(memory: &[u8]) -> Result<Vec<u8>, SnapshotError> {
    let mut section = DataSection::new();
    let mut at = 0;
    while let Some(run) = next_run(memory, at) {
        let offset = u32::try_from(run.start).map_err(unfit)?.cast_signed();
        let bytes = memory.get(run.clone()).unwrap_or_default();
        section.active(0, &ConstExpr::i32_const(offset), bytes.iter().copied());
        at = run.end;
    }
    Ok(body(&section))
}

/// The next bytes from here that belong together: gaps of zeroes in them are short.
fn next_run(memory: &[u8], from: usize) -> Option<std::ops::Range<usize>> {
    let rest = memory.get(from..)?;
    let start = rest.iter().position(|byte| *byte != 0)?;
    let mut end = start;
    let mut zeroes = 0;
    for (at, byte) in rest.iter().enumerate().skip(start) {
        zeroes = if *byte == 0 { zeroes + 1 } else { 0 };
        if zeroes > GAP {
            break;
        }
        if *byte != 0 {
            end = at.saturating_add(1);
        }
    }
    Some(from.saturating_add(start)..from.saturating_add(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts up in a global and in its memory, and grows.
    const MODULE: &str = r#"(module
        (import "wasi_snapshot_preview1" "clock_time_get" (func $time (param i32 i64 i32) (result i32)))
        (memory (export "memory") 1)
        (global $count (mut i64) (i64.const 40))
        (data (i32.const 65000) "\01")
        (func (export "_initialize")
          (global.set $count (i64.add (global.get $count) (i64.const 1)))
          (drop (call $time (i32.const 0) (i64.const 0) (i32.const 8)))
          (drop (memory.grow (i32.const 1)))
          (i32.store (i32.const 70000) (i32.const 7)))
        (func (export "helm_warm_up") (global.set $count (i64.add (global.get $count) (i64.const 1))))
        (func (export "get") (result i64)
          (i64.add (global.get $count) (i64.load (i32.const 70000)))))"#;

    #[test]
    fn a_snapshot_goes_on_where_the_start_up_ended() {
        let module = wat::parse_str(MODULE).unwrap();
        let taken = snapshot(&module).unwrap();
        assert_eq!(taken, snapshot(&module).unwrap());
        let engine = Engine::default();
        let module = Module::new(&engine, &taken).unwrap();
        let names: Vec<&str> = module.exports().map(|export| export.name()).collect();
        assert_eq!(names, ["memory", "get"]);
        let mut linker = Linker::new(&engine);
        wasi::link(&mut linker, &module).unwrap();
        let mut store = Store::new(&engine, State(Wasi::for_snapshot()));
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let get = instance
            .get_typed_func::<(), i64>(&mut store, "get")
            .unwrap();
        assert_eq!(get.call(&mut store, ()).unwrap(), 42 + 7);
        let memory = instance.get_memory(&mut store, "memory").unwrap();
        assert_eq!((memory.size(&store), memory.data(&store)[65_000]), (2, 1));
    }

    #[test]
    fn what_a_snapshot_would_lose_is_refused() {
        for (module, why) in [
            (
                "(module (memory (export \"memory\") 1) (func $f) (start $f))",
                "a start function",
            ),
            ("(module (memory 1))", "exports no memory"),
            ("(module (memory 1) (memory 1))", "2 memories"),
            (
                "(module (import \"a\" \"g\" (global i32)) (memory 1))",
                "no function",
            ),
            (
                "(module (memory (export \"memory\") 1) (global (mut f32) (f32.const 1)) (export \"f\" (global 0)))",
                "no whole number",
            ),
        ] {
            let error = snapshot(&wat::parse_str(module).unwrap())
                .unwrap_err()
                .to_string();
            assert!(error.contains(why), "{module}: {error}");
        }
    }

    #[test]
    fn a_start_up_that_fails_says_so() {
        let module =
            "(module (memory (export \"memory\") 1) (func (export \"_initialize\") unreachable))";
        let error = snapshot(&wat::parse_str(module).unwrap()).unwrap_err();
        assert!(matches!(error, SnapshotError::StartUp { .. }), "{error}");
    }

    #[test]
    fn runs_hold_all_that_is_not_zero() {
        let mut memory = vec![0; 1_000];
        for at in [3, 50, 200, 999] {
            memory[at] = 1;
        }
        let mut runs = Vec::new();
        let mut at = 0;
        while let Some(run) = next_run(&memory, at) {
            at = run.end;
            runs.push(run);
        }
        assert_eq!(runs, [3..51, 200..201, 999..1_000]);
    }
}
