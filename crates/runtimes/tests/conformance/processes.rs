//! The world of ordinary processes.

use rekindle_runtimes::{Identity, Runtime};
use rekindle_stack::Stack;
use rustix::process::Signal;

use crate::{
    World,
    common::{Processes, write},
    keeps,
};

const SERVICES: &str = "  web: {stateless: true, run: {command: 'echo web is up; sleep 0.1; touch HOME/web.well; sleep 61', env: {COLOUR: blue}, log: HOME/web.log}, health: {command: [test, -e, HOME/web.well]}}
  app: {stateless: true, depends_on: [web], run: {command: [sleep, '61'], log: HOME/app.log}}
  broken: {stateless: true, optional: true, run: {command: 'echo no luck; exit 3', restart: no, log: HOME/broken.log}}
  deaf: {stateless: true, run: {command: 'trap \"\" TERM; echo deaf; while :; do sleep 0.1; done', log: HOME/deaf.log}}
  loyal: {stateless: true, run: {command: [sleep, '61'], restart: on-failure, log: HOME/loyal.log}}
  store: {datasets: [{kind: files, paths: [HOME/data]}], run: {command: [sleep, '61'], restart: no, log: HOME/store.log}}
";

struct ProcessWorld(Processes);

fn make() -> Option<ProcessWorld> {
    let world = Processes::new(SERVICES);
    std::fs::create_dir(world.path("data")).unwrap();
    let kept = world.path("data/kept");
    write(&kept, "kept bytes\n");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o640);
    std::fs::set_permissions(&kept, mode).unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&kept, Some(1234), Some(1234)).unwrap();
    }
    Some(ProcessWorld(world))
}

impl World for ProcessWorld {
    fn stack(&self) -> &Stack {
        &self.0.stack
    }

    fn runtime(&self) -> &dyn Runtime {
        &self.0.runtime
    }

    fn kill(&self, service: &str) {
        let unit = self.runtime().state(service).unwrap().unit;
        let pid = unit.strip_prefix("process ").unwrap().parse().unwrap();
        let process = Identity::of(pid).unwrap().unwrap();
        process.signal(Signal::KILL).unwrap();
    }
}

keeps!(each make);
