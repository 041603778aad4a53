//! The [`Stats`] of a server as Prometheus reads them.
//!
//! Names and units follow <https://prometheus.io/docs/practices/naming/>. Every label has a bounded set of values:
//! mounts, sockets and places of workers are those of the configuration.

use std::{collections::BTreeMap, fmt};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeGaugeValue, NoLabelSet, text},
    metrics::MetricType,
    registry::{Registry, Unit},
};

use super::stats::{Latency, Stats, Worker};

/// Which text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposition {
    /// OpenMetrics 1.0, which Prometheus asks for.
    OpenMetrics,
    /// The text format that came before, 0.0.4, which everything else that reads metrics knows.
    Plain,
}

impl Exposition {
    /// What an `Accept` header asks for: OpenMetrics only if it is named and not refused.
    #[must_use]
    pub fn accepted(accept: &str) -> Self {
        let names_it = |range: &str| {
            let mut parts = range.split(';').map(str::trim);
            parts.next() == Some("application/openmetrics-text")
                && !parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
        };
        if accept.split(',').any(names_it) {
            Self::OpenMetrics
        } else {
            Self::Plain
        }
    }

    /// Its `Content-Type`.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Plain => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Returns the document as text.
///
/// # Errors
/// None that is known: what a metric cannot hold is not in it.
pub fn text(stats: Stats, exposition: Exposition) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("spile");
    registry.register_collector(Box::new(Document(stats)));
    let mut written = String::new();
    text::encode(&mut written, &registry)?;
    Ok(match exposition {
        Exposition::OpenMetrics => written,
        Exposition::Plain => plain(&written),
    })
}

/// OpenMetrics names a counter without its `_total` where it describes it, has units, an end, and a type for
/// constants. The older format has none of these.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut help = "";
    for line in text.lines() {
        if let Some(described) = line.strip_prefix("# HELP ") {
            help = described;
        } else if let Some((name, kind)) = described(line) {
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                _ => ("", kind),
            };
            let said = help.split_once(' ').map_or("", |(_, said)| said);
            plain += &format!("# HELP {name}{suffix} {said}\n# TYPE {name}{suffix} {kind}\n");
        } else if !line.starts_with('#') {
            plain += line;
            plain.push('\n');
        }
    }
    plain
}

/// Name and type, in a line that has them.
fn described(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("# TYPE ")?.split_once(' ')
}

/// Classes of status that a mount's requests are counted by. All are there from the start, so that the first of a
/// kind is seen as a change.
const STATUSES: [&str; 5] = ["2xx", "3xx", "4xx", "5xx", "none"];

/// Reasons for replacing a worker, there from the start as well.
const RESTARTS: [&str; 9] = [
    "exited",
    "killed",
    "lifetime",
    "max-requests",
    "max-rss",
    "max-rss-kill",
    "mold-died",
    "reload",
    "request-timeout",
];

/// What a worker can be.
const STATES: [&str; 4] = ["starting", "idle", "busy", "leaving"];

#[derive(Debug)]
struct Document(Stats);

impl Collector for Document {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let stats = &self.0;
        let mut to = Metrics(encoder);
        to.info("build", "The version of spile", &stats.version)?;
        let uptime = stats.master.uptime;
        to.gauge(
            "uptime",
            "The age of the master",
            Some(&Unit::Seconds),
            uptime,
        )?;
        traffic(stats, &mut to)?;
        processes(stats, &mut to)?;
        to.gauges(
            "listen_queue_length",
            "Connections that wait to be accepted",
            None,
            by_socket(stats, |socket| socket.queue),
        )?;
        to.gauges(
            "listen_queue_limit",
            "How many connections may wait",
            None,
            by_socket(stats, |socket| socket.queue_limit),
        )
    }
}

/// What came in and went out.
fn traffic(stats: &Stats, to: &mut Metrics) -> fmt::Result {
    let totals = &stats.totals;
    let requests = stats.mounts.iter().flat_map(|mount| {
        // An empty label would be no label.
        let path = if mount.path.is_empty() {
            "none"
        } else {
            &mount.path
        };
        with_zeros(&mount.requests, &STATUSES)
            .into_iter()
            .map(move |(status, count)| ([("mount", path), ("status", status)], count))
    });
    to.counters("requests", "Requests answered", None, requests)?;
    to.histogram(
        "request_duration",
        "From the arrival of a request to the last byte of its answer",
        &Unit::Seconds,
        &stats.latency,
    )?;
    let in_flight = totals.in_flight;
    to.gauge("requests_in_flight", "Requests in hand", None, in_flight)?;
    let (received, sent) = (totals.request_bytes, totals.response_bytes);
    let bytes = Some(&Unit::Bytes);
    to.counter("request", "Bytes of request bodies", bytes, received)?;
    to.counter("response", "Bytes of response bodies", bytes, sent)?;
    let refused = totals.refused.iter();
    to.counters(
        "refused",
        "What came over the sockets and was no request that could be taken",
        None,
        refused.map(|(reason, count)| ([("reason", reason.as_str())], *count)),
    )?;
    to.counter(
        "access_log_dropped",
        "Lines of the access log that a slow disk made it drop",
        None,
        totals.access_log_dropped,
    )
}

