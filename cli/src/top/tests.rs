use super::ask::Told;
use super::canvas::{text_of, width};
use super::change::Wish;
use super::draw::{Look, draw};
use super::model::{Entry, Main, Model, Tone, View};
use super::state::{State, Then};
use chrono::{DateTime, Utc};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Color;
use serde_json::{Value, json};

fn now() -> DateTime<Utc> {
    "2026-01-02T14:03:22Z".parse().unwrap()
}

fn run(id: &str, state: &str, more: &Value) -> Value {
    let mut run = json!({
        "manifest_id": id, "date": "2025-12-23", "manifest_uri": "inline:x", "state": state, "priority": 0, "files": 24,
        "bytes": 752_000_000, "attempts": 1, "failures": 0, "generation": 1, "not_before": null,
        "cancel_requested": false, "failure": null, "created_at": "2026-01-02T13:00:00Z",
        "updated_at": "2026-01-02T14:00:00Z", "started_at": null, "committed_at": null, "ended_at": null,
        "seconds": null, "summary": null
    });
    run.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    run
}

fn progress() -> Value {
    json!({
        "manifest_id": "2025-12-23-batch-0412", "attempt": 1, "phase": {"name": "convert", "since": "2026-01-02T14:03:00Z"},
        "steps": [], "read_bytes": 511_705_088, "bytes": 751_828_992, "percent": 68, "rows": 9, "rejected": 0,
        "written_bytes": 1, "tasks_done": 3, "tasks": 6, "bytes_per_second": 395_313_152.0, "eta_seconds": 0.6,
        "stages": []
    })
}

fn stats() -> Value {
    json!({
        "version": "0.1.0", "uptime_seconds": 1, "leads": true, "runs_counted_at": null, "runs": [],
        "queue_age_seconds": null, "files_counted_at": null,
        "files": [{"state": "pending", "files": 2311, "bytes": 1}, {"state": "processing", "files": 9800, "bytes": 1},
            {"state": "completed", "files": 318_204, "bytes": 1}, {"state": "failed", "files": 2, "bytes": 1}],
        "executors": 1, "slots": 64, "slots_used": 61,
        "converted": {"input_bytes": 0, "output_bytes": 0, "rows": 0}, "bytes_per_second": 20_761_804.8,
        "backlog_seconds": null,
        "forecast": {"outlook": "draining", "backlog_bytes": 30_172_145_254_u64, "low_seconds": 8900.0,
            "drain_seconds": 9440.0, "high_seconds": 10_500.0, "arrival_bytes_per_second": 13_736_345.6,
            "capacity_bytes_per_second": null}
    })
}

fn model() -> Model {
    let failure = json!({"class": "storage", "message": "503 SlowDown\u{1b}[2J of 出力", "file": null});
    let again = json!({"failures": 2, "not_before": "2026-01-02T14:04:00Z", "failure": failure});
    let runs = [
        run("2025-12-23-batch-0409", "queued", &again),
        run("2025-12-23-batch-0410", "queued", &json!({"priority": 5})),
        run("2025-12-23-batch-0388", "failed", &json!({"failure": failure})),
        run("2025-12-23-batch-0412", "running", &json!({"started_at": "2026-01-02T14:02:00Z"})),
    ];
    let runs = runs.into_iter().map(|run| serde_json::from_value(run).unwrap()).collect();
    let mut runs = Entry::in_order(runs);
    runs[0].progress = Some(serde_json::from_value(progress()).unwrap());
    let stats = serde_json::from_value(stats()).unwrap();
    let executor = json!({
        "id": "executor-3", "host": "10.0.0.7:50051", "machine": "host-3", "version": "0.1.0",
        "since": "2026-01-02T09:00:00Z", "last_seen": "2026-01-02T14:03:21Z", "draining_since": null, "vcores": 64,
        "tasks": 61, "runs": ["2025-12-23-batch-0412"], "bytes_per_second": 395_313_152.0,
        "memory_bytes": 1_073_741_824, "memory_limit_bytes": null, "finished_tasks": 1, "failed_tasks": 0
    });
    let executors = vec![serde_json::from_value(executor).unwrap()];
    let main = Main { at: now(), stats, runs, executors, details: None };
    let mut model = Model::new("http://127.0.0.1:8080", main);
    model.leader = Some("host-1".to_owned());
    model
}

