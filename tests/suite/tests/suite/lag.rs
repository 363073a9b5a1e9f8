//! A way to the API server on which watches lag: answers pass at once, what comes unasked comes late.

use crate::proxy::{Fate, Proxy, Rules};
use crate::scene::{Scene, pass_time};
use anyhow::Result;
use kybern_testcluster::Stopwatch;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How late.
const LAG: Duration = Duration::from_millis(500);
/// Bytes that come this long after the last of a request are no answer to it.
const UNASKED: Duration = Duration::from_millis(100);

/// Makes the host of a scene, when it is started, see its watches late.
pub(crate) fn lagging_watches(scene: &Scene) -> Result<()> {
    Proxy::start(scene, || Some(rules()))?.lead(scene)?;
    Ok(())
}

fn rules() -> Rules {
    let asked = Arc::new(Mutex::new(Stopwatch::start()));
    let asks = Arc::clone(&asked);
    Rules {
        asked: Box::new(move || {
            *asks.lock().unwrap() = Stopwatch::start();
            Ok(Fate::Pass)
        }),
        answered: Box::new(move || {
            let since = asked.lock().unwrap().elapsed();
            if since > UNASKED {
                pass_time(LAG)?;
            }
            Ok(Fate::Pass)
        }),
    }
}
