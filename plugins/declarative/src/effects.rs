//! Effects: requests, and what holds a CR until all is done.

use kybern_sdk::http;
use kybern_sdk::{Effect, HookError, Value, json};

/// Bytes of a body that an outcome keeps.
const KEPT: usize = 16 * 1024;

/// Runs one effect.
pub fn act(effect: &Effect) -> Result<Value, HookError> {
    match effect.name.as_str() {
        "http" => request(&effect.input),
        // It holds the CR by being there.
        "unmount" => Ok(json!({})),
        other => Err(HookError::Internal(format!("there is no effect `{other}`"))),
    }
}

fn request(input: &Value) -> Result<Value, HookError> {
    let text = |key: &str| input.get(key).and_then(Value::as_str).unwrap_or_default();
    let mut request = http::request(text("method"), text("url"));
    for (name, value) in input
        .get("headers")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        request = request.header(name, value.as_str().unwrap_or_default());
    }
    request = match input.get("body") {
        None | Some(Value::Null) => request,
        Some(Value::String(body)) => request.body(body.clone()),
        Some(body) => request.json(body)?,
    };
    let secrets = input
        .get("secretHeaders")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let mut held: Option<http::SecretRequest> = None;
    let mut open = Some(request);
    for secret in &secrets {
        let part = |key: &str| {
            secret
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let (name, prefix, secret) = (part("name"), part("prefix"), part("secret"));
        held = match (open.take(), held) {
            (Some(request), _) => Some(request.secret(name, prefix, secret)),
            (None, Some(request)) => Some(request.secret(name, prefix, secret)),
            (None, None) => None,
        };
    }
    let sent = match (held, open) {
        (Some(request), _) => request.send(),
        (None, Some(request)) => request.send(),
        (None, None) => return Err(HookError::Internal("there is no request".to_owned())),
    };
    let response = sent.map_err(HookError::from)?;
    let expected = input
        .get("expect")
        .and_then(Value::as_array)
        .filter(|codes| !codes.is_empty());
    let response = match expected {
        Some(codes)
            if codes
                .iter()
                .any(|code| code.as_u64() == Some(u64::from(response.status))) =>
        {
            response
        }
        Some(_) => {
            return Err(HookError::retry(format!(
                "the server answered {}",
                response.status
            )));
        }
        None => response.success()?,
    };
    let text = response.text();
    let body = match serde_json::from_str::<Value>(&text) {
        _ if text.len() > KEPT => Value::Null,
        Ok(body) => body,
        Err(_) => Value::String(text),
    };
    Ok(json!({ "status": response.status, "body": body }))
}
