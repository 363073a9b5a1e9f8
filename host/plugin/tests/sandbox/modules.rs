//! Core modules of the host's own: compiled by the child, kept, and ended at their limits.

use crate::guest::child;
use kybern_plugin::{
    Code, CompileLimits, Compiler, LoadError, ModuleError, ModuleLimits, Modules, ModulesConfig,
};
use std::time::Duration;
use wasmtime::Instance;

const MODULE: &str = r#"(module
    (memory (export "memory") 1)
    (func (export "answer") (result i32) (i32.const 42))
    (func (export "spin") (result i32) (loop (br 0)) (unreachable))
    (func (export "grow") (result i32) (memory.grow (i32.const 100)))
    (func $deep (export "deep") (result i32) (call $deep) (drop) (i32.const 0))
    (func (export "trap") (result i32) (unreachable)))"#;

const LIMITS: ModuleLimits = ModuleLimits {
    memory: 1 << 20,
    time: Duration::from_millis(100),
    wall_time: Duration::from_secs(60),
};

fn modules(cache: &std::path::Path, limits: CompileLimits) -> Modules {
    let config = ModulesConfig {
        cache_dir: Some(cache.join("code")),
        compiler: Compiler::Child(child(limits)),
        ..ModulesConfig::default()
    };
    Modules::new(config).unwrap()
}

#[test]
fn a_module_is_compiled_once_and_each_call_ends_at_its_limits() {
    let cache = tempfile::tempdir().unwrap();
    let wasm = wat::parse_str(MODULE).unwrap();
    let modules = modules(cache.path(), CompileLimits::default());
    let (_, first) = modules.load(&wasm).unwrap();
    let (module, second) = modules.load(&wasm).unwrap();
    assert_eq!((first, second), (Code::Compiled, Code::Cached));
    let call = |name: &str| {
        modules.run((), LIMITS, |store| {
            let instance = Instance::new(&mut *store, &module, &[])?;
            let function = instance.get_typed_func::<(), i32>(&mut *store, name)?;
            function.call(&mut *store, ())
        })
    };
    assert_eq!(call("answer").unwrap(), 42);
    let told = ["spin", "grow", "deep", "trap"].map(|name| call(name).unwrap_err());
    assert!(
        matches!(
            &told,
            [
                ModuleError::OutOfTime { .. },
                ModuleError::OutOfMemory { limit: 0x10_0000 },
                ModuleError::OutOfStack { limit: 0x20_0000 },
                ModuleError::Ended(_),
            ]
        ),
        "{told:?}"
    );
    assert_eq!(call("answer").unwrap(), 42);
    assert_eq!(modules.memory_bytes(), 0);
}

#[test]
fn a_module_is_refused_by_its_compiler_and_at_its_limits() {
    let cache = tempfile::tempdir().unwrap();
    let wasm = wat::parse_str(MODULE).unwrap();
    let limits = CompileLimits {
        code: 100,
        ..CompileLimits::default()
    };
    let error = modules(cache.path(), limits).load(&wasm).unwrap_err();
    assert!(matches!(error, LoadError::TooDear(_)), "{error}");
    let component = wat::parse_str("(component)").unwrap();
    let error = modules(cache.path(), CompileLimits::default())
        .load(&component)
        .unwrap_err();
    assert!(matches!(error, LoadError::Compile { .. }), "{error}");
}
