//! The sandbox's side: imports and exports of the component (only on wasm32).
//!
//! Each hook is a world of its own, so that a plugin exports exactly the hooks
//! that it has; the encoder unites the worlds.

use crate::cursor::{ReadAnswer, ReadRows};
use crate::http::SendError;
use crate::log::Level;
use crate::{HookError, Plugin, dispatch, raw};

#[doc(hidden)]
pub use wit_bindgen;

/// Exports `decide`.
pub mod decide {
    wit_bindgen::generate!({
        path: "../wit",
        inline: "
            package kybern:sdk;
            world deciding {
                import kybern:operator/rows@0.1.0;
                import kybern:operator/log@0.1.0;
                export kybern:operator/decide@0.1.0;
            }
        ",
        world: "kybern:sdk/deciding",
        pub_export_macro: true,
        generate_all,
        runtime_path: "::kybern_sdk::guest::wit_bindgen::rt",
    });
}

/// Exports `sense`.
pub mod sense {
    wit_bindgen::generate!({
        path: "../wit",
        inline: "
            package kybern:sdk;
            world sensing { export kybern:operator/sense@0.1.0; }
        ",
        world: "kybern:sdk/sensing",
        pub_export_macro: true,
        generate_all,
        with: { "kybern:operator/types@0.1.0": super::decide::kybern::operator::types },
        runtime_path: "::kybern_sdk::guest::wit_bindgen::rt",
    });
}

/// Exports `act`.
pub mod act {
    wit_bindgen::generate!({
        path: "../wit",
        inline: "
            package kybern:sdk;
            world acting { export kybern:operator/act@0.1.0; }
        ",
        world: "kybern:sdk/acting",
        pub_export_macro: true,
        generate_all,
        with: { "kybern:operator/types@0.1.0": super::decide::kybern::operator::types },
        runtime_path: "::kybern_sdk::guest::wit_bindgen::rt",
    });
}

/// Exports `describe`.
pub mod describe {
    wit_bindgen::generate!({
        path: "../wit",
        inline: "
            package kybern:sdk;
            world describing { export kybern:operator/describe@0.1.0; }
        ",
        world: "kybern:sdk/describing",
        pub_export_macro: true,
        generate_all,
        with: { "kybern:operator/types@0.1.0": super::decide::kybern::operator::types },
        runtime_path: "::kybern_sdk::guest::wit_bindgen::rt",
    });
}

/// Imports `bundle` and `render`; a plugin that uses neither has neither import.
pub mod interpreting {
    wit_bindgen::generate!({
        path: "../wit",
        inline: "
            package kybern:sdk;
            world interpreting {
                import kybern:operator/bundle@0.1.0;
                import kybern:operator/render@0.1.0;
            }
        ",
        world: "kybern:sdk/interpreting",
        generate_all,
        with: { "kybern:operator/types@0.1.0": super::decide::kybern::operator::types },
        runtime_path: "::kybern_sdk::guest::wit_bindgen::rt",
    });
}

/// Imports `http`; a plugin that sends nothing does not have the import.
pub mod sending {
    wit_bindgen::generate!({
        path: "../wit",
        inline: "
            package kybern:sdk;
            world sending { import kybern:operator/http@0.1.0; }
        ",
        world: "kybern:sdk/sending",
        generate_all,
        runtime_path: "::kybern_sdk::guest::wit_bindgen::rt",
    });
}

use decide::kybern::operator::{log, rows, types};
use interpreting::kybern::operator::{bundle, render};
use sending::kybern::operator::http;

impl<P: Plugin> decide::exports::kybern::operator::decide::Guest for P {
    fn decide(situation: String) -> Result<String, types::HookError> {
        explain_panics();
        dispatch::decide::<P>(&situation, &Host).map_err(wire)
    }
}

impl<P: Plugin> sense::exports::kybern::operator::sense::Guest for P {
    fn sense(trigger: String) -> Result<String, types::HookError> {
        explain_panics();
        dispatch::sense::<P>(&trigger).map_err(wire)
    }
}

impl<P: Plugin> act::exports::kybern::operator::act::Guest for P {
    fn act(effect: String) -> Result<String, types::HookError> {
        explain_panics();
        dispatch::act::<P>(&effect).map_err(wire)
    }
}

/// The exports of a type with [raw hooks](crate::raw::Hooks).
pub struct Raw<P>(std::marker::PhantomData<P>);

impl<P: raw::Hooks> decide::exports::kybern::operator::decide::Guest for Raw<P> {
    fn decide(situation: String) -> Result<String, types::HookError> {
        explain_panics();
        raw::decide::<P>(&situation, &raw::Answers(&Host)).map_err(wire)
    }
}

impl<P: raw::Hooks> sense::exports::kybern::operator::sense::Guest for Raw<P> {
    fn sense(trigger: String) -> Result<String, types::HookError> {
        explain_panics();
        raw::sense::<P>(&trigger, &raw::Answers(&Host)).map_err(wire)
    }
}

impl<P: raw::Hooks> act::exports::kybern::operator::act::Guest for Raw<P> {
    fn act(effect: String) -> Result<String, types::HookError> {
        explain_panics();
        raw::act::<P>(&effect).map_err(wire)
    }
}

impl<P: raw::Hooks> describe::exports::kybern::operator::describe::Guest for Raw<P> {
    fn describe() -> Result<String, types::HookError> {
        explain_panics();
        raw::describe::<P>().map_err(wire)
    }
}

