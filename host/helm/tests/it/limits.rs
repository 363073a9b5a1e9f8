//! Whatever a chart does, a render ends within its limits, and the next one works.

use crate::engine::{NOW, chart, config, engine, module, prepared, render, request, text};
use kybern_helm::{Engine, Limits, RenderError, Status};
use kybern_plugin::ModuleError;
use serde_json::json;
use std::time::Duration;

const ENDLESS: &str =
    "{{ range $i := until 100000 }}{{ range $j := until 100000 }}{{ end }}{{ end }}";
const HUNGRY: &str = r#"{{ $list := list 1 2 3 4 5 6 7 8 }}{{ range until 30 }}{{ $list = concat $list $list }}{{ end }}"#;

fn limited(change: impl FnOnce(&mut Limits)) -> Engine {
    prepared(|config| change(&mut config.limits))
}

fn refused(engine: &Engine, template: &str) -> RenderError {
    let request = request(chart(template), json!({})).to_string();
    let error = engine.render(request.as_bytes(), NOW).unwrap_err();
    let after = render(engine, &crate::engine::request(chart("a: 1"), json!({})));
    assert_eq!(after["manifests"][0]["content"], "a: 1");
    assert_eq!(engine.memory_bytes(), 0);
    error
}

#[test]
fn an_endless_template_ends_at_the_time() {
    let engine = limited(|limits| limits.time = Duration::from_millis(600));
    let error = refused(&engine, ENDLESS);
    let RenderError::Stopped(ModuleError::OutOfTime { limit }) = error else {
        panic!("{error:?}");
    };
    assert_eq!(limit, Duration::from_millis(600));
}

#[test]
fn a_template_that_wants_all_memory_gets_what_it_may_have() {
    let engine = limited(|limits| limits.memory = 64 << 20);
    let error = refused(&engine, HUNGRY);
    let RenderError::Stopped(ModuleError::OutOfMemory { limit }) = error else {
        panic!("{error:?}");
    };
    assert_eq!(limit, 64 << 20);
}

/// At 512 KiB, what plugins have, Helm's own guard would be a trap.
#[test]
fn templates_that_include_themselves_are_helms_error() {
    let said = |template: &str, values: &str| {
        let values = json!({"values": [values]});
        let response = render(engine(), &request(chart(template), values));
        response["error"]["message"].as_str().unwrap().to_owned()
    };
    let include = said(
        r#"{{ define "x" }}{{ include "x" . }}{{ end }}{{ include "x" . }}"#,
        "",
    );
    assert!(
        include.contains("rendering template has a nested reference name: x"),
        "{include}"
    );
    let template = said(
        r#"{{ define "x" }}{{ template "x" . }}{{ end }}{{ template "x" . }}"#,
        "",
    );
    assert!(
        template.contains("exceeded maximum template depth"),
        "{template}"
    );
}

/// Nothing of Helm's stands in the way of this one.
#[test]
fn text_that_renders_itself_ends_at_a_limit() {
    let template = r#"{{ $x := "{{ tpl .x (dict \"x\" .x \"Template\" .Template) }}" }}{{ tpl $x (dict "x" $x "Template" .Template) }}"#;
    let error = refused(&prepared(|_| {}), template);
    let RenderError::Stopped(why) = error else {
        panic!("{error:?}");
    };
    assert!(!matches!(why, ModuleError::Ended(_)), "{why}");
}

#[test]
fn a_large_request_and_a_large_response_are_refused_with_their_sizes() {
    let engine = limited(|limits| {
        limits.request = 20_000;
        limits.response = 10_000;
    });
    let error = refused(&engine, &"#".repeat(30_000));
    assert!(
        matches!(error, RenderError::RequestTooLarge { limit: 20_000, bytes } if bytes > 30_000),
        "{error}"
    );
    let error = refused(&engine, "a: {{ repeat 20000 \"x\" }}");
    assert!(
        matches!(error, RenderError::ResponseTooLarge { limit: 10_000, bytes } if bytes > 20_000),
        "{error}"
    );
}

#[test]
fn nothing_is_compiled_while_a_render_waits() {
    let engine = Engine::new(module(), config()).unwrap();
    assert!(matches!(engine.status(), Status::Cold));
    let request = request(chart("a: 1"), json!({})).to_string();
    let error = engine.render(request.as_bytes(), NOW).unwrap_err();
    assert!(matches!(error, RenderError::NotReady), "{error}");
    engine.prepare_in_background().unwrap();
    // Waits for the other one, or is first.
    engine.prepare().unwrap();
    assert!(matches!(engine.status(), Status::Ready));
    engine.render(request.as_bytes(), NOW).unwrap();
}

#[test]
fn another_module_is_refused_with_the_cure() {
    for (module, why) in [
        ("(module)", "does not export memory"),
        ("(module (import \"env\" \"f\" (func)))", "imports env.f"),
        (
            "(module (memory (export \"memory\") 1) (func (export \"helm_alloc\")) (func (export \"helm_render\")) \
             (func (export \"_initialize\")))",
            "start-up has not been run",
        ),
    ] {
        let engine = Engine::new(wat::parse_str(module).unwrap(), config()).unwrap();
        let error = engine.prepare().unwrap_err().to_string();
        assert!(
            error.contains(why) && error.contains("cargo xtask guests"),
            "{error}"
        );
        let later = engine.render(b"{}", NOW).unwrap_err().to_string();
        assert_eq!(later, error);
    }
    let engine = Engine::new(b"no module".to_vec(), config()).unwrap();
    assert!(engine.prepare().is_err());
}

#[test]
fn a_response_is_kept_and_let_go() {
    let engine = prepared(|_| {});
    let request = request(chart("a: {{ randAlpha 8 }}"), json!({})).to_string();
    let first = engine.render(request.as_bytes(), NOW).unwrap();
    let second = engine.render(request.as_bytes(), NOW).unwrap();
    assert!(std::sync::Arc::ptr_eq(&first, &second));
    assert!(engine.kept_bytes() > first.len());
    engine.shrink(0);
    assert_eq!(engine.kept_bytes(), 0);
    assert_eq!(engine.render(request.as_bytes(), NOW).unwrap(), first);
}

#[test]
fn renders_run_beside_each_other() {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|number| {
                scope.spawn(move || text(&format!("a: {{{{ add 1 {number} }}}}"), json!({})))
            })
            .collect();
        for (number, thread) in threads.into_iter().enumerate() {
            assert_eq!(thread.join().unwrap(), format!("a: {}", number + 1));
        }
    });
}
