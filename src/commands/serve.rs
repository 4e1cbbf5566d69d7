//! `serve`: a folder as a registry.

use std::sync::Arc;

use crate::{
    cli::Serve,
    error::{Failure, Kind},
    report::print,
    serve::{Options, Server},
};

pub(super) async fn run(args: Serve) -> Result<u8, Failure> {
    let mut options = Options::new(&args.folder);
    options.listen = args.listen;
    options.access_log = Some(Arc::new(|record| print::log(&record.to_string())));
    let server = Server::bind(options).await.map_err(|error| Failure::from_error(Kind::Usage, &error))?;
    // A script that asked for port 0 reads the address from here.
    print::result(&format!("serving {} on http://{}", args.folder.display(), server.address()))?;
    server.run(std::future::pending()).await;
    Ok(0)
}