pub(crate) fn bundle_paths() -> Vec<String> {
    bundle::paths()
}

pub(crate) fn bundle_read(path: &str) -> Option<Vec<u8>> {
    bundle::read(path)
}

pub(crate) fn helm(request: &str) -> Result<String, raw::RenderError> {
    render::helm(request).map_err(|error| match error {
        render::RenderError::Denied(why) => raw::RenderError::Denied(why),
        render::RenderError::Invalid(why) => raw::RenderError::Invalid(why),
        render::RenderError::Failed(why) => raw::RenderError::Failed(why),
        render::RenderError::TooLarge(most) => raw::RenderError::TooLarge(most),
    })
}

/// A trap has no message; what the panic says goes into the log before it.
fn explain_panics() {
    std::panic::set_hook(Box::new(|panic| write(Level::Error, &panic.to_string())));
}

pub(crate) fn write(level: Level, message: &str) {
    let level = match level {
        Level::Debug => log::Level::Debug,
        Level::Info => log::Level::Info,
        Level::Warn => log::Level::Warn,
        Level::Error => log::Level::Error,
    };
    log::write(level, message);
}

fn wire(error: HookError) -> types::HookError {
    let failure = |failure: crate::Failure| types::Failure {
        message: failure.message,
        retry_after_ms: failure.retry_after_ms,
    };
    match error {
        HookError::Invalid(message) => types::HookError::Invalid(message),
        HookError::Wait(why) => types::HookError::Wait(failure(why)),
        HookError::Retry(why) => types::HookError::Retry(failure(why)),
        HookError::Internal(message) => types::HookError::Internal(message),
    }
}

pub(crate) fn send(request: crate::http::Request) -> Result<crate::http::Response, SendError> {
    received(http::send(&outgoing(request)))
}

pub(crate) fn send_with_secrets(
    request: crate::http::SecretRequest,
) -> Result<crate::http::Response, SendError> {
    let secrets = request.secrets.into_iter();
    let secrets = secrets.map(|header| http::SecretHeader {
        name: header.name,
        prefix: header.prefix,
        secret: header.secret,
    });
    let secrets: Vec<http::SecretHeader> = secrets.collect();
    received(http::send_with_secrets(
        &outgoing(request.request),
        &secrets,
    ))
}

fn outgoing(request: crate::http::Request) -> http::Request {
    let header = |(name, value)| http::Header { name, value };
    let timeout = request.timeout.map(|time| time.as_millis());
    http::Request {
        method: request.method,
        url: request.url,
        headers: request.headers.into_iter().map(header).collect(),
        body: request.body,
        timeout_ms: timeout.map(|ms| u32::try_from(ms).unwrap_or(u32::MAX)),
    }
}

fn received(
    sent: Result<http::Response, http::SendError>,
) -> Result<crate::http::Response, SendError> {
    let response = sent.map_err(|error| match error {
        http::SendError::Denied(why) => SendError::Denied(why),
        http::SendError::Invalid(why) => SendError::Invalid(why),
        http::SendError::Failed(why) => SendError::Failed(why),
        http::SendError::Timeout => SendError::Timeout,
        http::SendError::TooLarge(most) => SendError::TooLarge(most),
    })?;
    let header = |header: http::Header| (header.name, header.value);
    Ok(crate::http::Response {
        status: response.status,
        headers: response.headers.into_iter().map(header).collect(),
        body: response.body,
    })
}

/// Answers from the host.
struct Host;

impl ReadRows for Host {
    fn open(&self, query: &str) -> Result<Box<dyn ReadAnswer>, HookError> {
        let cursor = rows::open(query).map_err(|error| unreadable(query, error))?;
        Ok(Box::new(HostAnswer {
            query: query.to_owned(),
            cursor,
        }))
    }
}

struct HostAnswer {
    query: String,
    cursor: rows::Cursor,
}

impl ReadAnswer for HostAnswer {
    fn row_count(&self) -> u64 {
        self.cursor.row_count()
    }

    fn json(&mut self, max_rows: u32) -> Result<Option<String>, HookError> {
        self.cursor
            .json(max_rows)
            .map_err(|error| unreadable(&self.query, error))
    }

    #[cfg(feature = "arrow")]
    fn ipc(&mut self, max_bytes: u32) -> Result<Option<Vec<u8>>, HookError> {
        let next = match self.cursor.ipc(max_bytes) {
            // One row is the least that can be read.
            Err(rows::ReadError::RowTooLarge(bytes)) => {
                self.cursor.ipc(u32::try_from(bytes).unwrap_or(u32::MAX))
            }
            next => next,
        };
        next.map_err(|error| unreadable(&self.query, error))
    }
}

fn unreadable(query: &str, error: rows::ReadError) -> HookError {
    match error {
        rows::ReadError::UnknownQuery => HookError::Internal(format!(
            "no query `{query}`: neither the manifest nor sense names it"
        )),
        rows::ReadError::Closed => {
            HookError::Internal(format!("the answer of query `{query}` was read twice"))
        }
        rows::ReadError::RowTooLarge(bytes) => HookError::Internal(format!(
            "a row of query `{query}` has {bytes} bytes, more than the host hands over: select fewer columns"
        )),
        rows::ReadError::Failed(reason) => {
            HookError::retry(format!("query `{query}` failed: {reason}"))
        }
    }
}
