//! Strangers at the door that executors use: whatever they send, they get nothing and stop nothing.

use crate::cluster::{Cluster, free_port};
use crate::fleet::{Fleet, World};
use crate::place::{Place, Running, start, wait_until};
use millwork_cluster::messages::{FromExecutor, Nothing, PROTOCOL, Register, ToExecutor, ToScheduler};
use millwork_cluster::{Access, Address, Identity, Secret, TlsFiles, connect};
use millwork_net::raise_descriptor_limit;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use std::collections::HashSet;
use std::fs::Permissions;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};
use tonic::transport::Endpoint;
use tonic::{Code, Request};

/// A client's patience with a connection that ought to be closed: a little longer than strangers have.
const PATIENCE: Duration = Duration::from_secs(15);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn secret(place: &Place, text: &str) -> Access {
    let path = place.path("secret");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    Access::new(Secret::configured(Some(&path)).unwrap().unwrap(), None).unwrap()
}

/// The ports that a process listens on.
fn listening(process: u32) -> Vec<String> {
    let links = std::fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
    let links: HashSet<_> = links.filter_map(|link| std::fs::read_link(link.path()).ok()).collect();
    let mut found = Vec::new();
    for table in ["tcp", "tcp6", "udp", "udp6"] {
        let text = std::fs::read_to_string(format!("/proc/{process}/net/{table}")).unwrap_or_default();
        for line in text.lines().skip(1) {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let is_own = links.contains(std::path::Path::new(&format!("socket:[{}]", columns[9])));
            // 0A is LISTEN; an open UDP port has 07.
            if is_own && matches!(columns[3], "0A" | "07") {
                found.push(format!("{table} {}", columns[1]));
            }
        }
    }
    found
}

/// Sends bytes, and returns what comes back until the other end closes.
fn say(address: &str, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    // A reset is as good as an end.
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "the connection stays open");
    }
    answer
}

#[test]
fn other_protocols_than_http_2_are_closed() {
    let world = World::local();
    let fleet = Fleet::start(&world, 1, 1);
    let address = fleet.executors_address(0);
    let cross_site = "POST /ballista.protobuf.SchedulerGrpc/ExecutorStopped HTTP/1.1\r\nHost: evil.example\r\n\
                      Origin: http://evil.example\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nxx";
    for bytes in [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".as_slice(),
        cross_site.as_bytes(),
        &[0x16, 3, 1, 0, 5],
        &[0; 4096],
    ] {
        let answer = say(&address, bytes);
        let text = String::from_utf8_lossy(&answer);
        assert!(!text.starts_with("HTTP/"), "{text}");
    }
    assert_eq!(fleet.connected(0), 1);
}

#[test]
fn calls_without_the_secret_are_refused_and_those_of_the_engine_do_not_exist() {
    let world = World::local();
    let fleet = Fleet::start(&world, 1, 1);
    let address = fleet.executors_address(0);
    runtime().block_on(async {
        let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        let mut client = tonic::client::Grpc::new(channel);
        for method in ["ExecuteQuery", "RegisterExecutor", "ExecutorStopped", "PollWork", "CancelJob", "CleanJobData"] {
            client.ready().await.unwrap();
            let path = format!("/ballista.protobuf.SchedulerGrpc/{method}").parse().unwrap();
            let codec = tonic_prost::ProstCodec::<Nothing, Nothing>::default();
            let status = client.unary(Request::new(Nothing {}), path, codec).await.unwrap_err();
            assert_eq!(status.code(), Code::Unimplemented, "{method}: {status}");
        }
        let zeros = "00".repeat(32);
        for (nonce, proof) in [(None, None), (Some(&zeros), None), (Some(&zeros), Some(&zeros))] {
            client.ready().await.unwrap();
            let plan = millwork_scheduler::plan_format();
            let register =
                Register { name: "rogue".to_owned(), slots: 8, protocol: PROTOCOL, plan, ..Register::default() };
            let message: ToScheduler = FromExecutor::Register(register).into();
            let mut request = Request::new(futures::stream::iter([message]));
            for (name, value) in
                [("millwork-executor-nonce", nonce), ("millwork-scheduler-nonce", nonce), ("millwork-proof", proof)]
            {
                if let Some(value) = value {
                    request.metadata_mut().insert(name, value.parse().unwrap());
                }
            }
            let codec = tonic_prost::ProstCodec::<ToScheduler, ToExecutor>::default();
            let path = "/millwork.Executors/Work".parse().unwrap();
            let status = client.streaming(request, path, codec).await.unwrap_err();
            assert_eq!(status.code(), Code::Unauthenticated, "{status}");
        }
    });
    assert_eq!(fleet.connected(0), 1);
}

