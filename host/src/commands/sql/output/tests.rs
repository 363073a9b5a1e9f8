use super::*;
use arrow::array::TimestampMicrosecondArray;
use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Schema;
use std::sync::Arc;

fn answer(columns: Vec<(&str, ArrayRef)>) -> Answer {
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns
            .into_iter()
            .map(|(name, column)| (name, column, true)),
    )
    .unwrap();
    Answer {
        schema: batch.schema(),
        rows: batch.num_rows(),
        batches: vec![batch],
        fingerprint: 0,
    }
}

/// Says of a column that its text may be JSON, as the engine does.
fn with_json(answer: Answer, column: &str) -> Answer {
    let fields = answer.schema.fields().iter().map(|field| {
        let field = field.as_ref().clone();
        if field.name() == column {
            field.with_metadata([("kybern.type".to_owned(), "json".to_owned())].into())
        } else {
            field
        }
    });
    Answer {
        schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
        ..answer
    }
}

fn texts(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn pods() -> Answer {
    let answer = answer(vec![
        ("name", texts(&[Some("web-0"), Some(""), None])),
        (
            "restarts",
            Arc::new(Int64Array::from(vec![Some(7), None, Some(1200)])),
        ),
        (
            "load",
            Arc::new(Float64Array::from(vec![Some(0.5), Some(2.0), None])),
        ),
        (
            "ready",
            Arc::new(BooleanArray::from(vec![Some(true), Some(false), None])),
        ),
        (
            "started",
            Arc::new(
                TimestampMicrosecondArray::from(vec![Some(0), Some(1_500_000), None])
                    .with_timezone("UTC"),
            ),
        ),
        (
            "spec",
            texts(&[
                Some(r#"{"image":"nginx","ports":[80]}"#),
                Some("[1,\n2]"),
                Some("{no json"),
            ]),
        ),
    ]);
    with_json(answer, "spec")
}

/// A ConfigMap's text may look like anything.
#[test]
fn text_that_looks_like_json_stays_text() {
    let text = answer(vec![("data", texts(&[Some(r#"{"a":1}"#)]))]);
    assert_eq!(
        shown(&text, Output::Json, None),
        "[\n  {\n    \"data\": \"{\\\"a\\\":1}\"\n  }\n]\n"
    );
}

fn style(output: Output, width: Option<usize>) -> Style {
    Style {
        output,
        expanded: false,
        width,
    }
}

fn shown(answer: &Answer, output: Output, width: Option<usize>) -> String {
    render(answer, &style(output, width)).unwrap()
}

#[test]
fn a_table_aligns_numbers_and_tells_null_from_nothing() {
    insta::assert_snapshot!(shown(&pods(), Output::Wide, Some(20)), @r#"
    NAME     RESTARTS     LOAD   READY    STARTED                    SPEC
    web-0           7      0.5   true     1970-01-01T00:00:00Z       {"image":"nginx","ports":[80]}
               <null>      2.0   false    1970-01-01T00:00:01.500Z   [1,\n2]
    <null>       1200   <null>   <null>   <null>                     {no json
    "#);
}

#[test]
fn a_table_is_cut_to_the_terminal() {
    let text = shown(&pods(), Output::Table, Some(72));
    insta::assert_snapshot!(text, @r#"
    NAME     RESTARTS     LOAD   READY    STARTED            SPEC
    web-0           7      0.5   true     1970-01-01T00:0…   {"image":"ngin…
               <null>      2.0   false    1970-01-01T00:0…   [1,\n2]
    <null>       1200   <null>   <null>   <null>             {no json
    "#);
    for width in 60..100 {
        let text = shown(&pods(), Output::Table, Some(width));
        assert!(
            text.lines().all(|line| line.chars().count() <= width),
            "{width}:\n{text}"
        );
    }
    assert_eq!(
        shown(&pods(), Output::Table, None),
        shown(&pods(), Output::Wide, Some(10))
    );
}

#[test]
fn wide_characters_count_as_they_are_shown() {
    let wide = answer(vec![
        ("a", texts(&[Some("日本語日本語日本語"), Some("x")])),
        ("b", texts(&[Some("1"), Some("2")])),
    ]);
    insta::assert_snapshot!(shown(&wide, Output::Table, Some(14)), @r#"
    A            B
    日本語日…    1
    x            2
    "#);
}

#[test]
fn no_control_sequence_reaches_a_terminal() {
    let evil = answer(vec![(
        "a\u{1b}[31m",
        texts(&[Some("x\u{1b}[2Jy\r\n\t\u{202e}z")]),
    )]);
    for expanded in [false, true] {
        let style = Style {
            output: Output::Table,
            expanded,
            width: None,
        };
        let text = render(&evil, &style).unwrap();
        assert!(
            !text.contains(|c: char| c.is_control() && c != '\n'),
            "{text:?}"
        );
        assert!(text.contains(r"x\u{1b}[2Jy\r\n\t\u{202e}z"), "{text}");
    }
}

#[test]
fn expanded_shows_a_line_for_each_value() {
    let style = Style {
        output: Output::Table,
        expanded: true,
        width: Some(30),
    };
    insta::assert_snapshot!(render(&pods(), &style).unwrap(), @r#"
    -[ RECORD 1 ]-------------
    name     | web-0
    restarts | 7
    load     | 0.5
    ready    | true
    started  | 1970-01-01T00:00:0…
    spec     | {"image":"nginx","…
    -[ RECORD 2 ]-------------
    name     |
    restarts | <null>
    load     | 2.0
    ready    | false
    started  | 1970-01-01T00:00:0…
    spec     | [1,\n2]
    -[ RECORD 3 ]-------------
    name     | <null>
    restarts | 1200
    load     | <null>
    ready    | <null>
    started  | <null>
    spec     | {no json
    "#);
}

#[test]
fn json_has_numbers_booleans_objects_and_null() {
    insta::assert_snapshot!(shown(&pods(), Output::Json, None), @r#"
    [
      {
        "load": 0.5,
        "name": "web-0",
        "ready": true,
        "restarts": 7,
        "spec": {
          "image": "nginx",
          "ports": [
            80
          ]
        },
        "started": "1970-01-01T00:00:00Z"
      },
      {
        "load": 2.0,
        "name": "",
        "ready": false,
        "restarts": null,
        "spec": [
          1,
          2
        ],
        "started": "1970-01-01T00:00:01.500Z"
      },
      {
        "load": null,
        "name": null,
        "ready": null,
        "restarts": 1200,
        "spec": "{no json",
        "started": null
      }
    ]
    "#);
}

#[test]
fn yaml_is_the_same_as_json() {
    let yaml = shown(&pods(), Output::Yaml, None);
    let same: serde_json::Value = serde_saphyr::from_str(&yaml).unwrap();
    let json: serde_json::Value =
        serde_json::from_str(&shown(&pods(), Output::Json, None)).unwrap();
    assert_eq!(same, json);
}

#[test]
fn csv_quotes_what_it_must_and_tells_null_from_nothing() {
    let answer = answer(vec![
        (
            "a,b",
            texts(&[
                Some("x\"y"),
                Some(""),
                None,
                Some("two\nlines"),
                Some(" edge"),
            ]),
        ),
        (
            "n",
            Arc::new(Int64Array::from(vec![
                Some(1),
                None,
                Some(3),
                Some(4),
                Some(5),
            ])),
        ),
    ]);
    assert_eq!(
        shown(&answer, Output::Csv, None),
        "\"a,b\",n\r\n\"x\"\"y\",1\r\n\"\",\r\n,3\r\n\"two\nlines\",4\r\n\" edge\",5\r\n"
    );
}

#[test]
fn an_answer_without_rows_still_has_its_columns() {
    let none = answer(vec![
        ("name", texts(&[])),
        ("n", Arc::new(Int64Array::from(Vec::<i64>::new()))),
    ]);
    assert_eq!(shown(&none, Output::Table, Some(80)), "NAME   N\n");
    assert_eq!(shown(&none, Output::Csv, None), "name,n\r\n");
    assert_eq!(shown(&none, Output::Json, None), "[]\n");
}
