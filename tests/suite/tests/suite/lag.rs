//! A way to the API server on which watches lag: answers pass at once, what comes unasked comes late.

use crate::scene::{Scene, pass_time};
use anyhow::Result;
use kybern_testcluster::Stopwatch;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How late.
const LAG: Duration = Duration::from_millis(500);
/// Bytes that come this long after the last of a request are no answer to it.
const UNASKED: Duration = Duration::from_millis(100);

/// Makes the host of a scene, when it is started, see its watches late.
pub(crate) fn lagging_watches(scene: &Scene) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let near = format!("https://{}", listener.local_addr()?);
    let far = scene.plane.url();
    let file = scene.plane.kubeconfig(&scene.user)?;
    let text = std::fs::read_to_string(&file)?;
    anyhow::ensure!(text.contains(&far), "{text}");
    std::fs::write(&file, text.replace(&far, &near))?;
    let far = far.trim_start_matches("https://").to_owned();
    // Ends with the process, like the connections.
    std::thread::spawn(move || {
        for near in listener.incoming().flatten() {
            if let Ok(far) = TcpStream::connect(&far) {
                let _ = join(near, far);
            }
        }
    });
    Ok(())
}

/// Copies both ways, each on a thread of its own.
fn join(near: TcpStream, far: TcpStream) -> Result<()> {
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let asked = Arc::new(Mutex::new(Stopwatch::start()));
    let (to_far, to_near) = (far.try_clone()?, near.try_clone()?);
    let asks = Arc::clone(&asked);
    std::thread::spawn(move || {
        copy(near, to_far, || {
            *asks.lock().unwrap() = Stopwatch::start();
            Ok(())
        })
    });
    std::thread::spawn(move || {
        copy(far, to_near, || {
            let since = asked.lock().unwrap().elapsed();
            if since > UNASKED {
                pass_time(LAG)
            } else {
                Ok(())
            }
        })
    });
    Ok(())
}

/// Copies until one side ends; calls `before` each piece.
fn copy(mut from: TcpStream, mut to: TcpStream, before: impl Fn() -> Result<()>) -> Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut buffer).unwrap_or_default();
        if read == 0 {
            let _ = to.shutdown(Shutdown::Both);
            return Ok(());
        }
        before()?;
        to.write_all(&buffer[..read])?;
    }
}