/// A frame of HTTP/2 (RFC 9113, 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A name, and the frames of a flood by their numbers.
type Flood<'a> = (&'a str, Box<dyn FnMut(u32) -> Vec<u8> + 'a>);

/// Bytes that a stranger gets rid of before the connection breaks, in frames of which each may be what it is.
fn taken(address: &str, mut next: impl FnMut(u32) -> Vec<u8>) -> usize {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &frame(4, 0, 0, &[])].concat();
    stream.write_all(&preface).unwrap();
    let mut taken = preface.len();
    // What the system keeps of it is no more than some megabytes.
    for number in 0..1 << 24 {
        let bytes = next(number);
        match stream.write_all(&bytes) {
            Ok(()) => taken += bytes.len(),
            Err(error) => {
                assert_ne!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock,
                    "the connection stays open after {taken} bytes"
                );
                return taken;
            }
        }
    }
    taken
}

#[test]
fn floods_of_frames_end_with_what_a_proof_takes() {
    let world = World::local();
    let fleet = Fleet::start(&world, 1, 1);
    let address = fleet.executors_address(0);
    let text = |text: &str| [[u8::try_from(text.len()).unwrap()].as_slice(), text.as_bytes()].concat();
    let field = |name: &str, value: &str| [vec![0], text(name), text(value)].concat();
    let fields =
        [(":method", "POST"), (":scheme", "http"), (":path", "/millwork.Entrance/Challenge"), (":authority", "x")];
    let header = fields.map(|(name, value)| field(name, value)).concat();
    let begin = |number: u32, flags| frame(1, flags, 2 * number + 1, &header);
    let entry = [[0x40].as_slice(), &field("x", &"z".repeat(120))[1..]].concat();
    let bomb = [header.as_slice(), &entry, &[0xbe; 8000]].concat();
    let floods: [Flood<'_>; 8] = [
        ("streams that are reset", Box::new(|n| [begin(n, 5), frame(3, 0, 2 * n + 1, &[0, 0, 0, 8])].concat())),
        ("a header without end", Box::new(|n| if n == 0 { begin(0, 0) } else { frame(9, 0, 1, &[]) })),
        ("settings", Box::new(|_| frame(4, 0, 0, &[0, 4, 0, 0, 255, 255]))),
        ("pings", Box::new(|_| frame(6, 0, 0, &[0; 8]))),
        ("headers that unfold", Box::new(|n| frame(1, 5, 2 * n + 1, &bomb))),
        ("windows", Box::new(|_| frame(8, 0, 0, &[0, 0, 0, 1]))),
        ("priorities", Box::new(|n| frame(2, 0, 2 * n + 1, &[0, 0, 0, 0, 1]))),
        ("content of nothing", Box::new(|n| if n == 0 { begin(0, 4) } else { frame(0, 0, 1, &[]) })),
    ];
    for (what, next) in floods {
        let taken = taken(&address, next);
        assert!(taken < 16 << 20, "{what}: {taken} bytes");
    }
    assert_eq!(fleet.connected(0), 1);
}

#[test]
fn an_autoscaler_that_floods_is_hung_up_on() {
    let place = Place::new();
    let listen = format!("127.0.0.1:{}", free_port());
    let _cluster = Cluster::start(&place, "out", 0, &["--scaler-listen", &listen]);
    wait_until("it listens", || TcpStream::connect(&listen).is_ok());
    let taken = taken(&listen, |_| frame(6, 0, 0, &[0; 8]));
    assert!(taken < 16 << 20, "{taken} bytes");
}

