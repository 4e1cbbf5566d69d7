//! `serve`: a folder as a registry.

use std::{pin::pin, sync::Arc};

use tokio::sync::oneshot;

use super::{Session, Signals};
use crate::{
    cli::Serve,
    error::{Failure, Kind, exit},
    report::{Verbosity, print},
    serve::{Options, Server},
};

/// Serves until a signal comes, which is how a server is meant to end: requests in flight may finish, then it
/// exits with success. A second signal ends it at once.
pub(super) async fn run(args: Serve, session: &Session) -> Result<u8, Failure> {
    let mut options = Options::new(&args.folder);
    options.listen = args.listen;
    if session.verbosity != Verbosity::Quiet {
        options.access_log = Some(Arc::new(|record| print::log(&record.to_string())));
    }
    // Listened for before anybody can know that there is something to end.
    let mut signals = Signals::listen().map_err(|error| Failure::from_error(Kind::Image, &error))?;
    let server = Server::bind(options).await.map_err(|error| Failure::from_error(Kind::Usage, &error))?;
    // A script that asked for port 0 reads the address from here.
    print::result(&format!("serving {} on http://{}", args.folder.display(), server.address()))?;
    let (stop, stopped) = oneshot::channel::<()>();
    let mut serving = pin!(server.run(async {
        let _ = stopped.await;
    }));
    tokio::select! {
        () = &mut serving => return Ok(exit::SUCCESS),
        _ = signals.next() => drop(stop),
    }
    tokio::select! {
        () = serving => Ok(exit::SUCCESS),
        code = signals.next() => Ok(code),
    }
}
