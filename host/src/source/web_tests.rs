//! Requests to servers of these tests.

use super::super::fake::{Fake, Reply, answer, ok, redirect};
use super::*;
use std::time::Duration;

fn web() -> Web {
    let limits = SourceConfig {
        idle: Duration::from_secs(20),
        ..SourceConfig::default()
    };
    Web::new(limits, Vec::new())
}

async fn get(web: &Web, url: &str, most: usize) -> Result<Answer, WebError> {
    let mut ask = Ask::get(url.parse().unwrap(), most);
    ask.authorization = Some(HeaderValue::from_static("Basic secret"));
    web.send(ask).await
}

#[tokio::test]
async fn an_answer_that_claims_ten_gigabytes_is_refused_before_it_is_read() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 10737418240\r\n\r\n";
    let fake = Fake::new(|_| Reply::Hangs(head.to_vec()));
    let got = get(&web(), &fake.url("/"), 1_000).await.unwrap_err();
    let (claimed, most) = (10 << 30, 1_000);
    assert_eq!(got, WebError::TooLarge { claimed, most });
}

#[tokio::test]
async fn an_answer_without_end_is_refused_when_it_is_too_large() {
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = format!("64\r\n{}\r\n", "x".repeat(100));
    let text = [head, &chunk.repeat(11)].concat();
    let fake = Fake::new(move |_| Reply::Hangs(text.clone().into_bytes()));
    let got = get(&web(), &fake.url("/"), 1_000).await.unwrap_err();
    assert!(
        matches!(got, WebError::TooLarge { most: 1_000, .. }),
        "{got}"
    );
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_no_answer() {
    let short = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this";
    let fake = Fake::new(|_| Reply::Whole(short.to_vec()));
    let got = get(&web(), &fake.url("/"), 1_000).await.unwrap_err();
    assert!(matches!(got, WebError::Truncated(_)), "{got}");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_left_also_in_the_middle() {
    let limits = SourceConfig {
        idle: Duration::from_millis(100),
        ..SourceConfig::default()
    };
    let web = Web::new(limits, Vec::new());
    let begun = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nbegun";
    for text in ["", begun] {
        let fake = Fake::new(move |_| Reply::Hangs(text.as_bytes().to_vec()));
        let got = get(&web, &fake.url("/"), 1_000).await.unwrap_err();
        assert_eq!(got, WebError::Idle(0));
    }
}

#[tokio::test]
async fn what_proves_who_asks_goes_to_the_named_place_and_to_no_other() {
    let other = Fake::new(|_| ok(b"there"));
    let away = other.url("/blob");
    let fake = Fake::new(move |path| match path {
        "/a" => redirect("/b"),
        _ => redirect(&away),
    });
    let got = get(&web(), &fake.url("/a"), 1_000).await.unwrap();
    assert_eq!((got.body, got.url.path()), (Bytes::from("there"), "/blob"));
    let secret = "authorization: basic secret";
    assert!(fake.asked("/b")[0].contains(secret));
    let seen = other.seen();
    assert!(!seen[0].contains(secret), "{}", seen[0]);
}

#[tokio::test]
async fn redirects_end_and_are_followed_for_reading_only() {
    let fake = Fake::new(|path| match path {
        "/write" => answer("307 Temporary Redirect", "location: /else\r\n", b""),
        _ => redirect("/again"),
    });
    let got = get(&web(), &fake.url("/"), 1_000).await.unwrap_err();
    assert!(got.to_string().contains("more than 5 times"), "{got}");
    assert_eq!(fake.seen().len(), 6);
    let mut ask = Ask::get(fake.url("/write").parse().unwrap(), 1_000);
    ask.method = Method::POST;
    let got = web().send(ask).await.unwrap();
    assert_eq!(got.status, StatusCode::TEMPORARY_REDIRECT);
    assert!(fake.asked("/else").is_empty());
}

#[test]
fn nothing_goes_from_tls_to_the_clear() {
    let url = |text: &str| -> Url { text.parse().unwrap() };
    assert!(is_downgrade(&url("https://a/"), &url("http://a/")));
    assert!(!is_downgrade(&url("http://a/"), &url("https://a/")));
    assert!(!is_downgrade(&url("https://a/"), &url("https://b/")));
}

#[test]
fn only_this_machine_and_listed_hosts_are_talked_to_in_the_clear() {
    let listed = vec![
        "r.example".to_owned(),
        "s.example:5000".to_owned(),
        "t.example:80".to_owned(),
    ];
    let web = Web::new(SourceConfig::default(), listed);
    let may = |text: &str| {
        let url: Url = text.parse().unwrap();
        web.allowed(&url, &url).is_ok()
    };
    for good in [
        "http://127.0.0.1:5000/",
        "http://localhost/",
        "http://[::1]:80/",
        "http://r.example/",
        "http://r.example:5000/",
        "http://s.example:5000/",
        "http://t.example/",
        "https://anything.example/",
        "https://10.0.0.7/",
    ] {
        assert!(may(good), "{good}");
    }
    for bad in [
        "http://s.example/",
        "http://other.example/",
        "http://127.0.0.1.example/",
        "https://0.0.0.0/",
        "https://u:p@a.example/",
        "ftp://a.example/",
    ] {
        assert!(!may(bad), "{bad}");
    }
}

#[tokio::test]
async fn a_place_that_a_server_names_is_as_good_as_a_redirect() {
    let fake = Fake::new(|_| ok(b"here"));
    for (by, word) in [
        ("https://r.example/v2/", "from https only to https"),
        ("http://r.example/v2/", "loopback"),
    ] {
        let mut ask = Ask::get(fake.url("/token").parse().unwrap(), 1_000);
        ask.named_by = Some(by.parse().unwrap());
        let refused = web().send(ask).await.unwrap_err().to_string();
        assert!(refused.contains(word), "{refused}");
    }
    assert!(fake.seen().is_empty());
}

#[test]
fn nobody_in_the_world_leads_to_this_machine_or_to_credentials() {
    let web = web();
    let url = |text: &str| -> Url { text.parse().unwrap() };
    let named = url("https://r.example/");
    for guarded in [
        "https://169.254.169.254/latest",
        "https://127.0.0.1/",
        "https://localhost/",
        "https://[::ffff:127.0.0.1]/",
    ] {
        let refused = web.allowed(&url(guarded), &named);
        assert!(refused.is_err(), "{guarded}");
    }
    assert!(web.allowed(&url("https://cdn.example/"), &named).is_ok());
    assert!(web.allowed(&url("https://10.0.0.7/"), &named).is_ok());
}
