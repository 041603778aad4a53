//! Environs that are made once for all requests with the same names.
//!
//! Requests of one kind of client bring the same variables in the same order, and most of them with the same values.
//! So the dict of the next one is a copy of a template, in which only what differs is replaced.

use std::collections::HashMap;

use pyo3::{
    intern,
    prelude::*,
    types::{PyDict, PyString},
};
use spile::app::Environ;

use super::{
    derived::{SOURCES, derive, is_own},
    text::from_latin1,
};

/// How many shapes are kept: those used last.
const KEPT: usize = 32;

/// The most variables of a request whose shape is kept.
const MOST_VARIABLES: usize = 96;

/// The longest value that is kept, in bytes.
const LONGEST_VALUE: usize = 256;

/// How many names are shared between shapes as interned strings; clients make up names as they like.
const SHARED_NAMES: usize = 1024;

/// The longest name that is shared, in bytes.
const LONGEST_NAME: usize = 64;

/// Values under names with one of these in them are never kept beyond their request.
const SECRETS: [&str; 6] = ["AUTH", "COOKIE", "KEY", "PASS", "SECRET", "TOKEN"];

/// The shapes of the last requests.
#[derive(Default)]
pub(super) struct Shapes {
    shapes: Vec<Shape>,
    /// The one of the last request.
    last: usize,
    /// How many requests there were.
    clock: u64,
    names: HashMap<Box<[u8]>, Py<PyString>>,
}

impl Shapes {
    /// The environ of a request but for `wsgi.input`: a fresh dict. `None` when it has too many variables to be worth
    /// a shape. `base` is what all environs have.
    pub(super) fn environ<'py>(
        &mut self,
        base: &Bound<'py, PyDict>,
        variables: &Environ,
    ) -> PyResult<Option<Bound<'py, PyDict>>> {
        self.clock += 1;
        let last = self.shapes.get(self.last);
        let differing = last.and_then(|shape| {
            let sent = variables.as_sent();
            sent.and_then(|sent| shape.follow(sent))
                .or_else(|| shape.compare(variables))
        });
        let differing = match differing {
            Some(differing) => differing,
            None => match self.turn_to(base, variables)? {
                Some(differing) => differing,
                None => return Ok(None),
            },
        };
        let Some(shape) = self.shapes.get_mut(self.last) else {
            return Ok(None);
        };
        shape.used = self.clock;
        let environ = shape.environ(base.py(), variables, &differing);
        if environ.is_err() {
            // What its template holds is not certain any more.
            self.shapes.clear();
        }
        environ.map(Some)
    }

    /// Makes the shape of a request the last one, and compares it.
    fn turn_to<'v>(
        &mut self,
        base: &Bound<'_, PyDict>,
        variables: &'v Environ,
    ) -> PyResult<Option<Vec<Differing<'v>>>> {
        let (count, fingerprint) = fingerprint(variables);
        if count > MOST_VARIABLES {
            return Ok(None);
        }
        for (at, shape) in self.shapes.iter().enumerate() {
            if shape.fingerprint == fingerprint {
                if let Some(differing) = shape.compare(variables) {
                    self.last = at;
                    return Ok(Some(differing));
                }
            }
        }
        let shape = Shape::new(base, variables, fingerprint, &mut self.names)?;
        let differing = shape.compare(variables);
        if self.shapes.len() < KEPT {
            self.last = self.shapes.len();
            self.shapes.push(shape);
        } else if let Some((at, oldest)) = (0..)
            .zip(&mut self.shapes)
            .min_by_key(|(_, shape)| shape.used)
        {
            self.last = at;
            *oldest = shape;
        }
        Ok(differing)
    }
}

/// A value that the template does not have, and the place of its variable in the shape.
type Differing<'v> = (usize, &'v [u8]);

/// The names of a request, in their order.
struct Shape {
    slots: Vec<Slot>,
    /// The same on the wire.
    runs: Vec<Run>,
    /// A dict with every key that an environ of this shape has.
    template: Py<PyDict>,
    fingerprint: u64,
    /// When it was used last, by the clock of requests.
    used: u64,
}

struct Slot {
    name: Box<[u8]>,
    /// `None` for a variable that no application gets.
    key: Option<Py<PyString>>,
    /// Whether others depend on it.
    is_source: bool,
    last: LastValue,
}

/// Variables that follow each other and whose values the template has, so that one comparison does for all.
struct Run {
    /// Their names and values as they are sent, and the name of the variable after them.
    wire: Box<[u8]>,
    /// The place of that variable; none follows the last run.
    next: Option<usize>,
}

/// What came last for a variable.
#[derive(Default)]
struct LastValue {
    is_secret: bool,
    /// `None` if it may not be kept.
    value: Option<Vec<u8>>,
    /// Whether the template has it: since it came twice in a row.
    in_template: bool,
}

impl Shape {
    fn new(
        base: &Bound<'_, PyDict>,
        variables: &Environ,
        fingerprint: u64,
        names: &mut HashMap<Box<[u8]>, Py<PyString>>,
    ) -> PyResult<Self> {
        let py = base.py();
        let template = base.copy()?;
        let mut slots = Vec::new();
        for (name, _) in variables {
            let key = if is_own(name) {
                None
            } else {
                Some(shared_name(py, names, name)?)
            };
            if let Some(key) = &key {
                // Until a value has come twice.
                template.set_item(key, py.None())?;
            }
            slots.push(Slot {
                name: name.into(),
                key: key.map(Bound::unbind),
                is_source: SOURCES.contains(&name),
                last: LastValue {
                    is_secret: is_secret(name),
                    ..LastValue::default()
                },
            });
        }
        derive(variables, &template)?;
        template.set_item(intern!(py, "wsgi.input"), py.None())?;
        Ok(Self {
            runs: runs(&slots),
            slots,
            template: template.unbind(),
            fingerprint,
            used: 0,
        })
    }

