//! Workers for the tests: by the API, and as processes.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use crate::world::{
    api::{Answer, Api},
    eventually,
    house::{FAST, House},
    replica::crema,
    until,
};

/// A house whose workers pull everything.
pub(super) async fn pulling() -> House {
    House::with(&[&FAST[..], &["--kitchen-pull=all"]].concat()).await
}

/// Asks once.
pub(super) async fn poll(api: &Api, queue: &str, body: &Value) -> Vec<Value> {
    let answer = api.post(&format!("/v1/queues/{queue}/poll"), body).await.expect(200);
    answer["tasks"].as_array().unwrap().clone()
}

/// Asks for one task of the bar, and is held until there is one.
pub(super) async fn next(api: &Api, worker: &str) -> Value {
    next_of(api, "bar", worker).await
}

/// Asks for one task, and is held until there is one.
pub(super) async fn next_of(api: &Api, queue: &str, worker: &str) -> Value {
    let body = json!({ "worker": worker, "wait": "30s", "lease": "60s" });
    until("a task", async || poll(api, queue, &body).await.pop()).await
}

/// Tells something of a task.
pub(super) async fn tell(api: &Api, task: &Value, what: &str, body: &Value) -> Answer {
    let token = task["token"].as_str().unwrap();
    api.post(&format!("/v1/tasks/{token}/{what}"), body).await
}

/// Makes a task.
pub(super) async fn complete(api: &Api, task: &Value) {
    let told = tell(api, task, "complete", &json!({ "result": { "by": "a test" } })).await;
    assert_eq!(told.expect(200)["state"], "done");
}

/// A number out of the database.
pub(super) async fn number(house: &House, sql: &str) -> i64 {
    let sql = AssertSqlSafe(sql.to_owned());
    sqlx::query_scalar(sql).fetch_one(&mut house.connection().await).await.unwrap()
}

/// Changes something behind everybody's back.
pub(super) async fn execute(house: &House, sql: &str) {
    let sql = AssertSqlSafe(sql.to_owned());
    sqlx::raw_sql(sql).execute(&mut house.connection().await).await.unwrap();
}

/// As many tasks as this are there.
pub(super) async fn tasks_are_there(house: &House, tasks: i64) {
    until("the tasks are there", async || {
        (number(house, "select count(*) from task").await == tasks).then_some(())
    })
    .await;
}

/// The states of all tasks, in the order of their lines, with a star where they were made in vain.
pub(super) async fn states(house: &House) -> Vec<String> {
    let sql = "select state || case when wasted then '*' else '' end from task
                order by saga_id, (payload->>'line')::int";
    sqlx::query_scalar(sql).fetch_all(&mut house.connection().await).await.unwrap()
}

/// A worker that is a process. Killed when dropped.
pub(super) struct Process {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Process {
    /// `crema work`, with these arguments besides.
    pub(super) fn work(api: &Api, worker: &str, more: &[&str]) -> Self {
        let mut command = crema();
        command.args(["work", "--server", &api.url(""), "--worker", worker]).args(more);
        Self::start(command)
    }

    pub(super) fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (out, kept) = (BufReader::new(child.stdout.take().unwrap()), lines.clone());
        thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                kept.lock().unwrap().push(line);
            }
        });
        Self { child, lines }
    }

    /// Waits until it says this.
    pub(super) async fn says(&self, words: &str) {
        let says = || self.lines.lock().unwrap().iter().any(|it| it.contains(words));
        eventually(&format!("it says `{words}`"), says).await;
    }

    pub(super) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// Waits for its end; whether it ended well.
    pub(super) async fn ended(&mut self) -> bool {
        let mut status = None;
        eventually("the worker ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.unwrap().success()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
