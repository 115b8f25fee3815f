//! What wins over what, and what is refused.

use std::time::Duration;

use clap::Parser;

use super::*;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    args: ServeArgs,
}

fn said(flags: &[&str]) -> Settings {
    Command::parse_from(["crema"].iter().chain(flags)).args.settings
}

fn user() -> Surroundings {
    Surroundings { home: Some("/home/ada".into()), ..Surroundings::default() }
}

fn resolve(flags: &[&str]) -> Result<ServeConfig, ConfigError> {
    ServeConfig::resolve(said(flags), Settings::default(), &user())
}

fn refusal(flags: &[&str]) -> String {
    resolve(flags).unwrap_err().to_string()
}

const SECRET: &str = "--notifier-secret=whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

#[test]
fn nothing_said_is_a_private_rehearsal_on_the_own_machine() {
    let config = resolve(&[]).unwrap();
    assert_eq!(config.listen, LISTEN_DEFAULT);
    assert!(config.database_url.is_none());
    assert_eq!(config.rehearsal, Rehearsal::Own);
    assert_eq!(config.payment, Participant::Rehearsed);
    assert_eq!(config.data_dir, PathBuf::from("/home/ada/.local/share/crema"));
    assert_eq!(config.http.connections, 4096);
}

#[test]
fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
    let file = "listen = '127.0.0.1:9001'\nmax_connections = 7\nlog_format = 'json'";
    let file = parse_file(Path::new("crema.toml"), file).unwrap();
    let config = ServeConfig::resolve(said(&["--listen=127.0.0.1:9002"]), file, &user()).unwrap();
    assert_eq!(config.listen.port(), 9002);
    assert_eq!(config.http.connections, 7);
    assert_eq!(config.log_format, LogFormat::Json);
    assert!(!config.require_idempotency_key);
}

#[test]
fn what_workers_pull_is_everything_or_named_stations() {
    let pull = |said: &str| resolve(&[&format!("--kitchen-pull={said}")]).map(|it| it.kitchen_pull);
    assert_eq!(resolve(&[]).unwrap().kitchen_pull, KitchenPull::Nothing);
    assert_eq!(pull("").unwrap(), KitchenPull::Nothing);
    assert_eq!(pull("all").unwrap(), KitchenPull::All);
    let two = ["bar", "pastry"].map(str::to_owned).into();
    assert_eq!(pull("pastry, bar").unwrap(), KitchenPull::Stations(two));
    for wrong in ["all,bar", "Bar", "bar,", "the bar"] {
        assert!(matches!(pull(wrong), Err(ConfigError::KitchenPull)), "{wrong}");
    }
}

#[test]
fn a_flag_can_take_back_what_the_file_switches_on() {
    let file = Settings { require_idempotency_key: Some(true), ..Settings::default() };
    let off = said(&["--require-idempotency-key=false"]);
    assert!(!ServeConfig::resolve(off, file.clone(), &user()).unwrap().require_idempotency_key);
    assert!(ServeConfig::resolve(said(&[]), file, &user()).unwrap().require_idempotency_key);
}

#[test]
fn blank_texts_are_not_said() {
    let file = Settings { kitchen_url: Some("http://kitchen/".into()), ..Settings::default() };
    let blank = said(&["--kitchen-url=", "--database-url=", "--data-dir="]);
    let config = ServeConfig::resolve(blank, file, &user()).unwrap();
    assert_eq!(config.kitchen, Participant::Real("http://kitchen/".parse().unwrap()));
    assert!(config.database_url.is_none());
}

#[test]
fn an_unknown_key_in_the_file_is_refused_with_its_line() {
    let error = parse_file(Path::new("crema.toml"), "insecure = true\nlisten_on = 'x'\n");
    let text = error.unwrap_err().to_string();
    assert!(text.contains("crema.toml, line 2") && text.contains("listen_on"), "{text}");
}

#[test]
fn an_outside_database_needs_every_participant_or_a_word() {
    let outside = "--database-url=postgres://ada:secret@db/crema";
    let text = refusal(&[outside]);
    assert!(text.contains("--payment-url") && text.contains("--rehearsal"), "{text}");
    assert_eq!(resolve(&[outside, "--rehearsal"]).unwrap().rehearsal, Rehearsal::Own);
    let mixed = resolve(&[outside, "--rehearsal", "--payment-url=https://pay.example"]).unwrap();
    assert_eq!(mixed.payment, Participant::Real("https://pay.example".parse().unwrap()));
    assert_eq!(mixed.kitchen, Participant::Rehearsed);
    let apart = resolve(&[outside, "--rehearsal-url=http://127.0.0.1:8090"]).unwrap();
    assert_eq!(apart.rehearsal, Rehearsal::Apart("http://127.0.0.1:8090".parse().unwrap()));
}

#[test]
fn a_rehearsal_that_rehearses_nothing_or_contradicts_itself_is_refused() {
    let real = ["--payment-url=http://p", "--kitchen-url=http://k", "--notifier-url=http://n"];
    let with = |more: &'static str| [&real[..], &[SECRET, more]].concat();
    assert!(refusal(&with("--rehearsal")).contains("real money"));
    assert_eq!(resolve(&with("--rehearsal=false")).unwrap().rehearsal, Rehearsal::Off);
    assert!(refusal(&["--rehearsal=false"]).contains("no payment is set up"));
    let text = refusal(&["--rehearsal=false", "--rehearsal-url=http://r"]);
    assert!(text.contains("drop one"), "{text}");
}