fn state() -> State {
    State::new(model(), View::Runs)
}

const LOOK: Look = Look { has_colours: true, has_keys: true };

fn buffer(state: &State, columns: u16, lines: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(columns, lines)).unwrap();
    terminal.draw(|frame| draw(frame.buffer_mut(), state, LOOK, now())).unwrap();
    terminal.backend().buffer().clone()
}

fn frame(state: &State, columns: u16) -> String {
    text_of(&buffer(state, columns, 24))
}

fn press(state: &mut State, keys: &[KeyCode]) {
    for key in keys {
        let event = Event::Key(KeyEvent::new(*key, KeyModifiers::NONE));
        assert_eq!(state.on(&event, now()), Then::GoOn);
    }
}

#[test]
fn a_frame_shows_runs_in_order() {
    let text = frame(&state(), 80);
    let expected = "
 millwork top  host-1 leads  backlog 28.1 GiB, done 16:40 (16:31 to 16:58)
 in 13.1 MiB/s  out 19.8 MiB/s  14:03:22 UTC
 slots ███████████████░ 61/64  files: pending 2,311  in work 9,800  done 318,204
 failed 2
 [1 Runs]  2 Dates  3 Executors  4 Attention  5 Events
  RUN                    STATE             READ   LEFT  NOTE
▸ 2025-12-23-batch-0412  ● 68 %     488/717 MiB  0.6 s  convert
";
    assert!(text.starts_with(expected.trim_start_matches('\n')), "{text}");
    let order: Vec<_> = ["0412", "0410", "0409", "0388"].map(|id| text.find(id).unwrap()).into();
    assert!(order.is_sorted(), "{text}");
    assert!(text.contains("↻ retry 2") && text.contains("✗ failed") && text.contains("priority 5"), "{text}");
    assert!(text.trim_end().ends_with("o link"), "{text}");
}

#[test]
fn a_narrow_frame_has_what_matters() {
    let text = frame(&state(), 40);
    assert!(text.lines().all(|line| width(line) <= 40) && text.lines().count() <= 24, "{text}");
    assert!(text.contains("host-1 leads") && text.contains("61/64"), "{text}");
    assert!(text.contains("▸ 2025-12-23-batch-0412  ● 68 %"), "{text}");
}

#[test]
fn any_size_can_be_drawn() {
    for (columns, lines) in [(1, 1), (3, 50), (500, 2), (12, 7), (200, 60)] {
        for keys in [&[][..], &[KeyCode::Char('?')], &[KeyCode::Enter], &[KeyCode::Char('3')]] {
            let mut state = state();
            press(&mut state, keys);
            let _ = buffer(&state, columns, lines);
        }
    }
}

#[test]
fn names_from_outside_steer_nothing() {
    for columns in [40, 80, 300] {
        for keys in [&[][..], &[KeyCode::Down, KeyCode::Down, KeyCode::Enter]] {
            let mut state = state();
            press(&mut state, keys);
            let text = frame(&state, columns);
            assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
        }
    }
    assert!(frame(&state(), 300).contains("503 SlowDown\\u{1b}[2J of 出力"));
}

#[test]
fn colours_are_of_the_16_or_none() {
    let colours = |has_colours| {
        let mut cells = Buffer::empty(ratatui::layout::Rect::new(0, 0, 80, 24));
        draw(&mut cells, &state(), Look { has_colours, has_keys: true }, now());
        cells.content.iter().flat_map(|cell| [cell.fg, cell.bg]).collect::<Vec<_>>()
    };
    assert!(colours(false).iter().all(|colour| *colour == Color::Reset));
    let with = colours(true);
    assert!(with.contains(&Color::Green) && with.contains(&Color::Red));
    assert!(!with.iter().any(|colour| matches!(colour, Color::Rgb(..) | Color::Indexed(_))));
}

