//! The history over the PostgreSQL protocol: any client that speaks it may ask, and nothing else.
//!
//! Who asks says a name and a password (SCRAM-SHA-256, RFC 7677). Every connection has a session of its own over the
//! same tables, so that what one sets changes nothing for others; all share the memory that queries may take.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use datafusion::common::ParamValues;
use datafusion::execution::context::SQLOptions;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::{Set, Statement};
use datafusion_postgres::datafusion_pg_catalog::pg_catalog::context::EmptyContextProvider;
use datafusion_postgres::datafusion_pg_catalog::pg_catalog::setup_pg_catalog;
use datafusion_postgres::hooks::HookClient;
use datafusion_postgres::hooks::cursor::CursorStatementHook;
use datafusion_postgres::hooks::set_show::SetShowHook;
use datafusion_postgres::hooks::transactions::TransactionStatementHook;
use datafusion_postgres::pgwire::api::auth::sasl::SASLAuthStartupHandler;
use datafusion_postgres::pgwire::api::auth::sasl::scram::{
    SCRAM_ITERATIONS, ScramAuth, gen_salted_password, random_nonce,
};
use datafusion_postgres::pgwire::api::auth::{
    AuthSource, DefaultServerParameterProvider, LoginInfo, Password, StartupHandler,
};
use datafusion_postgres::pgwire::api::cancel::{CancelHandler, DefaultCancelHandler};
use datafusion_postgres::pgwire::api::query::{ExtendedQueryHandler, SimpleQueryHandler};
use datafusion_postgres::pgwire::api::results::Response;
use datafusion_postgres::pgwire::api::{ClientInfo, ConnectionManager, PgWireServerHandlers};
use datafusion_postgres::pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use datafusion_postgres::pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use datafusion_postgres::pgwire::tokio::process_socket;
use datafusion_postgres::{DfSessionService, QueryHook};
use futures::Sink;
use prometheus::IntCounter;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use yagura_archive::Store;
use yagura_door::{Fresh, TlsAcceptor};

use crate::history::{CATALOG, QueryError, session};

/// How long one who is not let in waits for that answer.
const DENIED_WAIT: Duration = Duration::from_millis(500);

/// Names and passwords of who may ask.
pub type Users = BTreeMap<String, String>;

/// A server that is not started yet.
pub struct Postgres {
    /// Where it listens.
    pub listener: std::net::TcpListener,
    /// TLS; without it connections are not encrypted, with it others are refused.
    pub tls: Option<Fresh<TlsAcceptor>>,
    /// Who may ask.
    pub users: Fresh<Users>,
    /// How many connections at a time; further ones wait to be taken.
    pub connections: usize,
    /// What all queries may take together, in bytes.
    pub memory: usize,
    /// Counts those who were not let in.
    pub denied: IntCounter,
}

