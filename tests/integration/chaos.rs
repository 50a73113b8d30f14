//! Processes that die, and servers that do not answer, while manifests are run.
//!
//! `MILLWORK_CHAOS_MANIFESTS`, `MILLWORK_CHAOS_KILLS` and `MILLWORK_OUTAGE_SECONDS` make it longer, `MILLWORK_CHAOS_SEED`
//! different.

use crate::fleet::{Fleet, World, gzip};
use crate::place::{Running, signal, wait_for_end};
use crate::random::Random;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

fn manifests() -> usize {
    from_env("MILLWORK_CHAOS_MANIFESTS", 24) as usize
}

/// How long a load takes that nothing disturbs.
fn undisturbed(world: &World, manifests: usize) -> Duration {
    let load = world.load(manifests);
    let fleet = Fleet::start(world, 1, 3);
    let started = Instant::now();
    fleet.submit_all(0, &load);
    fleet.wait_until("all runs are completed", || fleet.are_completed(0, &load));
    started.elapsed()
}

fn has_turn(run: &serde_json::Value) -> bool {
    matches!(run["state"].as_str(), Some("planning" | "running"))
}

/// Kills the scheduler or an executor every 3 to 5 seconds, and starts it again at once.
fn killed_all_the_time(undisturbed: Duration, world: &World, manifests: usize) {
    let load = world.load(manifests);
    let mut fleet = Fleet::start(world, 1, 3);
    let random = Random::new(from_env("MILLWORK_CHAOS_SEED", 5));
    let started = Instant::now();
    let most = from_env("MILLWORK_CHAOS_KILLS", 6);
    let (mut kills, mut next) = (0, started + Duration::from_millis(500));
    let mut documents = load.documents.iter();
    loop {
        // The first hits something that is going on.
        let is_time = next <= Instant::now() && (kills > 0 || fleet.runs(0).iter().any(has_turn));
        if is_time && kills < most {
            // The second follows the first, so that a short load sees both kinds.
            next = Instant::now()
                + Duration::from_millis(if kills == 0 { 1000 } else { 3000 + random.below(2000) as u64 });
            // One in three is the scheduler: in DynamoDB, it takes up to eight seconds until another leads.
            if kills % 3 == 0 {
                fleet.kill_scheduler(0);
                fleet.start_scheduler(0);
            } else {
                fleet.replace_executor(random.below(3));
            }
            kills += 1;
        }
        match documents.next() {
            Some(document) => assert_eq!(fleet.submit(0, document).0, 202, "{document}"),
            None if fleet.are_completed(0, &load) => break,
            None => std::thread::sleep(Duration::from_millis(200)),
        }
        assert!(started.elapsed() < Duration::from_secs(500), "{}", fleet.logs());
    }
    let took = started.elapsed();
    let again = fleet.runs(0).iter().filter(|run| run["attempts"].as_u64() > Some(1)).count();
    let lost = (took.saturating_sub(undisturbed)).as_secs_f64() / kills as f64;
    println!(
        "{manifests} manifests, {kills} kills: {took:.1?}, undisturbed {undisturbed:.1?}: {lost:.1} s lost a kill; {again} runs made again"
    );
    assert!(again > 0, "no kill hit a run");
    assert!(lost < 15.0, "{}", fleet.logs());
    fleet.check(0, &load);
}

#[test]
fn chaos_kills_lose_and_double_nothing_in_directories() {
    // Local files are quick: more of them, so that kills hit something.
    let manifests = 10 * manifests();
    killed_all_the_time(undisturbed(&World::local(), manifests), &World::local(), manifests);
}

#[test]
fn chaos_kills_lose_and_double_nothing_in_buckets() {
    killed_all_the_time(undisturbed(&World::cloud(), manifests()), &World::cloud(), manifests());
}

/// Kills the scheduler that runs manifests; another takes over within a time.
fn a_standby_takes_over(world: &World, limit: Duration) {
    let load = world.load(manifests());
    let mut fleet = Fleet::start(world, 2, 3);
    fleet.submit_all(0, &load);
    fleet.wait_until("work is going on", || fleet.attempts(1) >= 3);
    let killed = Instant::now();
    fleet.kill_scheduler(0);
    let before = fleet.attempts(1);
    fleet.wait_until("the other starts an attempt", || fleet.attempts(1) > before);
    let taken_over = killed.elapsed();
    fleet.wait_until("executors have come over", || fleet.connected(1) == 3);
    println!("taken over after {taken_over:.1?}, with all executors after {:.1?}", killed.elapsed());
    fleet.wait_until("all runs are completed", || fleet.are_completed(1, &load));
    assert!(taken_over < limit, "{taken_over:?} {}", fleet.logs());
    fleet.check(1, &load);
}