#[test]
fn keys_move_filter_and_quit() {
    let mut state = state();
    press(&mut state, &[KeyCode::Char('j'), KeyCode::Down, KeyCode::Up]);
    assert!(frame(&state, 80).contains("▸ 2025-12-23-batch-0410"));
    // The selection stays on the same run when rows above are added or removed.
    state.model.main.runs.remove(0);
    assert!(frame(&state, 80).contains("▸ 2025-12-23-batch-0410"));
    press(&mut state, &[KeyCode::Char('/'), KeyCode::Char('S'), KeyCode::Char('l'), KeyCode::Char('q')]);
    assert!(frame(&state, 80).contains("nothing here holds"));
    press(&mut state, &[KeyCode::Backspace, KeyCode::Enter]);
    let text = frame(&state, 80);
    assert!(
        text.contains("0409") && text.contains("0388") && !text.contains("0410") && text.contains("/ Sl"),
        "{text}"
    );
    press(&mut state, &[KeyCode::Esc, KeyCode::Char('3')]);
    assert!(frame(&state, 80).contains("executor-3  61/64"));
    assert_eq!(state.view, View::Executors);
    press(&mut state, &[KeyCode::Char('1'), KeyCode::Enter]);
    assert!(state.want().about.is_some() && frame(&state, 80).contains("asking the scheduler"));
    press(&mut state, &[KeyCode::Char('o')]);
    assert!(frame(&state, 80).contains("http://127.0.0.1:8080/ui/runs/2025-12-23-batch-"));
    press(&mut state, &[KeyCode::Esc, KeyCode::Char('p'), KeyCode::Char('?')]);
    assert!(state.want().paused && state.opened.is_none() && frame(&state, 80).contains("PgDn"));
    let key = |code, modifiers| Event::Key(KeyEvent::new(code, modifiers));
    assert_eq!(state.on(&key(KeyCode::Char('c'), KeyModifiers::CONTROL), now()), Then::Quit);
    assert_eq!(state.on(&key(KeyCode::Char('q'), KeyModifiers::NONE), now()), Then::Quit);
}

#[test]
fn a_scheduler_that_goes_leaves_its_last_frame() {
    let mut state = state();
    let away = || Told::Main(Box::new(Err(anyhow::anyhow!("nothing listens there"))));
    state.take(away(), now());
    state.take(away(), now() + chrono::TimeDelta::seconds(9));
    let text = frame(&state, 100);
    assert!(text.contains("127.0.0.1:8080 away since 14:03:22: nothing listens there"), "{text}");
    assert!(text.contains("batch-0412"), "{text}");
    let main = model().main;
    state.take(Told::Main(Box::new(Ok(main))), now());
    assert!(state.away.is_none() && frame(&state, 80).contains("127.0.0.1:8080 leads"));
}

#[test]
fn a_run_that_failed_tells_why() {
    let mut state = state();
    press(&mut state, &[KeyCode::End, KeyCode::Enter]);
    let about = state.want().about.unwrap();
    let run = state.model.main.runs.last().unwrap().run.clone();
    let detail =
        millwork_api::RunDetail { run, history: Vec::new(), timeline: Vec::new(), result: None, progress: None };
    let why = json!({
        "subject": {"kind": "run", "name": "2025-12-23-batch-0388"}, "code": "run-failed",
        "standing": "needs-you", "since": null, "sentence": "the bucket did not answer", "evidence": [],
        "next": {"what": "nothing", "at": null, "by_itself": false},
        "action": {"kind": "retry", "label": "Retry it", "command": "millwork runs retry 2025-12-23-batch-0388"},
        "runbook": "docs/runbook.md#run-failed"
    });
    let why = serde_json::from_value(why).unwrap();
    state.model.main.details = Some(super::model::Details { about, run: Some(detail), why });
    let text = frame(&state, 80);
    assert!(text.contains("the bucket did not answer") && text.contains("503 SlowDown"), "{text}");
    assert!(text.contains("you can: Retry it: millwork runs retry"), "{text}");
    assert_eq!(super::details::lines(&state, state.opened.as_ref().unwrap(), now())[0].0, Tone::Strong);
}

#[test]
fn the_model_is_one_document() {
    let value = serde_json::to_value(model()).unwrap();
    assert_eq!(value["leader"], "host-1");
    assert_eq!(value["runs"][0]["progress"]["percent"], 68);
    assert_eq!(value["stats"]["slots"], 64);
}

