//! An option of another server, and its place here.

/// Its options in one part of the page about it.
#[derive(Debug)]
pub(super) struct Section {
    /// For the page.
    #[cfg_attr(not(test), expect(dead_code))]
    pub(super) title: &'static str,
    pub(super) rows: &'static [Row],
}

/// One of its options.
#[derive(Debug)]
pub(super) struct Row {
    /// Its long names, without the dashes before them.
    pub(super) names: &'static [&'static str],
    /// Its letters, after a single dash.
    #[cfg_attr(not(any(test, feature = "cli")), allow(dead_code))]
    pub(super) letters: &'static str,
    /// Its names in a configuration file, where these are others.
    pub(super) settings: &'static [&'static str],
    /// What it is here.
    pub(super) here: Here,
    /// How its value or its meaning differs, or what to do without it: a sentence without a capital or a full stop, or
    /// nothing.
    pub(super) note: &'static str,
}

/// What an option of another server is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Here {
    /// These options, by their keys.
    Options(&'static [&'static str]),
    /// Something that is no option.
    Other(&'static str),
    /// Nothing: spile does so anyway.
    Always,
    /// Nothing.
    No,
}

const fn row(names: &'static [&'static str], here: Here, note: &'static str) -> Row {
    Row {
        names,
        letters: "",
        settings: &[],
        here,
        note,
    }
}

pub(super) const fn is(
    names: &'static [&'static str],
    options: &'static [&'static str],
    note: &'static str,
) -> Row {
    row(names, Here::Options(options), note)
}

pub(super) const fn other(
    names: &'static [&'static str],
    what: &'static str,
    note: &'static str,
) -> Row {
    row(names, Here::Other(what), note)
}

pub(super) const fn always(names: &'static [&'static str], note: &'static str) -> Row {
    row(names, Here::Always, note)
}

pub(super) const fn no(names: &'static [&'static str], note: &'static str) -> Row {
    row(names, Here::No, note)
}

impl Row {
    pub(super) const fn letters(self, letters: &'static str) -> Self {
        Self { letters, ..self }
    }

    pub(super) const fn settings(self, settings: &'static [&'static str]) -> Self {
        Self { settings, ..self }
    }
}
