//! Every numeric limit of the product, with its unit in its name and the reason for its value.

use std::time::Duration;

/// The largest request body, in bytes. An order of 50 items with notes needs about 20 KiB; bodies
/// are buffered whole, so this times the connections is what slow senders can make us hold.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// How much of a body that is too large is read and thrown away, in bytes, so that an honest client
/// gets to read the refusal instead of a reset connection.
pub const BODY_DISCARD_BYTES_MAX: usize = 2 * 1024 * 1024;
/// How deep JSON may be nested. The deepest honest request has four levels; recursion in
/// whoever handles the value later stays harmless.
pub const JSON_DEPTH_MAX: usize = 32;
/// The longest refusal text that quotes the client's own input, in characters.
pub const DETAIL_CHARS_MAX: usize = 300;
/// The longest `x-request-id` that is taken over from a client, in bytes; a UUID has 36.
pub const REQUEST_ID_BYTES_MAX: usize = 128;

/// The most lines in one order: more is a catering contract, and bounds the work of one transaction.
pub const ORDER_ITEMS_MAX: usize = 50;
/// The smallest quantity of a line.
pub const ITEM_QUANTITY_MIN: u32 = 1;
/// The largest quantity of a line; beyond it a typing error is likelier than thirst.
pub const ITEM_QUANTITY_MAX: u32 = 100;
/// The longest idempotency key, in bytes, as in the API's contract.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
/// How long a repeated request waits for the first one that is still in flight.
pub const IDEMPOTENCY_WAIT: Duration = Duration::from_secs(2);
/// The longest page of a list, in orders: about 200 KiB of JSON.
pub const PAGE_ORDERS_MAX: u32 = 200;
/// The page of a list when the client names none, in orders.
pub const PAGE_ORDERS_DEFAULT: u32 = 50;
/// The longest long-poll; most proxies cut a silent request at 60 s.
pub const WAIT_MAX: Duration = Duration::from_secs(60);
/// The silence after which an event stream says that it lives; less than half the connection's
/// idle limit, so that one lost beat cuts nobody off.
pub const SSE_HEARTBEAT: Duration = Duration::from_secs(15);
/// The `Retry-After` of every refusal that is over soon, in seconds.
pub const RETRY_AFTER_SECONDS: u32 = 1;

/// The longest name of a queue or a station, and the longest code of a failure, in bytes: they stand in logs,
/// metrics and addresses.
pub const QUEUE_CHARS_MAX: usize = 64;
/// Queues that one worker asks of at once: a shop has a handful of stations.
pub const QUEUES_AT_ONCE_MAX: usize = 16;
/// Tasks that one worker is given at once: what it cannot begin soon, others wait for.
pub const TASKS_AT_ONCE_MAX: usize = 100;
/// The longest that a worker is held; most proxies cut a silent request at 60 s.
pub const TASK_WAIT_MAX: Duration = Duration::from_secs(30);
/// The shortest lease of a task: below it a busy network loses work that is being done.
pub const TASK_LEASE_MIN: Duration = Duration::from_secs(1);
/// The longest lease of a task: so long the work of a dead worker lies still.
pub const TASK_LEASE_MAX: Duration = Duration::from_secs(1_800);
/// The progress, or the result, of a task, in bytes of JSON: it is handed on, not worked with.
pub const TASK_JSON_BYTES_MAX: usize = 16 * 1024;
/// The largest limit of tasks in workers' hands, far above any shop's.
pub const QUEUE_IN_FLIGHT_MAX: i32 = 1_000_000;
/// The largest rate of a queue, in claims a second, far above any shop's.
pub const QUEUE_RATE_MAX: f64 = 1_000_000.0;