#[test]
fn chaos_a_standby_takes_over_in_directories() {
    a_standby_takes_over(&World::local(), Duration::from_secs(2));
}

#[test]
fn chaos_a_standby_takes_over_in_buckets() {
    a_standby_takes_over(&World::cloud(), Duration::from_secs(10));
}

#[test]
fn chaos_an_executor_that_is_told_to_stop_ends_with_and_without_a_scheduler() {
    let world = World::local();
    let load = world.load(manifests());
    let mut fleet = Fleet::start(&world, 1, 3);
    fleet.submit_all(0, &load);
    let mut first = fleet.executors.remove(0);
    signal(&first, "TERM");
    assert_eq!(wait_for_end(&mut first), Some(0), "{}", fleet.logs());
    fleet.wait_until("all runs are completed", || fleet.are_completed(0, &load));
    fleet.kill_scheduler(0);
    fleet.wait_until("both have seen it", || {
        fleet.logs().lines().filter(|line| line.contains("the scheduler is gone")).count() >= 2
    });
    let mut second = fleet.executors.remove(0);
    let told = Instant::now();
    signal(&second, "TERM");
    assert_eq!(wait_for_end(&mut second), Some(0), "{}", fleet.logs());
    assert!(told.elapsed() < Duration::from_secs(3));
    let started = Instant::now();
    fleet.start_scheduler(0);
    fleet.wait_until("the third is there", || fleet.connected(0) == 1);
    println!("connected {:.1?} after the start of a scheduler", started.elapsed());
    fleet.check(0, &load);
}

/// A small file whose lines are so many and long that a task has to do with it for seconds. Returns their number, too.
pub(crate) fn long_file() -> (u64, Vec<u8>) {
    long_file_of(from_env("MILLWORK_LONG_MEMBERS", 2000) as usize)
}

/// The same, of so many megabytes when it is decompressed.
fn long_file_of(members: usize) -> (u64, Vec<u8>) {
    let line = |text: &str| format!("{{\"text\": \"{text}\"}}\n");
    // By the first lines it is told how large the output gets: as large as several files.
    let random = Random::new(3);
    let first: String = (0..20_000).map(|_| line(&format!("{:x}{:x}", random.next(), random.next()))).collect();
    let rest = gzip(line(&"long ".repeat(2000)).repeat(100).as_bytes());
    (20_000 + 100 * members as u64, [gzip(first.as_bytes()), rest.repeat(members)].concat())
}

/// A run of one attempt has made all rows. Returns the executors that wrote them.
fn made_at_once(fleet: &Fleet, id: &str, rows: u64) -> Vec<String> {
    let run = || fleet.get(0, &format!("runs/{id}"));
    fleet.wait_until("the run has ended", || matches!(run()["state"].as_str(), Some("completed" | "failed")));
    let run = run();
    assert_eq!((&run["state"], &run["attempts"]), (&"completed".into(), &1.into()), "{run}\n{}", fleet.logs());
    assert_eq!(run["result"]["rows"], rows, "{run}");
    let outputs = run["result"]["outputs"].as_array().unwrap().iter();
    let mut executors: Vec<_> = outputs.map(|output| output["executor"].as_str().unwrap().to_owned()).collect();
    executors.sort();
    executors.dedup();
    executors
}

/// Has a run of one task, and tells the executor that has it to stop. Returns its number, too.
fn told_to_stop_in_the_middle(fleet: &mut Fleet<'_>, document: &Value) -> (usize, Running) {
    assert_eq!(fleet.submit(0, document).0, 202);
    fleet.wait_until("an executor has the task", || fleet.tasks("long").len() == 1);
    let (number, _) = fleet.tasks("long")[0];
    let told = fleet.executors.remove(number);
    signal(&told, "TERM");
    (number, told)
}

#[test]
fn chaos_an_executor_that_is_told_to_stop_finishes_its_task_and_reports_it() {
    let world = World::local();
    let (rows, content) = long_file();
    let document = world.manifest("long", &[world.input("2025-12-01-a.ndjson.gz", content)]);
    let mut fleet = Fleet::start(&world, 1, 2);
    let (number, mut told) = told_to_stop_in_the_middle(&mut fleet, &document);
    fleet.wait_until("the scheduler knows", || fleet.is_draining(0));
    assert_eq!(fleet.tasks("long"), [(number, false)], "the task should go on where it is");
    assert_eq!(made_at_once(&fleet, "long", rows), [format!("executor-{number}")]);
    assert_eq!(wait_for_end(&mut told), Some(0), "{}", fleet.logs());
}