/// A server under way; it ends when it is dropped.
pub struct Serving {
    /// Where it listens: with port 0, the port that it got.
    pub address: SocketAddr,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Postgres {
    /// Answers queries over a store, on threads of its own: what is asked slows nothing else but by the processor's
    /// time.
    pub fn start(self, store: &Arc<dyn Store>) -> Result<Serving, QueryError> {
        let failed = |cause: &dyn std::fmt::Display| QueryError::Failed(cause.to_string());
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let session = session(store, self.memory, threads)?;
        setup_pg_catalog(&session, CATALOG, EmptyContextProvider).map_err(|cause| failed(&cause))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("postgres")
            .enable_all()
            .build()
            .map_err(|cause| failed(&cause))?;
        let address = self.listener.local_addr().map_err(|cause| failed(&cause))?;
        self.listener.set_nonblocking(true).map_err(|cause| failed(&cause))?;
        let listener = {
            let _inside = runtime.enter();
            TcpListener::from_std(self.listener).map_err(|cause| failed(&cause))?
        };
        let (stop, stopped) = watch::channel(false);
        let manager = Arc::new(ConnectionManager::new());
        let (tls, users, denied) = (self.tls, self.users, self.denied);
        let serve = move |stream: TcpStream, peer: SocketAddr| {
            let tls = tls.as_ref().map(|tls| TlsAcceptor::clone(&tls.get()));
            let client = Arc::new(Client::new(&session, &users, tls.is_some(), &manager, &denied));
            async move {
                if let Err(cause) = process_socket(stream, tls, client).await {
                    tracing::debug!(%peer, %cause, "a connection to the history broke");
                }
            }
        };
        let taking = yagura_door::take(listener, self.connections, stopped, serve);
        let thread = std::thread::Builder::new().name("history".into()).spawn(move || {
            runtime.block_on(taking);
            // Queries under way are given up: who asked asks again.
            runtime.shutdown_background();
        });
        let thread = Some(thread.map_err(|cause| failed(&cause))?);
        tracing::info!(%address, "the history answers PostgreSQL clients");
        Ok(Serving { address, stop, thread })
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that takes PostgreSQL clients has panicked");
        }
    }
}

/// What answers one connection.
struct Client {
    service: Arc<DfSessionService>,
    startup: Arc<Startup>,
    cancel: Arc<DefaultCancelHandler>,
}

impl Client {
    fn new(
        session: &SessionContext,
        users: &Fresh<Users>,
        encrypted: bool,
        manager: &Arc<ConnectionManager>,
        denied: &IntCounter,
    ) -> Self {
        let own = Arc::new(SessionContext::new_with_state(session.state()));
        let hooks: Vec<Arc<dyn QueryHook>> = vec![
            Arc::new(ReadOnly),
            Arc::new(CursorStatementHook),
            Arc::new(SetShowHook),
            Arc::new(TransactionStatementHook),
        ];
        let parameters = DefaultServerParameterProvider::default();
        let sasl = SASLAuthStartupHandler::new(Arc::new(parameters))
            .with_scram(ScramAuth::new(Arc::new(Passwords(users.clone()))))
            .with_connection_manager(Arc::clone(manager));
        Client {
            service: Arc::new(DfSessionService::new_with_hooks(own, hooks)),
            startup: Arc::new(Startup { sasl, encrypted, denied: denied.clone() }),
            cancel: Arc::new(DefaultCancelHandler::new(Arc::clone(manager))),
        }
    }
}

impl PgWireServerHandlers for Client {
    fn simple_query_handler(&self) -> Arc<impl SimpleQueryHandler> {
        Arc::clone(&self.service)
    }

    fn extended_query_handler(&self) -> Arc<impl ExtendedQueryHandler> {
        Arc::clone(&self.service)
    }

    fn startup_handler(&self) -> Arc<impl StartupHandler> {
        Arc::clone(&self.startup)
    }

    fn cancel_handler(&self) -> Arc<impl CancelHandler> {
        Arc::clone(&self.cancel)
    }
}

/// Lets nobody in without a password, nor in the clear where there is TLS.
struct Startup {
    sasl: SASLAuthStartupHandler<DefaultServerParameterProvider>,
    encrypted: bool,
    denied: IntCounter,
}

#[async_trait]
impl StartupHandler for Startup {
    async fn on_startup<C>(&self, client: &mut C, message: PgWireFrontendMessage) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: std::fmt::Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        if self.encrypted && !client.is_secure() {
            return Err(refused(
                "FATAL",
                "28000",
                "connections are encrypted here: connect with sslmode=require or better",
            ));
        }
        let outcome = self.sasl.on_startup(client, message).await;
        if outcome.is_err() {
            self.denied.inc();
            // Who guesses waits.
            tokio::time::sleep(DENIED_WAIT).await;
        }
        outcome
    }
}

/// The passwords of a file, salted for one exchange.
struct Passwords(Fresh<Users>);

impl std::fmt::Debug for Passwords {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("passwords")
    }
}