/// Workers, and what became of them.
fn processes(stats: &Stats, to: &mut Metrics) -> fmt::Result {
    let count = |state| {
        let so = stats.workers.iter().filter(|worker| worker.state == state);
        so.count() as u64
    };
    let states = STATES.map(|state| ([("state", state)], count(state)));
    to.gauges("workers", "Worker processes by what they do", None, states)?;
    let wanted = stats.master.workers_wanted as u64;
    to.gauge(
        "workers_wanted",
        "How many workers there should be",
        None,
        wanted,
    )?;
    to.gauges(
        "worker_rss",
        "Resident memory of a place's worker, or workers while one replaces another",
        Some(&Unit::Bytes),
        memory(&stats.workers)
            .into_iter()
            .map(|(number, rss)| ([("worker", number)], rss)),
    )?;
    let restarts = with_zeros(&stats.totals.restarts, &RESTARTS).into_iter();
    to.counters(
        "worker_restarts",
        "Workers replaced",
        None,
        restarts.map(|(reason, count)| ([("reason", reason)], count)),
    )?;
    let (done, failed) = (stats.master.reloads, stats.master.reloads_failed);
    let reloads = [
        ([("result", "success")], done),
        ([("result", "failure")], failed),
    ];
    to.counters("reloads", "Reloads that have ended", None, reloads)
}

/// Bytes by place: while a worker is replaced, a place has two.
fn memory(workers: &[Worker]) -> BTreeMap<u64, u64> {
    let mut places = BTreeMap::new();
    for worker in workers {
        *places.entry(worker.number as u64).or_default() += worker.rss;
    }
    places
}

fn with_zeros<'a>(
    counted: &'a BTreeMap<String, u64>,
    known: &[&'static str],
) -> BTreeMap<&'a str, u64> {
    let mut all: BTreeMap<&str, u64> = known.iter().map(|name| (*name, 0)).collect();
    all.extend(counted.iter().map(|(name, count)| (name.as_str(), *count)));
    all
}

