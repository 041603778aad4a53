//! A websocket echo behind nginx's `uwsgi_pass`, and an echo in a protocol of its own, `Upgrade: echo`, below `/echo`.
//!
//! ```text
//! cargo run --example websocket --features tls,upgrade -- unix:/tmp/websocket.sock
//!
//! # nginx
//! location / { include uwsgi_params; uwsgi_pass unix:/tmp/websocket.sock; uwsgi_read_timeout 1h; }
//! ```
//!
//! With a certificate and its key behind the address it speaks TLS, for `uwsgi_pass suwsgi://`.

use std::error::Error;

use axum::{
    Router,
    extract::{
        WebSocketUpgrade,
        ws::{Message, WebSocket},
    },
    http::StatusCode,
    response::Response,
    routing::get,
};
use spile::{
    Request, Server,
    app::Upgraded,
    server::{Binding, Credentials, Listener, Tls},
};
use tokio::io::{AsyncWriteExt, copy, split};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let socket = arguments
        .next()
        .unwrap_or_else(|| "unix:/tmp/websocket.sock".to_owned());
    let mut listener = Listener::bind(&Binding::new(socket.parse()?))?;
    if let (Some(certificate), Some(key)) = (arguments.next(), arguments.next()) {
        let credentials = Credentials::new(std::fs::read(certificate)?, std::fs::read(key)?);
        listener = listener.with_tls(Tls::new(&credentials)?);
    }
    Server::new()
        .listen(listener)
        .mount("/", spile::tower(Router::new().route("/", get(websocket))))
        .mount("/echo", echo)
        .serve()
        .await?;
    Ok(())
}

async fn websocket(upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(async |mut socket: WebSocket| {
        while let Some(Ok(message)) = socket.recv().await {
            // axum answers pings and a close by itself.
            let is_content = matches!(message, Message::Text(_) | Message::Binary(_));
            if is_content && socket.send(message).await.is_err() {
                break;
            }
        }
    })
}

async fn echo(request: Request) -> spile::Response {
    let Some(upgrade) = request.upgrade("echo") else {
        return spile::Response::of_status(StatusCode::UPGRADE_REQUIRED);
    };
    upgrade.accept(async |upgraded: Upgraded| {
        let (mut from, mut to) = split(upgraded);
        // A client that has left needs no answer.
        let _ = copy(&mut from, &mut to).await;
        let _ = to.shutdown().await;
    })
}