/// A run of two tasks on two executors, when one of them is done. Returns the number of the executor that did it.
fn half_done(fleet: &Fleet<'_>, document: &Value) -> usize {
    assert_eq!(fleet.submit(0, document).0, 202);
    let mut tasks = Vec::new();
    fleet.wait_until("one of two tasks is done", || {
        tasks = fleet.tasks("both");
        tasks.len() == 2 && tasks.iter().any(|(_, is_done)| *is_done)
    });
    tasks.iter().find(|(_, is_done)| *is_done).unwrap().0
}

/// A manifest of a task that is done quickly and one that takes long, with the rows of both.
fn quick_and_long(world: &World) -> (u64, Value) {
    let (rows, content) = long_file_of(600);
    // Large enough for a task of its own.
    let random = Random::new(4);
    let line = |_| format!("{{\"text\": \"{:x}{:x}\"}}\n", random.next(), random.next());
    let quick: String = (0..60_000).map(line).collect();
    let uris = [world.input("2025-12-01-a.ndjson", quick.into_bytes()), world.input("2025-12-01-b.ndjson.gz", content)];
    (rows + 60_000, world.manifest("both", &uris))
}

#[test]
fn chaos_an_executor_that_is_told_to_stop_after_its_task_ends_and_its_report_counts() {
    let world = World::local();
    let (rows, document) = quick_and_long(&world);
    let mut fleet = Fleet::start(&world, 1, 2);
    let mut told = {
        let number = half_done(&fleet, &document);
        fleet.executors.remove(number)
    };
    signal(&told, "TERM");
    assert_eq!(wait_for_end(&mut told), Some(0), "{}", fleet.logs());
    assert!(fleet.tasks("both").iter().any(|(_, is_done)| !is_done), "the other task should go on");
    assert_eq!(made_at_once(&fleet, "both", rows), ["executor-0", "executor-1"]);
}

#[test]
fn chaos_an_executor_that_is_killed_after_its_task_costs_nothing() {
    let world = World::local();
    let (rows, document) = quick_and_long(&world);
    let mut fleet = Fleet::start(&world, 1, 2);
    let number = half_done(&fleet, &document);
    let before = fleet.tasks("both");
    let killed = fleet.executors.remove(number);
    signal(&killed, "KILL");
    fleet.wait_until("its loss is noticed", || fleet.connected(0) == 1);
    assert_eq!(fleet.tasks("both"), before, "no task is run again");
    assert_eq!(made_at_once(&fleet, "both", rows), ["executor-0", "executor-1"]);
}

/// Kills the executor that is the first to finish one of so many tasks of a run, and has begun another where there are more tasks
/// than executors: only what it had not finished is run again. The other tasks decompress so many megabytes each.
fn killed_after_its_first_task(tasks: usize, executors: usize, megabytes: usize) {
    let world = World::local();
    let random = Random::new(4);
    let line = |_| format!("{{\"text\": \"{:x}{:x}\"}}\n", random.next(), random.next());
    let quick: String = (0..60_000).map(line).collect();
    let (rows, long) = long_file_of(megabytes);
    let mut uris = vec![world.input("2025-12-01-0.ndjson", quick.into_bytes())];
    uris.extend((1..tasks).map(|n| world.input(&format!("2025-12-01-{n}.ndjson.gz"), long.clone())));
    let rows = 60_000 + rows * (tasks as u64 - 1);
    let mut fleet = Fleet::start(&world, 1, executors);
    assert_eq!(fleet.submit(0, &world.manifest("killed", &uris)).0, 202);
    let mut seen = Vec::new();
    fleet.wait_until("a task is done", || {
        seen = fleet.tasks("killed");
        seen.iter().any(|(_, is_done)| *is_done)
    });
    assert!(seen.iter().any(|(_, is_done)| !is_done), "the other tasks should go on");
    let number = seen.iter().find(|(_, is_done)| *is_done).unwrap().0;
    let killed = fleet.executors.remove(number);
    signal(&killed, "KILL");
    let writers = made_at_once(&fleet, "killed", rows);
    assert!(writers.contains(&format!("executor-{number}")), "its task was run again: {writers:?}");
    let ids = ["killed".to_owned()];
    assert_eq!(world.ask_oracle(&ids)["rows"].as_u64(), Some(rows));
}