fn by_socket(
    stats: &Stats,
    value: impl Fn(&super::stats::Socket) -> Option<u32>,
) -> impl Iterator<Item = ([(&'static str, &str); 1], u64)> {
    stats.sockets.iter().filter_map(move |socket| {
        Some(([("socket", socket.address.as_str())], value(socket)?.into()))
    })
}

/// An encoder of whole families.
struct Metrics<'a>(DescriptorEncoder<'a>);

impl Metrics<'_> {
    fn info(&mut self, name: &str, help: &str, version: &str) -> fmt::Result {
        let mut metric = self
            .0
            .encode_descriptor(name, help, None, MetricType::Info)?;
        metric.encode_info(&[("version", version)])
    }

    fn gauge<V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        value: V,
    ) -> fmt::Result {
        let mut metric = self
            .0
            .encode_descriptor(name, help, unit, MetricType::Gauge)?;
        metric.encode_gauge(&value)
    }

    fn gauges<L: prometheus_client::encoding::EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        values: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let mut metric = self
            .0
            .encode_descriptor(name, help, unit, MetricType::Gauge)?;
        for (labels, value) in values {
            metric.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn counter(&mut self, name: &str, help: &str, unit: Option<&Unit>, value: u64) -> fmt::Result {
        let mut metric = self
            .0
            .encode_descriptor(name, help, unit, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    fn counters<L: prometheus_client::encoding::EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        values: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let mut metric = self
            .0
            .encode_descriptor(name, help, unit, MetricType::Counter)?;
        for (labels, value) in values {
            let mut one = metric.encode_family(&labels)?;
            one.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }

    fn histogram(&mut self, name: &str, help: &str, unit: &Unit, of: &Latency) -> fmt::Result {
        let kind = MetricType::Histogram;
        let mut metric = self.0.encode_descriptor(name, help, Some(unit), kind)?;
        let ends = |le: Option<f64>| le.unwrap_or(f64::INFINITY);
        let mut buckets: Vec<_> = of.buckets.iter().map(|b| (ends(b.le), b.count)).collect();
        if buckets.last().is_none_or(|(end, _)| end.is_finite()) {
            buckets.push((f64::INFINITY, 0));
        }
        metric.encode_histogram::<NoLabelSet>(of.sum, of.count(), &buckets, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::stats::{Bucket, Mount, Socket};

    fn stats() -> Stats {
        let counts = |pairs: &[(&str, u64)]| {
            let owned = pairs
                .iter()
                .map(|(name, count)| ((*name).to_owned(), *count));
            owned.collect::<BTreeMap<_, _>>()
        };
        let mut stats = Stats {
            version: "1.2.3".to_owned(),
            latency: Latency::new(
                [(Some(0.005), 3), (Some(1.0), 2), (None, 1)]
                    .map(|(le, count)| Bucket { le, count })
                    .to_vec(),
                4.5,
            ),
            ..Stats::default()
        };
        stats.master.uptime = 1.5;
        stats.master.reloads_failed = 1;
        stats.mounts = [("/", "2xx"), ("/a\"b\\", "5xx"), ("", "4xx")]
            .map(|(path, status)| Mount {
                path: path.to_owned(),
                requests: counts(&[(status, 9)]),
                ..Mount::default()
            })
            .to_vec();
        stats.sockets = vec![
            Socket {
                address: "unix:/a".to_owned(),
                queue: Some(3),
                queue_limit: Some(128),
            },
            Socket::default(),
        ];
        let worker = |number, state: &str, rss| Worker {
            number,
            state: state.to_owned(),
            rss,
            ..Worker::default()
        };
        stats.workers = vec![
            worker(1, "busy", 100),
            worker(2, "idle", 10),
            worker(1, "leaving", 1),
        ];
        stats.totals.restarts = counts(&[("killed", 2)]);
        stats.totals.refused = counts(&[("not-uwsgi", 4)]);
        stats.totals.request_bytes = 77;
        stats
    }

    fn written(exposition: Exposition) -> Vec<String> {
        let written = text(stats(), exposition).unwrap();
        written.lines().map(str::to_owned).collect()
    }

    #[test]
    fn every_value_has_its_name_unit_and_labels() {
        let lines = written(Exposition::OpenMetrics);
        for line in [
            r#"spile_build_info{version="1.2.3"} 1"#,
            "spile_uptime_seconds 1.5",
            r#"spile_requests_total{mount="/",status="2xx"} 9"#,
            r#"spile_requests_total{mount="/",status="5xx"} 0"#,
            r#"spile_requests_total{mount="/a\"b\\",status="5xx"} 9"#,
            r#"spile_requests_total{mount="none",status="4xx"} 9"#,
            r#"spile_request_duration_seconds_bucket{le="0.005"} 3"#,
            r#"spile_request_duration_seconds_bucket{le="1.0"} 5"#,
            r#"spile_request_duration_seconds_bucket{le="+Inf"} 6"#,
            "spile_request_duration_seconds_count 6",
            "spile_request_duration_seconds_sum 4.5",
            "spile_requests_in_flight 0",
            "spile_request_bytes_total 77",
            "spile_response_bytes_total 0",
            r#"spile_refused_total{reason="not-uwsgi"} 4"#,
            "spile_access_log_dropped_total 0",
            r#"spile_workers{state="busy"} 1"#,
            r#"spile_workers{state="starting"} 0"#,
            "spile_workers_wanted 0",
            r#"spile_worker_rss_bytes{worker="1"} 101"#,
            r#"spile_worker_rss_bytes{worker="2"} 10"#,
            r#"spile_worker_restarts_total{reason="killed"} 2"#,
            r#"spile_worker_restarts_total{reason="exited"} 0"#,
            r#"spile_reloads_total{result="failure"} 1"#,
            r#"spile_listen_queue_length{socket="unix:/a"} 3"#,
            r#"spile_listen_queue_limit{socket="unix:/a"} 128"#,
            "# EOF",
        ] {
            assert!(lines.iter().any(|l| l == line), "{line}\n{lines:#?}");
        }
    }

    #[test]
    fn both_texts_say_the_same() {
        let samples = |exposition| {
            let mut lines = written(exposition);
            lines.retain(|line| !line.starts_with('#'));
            lines
        };
        assert_eq!(samples(Exposition::OpenMetrics), samples(Exposition::Plain));
    }

    #[test]
    fn the_older_text_describes_each_sample_by_its_name() {
        let lines = written(Exposition::Plain);
        for line in [
            "# TYPE spile_requests_total counter",
            "# HELP spile_request_bytes_total Bytes of request bodies",
            "# TYPE spile_build_info gauge",
            "# TYPE spile_request_duration_seconds histogram",
        ] {
            assert!(lines.iter().any(|l| l == line), "{line}\n{lines:#?}");
        }
        assert!(!lines.iter().any(|line| line.starts_with("# UNIT")));
    }

    #[test]
    fn openmetrics_is_for_those_who_ask() {
        use Exposition::{OpenMetrics, Plain};
        for (accept, expected) in [
            ("", Plain),
            ("*/*", Plain),
            ("text/plain;version=0.0.4;q=0.3,*/*;q=0.2", Plain),
            (
                "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3",
                OpenMetrics,
            ),
            ("application/openmetrics-text; q=0", Plain),
        ] {
            assert_eq!(Exposition::accepted(accept), expected, "{accept}");
        }
    }
}