#[async_trait]
impl AuthSource for Passwords {
    async fn get_password(&self, login: &LoginInfo) -> PgWireResult<Password> {
        let salt = random_nonce().into_bytes();
        let users = self.0.get();
        // Who is unknown is asked for a password like everybody, and none is the right one.
        let password = match login.user().and_then(|user| users.get(user)) {
            Some(password) => password.clone(),
            None => random_nonce(),
        };
        let salted = gen_salted_password(&password, &salt, SCRAM_ITERATIONS);
        Ok(Password::new(Some(salt), salted))
    }
}

/// Lets through what reads, and settings of the client's own session.
struct ReadOnly;

impl ReadOnly {
    async fn check(statement: &Statement, session: &SessionContext) -> PgWireResult<()> {
        match statement {
            Statement::Query(_) | Statement::Explain { .. } => plan(statement.clone(), session).await,
            Statement::Declare { stmts } => {
                for query in stmts.iter().filter_map(|declared| declared.for_query.clone()) {
                    plan(Statement::Query(query), session).await?;
                }
                Ok(())
            }
            Statement::Set(Set::SingleAssignment { variable, .. })
                if variable.to_string().to_lowercase().starts_with("datafusion") =>
            {
                Err(refused("ERROR", "42501", "settings of the server are not the client's"))
            }
            Statement::Set(_)
            | Statement::ShowVariable { .. }
            | Statement::ShowVariables { .. }
            | Statement::ShowStatus { .. }
            | Statement::ShowTables { .. }
            | Statement::ShowColumns { .. }
            | Statement::ShowCatalogs { .. }
            | Statement::ShowSchemas { .. }
            | Statement::ExplainTable { .. }
            | Statement::StartTransaction { .. }
            | Statement::Commit { .. }
            | Statement::Rollback { .. }
            | Statement::Savepoint { .. }
            | Statement::ReleaseSavepoint { .. }
            | Statement::Fetch { .. }
            | Statement::Close { .. }
            | Statement::Deallocate { .. }
            | Statement::Discard { .. } => Ok(()),
            _ => Err(refused("ERROR", "25006", "the history is read only")),
        }
    }
}

/// Plans a query, and refuses what does more than read: `SELECT … INTO` looks like a query.
async fn plan(statement: Statement, session: &SessionContext) -> PgWireResult<()> {
    let plan = session.state().statement_to_plan(Parsed::Statement(Box::new(statement))).await;
    let reads = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    // What cannot be planned is told where it is carried out.
    match plan.map(|plan| reads.verify_plan(&plan)) {
        Ok(Err(_)) => Err(refused("ERROR", "25006", "the history is read only")),
        _ => Ok(()),
    }
}

/// An answer with an SQLSTATE of PostgreSQL's (its documentation, appendix A).
fn refused(severity: &str, code: &str, message: &str) -> PgWireError {
    PgWireError::UserError(Box::new(ErrorInfo::new(severity.into(), code.into(), message.into())))
}

#[async_trait]
impl QueryHook for ReadOnly {
    async fn handle_simple_query(
        &self,
        statement: &Statement,
        session: &SessionContext,
        _: &mut dyn HookClient,
    ) -> Option<PgWireResult<Response>> {
        ReadOnly::check(statement, session).await.err().map(Err)
    }

    async fn handle_extended_parse_query(
        &self,
        statement: &Statement,
        session: &SessionContext,
        _: &(dyn ClientInfo + Send + Sync),
    ) -> Option<PgWireResult<LogicalPlan>> {
        ReadOnly::check(statement, session).await.err().map(Err)
    }

    async fn handle_extended_query(
        &self,
        _: &Statement,
        _: &LogicalPlan,
        _: &ParamValues,
        _: &SessionContext,
        _: &mut dyn HookClient,
    ) -> Option<PgWireResult<Response>> {
        None
    }
}