#[test]
fn an_executor_of_another_secret_neither_comes_in_nor_works_for_this_scheduler() {
    let world = World::local();
    let fleet = Fleet::start(&world, 1, 1);
    let address: Address = fleet.executors_address(0).parse().unwrap();
    let other = secret(&world.place, &"of somebody else ".repeat(4));
    let refused = runtime().block_on(async { connect(&address, &other).await.err().unwrap() });
    assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied, "{refused}");
    assert!(refused.to_string().contains("--executor-secret-file"), "{refused}");
    assert_eq!(fleet.connected(0), 1);
}

#[test]
fn connections_that_send_nothing_keep_no_executor_out() {
    let world = World::local();
    let mut fleet = Fleet::start(&world, 1, 0);
    let address = fleet.executors_address(0);
    fleet.wait_until("the door is open", || TcpStream::connect(&address).is_ok());
    assert!(raise_descriptor_limit().unwrap() > 2500, "this test needs more file descriptors");
    let silent: Vec<TcpStream> = (0..2000).map(|_| TcpStream::connect(&address).unwrap()).collect();
    let executor = fleet.executor(0);
    let started = Instant::now();
    fleet.wait_until("the executor is there", || fleet.connected(0) == 1);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    let load = world.load(1);
    fleet.submit_all(0, &load);
    fleet.wait_until("work goes on beside them", || fleet.are_completed(0, &load));
    // All of them are sent away in the end.
    for mut stream in silent {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answer = Vec::new();
        let closed = stream.read_to_end(&mut answer);
        assert!(!matches!(closed, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock));
    }
    drop(executor);
}

/// Certificates of one authority, in files of a place.
struct Authority<'a> {
    issuer: CertifiedIssuer<'static, KeyPair>,
    place: &'a Place,
    name: &'static str,
}

impl<'a> Authority<'a> {
    fn new(place: &'a Place, name: &'static str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(place.path(&format!("{name}.ca")), issuer.pem()).unwrap();
        Self { issuer, place, name }
    }

    fn path(&self, kind: &str) -> String {
        self.place.path(&format!("{}.{kind}", self.name)).display().to_string()
    }

    /// Writes a certificate of a role for 127.0.0.1.
    fn identity(&self, role: &str) -> Identity {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let uri = format!("spiffe://example.org/millwork/{role}");
        params.subject_alt_names.push(SanType::URI(uri.try_into().unwrap()));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let (crt, key_file) = (self.path(&format!("{role}.crt")), self.path(&format!("{role}.key")));
        std::fs::write(&crt, certificate.pem()).unwrap();
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
        Identity { certificate: crt.into(), key: key_file.into() }
    }

    fn files(&self, role: &str) -> TlsFiles {
        TlsFiles { authorities: self.path("ca").into(), identity: self.identity(role) }
    }

    /// The options of a scheduler, with a certificate of a role, and of executors.
    fn options(&self, mode: &str, role: &str) -> [Vec<String>; 2] {
        let (scheduler, executor) = (self.identity(role), self.identity("executor"));
        let text = |path: &std::path::Path| path.display().to_string();
        let of = |prefix: &str, identity: &Identity| {
            let files = [("ca", self.path("ca")), ("cert", text(&identity.certificate)), ("key", text(&identity.key))];
            files.into_iter().flat_map(|(kind, path)| [format!("--{prefix}tls-{kind}"), path]).collect::<Vec<_>>()
        };
        let mut options = [of("executor-", &scheduler), of("", &executor)];
        options[0].extend(["--executor-tls".to_owned(), mode.to_owned()]);
        options
    }
}

