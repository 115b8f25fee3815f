//! What slow, ambiguous and oversized requests get.

use crema::config::HttpLimits;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use crate::door::{DEADLINE, Door, GATE, HELLO, limits, soon};

#[tokio::test]
async fn silence_and_half_a_head_are_closed_without_a_word() {
    let door = Door::open(HttpLimits { head_timeout: soon(), ..limits() }).await;
    for sent in ["", "G", "GET /hello HTTP/1.1\r\nHost: a\r\n"] {
        let mut client = door.connect().await;
        client.send(sent).await;
        assert_eq!(client.rest().await, b"", "{sent:?}");
    }
    assert_eq!(door.ask(HELLO).await.status, 200);
}

#[tokio::test]
async fn a_head_that_trickles_is_closed_though_it_moves() {
    let door = Door::open(HttpLimits { head_timeout: soon(), ..limits() }).await;
    let (mut read, mut write) = door.connect().await.0.into_split();
    let trickle = tokio::spawn(async move {
        let mut tick = tokio::time::interval(soon() / 10);
        while write.write_all(b"x").await.is_ok() {
            tick.tick().await;
        }
    });
    let mut got = Vec::new();
    let _ = timeout(DEADLINE, read.read_to_end(&mut got)).await.expect("closed");
    assert_eq!(got, b"");
    timeout(DEADLINE, trickle).await.expect("the writer notices").unwrap();
}

#[tokio::test]
async fn a_second_head_has_its_own_deadline() {
    let door = Door::open(HttpLimits { head_timeout: soon(), ..limits() }).await;
    let mut client = door.connect().await;
    client.send(HELLO).await;
    assert_eq!(client.answer().await.status, 200);
    client.send("GET /hello HTTP/1.1\r\n").await;
    assert_eq!(client.rest().await, b"");
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let door = Door::open(HttpLimits { idle_timeout: soon(), ..limits() }).await;
    let mut client = door.connect().await;
    client.send(HELLO).await;
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(client.rest().await, b"");
}

#[tokio::test]
async fn no_deadline_cuts_a_request_that_is_served() {
    let brief = HttpLimits { head_timeout: soon(), idle_timeout: soon(), ..limits() };
    let door = Door::open(brief).await;
    let mut client = door.connect().await;
    client.send(GATE).await;
    door.entered.notified().await;
    // Another connection lives and dies of the same limits in the meantime.
    assert_eq!(door.connect().await.rest().await, b"");
    door.released.notify_one();
    assert_eq!(client.answer().await.body, b"through");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_answered_408() {
    let door = Door::open(HttpLimits { body_timeout: soon(), ..limits() }).await;
    for framing in ["Content-Length: 10\r\n\r\n{", "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"] {
        let mut client = door.connect().await;
        client.send(&format!("POST /echo HTTP/1.1\r\nHost: a\r\n{framing}")).await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.code().as_str()), (408, "body_timeout"));
        assert_eq!(client.rest().await, b"");
    }
}

#[tokio::test]
async fn a_client_that_takes_no_answer_is_cut_off() {
    let door = Door::open(HttpLimits { write_timeout: soon(), ..limits() }).await;
    let mut client = door.connect().await;
    client.send("GET /endless HTTP/1.1\r\nHost: a\r\n\r\n").await;
    timeout(DEADLINE, client.0.readable()).await.expect("an answer").unwrap();
    // The rest is taken only after the server has let go, which `closes` waits for.
    door.closes().await;
    assert!(client.rest().await.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn ambiguous_framing_is_refused_and_the_connection_closed() {
    let door = Door::open(limits()).await;
    let cl_te = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let te_cl = "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n";
    let requests = [
        "GET /hello HTTP/1.1\r\n\r\n".to_owned(),
        "GET /hello HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(),
        "GET /hello HTTP/1.1\nHost: a\n\n".to_owned(),
        format!("POST /echo HTTP/1.1\r\nHost: a\r\n{cl_te}"),
        format!("POST /echo HTTP/1.1\r\nHost: a\r\n{te_cl}"),
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}".into(),
        "GET /hello HTTP/1.1\r\nHost : a\r\n\r\n".to_owned(),
        "GET /hello HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n".to_owned(),
    ];
    for request in requests {
        let mut client = door.connect().await;
        client.send(&request).await;
        assert_eq!(client.answer().await.status, 400, "{request:?}");
        assert_eq!(client.rest().await, b"", "{request:?}");
    }
    let mut second = door.connect().await;
    second.send(HELLO).await;
    assert_eq!(second.answer().await.status, 200);
    second.send(&format!("POST /echo HTTP/1.1\r\nHost: a\r\n{cl_te}")).await;
    assert_eq!(second.answer().await.status, 400, "also on a used connection");
    assert_eq!(door.ask("GET /hello HTTP/1.0\r\n\r\n").await.status, 200, "HTTP/1.0 needs no host");
}

#[tokio::test]
async fn bodies_are_bounded_and_the_refusal_arrives() {
    let door = Door::open(limits()).await;
    let post = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n";
    let mib = "x".repeat(1024 * 1024);
    let sized = format!("{post}Content-Length: {}\r\n\r\n{mib}", mib.len());
    let chunked = format!("{post}Transfer-Encoding: chunked\r\n\r\n100000\r\n{mib}\r\n0\r\n\r\n");
    for request in [sized, chunked] {
        let answer = door.ask(&request).await;
        assert_eq!((answer.status, answer.code().as_str()), (413, "body_too_large"));
    }
    let announced = format!("{post}Content-Length: 99999999999\r\n\r\n");
    assert_eq!(door.ask(&announced).await.status, 413);
    let polite = format!("{post}Content-Length: 100000\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(door.ask(&polite).await.status, 413, "and no 100 Continue");
    let fitting = format!("\"{}\"", "x".repeat(64 * 1024 - 2));
    let answer = door.ask(&format!("{post}Content-Length: {}\r\n\r\n{fitting}", 64 * 1024)).await;
    assert_eq!((answer.status, answer.body.len()), (200, 64 * 1024));
}

#[tokio::test]
async fn heads_are_bounded() {
    let door = Door::open(limits()).await;
    let long = format!("GET /hello HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(64 * 1024));
    let many = format!("GET /hello HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: 1\r\n".repeat(100));
    for request in [long, many] {
        assert_eq!(door.ask(&request).await.status, 431);
    }
}