#[test]
fn chaos_an_executor_that_is_killed_after_the_first_of_three_tasks_costs_its_unfinished_tasks() {
    killed_after_its_first_task(3, 3, 300);
}

#[test]
fn chaos_an_executor_that_is_killed_after_the_first_of_eight_tasks_costs_its_unfinished_tasks() {
    killed_after_its_first_task(8, 4, 80);
}

#[test]
fn chaos_an_executor_that_is_killed_with_the_only_task_costs_no_attempt() {
    let world = World::local();
    let (rows, content) = long_file_of(300);
    let document = world.manifest("long", &[world.input("2025-12-01-a.ndjson.gz", content)]);
    let mut fleet = Fleet::start(&world, 1, 2);
    assert_eq!(fleet.submit(0, &document).0, 202);
    fleet.wait_until("an executor has the task", || fleet.tasks("long").len() == 1);
    let (number, _) = fleet.tasks("long")[0];
    let killed = fleet.executors.remove(number);
    signal(&killed, "KILL");
    assert_eq!(made_at_once(&fleet, "long", rows), [format!("executor-{}", 1 - number)]);
}

/// An executor that stood still for so long goes on, and each row is there once.
fn stands_still(seconds: u64) {
    let world = World::local();
    let (rows, document) = quick_and_long(&world);
    let fleet = Fleet::start(&world, 1, 2);
    let done = half_done(&fleet, &document);
    for executor in [&fleet.executors[done], &fleet.executors[1 - done]] {
        signal(executor, "STOP");
        std::thread::sleep(Duration::from_secs(seconds));
        signal(executor, "CONT");
    }
    made_at_once(&fleet, "both", rows);
    fleet.wait_until("both are there again", || fleet.connected(0) == 2);
    let ids = ["both".to_owned()];
    assert_eq!(world.ask_oracle(&ids)["rows"].as_u64(), Some(rows));
}

#[test]
fn chaos_an_executor_that_stands_still_for_a_moment_keeps_its_tasks() {
    stands_still(5);
}

#[test]
fn chaos_an_executor_that_stands_still_for_long_comes_back_as_another() {
    stands_still(from_env("MILLWORK_STILL_SECONDS", 12));
}

#[test]
fn chaos_an_executor_that_is_told_to_stop_twice_ends_at_once() {
    let world = World::local();
    let (rows, content) = long_file();
    let document = world.manifest("long", &[world.input("2025-12-01-a.ndjson.gz", content)]);
    let mut fleet = Fleet::start(&world, 1, 2);
    let (number, mut told) = told_to_stop_in_the_middle(&mut fleet, &document);
    fleet.wait_until("the scheduler knows", || fleet.is_draining(0));
    signal(&told, "TERM");
    let again = Instant::now();
    assert_eq!(wait_for_end(&mut told), Some(0), "{}", fleet.logs());
    assert!(again.elapsed() < Duration::from_secs(3), "{:?}", again.elapsed());
    assert_eq!(made_at_once(&fleet, "long", rows), [format!("executor-{}", 1 - number)]);
}

#[test]
fn chaos_a_scheduler_that_was_away_ends_and_doubles_nothing() {
    let world = World::cloud();
    let load = world.load(manifests());
    let mut fleet = Fleet::start(&world, 2, 3);
    fleet.submit_all(0, &load);
    fleet.wait_until("work is going on", || fleet.attempts(1) >= 3);
    signal(fleet.schedulers[0].as_ref().unwrap(), "STOP");
    let before = fleet.attempts(1);
    fleet.wait_until("the other starts an attempt", || fleet.attempts(1) > before);
    signal(fleet.schedulers[0].as_ref().unwrap(), "CONT");
    let mut zombie = fleet.schedulers[0].take().unwrap();
    let resumed = Instant::now();
    assert_eq!(wait_for_end(&mut zombie), Some(1), "{}", fleet.logs());
    println!("the one that was away ended after {:.1?}", resumed.elapsed());
    fleet.wait_until("all runs are completed", || fleet.are_completed(1, &load));
    fleet.check(1, &load);
}