#[test]
fn strict_tls_takes_executors_of_its_authority_and_nobody_else() {
    let world = World::local();
    let authority = Authority::new(&world.place, "ours");
    let foreign = Authority::new(&world.place, "foreign");
    // One executor is there, encrypted.
    let fleet = Fleet::start_with(&world, 1, 1, authority.options("strict", "scheduler"));
    let address: Address = fleet.executors_address(0).parse().unwrap();
    let secret = || Secret::of_this_user().unwrap();
    let refused = |tls: Option<TlsFiles>| {
        let access = Access::new(secret(), tls).unwrap();
        runtime().block_on(async { connect(&address, &access).await.is_err() })
    };
    assert!(refused(None), "plain, with the right secret");
    assert!(refused(Some(authority.files("scheduler"))), "a certificate of another role");
    assert!(refused(Some(foreign.files("executor"))), "of another authority");
    let mixed = TlsFiles { authorities: authority.path("ca").into(), identity: foreign.identity("executor") };
    assert!(refused(Some(mixed)), "of another authority, which knows ours");
    assert!(!refused(Some(authority.files("executor"))));
    let answer = say(&fleet.executors_address(0), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_eq!(answer, b"", "plain HTTP/2");
    let load = world.load(3);
    fleet.submit_all(0, &load);
    fleet.wait_until("all runs are completed", || fleet.are_completed(0, &load));
    fleet.check(0, &load);
    let name = "millwork_tls_certificate_expiry_timestamp_seconds";
    // The end of certificates that are made without one, in 4096.
    for file in [authority.path("ca"), authority.path("scheduler.crt")] {
        let line = format!("{name}{{purpose=\"executors\",file=\"{file}\"}} 67090118400\n");
        assert!(fleet.metrics(0).contains(&line), "{line}");
    }
}

#[test]
fn strict_tls_may_be_listened_for_beyond_this_machine() {
    let place = Place::new();
    let authority = Authority::new(&place, "ours");
    let port = crate::cluster::free_port();
    let mut command = place.command("millwork-scheduler");
    command.args([
        "--listen",
        &format!("0.0.0.0:{port}"),
        "--http",
        &format!("127.0.0.1:{}", crate::cluster::free_port()),
    ]);
    command.arg("--state").arg(format!("sqlite:{}", place.path("s.db").display()));
    command.arg("--output").arg(place.path("out")).arg("--input-places").arg(place.path("in"));
    command.arg("--executor-secret-file").arg(place.path("secret"));
    secret(&place, "a-secret-of-this-test-that-is-long-enough");
    command.args(&authority.options("strict", "scheduler")[0]);
    let _scheduler = start(command, &place.path("scheduler.log"));
    let address = format!("127.0.0.1:{port}");
    wait_until("executors are listened for", || TcpStream::connect(&address).is_ok());
    assert_eq!(say(&address, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), b"", "plain HTTP/2");
}

#[test]
fn an_executor_does_not_work_for_a_certificate_of_another_role() {
    let world = World::local();
    let authority = Authority::new(&world.place, "ours");
    let fleet = Fleet::start_with(&world, 1, 0, authority.options("strict", "executor"));
    wait_until("it listens", || TcpStream::connect(fleet.executors_address(0)).is_ok());
    let address: Address = fleet.executors_address(0).parse().unwrap();
    let access = Access::new(Secret::of_this_user().unwrap(), Some(authority.files("executor"))).unwrap();
    let error = runtime().block_on(async { connect(&address, &access).await.err().unwrap() });
    assert!(error.to_string().contains("/scheduler"), "{error}");
}

#[test]
fn permissive_tls_takes_both_kinds_of_executors() {
    let world = World::local();
    let authority = Authority::new(&world.place, "ours");
    let fleet = Fleet::start_with(&world, 1, 1, authority.options("permissive", "scheduler"));
    let address: Address = fleet.executors_address(0).parse().unwrap();
    let plain = Access::new(Secret::of_this_user().unwrap(), None).unwrap();
    assert!(runtime().block_on(async { connect(&address, &plain).await.is_ok() }));
    assert_eq!(fleet.connected(0), 1);
}

#[test]
fn run_and_executors_listen_on_no_port() {
    let world = World::local();
    let fleet = Fleet::start(&world, 1, 1);
    // Health and metrics, for this machine alone: 127.0.0.1:8082, if no other executor has it.
    let opened = listening(fleet.executors[0].0.id());
    assert!(opened.iter().all(|port| port == "tcp 0100007F:1F92"), "{opened:?}");
    let place = Place::new();
    place.generate(&["--files", "40", "--size-mb", "4"]);
    let mut run: Running = start(place.run_command(&[]), &place.path("run.log"));
    let mut looks = 0;
    wait_until("the run has ended", || {
        assert_eq!(listening(run.0.id()), [""; 0]);
        looks += 1;
        run.0.try_wait().unwrap().is_some()
    });
    assert!(looks > 5, "it was looked at {looks} times only");
}