/// Connections for reading (status, lists, history), apart so that stuck writers starve no reader.
pub const POOL_READ_CONNECTIONS: u32 = 8;
/// Connections for the journal's writers: two a lane is all the group commit uses.
pub const POOL_WRITE_CONNECTIONS: u32 = 4;
/// Dry runs at the same time, each with a connection for writing. Half of those, so that however many
/// customers ask what would be, cancellations and collections find one.
pub const DRY_RUNS_AT_ONCE: usize = 2;
/// Connections for the lease, the tick and take-over.
pub const POOL_DRIVE_CONNECTIONS: u32 = 4;
/// The most calls in flight that a participant can be limited to: beyond it no replica has sagas to fill it.
pub const PARTICIPANT_IN_FLIGHT_MAX: i32 = 100_000;
/// The slowest rate that a participant can be limited to, in calls a second: one in a quarter of an hour. Who
/// wants less wants none, and says so.
pub const PARTICIPANT_RATE_MIN: f64 = 0.001;
/// The highest rate that a participant can be limited to, in calls a second: more than all replicas make.
pub const PARTICIPANT_RATE_MAX: f64 = 100_000.0;
/// Calls in a row of which nobody knows what became of them, over all replicas, that open a participant's
/// circuit. Of a participant that fails every tenth call by itself that is one row in a hundred thousand.
pub const BREAKER_FAILURES: u32 = 5;
/// Of how many orders they must be: what one order asks for may be what cannot be answered.
pub const BREAKER_ORDERS: u32 = 2;
/// The silence after which a row of failures is over: in a shop at night two failures an hour apart are not one.
pub const BREAKER_WINDOW: Duration = Duration::from_secs(60);
/// How long a circuit is open at first. A restart of the participant takes a second or some.
pub const BREAKER_OPEN_FIRST: Duration = Duration::from_secs(1);
/// How long a circuit is open at most, unless its participant wishes for more: after it is back, orders wait half
/// of that on average.
pub const BREAKER_OPEN_MAX: Duration = Duration::from_secs(30);

/// How long anyone waits for a connection before the request is refused as overload.
pub const POOL_ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a replica owns its buckets after its last renewal, by the database's clock, in seconds,
/// when nothing is said. It is renewed three times in that time, and after two thirds without a
/// renewal a replica stops itself, so that it has stopped before anyone else may start.
pub const LEASE_SECONDS_DEFAULT: u32 = 10;
/// The shortest lease, in seconds: below it a busy machine misses renewals, and buckets wander.
pub const LEASE_SECONDS_MIN: u32 = 2;
/// The longest lease, in seconds: so long the orders of a dead replica lie still.
pub const LEASE_SECONDS_MAX: u32 = 300;

/// How often the metrics recorder folds its samples, without which they pile up when nobody scrapes.
pub const METRICS_UPKEEP_INTERVAL: Duration = Duration::from_secs(5);
/// How long the client waits for a TCP connection; a shop's server is near or down.
pub const CLIENT_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest silence the client takes from a server: three heartbeats of an event stream.
pub const CLIENT_READ_TIMEOUT: Duration = Duration::from_secs(45);
/// How often the client picks up a cut event stream before it gives up.
pub const CLIENT_RESUMES_MAX: u32 = 10;
/// The pause before the client picks up a cut event stream.
pub const CLIENT_RESUME_PAUSE: Duration = Duration::from_millis(500);
/// The longest line of an event stream that the client keeps, in bytes.
pub const CLIENT_EVENT_BYTES_MAX: usize = 1024 * 1024;

/// What the counter lets in, and how long it waits for it. A struct, so that tests can use small ones.
#[derive(Debug, Clone)]
pub struct HttpLimits {
    /// Open connections; each costs about 10 KiB, and the usual limit of file descriptors is higher.
    pub connections: usize,
    /// Connections beyond the cap that are told so at the same time; more are just closed.
    pub refusals: usize,
    /// From the first byte of a request (or the start of the connection) to the end of its head.
    /// An honest head comes in one packet.
    pub head_timeout: Duration,
    /// From the end of an answer to the first byte of the next request.
    pub idle_timeout: Duration,
    /// From the end of the head to the end of the body.
    pub body_timeout: Duration,
    /// How long a client may take nothing of an answer that waits for it.
    pub write_timeout: Duration,
    /// How long a stopping server waits for the requests in flight.
    pub drain_timeout: Duration,
    /// Header lines of a request; browsers behind two proxies send about 30.
    pub headers: usize,
    /// Bytes of a request's head.
    pub head_bytes: usize,
    /// Bytes of a request's body.
    pub body_bytes: usize,
    /// Requests that work at the same time; twice what the group commit needs to be full.
    pub working: usize,
    /// Requests that only wait at the same time (event streams and long-polls). They hold memory
    /// but no connection to the database. With `working` it is what `connections` can bring.
    pub waiting: usize,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connections: 4096,
            refusals: 64,
            head_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(10),
            headers: 64,
            head_bytes: 32 * 1024,
            body_bytes: BODY_BYTES_MAX,
            working: 2048,
            waiting: 3072,
        }
    }
}