/// Storage and state, both, do not answer for a while.
fn an_outage(world: &World, begin: impl FnOnce(), end: impl FnOnce()) {
    let outage = Duration::from_secs(from_env("MILLWORK_OUTAGE_SECONDS", 8));
    let load = world.load(manifests());
    let mut fleet = Fleet::start(world, 1, 3);
    fleet.submit_all(0, &load);
    fleet.wait_until("work is going on", || fleet.attempts(0) >= 3);
    begin();
    std::thread::sleep(outage);
    end();
    let back = Instant::now();
    fleet.wait_until("all runs are completed", || fleet.are_completed(0, &load));
    let again = fleet.runs(0).iter().filter(|run| run["attempts"].as_u64() > Some(1)).count();
    println!("{outage:?} of outage; all completed {:.1?} after it, {again} in another attempt", back.elapsed());
    let scheduler = fleet.schedulers[0].as_mut().unwrap();
    assert!(scheduler.0.try_wait().unwrap().is_none(), "the scheduler ended");
    fleet.check(0, &load);
}

#[test]
fn chaos_an_outage_in_silence_is_waited_out() {
    let world = World::cloud();
    let aws = world.aws.as_ref().unwrap();
    an_outage(&world, || aws.signal("STOP"), || aws.signal("CONT"));
}

#[test]
fn chaos_an_outage_that_refuses_connections_is_waited_out() {
    let world = World::cloud();
    let proxy = world.proxy.as_ref().unwrap();
    an_outage(&world, || proxy.refuse(), || proxy.accept());
}

#[test]
fn chaos_poisoned_manifests_in_buckets_fail_by_name_and_hold_up_nobody() {
    let world = World::cloud();
    let good = world.load(6);
    let fleet = Fleet::start(&world, 1, 2);
    let whole = gzip(&b"{\"a\": \"some text that is long enough\"}\n".repeat(2000));
    let torn = world.input("2025-11-01-torn.ndjson.gz", whole[..whole.len() / 2].to_vec());
    let there = world.input("2025-11-02-a.ndjson", b"{\"a\": 1}\n".to_vec());
    let torn = json!({"fileLocations": [{"URIPrefixes": [torn]}], "metadata": {"manifest_id": "torn"}});
    let gone = json!({"fileLocations": [{"URIPrefixes": [there, "s3://acme-input/2025-11-02-gone.ndjson"]}],
        "metadata": {"manifest_id": "gone"}});
    let mixed = json!({"fileLocations": [{"URIPrefixes": ["s3://acme-input/2025-11-03-a.ndjson",
        "s3://acme-input/2025-11-04-a.ndjson"]}], "metadata": {"manifest_id": "mixed"}});
    // One's entity tag is right, its size is not. It is none of those that are looked at before the conversion.
    let file = |number: usize| {
        let name = if number == 1 { "short".to_owned() } else { format!("{number:02}") };
        let uri = world.input(&format!("2025-11-05-{number:02}-{name}.ndjson"), b"{\"a\": 1}\n".to_vec());
        let size = if number == 1 { 4 } else { 9 };
        json!({"uri": uri, "size_bytes": size, "etag": "a01637863c1f9585c3e38cde6ce20940"})
    };
    let files: Vec<_> = (0..70).map(file).collect();
    let uris: Vec<_> = files.iter().map(|file| file["uri"].clone()).collect();
    let short = json!({"fileLocations": [{"URIPrefixes": uris}], "metadata": {"manifest_id": "short", "files": files}});
    assert_eq!(fleet.submit(0, &short).0, 202);
    assert_eq!(fleet.submit(0, &torn).0, 202);
    assert_eq!(fleet.submit(0, &gone).0, 202);
    let (status, refused) = fleet.submit(0, &mixed);
    assert!(status == 400 && refused["error"]["message"].as_str().unwrap().contains("mixes dates"), "{refused}");
    fleet.submit_all(0, &good);
    let failure = |id: &str| {
        fleet.wait_until("a poisoned run fails", || fleet.get(0, &format!("runs/{id}"))["state"] == "failed");
        let failure = fleet.get(0, &format!("runs/{id}"))["failure"].clone();
        assert_eq!(failure["class"], "input", "{failure}");
        failure["message"].as_str().unwrap().to_owned()
    };
    assert!(failure("gone").contains("2025-11-02-gone.ndjson` does not exist"), "{}", failure("gone"));
    assert!(failure("torn").contains("2025-11-01-torn.ndjson.gz"), "{}", failure("torn"));
    assert!(failure("short").contains("2025-11-05-01-short.ndjson` changed"), "{}", failure("short"));
    let completed = || fleet.runs(0).iter().filter(|run| run["state"] == "completed").count();
    fleet.wait_until("the good ones are completed", || completed() == good.documents.len());
    fleet.check(0, &good);
}
