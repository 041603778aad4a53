//! `static://`, files of a directory.

use std::fs;

use spile::{
    Application, Body, Environ, Request, Server,
    app::{Content, builtin::StaticFiles},
    protocol::Encoder,
};
use tempfile::TempDir;

use crate::support::{End, FAMILIES, LARGE, Reply, Site, get, request};

/// A server of one lane that serves a directory at `/assets`. The directory goes with the second part.
fn site() -> (Site, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let at = |name| directory.path().join(name);
    fs::create_dir(at("docs")).unwrap();
    fs::write(at("docs/index.html"), "<h1>docs").unwrap();
    fs::write(at("digits.txt"), "0123456789").unwrap();
    fs::write(at("empty.css"), "").unwrap();
    fs::write(at("large.bin"), &*LARGE).unwrap();
    let site = Site::start(
        Server::new()
            .mount("/assets", StaticFiles::new(directory.path()))
            .lanes(1),
    );
    (site, directory)
}

async fn digits(site: &Site, change: impl FnOnce(Encoder) -> Encoder) -> Reply {
    site.ask(change(get("/assets/digits.txt"))).await
}

#[tokio::test]
async fn a_file_is_served_with_its_type_and_length() {
    let (site, _directory) = site();
    for (path, kind, text) in [
        ("/assets/digits.txt", "text/plain", "0123456789"),
        ("/assets/docs/index.html", "text/html", "<h1>docs"),
        ("/assets/docs/", "text/html", "<h1>docs"),
        ("/assets/empty.css", "text/css", ""),
    ] {
        let reply = site.get(path).await;
        assert_eq!((reply.status(), reply.text()), ("200 OK", text), "{path}");
        assert_eq!(reply.header("content-type"), kind);
        assert_eq!(reply.header("content-length"), text.len().to_string());
        assert_eq!(reply.header("accept-ranges"), "bytes");
    }
}

#[tokio::test]
async fn a_range_is_a_part() {
    let (site, _directory) = site();
    for (asked, range, text) in [
        ("bytes=2-4", "bytes 2-4/10", "234"),
        ("bytes=7-", "bytes 7-9/10", "789"),
        ("bytes=-2", "bytes 8-9/10", "89"),
    ] {
        let reply = digits(&site, |it| it.var("HTTP_RANGE", asked)).await;
        assert_eq!(
            (reply.status(), reply.text()),
            ("206 Partial Content", text)
        );
        assert_eq!(reply.header("content-range"), range);
        assert_eq!(reply.header("content-length"), text.len().to_string());
    }
    let beyond = digits(&site, |it| it.var("HTTP_RANGE", "bytes=10-")).await;
    assert_eq!(beyond.status(), "416 Range Not Satisfiable");
    assert_eq!(beyond.header("content-range"), "bytes */10");
}

#[tokio::test]
async fn what_the_client_has_is_not_sent_again() {
    let (site, directory) = site();
    let first = digits(&site, |it| it).await;
    let (tag, date) = (first.header("etag"), first.header("last-modified"));
    for (name, value) in [
        ("HTTP_IF_NONE_MATCH", tag),
        ("HTTP_IF_MODIFIED_SINCE", date),
    ] {
        let again = digits(&site, |it| it.var(name, value)).await;
        assert_eq!(
            (again.status(), again.text()),
            ("304 Not Modified", ""),
            "{name}"
        );
        assert!(again.headers("content-length").is_empty());
    }
    fs::write(directory.path().join("digits.txt"), "9876543210!").unwrap();
    let changed = digits(&site, |it| it.var("HTTP_IF_NONE_MATCH", tag)).await;
    assert_eq!(
        (changed.status(), changed.text()),
        ("200 OK", "9876543210!")
    );
}

#[tokio::test]
async fn head_says_the_length_and_sends_nothing() {
    let (site, _directory) = site();
    let reply = site.ask(request("HEAD", "/assets/large.bin")).await;
    assert_eq!((reply.status(), reply.text()), ("200 OK", ""));
    assert_eq!(reply.header("content-length"), LARGE.len().to_string());
}

#[tokio::test]
async fn what_is_not_there_is_a_404_and_other_methods_a_405() {
    let (site, _directory) = site();
    assert_eq!(site.get("/assets/none.txt").await.status(), "404 Not Found");
    let deleted = site.ask(request("DELETE", "/assets/digits.txt")).await;
    assert_eq!(deleted.status(), "405 Method Not Allowed");
    assert_eq!(deleted.header("allow"), "GET,HEAD");
}

#[tokio::test]
async fn a_directory_without_its_slash_is_redirected_below_the_mount() {
    let (site, _directory) = site();
    let reply = site.get("/assets/docs").await;
    assert_eq!(reply.status(), "307 Temporary Redirect");
    assert_eq!(reply.header("location"), "/assets/docs/");
    let outer = get("/assets/docs").var("SCRIPT_NAME", "/outer");
    assert_eq!(
        site.ask(outer).await.header("location"),
        "/outer/assets/docs/"
    );
}

#[tokio::test]
async fn a_large_file_arrives_whole() {
    let (site, _directory) = site();
    for family in FAMILIES {
        let reply = site
            .send(family, get("/assets/large.bin"))
            .await
            .answer()
            .await;
        assert!(reply.body == *LARGE, "{family:?}");
        let asked = get("/assets/large.bin").var("HTTP_RANGE", "bytes=1001-");
        let reply = site.send(family, asked).await.answer().await;
        assert!(reply.body == LARGE[1001..], "{family:?}");
    }
}

#[tokio::test]
async fn a_body_is_a_part_of_the_file_for_sendfile() {
    let (_site, directory) = site();
    let files = StaticFiles::new(directory.path());
    for (asked, offset, length) in [("bytes=2-4", 2, 3), ("", 0, 10)] {
        let mut environ = Environ::default();
        environ.set("PATH_INFO", "/digits.txt");
        if !asked.is_empty() {
            environ.set("HTTP_RANGE", asked);
        }
        let response = files.call(Request::new(environ, Body::empty())).await;
        let (_, body) = response.into_wire().unwrap();
        match body.into_content() {
            Content::File(range) => assert_eq!((range.offset, range.length), (offset, length)),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_slow_reader_holds_nobody_up() {
    let (site, _directory) = site();
    for family in FAMILIES {
        let mut slow = site.send(family, get("/assets/large.bin")).await;
        slow.head().await;
        assert_eq!(digits(&site, |it| it).await.text(), "0123456789");
        let (body, end) = slow.rest().await;
        assert!(body == *LARGE && end == End::Clean, "{family:?}");
    }
}

#[tokio::test]
async fn a_file_that_is_cut_while_it_is_sent_ends_with_a_reset() {
    let (site, directory) = site();
    for family in FAMILIES {
        let large = directory.path().join("large.bin");
        fs::write(&large, &*LARGE).unwrap();
        let mut slow = site.send(family, get("/assets/large.bin")).await;
        slow.head().await;
        let file = fs::File::options().write(true).open(&large).unwrap();
        file.set_len(0).unwrap();
        let (body, end) = slow.rest().await;
        assert_eq!(end, End::Reset, "{family:?}");
        assert!(body.len() < LARGE.len());
    }
}
