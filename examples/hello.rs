//! The smallest program: `cargo run --example hello -- 127.0.0.1:3031`, and in nginx
//! `location / { include uwsgi_params; uwsgi_pass 127.0.0.1:3031; }`.

use axum::{Router, routing::get};
use spile::Server;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let socket = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "unix:/tmp/hello.sock".to_owned());
    let app = Router::new().route("/", get(|| async { "hello\n" }));
    Server::new()
        .bind(&socket)?
        .mount("/", spile::tower(app))
        .serve()
        .await?;
    Ok(())
}