#[test]
fn events_are_told_as_they_come_and_bounded() {
    let mut state = state();
    press(&mut state, &[KeyCode::Char('5')]);
    assert!(frame(&state, 80).contains("no run has changed"));
    for n in 0..300 {
        let failure = json!({"class": "input", "message": "cut\u{1b}[2J", "file": null});
        let change = json!({"manifest_id": format!("2025-12-23-batch-{n:04}"), "state": "failed", "attempt": 2,
            "failure": failure, "at": "2026-01-02T14:03:20Z"});
        state.take(Told::Event(serde_json::from_value(change).unwrap()), now());
    }
    assert_eq!(state.model.events.len(), 200);
    let text = frame(&state, 100);
    assert!(
        text.contains("▸ 14:03:20  2025-12-23-batch-0299  ✗ failed") && text.contains("input: cut\\u{1b}[2J"),
        "{text}"
    );
    press(&mut state, &[KeyCode::Enter]);
    assert_eq!(state.want().about, Some(millwork_diagnosis::Subject::Run("2025-12-23-batch-0299".to_owned())));
}

fn plan(state: &str, changes: &Value) -> Told {
    let plan = json!({
        "id": "7f3a02c41b9d", "state": state, "action": "retry", "subjects": "run", "select": {"ids": ["x"]},
        "reason": null, "actor": "ana", "via": "cli", "created_at": "2026-01-02T14:03:00Z",
        "valid_until": "2026-01-02T14:18:00Z", "changes": changes,
        "refused": [{"subject": "x", "reason": "it has ended"}], "has_more": false, "applied_at": null
    });
    Told::Plan(Box::new(Ok(serde_json::from_value(plan).unwrap())))
}

fn key(state: &mut State, character: char) -> Then {
    state.on(&Event::Key(KeyEvent::new(KeyCode::Char(character), KeyModifiers::NONE)), now())
}

#[test]
fn nothing_is_changed_without_write() {
    let mut state = state();
    press(&mut state, &[KeyCode::Char('R'), KeyCode::Char('C')]);
    assert!(state.change.is_none() && frame(&state, 80).contains("say --write"));
}

#[test]
fn a_change_is_shown_and_made_after_a_yes_only() {
    let change = json!([{"subject": "2025-12-23-batch-0388", "version": "1", "before": "failed", "after": "queued",
        "result": null}]);
    let mut state = state();
    state.can_write = true;
    press(&mut state, &[KeyCode::End]);
    let wish = Wish::Plan(millwork_api::Action::Retry, "2025-12-23-batch-0388".to_owned());
    assert_eq!(key(&mut state, 'R'), Then::Ask(wish));
    assert_eq!(key(&mut state, 'y'), Then::GoOn, "nothing is shown yet");
    state.take(plan("open", &change), now());
    let text = frame(&state, 80);
    assert!(
        text.contains("retry 1 run?") && text.contains("0388: failed → queued") && text.contains("y do it"),
        "{text}"
    );
    assert_eq!(key(&mut state, 'n'), Then::GoOn);
    assert!(state.change.is_none() && frame(&state, 80).contains("nothing was changed"));
    // A plan that arrives after the user left is not shown.
    state.take(plan("open", &change), now());
    assert!(state.change.is_none());
    key(&mut state, 'R');
    state.take(plan("open", &change), now());
    assert_eq!(key(&mut state, 'y'), Then::Ask(Wish::Apply("7f3a02c41b9d".to_owned())));
    assert_eq!(key(&mut state, 'y'), Then::GoOn, "once");
    let mut done = change.clone();
    done[0]["result"] = json!("done");
    state.take(plan("applied", &done), now());
    assert!(state.change.is_none() && frame(&state, 80).contains("retry: 1 of 1 done"));
    // A plan without changes says so, and cannot be applied.
    key(&mut state, 'C');
    state.take(plan("open", &json!([])), now());
    assert!(frame(&state, 80).contains("nothing would change") && frame(&state, 80).contains("it has ended"));
    assert_eq!(key(&mut state, 'y'), Then::GoOn);
    state.take(Told::Plan(Box::new(Err(anyhow::anyhow!("needs the role operate")))), now());
    assert!(frame(&state, 80).contains("needs the role operate"));
}