    /// What differs in a request from the template, by what was sent; `None` also when [`Self::compare`] has to tell.
    fn follow<'v>(&self, sent: &'v [u8]) -> Option<Vec<Differing<'v>>> {
        let mut differing = Vec::with_capacity(8);
        let mut rest = sent;
        for run in &self.runs {
            rest = rest.strip_prefix(&*run.wire)?;
            let Some(at) = run.next else {
                break;
            };
            let (length, after) = rest.split_first_chunk()?;
            let length = usize::from(u16::from_le_bytes(*length));
            let (value, after) = after.split_at_checked(length)?;
            differing.push((at, value));
            rest = after;
        }
        rest.is_empty().then_some(differing)
    }

    /// What differs in a request from the template; `None` when the request has other names.
    fn compare<'v>(&self, variables: &'v Environ) -> Option<Vec<Differing<'v>>> {
        let mut differing = Vec::with_capacity(8);
        let mut variables = variables.iter();
        for (at, slot) in self.slots.iter().enumerate() {
            let (name, value) = variables.next()?;
            if *slot.name != *name {
                return None;
            }
            if !(slot.last.in_template && slot.last.is(value)) {
                differing.push((at, value));
            }
        }
        variables.next().is_none().then_some(differing)
    }

    fn environ<'py>(
        &mut self,
        py: Python<'py>,
        variables: &Environ,
        differing: &[Differing<'_>],
    ) -> PyResult<Bound<'py, PyDict>> {
        let template = self.template.bind(py);
        let environ = template.copy()?;
        // What is derived from others is not the template's, or no more the template's.
        let (mut stale, mut learnt) = (false, false);
        let mut runs_changed = false;
        for (at, value) in differing {
            let Some(slot) = self.slots.get_mut(*at) else {
                continue;
            };
            let Some(key) = &slot.key else {
                continue;
            };
            let key = key.bind(py);
            let text = from_latin1(py, value)?;
            stale |= slot.is_source;
            if slot.last.is(value) {
                template.set_item(key, &text)?;
                slot.last.in_template = true;
                learnt |= slot.is_source;
                runs_changed = true;
            } else {
                runs_changed |= slot.last.in_template;
                slot.last.remember(value);
            }
            environ.set_item(key, text)?;
        }
        if stale {
            derive(variables, &environ)?;
        }
        if learnt {
            derive(variables, template)?;
        }
        if runs_changed {
            self.runs = runs(&self.slots);
        }
        Ok(environ)
    }
}

impl LastValue {
    fn is(&self, value: &[u8]) -> bool {
        self.value.as_deref() == Some(value)
    }

    /// Keeps a value, if that may be, to see whether it comes again.
    fn remember(&mut self, value: &[u8]) {
        self.in_template = false;
        if self.is_secret || value.len() > LONGEST_VALUE {
            self.value = None;
            return;
        }
        let kept = self.value.get_or_insert_default();
        kept.clear();
        kept.extend_from_slice(value);
    }
}

fn runs(slots: &[Slot]) -> Vec<Run> {
    let mut runs = Vec::new();
    let mut wire = Vec::new();
    for (at, slot) in slots.iter().enumerate() {
        put(&mut wire, &slot.name);
        match &slot.last.value {
            Some(value) if slot.last.in_template => put(&mut wire, value),
            _ => runs.push(Run {
                wire: std::mem::take(&mut wire).into(),
                next: Some(at),
            }),
        }
    }
    runs.push(Run {
        wire: wire.into(),
        next: None,
    });
    runs
}

/// Adds a name or a value as it is sent. One too long to be sent gives what no packet has.
fn put(wire: &mut Vec<u8>, text: &[u8]) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    wire.extend_from_slice(&length.to_le_bytes());
    wire.extend_from_slice(text);
}

/// How many variables there are, and a number that requests with the same names share.
fn fingerprint(variables: &Environ) -> (usize, u64) {
    variables.iter().fold((0, 0), |(count, sum), (name, _)| {
        let last = name.last().copied().map_or(0, u64::from);
        let length = u64::try_from(name.len()).unwrap_or(u64::MAX);
        let mixed = sum.wrapping_mul(31).wrapping_add(length << 8 | last);
        (count + 1, mixed)
    })
}

fn is_secret(name: &[u8]) -> bool {
    let name = name.to_ascii_uppercase();
    let holds = |part: &str| {
        let mut windows = name.windows(part.len());
        windows.any(|window| window == part.as_bytes())
    };
    SECRETS.into_iter().any(holds)
}

/// A name as a key: interned, so that an application's own literal is the same object.
fn shared_name<'py>(
    py: Python<'py>,
    names: &mut HashMap<Box<[u8]>, Py<PyString>>,
    name: &[u8],
) -> PyResult<Bound<'py, PyString>> {
    if let Some(shared) = names.get(name) {
        return Ok(shared.bind(py).clone());
    }
    let Some(text) = std::str::from_utf8(name)
        .ok()
        .filter(|text| text.is_ascii())
    else {
        return from_latin1(py, name);
    };
    if text.len() > LONGEST_NAME || names.len() >= SHARED_NAMES {
        return from_latin1(py, name);
    }
    let made = PyString::intern(py, text);
    names.insert(name.into(), made.clone().unbind());
    Ok(made)
}
