//! A worker's runtime: what waits for slow clients, for signals, and for the master's end.

use std::{convert::Infallible, fmt, io, os::fd::OwnedFd, sync::Arc, time::Duration};

use tokio::{
    net::unix::pipe,
    runtime::{Builder, Runtime},
    signal::unix::{Signal, SignalKind, signal},
    time::interval,
};

use super::{reporter::LaneReporter, signals::Signals};
use crate::{
    app::Router,
    observe::{AccessLog, log},
    server::{Interrupt, Lane, Late, Listener, Observer, Parts, Queued, Running, inherited},
    supervisor::{
        backend::python::channel::{Report, Setup, report},
        launch::{Ending, limits},
        stats::scoreboard::{Recorder, Scoreboard, Writer},
    },
};

/// How often a worker says how many lines its access log has dropped.
const DROPPED_INTERVAL: Duration = Duration::from_secs(1);
/// The most characters of a request's method and path in a report.
const NAMED_LENGTH: usize = 400;

/// The thread beside a worker's lanes. It has to be made after the fork: a runtime does not survive one.
pub struct WorkerRuntime {
    runtime: Runtime,
    running: Running,
    lanes: Vec<Lane>,
    signals: Signals,
    /// HUP: other workers take over.
    leave: Signal,
    /// USR1: the logs were renamed.
    reopen: Signal,
    lifeline: pipe::Receiver,
    channel: Arc<OwnedFd>,
    slot: Writer,
    interrupt: Option<Arc<dyn Interrupt>>,
    access_log: Option<Arc<AccessLog>>,
}

impl WorkerRuntime {
    /// Makes the runtime and the server in this process. `slot` is the worker's on the scoreboard, `channel` the end
    /// that reports go to, and `interrupt` what is tried on a request that takes too long.
    ///
    /// # Errors
    /// The system refused a thread, a descriptor, the scoreboard or the access log.
    pub fn start(
        setup: &Setup,
        slot: usize,
        channel: OwnedFd,
        router: Router,
        listeners: Vec<Listener>,
        interrupt: Option<Arc<dyn Interrupt>>,
    ) -> io::Result<Self> {
        log::name_process("worker");
        log::init(setup.config.log_format, setup.config.log_level);
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let _context = runtime.enter();
        let access_log = AccessLog::open(&setup.config)?.map(Arc::new);
        let observer = access_log.clone().map(|log| log as Arc<dyn Observer>);
        let scoreboard = Scoreboard::open(inherited(setup.scoreboard)?, setup.layout())?;
        let slot = scoreboard.writer(slot)?;
        // A recorder that something in this process has set before stays.
        let _ = metrics::set_global_recorder(Recorder::new(slot.clone()));
        let channel = Arc::new(channel);
        let lane_observer = Arc::new(LaneReporter::new(
            &setup.config,
            slot.clone(),
            channel.clone(),
        ));
        let mut parts = Parts::new(listeners, router, runtime.handle().clone());
        parts.limits = limits(&setup.config);
        parts.observer = observer;
        parts.lane_observer = Some(lane_observer);
        let running = Running::start(parts)?;
        // All of them before the first accepts: what clients hold cannot be lacking for a lane that starts late.
        let lanes = (0..setup.config.threads).map(|_| running.lane()).collect();
        let signals = Signals::watch()?;
        let leave = signal(SignalKind::hangup())?;
        let reopen = signal(SignalKind::user_defined1())?;
        let lifeline = pipe::Receiver::from_owned_fd(inherited(setup.lifeline)?)?;
        drop(_context);
        Ok(Self {
            runtime,
            running,
            lanes,
            signals,
            leave,
            reopen,
            lifeline,
            channel,
            slot,
            interrupt,
            access_log,
        })
    }

    /// The worker's lanes, one for each of its threads; none when asked again.
    #[must_use]
    pub fn take_lanes(&mut self) -> Vec<Lane> {
        std::mem::take(&mut self.lanes)
    }

    /// Runs until the worker is told to stop or the master is gone, and its requests are answered.
    pub fn run(self) -> Ending {
        let Self {
            runtime,
            running,
            lanes: _,
            signals:
                Signals {
                    mut graceful,
                    mut quick,
                },
            mut leave,
            mut reopen,
            lifeline,
            channel,
            slot,
            interrupt,
            access_log,
        } = self;
        // The lanes hold the log to the end, and the process ends without dropping it.
        let flush = || {
            access_log
                .as_ref()
                .map(|log| log.flush(AccessLog::AT_THE_END))
        };
        runtime.block_on(async {
            report(&channel, &Report::Serving { pid: std::process::id() });
            let stopped = async {
                let queued = tokio::select! {
                    _ = graceful.recv() => Queued::Served,
                    _ = leave.recv() => Queued::LeftToOthers,
                    _ = master_gone(&lifeline) => {
                        tracing::warn!("the master is gone: this worker finishes what it has and leaves");
                        Queued::Served
                    }
                };
                running.stop_accepting(queued);
                report(&channel, &Report::Left { pid: std::process::id() });
                running.finish().await
            };
            let finished = tokio::select! {
                finished = stopped => finished,
                () = quick.recv() => {
                    flush();
                    end_at_once()
                }
                never = running.watch(interrupt.as_deref(), |late| report_stuck(&channel, late)) => match never {},
                never = keep_log(access_log.as_deref(), &slot, &mut reopen) => match never {},
            };
            if !finished {
                tracing::warn!("requests were still running when the time to finish was over; they are cut off");
                flush();
                // The lanes cannot be asked any more: they are in the middle of an application.
                end_at_once()
            }
            if running.has_lost_lanes() {
                tracing::warn!("every other request is answered: a thread that is stuck ends with its process");
                flush();
                end_at_once()
            }
            flush();
            Ending::Finished
        })
    }
}

fn report_stuck(channel: &OwnedFd, late: &Late) {
    let stuck = Report::Stuck {
        pid: std::process::id(),
        // A path may be longer than a message.
        request: late.request().chars().take(NAMED_LENGTH).collect(),
        seconds: late.running_for().as_secs_f64(),
    };
    report(channel, &stuck);
}

/// Opens the access log anew whenever it was renamed, and tells how many lines it has dropped.
async fn keep_log(log: Option<&AccessLog>, slot: &Writer, renamed: &mut Signal) -> Infallible {
    let mut tick = interval(DROPPED_INTERVAL);
    loop {
        tokio::select! {
            _ = renamed.recv() => {
                if let Some(log) = log {
                    log.reopen();
                }
            }
            _ = tick.tick(), if log.is_some() => {
                slot.set_access_log_dropped(log.map_or(0, AccessLog::dropped));
            }
        }
    }
}

/// Nobody ever writes to the lifeline, so it becomes readable when its other end is closed.
async fn master_gone(lifeline: &pipe::Receiver) {
    // An error is as good as an end: it cannot be watched any more.
    let _ = lifeline.readable().await;
}

/// Ends the process without running anything more of the application's.
fn end_at_once() -> ! {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    // Not reached: nobody survives that signal.
    std::process::abort()
}

impl fmt::Debug for WorkerRuntime {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("WorkerRuntime").finish_non_exhaustive()
    }
}
