//! The engine's `Act` over the wasm runtime: act hooks on blocking threads, ended when nobody waits.

use super::decide::{Guests, crashed, document};
use crate::outgoing::{Granted, Secrets};
use async_trait::async_trait;
use kybern_interface::Effect;
use kybern_plugin::{CallLimits, Outgoing, Outside, Stop};
use kybern_reconcile::{Act, Active, Crash, DecideError};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Ends the call when it is dropped: the guest at its next tick, a request at once.
struct Ending {
    stop: Stop,
    requests: CancellationToken,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.stop.stop();
        self.requests.cancel();
    }
}

impl Guests {
    /// What a call has beside a pure one: what is granted, and nothing where nothing is.
    fn outside(&self, active: &Active, effect: &Effect, ending: &Ending) -> Outside {
        let grants = &active.registration.spec.grants;
        let client = self.client().filter(|_| !grants.http.is_empty());
        let outgoing = client.map(|client| -> Arc<dyn Outgoing> {
            let asked = active.manifest.secrets.iter().map(|ask| &*ask.name);
            let namespace = effect.metadata.get("namespace").and_then(Value::as_str);
            let namespace = namespace.map(str::to_owned);
            let secrets = Secrets::new(grants, asked, namespace, self.secrets());
            let (http, stop) = (grants.http.clone(), ending.requests.clone());
            Arc::new(Granted::new(client, http, secrets, stop))
        });
        Outside {
            outgoing,
            stop: ending.stop.clone(),
        }
    }
}

#[async_trait]
impl Act for Guests {
    async fn act(
        &self,
        active: &Active,
        effect: Effect,
        time: Duration,
    ) -> Result<Value, DecideError> {
        let document = document(&effect)?;
        let ending = Ending {
            stop: Stop::default(),
            requests: CancellationToken::new(),
        };
        let outside = self.outside(active, &effect, &ending);
        let call = self.call(active, move |loaded| {
            // It may wait for as long as the effect may take, and compute as long as any hook.
            let limits = CallLimits {
                wall_time: time,
                ..loaded.limits
            };
            loaded.plugin.act(&document, &limits, outside)
        });
        let answer = call.await?;
        serde_json::from_str(&answer)
            .map_err(|error| crashed(Crash::Output, format!("act returned no document: {error}")))
    }
}
