//! An application server for nginx's `uwsgi_pass`.

pub mod protocol;
