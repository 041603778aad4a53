//! The `spile` program.

fn main() -> std::process::ExitCode {
    spile::cli::main(std::env::args_os())
}
