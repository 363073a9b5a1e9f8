//! Makes helm-engine.wasm of what Go compiled: `kybern-helm-snapshot IN.wasm OUT.wasm`.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let mut paths = std::env::args_os().skip(1);
    let (Some(from), Some(to), None) = (paths.next(), paths.next(), paths.next()) else {
        return Err("usage: kybern-helm-snapshot IN.wasm OUT.wasm".into());
    };
    let module = std::fs::read(from)?;
    std::fs::write(to, kybern_helm::snapshot::snapshot(&module)?)?;
    Ok(())
}