#[test]
fn an_address_that_others_reach_must_be_asked_for() {
    assert!(refusal(&["--listen=0.0.0.0:80"]).contains("--insecure"));
    assert!(refusal(&["--listen=[::]:80"]).contains("--insecure"));
    assert!(resolve(&["--listen=0.0.0.0:80", "--insecure"]).is_ok());
    assert!(resolve(&["--listen=[::1]:80"]).is_ok());
}

#[test]
fn urls_and_secrets_are_checked_and_never_shown() {
    for url in ["kitchen", "ftp://kitchen", "http://ada:hunter2@kitchen", "http://k/?q=1"] {
        let text = refusal(&[&format!("--kitchen-url={url}")]);
        assert!(text.contains("--kitchen-url") && !text.contains("hunter2"), "{text}");
    }
    assert!(!refusal(&["--database-url=mysql://ada:hunter2@db"]).contains("hunter2"));
    assert!(refusal(&["--notifier-url=http://n"]).contains("--notifier-secret"));
    for secret in ["hunter2", "whsec_aHVudGVyMg==", "whsec_!"] {
        let text = refusal(&[&format!("--notifier-secret={secret}")]);
        assert!(text.contains("whsec_") && !text.contains("hunter2"), "{text}");
    }
    let config = resolve(&[SECRET, "--database-url=postgres://a:hunter2@db", "--rehearsal"]);
    assert!(!format!("{:?}", config.unwrap()).contains("hunter2"));
}

#[test]
fn endpoints_for_notices_have_names_and_are_signed() {
    let [bar, app] =
        ["--notify-endpoint=bar=http://bar:1/in", "--notify-endpoint=app.2=https://app"];
    let endpoints = resolve(&[SECRET, bar, app]).unwrap().notify_endpoints;
    let both = [("app.2", "https://app/"), ("bar", "http://bar:1/in")];
    assert_eq!(
        endpoints.iter().map(|(name, url)| (&**name, url.as_str())).collect::<Vec<_>>(),
        both
    );
    let at_once = "--notify-endpoint=bar=http://bar:1/in,app.2=https://app";
    assert_eq!(resolve(&[SECRET, at_once]).unwrap().notify_endpoints, endpoints);
    let file = "notify_endpoint = ['app.2=https://app', 'bar=http://bar:1/in']";
    let file = parse_file(Path::new("crema.toml"), file).unwrap();
    let blank = said(&[SECRET, "--notify-endpoint="]);
    assert_eq!(ServeConfig::resolve(blank, file, &user()).unwrap().notify_endpoints, endpoints);
    assert!(resolve(&["--notify-endpoint="]).unwrap().notify_endpoints.is_empty());

    assert!(refusal(&[bar]).contains("--notifier-secret"));
    for wrong in ["bar", "=http://b", "b r=http://b", "bar=ftp://b", "bar=http://ada:hunter2@b"] {
        let text = refusal(&[SECRET, &format!("--notify-endpoint={wrong}")]);
        assert!(text.contains("NAME=URL") && !text.contains("hunter2"), "{text}");
    }
    assert!(refusal(&[SECRET, bar, bar]).contains("each once"));
}

#[test]
fn the_data_folder_follows_the_user() {
    let root = Surroundings { root: true, ..user() };
    assert_eq!(root.data_dir(), Some("/var/lib/crema".into()));
    let xdg = Surroundings { xdg_data_home: Some("/data".into()), ..user() };
    assert_eq!(xdg.data_dir(), Some("/data/crema".into()));
    let nobody = ServeConfig::resolve(said(&[]), Settings::default(), &Surroundings::default());
    assert!(nobody.unwrap_err().to_string().contains("--data-dir"));
}

#[test]
fn no_connections_is_refused() {
    assert!(refusal(&["--max-connections=0"]).contains("at least 1"));
}

#[test]
fn a_lease_too_short_or_too_long_is_refused() {
    assert_eq!(resolve(&[]).unwrap().lease.as_secs(), 10);
    assert_eq!(resolve(&["--lease-seconds=2"]).unwrap().lease.as_secs(), 2);
    for seconds in ["0", "1", "301"] {
        assert!(refusal(&[&format!("--lease-seconds={seconds}")]).contains("2 to 300"));
    }
}

#[test]
fn an_address_below_a_base_ignores_the_slash() {
    for base in ["http://r:1", "http://r:1/", "http://r:1/x/"] {
        let url = below(&base.parse().unwrap(), "payment");
        assert!(url.path().ends_with("/payment") && !url.path().contains("//"), "{url}");
    }
}

#[test]
fn the_steps_policies_can_be_set_by_flag_and_by_file() {
    let file = "[steps]\npayment_timeout = '2s'\nretry_backoff = '250ms'";
    let file = parse_file(Path::new("crema.toml"), file).unwrap();
    let said = said(&["--payment-timeout=1m30s", "--preparation-attempts=7"]);
    let steps = ServeConfig::resolve(said, file, &user()).unwrap().steps;
    assert_eq!(steps::time_or(steps.payment_timeout, Duration::ZERO), Duration::from_secs(90));
    assert_eq!(steps::time_or(steps.retry_backoff, Duration::ZERO), Duration::from_millis(250));
    assert_eq!((steps.payment_attempts, steps.preparation_attempts), (None, Some(7)));
    for wrong in ["--payment-timeout=0s", "--retry-backoff=-1s", "--preparation-timeout=25h"] {
        assert!(refusal(&[wrong]).contains("like 30s"), "{wrong}");
    }
    assert!(refusal(&["--notification-attempts=0"]).contains("at least 1"));
    assert!(parse_file(Path::new("crema.toml"), "[steps]\npayment_time = '2s'").is_err());
}
